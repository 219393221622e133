"""Recovery: how an operation in doubt ends, by its kind.

A table and a schedule, nothing else.  It decides what is said to the processor next, when, and what a person may decide; it
refuses to know processors, jobs and clocks.

Why it is so: what may be undone without harm (an authorization, a purchase, an increment) is undone where nobody can say what
became of it.  What must come about once it was asked for (a capture, a void, a decrement) is repeated under its own key until
it is acknowledged, and is never undone.  A refund is neither: asked twice it pays twice, so it is repeated only where the
processor answers a repeat from memory.
"""
from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple
from zlib import crc32

from ringfence.core.commands import Kind

REVERSIBLE = (Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT)
"""Kinds that a reversal of exactly that message undoes; a tuple: compared by identity, which hashing a StrEnum is not."""

RETURN_SECONDS = 600.0
"""Between the discovery that a purchase of a closed day is paid, from which on no reversal of it leaves, and the refund that gives
it back (business time): a reversal that was under way by then has arrived, or never will."""

REVIEW_SECONDS = 3_600.0
"""Behind its deadline a doubt is a person's business; it is still tried once an hour (business time)."""


class Step(StrEnum):
    """What is done next."""

    INQUIRE = "inquire"             # ask what became of the message
    REVERSE = "reverse"             # undo exactly that message; decided and stored first, sent afterwards
    REPEAT = "repeat"               # the same message under the same key, marked as a repeat
    RETURN = "return"               # look once more, and give back by a refund what was really paid
    REVIEW = "review"               # nothing may be sent: a person decides


class Plan(NamedTuple):
    """When it is tried, and how long.  Seconds of business time."""

    pauses: tuple[float, ...] = (1, 2, 5, 10, 30, 60, 120, 240, 480, 900)      # before each try; the last one repeats
    deadline: float = 86_400                                                    # from then on a person should look
    inquiries: int = 2                                                          # in vain, before a reversal leaves


PLAN = Plan()

PENDING = Plan(pauses=(60, 120, 300, 600, 1_200, 2_400, 3_600))
"""For what the other side has taken and not decided: it will tell, and in case that is lost it is asked, less and less often."""


def next_step(
    kind: Kind, *, tries: int, inquiry: bool, deduplicates: bool, reversal_left: bool, past_cut_over: bool, plan: Plan,
    pending: bool = False,
) -> Step:
    """What the try with this number (from 1) does.

    ``inquiry`` and ``deduplicates`` are the processor's capabilities; ``reversal_left``: a reversal was decided, so that the
    operation can only end undone; ``past_cut_over``: the processor's business day of the message is over.  ``pending``: the other
    side has it, and will decide: it is only asked.
    """
    if pending and inquiry and not reversal_left:
        return Step.INQUIRE
    asks = inquiry and tries <= plan.inquiries
    if kind in REVERSIBLE:
        if not reversal_left:
            return Step.INQUIRE if asks else Step.REVERSE
        # A purchase of a day that is closed may be settled, whatever its reversal is answered: it is refunded.  But nobody
        # refunds what nobody knows was paid, and no refund that may be sent twice leaves without a key that makes it one.
        if kind is Kind.PURCHASE and past_cut_over and inquiry and deduplicates:
            return Step.RETURN
        return Step.REVERSE
    if kind is not Kind.REFUND:
        return Step.REPEAT
    if asks or (inquiry and not deduplicates):
        return Step.INQUIRE
    return Step.REPEAT if deduplicates else Step.REVIEW


def pause(plan: Plan, tries: int, subject: int) -> timedelta:
    """How long to wait after so many tries.

    Up to 10 % more or less by a checksum of both numbers: what failed together comes back apart, and a seed stays a seed.
    """
    seconds = plan.pauses[min(tries, len(plan.pauses) - 1)]
    share = crc32(b"%d.%d" % (subject, tries)) / 0xFFFF_FFFF
    return timedelta(seconds=seconds * (0.9 + 0.2 * share))


def choices(kind: Kind, reversal_left: bool) -> frozenset[str]:
    """What a person may decide about an operation in doubt: ``approved``, ``declined``, ``reversed``.

    Once a reversal was decided nothing is approved any more, because it may arrive at any time; and only what a reversal can
    undo can have been reversed.
    """
    possible = {"declined"}
    if not reversal_left:
        possible.add("approved")
    if kind in REVERSIBLE:
        possible.add("reversed")
    return frozenset(possible)


LAST_ATTEMPT = 32_767
"""The highest number that an attempt is stored under."""


def attempt_of(tries: int) -> int:
    """The attempt that the holder of a recovery job's claim makes: the owner's own was number 1.

    Behind the last number all claims share it; that one of them at most writes an outcome is then left to its unique key.
    """
    return min(tries + 1, LAST_ATTEMPT)
