"""Scenarios: which card, and which amount, has the issuer do what.  Tables only.

A number of our own scheme is an 8-digit prefix, four digits of scenario, an instance (another instance is another account with the same
behaviour) and the Luhn digit.  Well-known test numbers of other systems are looked up first, whole, and keep their meaning.
Refuses to know messages and money: ``issuer`` answers, ``accounts`` counts.
"""
from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from ringfence.core.card import Brand, brand_of, check_digit, luhn_valid, security_code_length
from ringfence.core.commands import Kind
from ringfence.core.outcomes import Silence
from ringfence.processors.simulator.cases import TEXTS


class Delivery(IntEnum):
    """What becomes of the issuer's answer on its way to us, or of the question on its way to the issuer.  T1 is our patience."""

    AT_ONCE = 0
    SLOW = 1            # answered at 0.8 T1
    SILENT = 2          # carried out, never answered
    LATE = 3            # carried out, answered after T1
    CUT = 4             # carried out, the connection closes before the answer
    GARBLED = 5         # carried out, the answer cannot be believed
    CONFLICTING = 6     # carried out, approved first and declined afterwards: the first counts, with an alarm
    LOST = 7            # the connection closes before anything is carried out
    VANISHED = 8        # never reached the issuer, nobody says so
    OVERTAKEN = 9       # reaches the issuer only after our reversal did


# Tuples, not sets: an enumeration's hash costs more than three comparisons.
NEVER_ARRIVES = (Delivery.LOST, Delivery.VANISHED, Delivery.OVERTAKEN)
UNHEARD = (Delivery.SILENT, Delivery.LATE, Delivery.VANISHED, Delivery.OVERTAKEN)

#: Why we do not know what became of a message.
WHY: dict[Delivery, Silence] = {
    Delivery.SILENT:    Silence.NO_ANSWER,
    Delivery.LATE:      Silence.NO_ANSWER,
    Delivery.VANISHED:  Silence.NO_ANSWER,
    Delivery.OVERTAKEN: Silence.NO_ANSWER,
    Delivery.CUT:       Silence.CONNECTION_LOST,
    Delivery.LOST:      Silence.CONNECTION_LOST,
    Delivery.GARBLED:   Silence.NOT_BELIEVABLE,
}


class Scenario(NamedTuple):
    """How one kind of card behaves.  ``answers`` are DE 39 values for its first, second ... payment; the last one stays."""

    text: str
    answers: tuple[str, ...] = ("00",)
    advice: str = ""                            # merchant advice code sent with a decline
    delivery: Delivery = Delivery.AT_ONCE       # of authorizations, purchases and increments ...
    spares_first: bool = False                  # ... or of increments alone
    increment_answer: str = ""                  # DE 39 of increments, where it is another one
    in_store: str = ""                          # DE 39 of a first message from a store, where it is another one
    repeats_heard: bool = True                  # whether a repeat of such a message gets the stored answer
    refuses: tuple[tuple[Kind, str], ...] = ()  # later operations that are declined, with DE 39
    unanswered_captures: int = 0                # how many times a capture's answer is lost
    unanswered_reversals: int = 0               # how many reversals are lost; -1: all
    reversal_answer: str = ""                   # DE 39 of a reversal that leaves the hold standing
    drops_hold: bool = False                    # the issuer drops the hold early
    ten_majors: int = -1                        # balance of the account in tens of major units; -1: without limit
    soak: bool = False                          # one payment in ten is declined, chosen by the seed
    security_code_result: str = ""              # said whatever is sent
    address_result: str = ""
    special: str = ""                           # a part that comes with hosted pages, disputes or stores; without it, approved
    is_open: bool = False                       # magic amounts may choose the outcome
    after: str = ""                             # what the issuer does about the captured money: a row of ``cases``
    wants_authentication: bool = False          # a cardholder's payment without the proof of an authentication is declined 1A (65)

    @property
    def has_account(self) -> bool:
        """Whether the answer depends on what was asked before: balances, counters, holds."""
        return len(self.answers) > 1 or self.ten_majors >= 0 or self.drops_hold or self.unanswered_captures > 0 or self.after != ""

    @property
    def is_plain(self) -> bool:
        """Whether every message is approved at once, whatever it is."""
        return self == OPEN._replace(
            text=self.text, special=self.special, is_open=self.is_open, security_code_result=self.security_code_result
        )


class Range(NamedTuple):
    """One prefix of our scheme."""

    prefix: str
    length: int

    def number(self, scenario: str, instance: int = 0) -> str:
        """The card number of a scenario, check digit included."""
        digits = self.length - 13
        body = f"{self.prefix}{scenario}{instance:0{digits}d}"
        if len(body) != self.length - 1:
            raise ValueError(f"an instance has {digits} digits here")
        return body + check_digit(body)


