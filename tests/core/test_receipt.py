"""Receipts: what stands on them, what must not, and that they say the same for ever."""
from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core import emv_words
from ringfence.core.cart import Cart, Line, Part
from ringfence.core.emv import CardRead, Entry, ReceiptData
from ringfence.core.receipt import Card, Kind, Receipt, card_of, not_charged, refund, sale, store_of, written
from ringfence.core.receipt_sheet import COLUMNS, Row, Section, Sheet, as_text, local, sheet
from ringfence.core.receipt_words import TEXTS, words

CAME = datetime(2026, 11, 21, 14, 5, tzinfo=UTC)
LEFT = CAME + timedelta(minutes=20)
READ = CardRead(
    Entry.CONTACTLESS, "VISA", "4402", "2904", "00", "A0000000031010", "", "80", "8A1122334455AABB", "1F0302", "0000008000", "E800",
    "06010A03A0B1C2", "0007", "11223344", "GATE0007", "00")
GIVEN = ReceiptData(
    "STORE-001", "7d1f0c52-6f0e-4a55-9a3e-0d9a4f6a1b20", READ, "USD", 642, 0, CAME, LEFT, "742138", "RC2026112100000917", "MC8F31A20B",
    "Corner Store", ("1 Main Street", "Springfield"), "000012345678901")
CART = Cart("USD", (Line("0012345678905", "SKU", 200, "each", 350, 21, 321, (Part(50, "Lunch deal"),)),), 700, 100, 42, 642)
STORE = store_of("Shop One", GIVEN, "America/New_York")
SALE = sale(GIVEN, STORE, "700", charged=642, at=LEFT, cart=CART)
PART = sale(GIVEN, STORE, "701", charged=400, at=LEFT, cart=CART)
BACK = refund(GIVEN, STORE, "702", returned=142, charged=642, at=LEFT, of="700", reason="DAMAGED_ITEM")
DECLINED = not_charged(GIVEN, STORE, "703", at=LEFT, cart=CART, response_code="51")
EMPTY = not_charged(GIVEN, STORE, "704", at=LEFT)


def said(receipt: Receipt, language: str = "en") -> str:
    return as_text(sheet(receipt, language))


def test_a_sale_says_everything_that_schemes_ask_for():
    """Merchant, address, time by the store's clock, references, lines, tax, total, card, entry, approval, application, CVM, terminal, chip."""
    text = said(SALE)
    for piece in ("Shop One", "Corner Store", "1 Main Street", "Springfield", "SALE", "APPROVED", "2026-11-21 09:25 EST", "2026-11-21 09:05 EST",
                  "700", "STORE-001", GIVEN.trip, "0012345678905", "2 x 3.50", "7.00", "Lunch deal", "-1.00", "Tax", "0.42 USD", "Total",
                  "6.42 USD", "VISA **** 4402", "Visa", "Contactless", "742138", "GATE0007", "000012345678901", "No signature required",
                  "A0000000031010", "0000008000", "E800", "06010A03A0B1C2", "ARQC 8A1122334455AABB", "RC2026112100000917", "MC8F31A20B"):
        assert piece in text, piece
    assert re.search(r"Response code +00\n", text) and "Outstanding" not in text


def test_what_was_charged_and_what_is_owed_stand_apart():
    """And what the issuer did not approve is not called approved."""
    text = said(PART)
    assert re.search(r"Total +6\.42 USD\nCharged to card +4\.00 USD\nOutstanding +2\.42 USD\n", text)
    assert "CHARGED IN PART" in text and "approved" not in text.lower() and PART.outstanding == 242


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("receipt", [PART, DECLINED, EMPTY], ids=["part", "declined", "empty"])
def test_nothing_reads_as_approved_where_it_was_not(receipt: Receipt, language: str):
    text = said(receipt, language).lower()
    assert "approv" not in text.replace("approval code", "") and words("approved", "ar") not in text
    if receipt is not PART:
        assert "742138" not in text and "arqc" not in text and "00000080" not in text


def test_a_declined_trip():
    """The code of the decline, not the gate's; the cart is owed."""
    text = said(DECLINED)
    assert "NOT CHARGED" in text and "DECLINED" in text and re.search(r"Response code +51\n", text)
    assert re.search(r"Charged to card +0\.00 USD\nOutstanding +6\.42 USD\n", text)
    assert "Nothing was charged" in said(EMPTY) and "DECLINED" not in said(EMPTY) and "Outstanding" not in said(EMPTY)


def test_a_refund_is_a_receipt_of_its_own():
    text = said(BACK)
    assert "REFUND" in text and "Damaged item" in text and re.search(r"Refund of receipt +700\n", text)
    assert re.search(r"Was charged +6\.42 USD\nRefunded to card +1\.42 USD\n", text)
    assert "0012345678905" not in text and "SALE" not in text and BACK.outstanding == 0
    with pytest.raises(AssertionError):
        refund(GIVEN, STORE, "705", returned=643, charged=642, at=LEFT, of="700")


