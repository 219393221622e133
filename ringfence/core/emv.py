"""What a card reader recorded: the values of a chip, of a contactless card, of a stripe.

Pure.  Knows the fields and what may stand in them; refuses to know who reads a card, and what a receipt calls any of it.  None of them is
secret, but the expiry: it is told to the retailer and printed nowhere.
Source: EMV book 3 annex A (tags), ISO 8583 (DE 22, 23, 39, 41); Just Walk Out payments, GetTransactionalData.
"""
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Entry(StrEnum):
    """How a card was read: tag 9F39, two digits."""

    STRIPE = "02"           # magnetic stripe
    CHIP = "05"             # contact chip
    CONTACTLESS = "07"      # contactless EMV, phones included
    FALLBACK = "80"         # the chip could not be read, the stripe was
    FULL_STRIPE = "90"      # the stripe, full and unaltered


class Presented(StrEnum):
    """What is held to the reader of a gate."""

    CHIP = "chip"
    CONTACTLESS = "contactless"
    WALLET = "wallet"                   # a phone or a watch: its number is the device's
    STRIPE = "stripe"
    FALLBACK = "fallback"


ENTRIES: dict[Presented, Entry] = {
    Presented.CHIP: Entry.CHIP, Presented.CONTACTLESS: Entry.CONTACTLESS, Presented.WALLET: Entry.CONTACTLESS, Presented.STRIPE: Entry.STRIPE,
    Presented.FALLBACK: Entry.FALLBACK,
}

#: Ways of reading that leave no chip data behind.
STRIPES = frozenset({Entry.STRIPE, Entry.FALLBACK, Entry.FULL_STRIPE})


@dataclass(frozen=True, slots=True)
class CardRead:
    """One reading of a card at a gate.  Text in upper case hexadecimal where the tag is binary; empty where a stripe has none."""

    entry_mode: str = ""                    # 9F39: see ``Entry``
    brand: str = ""                         # VISA, MASTERCARD, AMEX, …
    tail: str = ""                          # last four digits, of the device number of a phone
    expiry: str = ""                        # 5F24: YYMM
    pan_sequence_number: str = ""           # 5F34: two digits
    application_id: str = ""                # 4F / 84: 10 to 32 hexadecimal characters
    application_label: str = ""             # 50: up to 16 characters
    cryptogram_information: str = ""        # 9F27: "80" asked online, "40" approved, "00" declined
    cryptogram: str = ""                    # 9F26: 16 characters
    cvm_result: str = ""                    # 9F34: six characters
    tvr: str = ""                           # 95: ten characters
    tsi: str = ""                           # 9B: four characters
    issuer_data: str = ""                   # 9F10: up to 64 characters
    atc: str = ""                           # 9F36: four characters, counts per card
    unpredictable_number: str = ""          # 9F37: eight characters
    terminal_id: str = ""                   # 9F1C / DE 41: eight characters
    response_code: str = ""                 # 8A / DE 39: two characters, "00" approved
    is_wallet: bool = False                 # a phone or a watch: the number is the device's


@dataclass(frozen=True, slots=True)
class ReceiptData:
    """What a captured trip's receipt and GetTransactionalData are made of.  Amounts in minor units of ``currency``; times are business time,
    UTC."""

    store: str
    trip: str                               # shoppingTripId
    read: CardRead
    currency: str
    captured: int                           # 0 before a capture, where a merchant's setting lets it be read then
    refunded: int
    started_at: datetime
    captured_at: datetime | None
    approval_code: str                      # DE 38 of the gate's authorization
    reconciliation_id: str                  # the same for every question about this trip
    card_statement_id: str                  # what the cardholder finds on his statement
    store_name: str = ""
    address: tuple[str, ...] = ()
    merchant_shown: str = ""                # DE 42: the merchant's number as the acquirer knows it
