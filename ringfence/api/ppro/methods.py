"""What a payment method wants of a charge beyond what every charge has (PPRO Global API, sections 16.1 and 18.2).

Which consumers are sent away, and which rule of the method or of the merchant a charge breaks.  The rules' values are the merchant's settings.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringfence.api.ppro.authentication import return_url, settings_of
from ringfence.api.ppro.kinds import REQUIRED, Problem
from ringfence.core.method_rules import Broken, Rules
from ringfence.core.mock_method import read_descriptor
from ringfence.core.redirection import Recurrence, Redirect
from ringfence.engine.directory import Merchant
from ringfence.engine.return_address import may_return

AMAZON_PAY, MOCK = "AMAZON_PAY", "MOCK"
CODES: dict[Broken, str] = {
    Broken.CURRENCY: "INVALID_CURRENCY", Broken.AMOUNT: "AMOUNT_NOT_SUPPORTED", Broken.COUNTRY: "COUNTRY_NOT_SUPPORTED"}


def missing(asked: Mapping[str, Any], *, has_account: bool) -> list[Problem]:
    """Fields that the method needs.  ``has_account``: its consumer is known from an agreement."""
    if asked["paymentMethod"] == AMAZON_PAY and not has_account and not asked.get("consumer", {}).get("name"):
        return [Problem("consumer.name", REQUIRED)]
    return []


def broken(merchant: Merchant, asked: Mapping[str, Any]) -> str:
    """The code of the first rule of the method that a charge breaks, "" for none."""
    if asked["paymentMethod"] != AMAZON_PAY:
        return ""
    settings, money = merchant.settings, asked["amount"]
    rules = Rules(settings.amazon_pay_currencies, settings.amazon_pay_countries, settings.amazon_pay_least, settings.amazon_pay_most)
    found = rules.broken(money["value"], money["currency"], asked.get("consumer", {}).get("country"))
    return "" if found is None else CODES[found]


def hold_days(merchant: Merchant, method: str) -> int:
    """How long an authorization waits for its capture: what Amazon holds is held by Amazon's rule, everything else by the merchant's."""
    settings = merchant.settings
    return settings.amazon_pay_hold_days if method == AMAZON_PAY else settings.hold_days


def cannot_come_back(merchant: Merchant, asked: Mapping[str, Any], redirect: Redirect | None, *, is_live: bool) -> bool:
    """Whether a consumer who is to be sent away has no allowed address to come back to.  The mock method needs none."""
    if redirect is None:
        return False
    url = (settings_of(asked, "REDIRECT") or {}).get("returnUrl") if redirect.method == AMAZON_PAY else return_url(asked)
    if not url:
        return redirect.method == AMAZON_PAY
    return not may_return(url, merchant.settings.return_origins, is_live)


def redirect_of(
    merchant: Merchant, asked: Mapping[str, Any], *, has_account: bool, agreement_id: int = 0, recurrence: Recurrence | None = None,
) -> Redirect | None:
    """Where the consumer of a charge or an agreement is sent first; ``None``: nowhere."""
    method = asked["paymentMethod"]
    if has_account or method not in (AMAZON_PAY, MOCK):
        return None
    wanted = ("REDIRECT",) if method == AMAZON_PAY else read_descriptor(asked.get("paymentDescriptor", "")).ways
    if not wanted:
        return None
    seconds = merchant.settings.amazon_pay_seconds if method == AMAZON_PAY else merchant.settings.redirect_seconds
    language = "ar" if asked.get("consumer", {}).get("locale", "").startswith("ar") else "en"
    return Redirect(method, seconds, language, wanted, "", agreement_id, recurrence)
