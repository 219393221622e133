"""Texts: what pages say, in English and in Arabic.

One table to be proof-read; it decides nothing.  Words in braces are filled in; what fills them is escaped where the page is written.
"""
from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    # everywhere
    "test_mode": ("Test mode: no money moves here.", "وضع الاختبار: لا تنتقل أي أموال هنا."),
    "problem_title": ("Something is wrong with this payment", "حدث خطأ في عملية الدفع هذه"),
    "nothing_paid": ("Nothing was charged.", "لم يُخصم أي مبلغ."),
    "reference": ("Order", "الطلب"),
    "code": ("Code", "الرمز"),

    # on the way back to the shop
    "return_title": ("Back to the shop", "العودة إلى المتجر"),
    "return_said": ("You are being taken back to the shop.", "جارٍ إعادتك إلى المتجر."),
    "return_button": ("Continue to the shop", "متابعة إلى المتجر"),

    # what is not there
    "gone_title": ("This page is no longer there", "لم تعد هذه الصفحة متاحة"),
    "gone_said": ("Go back to the shop and begin the payment again.", "عُد إلى المتجر وابدأ عملية الدفع من جديد."),

    "broken_title": ("This did not work", "لم تنجح العملية"),
    "broken_said": ("Something is broken here. Please go back to the shop, and ask there before you pay again.",
                    "حدث عطل لدينا. يُرجى العودة إلى المتجر والاستفسار هناك قبل الدفع مرة أخرى."),
}


def text(key: str, language: str, **values: object) -> str:
    """The text of a key in ``en`` or ``ar``, its braces filled in.  ``KeyError`` for a key of no row."""
    row = TEXTS[key]
    chosen = row[1] if language == "ar" else row[0]
    return chosen.format(**values) if values else chosen
