"""The payment core, told as payments: the scripts are in ``payments/``, each under the sentence it proves.

A line of a script is a message, ``|``, and what must follow: a status or a refusal first, then in any order numbers
(``capturable 300``), events (``+over_returned``), transfers (``use:700``; if one is named, all are, in their order) and ``reverse``.
Operations may be named by a letter (``capture 700 b``); an answer without a letter answers the latest
accepted.  ``#`` begins a remark.
"""
from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.core.allotment import after
from ringfence.core.commands import Command, Kind, VoidReason
from ringfence.core.events import Event
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Reversed, Silence, Unknown
from ringfence.core.payment import (
    ALLOWED,
    EXCLUSIVE,
    FIRST,
    NOT_ALLOWED,
    Answer,
    Decision,
    Operation,
    Payment,
    Status,
    decide,
)
from ringfence.core.refusals import Refusal

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

OUTCOMES = {
    "declined": Declined("05"), "unknown": Unknown(Silence.NO_ANSWER), "reversed": Reversed(),
    "challenge": Challenge("https://acs.example/", "c-1"), "not_asked": NotAsked("too late"),
}
KINDS = {str(kind) for kind in Kind}
FACTS = {str(noticed) for noticed in Noticed}
REASONS = {"expired": VoidReason.EXPIRED, "not_wanted": VoidReason.NOT_WANTED}


class Play:
    """Plays a script line by line: keeps the payment, the clock, and the operations that wait for an answer."""

    def __init__(self) -> None:
        self.payment = Payment(1, "AED")
        self.now = NOON
        self.operations: dict[str, Operation] = {}
        self.latest = ""
        self.asked = 0

    def send(self, words: list[str]) -> Decision | Refusal | None:
        verb, rest = words[0], words[1:]
        minor = next((int(word) for word in rest if word.isdigit()), None)
        name = next((word for word in rest if word.isalpha() and len(word) == 1), "")
        if verb == "wait":
            self.now += timedelta(seconds=minor or 0)
            return None
        if verb in KINDS:
            return self._ask(Kind(verb), minor, name, rest)
        if verb in FACTS:
            capture_id = self.operations[name].id if name in self.operations else 404 if name else 0
            return self._keep(decide(self.payment, Notice(Noticed(verb), "n", minor or 0, capture_id), self.now))
        name = name or self.latest
        operation = self.operations[name]
        if verb == "pending":
            ended = {word: tuple(map(int, numbers.split(","))) for word, _, numbers in (part.partition("=") for part in rest) if numbers}
            outcome = Unknown(Silence.PENDING, ended.get("done", ()), ended.get("failed", ()))
        else:
            outcome = Approved(operation.minor if minor is None else minor) if verb == "approved" else OUTCOMES[verb]
        if verb == "reversed" and minor:
            outcome = Reversed(returned=minor)
        verdict = decide(self.payment, Answer(operation, outcome), self.now)
        assert isinstance(verdict, Decision)
        if isinstance(verdict.outcome, Unknown):
            taken = operation.taken or (operation.kind is Kind.REFUND and verdict.outcome.why is Silence.PENDING)
            self.operations[name] = operation._replace(
                unknown=True, attempt=operation.attempt + 1, taken=taken,
                standing_parts=after(operation.parts, verdict.parts) if verdict.parts else operation.standing_parts)
        return self._keep(verdict)

    def _ask(self, kind: Kind, minor: int | None, name: str, rest: list[str]) -> Decision | Refusal:
        self.asked += 1
        name = name or f"operation {self.asked}"
        verdict = decide(self.payment, Command(
            kind, minor, "EUR" if "EUR" in rest else "AED", self.asked, accepts_partial="partial" in rest,
            whole="whole" in rest, reason=next((REASONS[word] for word in rest if word in REASONS), VoidReason.REQUESTED),
            hold_seconds=next((int(word[5:]) for word in rest if word.startswith("hold=")), 0),
        ), self.now)
        if isinstance(verdict, Decision):
            assert verdict.operation is not None
            assert not verdict.transfers
            assert not verdict.events
            self.operations[name], self.latest = verdict.operation, name
        return self._keep(verdict)

    def _keep(self, verdict: Decision | Refusal) -> Decision | Refusal:
        if isinstance(verdict, Decision):
            self.payment = verdict.payment
        return verdict


