"""A receipt: what a shopper is told about what a trip cost, as a value that says the same for ever.

Pure.  Decides what a receipt holds: what every card scheme wants on it, and nothing that may not stand there.  The expiry of a card has no
field here, and of its number there are four digits.  What was charged and what is owed stand apart; money given back has receipts of its own.
Refuses to know how a receipt looks (``receipt_sheet``), and what its words are (``receipt_words``).

Amounts are minor units of the receipt's currency; instants are business time, UTC.
"""
from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from ringfence.core.cart import Cart, Part
from ringfence.core.emv import CardRead, ReceiptData
from ringfence.core.emv_words import cryptogram_of, cvm_of, entry_of, label_of

LONGEST = 120
"""Signs of one text that a retailer wrote."""


class Kind(StrEnum):
    """What happened."""

    SALE = "sale"                   # something was charged
    REFUND = "refund"               # something of it was given back
    NOT_CHARGED = "not_charged"     # the trip ended without a charge: declined, cancelled or too late


@dataclass(frozen=True, slots=True)
class Store:
    """Where it was.  ``merchant``: the name that people know; ``merchant_number``: the acquirer's; ``zone``: whose hours the receipt tells."""

    merchant: str
    store: str
    name: str = ""
    address: tuple[str, ...] = ()
    merchant_number: str = ""
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Card:
    """What a receipt says of a card and of how it was read.  ``entry`` and ``cvm`` are keys of words."""

    brand: str = ""
    label: str = ""
    tail: str = ""
    pan_sequence_number: str = ""
    entry: str = ""
    cvm: str = ""
    application_id: str = ""
    tvr: str = ""
    tsi: str = ""
    issuer_data: str = ""
    cryptogram: str = ""
    response_code: str = ""
    approval_code: str = ""
    terminal_id: str = ""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt.  ``number`` names it and what it is about; ``at``: when that happened; ``visited_at``: when the shopper came.

    ``minor``: what was charged or given back; ``total``: what the cart cost (of a refund: what was charged).  ``of``: the number of the
    receipt whose money a refund gives back, ``reason`` why, a word of the protocol.  ``replaces``: the number of an earlier one that said less.
    """

    kind: Kind
    number: str
    trip: str
    at: datetime
    visited_at: datetime
    currency: str
    minor: int
    total: int
    store: Store
    card: Card
    cart: Cart | None = None
    reconciliation_id: str = ""
    statement_id: str = ""
    of: str = ""
    reason: str = ""
    replaces: str = ""

    @property
    def outstanding(self) -> int:
        """What the shopper took and did not pay, when the trip ended; a refund owes nothing."""
        return 0 if self.kind is Kind.REFUND else self.total - self.minor

    @property
    def told(self) -> tuple[object, ...]:
        """What makes another receipt necessary once it is no longer so: what happened, and the amounts."""
        return self.kind, self.minor, self.total, self.cart, self.card.response_code


def store_of(merchant: str, given: ReceiptData, zone: str = "UTC", merchant_number: str = "") -> Store:
    """Where a trip was.  ``merchant_number`` stands where the store has none of its own."""
    return Store(
        written(merchant), given.store, written(given.store_name), tuple(filter(None, map(written, given.address))),
        written(given.merchant_shown) or merchant_number, zone)


def sale(given: ReceiptData, store: Store, number: str, *, charged: int, at: datetime, total: int = 0, cart: Cart | None = None) -> Receipt:
    """The receipt of a trip that was charged.  ``total``: what the cart cost, where it is known that it was more."""
    assert charged > 0 and (cart is None or cart.currency == given.currency)
    cost = max(charged, total, cart.total if cart is not None else 0)
    return Receipt(
        Kind.SALE, number, given.trip, at, given.started_at, given.currency, charged, cost, store, card_of(given.read, given.approval_code),
        _printable(cart), given.reconciliation_id, given.card_statement_id)


def refund(given: ReceiptData, store: Store, number: str, *, returned: int, charged: int, at: datetime, of: str, reason: str = "",
           reconciliation_id: str = "") -> Receipt:
    """The receipt of money that was given back."""
    assert 0 < returned <= charged
    return Receipt(
        Kind.REFUND, number, given.trip, at, given.started_at, given.currency, returned, charged, store,
        card_of(_seen(given.read), ""), None, reconciliation_id or given.reconciliation_id, given.card_statement_id, of, written(reason))


def not_charged(given: ReceiptData, store: Store, number: str, *, at: datetime, total: int = 0, cart: Cart | None = None,
                response_code: str = "") -> Receipt:
    """What a shopper is told whom nothing was charged.  ``response_code``: why the last raise was declined, "" where none was.

    What the gate's own authorization was answered does not stand on it: that one was not declined, and this is no charge.
    """
    cost = max(total, cart.total if cart is not None else 0)
    return Receipt(
        Kind.NOT_CHARGED, number, given.trip, at, given.started_at, given.currency, 0, cost, store,
        card_of(_seen(given.read, response_code), ""), _printable(cart), given.reconciliation_id, "")


def card_of(read: CardRead, approval_code: str) -> Card:
    """What may stand on a receipt of what a reader recorded."""
    return Card(
        read.brand, written(read.application_label) or label_of(read.application_id), read.tail[-4:], read.pan_sequence_number, entry_of(read),
        cvm_of(read), read.application_id.upper(), read.tvr, read.tsi, read.issuer_data, cryptogram_of(read), read.response_code, approval_code,
        read.terminal_id)


def _seen(read: CardRead, response_code: str = "") -> CardRead:
    """Which card it was and how it was read, without what card and issuer said of the gate's authorization."""
    return CardRead(
        read.entry_mode, read.brand, read.tail, "", read.pan_sequence_number, read.application_id, read.application_label,
        cvm_result=read.cvm_result, terminal_id=read.terminal_id, response_code=response_code, is_wallet=read.is_wallet)


_SPACES = re.compile(r"\s+")


def written(text: str) -> str:
    """What somebody else wrote, so that it can stand in a line: one line, no controls, nothing that turns writing round, and not too long."""
    seen = "".join(sign if unicodedata.category(sign)[0] != "C" else " " for sign in text)
    return _SPACES.sub(" ", seen).strip()[:LONGEST]


def _printable(cart: Cart | None) -> Cart | None:
    return cart and replace(cart, lines=tuple(
        replace(line, product=written(line.product), unit=written(line.unit), promotions=_parts(line.promotions), fees=_parts(line.fees))
        for line in cart.lines))


def _parts(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(part._replace(words=written(part.words)) for part in parts)
