"""Captures, voids and refunds of a charge (PPRO Global API, section 9).

What the core turns down here is an operation that failed: it has an id and is listed.  An amount is a bare number of minor units of the
charge's currency.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringfence.api.ppro import answers, fields, keys
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.charges import find
from ringfence.api.ppro.door import DOOR, JSON, Endpoint, Handler, Request, Service, content_of, once, operation_key, read
from ringfence.api.ppro.failures import EXCEEDS_CAPTURED, NOT_DISCARDED, OURS
from ringfence.api.ppro.keys import Repeat
from ringfence.api.ppro.notifications import turned_down
from ringfence.api.ppro.rendering import CHARGES, DISCARD, DISCARD_ASKED, DISCARDED, LISTS
from ringfence.core.commands import Command, Kind
from ringfence.core.payment import decide
from ringfence.core.refusals import Refusal
from ringfence.engine.charges import Charge, RefusedRow, Step, View
from ringfence.engine.intents import Intent

_ENCODE = msgspec.json.Encoder().encode
KINDS = {"captures": Kind.CAPTURE, "voids": Kind.VOID, "refunds": Kind.REFUND}
REFERENCES = {"captures": "merchantCaptureReference", "voids": "merchantVoidReference", "refunds": "merchantRefundReference"}
NOUNS = {"captures": "Capture", "voids": "Void", "refunds": "Refund"}


def operate(kind: str) -> Handler:
    """``POST /v1/payment-charges/{chargeId}/KIND``."""
    async def handle(service: Service, request: Request) -> Answer:
        asked = read(request.body, fields.OPERATIONS[kind])
        if isinstance(asked, Answer):
            return asked
        charge = await find(service, request)
        return charge if isinstance(charge, Answer) else await _operate(service, request, charge, kind, asked)

    return handle


async def _operate(service: Service, request: Request, charge: Charge, kind: str, asked: Mapping[str, Any]) -> Answer:
    caller, view = request.caller, charge.view
    merchant = caller.merchant
    key, content = operation_key(request), content_of(service, asked)
    if key is not None and (before := await service.charges.refused_by_key(merchant.merchant_id, key)) is not None:
        if service.now() - before.refused_at < keys.KEPT:
            if before.content != content:
                return answers.error(409, answers.ALREADY_USED)
            return answers.replayed(answers.ok(service.renderer.refused(view, before)))
        key = f"{key}:{before.operation_id}"                        # free again: the next one has a name of its own
    if view.first.result == "unknown" and await service.engine.resolve(view.merchant_id, view.payment_id):
        view = await service.reading.view(view.merchant_id, view.payment_id) or view
    operation_id = service.engine.new_id()
    command = Command(KINDS[kind], asked["amount"], view.first.currency, operation_id)
    row = RefusedRow(operation_id, command.kind, asked["amount"], "", _ENCODE(asked), content, service.now())
    if view.original is None:
        return await _turned_down(service, request, view, row, _not_begun(service, view, command), key)
    done = await keys.execute(service, Intent(
        merchant.merchant_id, merchant.identifier, view.payment_id, command, DOOR, caller.actor, "api", content,
        asked.get(REFERENCES[kind]), key, False, row.details, view.first.processor, await service.reading.card_of(view), view.original,
        channel=view.first.channel, magic=merchant.settings.magic_amounts,
    ))
    if isinstance(done, Answer):
        return done
    if isinstance(done, Repeat):
        return keys.given_again(_answer(service, done.payment_id, done.step, done.now), True)
    if done.refusal is Refusal.SERVICE_UNAVAILABLE:
        return answers.error(503, answers.AWAY)
    if done.refusal is not None:
        return await _turned_down(service, request, view, row, done.refusal, key)
    found = await service.charges.as_first_said(merchant.merchant_id, view.payment_id, operation_id)
    assert found is not None, "it was just asked"
    return _answer(service, view.payment_id, *found[1:])


def _answer(service: Service, payment_id: int, first: Step, now: Step) -> Answer:
    """The operation as it was answered first; what was said with 504 is no answer to keep, and is told as it is now.  504 where nobody can say what
    became of it, and no status of this API says so."""
    told = service.renderer.operation(payment_id, first) or service.renderer.operation(payment_id, now)
    return answers.error(504, answers.UNKNOWN_YET) if told is None else answers.ok(told)


async def _turned_down(service: Service, request: Request, view: View, row: RefusedRow, refusal: Refusal, key: str | None) -> Answer:
    """Keep the operation that was refused, and answer with it."""
    payment = view.payment
    told: str = refusal
    if refusal is Refusal.EXCEEDS_REFUNDABLE and payment is not None and payment.refundable and row.minor > payment.captured:
        told = EXCEEDS_CAPTURED
    elif refusal is Refusal.EXCEEDS_CAPTURABLE and payment is not None and not payment.capturable:
        told = Refusal.NOTHING_TO_VOID
    caller = request.caller
    row = row._replace(refusal=told)
    said = turned_down(service.names, caller.merchant, view, row)
    kept = await service.charges.keep_refused(caller.merchant.merchant_id, view.payment_id, row, key, caller.actor, said)
    return answers.ok(service.renderer.refused(view, kept))


def _not_begun(service: Service, view: View, command: Command) -> Refusal:
    """Why nothing can follow a charge whose first operation was not approved when it was looked at.  While its consumer is awaited nothing is
    authorized."""
    if view.first.result == "challenge":
        return Refusal.NOTHING_CAPTURED if command.kind is Kind.REFUND else Refusal.NOTHING_TO_VOID
    if view.payment is None:
        return Refusal.OPERATION_IN_PROGRESS
    verdict = decide(view.payment, command, service.now())
    return verdict if isinstance(verdict, Refusal) else Refusal.OPERATION_IN_PROGRESS


async def discard(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-charges/{chargeId}/discards``: give up a charge whose consumer has not acted."""
    asked = read(request.body, fields.OPERATIONS["discards"])
    if isinstance(asked, Answer):
        return asked
    charge = await find(service, request)
    if isinstance(charge, Answer):
        return charge

    async def work(number: int) -> Answer:
        return await _discard(service, request, charge, asked, number)

    return await once(service, request, asked, work)


