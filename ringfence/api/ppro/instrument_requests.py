"""``/v1/payment-instruments``: made, read, replaced and deleted (PPRO Global API, sections 7.5 and 12).

A network token may come without its number: then it is kept like an account, until a number is put to it.  What is only written, a number or a
cryptogram, is never taken away by a request that does not say it, and never told.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace as with_changes

from ringfence.api.ppro import answers, fields
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import DOOR, JSON, Caller, Endpoint, Request, Service, content_of, once, read
from ringfence.api.ppro.failures import declined, not_asked
from ringfence.api.ppro.instrument_events import CREATED, DELETED, PREFIX, UPDATED, telling
from ringfence.api.ppro.instruments import (
    CARDS,
    NETWORK_TOKEN,
    RAW_CARD,
    SHOWN_OF_TOKEN,
    VAULTED,
    Held,
    compared,
    described,
    made,
    number_of,
    shown,
    token_of,
    yymm,
)
from ringfence.core.card import Pan
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked
from ringfence.engine.instruments import Account, Beside
from ringfence.engine.intents import Intent
from ringfence.engine.vault import Token

PATH = "/v1/payment-instruments"


class Found(NamedTuple):
    """An instrument that was not deleted: what is sealed of it, its token where it has a number, and how it is told."""

    number: int
    account: Account | None
    token: Token | None
    told: dict[str, Any]

    @property
    def told_in_events(self) -> Mapping[str, Any]:
        """Its details; none of an account's, which are kept sealed."""
        return self.told["details"] if self.told["type"] in (VAULTED, NETWORK_TOKEN) else {}    # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------------------- making

