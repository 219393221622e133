"""Charges whose consumer must go somewhere, or bring a code: which, what they need, and how that is told
(PPRO Global API, sections 7.3, 7.4, 9.3, 16.1 and 18.2).

Decides by the request and the merchant's settings.  Refuses to know pages and wallets.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from ringfence.api.ppro import answers, authentication, fields
from ringfence.api.ppro.answers import Answer, moment
from ringfence.api.ppro.charges import find
from ringfence.api.ppro.door import JSON, Endpoint, Request, Service, once, read, whoever
from ringfence.api.ppro.kinds import Problem
from ringfence.api.ppro.rendering import CHARGES, Facts, facts_of
from ringfence.core.redirection import Stand, Why
from ringfence.engine.charges import View
from ringfence.engine.redirects import PAGE, Redirects

CODE = "MULTI_FACTOR"
_CODE = re.compile(r"\d{6}", re.ASCII)
WRONG = "000000"
"""The mock method's code that is wrong; every other one of six digits is right."""
_PATH = "authenticationResult"
NO_RESULT = "This payment charge takes no authenticationResult"


def ways(view: View, facts: Facts, url: Callable[[int, int], str]) -> list[dict[str, Any]]:
    """``authenticationMethods`` of a charge whose consumer is, or was, to act: the same list at every look."""
    until = view.first.asked_at + authentication.within(facts.echo)
    return told_ways(facts.echo.get("ways", ()), url(view.merchant_id, view.payment_id), until)


def told_ways(named: Iterable[str], address: str, until: datetime) -> list[dict[str, Any]]:
    """The ways of these names, with the page at ``address``, until then (business time)."""
    told: dict[str, dict[str, Any]] = {
        "REDIRECT": {"requestUrl": address, "requestMethod": "GET"},
        "SCAN_CODE": {
            "codeType": "QR", "codeImage": address.replace(PAGE, f"{PAGE}code/", 1), "codePayload": address, "codeDocument": address,
            "scanBy": moment(until)},
        CODE: {},
    }
    return [{"type": way, "details": told[way]} for way in named]


async def brought(redirects: Redirects, merchant_id: int, subject: int, code: str) -> bool:
    """A code of six digits for a payment or an agreement; whether one was, or had been, awaited."""
    row = await redirects.of(merchant_id, subject)
    if row is None or CODE not in row.ways.split(","):
        return False
    is_wrong = code == WRONG
    await redirects.answer(merchant_id, subject, Stand.DECLINED if is_wrong else Stand.APPROVED, Why.FAILED if is_wrong else None)
    return True


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
    if CODE not in facts_of(view.first).echo.get("ways", ()) or service.redirects is None:
        return answers.error(422, NO_RESULT)
    code = result.get("details", {}).get("verificationCode", "")
    if not _CODE.fullmatch(code):
        return answers.invalid([Problem(f"{_PATH}.details.verificationCode", "must be six digits")])
    if not await brought(service.redirects, view.merchant_id, view.payment_id, code):
        return answers.error(422, NO_RESULT)
    after = await find(service, request)
    return after if isinstance(after, Answer) else answers.ok(service.renderer.authorization(after.view))


ENDPOINTS = (Endpoint("POST", f"{CHARGES}/{{chargeId}}/authorizations", whoever(confirm), False, takes=JSON),)
