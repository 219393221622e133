"""Letters: what payers are told about a link, by e-mail and by SMS, in English and in Arabic.

Decides the words and the form: a subject of one line, a text, and the same as HTML in which everything that a merchant or a customer wrote is
escaped.  Refuses to know how a letter travels.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from importlib import resources
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined

from ringfence.core.money import format_minor
from ringfence.engine.links import Link

#: key -> (English, Arabic); words in braces are filled in.  What is shown alone begins with a word of its own language: by that programs
#: choose the direction, and with a merchant's name in Latin letters in front an amount would be torn apart.
TEXTS: dict[str, tuple[str, str]] = {
    "subject": ("{merchant}: invoice {reference} for {amount}", "فاتورة {reference} من {merchant} بمبلغ {amount}"),
    "greeting": ("Hello {name},", "مرحبًا {name}،"),
    "greeting_nobody": ("Hello,", "مرحبًا،"),
    "asks": ("{merchant} asks you to pay {amount}.", "يطلب منك {merchant} دفع {amount}."),
    "description": ("For", "الوصف"),
    "reference": ("Invoice", "الفاتورة"),
    "amount": ("Amount", "المبلغ"),
    "payable": ("Payable until", "قابلة للدفع حتى"),
    "pay": ("Pay now", "ادفع الآن"),
    "open": ("Open this address to pay:", "افتح هذا الرابط للدفع:"),
    "warning": ("If you did not expect this message, do not pay. Nobody at {merchant} will ask you for your card number in a reply.",
                "إذا لم تكن تتوقع هذه الرسالة فلا تدفع. لن يطلب منك أحد في {merchant} رقم بطاقتك في رد على هذه الرسالة."),
    "sms": ("{merchant}: pay {amount} for invoice {reference} here: {url}", "ادفع {amount} إلى {merchant} للفاتورة {reference} هنا: {url}"),
}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_HTML = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    resources.files(__name__).joinpath("letter.html").read_text("utf-8"))


class Letter(NamedTuple):
    """What is sent.  ``sender`` is the name it comes from; an SMS has neither subject nor HTML."""

    sender: str
    subject: str
    text: str
    html: str


def by_email(link: Link, merchant: str) -> Letter:
    """The letter about a link of a merchant (its name as people know it)."""
    facts = _facts(link, merchant)
    t = _speaker(link.terms.language, facts)
    rows = [(t("reference"), facts["reference"]), *([(t("description"), facts["description"])] if facts["description"] else []),
            (t("amount"), facts["amount"]), (t("payable"), facts["until"])]
    greeting = t("greeting") if facts["name"] else t("greeting_nobody")
    text = "\n".join([
        greeting, "", t("asks"), "", *(f"{name}: {value}" for name, value in rows), "", t("open"), link.url, "", t("warning"), ""])
    html = _HTML.render(t=t, rows=rows, greeting=greeting, url=link.url, language=link.terms.language,
                        direction="rtl" if link.terms.language == "ar" else "ltr")
    return Letter(facts["merchant"], t("subject"), text, html)


def by_sms(link: Link, merchant: str) -> Letter:
    """The same in a line."""
    facts = _facts(link, merchant)
    return Letter(facts["merchant"], "", _speaker(link.terms.language, facts)("sms"), "")


def masked(recipient: str) -> str:
    """An address for logs: ``s***@shop.example``, ``***966``."""
    name, at, host = recipient.partition("@")
    return f"{name[:1]}***@{host}" if at else f"***{recipient[-3:]}"


def one_line(text: str) -> str:
    """The text without line breaks and other controls, so that it can stand in a header; nor the signs that turn writing round."""
    return " ".join(_CONTROLS.sub(" ", text).split())


def _facts(link: Link, merchant: str) -> dict[str, str]:
    terms = link.terms
    return {
        "merchant": one_line(merchant), "reference": link.reference, "amount": format_minor(terms.minor, terms.currency),
        "name": one_line(terms.name), "description": one_line(terms.description), "url": link.url,
        "until": f"{terms.expires_at:%Y-%m-%d %H:%M} UTC",
    }


def _speaker(language: str, facts: dict[str, str]) -> Callable[[str], str]:
    """Texts of one language, filled with facts."""
    place = int(language == "ar")
    return lambda key: TEXTS[key][place].format(**facts)
