"""A receipt as page and as paper: whole files that say what the sheet says, no more and no less, whatever people wrote."""
from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from ringfence.core.receipt import Receipt, sale, store_of
from ringfence.core.receipt_sheet import Sheet, as_text, sheet
from ringfence.engine import receipt_forms
from tests.core.test_receipt import BACK, CART, DECLINED, EMPTY, GIVEN, LEFT, PART, SALE, STORE
from tests.engine.test_invoices import HOSTILE, parsed

ALL = [SALE, PART, BACK, DECLINED, EMPTY]
NAMES = ["sale", "part", "refund", "declined", "empty"]
MARKUP = "\"><script>alert(1)</script>'&"


class Texts(HTMLParser):
    """What a browser would show of a page, and the tags that are in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shown, self.tags, self._style = [], set(), False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._style = tag == "style"

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if data.strip() and not self._style:
            self.shown.append(data.strip())


def texts(made: Sheet) -> list[str]:
    """Everything that a sheet says, in its order."""
    def of_row(row):
        return [row.label, *(part for note in row.notes for part in (note.label, note.value) if part), row.value]

    return [*made.head, made.title, made.status, *(text for one in made.sections for row in one.rows for text in of_row(row)), *made.foot]


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("receipt", ALL, ids=NAMES)
def test_the_page_says_what_the_sheet_says(receipt: Receipt, language: str):
    """Neither more nor less, and it asks nobody for anything."""
    made = sheet(receipt, language)
    page = Texts(receipt_forms.as_html(made).decode())
    assert page.shown == [made.title, *texts(made)]
    assert not page.tags & {"script", "img", "link", "iframe", "form", "a"}
    assert Texts(receipt_forms.as_fragment(made)).shown == texts(made)


@pytest.mark.parametrize("language", ["en", "ar"])
@pytest.mark.parametrize("receipt", ALL, ids=NAMES)
def test_the_paper_is_one_strip(receipt: Receipt, language: str):
    made = sheet(receipt, language)
    paper = receipt_forms.as_pdf(made)
    assert parsed(paper) == 1 and receipt_forms.as_pdf(made, form="png").startswith(b"\x89PNG")
    reader = shutil.which("pdftotext")
    if reader is not None and language == "en":
        said = subprocess.run([reader, "-layout", "-", "-"], input=paper, stdout=subprocess.PIPE, check=True).stdout.decode()
        seen = re.sub(r"\s", "", said)
        assert all(re.sub(r"\s", "", text) in seen for text in texts(made))
        assert receipt is SALE or "approved" not in said.lower()


@pytest.mark.parametrize("language", ["en", "ar"])
def test_the_same_receipt_is_the_same_bytes(language: str):
    """In every form; nothing comes from a clock, or from what this machine has."""
    for receipt in (SALE, PART, BACK, DECLINED):
        forms = [(as_text(made), receipt_forms.as_html(made), receipt_forms.as_pdf(made)) for made in (
            sheet(receipt, language), sheet(dataclasses.replace(receipt), language))]
        assert forms[0] == forms[1] and b"CreationDate" not in forms[0][2]


@pytest.mark.parametrize("nasty", [HOSTILE, MARKUP])
def test_what_people_wrote_is_never_markup(nasty: str):
    """No text stops the press, none reads a file, none becomes a tag."""
    cart = dataclasses.replace(CART, lines=(dataclasses.replace(CART.lines[0], product=nasty),))
    made = sheet(sale(dataclasses.replace(GIVEN, store_name=nasty), store_of(nasty, dataclasses.replace(GIVEN, address=(nasty,))), "7",
                      charged=642, at=LEFT, cart=cart))
    page = receipt_forms.as_html(made).decode()
    assert "script" not in Texts(page).tags and "<script>" not in page
    assert parsed(receipt_forms.as_pdf(made)) == 1


def test_the_longest_names_fit():
    """Ids of 255 signs that nothing can be broken at."""
    given = dataclasses.replace(GIVEN, store="S" * 255, trip="T" * 255)
    made = sheet(sale(given, store_of("Shop", given), "7", charged=642, at=LEFT))
    assert parsed(receipt_forms.as_pdf(made)) == 1 and max(map(len, as_text(made).splitlines())) <= 42


def test_without_typst_a_receipt_has_no_paper(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(receipt_forms.PdfMissing, match="pdf"):
        receipt_forms.as_pdf(sheet(SALE))
    assert STORE.zone