def check(payment: Payment, verdict: Decision | Refusal, words: list[str], line: str) -> None:
    if words[0] in {str(refusal) for refusal in Refusal}:
        assert verdict == Refusal(words[0]), line
    else:
        assert isinstance(verdict, Decision), f"{line}: {verdict}"
        assert payment.status == words[0], line
    transfers = [word for word in words if ":" in word]
    if transfers:
        assert [f"{kind.name.lower()}:{minor}" for kind, minor in verdict.transfers] == transfers, line
    if isinstance(verdict, Decision):
        assert verdict.reverse == ("reverse" in words), line
        events = [word[1:] for word in words if word.startswith("+")]
        if events:
            assert [*map(str, verdict.events)] == events, line
    for name, number in itertools.pairwise(words):
        if number.lstrip("-").isdigit():
            assert getattr(payment, name) == int(number), f"{line}: {name} is {getattr(payment, name)}"


SCRIPTS = {
    sentence: script
    for path in sorted(Path(__file__).with_name("payments").glob("*.txt"))
    for sentence, _, script in (part.partition("\n") for part in re.split(r"^= ", path.read_text(), flags=re.MULTILINE)[1:])
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_payments_live_as_their_scripts_say(script):
    """Each line's message has just the effect that stands beside it."""
    play = Play()
    for line in filter(None, map(str.strip, script.splitlines())):
        message, _, expected = line.partition("#")[0].partition("|")
        verdict = play.send(message.split())
        if expected:
            assert verdict is not None
            check(play.payment, verdict, expected.split(), line)


def test_every_script_was_read():
    """Each file of scripts tells of payments, and no sentence is told twice."""
    sentences = [
        line for path in Path(__file__).with_name("payments").glob("*.txt")
        for line in path.read_text().splitlines() if line.startswith("= ")
    ]
    assert len(sentences) == len(SCRIPTS) > 70
    assert all("|" in script for script in SCRIPTS.values())


def test_every_status_says_which_operations_it_takes():
    """The tables of what may follow, and of how a status says no, have a row for every status."""
    assert set(ALLOWED) == set(NOT_ALLOWED) == set(Status)
    assert ALLOWED[Status.NEW] == FIRST
    assert not FIRST & EXCLUSIVE
    assert ALLOWED[Status.AUTHORIZED] == ALLOWED[Status.CAPTURED] == set(Kind) - FIRST
    assert all(not ALLOWED[status] for status in (Status.CREATED, Status.CHALLENGED, Status.VOIDED, Status.DECLINED))


def test_every_refusal_is_named_after_what_it_says():
    """A door's table can be written from the names alone."""
    assert all(refusal.value == refusal.name.lower() for refusal in Refusal)
    assert all(event.value == event.name.lower() for event in Event)


IN_THE_WAY = {
    # what is pending                 what cannot be decided before it                       what can
    "capture 300":   ("void decrement increment refund",                                      "capture"),
    "void":          ("void decrement increment capture",                                     "refund"),
    "increment 300": ("void decrement increment capture",                                     "refund"),
    "decrement 300": ("void decrement increment capture",                                     "refund"),
    "refund 300":    ("",                                                "void decrement increment capture refund"),
}


@pytest.mark.parametrize("pending", IN_THE_WAY)
def test_only_what_cannot_be_decided_waits_for_a_pending_outcome(pending):
    """A command waits where the answer under way decides it; otherwise it is decided against what is reserved."""
    waits, passes = IN_THE_WAY[pending]
    play = Play()
    for words in ("authorization 1000", "approved", "capture 400", "approved", pending):
        play.send(words.split())
    standing = play.payment
    for kind in (waits + " " + passes).split():
        # A refund of 400 needs what is captured already; where a capture is pending it is asked for more than that.
        command = Command(Kind(kind), 401 if kind == "refund" and kind in waits else 100, "AED", 99)
        verdict = decide(standing, command, NOON)
        assert (verdict is Refusal.OPERATION_IN_PROGRESS) == (kind in waits.split()), (pending, kind, verdict)
        assert isinstance(verdict, Decision) == (kind in passes.split()), (pending, kind, verdict)


@pytest.mark.parametrize("kind", Kind)
def test_a_command_reserves_its_amount_and_an_ended_one_gives_it_back(kind):
    """Declined or never sent, the payment has the numbers it had before it was asked."""
    play = Play()
    if kind not in FIRST:
        for words in ("authorization 1000", "approved", "capture 400", "approved"):
            play.send(words.split())
    before = play.payment
    for outcome in (Declined("05"), NotAsked("too late")):
        asked = decide(before, Command(kind, 300, "AED", 77), NOON)
        assert isinstance(asked, Decision)
        assert asked.operation is not None
        assert asked.payment != before
        ended = decide(asked.payment, Answer(asked.operation, outcome), NOON)
        assert isinstance(ended, Decision)
        assert not ended.transfers
        assert ended.payment._replace(status=before.status, purchase=before.purchase) == before
