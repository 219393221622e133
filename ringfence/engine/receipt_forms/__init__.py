"""The forms of a receipt: HTML, as a part of a page and as a file that stands alone, and PDF.

All of them write one sheet (``core.receipt_sheet``) and add no word to it.  What a merchant or a retailer wrote is escaped, or reaches Typst as
data; nothing in a form comes from the clock or from the machine, so that the same receipt gives the same bytes.  Refuses to know where receipts
come from and who may see them.
"""
from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ringfence.core.receipt_sheet import Sheet
from ringfence.engine.invoices import PdfMissing

__all__ = ["PdfMissing", "as_fragment", "as_html", "as_pdf"]

_HTML = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def as_fragment(sheet: Sheet) -> Markup:
    """The sheet as an ``article`` for a page that has the pages' style."""
    return Markup(_template("receipt.html").render(sheet=sheet, direction=direction(sheet.language)))


def as_html(sheet: Sheet) -> bytes:
    """The sheet as a page that needs no other file and asks nobody for anything."""
    style = Markup(_read("receipt.css").decode())
    return _template("page.html").render(
        sheet=sheet, direction=direction(sheet.language), style=style, receipt=as_fragment(sheet)).encode()


def as_pdf(sheet: Sheet, *, form: str = "pdf") -> bytes:
    """The sheet as paper of 80 mm; ``form`` "png" gives it as a picture.  It takes some hundredths of a second: not on an event loop.

    Set in Typst's own fonts, whatever the machine has.  Raises ``PdfMissing``.
    """
    try:
        import typst
    except ImportError:
        raise PdfMissing("PDF receipts need the extra \"pdf\": pip install 'ringfence[pdf]'") from None
    made = typst.compile(_read("receipt.typ"), format=form, font_paths=_fonts(), sys_inputs={"sheet": json.dumps(_plain(sheet))})
    assert isinstance(made, bytes)
    return made


def direction(language: str) -> str:
    """How a language is written."""
    return "rtl" if language == "ar" else "ltr"


def _plain(sheet: Sheet) -> dict[str, Any]:
    def row(one: Any) -> dict[str, Any]:
        return {**one._asdict(), "notes": [row(note) for note in one.notes]}

    return {**sheet._asdict(), "sections": [{"name": one.name, "rows": [row(each) for each in one.rows]} for one in sheet.sections]}


@cache
def _template(name: str) -> Any:
    return _HTML.from_string(_read(name).decode())


@cache
def _read(name: str) -> bytes:
    return resources.files(__name__).joinpath(name).read_bytes()


@cache
def _fonts() -> Any:
    import typst
    return typst.Fonts(include_system_fonts=False)
