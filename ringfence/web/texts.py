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

    # the issuer's page of a 3-D Secure challenge, and behind it
    "bank_title": ("Your bank asks: is this you?", "مصرفك يسأل: هل هذا أنت؟"),
    "bank_shop": ("Shop", "المتجر"),
    "bank_card": ("Card", "البطاقة"),
    "bank_amount": ("Amount", "المبلغ"),
    "bank_said": ("Confirm this payment with your code, or with a button.", "أكّد عملية الدفع هذه بالرمز أو بأحد الأزرار."),
    "bank_code": ("One-time password", "كلمة المرور لمرة واحدة"),
    "bank_code_hint": ("1234 is right; any other is wrong, and the third wrong one ends it.",
                       "1234 صحيحة، وأي رمز آخر خاطئ، والمحاولة الخاطئة الثالثة تُنهي العملية."),
    "bank_send_code": ("Confirm with the code", "تأكيد بالرمز"),
    "bank_approve": ("Approve", "موافقة"),
    "bank_reject": ("Reject", "رفض"),
    "bank_nothing": ("Do nothing", "عدم فعل شيء"),
    "bank_cancel": ("Cancel", "إلغاء"),
    "bank_wrong_code": ("This password is wrong. Tries left: {left}.", "كلمة المرور خاطئة. المحاولات المتبقية: {left}."),
    "bank_nothing_done": ("Nothing was decided. After ten minutes the bank gives up.", "لم يُتخذ أي قرار. بعد عشر دقائق يتخلى المصرف عن الطلب."),
    "bank_method": ("Your bank has a look at this browser. Nothing is to be done.", "يتحقق مصرفك من هذا المتصفح. لا يلزم فعل أي شيء."),
    "bank_elsewhere": ("Confirm this payment in your bank's application. This page follows by itself.",
                       "أكّد عملية الدفع في تطبيق مصرفك. تتابع هذه الصفحة من تلقاء نفسها."),
    "bank_continue": ("Continue", "متابعة"),
    "bank_look_again": ("Look again", "تحقق مرة أخرى"),
    "bank_over_title": ("Your bank is done", "انتهى مصرفك من التحقق"),
    "bank_over_said": ("You are being taken on.", "جارٍ نقلك إلى الخطوة التالية."),
    "bank_waits_title": ("One moment, please", "لحظة من فضلك"),
    "bank_waits_said": ("Your bank's answer is on its way. This page looks again by itself; nothing is charged twice.",
                        "جواب مصرفك في الطريق. تتحقق هذه الصفحة من تلقاء نفسها ولن يُخصم المبلغ مرتين."),
    "bank_ended_title": ("This payment has ended", "انتهت عملية الدفع هذه"),
    "bank_ended_said": ("You may close this page and go back to the shop.", "يمكنك إغلاق هذه الصفحة والعودة إلى المتجر."),

    "broken_title": ("This did not work", "لم تنجح العملية"),
    "broken_said": ("Something is broken here. Please go back to the shop, and ask there before you pay again.",
                    "حدث عطل لدينا. يُرجى العودة إلى المتجر والاستفسار هناك قبل الدفع مرة أخرى."),
}


def text(key: str, language: str, **values: object) -> str:
    """The text of a key in ``en`` or ``ar``, its braces filled in.  ``KeyError`` for a key of no row."""
    row = TEXTS[key]
    chosen = row[1] if language == "ar" else row[0]
    return chosen.format(**values) if values else chosen