@given(st.text("0123456789", min_size=4, max_size=4), st.text("0123456789", min_size=12, max_size=15), st.sampled_from(["en", "ar"]))
def test_neither_expiry_nor_number_has_a_way_onto_a_receipt(expiry: str, rest: str, language: str):
    """Whatever the reader recorded: another expiry gives the same receipt, and of a number there are four digits."""
    read = dataclasses.replace(READ, expiry=expiry, tail=rest)
    one = dataclasses.replace(GIVEN, read=read)
    for make in (lambda it: sale(it, STORE, "700", charged=642, at=LEFT, cart=CART),
                 lambda it: not_charged(it, STORE, "700", at=LEFT, total=9, response_code="05")):
        made = make(one)
        assert made == make(dataclasses.replace(GIVEN, read=dataclasses.replace(READ, tail=rest[-4:])))
        assert rest not in said(made, language)
    assert not any("expir" in field.name for kind in (Card, Receipt) for field in dataclasses.fields(kind))


@pytest.mark.parametrize(("result", "read", "key"), [
    ("1F0302", {}, "cvm_none"), ("1F0002", {}, "cvm_none"), ("1F0000", {}, "cvm_none"), ("3F0000", {}, "cvm_none"),
    ("1F0302", {"is_wallet": True}, "cvm_device"), ("1F0000", {"is_wallet": True}, "cvm_none"),
    ("420300", {}, "cvm_pin"), ("020300", {}, "cvm_pin"), ("010302", {}, "cvm_pin"), ("440302", {}, "cvm_pin"), ("410302", {}, "cvm_pin"),
    ("430300", {}, "cvm_pin_signature"), ("050300", {}, "cvm_pin_signature"), ("1E0300", {}, "cvm_signature"), ("5E0300", {}, "cvm_signature"),
    ("410301", {}, "cvm_failed"), ("000001", {}, "cvm_failed"), ("000000", {}, "cvm_failed"), ("2A0302", {}, ""),
    ("", {}, ""), ("xyz", {}, ""), ("1F03", {}, ""), ("", {"entry_mode": Entry.STRIPE}, "cvm_none"), ("", {"entry_mode": Entry.FALLBACK}, "cvm_none"),
])
def test_how_the_shopper_was_recognized(result: str, read: dict, key: str):
    assert emv_words.cvm_of(dataclasses.replace(READ, cvm_result=result, **read)) == key
    assert not key or words(key, "en") != words(key, "ar")


@pytest.mark.parametrize(("application", "label"), [
    ("A0000000031010", "Visa"), ("a0000000031010", "Visa"), ("A000000003101001", "Visa"), ("A0000000032010", "Visa Electron"),
    ("A0000000980840", "US Debit"), ("A0000000041010", "Mastercard"), ("A0000000041010D05601", "Mastercard"), ("A0000000043060", "Maestro"),
    ("A0000000042203", "US Debit"), ("A000000025010801", "American Express"), ("A0000001523010", "Discover"), ("A0000001524010", "US Debit"),
    ("A0000000651010", "JCB"), ("A000000333010101", "UnionPay Debit"), ("A000000333010102", "UnionPay Credit"),
    ("A000000333010103", "UnionPay Quasi Credit"), ("A000000333010108", "UnionPay"), ("A0000002771010", "Interac"),
    ("A0000006200620", "US Debit"), ("A0000002281010", "mada"), ("A0000007320101", "Meeza"), ("B0", ""), ("", ""),
])
def test_an_application_is_called_by_the_longest_prefix(application: str, label: str):
    assert emv_words.label_of(application) == label


def test_the_card_says_its_own_label_first():
    assert card_of(dataclasses.replace(READ, application_label="VISA DEBIT"), "").label == "VISA DEBIT"
    assert card_of(READ, "").label == "Visa"


@pytest.mark.parametrize(("mode", "wallet", "said_as"), [
    ("02", False, "Swipe"), ("05", False, "Chip"), ("07", False, "Contactless"), ("07", True, "Contactless device"), ("80", False, "Swipe (fallback from chip)"),
    ("90", False, "Swipe"), ("", False, ""), ("99", False, ""),
])
def test_how_a_card_was_read(mode: str, wallet: bool, said_as: str):
    key = emv_words.entry_of(dataclasses.replace(READ, entry_mode=mode, is_wallet=wallet))
    assert (words(key, "en") if key else "") == said_as


@pytest.mark.parametrize(("information", "cryptogram", "written_as"), [
    ("80", "8A11", "ARQC 8A11"), ("40", "8A11", "TC 8A11"), ("00", "8A11", "AAC 8A11"), ("A5", "8A11", "ARQC 8A11"), ("80", "", ""), ("", "8A11", "")])
def test_a_cryptogram_says_its_kind(information: str, cryptogram: str, written_as: str):
    assert emv_words.cryptogram_of(dataclasses.replace(READ, cryptogram_information=information, cryptogram=cryptogram)) == written_as


def test_a_stripe_has_no_chip_rows():
    stripe = dataclasses.replace(GIVEN, read=CardRead("80", "VISA", "4402", "2904", terminal_id="GATE0007", response_code="00"))
    made = sheet(sale(stripe, STORE, "700", charged=642, at=LEFT))
    assert [row.label for row in next(one.rows for one in made.sections if one.name == "chip")] == ["Response code"]
    assert "fallback" in as_text(made) and "No signature required" in as_text(made)


