"""The issuer: what it says to one message, given the scenario of the card.  Pure.

All chance comes from a MAC of card number and key under the seed, so the same seed and the same message give the same answer.  Knows no balances
(``accounts`` does) and no network (``processor`` plays it).
"""
from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2s
from typing import NamedTuple

from ringfence.core.card import Brand, brand_of, expiry_passed, plausible_expiry
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined
from ringfence.processors.processor import Ask
from ringfence.processors.simulator.book import Effect
from ringfence.processors.simulator.scenarios import APPROVING, SOAK, Delivery, Scenario, takes_old_expiry

REQUESTS = (Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT)
"""What the issuer may decline for funds or suspicion, and what the delivery scenarios touch."""

GIVES_BACK = (Kind.VOID, Kind.DECREMENT)
"""What travels as a reversal of the hold, or of a part of it."""

ALREADY_REVERSED = "79"
"""DE 39 of an original that arrives after its own reversal."""

_DIGITS = bytes(48 + octet % 10 for octet in range(256))
"""From octets to decimal digits; that some come a little more often is of no account here."""


class Marks(NamedTuple):
    """What the issuer and the networks write on one message."""

    scheme_reference: str           # NTI, fifteen digits
    approval_code: str              # DE 38, six digits
    reference: str                  # DE 37, twelve digits; the last four are the scenario, so that later messages need no card
    draw: int                       # 0..99, for what happens to some payments only


class Seal:
    """Keyed BLAKE2s under the seed: a MAC as HMAC is one (RFC 7693), in one pass instead of two; 's' because the texts are short."""

    __slots__ = ("_keyed",)

    def __init__(self, seed: int) -> None:
        self._keyed = blake2s(key=seed.to_bytes(32, "big", signed=True), digest_size=32)

    def chance(self, digits: str, key: str) -> str:
        """The 32 decimal digits that decide everything about one message."""
        mac = self._keyed.copy()
        mac.update(f"{digits}|{key}".encode())
        return mac.digest().translate(_DIGITS).decode()

    def octets(self, digits: str, key: str) -> bytes:
        """32 octets that follow from a card number and a key."""
        mac = self._keyed.copy()
        mac.update(f"{digits}|{key}".encode())
        return mac.digest()

    def marks(self, digits: str, key: str, scenario: str) -> Marks:
        """The marks of one message."""
        return marks(self.chance(digits, key), scenario)

    def account(self, digits: str) -> str:
        """The account behind a card number: a name that does not show the number."""
        return "a" + self.chance(digits, "account")[:23]


def marks(chance: str, scenario: str) -> Marks:
    """The 32 digits of ``Seal.chance`` taken apart."""
    return Marks(chance[:15], chance[15:21], chance[21:29] + (scenario or "0000"), int(chance[29:31]))


class Answer(NamedTuple):
    """What the issuer says: DE 39, the approved amount (0 when declined), merchant advice, security code result."""

    code: str
    minor: int
    advice: str = ""
    security_code_result: str = ""


def answer(message: Ask, scenario: Scenario, code: str, draw: int, digits: str) -> Answer:
    """The issuer's answer to a message that reached it.  ``code`` is what the scenario says to this payment; ``digits`` the card
    number, or empty where the message only cites its original.
    """
    kind = message.kind
    if kind not in REQUESTS:
        if scenario.reversal_answer and kind in GIVES_BACK:
            return Answer(scenario.reversal_answer, message.minor)
        for refused, refusal in scenario.refuses:
            if refused is kind:
                return Answer(refusal, 0)
        return Answer("00", message.minor) if code in APPROVING or code == "10" else Answer(code, 0)
    result = ""
    if kind is not Kind.INCREMENT:
        refusal, result = look_at_card(message, scenario, digits)
        if refusal:
            return Answer(refusal, 0, security_code_result=result)
    for refused, refusal in scenario.refuses:
        if refused is kind:
            return Answer(refusal, 0)
    if kind is Kind.INCREMENT:
        code = scenario.increment_answer or code
    elif scenario.in_store and message.channel == "store":
        return Answer(scenario.in_store, 0, "", result)
    if scenario.soak and draw < len(SOAK):
        code = SOAK[draw]
    if code in APPROVING:
        return Answer(code, message.minor, "", result)
    if code == "10":
        half = message.minor // 2
        return Answer("10", half, "", result) if message.accepts_partial and half else Answer("51", 0)
    if code == "05" and scenario.advice and brand_of(digits) is Brand.MASTERCARD:
        code = "79"                 # Mastercard says "life cycle, see the merchant advice code"
    if code == "08" and message.channel == "store":
        return Answer(code, message.minor)
    return Answer(code, 0, scenario.advice)


