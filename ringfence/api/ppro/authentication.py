"""Who proves the payer of a charge by card: 3-D Secure here, the result of one done elsewhere, or a network token's cryptogram
(PPRO Global API, section 7.3).

Decides by the request, the brand and the merchant's settings.  Refuses to know pages and issuers.
"""
from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ringfence.core.authentication import SECURED, Evidence, Status
from ringfence.core.commands import Initiation
from ringfence.engine.authentication import FLEXIBLE, REQUIRED, Demand
from ringfence.engine.directory import Merchant
from ringfence.engine.return_address import may_return

COMPULSORY = frozenset({"MADA", "MEEZA"})
"""Brands whose cardholders are authenticated whatever a merchant wants."""

CARDHOLDER = Initiation.CARDHOLDER
#: ``authenticationStatus`` of a result from elsewhere -> transStatus.
STATUSES = {
    "SUCCESS": Status.AUTHENTICATED, "ATTEMPT_ACKNOWLEDGED": Status.ATTEMPTED, "FAILED": Status.FAILED,
    "AUTHENTICATION_UNAVAILABLE": Status.UNAVAILABLE,
}


def settings_of(asked: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """The settings of the first entry of that type in ``authenticationSettings``; ``None`` where there is none."""
    given = asked.get("authenticationSettings")
    return next((one.get("settings", {}) for one in given if one["type"] == kind), None) if given else None


def result_of(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The result of the merchant's own 3DS server; ``None`` where there is none, or only the reason why there is none (out of scope, exempt)."""
    external = settings_of(asked, "EXTERNAL_3DS")
    return external if external is not None and "authenticationStatus" in external else None


def return_url(asked: Mapping[str, Any]) -> str | None:
    """Where the browser shall go behind the payer's authentication."""
    return next((found["returnUrl"] for kind in ("3DS", "REDIRECT") if (found := settings_of(asked, kind)) and found.get("returnUrl")), None)


def within(echo: Mapping[str, Any]) -> timedelta:
    """How long the consumer of a charge has, by what is kept of it."""
    return timedelta(seconds=echo.get("within", 0))


def echoed(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is kept of ``authenticationSettings`` for events: of proofs and codes nothing."""
    return [{"type": one["type"]} | ({"settings": kept} if (kept := {
        name: one["settings"][name] for name in ("returnUrl", "preference") if name in one.get("settings", {})}) else {})
        for one in asked["authenticationSettings"]]


def demand_of(
    merchant: Merchant, asked: Mapping[str, Any], brand: str, initiation: Initiation, channel: str, proof: Evidence | None,
) -> Demand | None:
    """Whether a charge by card is to be authenticated, and how; ``None``: its payer is never asked.

    The reason why there is no result from elsewhere stands in for none where one is compulsory.
    """
    if asked["paymentMethod"] != "CARD" or initiation is not CARDHOLDER or channel != "ecommerce":
        return None
    is_compulsory = brand in COMPULSORY or merchant.settings.three_d_secure == "required"
    if not is_compulsory and proof is None and "authenticationSettings" not in asked:
        return None
    language = "ar" if asked.get("consumer", {}).get("locale", "").startswith("ar") else "en"
    external, here = result_of(asked), settings_of(asked, "3DS")
    if external is not None:
        return FLEXIBLE[language]._replace(external=_evidence(external))
    if proof is not None:
        return FLEXIBLE[language]._replace(external=proof)
    if is_compulsory or (here and here.get("preference") == "CHALLENGE"):
        return REQUIRED[language]
    return FLEXIBLE[language] if here is not None else None


def may_come_back(demand: Demand | None, asked: Mapping[str, Any], merchant: Merchant, *, is_live: bool) -> bool:
    """Whether a payer who must act could come back to an allowed address: if not, that is told before anybody is asked."""
    if demand is None or demand.external is not None:
        return True
    url = return_url(asked)
    return url is not None and may_return(url, merchant.settings.return_origins, is_live)


def _evidence(settings: Mapping[str, Any]) -> Evidence:
    """The result of the merchant's own 3DS server.  Whose cryptogram is missing could not be authenticated."""
    status, value = STATUSES[settings["authenticationStatus"]], settings.get("authenticationValue", "")
    if status in SECURED and not value:
        status = Status.UNAVAILABLE
    eci, cavv = settings.get("eci", ""), value if status in SECURED else ""
    return Evidence(status, eci.zfill(2) if eci else "", cavv, settings.get("externalId", ""), settings.get("version", ""))