@pytest.mark.parametrize(("hundredths", "unit", "note"), [
    (200, "each", "2 x 3.50"), (100, "each", ""), (150, "each", "1.5 x 3.50"), (5, "kg", "0.05 kg x 3.50"), (100, "kg", "1 kg x 3.50"), (1000, "", "10 x 3.50")])
def test_so_many_of_a_price(hundredths: int, unit: str, note: str):
    cart = dataclasses.replace(CART, lines=(dataclasses.replace(CART.lines[0], hundredths=hundredths, unit=unit, promotions=()),))
    notes = [one.label for made in sheet(sale(GIVEN, STORE, "7", charged=642, at=LEFT, cart=cart)).sections for row in made.rows for one in row.notes]
    assert notes == [note] * bool(note)


def test_weights_and_fees():
    """A unit other than pieces is named; deposits raise a line; what lenient totals leave over is called rounding."""
    line = Line("Dates", "SKU", 45, "kg", 1_990, 0, 2_060, fees=(Part(50, "Bag"), Part(20, "")))
    cart = Cart("KWD", (line,), 896, 0, 0, 928)
    text = as_text(sheet(sale(dataclasses.replace(GIVEN, currency="KWD"), STORE, "700", charged=928, at=LEFT, cart=cart)))
    assert "0.45 kg x 1.990" in text and re.search(r"Dates +0\.896\n", text) and re.search(r"  Bag +0\.023\n", text)
    assert re.search(r"  Deposits and fees +0\.009\n", text) and re.search(r"Deposits and fees +0\.032 KWD\n", text)
    less = dataclasses.replace(cart, total=895)
    assert re.search(r"Rounding +-0\.001 KWD\n", said(sale(dataclasses.replace(GIVEN, currency="KWD"), STORE, "1", charged=895, at=LEFT, cart=less)))


@given(st.text(max_size=300))
def test_what_others_wrote_cannot_disturb_a_receipt(text: str):
    """No control, no sign that turns writing round, one line."""
    seen = written(text)
    assert len(seen) <= 120 and seen == seen.strip() and all(sign.isprintable() for sign in seen)
    assert not set(seen) & set("\n\r\t\x1b\u202e\u2066")


NASTY = "\x1b[31mRed\x1b[0m\nTOTAL 0.00\u202e USD"


def test_names_of_products_are_one_line_each():
    cart = dataclasses.replace(CART, lines=(dataclasses.replace(CART.lines[0], product=NASTY, promotions=(Part(50, NASTY),)),))
    text = as_text(sheet(sale(GIVEN, store_of(NASTY, dataclasses.replace(GIVEN, address=(NASTY, "", " "))), "7", charged=642, at=LEFT, cart=cart)))
    assert "\x1b" not in text and "\u202e" not in text and "\nTOTAL" not in text


@given(st.lists(st.tuples(st.text("abc 012-é漢ع", max_size=60), st.text("xyz 789漢", max_size=60)), max_size=5), st.integers(20, 60))
def test_text_keeps_to_its_columns(pairs: list[tuple[str, str]], columns: int):
    """However long what stands on it; and nothing of it is lost."""
    made = Sheet("en", ("Shop " * 20,), "SALE", "", (Section("items", tuple(Row(*pair, notes=(Row(*pair),)) for pair in pairs)),), ("Copy",))
    text = as_text(made, columns)
    import unicodedata
    for line in text.split("\n"):
        assert sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line) <= columns
    signs = re.sub(r"[\s-]", "", text)
    for pair in pairs:
        assert all(re.sub(r"[\s-]", "", word) in signs for part in pair for word in part.split())


def test_both_languages_say_the_same():
    """As many rows, in the same order, with the same numbers; every word is there twice."""
    for receipt in (SALE, PART, BACK, DECLINED, EMPTY):
        one, other = sheet(receipt, "en", is_test=True), sheet(receipt, "ar", is_test=True)
        assert [(section.name, len(section.rows)) for section in one.sections] == [(section.name, len(section.rows)) for section in other.sections]
        digits = [[re.findall(r"\d+", row.value) for section in made.sections for row in section.rows] for made in (one, other)]
        assert digits[0] == digits[1] and len(one.foot) == len(other.foot)
    for key, pair in TEXTS.items():
        assert len(pair) == 2 and all(pair), key
        assert re.findall(r"{\w+}", pair[0]) == re.findall(r"{\w+}", pair[1]), key


def test_only_one_word_claims_an_approval():
    assert [key for key, (english, _) in TEXTS.items() if "approved" in english.lower()] == ["approved"]


def test_it_fits_the_paper():
    for receipt in (SALE, PART, BACK, DECLINED):
        assert max(map(len, said(receipt).splitlines())) <= COLUMNS


def test_the_clock_is_the_store_s():
    assert local(CAME, "Asia/Dubai") == "2026-11-21 18:05 +04" and local(CAME, "UTC") == "2026-11-21 14:05 UTC"
    assert Kind.SALE in TEXTS and all(kind in TEXTS for kind in Kind)