def effect_of(message: Ask, scenario: Scenario, delivery: Delivery, said: Answer) -> tuple[Effect, str]:
    """What the answer does at the issuer, and what an operator should know about it (or nothing)."""
    kind = message.kind
    if not said.minor:
        return Effect.DECLINED, "a capture was declined although the hold stands" if kind is Kind.CAPTURE else ""
    if scenario.reversal_answer and kind in GIVES_BACK:
        return Effect.NOTHING, "answered as if there were nothing to give back, although the hold stands"
    if delivery is Delivery.CONFLICTING:
        return Effect.APPROVED, "approved, then declined 05 in a second answer"
    return Effect.APPROVED, ""


def outcome_of(message: Ask, said: Answer, marks: Marks, scenario: Scenario) -> Approved | Declined:
    """The issuer's answer as an outcome.  Later messages keep the original's reference, as the networks do; captures its approval code too."""
    original = message.original
    reference = original.processor_reference if original and original.processor_reference else marks.reference
    if not said.minor:
        return Declined(said.code, said.advice, reference)
    if original is None:
        return Approved(
            said.minor, marks.approval_code, marks.scheme_reference, reference, said.code, said.security_code_result,
            scenario.address_result, "" if message.evidence is None else message.evidence.eci,
        )
    kind = message.kind
    approval = marks.approval_code if kind is Kind.INCREMENT or kind is Kind.REFUND else original.approval_code
    return Approved(said.minor, approval, original.scheme_reference or marks.scheme_reference, reference, said.code)


def look_at_card(message: Ask, scenario: Scenario, digits: str) -> tuple[str, str]:
    """DE 39 where the card itself is refused, else ``""``; and the security code's result (M, N, P, U or nothing)."""
    at = message.at
    if message.expiry and not is_good_expiry(message.expiry, at) and not takes_old_expiry(digits, message.expiry):
        return "54", ""
    result = ""
    if message.security_code is not None:
        sent = message.security_code.reveal()
        result = scenario.security_code_result or CODE_RESULTS.get(sent, "M")
        if result == "N" and not scenario.security_code_result:
            return "N7", "N"
    elif scenario.security_code_result:
        result = scenario.security_code_result
    if message.initiation is not Initiation.CARDHOLDER and not message.cited_reference:
        # Without the reference of a first payment it looks like a cardholder's payment that nobody authenticated.  The step-up
        # codes say so, and being no hard decline they do not block the card.
        return step_up(digits), result
    if (
        scenario.wants_authentication and message.initiation is Initiation.CARDHOLDER and message.channel == "ecommerce"
        and (message.evidence is None or not message.evidence.cavv)
    ):
        return step_up(digits), result
    return "", result


def step_up(digits: str) -> str:
    """DE 39 of an issuer that wants to know who pays: 65 of Mastercard, else 1A."""
    return "65" if brand_of(digits) is Brand.MASTERCARD else "1A"


CODE_RESULTS = {"999": "N", "9999": "N", "998": "P", "9998": "P"}
"""What is said to a security code; to any other, M."""


def is_good_expiry(expiry: str, at: datetime) -> bool:
    """Whether a card of that expiry (YYMM) can be paid with on the day of ``at``, UTC."""
    return _good(expiry, at.year, at.month, at.day)


@lru_cache(1024)
def _good(expiry: str, year: int, month: int, day: int) -> bool:
    now = datetime(year, month, day, tzinfo=UTC)
    return plausible_expiry(expiry, now) and not expiry_passed(expiry, now)

