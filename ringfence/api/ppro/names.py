"""The names of this door's objects: a prefix, and 21 characters that hold a number and a keyed check of both.

So that no table is needed to read a name, a name of one kind is none of another, and a name that nobody gave out is told from one that
somebody did before the database is asked.  Refuses to know whose an object is: whoever loads it asks for the merchant's.
"""
from __future__ import annotations

import hashlib
import hmac

from ringfence.core.ids import LARGEST

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LENGTH = 21
"""62 ** 21 is a little more than 2 ** 125: 63 bits of a number, and 62 of its check."""
OPERATIONS = ("charge", "authz", "capture", "void", "refund")
"""Prefixes of payments and of what is asked of them."""
_CHECK_BITS = 62
_CHECK = (1 << _CHECK_BITS) - 1
_VALUE = {sign: place for place, sign in enumerate(ALPHABET)}
_PURPOSE = b"ringfence names of the ppro door 1"
_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)
_TWO, _FOUR, _ELEVEN = 62 ** 2, 62 ** 4, 62 ** 11
"""So many values have two characters, four (the most by which a long number is divided at the price of a short one) and eleven (more than a
check has)."""


class Names:
    """Makes and reads names.  Prints without its key."""

    __slots__ = ("_begun", "_key")

    def __init__(self, content_key: bytes) -> None:
        """``content_key``: of the key ring, the same for the life of the installation."""
        self._key = hmac.digest(content_key, _PURPOSE, "sha256")
        self._begun: dict[str, hashlib.blake2b] = {}            # by prefix: what is the same in all its checks is hashed once

    def make(self, prefix: str, number: int) -> str:
        """The name of the object of that kind with that number (63 bits)."""
        return self.several(number, prefix)[0]

    def several(self, number: int, *prefixes: str) -> list[str]:
        """The names of objects of these kinds that share a number.  Their first ten characters are mostly the same ones: written once."""
        high, rest = divmod(number << _CHECK_BITS, _ELEVEN)
        ten, tens_of, named = "", -1, []
        for prefix in prefixes:
            low, first = rest + self._check(prefix, number), high
            if low >= _ELEVEN:
                low, first = low - _ELEVEN, high + 1
            if first != tens_of:
                tens_of = first
                first, two = divmod(first, _FOUR)
                first, one = divmod(first, _FOUR)
                ten = f"{_PAIRS[first]}{_PAIRS[one // _TWO]}{_PAIRS[one % _TWO]}{_PAIRS[two // _TWO]}{_PAIRS[two % _TWO]}"
            low, four = divmod(low, _FOUR)
            low, three = divmod(low, _FOUR)
            signs = (f"{ten}{ALPHABET[low // _TWO]}{_PAIRS[low % _TWO]}{_PAIRS[three // _TWO]}{_PAIRS[three % _TWO]}{_PAIRS[four // _TWO]}"
                     f"{_PAIRS[four % _TWO]}")
            named.append(f"{prefix}_{signs}" if prefix else signs)
        return named

    def event(self, merchant_id: int, what: str, subject: int, place: int, prefix: str = "") -> str:
        """The name of a message about a subject: the same however often it is made.  ``what`` tells rows of events apart."""
        text = b"event:%d:%s:%d:%d" % (merchant_id, what.encode(), subject, place)
        value = int.from_bytes(hashlib.blake2b(text, key=self._key, digest_size=24).digest(), "big")
        signs = []
        for _ in range(LENGTH):
            value, sign = divmod(value, len(ALPHABET))
            signs.append(ALPHABET[sign])
        return f"{prefix}_{''.join(signs)}" if prefix else "".join(signs)

    def read(self, prefix: str, name: str) -> int | None:
        """The number of an object of that kind; ``None`` for what this never made."""
        signs = name.removeprefix(f"{prefix}_") if prefix else name
        if len(signs) != LENGTH or (prefix and signs is name):
            return None
        value = 0
        for sign in signs:
            place = _VALUE.get(sign)
            if place is None:
                return None
            value = value * 62 + place
        number, check = value >> _CHECK_BITS, value & _CHECK
        return number if number < 1 << 63 and check == self._check(prefix, number) else None

    def operation(self, name: str) -> int | None:
        """The number of a payment or of one of its operations, by its name here or in plain digits; ``None`` for what is neither."""
        for prefix in OPERATIONS:
            if (number := self.read(prefix, name)) is not None:
                return number
        number = int(name) if name.isascii() and name.isdecimal() and len(name) <= 19 else LARGEST + 1
        return number if number <= LARGEST else None

    def _check(self, prefix: str, number: int) -> int:
        begun = self._begun.get(prefix)
        if begun is None:
            begun = self._begun[prefix] = hashlib.blake2b(b"%s:" % prefix.encode(), key=self._key, digest_size=8)
        whole = begun.copy()
        whole.update(b"%d" % number)
        return int.from_bytes(whole.digest(), "big") & _CHECK