async def create(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-instruments``."""
    asked = read(request.body, fields.INSTRUMENT_REQUEST)
    if isinstance(asked, Answer):
        return asked

    async def work(number: int) -> Answer:
        return await _make(service, request.caller, asked, number)

    return await once(service, request, await compared(service, request.caller, asked) if request.key else {}, work)


async def _make(service: Service, caller: Caller, asked: dict[str, Any], number: int) -> Answer:
    if not number_of(asked):
        kind, details = asked["type"], _sealed_of(asked)
        also = telling(service, caller, CREATED, number, kind, details if kind == NETWORK_TOKEN else {})
        await service.instruments.keep(caller.merchant.merchant_id, number, kind, details, also)
        return answers.ok({"id": service.names.make(PREFIX, number), "type": kind, "details": details})
    held = await made(service, caller, asked, number, is_told="validate" not in asked)
    if (validate := asked.get("validate")) is not None and (said := await _validated(service, caller, held, validate["currency"])):
        await service.vault.update_token(caller.merchant.merchant_id, held.instrument_id, active=False)
        return answers.error(422, f"the card was not accepted: {said}")
    if validate is not None and (also := telling(service, caller, CREATED, number, held.shown["type"], held.shown["details"])) is not None:
        await service.instruments.note(also)
    return answers.ok(held.shown)


def _sealed_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an instrument that has no number; of a network token no cryptogram, and no word about one."""
    details = asked.get("details", {})
    return {name: details[name] for name in SHOWN_OF_TOKEN if name in details} if asked["type"] == NETWORK_TOKEN else details


async def _validated(service: Service, caller: Caller, held: Held, currency: str) -> str:
    """Why a nominal authorization of the card fails, "" where it is approved; then it is given back."""
    if not held.is_reachable:
        return not_asked("unavailable").message
    merchant, payment_id = caller.merchant, service.engine.new_id()
    processor = service.route(merchant, "CARD", held.card.stored.brand if held.card.stored else "")
    if processor is None:
        return not_asked("ppro:INVALID_PAYMENT_METHOD").message
    content, details = content_of(service, {"validate": held.instrument_id}), b'{"paymentMethod":"CARD","purpose":"validate"}'
    intent = Intent(
        merchant.merchant_id, merchant.identifier, payment_id,
        Command(Kind.AUTHORIZATION, merchant.settings.verify_minor, currency, payment_id, hold_seconds=86_400), DOOR, caller.actor, "validate",
        content, details=details, processor=processor, card=held.card)
    result = await service.engine.execute(intent)
    match result.outcome:
        case Declined(response_code=code, advice=advice):
            return declined(code, advice).message
        case NotAsked(why=why):
            return not_asked(why).message
        case Approved():
            view = await service.reading.view(merchant.merchant_id, payment_id)
            assert view is not None, "it was just approved"
            void_id = service.engine.new_id()
            void = Command(Kind.VOID, None, currency, void_id, whole=True)
            await service.engine.execute(with_changes(intent, command=void, original=view.original, card=await service.reading.card_of(view)))
            return ""
    return "nobody knows what its issuer said"


# ------------------------------------------------------------------------------------------------ reading and what follows

async def show(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-instruments/{instrumentId}``."""
    found = await _find(service, request)
    return answers.not_found("Payment instrument") if found is None else answers.ok(found.told)


async def _find(service: Service, request: Request) -> Found | None:
    name, caller = request.variables[0], request.caller
    number = service.names.read(PREFIX, name)
    if number is None:
        return None
    account = await service.instruments.find(caller.merchant.merchant_id, number)
    token = await token_of(service, caller, name)
    if token is not None:
        return Found(number, account, token, shown(token, account.details["brand"] if account else "", account.kind if account else RAW_CARD))
    return None if account is None else Found(number, account, None, {"id": name, "type": account.kind, "details": account.details})


async def replace(service: Service, request: Request) -> Answer:
    """``PUT /v1/payment-instruments/{instrumentId}``: other details of the same kind."""
    asked = read(request.body, fields.INSTRUMENT_REQUEST)
    if isinstance(asked, Answer):
        return asked
    found, name, merchant_id = await _find(service, request), request.variables[0], request.caller.merchant.merchant_id
    if found is None:
        return answers.not_found("Payment instrument")
    kind = asked["type"]
    if found.told["type"] != (VAULTED if kind == RAW_CARD else kind):
        return answers.error(409, f"type must be that of the instrument: {found.told['type']}")
    if kind in CARDS and (number_of(asked) or found.token is not None):
        is_there = await _put_card(service, request.caller, found, asked)
    else:
        details = _sealed_of(asked)
        also = telling(service, request.caller, UPDATED, found.number, kind, details if kind == NETWORK_TOKEN else {})
        is_there = await service.instruments.replace(merchant_id, found.number, kind, details, also)
    if not is_there:                            # deleted meanwhile
        return answers.not_found("Payment instrument")
    await service.agreements.updated(merchant_id, name)
    return await show(service, request)


async def _put_card(service: Service, caller: Caller, found: Found, asked: Mapping[str, Any]) -> bool:
    """Another number, or the same one with what is said of it; false where the instrument is gone."""
    merchant_id, kind, details, token = caller.merchant.merchant_id, asked["type"], asked["details"], found.token
    if digits := number_of(asked):
        card, expiry, holder = await service.vault.keep(merchant_id, Pan(digits)), yymm(details), details["holderName"]
    else:
        assert token is not None, "it has a number already"
        before = found.told["details"]
        card, expiry, holder = token.card, yymm(before | details), details.get("holderName", token.holder)
    name, brand = found.told["id"], details.get("brand", "")
    also = telling(service, caller, UPDATED, found.number, *described(name, card, expiry, holder, brand, kind))
    beside = Beside(found.number, kind, {"brand": brand}) if kind == NETWORK_TOKEN else None
    return await service.instruments.put_card(merchant_id, name, card, expiry, holder, also, beside)


async def delete(service: Service, request: Request) -> Answer:
    """``DELETE /v1/payment-instruments/{instrumentId}``: 204, and nothing is found or charged by that id any more."""
    found, merchant_id = await _find(service, request), request.caller.merchant.merchant_id
    if found is None:
        return answers.not_found("Payment instrument")
    name, also = request.variables[0], telling(service, request.caller, DELETED, found.number, found.told["type"], found.told_in_events)
    was_there = await service.instruments.delete(merchant_id, found.number, None if found.token is not None else also)
    if found.token is not None:
        await service.vault.update_token(merchant_id, name, active=False, also=also)
    return answers.NO_CONTENT if was_there or found.token is not None else answers.not_found("Payment instrument")


GROUP = "payment-instruments"
ENDPOINTS = (
    Endpoint("POST", PATH, create, group=GROUP, takes=JSON),
    Endpoint("GET", f"{PATH}/{{instrumentId}}", show, group=GROUP),
    Endpoint("PUT", f"{PATH}/{{instrumentId}}", replace, group=GROUP, takes=JSON),
    Endpoint("DELETE", f"{PATH}/{{instrumentId}}", delete, group=GROUP),
)
