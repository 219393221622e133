"""Outcomes: what came back when the processor was asked.

Three answers and one question: ``Approved | Declined | Unknown``, and ``Challenge`` where the payer must act.  Silence,
garbage and contradictions are ``Unknown``; nobody is ever told that an unknown was declined.  ``Reversed`` ends an unknown
that our own reversal undid at the issuer.
"""
from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Approved(NamedTuple):
    """The processor did it.  ``minor`` is the approved amount, lower than asked in a partial approval (DE 39 "10")."""

    minor: int
    approval_code: str = ""         # DE 38
    scheme_reference: str = ""      # NTI: what later merchant-initiated payments cite
    processor_reference: str = ""   # RRN (DE 37) or the provider's own id
    response_code: str = "00"       # DE 39 (1987 values, also where the processor speaks another dialect)
    security_code_result: str = ""  # M match, N no match, P not processed, U not certified
    address_result: str = ""        # AVS
    eci: str = ""                   # authentication result as used
    hold_gone: bool = False         # a capture took all of the hold: nothing holds what it left


class Declined(NamedTuple):
    """The processor, or whoever it asked, said no; nothing happened to the money."""

    response_code: str              # DE 39
    advice: str = ""                # merchant advice code, "03" stops
    processor_reference: str = ""
    provider_code: str = ""         # the provider's own word for it, as it came
    hold_gone: bool = False         # a capture failed, and the hold went with it


class Silence(StrEnum):
    """Why an outcome is unknown."""

    NO_ANSWER = "no_answer"                     # T1 passed
    CONNECTION_LOST = "connection_lost"
    NOT_BELIEVABLE = "not_believable"           # malformed, for another amount, terminal or trace number
    OWNER_GONE = "owner_gone"                   # the process that asked died before it wrote the answer
    SUPERSEDED = "superseded"                   # the attempt was claimed by recovery before the answer came
    PENDING = "pending"                         # the other side has it, has not decided, and will tell


class Unknown(NamedTuple):
    """No answer that can be believed.  The reservation stays; recovery inquires, repeats or reverses.

    Of a refund that is ``PENDING``: which of its parts (their numbers) are final already, and which came about nowhere.  ``within``: in how many
    seconds (business time) the other side says that it will have decided, 0 where it does not say.
    """

    why: Silence
    done: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    within: float = 0.0


class Reversed(NamedTuple):
    """An unknown authorization, increment or purchase that our reversal ended: nothing is held at the issuer.

    A purchase whose business day was over is given back by a refund instead: ``returned`` is what went out so, in minor units.
    """

    response_code: str = "68"       # DE 39 "68": response received too late
    returned: int = 0


class Challenge(NamedTuple):
    """The payer must act (3-D Secure); no money has moved."""

    url: str
    reference: str


class NotAsked(NamedTuple):
    """The deadline passed, or the code was gone, before anything was sent: it is certain that nothing happened."""

    why: str


Outcome = Approved | Declined | Unknown | Reversed | Challenge | NotAsked

#: DE 39 values after which the same card must not be tried again without the cardholder (class H of the code table),
#: and the merchant advice codes that say the same.
HARD_DECLINES = frozenset(
    "04 07 12 14 15 31 33 34 35 36 37 38 39 40 41 42 43 44 46 52 53 56 57 63 67 93 R0 R1 R3 N5 Q1".split()
)
HARD_ADVICE = frozenset({"03", "05", "21", "22", "42"})


def is_hard(outcome: Declined) -> bool:
    """Whether a decline forbids further merchant-initiated payments with the card."""
    return outcome.response_code in HARD_DECLINES or outcome.advice in HARD_ADVICE


Said = tuple[str, int, str, str, str, str, str, str, str]


def outcome_values(outcome: Outcome | None) -> Said:
    """An outcome as it is stored: result, approved minor units, response code (or why it is unknown), merchant advice,
    approval code, scheme and processor reference, security code result, ECI.  A decline has the provider's own word for it in
    the place of the scheme's reference."""
    if type(outcome) is Approved:
        minor, approval_code, scheme_reference, processor_reference, code, code_result, _, eci, _ = outcome
        return "approved", minor, code, "", approval_code, scheme_reference, processor_reference, code_result, eci
    match outcome:
        case Declined(response_code, advice, processor_reference, provider_code):
            return "declined", 0, response_code, advice, "", provider_code, processor_reference, "", ""
        case Unknown(why):
            result, code = "unknown", why
        case Reversed(response_code, _):
            result, code = "reversed", response_code
        case Challenge(_, reference):
            return "challenge", 0, "", "", "", "", reference, "", ""
        case NotAsked(why):
            result, code = "not_asked", why
        case None:
            raise AssertionError("an answer always has an outcome")
    return result, 0, code, "", "", "", "", "", ""
