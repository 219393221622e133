"""Invoices: a link as a QR code, and as a PDF that can be printed.

The PDF is set by Typst from one template; what merchant and customer wrote reaches it as data, never as markup.  Refuses to know where a link
comes from and who may see it.
"""
from __future__ import annotations

import io
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import segno

from ringfence.core.link import State
from ringfence.core.money import format_minor
from ringfence.engine.letters import one_line
from ringfence.engine.links import Link

#: key -> (English, Arabic)
TEXTS: dict[str, tuple[str, str]] = {
    "invoice": ("Invoice", "فاتورة"),
    "number": ("Number", "الرقم"),
    "date": ("Date", "التاريخ"),
    "payable": ("Payable until", "قابلة للدفع حتى"),
    "from": ("From", "من"),
    "to": ("To", "إلى"),
    "description": ("Description", "الوصف"),
    "amount": ("Amount", "المبلغ"),
    "total": ("Total", "الإجمالي"),
    "order": ("Order", "الطلب"),
    "scan": ("Scan the code or open the address to pay by card.", "امسح الرمز أو افتح الرابط للدفع بالبطاقة."),
    "open": ("To be paid", "بانتظار الدفع"),
    "opened": ("Being paid", "قيد الدفع"),
    "paid": ("Paid", "مدفوعة"),
    "expired": ("Expired", "منتهية الصلاحية"),
    "cancelled": ("Cancelled", "ملغاة"),
}


class PdfMissing(Exception):
    """Typst is not installed: PDF invoices are the extra ``pdf``."""


class Invoice(NamedTuple):
    """What an invoice shows; dates are texts already, and ``amount`` has its currency and all its decimals."""

    language: str
    merchant: str
    number: str
    order: str
    date: str
    until: str
    customer: str
    email: str
    description: str
    amount: str
    state: str
    url: str


def of(link: Link, merchant: str) -> Invoice:
    """The invoice of a link of a merchant (its name as people know it)."""
    terms = link.terms
    return Invoice(
        terms.language, one_line(merchant), str(link.link_id), link.reference, f"{link.created_at:%Y-%m-%d}",
        f"{terms.expires_at:%Y-%m-%d %H:%M} UTC", one_line(terms.name), terms.email, one_line(terms.description),
        format_minor(terms.minor, terms.currency), str(link.state), link.url)


def qr_svg(url: str) -> bytes:
    """The address as a QR code (ISO/IEC 18004, error correction M), a picture in SVG."""
    out = io.BytesIO()
    segno.make(url, error="m", micro=False).save(out, kind="svg", scale=4, border=4, xmldecl=True, title="QR")
    return out.getvalue()


def pdf(invoice: Invoice, *, form: str = "pdf") -> bytes:
    """The invoice as a PDF; ``form`` "png" gives its page as a picture.  It takes some hundredths of a second: not on an event loop.

    Raises ``PdfMissing``.
    """
    try:
        import typst
    except ImportError:
        raise PdfMissing("PDF invoices need the extra \"pdf\": pip install 'ringfence[pdf]'") from None
    place = int(invoice.language == "ar")
    shown = {
        **invoice._asdict(), "texts": {key: texts[place] for key, texts in TEXTS.items()}, "rtl": bool(place),
        "payable": invoice.state in (State.OPEN, State.OPENED), "qr": qr_svg(invoice.url).decode(),
    }
    made = typst.compile(_template(), format=form, font_paths=_fonts(), sys_inputs={"invoice": json.dumps(shown)})
    assert isinstance(made, bytes)
    return made


@cache
def _template() -> bytes:
    return resources.files(__name__).joinpath("invoice.typ").read_bytes()


@cache
def _fonts() -> Any:
    """All fonts that Typst finds, looked for once: its own (with Arabic), and better ones of the system."""
    import typst
    return typst.Fonts()
