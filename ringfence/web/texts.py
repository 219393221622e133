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

    # payment links
    "link_title": ("Invoice {reference}", "فاتورة {reference}"),
    "link_asks": ("asks you to pay this invoice.", "يطلب منك دفع هذه الفاتورة."),
    "link_invoice": ("Invoice", "الفاتورة"),
    "link_for": ("For", "الوصف"),
    "link_to": ("To", "إلى"),
    "link_until": ("Payable until", "قابلة للدفع حتى"),
    "link_amount": ("Amount", "المبلغ"),
    "link_pay": ("Pay by card", "ادفع بالبطاقة"),
    "link_terms": ("Terms and conditions", "الشروط والأحكام"),
    "link_pdf": ("Invoice as PDF", "الفاتورة بصيغة PDF"),
    "link_other": ("العربية", "الإنجليزية (English)"),
    "link_paid_at": ("Paid", "تاريخ الدفع"),
    "link_payment": ("Payment", "رقم العملية"),
    "link_opened": ("Being paid.", "قيد الدفع."),
    "link_opened_said": ("Someone is paying this invoice at the moment. If it was not you, come back in a quarter of an hour.",
                         "يقوم شخص ما بدفع هذه الفاتورة الآن. إذا لم تكن أنت فعُد بعد ربع ساعة."),
    "link_paid": ("Thank you.", "شكرًا لك."),
    "link_paid_said": ("This invoice was paid. You can close this page, or keep it as a receipt.",
                       "تم دفع هذه الفاتورة. يمكنك إغلاق هذه الصفحة أو الاحتفاظ بها كإيصال."),
    "link_expired": ("Expired.", "انتهت الصلاحية."),
    "link_expired_said": ("This invoice can be paid no more. Please ask the shop for a new one.",
                          "لم يعد من الممكن دفع هذه الفاتورة. يُرجى طلب فاتورة جديدة من المتجر."),
    "link_cancelled": ("Cancelled.", "أُلغيت."),
    "link_cancelled_said": ("The shop has taken this invoice back. Nothing is to be paid.", "ألغى المتجر هذه الفاتورة. لا يوجد ما يجب دفعه."),
    "link_busy": ("Someone is paying this invoice at the moment. If it was not you, try again in a quarter of an hour.",
                  "يقوم شخص ما بدفع هذه الفاتورة الآن. إذا لم تكن أنت فحاول مرة أخرى بعد ربع ساعة."),
    "link_stuck": ("This invoice cannot be paid here any more. Please ask the shop for a new one.",
                   "لم يعد من الممكن دفع هذه الفاتورة هنا. يُرجى طلب فاتورة جديدة من المتجر."),
    "link_nowhere": ("There is no invoice at this address", "لا توجد فاتورة في هذا العنوان"),
    "link_nowhere_said": ("Please check the address, or ask the shop for it again.", "يُرجى التحقق من العنوان أو طلبه من المتجر مرة أخرى."),
    "link_no_pdf": ("This invoice is not available as a PDF", "هذه الفاتورة غير متاحة بصيغة PDF"),

    # the sandbox's inbox
    "inbox_title": ("Inbox of the sandbox", "بريد بيئة الاختبار"),

    "broken_title": ("This did not work", "لم تنجح العملية"),
    "broken_said": ("Something is broken here. Please go back to the shop, and ask there before you pay again.",
                    "حدث عطل لدينا. يُرجى العودة إلى المتجر والاستفسار هناك قبل الدفع مرة أخرى."),
}


def text(key: str, language: str, **values: object) -> str:
    """The text of a key in ``en`` or ``ar``, its braces filled in.  ``KeyError`` for a key of no row."""
    row = TEXTS[key]
    chosen = row[1] if language == "ar" else row[0]
    return chosen.format(**values) if values else chosen
