"""Returning: where a consumer's browser goes from an authentication, back to the merchant's shop (PPRO Global API, section 7.4).

The same address for success, failure and cancel; the charge's id is appended, and says nothing of how it ended.  Decides by the merchant's
list of origins as it is now.  Refuses to know why the browser was away.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec

from ringfence.api.ppro.door import DOOR
from ringfence.api.ppro.failures import OURS
from ringfence.api.ppro.names import Names
from ringfence.core.authentication import Ended as Stopped
from ringfence.core.redirection import Why
from ringfence.engine.browser import Return
from ringfence.engine.directory import Directory
from ringfence.engine.reading import Reading, View
from ringfence.engine.return_address import may_return, origin_of
from ringfence.engine.sessions import Ending

log = logging.getLogger(__name__)
CHARGE, AGREEMENT = "payment-charge-id", "payment-agreement-id"

Settle = Callable[[int, int], Awaitable[object]]
"""Merchant and agreement: the payment that proves it has gone on."""


async def nothing_to_settle(merchant_id: int, agreement_id: int) -> None:
    """There are no agreements."""
_DECODE = msgspec.json.Decoder().decode


class Returning:
    """The way back for charges of this door."""

    def __init__(self, reading: Reading, directory: Directory, names: Names, *, is_live: bool, settle: Settle = nothing_to_settle) -> None:
        self._reading, self._directory, self._names, self._is_live, self._settle = reading, directory, names, is_live, settle

    async def way(self, merchant_id: int, payment_id: int) -> Return | Ending | None:
        """Where the browser goes now, or how the charge ended where its address is no longer allowed; ``None``: it is none of this door's."""
        view, merchant = await self._reading.view(merchant_id, payment_id), self._directory.by_id(merchant_id)
        if view is None or merchant is None or view.first.door != DOOR or view.first.details is None:
            return None
        echo = _DECODE(view.first.details)
        url = echo.get("returnUrl", "")
        if not may_return(url, merchant.settings.return_origins, self._is_live):
            log.warning("a consumer of merchant %s is not sent to %s", merchant.identifier, origin_of(url) or "what is no address")
            return Ending(_how(view))
        language = "ar" if echo.get("consumer", {}).get("locale", "").startswith("ar") else "en"
        told = {}
        if (agreement := echo.get("agreementId")) is not None:
            told[AGREEMENT] = agreement
            number = self._names.read("agr", agreement)
            if number is not None and view.first.result != "challenge":
                await self._settle(merchant_id, number)
        if echo.get("purpose") is None:                 # nobody was told of a payment that only proves something
            told[CHARGE] = self._names.make("charge", payment_id)
        return Return(url, "GET", told, language)

    async def way_of_agreement(self, merchant_id: int, agreement_id: int, url: str, language: str) -> Return | None:
        """The way back to the address of an agreement that nothing is charged with; ``None`` where that is not allowed any more."""
        merchant = self._directory.by_id(merchant_id)
        if merchant is None or not may_return(url, merchant.settings.return_origins, self._is_live):
            return None
        return Return(url, "GET", {AGREEMENT: self._names.make("agr", agreement_id)}, language)

    async def how(self, merchant_id: int, payment_id: int) -> str:
        """The word for how it ended, whatever the way back."""
        view = await self._reading.view(merchant_id, payment_id)
        return "unknown" if view is None else _how(view)

    async def address(self, merchant_id: int, payment_id: int) -> str:
        """The address itself, "" for none: whose pages may frame what the consumer is shown meanwhile."""
        found = await self.way(merchant_id, payment_id)
        return found.url if isinstance(found, Return) else ""


#: Why nobody was asked -> how that is told to a payer; what is not here was given up.
_ENDINGS = {
    Why.EXPIRED: "expired", Stopped.TIMEOUT: "expired", Why.FAILED: "declined", Why.DECLINED: "declined", Why.CLOSED: "declined",
    Stopped.FAILED: "declined",
}


def _how(view: View) -> str:
    """The word for how it ended."""
    match view.first.result:
        case "approved":
            return "paid"
        case None | "unknown":
            return "unknown"
        case "not_asked":
            why = view.first.response_code or ""
            return _ENDINGS.get(why, "declined" if why.startswith(OURS) else "cancelled")      # ours: the merchant gave it up, not its payer
    return "declined"