RANGES: tuple[Range, ...] = (
    Range("40000099", 16),          # Visa
    Range("55550099", 16),          # Mastercard
    Range("22230099", 16),          # Mastercard, 2-series
    Range("37000099", 15),          # American Express
    Range("44640499", 16),          # mada, in a Visa range
    Range("52974199", 16),          # mada, in a Mastercard range
    Range("50780399", 16),          # Meeza
    Range("60110099", 16),          # Discover
    Range("36000099", 14),          # Diners
    Range("35660099", 16),          # JCB
    Range("62000099", 16),          # UnionPay
    Range("67590099", 16),          # Maestro
)
_BY_PREFIX = {row.prefix: row for row in RANGES}
VISA = RANGES[0]

#: Cards at the gates of stores: what they do there, and DE 39 of what is asked there; elsewhere they are approved.
_IN_STORES = (
    ("2000", "approved; at a gate its chip is read, with a PIN", ""),
    ("2001", "approved; at a gate it is read without contact", ""),
    ("2002", "approved; at a gate its chip cannot be read, its stripe can", ""),
    ("2003", "approved; at a gate its chip declines by itself (AAC)", ""),
    ("2004", "approved; at a gate declined 55, wrong PIN", "55"),
    ("2005", "approved; at a gate declined 75, too many wrong PINs", "75"),
)


def _special(text: str, part: str) -> Scenario:
    return Scenario(text, special=part, is_open=True)


def _payer(text: str) -> Scenario:
    """What is special is said by the access control (``access_control``); whoever is not authenticated there just pays."""
    return Scenario(text, is_open=True)


def _deaf(text: str, delivery: Delivery) -> Scenario:
    return Scenario(text, delivery=delivery, repeats_heard=False)


