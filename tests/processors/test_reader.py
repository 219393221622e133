"""The simulated reader: what it records is well formed, and the same whenever the same card is read as often."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from ringfence.core.card import Brand, Pan
from ringfence.core.emv import CardRead, Presented
from ringfence.processors.simulator import Reader
from ringfence.processors.simulator.issuer import Seal
from ringfence.processors.simulator.reader import APPLICATIONS, read
from ringfence.processors.simulator.scenarios import RANGES, VISA

SEAL = Seal(7)
FORMS = {
    "entry_mode": r"02|05|07|80|90", "brand": r"[A-Z]+", "tail": r"[0-9]{4}", "expiry": r"[0-9]{4}", "pan_sequence_number": r"[0-9]{2}",
    "application_id": r"(?:[0-9A-F]{2}){5,16}", "application_label": r"[A-Z ]{1,16}", "cryptogram_information": r"80|00",
    "cryptogram": r"[0-9A-F]{16}", "cvm_result": r"[0-9A-F]{6}", "tvr": r"[0-9A-F]{10}", "issuer_data": r"(?:[0-9A-F]{2}){1,32}",
    "atc": r"[0-9A-F]{4}", "unpredictable_number": r"[0-9A-F]{8}", "terminal_id": r"[0-9A-Z]{8}",
}
OF_EVERY_CARD = ("entry_mode", "brand", "tail", "expiry", "terminal_id")


def at_the_gate(number: str, presented: Presented, atc: int = 1, minor: int = 2000) -> CardRead:
    return read(Pan(number), "3912", presented, minor, "GATE0007", atc, SEAL)


@pytest.mark.parametrize("row", RANGES, ids=lambda row: row.prefix)
@pytest.mark.parametrize("presented", list(Presented))
def test_what_is_read_is_well_formed(row, presented):
    record = at_the_gate(row.number("0000"), presented)
    is_stripe = presented in (Presented.STRIPE, Presented.FALLBACK)
    for name, form in FORMS.items():
        value = getattr(record, name)
        if is_stripe and name not in OF_EVERY_CARD:
            assert value == "", name
        else:
            assert re.fullmatch(form, value), (name, value)
    assert record.tsi == ("E800" if presented is Presented.CHIP else "")
    assert record.is_wallet == (presented is Presented.WALLET)
    assert record.response_code == ""


def test_every_brand_has_its_application():
    assert set(APPLICATIONS) == set(Brand)


@pytest.mark.parametrize(("presented", "entry", "cvm"), [
    (Presented.CHIP, "05", "420300"), (Presented.CONTACTLESS, "07", "1F0302"), (Presented.WALLET, "07", "1F0302"),
    (Presented.STRIPE, "02", ""), (Presented.FALLBACK, "80", ""),
])
def test_how_it_is_presented_shows(presented, entry, cvm):
    record = at_the_gate(VISA.number("0000"), presented)
    assert (record.entry_mode, record.cvm_result) == (entry, cvm)


def test_the_cryptogram_follows_from_card_count_and_amount():
    number = VISA.number("0000")
    first = at_the_gate(number, Presented.CHIP)
    assert first == at_the_gate(number, Presented.CHIP)
    others = [at_the_gate(number, Presented.CHIP, atc=2), at_the_gate(number, Presented.CHIP, minor=2001),
              at_the_gate(VISA.number("0000", 1), Presented.CHIP)]
    assert len({first.cryptogram, *(other.cryptogram for other in others)}) == 4
    assert others[0].atc == "0002"
    assert others[0].unpredictable_number != first.unpredictable_number


def test_a_card_may_decline_by_itself():
    record = at_the_gate(VISA.number("2003"), Presented.CHIP)
    assert (record.cryptogram_information, record.response_code) == ("00", "Z1")


@pytest.mark.anyio
async def test_readings_are_counted_by_card_in_every_process(tmp_path: Path):
    readers = [Reader(tmp_path, 7), Reader(tmp_path, 7)]
    card, other = Pan(VISA.number("2000")), Pan(VISA.number("0000"))
    found = [await readers[turn % 2].read(card, "3912", None, 100, "GATE0001") for turn in range(4)]
    assert [one.atc for one in found] == ["0001", "0002", "0003", "0004"]
    assert {one.entry_mode for one in found} == {"05"}, "as the card is used to be presented"
    assert (await readers[0].read(other, "3912", None, 100, "GATE0001")).atc == "0001"
    for reader in readers:
        await reader.close()


def test_nothing_of_the_number_but_its_tail_is_recorded():
    number = VISA.number("0000", 123)
    record = at_the_gate(number, Presented.CHIP)
    assert number[:12] not in repr(record) and number not in repr(record)
