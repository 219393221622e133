"""Amounts as a payer reads them: the currency's own number of decimals, and its name in the payer's language."""
from __future__ import annotations

from ringfence.core.money import format_decimal

#: What the region's currencies are called on an Arabic page; all others go by their code.
ARABIC = {
    "AED": "درهم إماراتي", "SAR": "ريال سعودي", "QAR": "ريال قطري", "KWD": "دينار كويتي", "BHD": "دينار بحريني", "OMR": "ريال عُماني",
    "JOD": "دينار أردني", "EGP": "جنيه مصري", "USD": "دولار أمريكي", "EUR": "يورو",
}


def shown(minor: int, currency: str, language: str) -> str:
    """``AED 1,234.50``; in Arabic ``1,234.50 درهم إماراتي``.  ``minor`` is in minor units of ``currency``."""
    whole, point, fraction = format_decimal(minor, currency).partition(".")
    number = f"{int(whole):,}{point}{fraction}"
    return f"{number} {ARABIC.get(currency, currency)}" if language == "ar" else f"{currency} {number}"