#: The rows of the scheme that are not a family of their own (see ``scenario_named``).
_ROWS: dict[str, Scenario] = {
    "0000": Scenario("approved, no limit", is_open=True),
    "0010": Scenario("approved for half, rounded down; declined 51 where a partial approval is not supported", ("10",)),
    "0101": Scenario("declined 1A, additional authentication required", ("1A",)),
    "0102": Scenario("declined N7, security code mismatch", ("N7",)),
    "0103": Scenario("declined R0, stop this payment", ("R0",)),
    "0104": Scenario("declined R1, stop all payments of this merchant", ("R1",)),
    "0105": Scenario("declined R3, stop all merchants", ("R3",)),
    "0106": Scenario("declined 6P, verification data failed", ("6P",)),
    "0300": _deaf("no answer; the hold exists until it is reversed", Delivery.SILENT),
    "0301": _deaf("approved too late, after T1", Delivery.LATE),
    "0302": Scenario("approved slowly, at 0.8 T1", delivery=Delivery.SLOW),
    "0303": Scenario("connection closed, not carried out", delivery=Delivery.LOST),
    "0304": Scenario("connection closed after it was carried out", delivery=Delivery.CUT),
    "0305": Scenario("no answer; a repeat gets the stored approval", delivery=Delivery.SILENT),
    "0306": _deaf("no answer; reversals 1 and 2 unanswered too", Delivery.SILENT)._replace(unanswered_reversals=2),
    "0307": _deaf("no answer; reversals never answered", Delivery.SILENT)._replace(unanswered_reversals=-1),
    "0308": Scenario("never reached the issuer; a reversal is answered 25", delivery=Delivery.VANISHED),
    "0309": Scenario("overtaken by its reversal, then declined", delivery=Delivery.OVERTAKEN),
    "0310": Scenario("approved; a capture is unanswered twice", unanswered_captures=2),
    "0400": _deaf("carried out, the answer is garbage", Delivery.GARBLED),
    "0401": _deaf("carried out, the answer is cut off", Delivery.GARBLED),
    "0402": _deaf("carried out, the answer has another trace number", Delivery.GARBLED),
    "0403": _deaf("carried out, the answer has the wrong message type", Delivery.GARBLED),
    "0404": _deaf("carried out, the answer has no response code", Delivery.GARBLED),
    "0405": _deaf("carried out, the answer is for a higher amount", Delivery.GARBLED),
    "0406": Scenario("approved, the same answer twice"),
    "0407": _deaf("carried out, the answer has an unknown element", Delivery.GARBLED),
    "0408": _deaf("carried out, the answer is for another terminal", Delivery.GARBLED),
    "0409": Scenario("approved, the answer in two pieces"),
    "0410": _deaf("carried out, the answer is not authentic", Delivery.GARBLED),
    "0411": Scenario("approved, then declined in a second answer: alarm", delivery=Delivery.CONFLICTING),
    "0500": Scenario("behaves as set through the control interface; approved until then", is_open=True),
    "0501": Scenario("declined 51 once, then approved", ("51", "00")),
    "0502": Scenario("approved, increments declined 51", refuses=((Kind.INCREMENT, "51"),)),
    "0503": Scenario("declined 51 three times, then approved", ("51", "51", "51", "00")),
    "0504": Scenario("approved once, then declined 41", ("00", "41")),
    "0505": Scenario("approved; captures are answered 12: alarm", refuses=((Kind.CAPTURE, "12"),)),
    "0506": Scenario("approved; a reversal or void is answered 21 although the hold stands", reversal_answer="21"),
    "0507": Scenario("approved; refunds declined 57", refuses=((Kind.REFUND, "57"),)),
    "0508": Scenario("approved, the first time with answer 94 and the original's approval code", ("94", "00")),
    "0509": Scenario("one payment in ten declined, chosen by the seed", soak=True),
    "0510": Scenario("approved; the issuer drops the hold early", drops_hold=True),
    "0511": Scenario("approved; increments are approved too late, after T1", delivery=Delivery.LATE, repeats_heard=False, spares_first=True),
    "0512": Scenario("approved; increments are not answered, and raise the hold until they are reversed", delivery=Delivery.SILENT,
                     repeats_heard=False, spares_first=True),
    "0513": Scenario("approved; behind increments the connection closes before the answer, and behind their reversals, always", delivery=Delivery.CUT,
                     repeats_heard=False, spares_first=True, unanswered_reversals=-1),
    "0514": Scenario("approved; increments are approved for half, rounded down", increment_answer="10"),
    "0800": Scenario("approved, security code result M", security_code_result="M", is_open=True),
    "0801": Scenario("approved, security code result N", security_code_result="N", is_open=True),
    "0802": Scenario("approved, security code result U", security_code_result="U", is_open=True),
    "0803": Scenario("approved, address result N", address_result="N", is_open=True),
    "0804": Scenario("approved, address result A", address_result="A", is_open=True),
    "0805": Scenario("approved, address result Z", address_result="Z", is_open=True),
    "0600": _payer("3-D Secure: authenticated at once (Y), approved"),
    "0601": _payer("3-D Secure: a challenge, the person decides on the page"),
    "0602": _payer("3-D Secure: a challenge that always fails (N)"),
    "0603": _payer("3-D Secure: attempted (A), approved"),
    "0604": _payer("3-D Secure: unavailable (U)"),
    "0605": _payer("3-D Secure: rejected by the issuer (R)"),
    "0606": _payer("3-D Secure: a challenge whose result never comes"),
    "0607": _payer("3-D Secure: the directory server answers with an error"),
    "0608": _payer("3-D Secure: a challenge that the person cancels (01)"),
    "0609": Scenario("3-D Secure: authenticated at once (Y), then declined 51", ("51",)),
    "0610": Scenario("declined 1A (Mastercard 65) without 3-D Secure; unavailable (U) at first, a challenge where it is mandated, then approved",
                     wants_authentication=True),
    "0611": _payer("3-D Secure: an exemption is acknowledged (I)"),
    "0612": _payer("3-D Secure: decided elsewhere (D), authenticated a minute later"),
    "0613": _payer("3-D Secure: the browser passes by the issuer first (3DS Method), then authenticated (Y)"),
    "0614": _payer("3-D Secure: a challenge in version 2.1.0, the newest the issuer speaks"),
    "0615": _payer("3-D Secure: a challenge whose result is of an older version than the challenge, and so is none"),
    **{code: Scenario(text, is_open=True, after=code) for code, text in TEXTS.items()},
    "0709": _special("approved", "comes with refunds that are told later"),
    "0711": _special("approved", "comes with settlement"),
    **{f"090{n}": Scenario("declined 54 with merchant advice 01", ("54",), "01") for n in (1, 2, 3, 4)},
    **{code: Scenario(text, is_open=True, in_store=answer) for code, text, answer in _IN_STORES},
}
OPEN = _ROWS["0000"]

#: Merchant advice codes of the 02NN family.
ADVICES = ("01", "02", "03", "21", "24", "25", "26", "27", "28", "29", "30", "40")

#: DE 39 values that approve (class A of the response codes, for a payment where no card is present).
APPROVING = frozenset({"00", "11", "16", "87", "94"})

#: The soak scenario's declines: of 100 payments, in this order.
SOAK = ("51", "51", "51", "51", "05", "05", "05", "91", "61", "54")


