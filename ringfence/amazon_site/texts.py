"""Texts: what the site's pages say, in English and in Arabic.

One table to be proof-read; words in braces are filled in.
"""
from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "site": ("Amazon Pay, simulated", "أمازون باي، محاكاة"),
    "test_mode": ("Test site: no money moves here, and this is not Amazon.", "موقع اختبار: لا تُخصم أي أموال هنا، وهذا ليس موقع أمازون."),
    "sign_in_title": ("Sign in", "تسجيل الدخول"),
    "sign_in_for": ("to pay {merchant}", "للدفع إلى {merchant}"),
    "email": ("E-mail", "البريد الإلكتروني"),
    "password": ("Password", "كلمة المرور"),
    "sign_in_button": ("Sign in", "تسجيل الدخول"),
    "wrong_password": ("E-mail and password do not fit together. Please try again.",
                       "البريد الإلكتروني وكلمة المرور غير متطابقين. يُرجى المحاولة من جديد."),
    "form_expired": ("That form was from another visit. Please do it again here.", "كان ذلك النموذج من زيارة أخرى. يُرجى إعادة المحاولة هنا."),
    "test_buyers": ("Test buyers", "مشترون للاختبار"),
    "signed_in_as": ("Signed in as {name}", "مسجل الدخول باسم {name}"),
    "sign_out": ("Sign out", "تسجيل الخروج"),

    "pay_title": ("Pay {merchant}", "الدفع إلى {merchant}"),
    "set_up_title": ("Recurring payments to {merchant}", "مدفوعات متكررة إلى {merchant}"),
    "review_title": ("Choose how to pay {merchant}", "اختر طريقة الدفع إلى {merchant}"),
    "amount": ("Amount", "المبلغ"),
    "today": ("Today", "اليوم"),
    "terms": ("From then on", "بعد ذلك"),
    "reference": ("Order", "الطلب"),
    "note": ("Note", "ملاحظة"),
    "any_amount": ("as agreed with the shop", "حسب الاتفاق مع المتجر"),
    "every": ("{amount} every {period}", "{amount} كل {period}"),
    "at_times": ("{amount} from time to time", "{amount} من حين لآخر"),
    "Year": ("year", "سنة"), "Month": ("month", "شهر"), "Week": ("week", "أسبوع"), "Day": ("day", "يوم"),
    "Years": ("{count} years", "{count} سنوات"), "Months": ("{count} months", "{count} أشهر"), "Weeks": ("{count} weeks", "{count} أسابيع"),
    "Days": ("{count} days", "{count} أيام"),
    "card": ("Pay with", "الدفع باستخدام"),
    "ending": ("{brand} ending in {tail}", "{brand} تنتهي بـ {tail}"),
    "address": ("Send to", "الشحن إلى"),
    "pay_button": ("Pay now", "ادفع الآن"),
    "set_up_button": ("Set up recurring", "إعداد الدفع المتكرر"),
    "review_button": ("Continue", "متابعة"),
    "cancel_button": ("Cancel", "إلغاء"),
    "walk_button": ("Close the window, without an answer", "إغلاق النافذة دون جواب"),
    "pay_walk_button": ("Approve, then close the window", "الموافقة ثم إغلاق النافذة"),
    "card_waits": ("This card is decided later. The shop must be able to wait, and only authorize.",
                   "يُبت في أمر هذه البطاقة لاحقًا. يجب أن يكون المتجر قادرًا على الانتظار وأن يكتفي بالتفويض."),
    "choose_card": ("Choose a card.", "اختر بطاقة."),

    "leaving_title": ("Back to the shop", "العودة إلى المتجر"),
    "leaving_said": ("You are on your way back to the shop.", "أنت في طريق العودة إلى المتجر."),
    "leaving_button": ("Continue to the shop", "متابعة إلى المتجر"),
    "walked_title": ("The window is closed", "أُغلقت النافذة"),
    "walked_said": ("As if you had closed it: the shop hears nothing from this browser.",
                    "كما لو أنك أغلقتها: لن يصل إلى المتجر شيء من هذا المتصفح."),
    "no_way_title": ("The shop named no way back", "لم يحدد المتجر طريقًا للعودة"),
    "gone_title": ("This checkout is over", "انتهت عملية الدفع هذه"),
    "gone_said": ("There is nothing to approve here. Please go back to the shop.", "لا يوجد هنا ما يُوافَق عليه. يُرجى العودة إلى المتجر."),
    "other_buyer": ("Somebody else is paying here", "شخص آخر يدفع هنا"),
    "broken_title": ("The shop sent something that cannot be used", "أرسل المتجر ما لا يمكن استخدامه"),
    "broken_said": ("Nothing was paid, and you are not sent anywhere. The reason, for the shop:", "لم يُدفع شيء ولن تُنقل إلى أي مكان. السبب، للمتجر:"),
    "consent_title": ("Sign in to {merchant}", "تسجيل الدخول إلى {merchant}"),
    "consent_said": ("The shop will see who you are.", "سيرى المتجر من أنت."),
    "consent_button": ("Continue", "متابعة"),

    "account_title": ("Your recurring payments", "مدفوعاتك المتكررة"),
    "account_none": ("There are none.", "لا توجد مدفوعات."),
    "number": ("Number", "الرقم"),
    "state": ("State", "الحالة"),
    "state_Chargeable": ("Active", "نشط"), "state_NonChargeable": ("Needs another card", "يحتاج إلى بطاقة أخرى"), "state_Closed": ("Ended", "منتهٍ"),
    "stop_button": ("Cancel these payments", "إلغاء هذه المدفوعات"),
    "card_button": ("Use this card", "استخدم هذه البطاقة"),
}


def text(key: str, language: str, **filled: object) -> str:
    """A text, filled in.  ``KeyError`` for one that is not there."""
    return TEXTS[key][language == "ar"].format(**filled)


def period(unit: str, value: str, language: str) -> str:
    """``month``, ``3 months``."""
    return text(unit, language) if value in ("", "1") else text(f"{unit}s", language, count=value)
