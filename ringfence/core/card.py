"""Cards: numbers, brands, security codes and expiry dates.

Decides what a card number is, whose it is and how it is shown.  Refuses to know vaults, tokens and issuers: whether a card is good for
anything is for others to say.  Card numbers and security codes mask themselves wherever they are printed, formatted, logged or encoded;
``reveal`` is called by the vault and the processors only.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, NoReturn


class Brand(StrEnum):
    """The schemes we know by prefix."""

    VISA = "VISA"
    MASTERCARD = "MASTERCARD"
    AMEX = "AMEX"
    MADA = "MADA"
    MEEZA = "MEEZA"
    DISCOVER = "DISCOVER"
    DINERS = "DINERS"
    JCB = "JCB"
    UNIONPAY = "UNIONPAY"
    MAESTRO = "MAESTRO"


class Rule(NamedTuple):
    """What a brand's numbers look like: first digits (``a-b`` is a range), number lengths, digits of the security code."""

    prefixes: str
    lengths: frozenset[int]
    security_code: int


#: ISO/IEC 7812 ranges as the schemes publish them.  The longest prefix wins; mada and Meeza cards lie inside other
#: schemes' ranges and are looked up before them.
RULES: dict[Brand, Rule] = {
    Brand.VISA:       Rule("4", frozenset({13, 16, 19}), 3),
    Brand.MASTERCARD: Rule("51-55 2221-2229 223-269 270-271 2720", frozenset({16}), 3),
    Brand.AMEX:       Rule("34 37", frozenset({15}), 4),
    Brand.DISCOVER:   Rule("6011 644-649 65 622126-622925", frozenset(range(16, 20)), 3),
    Brand.DINERS:     Rule("300-305 3095 36 38 39", frozenset({14, 16, 17, 18, 19}), 3),
    Brand.JCB:        Rule("3528-3589", frozenset(range(16, 20)), 3),
    Brand.UNIONPAY:   Rule("62 81", frozenset(range(16, 20)), 3),
    Brand.MAESTRO:    Rule("50 56-58 6304 6390 67", frozenset(range(12, 20)), 3),
    Brand.MADA: Rule(
        "400861 401757 407197 407395 409201 410685 412565 417633 419593 422817-422819 428331 428671-428673 431361 432328 434107"
        " 439954 440533 440647 440795 445564 446393 446404 446672 455036 455708 457865 458456 462220 468540-468543 483010-483012"
        " 484783 486094-486096 489317-489319 493428 504300 506968 508160 513213 520058 521076 524130 524514 529415 529741 530060"
        " 530906 531095 531196 532013 535825 535989 536023 537767 539931 543085 543357 549760 554180 557606 558848 585265"
        " 588845-588851 588982 588983 589005 589206 604906 605141 636120 968201-968211",
        frozenset({16}), 3,
    ),
    Brand.MEEZA:      Rule("507803 507808-507811 981895", frozenset(range(16, 20)), 3),
}


def _spread(prefixes: str) -> list[str]:
    first_and_last = [part.partition("-") for part in prefixes.split()]
    return [str(n) for first, _, last in first_and_last for n in range(int(first), int(last or first) + 1)]


_DOMESTIC = (Brand.MADA, Brand.MEEZA)
_BY_SIX = {prefix: brand for brand in _DOMESTIC for prefix in _spread(RULES[brand].prefixes)}
_BY_PREFIX = {prefix: brand for brand in RULES if brand not in _DOMESTIC for prefix in _spread(RULES[brand].prefixes)}
_PREFIX_LENGTHS = {first: sorted({len(prefix) for prefix in _BY_PREFIX if prefix[0] == first}, reverse=True) for first in "0123456789"}
"""By the first digit, so that most numbers are looked up once."""