def _build() -> dict[str, Scenario]:
    families = {
        **{f"00{n:02}": Scenario(f"always answered {n:02}", (f"{n:02}",)) for n in range(100)},
        **{f"02{advice}": Scenario(f"declined 05 (Mastercard 79) with merchant advice {advice}", ("05",), advice) for advice in ADVICES},
        **{f"1{n:03}": Scenario(f"real account with a balance of {n * 10} major units", ten_majors=n) for n in range(1000)},
    }
    return {**families, **_ROWS}


SCENARIOS: dict[str, Scenario] = _build()
"""By the four digits.  A code that is not here behaves as 0000."""

#: Well-known numbers of other systems, and the scenario they mean.
EXACT: dict[str, str] = {
    "4242424242424242": "0000", "4000000000000002": "0005", "4000000000009995": "0051", "4000000000000069": "0054",
    "4000000000000127": "0102", "4000000000000119": "0096", "4000000000009987": "0041", "4000000000009979": "0043",
    "4000000000000259": "0701", "4000000000002685": "0702", "4000000000001976": "0703", "4000000000003220": "0601",
    "4000000000000341": "0005", "4000000000005126": "0708", "4000000000007726": "0709",
    "4005550000000001": "0000", "5123450000000008": "0000", "2223000000000007": "0000", "345678901234564": "0000",
    "4464040000000007": "0000", "5297412542005689": "0601", "5078036246600381": "0000", "5123456789012346": "0000",
    "4557012345678902": "0601", "5313581000123430": "0601", "374200000000004": "0601", "9818950527886700002": "0000",
    "5078036221028566": "0000", "4215375500883243": "0000", "4724439901004942": "0000", "4111111111111111": "0000",
    "4201320111111010": "0000", "4201320000311101": "0051", "4201320131000508": "0041",
}

#: Numbers whose published test cards expired long ago; the old expiry stays good for them.
OLD_EXPIRY = "2105"
_OLD = frozenset({
    "4005550000000001", "5123456789012346", "345678901234564", "4557012345678902", "5313581000123430", "374200000000004",
    "5297412542005689", "9818950527886700002", "5078036221028566", "4215375500883243", "4000000000000002", "4724439901004942",
})


def scenario_code(digits: str) -> str:
    """The four digits of scenario a card number stands for; ``""`` for a number of nobody's table."""
    if (code := EXACT.get(digits)) is not None:
        return code
    return scenario_of_prefix(digits)


def scenario_of_prefix(digits: str) -> str:
    """The same of the structured numbers alone."""
    row = _BY_PREFIX.get(digits[:8])
    return digits[8:12] if row is not None and len(digits) == row.length else ""


def scenario_named(code: str) -> Scenario:
    """The behaviour of a scenario code."""
    return SCENARIOS.get(code, OPEN)


def magic_code(minor: int) -> str:
    """The scenario a magic amount stands for (its last four digits of minor units: 90RR, 91NN, 92NN, 93NN, 94NN), or ``""``."""
    family, number = divmod(minor % 10_000, 100)
    code = {90: f"00{number:02}", 91: f"03{number:02}", 92: f"04{number:02}", 93: f"07{number:02}", 94: f"06{number:02}"}.get(family, "")
    return code if code in SCENARIOS else ""


def is_test_number(digits: str) -> bool:
    """Whether the number belongs to the sandbox's own tables."""
    return scenario_code(digits) != "" and luhn_valid(digits)


def card_of_scenario(code: str) -> str:
    """The first Visa number of a scenario."""
    return VISA.number(code)


def takes_old_expiry(digits: str, yymm: str) -> bool:
    """Whether this long past expiry is still good for this published test number."""
    return yymm == OLD_EXPIRY and digits in _OLD


#: Every scenario with a row of its own, a few of each family, in order.
_SHOWN = sorted(
    [code for code, scenario in _ROWS.items() if not scenario.special]
    + ["0005", "0014", "0041", "0043", "0051", "0054", "0057", "0059", "0061", "0065", "0091", "0096"]
    + [f"02{advice}" for advice in ADVICES] + ["1005", "1010"]
)
TEST_EXPIRY = "3912"


def test_cards() -> list[dict[str, str]]:
    """The sandbox's cards, for people: number, brand, expiry (YYMM), security code, scenario and what it does."""
    return [
        {
            "number": number, "brand": str(brand), "expiry": TEST_EXPIRY,
            "security_code": "1234" if security_code_length(brand) == 4 else "123",
            "scenario": code, "behaviour": scenario_named(code).text,
        }
        for number, code in _shown() if (brand := brand_of(number) or Brand.VISA)
    ]


test_cards.__test__ = False  # type: ignore[attr-defined]  # a table, not a test


def _shown() -> Iterator[tuple[str, str]]:
    yield from ((VISA.number(code), code) for code in _SHOWN)
    yield from ((row.number(code), code) for row in RANGES[1:] for code in ("0000", "0051"))
    yield from EXACT.items()
