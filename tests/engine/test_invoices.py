"""Invoices as paper and as a picture: whole files, in both languages, whatever people wrote."""
from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zlib
from datetime import timedelta
from xml.etree import ElementTree

import pytest

from ringfence.engine import invoices
from ringfence.engine.links import Link, State
from tests.engine.composition import NOW
from tests.engine.linking import TERMS

URL = "https://pay.example/p/" + "A" * 38
LINK = Link(1, 169996200024611493, "INV-7", TERMS, State.OPEN, URL, NOW, "test", None, None)
ARABIC = LINK._replace(terms=TERMS._replace(language="ar", name="سارة علي", description="صندوقان من التمر", minor=5_125, currency="KWD"))
HOSTILE = '#panic("x") $x$ *b* _i_ @a <l> \\ ` " // ]] #import "/etc/passwd"'


def parsed(paper: bytes) -> int:
    """The pages of a file that is whole: each entry of its table leads to its object, and each stream opens."""
    assert paper.startswith(b"%PDF-1.") and paper.rstrip().endswith(b"%%EOF")
    table = paper[int(re.findall(rb"startxref\s+(\d+)\s+%%EOF", paper)[-1]):]
    assert table.startswith(b"xref")
    for number, entry in enumerate(re.findall(rb"(\d{10}) \d{5} ([nf])", table)):
        assert entry[1] == b"f" or paper[int(entry[0]):].startswith(b"%d 0 obj" % number)
    streams = list(re.finditer(rb"/Filter\s*/FlateDecode.*?>>\s*stream\r?\n", paper, re.DOTALL))
    for found in streams:
        assert zlib.decompressobj().decompress(paper[found.end():])
    assert streams
    return int(re.findall(rb"/Type\s*/Pages\s*/Count (\d+)", paper)[0])


@pytest.mark.parametrize("link", [LINK, ARABIC], ids=["en", "ar"])
def test_an_invoice_is_a_pdf_of_one_page(link: Link):
    """With an address that can be clicked; it is another file in the other language."""
    paper = invoices.pdf(invoices.of(link, "تمور & Coffee"))
    assert parsed(paper) == 1 and URL.encode() in paper
    assert b"/Lang" in paper
    assert invoices.pdf(invoices.of(link, "تمور & Coffee"), form="png").startswith(b"\x89PNG")


def test_its_text_can_be_read_by_others():
    """By poppler, where it is there; the amount has all its decimals."""
    reader = shutil.which("pdftotext")
    facts = invoices.of(ARABIC, "Shop")
    assert facts.amount == "5.125 KWD" and facts.until == f"{NOW + timedelta(days=3):%Y-%m-%d %H:%M} UTC"
    if reader is not None:
        said = subprocess.run([reader, "-", "-"], input=invoices.pdf(facts), stdout=subprocess.PIPE, check=True).stdout.decode()
        assert "5.125 KWD" in said and str(LINK.link_id) in said and "INV-7" in said


def test_what_people_wrote_is_never_markup():
    """No text stops the press, and none reads a file."""
    hostile = LINK._replace(terms=TERMS._replace(name=HOSTILE, description=HOSTILE * 3))
    parsed(invoices.pdf(invoices.of(hostile, HOSTILE)))


@pytest.mark.parametrize("state", State)
def test_an_invoice_says_how_it_stands(state: State):
    """What cannot be paid shows no code to pay with."""
    paper = invoices.pdf(invoices.of(LINK._replace(state=state), "Shop"))
    parsed(paper)
    assert (URL.encode() in paper) == (state in (State.OPEN, State.OPENED))


def test_without_typst_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch):
    """The extra is as large as all the rest."""
    monkeypatch.setitem(sys.modules, "typst", None)
    with pytest.raises(invoices.PdfMissing, match="pdf"):
        invoices.pdf(invoices.of(LINK, "Shop"))


def test_the_code_is_a_picture():
    """SVG, square, black on nothing."""
    picture = ElementTree.fromstring(invoices.qr_svg(URL))
    assert picture.tag.endswith("svg") and picture.get("width") == picture.get("height")
