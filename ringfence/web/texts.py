"""Texts: what pages say, in English and in Arabic.

One table to be proof-read; it decides nothing.  Words in braces are filled in; what fills them is escaped where the page is written.
"""
from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    # everywhere
    "test_mode": ("Test mode: no money moves here.", "وضع الاختبار: لا تُخصم أي أموال هنا."),
    "error_prefix": ("Error: ", "خطأ: "),
    "problem_title": ("Something is wrong with this payment", "حدث خطأ في عملية الدفع هذه"),
    "nothing_paid": ("Nothing was charged.", "لم يُخصم أي مبلغ."),
    "reference": ("Order", "الطلب"),
    "description": ("For", "مقابل"),
    "amount": ("Amount", "المبلغ"),
    "merchant": ("Shop", "المتجر"),
    "payment_number": ("Payment number", "رقم العملية"),
    "code": ("Code", "الرمز"),

    # the card form
    "pay_title": ("Pay {merchant}", "الدفع إلى {merchant}"),
    "keep_title": ("Your card", "بطاقتك"),
    "which_card": ("Pay with", "الدفع باستخدام"),
    "another_card": ("Another card", "بطاقة أخرى"),
    "card_number": ("Card number", "رقم البطاقة"),
    "only_brands": ("Accepted here: {brands}", "البطاقات المقبولة: {brands}"),
    "expiry": ("Expiry date", "تاريخ الانتهاء"),
    "month": ("Expiry month, two digits", "شهر الانتهاء، رقمان"),
    "year": ("Expiry year, two digits", "سنة الانتهاء، رقمان"),
    "month_short": ("MM", "شهر"),
    "year_short": ("YY", "سنة"),
    "security_code": ("Security code", "رمز الأمان"),
    "code_hint": ("3 digits on the back; Amex: 4 on the front", "3 أرقام على ظهر البطاقة؛ أمريكان إكسبريس: 4 على الوجه"),
    "holder": ("Name on the card", "الاسم على البطاقة"),
    "remember": ("Keep this card for my next payments to {merchant}", "احفظ هذه البطاقة لمدفوعاتي القادمة إلى {merchant}"),
    "pay_button": ("Pay {amount}", "ادفع {amount}"),
    "keep_button": ("Continue", "متابعة"),
    "cancel_button": ("Cancel and go back to the shop", "إلغاء والعودة إلى المتجر"),
    "sending": ("One moment, please …", "لحظة من فضلك…"),

    # what is wrong in it
    "summary_title": ("Please check what you typed", "يُرجى التحقق مما أدخلته"),
    "type_again": ("Card number and security code are not kept: please type both again.",
                   "لا نحتفظ برقم البطاقة ورمز الأمان: يُرجى إدخالهما من جديد."),
    "problem_number_missing": ("Type the card number.", "أدخل رقم البطاقة."),
    "problem_number_invalid": ("This is not a card number: please compare it with the card.", "رقم البطاقة غير صحيح: يُرجى مطابقته مع البطاقة."),
    "problem_brand_unknown": ("Cards of this kind cannot be used here.", "لا يمكن استخدام هذا النوع من البطاقات هنا."),
    "problem_brand_not_taken": ("This shop does not take this kind of card for this payment.",
                                "لا يقبل هذا المتجر هذا النوع من البطاقات لهذه العملية."),
    "problem_expiry_missing": ("Type month and year of expiry.", "أدخل شهر وسنة الانتهاء."),
    "problem_expiry_invalid": ("Type the month as 01 to 12, and the year in two digits.", "أدخل الشهر من 01 إلى 12 والسنة برقمين."),
    "problem_expiry_passed": ("This card has expired.", "انتهت صلاحية هذه البطاقة."),
    "problem_code_missing": ("Type the security code.", "أدخل رمز الأمان."),
    "problem_code_invalid": ("This is not the code of this card.", "رمز الأمان لا يطابق هذه البطاقة."),
    "problem_holder_missing": ("Type the name on the card.", "أدخل الاسم المكتوب على البطاقة."),
    "problem_holder_invalid": ("Type the name as it stands on the card: letters, spaces, hyphens, apostrophes and dots only.",
                               "أدخل الاسم كما هو مكتوب على البطاقة: أحرف ومسافات وشرطات ونقاط فقط."),

    # what came of an attempt
    "declined_title": ("The payment did not go through", "لم تتم عملية الدفع"),
    "not_kept_title": ("The card could not be kept", "تعذّر حفظ البطاقة"),
    "problem_declined": ("The bank declined this card. Please try another one, or ask your bank.",
                         "رفض البنك هذه البطاقة. يُرجى تجربة بطاقة أخرى أو التواصل مع البنك."),
    "problem_insufficient_funds": ("There is not enough money on this card. Please try another one.",
                                   "لا يوجد رصيد كافٍ في هذه البطاقة. يُرجى تجربة بطاقة أخرى."),
    "problem_card_expired": ("The bank says that this card has expired. Please try another one.",
                             "أفاد البنك بأن صلاحية هذه البطاقة انتهت. يُرجى تجربة بطاقة أخرى."),
    "problem_card_refused": ("The bank does not know this card. Please check what you typed, or try another one.",
                             "لم يتعرّف البنك على هذه البطاقة. يُرجى التحقق مما أدخلته أو تجربة بطاقة أخرى."),
    "problem_not_authenticated": ("Your bank could not confirm that it is you. Please try again, or use another card.",
                                  "لم يتمكّن البنك من تأكيد هويتك. يُرجى المحاولة مرة أخرى أو استخدام بطاقة أخرى."),
    "problem_card_gone": ("This card is no longer kept. Please type a card.", "لم تعد هذه البطاقة محفوظة. يُرجى إدخال بطاقة."),
    "problem_card_not_kept": ("This card cannot be kept here. Please try another one.", "لا يمكن حفظ هذه البطاقة هنا. يُرجى تجربة بطاقة أخرى."),
    "problem_unavailable": ("This did not work just now. Please try again.", "تعذّر إتمام العملية الآن. يُرجى المحاولة مرة أخرى."),

    # while an attempt is in hand
    "waiting_title": ("Your payment is in progress", "عملية الدفع قيد التنفيذ"),
    "waiting_said": ("Please wait; this page goes on by itself. You will not be charged twice.",
                     "يُرجى الانتظار؛ ستُتابع هذه الصفحة تلقائيًا. لن يُخصم المبلغ مرتين."),
    "bank_asks": ("Your bank asks you to confirm this payment on its own page. This page goes on as soon as that is done.",
                  "يطلب البنك تأكيد عملية الدفع هذه على صفحته. ستُتابع هذه الصفحة فور الانتهاء."),
    "look_again": ("Look again", "تحديث"),

    # how it ended, where no shop says so
    "ended_paid": ("Thank you, the payment is done", "شكرًا لك، تمت عملية الدفع"),
    "ended_paid_said": ("You can close this page.", "يمكنك إغلاق هذه الصفحة."),
    "ended_kept": ("Thank you, the card is kept", "شكرًا لك، تم حفظ البطاقة"),
    "ended_kept_said": ("You can close this page.", "يمكنك إغلاق هذه الصفحة."),
    "ended_declined": ("The payment did not go through", "لم تتم عملية الدفع"),
    "ended_declined_said": ("Nothing was charged. Please ask the shop for another way to pay.",
                            "لم يُخصم أي مبلغ. يُرجى الاستفسار من المتجر عن طريقة دفع أخرى."),
    "ended_unknown": ("The bank has not answered yet", "لم يصل رد البنك بعد"),
    "ended_unknown_said": ("Please do not pay again: the shop will learn from us how this ends.", "يُرجى عدم الدفع مرة أخرى: سنُعلم المتجر بالنتيجة."),
    "ended_cancelled": ("You cancelled the payment", "لقد ألغيت عملية الدفع"),
    "ended_cancelled_said": ("Nothing was charged.", "لم يُخصم أي مبلغ."),
    "ended_expired": ("The time for this payment is over", "انتهى الوقت المتاح لعملية الدفع"),
    "ended_expired_said": ("Nothing was charged. Ask the shop for a new page to pay on.", "لم يُخصم أي مبلغ. اطلب من المتجر صفحة دفع جديدة."),

    # on the way back to the shop
    "return_title": ("Back to the shop", "العودة إلى المتجر"),
    "return_said": ("You are being taken back to the shop.", "جارٍ إعادتك إلى المتجر."),
    "return_button": ("Continue to the shop", "متابعة إلى المتجر"),
    "expired_title": ("The time for this payment is over", "انتهى الوقت المتاح لعملية الدفع"),
    "expired_said": ("Nothing was charged. You can begin again in the shop.", "لم يُخصم أي مبلغ. يمكنك البدء من جديد في المتجر."),

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

    # what is not there
    "gone_title": ("This page is no longer there", "لم تعد هذه الصفحة متاحة"),
    "gone_said": ("Go back to the shop and begin the payment again.", "عُد إلى المتجر وابدأ عملية الدفع من جديد."),
    "away_title": ("We cannot be reached just now", "الخدمة غير متاحة الآن"),
    "away_said": ("Please load this page again in a moment; before that, do not pay again.",
                  "يُرجى إعادة تحميل هذه الصفحة بعد لحظات؛ ولا تدفع مرة أخرى قبل ذلك."),
    "broken_title": ("This did not work", "لم تنجح العملية"),
    "broken_said": ("Something is broken here. Please go back to the shop, and ask there before you pay again.",
                    "حدث عطل لدينا. يُرجى العودة إلى المتجر والاستفسار هناك قبل الدفع مرة أخرى."),
    "bad_form_title": ("The form could not be read", "تعذّرت قراءة النموذج"),
    "bad_form_said": ("Nothing was charged. Please go back and load the page again.", "لم يُخصم أي مبلغ. يُرجى العودة وإعادة تحميل الصفحة."),
}

def text(key: str, language: str, **values: object) -> str:
    """The text of a key in ``en`` or ``ar``, its braces filled in.  ``KeyError`` for a key of no row."""
    row = TEXTS[key]
    chosen = row[1] if language == "ar" else row[0]
    return chosen.format(**values) if values else chosen