async def _discard(service: Service, request: Request, charge: Charge, asked: Mapping[str, Any], number: int) -> Answer:
    """An earlier try under the same number may have given it up already."""
    view, caller = charge.view, request.caller
    merchant_id, payment_id = caller.merchant.merchant_id, view.payment_id
    kept = next((one for one in charge.refused if one.operation_id == number), None)
    if kept is None:
        row = RefusedRow(number, DISCARD, view.first.minor, "", _ENCODE(asked), content_of(service, asked), service.now())
        if asked.get("merchantDiscardReference") and view.first.result in (None, "challenge", "unknown"):
            told = row._replace(operation_id=service.engine.new_id(), kind=DISCARD_ASKED, refusal=DISCARDED)
            await service.charges.keep_refused(merchant_id, payment_id, told, None, caller.actor)
        gave_up = await service.give_up(merchant_id, payment_id, f"{OURS}{DISCARDED}")
        now = view if gave_up else await service.reading.view(merchant_id, payment_id) or view
        is_busy = now.first.result in (None, "challenge", "unknown")
        row = row._replace(refusal=DISCARDED if gave_up else Refusal.OPERATION_IN_PROGRESS if is_busy else NOT_DISCARDED)
        said = turned_down(service.names, caller.merchant, now, row)
        kept = await service.charges.keep_refused(merchant_id, payment_id, row, None, caller.actor, said)
    return answers.ok(service.renderer.discard(payment_id, kept))


# --------------------------------------------------------------------------------------------------------------- reading

def listed(kind: str) -> Handler:
    """``GET /v1/payment-charges/{chargeId}/KIND``."""
    async def handle(service: Service, request: Request) -> Answer:
        charge = await find(service, request)
        if isinstance(charge, Answer):
            return charge
        found = service.renderer.listed(charge.view, charge.refused, LISTS[kind])
        return answers.ok({"data": found, "_links": {"self": {"href": request.path}}})

    return handle


def shown(kind: str) -> Handler:
    """``GET /v1/payment-charges/{chargeId}/KIND/{id}``."""
    async def handle(service: Service, request: Request) -> Answer:
        charge = await find(service, request)
        if isinstance(charge, Answer):
            return charge
        named = (one for one in service.renderer.listed(charge.view, charge.refused, LISTS[kind]) if one["id"] == request.variables[1])
        found = next(named, None)
        return answers.not_found(NOUNS[kind]) if found is None else answers.ok(found)

    return handle


async def authorizations(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-charges/{chargeId}/authorizations``."""
    charge = await find(service, request)
    if isinstance(charge, Answer):
        return charge
    return answers.ok({"data": [service.renderer.authorization(charge.view)], "_links": {"self": {"href": request.path}}})


async def authorization(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-charges/{chargeId}/authorizations/{authorizationId}``."""
    charge = await find(service, request)
    if isinstance(charge, Answer):
        return charge
    told = service.renderer.authorization(charge.view)
    return answers.ok(told) if told["id"] == request.variables[1] else answers.not_found("Authorization")


ENDPOINTS = (
    *(Endpoint("POST", f"{CHARGES}/{{chargeId}}/{kind}", operate(kind), takes=JSON) for kind in KINDS),
    *(Endpoint("GET", f"{CHARGES}/{{chargeId}}/{kind}", listed(kind)) for kind in KINDS),
    *(Endpoint("GET", f"{CHARGES}/{{chargeId}}/{kind}/{{id}}", shown(kind)) for kind in KINDS),
    Endpoint("POST", f"{CHARGES}/{{chargeId}}/discards", discard, takes=JSON),
    Endpoint("GET", f"{CHARGES}/{{chargeId}}/authorizations", authorizations),
    Endpoint("GET", f"{CHARGES}/{{chargeId}}/authorizations/{{id}}", authorization),
)
