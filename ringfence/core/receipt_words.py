"""The words of receipts, in English and in Arabic: one table to be proof-read.

It decides nothing.  No word here claims that an issuer agreed but ``approved``, and that one stands only where all was charged.
"""
from __future__ import annotations

TEXTS: dict[str, tuple[str, str]] = {
    "sale": ("SALE", "عملية شراء"),
    "refund": ("REFUND", "استرداد"),
    "not_charged": ("NOT CHARGED", "لم يُخصم أي مبلغ"),
    "test_mode": ("Test mode: no money moved", "وضع الاختبار: لم تُنقل أي أموال"),

    "approved": ("APPROVED", "مقبولة"),
    "part_charged": ("CHARGED IN PART", "خُصم جزء من المبلغ"),
    "refunded": ("REFUNDED", "تم رد المبلغ"),
    "declined": ("DECLINED", "مرفوضة"),
    "nothing_charged": ("Nothing was charged to this card", "لم يُخصم أي مبلغ من هذه البطاقة"),

    "date": ("Date", "التاريخ"),
    "visit": ("Visit", "الزيارة"),
    "number": ("Receipt", "الإيصال"),
    "replaces": ("Replaces receipt", "يحل محل الإيصال"),
    "of": ("Refund of receipt", "استرداد للإيصال"),
    "trip": ("Trip", "الرحلة"),
    "store": ("Store", "المتجر"),
    "reason": ("Reason", "السبب"),

    "each": ("{quantity} x {price}", "{quantity} x {price}"),
    "measured": ("{quantity} {unit} x {price}", "{quantity} {unit} x {price}"),
    "subtotal": ("Sub-total", "المجموع الفرعي"),
    "promotions": ("Promotions", "العروض"),
    "fees": ("Deposits and fees", "التأمينات والرسوم"),
    "rounding": ("Rounding", "التقريب"),
    "tax": ("Tax", "الضريبة"),
    "total": ("Total", "الإجمالي"),
    "charged": ("Charged to card", "المخصوم من البطاقة"),
    "outstanding": ("Outstanding", "المبلغ المستحق"),
    "was_charged": ("Was charged", "كان قد خُصم"),
    "returned": ("Refunded to card", "المردود إلى البطاقة"),

    "card": ("Card", "البطاقة"),
    "application": ("Application", "التطبيق"),
    "entry": ("Entry", "طريقة القراءة"),
    "verification": ("Verification", "التحقق"),
    "approval_code": ("Approval code", "رمز الموافقة"),
    "response_code": ("Response code", "رمز الاستجابة"),
    "terminal": ("Terminal", "الجهاز"),
    "merchant_number": ("Merchant", "رقم التاجر"),
    "reconciliation": ("Reference", "المرجع"),
    "statement": ("On your statement", "في كشف حسابك"),
    "psn": ("Card sequence", "تسلسل البطاقة"),
    "aid": ("AID", "AID"),
    "tvr": ("TVR", "TVR"),
    "tsi": ("TSI", "TSI"),
    "iad": ("IAD", "IAD"),
    "cryptogram": ("Cryptogram", "التشفير"),

    "entry_contactless": ("Contactless", "لا تلامسي"),
    "entry_device": ("Contactless device", "جهاز لا تلامسي"),
    "entry_chip": ("Chip", "شريحة"),
    "entry_swipe": ("Swipe", "تمرير"),
    "entry_fallback": ("Swipe (fallback from chip)", "تمرير (بدلًا من الشريحة)"),

    "cvm_pin": ("Verified by PIN", "تم التحقق بالرقم السري"),
    "cvm_pin_signature": ("Verified by PIN and signature", "تم التحقق بالرقم السري والتوقيع"),
    "cvm_signature": ("Signature", "توقيع"),
    "cvm_none": ("No signature required", "لا يلزم التوقيع"),
    "cvm_device": ("Verified on device", "تم التحقق على الجهاز"),
    "cvm_failed": ("Cardholder not verified", "لم يتم التحقق من حامل البطاقة"),

    "reason_DAMAGED_ITEM": ("Damaged item", "سلعة تالفة"),
    "reason_EXPIRED_ITEM": ("Item past its date", "سلعة منتهية الصلاحية"),
    "reason_UNWANTED_ITEM": ("Unwanted item", "سلعة غير مرغوب فيها"),
    "reason_JWO_TECH_ERROR": ("Technical error", "خطأ تقني"),
    "reason_OTHER": ("Other", "سبب آخر"),

    "owed_said": ("The store will ask you for what is outstanding.", "سيطلب منك المتجر سداد المبلغ المستحق."),
    "copy": ("CUSTOMER COPY", "نسخة العميل"),
}


def words(key: str, language: str, **filled: object) -> str:
    """The words of a key in ``en`` or ``ar``.  ``KeyError`` for a key that has none."""
    text = TEXTS[key][int(language == "ar")]
    return text.format(**filled) if filled else text
