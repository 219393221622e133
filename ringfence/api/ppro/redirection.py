"""Charges whose consumer must go somewhere, or bring a code: which, what they need, and how that is told
(PPRO Global API, sections 7.3, 7.4, 9.3, 16.1 and 18.2).

Decides by the request and the merchant's settings.  Refuses to know pages and wallets.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ringfence.api.ppro import answers, authentication, fields
from ringfence.api.ppro.answers import Answer, moment
from ringfence.api.ppro.charges import find
from ringfence.api.ppro.door import JSON, Endpoint, Request, Service, once, read
from ringfence.api.ppro.kinds import Problem
from ringfence.api.ppro.rendering import CHARGES, Facts
from ringfence.core.redirection import Stand, Why
from ringfence.engine.charges import View
from ringfence.engine.redirects import PAGE

CODE = "MULTI_FACTOR"
_CODE = re.compile(r"\d{6}", re.ASCII)
WRONG = "000000"
"""The mock method's code that is wrong; every other one of six digits is right."""
_PATH = "authenticationResult"


def ways(view: View, facts: Facts, url: Callable[[int, int], str]) -> list[dict[str, Any]]:
    """``authenticationMethods`` of a charge whose consumer is, or was, to act: the same list at every look."""
    address = url(view.merchant_id, view.payment_id)
    told: dict[str, dict[str, Any]] = {
        "REDIRECT": {"requestUrl": address, "requestMethod": "GET"},
        "SCAN_CODE": {
            "codeType": "QR", "codeImage": address.replace(PAGE, f"{PAGE}code/", 1), "codePayload": address, "codeDocument": address,
            "scanBy": moment(view.first.asked_at + authentication.within(facts.echo))},
        CODE: {},
    }
    return [{"type": way, "details": told[way]} for way in facts.echo.get("ways", ())]


async def confirm(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-charges/{chargeId}/authorizations``: what the consumer brought to the merchant's own page."""
    asked = read(request.body, fields.OPERATIONS["authorizations"])
    if isinstance(asked, Answer):
        return asked
    charge = await find(service, request)
    if isinstance(charge, Answer):
        return charge

    async def work(number: int) -> Answer:
        return await _confirm(service, request, asked[_PATH])

    return await once(service, request, asked, work)


async def _confirm(service: Service, request: Request, result: Mapping[str, Any]) -> Answer:
    charge = await find(service, request)
    if isinstance(charge, Answer):
        return charge
    view = charge.view
    row = await service.redirects.of(view.merchant_id, view.payment_id) if service.redirects is not None else None
    if row is None or CODE not in row.ways.split(","):
        return answers.error(422, "This payment charge takes no authenticationResult")
    if result.get("type", CODE) != CODE:
        return answers.invalid([Problem(f"{_PATH}.type", f"must be {CODE}")])
    code = result.get("details", {}).get("verificationCode", "")
    if not _CODE.fullmatch(code):
        return answers.invalid([Problem(f"{_PATH}.details.verificationCode", "must be six digits")])
    assert service.redirects is not None
    await service.redirects.answer(
        view.merchant_id, view.payment_id, Stand.DECLINED if code == WRONG else Stand.APPROVED, Why.FAILED if code == WRONG else None)
    after = await find(service, request)
    return after if isinstance(after, Answer) else answers.ok(service.renderer.authorization(after.view))


ENDPOINTS = (Endpoint("POST", f"{CHARGES}/{{chargeId}}/authorizations", confirm, takes=JSON),)
