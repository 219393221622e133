"""The proof's result, as values: checks, the books of each merchant and currency, the whole.

What may be long is listed up to a limit and counted beyond it.  Refuses to know how anything is checked.
"""
from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from ringfence.core.money import format_minor
from ringfence.core.proof import CHECKS
from ringfence.engine.acknowledged import Acknowledged
from ringfence.engine.chain_check import Chain

EXAMPLES = 20
EXCEPTIONS = 1000
"""How many are listed per check and per merchant and currency; all of them are counted."""


class Check:
    """One check of one merchant and currency."""

    __slots__ = ("count", "examples", "note")

    def __init__(self, note: str = "") -> None:
        self.count, self.note = 0, note
        self.examples: list[dict[str, Any]] = []

    def violated(self, example: dict[str, Any]) -> None:
        """Note a violation; the first ones are listed."""
        self.count += 1
        if self.count <= EXAMPLES:
            self.examples.append(example)

    @property
    def ok(self) -> bool:
        """Whether nothing disagreed."""
        return not self.count

    def as_json(self) -> dict[str, Any]:
        """For machines: what is empty is left out."""
        said: dict[str, Any] = {"ok": self.ok}
        if self.count:
            said |= {"count": self.count, "examples": self.examples}
        return said | ({"note": self.note} if self.note else {})


class Book:
    """The result for one merchant and currency."""

    def __init__(self, merchant: str, currency: str) -> None:
        self.merchant, self.currency = merchant, currency
        self.accounts: dict[str, int] = {}
        self.checks = {name: Check() for name in CHECKS}
        self.exceptions: list[dict[str, Any]] = []
        self.exception_count = 0

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks.values())

    def noticed(self, exception: dict[str, Any]) -> None:
        """Something a person should see, though nothing is wrong in the books."""
        self.exception_count += 1
        if self.exception_count <= EXCEPTIONS:
            self.exceptions.append(exception)

    def amount(self, minor: int) -> str:
        """Minor units as people write them; plain where the currency is none."""
        try:
            return format_minor(minor, self.currency)
        except KeyError:
            return f"{minor} {self.currency}"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "merchant": self.merchant, "currency": self.currency, "ok": self.ok, "accounts": self.accounts,
            "checks": {name: check.as_json() for name, check in self.checks.items()},
            "exceptions": self.exceptions, "exception_count": self.exception_count,
        }


class Proof(NamedTuple):
    """The whole result.  ``at``: the past instant that was asked for, or ``None``."""

    books: tuple[Book, ...]
    chain: Chain
    at: datetime | None
    full: bool
    acknowledged: Acknowledged | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong; exceptions are no faults."""
        return self.chain.ok and all(book.ok for book in self.books) and (self.acknowledged is None or self.acknowledged.ok)

    def as_json(self) -> dict[str, Any]:
        """For machines: amounts are minor units, ids are texts (they have 63 bits)."""
        return {
            "ok": self.ok, "at": self.at.isoformat() if self.at else None, "full": self.full,
            "merchants": [book.as_json() for book in self.books],
            "chain": self.chain.as_json() if self.at is None else {
                name: value for name, value in self.chain.as_json().items() if name != "checked"
            },
            "heads": [
                {"lane": head.lane, "number": head.number, "digest": head.digest.hex(), "committed_at": head.committed_at.isoformat()}
                for head in self.chain.heads
            ],
            "acknowledged": self.acknowledged.as_json() if self.acknowledged else None,
        }
