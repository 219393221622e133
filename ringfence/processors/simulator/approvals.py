"""The short way: the first message of a payment, to a card that approves everything.  This is what a busy sandbox does all day.

Accepts only what the whole way (``issuer``, asked by ``processor``) approves on the spot, and gives the same answer and the same line of the
book; a test plays any message both ways.  What it is not sure of is ``None`` and takes the whole way.  Saves by knowing cards by their number,
and by working out once a minute what changes with the day.  Knows no earlier messages and no network.
"""
from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from ringfence.core.business_day import business_day
from ringfence.core.card import Pan, luhn_valid
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved
from ringfence.processors.processor import Ask
from ringfence.processors.simulator.book import Effect, Entry
from ringfence.processors.simulator.issuer import CODE_RESULTS, Seal, is_good_expiry
from ringfence.processors.simulator.scenarios import Scenario, scenario_code, scenario_named

KNOWN_CARDS = 4096

_FIRST = (Kind.PURCHASE, Kind.AUTHORIZATION)
_CARDHOLDER = Initiation.CARDHOLDER
_APPROVED = Effect.APPROVED
_EPOCH, _MINUTE = datetime(1970, 1, 1, tzinfo=UTC), timedelta(minutes=1)

_Card = tuple[str, str, str]
"""What is known of a card that approves everything: its scenario, the security code result it always says, and how it is shown."""


class Approvals:
    """The short way of one worker.  ``stranger`` is how a card of nobody's table behaves."""

    __slots__ = ("_cards", "_cut_over", "_minute", "_seal", "_stranger", "_worker", "_zone")

    def __init__(self, seal: Seal, worker: int, stranger: Scenario, cut_over: time, zone: str) -> None:
        self._seal, self._worker, self._stranger, self._cut_over, self._zone = seal, worker, stranger, cut_over, zone
        self._cards: dict[str, _Card | None] = {}
        self._minute: tuple[datetime, datetime, date, set[str]] = (_EPOCH, _EPOCH, date.min, set())

    def approval(self, message: Ask, wall: int) -> tuple[Approved, Entry] | None:
        """Answer and line, or ``None`` where the short way does not lead to both.  ``wall`` is microseconds since 1970."""
        (
            key, kind, minor, currency, merchant, payment, operation, at, _, pan, expiry, security_code, initiation, _, cited, original, _,
            repeat, _, magic, evidence, _, _, _,
        ) = message
        if (
            original is not None or pan is None or repeat or magic or evidence is not None or minor <= 0 or kind not in _FIRST
            or (initiation is not _CARDHOLDER and not cited)
        ):
            return None
        digits = pan.reveal()
        card = self._cards[digits] if digits in self._cards else self._learn(pan)
        if card is None:
            return None
        since, until, day, good = self._minute
        if not since <= at < until:
            day, good = self._turn(at)
        if expiry and expiry not in good:
            if not is_good_expiry(expiry, at):
                return None
            good.add(expiry)
        code, result, masked = card
        if security_code is not None and not result:
            result = CODE_RESULTS.get(security_code.reveal(), "M")
            if result == "N":
                return None
        chance = self._seal.chance(digits, key)         # taken apart as ``issuer.marks`` does
        nti, approval, reference = chance[:15], chance[15:21], chance[21:29] + code
        return (
            # A named tuple of all its fields at once: half the price of a call with some left to their defaults.
            tuple.__new__(Approved, (minor, approval, nti, reference, "00", result, "", "", False)),
            Entry(
                wall, self._worker, key, operation, payment, merchant, kind, _APPROVED, minor, currency, "00", at, day, masked, approval, nti,
                reference, 0, "", result,
            ),
        )

    def day(self, at: datetime) -> date:
        """The business day of an instant."""
        since, until, day, _ = self._minute
        return day if since <= at < until else self._turn(at)[0]

    def _turn(self, at: datetime) -> tuple[date, set[str]]:
        """What holds in the minute of ``at``: its business day, and the expiries seen to be good."""
        since, day, good = at.replace(second=0, microsecond=0), business_day(at, self._cut_over, self._zone), set[str]()
        self._minute = since, since + _MINUTE, day, good
        return day, good

    def _learn(self, pan: Pan) -> _Card | None:
        """What a card number alone says; ``None`` where it does not approve everything."""
        digits = pan.reveal()
        code = scenario_code(digits) if luhn_valid(digits) else "0014"
        scenario = scenario_named(code) if code else self._stranger
        card = (code or "0000", scenario.security_code_result, pan.masked) if scenario.is_plain else None
        if len(self._cards) >= KNOWN_CARDS:
            self._cards.clear()
        self._cards[digits] = card
        return card