#: Every second digit doubled, less nine above nine, as one table over ASCII.
_DOUBLED = bytes(48 + (2 * (c - 48) - 9 * (c > 52)) if 48 <= c <= 57 else c for c in range(256))


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1 annex B).  False for anything but ASCII digits."""
    if not (digits.isascii() and digits.isdigit()):
        return False
    octets = digits.encode()
    return (sum(octets[-1::-2]) + sum(octets[-2::-2].translate(_DOUBLED)) - 48 * len(octets)) % 10 == 0


def unlike_a_card(new_id: Callable[[], int]) -> int:
    """A new id that nobody takes for a card number: one that fails Luhn, so that a log or a screen does not mask it where it is to be read."""
    while luhn_valid(str(made := new_id())):
        pass
    return made


def check_digit(digits: str) -> str:
    """The digit that makes ``digits`` plus itself pass ``luhn_valid``."""
    octets = digits.encode()
    return str(-(sum(octets[-1::-2].translate(_DOUBLED)) + sum(octets[-2::-2]) - 48 * len(octets)) % 10)


def brand_of(digits: str) -> Brand | None:
    """The scheme a card number belongs to by its first digits, or ``None``.  Six digits are enough."""
    if (brand := _BY_SIX.get(digits[:6])) is not None:
        return brand
    for length in _PREFIX_LENGTHS.get(digits[:1], ()):
        if (brand := _BY_PREFIX.get(digits[:length])) is not None:
            return brand
    return None


def valid_length(brand: Brand, digits: str) -> bool:
    """Whether numbers of this brand have that many digits."""
    return len(digits) in RULES[brand].lengths


def security_code_length(brand: Brand) -> int:
    """How many digits the security code of this brand has."""
    return RULES[brand].security_code


_new = object.__new__


class Pan:
    """A card number of 12 to 19 digits (ISO/IEC 7812).  Shows itself as ``400555******0001``, whoever asks; equal and hashable by its digits.

    Raises ``ValueError`` (which does not show them) for anything else than such digits.  Luhn, brand and length are the caller's to check.
    """

    __slots__ = ("_digits",)

    def __init__(self, digits: str) -> None:
        if not (11 < len(digits) < 20 and digits.isascii() and digits.isdigit()):
            raise ValueError("a card number has 12 to 19 digits")
        self._digits = digits

    @classmethod
    def trusted(cls, digits: str) -> Pan:
        """The number of digits that are known to be one's: the vault sealed them as such, and the seal is whole.  Not checked again."""
        pan = _new(cls)
        pan._digits = digits
        return pan

    def reveal(self) -> str:
        """All digits.  For the vault and the processors."""
        return self._digits

    @property
    def masked(self) -> str:
        """First six and last four digits around six asterisks, whatever the length (PCI DSS 4.0.1, 3.4.1)."""
        return f"{self._digits[:6]}******{self._digits[-4:]}"

    @property
    def last4(self) -> str:
        """The last four digits."""
        return self._digits[-4:]

    @property
    def bin(self) -> str:
        """The issuer's prefix: six digits, eight of a 19-digit Meeza number."""
        digits = self._digits
        return digits[:8] if len(digits) == 19 and brand_of(digits) is Brand.MEEZA else digits[:6]

    @property
    def brand(self) -> Brand | None:
        """See ``brand_of``."""
        return brand_of(self._digits)

    def __repr__(self) -> str:
        return self.masked

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(self.masked, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pan) and self._digits == other._digits

    def __hash__(self) -> int:
        return hash(self._digits)

    def __copy__(self) -> Pan:
        return self

    def __deepcopy__(self, memo: object) -> Pan:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a card number is not serialised")


class SecurityCode:
    """The three or four digits on the card.  Lives in the memory of one request, shows itself as ``***``, and is never written anywhere.

    Raises ``ValueError`` (which does not show them) for anything else than such digits.
    """

    __slots__ = ("_digits",)

    def __init__(self, digits: str) -> None:
        if not (len(digits) in (3, 4) and digits.isascii() and digits.isdigit()):
            raise ValueError("a security code has 3 or 4 digits")
        self._digits = digits

    def reveal(self) -> str:
        """The digits.  For the processors."""
        return self._digits

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __copy__(self) -> SecurityCode:
        return self

    def __deepcopy__(self, memo: object) -> SecurityCode:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a security code is not serialised")


YEARS_AHEAD = 20
"""No card is issued for longer than this."""


def plausible_expiry(yymm: str, now: datetime) -> bool:
    """Whether ``yymm`` can stand on a card: a month 01..12 of a year not more than 20 ahead.  The past is plausible; see ``expiry_passed``."""
    return (
        len(yymm) == 4
        and yymm.isascii()
        and yymm.isdigit()
        and "01" <= yymm[2:] <= "12"
        and 2000 + int(yymm[:2]) <= now.year + YEARS_AHEAD
    )


def expiry_passed(yymm: str, now: datetime) -> bool:
    """Whether a card of that (plausible) expiry is over at ``now``, UTC.

    It is valid through the last day of its month in the issuer's zone.  We do not know the zone, and give one day of slack.
    """
    year, month = 2000 + int(yymm[:2]), int(yymm[2:])
    year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return (now.year, now.month, now.day) >= (year, month, 2)
