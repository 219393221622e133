"""What a card reader recorded, in words: how the card was read, how the shopper was recognized, what the application is called.

Tables to be proof-read; a code that is not in them has no words.  Pure.
Source: EMV book 4 annex A4 (CVM results, 9F34), book 3 (9F27, 9F39); registered application providers (ISO 7816-5) and their products.
"""
from __future__ import annotations

from ringfence.core.emv import STRIPES, CardRead, Entry

#: How the card was read -> the key of its words (``receipt_words``).
ENTRIES: dict[str, str] = {
    Entry.STRIPE: "entry_swipe", Entry.CHIP: "entry_chip", Entry.CONTACTLESS: "entry_contactless", Entry.FALLBACK: "entry_fallback",
    Entry.FULL_STRIPE: "entry_swipe",
}

#: Method of 9F34, its first byte without the bit 0x40 ("if this fails try the next rule") -> the key of its words.
METHODS: dict[int, str] = {
    0x00: "cvm_failed", 0x01: "cvm_pin", 0x02: "cvm_pin", 0x03: "cvm_pin_signature", 0x04: "cvm_pin", 0x05: "cvm_pin_signature",
    0x1E: "cvm_signature", 0x1F: "cvm_none", 0x3F: "cvm_none",
}
NEXT_RULE = 0x40
NO_CVM = 0x1F
FAILED, SUCCESSFUL = 1, 2
"""Third byte of 9F34; 0 is "not known here", as with a PIN that the issuer looks at."""

#: The beginning of an application identifier -> what the application is called; the longest that fits counts.
LABELS: dict[str, str] = {
    "A000000003": "Visa",
    "A0000000031010": "Visa",
    "A0000000032010": "Visa Electron",
    "A0000000032020": "V PAY",
    "A0000000980840": "US Debit",
    "A000000004": "Mastercard",
    "A0000000041010": "Mastercard",
    "A0000000043060": "Maestro",
    "A0000000042203": "US Debit",
    "A000000025": "American Express",
    "A00000002501": "American Express",
    "A000000152": "Discover",
    "A0000001523010": "Discover",
    "A0000001524010": "US Debit",
    "A0000000651010": "JCB",
    "A000000333": "UnionPay",
    "A000000333010101": "UnionPay Debit",
    "A000000333010102": "UnionPay Credit",
    "A000000333010103": "UnionPay Quasi Credit",
    "A0000002771010": "Interac",
    "A0000006200620": "US Debit",
    "A0000002281010": "mada",
    "A000000732": "Meeza",
}
_LENGTHS = sorted({len(prefix) for prefix in LABELS}, reverse=True)

#: Top two bits of 9F27 -> the cryptogram's name.  (EMV book 3, 6.5.5.4)
CRYPTOGRAMS: dict[int, str] = {0x00: "AAC", 0x40: "TC", 0x80: "ARQC"}


def label_of(application_id: str) -> str:
    """What an application is called by its identifier (hexadecimal); "" for one that nobody here knows."""
    given = application_id.upper()
    return next((LABELS[given[:length]] for length in _LENGTHS if given[:length] in LABELS), "")


def entry_of(read: CardRead) -> str:
    """The key of the words for how a card was read; "" where it was not."""
    key = ENTRIES.get(read.entry_mode, "")
    return "entry_device" if read.is_wallet and key == "entry_contactless" else key


def cvm_of(read: CardRead) -> str:
    """The key of the words for how the shopper was recognized.  A gate has nobody to sign before: where nothing was asked, that is said.

    A telephone or a watch that says "no method, successful" has asked its owner itself.
    """
    result = _bytes(read.cvm_result)
    if len(result) != 3:
        return "cvm_none" if read.entry_mode in STRIPES else ""
    method, outcome = result[0] & ~NEXT_RULE, result[2]
    if outcome == FAILED:
        return "cvm_failed"
    if read.is_wallet and method == NO_CVM and outcome == SUCCESSFUL:
        return "cvm_device"
    return METHODS.get(method, "")


def cryptogram_of(read: CardRead) -> str:
    """Type and value of the application cryptogram, ``ARQC 8A…``; "" where there is none."""
    kind = _bytes(read.cryptogram_information)
    if not kind or not read.cryptogram:
        return ""
    return f"{CRYPTOGRAMS.get(kind[0] & 0xC0, 'AC')} {read.cryptogram}"


def _bytes(text: str) -> bytes:
    """Of hexadecimal; empty for what is none."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
