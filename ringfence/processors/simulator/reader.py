"""The reader at a simulated gate: what a chip, a contactless card or a stripe of our test cards leaves behind.

Deterministic: everything follows from the card's number, the amount, and how often the card was read before, which is counted beside the
issuer's accounts.  Knows no issuer's answer; a card that declines by itself says so in its cryptogram.
Source: EMV book 3 (tags 4F, 50, 5F34, 82, 95, 9B, 9F10, 9F26, 9F27, 9F34, 9F36, 9F37, 9F39).
"""
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from ringfence.core.card import Brand, Pan
from ringfence.core.emv import ENTRIES, STRIPES, CardRead, Presented
from ringfence.processors.simulator.accounts import Accounts
from ringfence.processors.simulator.issuer import Seal
from ringfence.processors.simulator.scenarios import scenario_code


class Application(NamedTuple):
    """What a brand's chip calls itself, and how its issuer's data begins."""

    identifier: str
    label: str
    issuer_data: str


APPLICATIONS: dict[Brand, Application] = {
    Brand.VISA:       Application("A0000000031010", "VISA CREDIT", "06010A03A0A000"),
    Brand.MASTERCARD: Application("A0000000041010", "MASTERCARD", "0110A04001220000000000000000000000FF"),
    Brand.MAESTRO:    Application("A0000000043060", "MAESTRO", "0110A04001220000000000000000000000FF"),
    Brand.AMEX:       Application("A000000025010801", "AMERICAN EXPRESS", "06020103A02000"),
    Brand.DISCOVER:   Application("A0000001523010", "DISCOVER", "0105A00003000000"),
    Brand.DINERS:     Application("A0000001523010", "DINERS CLUB", "0105A00003000000"),
    Brand.JCB:        Application("A0000000651010", "JCB CREDIT", "07000103A00002"),
    Brand.UNIONPAY:   Application("A000000333010102", "UNIONPAY CREDIT", "07010103A00000010A010000000000"),
    Brand.MADA:       Application("A0000002281010", "MADA", "06010A03A0A000"),
    Brand.MEEZA:      Application("A0000007320001", "MEEZA", "06010A03A0A000"),
}

#: How the cards of the family 200N are presented where nobody says, and what their chip says by itself (tag 9F27): "00" declined.
USUAL: dict[str, Presented] = {
    "2000": Presented.CHIP, "2001": Presented.CONTACTLESS, "2002": Presented.FALLBACK, "2003": Presented.CHIP, "2004": Presented.CHIP,
    "2005": Presented.CHIP,
}
DECLINES_BY_ITSELF = frozenset({"2003"})

ASKED_ONLINE, DECLINED = "80", "00"
ONLINE_PIN, NO_CVM = "420300", "1F0302"
TVR, TSI = "0000008000", "E800"


def read(pan: Pan, expiry: str, presented: Presented, minor: int, terminal: str, atc: int, seal: Seal) -> CardRead:
    """One reading: the ``atc``-th of this card.  ``minor`` is the amount that its cryptogram covers, ``expiry`` is YYMM."""
    digits, brand, entry = pan.reveal(), pan.brand or Brand.VISA, ENTRIES[presented]
    plain = CardRead(
        entry_mode=entry, brand=str(brand), tail=digits[-4:], expiry=expiry, terminal_id=terminal, is_wallet=presented is Presented.WALLET)
    if entry in STRIPES:
        return plain
    application = APPLICATIONS[brand]
    unpredictable = seal.octets(digits, f"9F37|{atc}")[:4].hex().upper()
    declines = scenario_code(digits) in DECLINES_BY_ITSELF
    is_chip = presented is Presented.CHIP
    return CardRead(
        entry_mode=entry, brand=str(brand), tail=digits[-4:], expiry=expiry, pan_sequence_number="00" if presented is Presented.WALLET else "01",
        application_id=application.identifier, application_label=application.label,
        cryptogram_information=DECLINED if declines else ASKED_ONLINE,
        cryptogram=seal.octets(digits, f"{atc:04X}|{minor}|{unpredictable}")[:8].hex().upper(),
        cvm_result=ONLINE_PIN if is_chip else NO_CVM, tvr=TVR, tsi=TSI if is_chip else "", issuer_data=application.issuer_data,
        atc=f"{atc & 0xFFFF:04X}", unpredictable_number=unpredictable, terminal_id=terminal,
        response_code="Z1" if declines else "", is_wallet=presented is Presented.WALLET)


class Reader:
    """The readers of one process; ``folder`` and ``seed`` are the simulator's."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._accounts, self._seal = Accounts(folder), Seal(seed)
        self._turn = asyncio.Lock()

    async def read(self, pan: Pan, expiry: str, presented: Presented | None, minor: int, terminal: str) -> CardRead:
        """Read a card, the way it is usually presented where nobody says.  ``terminal``: eight characters."""
        digits = pan.reveal()
        presented = presented or USUAL.get(scenario_code(digits), Presented.CONTACTLESS)
        async with self._turn:
            atc = await asyncio.to_thread(self._count, digits)
        return read(pan, expiry, presented, minor, terminal, atc, self._seal)

    def _count(self, digits: str) -> int:
        with self._accounts.change() as change:
            return change.count(f"{self._seal.account(digits)}|atc")

    async def close(self) -> None:
        """Release the file."""
        self._accounts.close()
