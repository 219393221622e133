"""Lists of payment charges (PPRO Global API, sections 6 and 8): by a reference or an agreement, a page at a time."""
from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlencode

from ringfence.api.ppro import answers
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import Endpoint, Request, Service
from ringfence.api.ppro.kinds import Problem
from ringfence.api.ppro.rendering import CHARGES

PAGE = 50
FILTERS = ("merchantPaymentChargeReference", "agreementId")


async def listed(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-charges``: those of a reference, or of an agreement; newest first."""
    given = [name for name in FILTERS if request.query.get(name)]
    if len(given) != 1:
        return answers.error(400, f"exactly one of {' and '.join(FILTERS)} is required")
    merchant_id, before = request.caller.merchant.merchant_id, None
    if "page" in request.query:
        before = _page(service, request.query["page"])
        if before is None:
            return answers.not_found("Page")
    value = request.query[given[0]]
    if "\0" in value:
        return answers.invalid([Problem(given[0], "must not hold NUL")])
    if given[0] == "agreementId":
        found = await service.charges.of_agreement(merchant_id, service.names.read("agr", value), before, PAGE + 1)
    else:
        found = await service.charges.by_reference(merchant_id, value, before, PAGE + 1)
        for key in service.keys_elsewhere(value):               # a payment of another door, under the same reference there
            other = await service.reading.payment_by_key(merchant_id, key)
            if other is not None and (before is None or other < before):
                found = sorted({*found, other}, reverse=True)
    charges = [one for payment_id in found[:PAGE] if (one := await service.charges.find(merchant_id, payment_id)) is not None]
    told: dict[str, Any] = {"data": [service.renderer.charge(one) for one in charges]}
    if len(found) > PAGE:
        told["nextPage"] = _token(service, found[PAGE - 1])
    return answers.ok(told | {"_links": {"self": {"href": f"{CHARGES}?{urlencode({given[0]: value})}"}}})


def _token(service: Service, payment_id: int) -> str:
    return base64.urlsafe_b64encode(service.names.make("page", payment_id).encode()).decode().rstrip("=")


def _page(service: Service, token: str) -> int | None:
    try:
        return service.names.read("page", base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode())
    except (binascii.Error, ValueError):
        return None


ENDPOINTS = (Endpoint("GET", CHARGES, listed),)
