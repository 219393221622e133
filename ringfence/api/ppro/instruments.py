"""Instruments: what a charge is paid with, inline or by its id (PPRO Global API, sections 7.5 and 12).

A card's instrument is a token of the vault whose name is the instrument's id; all else is sealed beside it.  No answer holds a card number, a
security code or a cryptogram.
"""
from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace as with_changes

from ringfence.api.ppro import answers, fields
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import DOOR, JSON, Caller, Endpoint, Request, Service, content_of, once, read
from ringfence.api.ppro.failures import declined, not_asked
from ringfence.api.ppro.instrument_events import CREATED, DELETED, PREFIX, UPDATED, telling
from ringfence.core.authentication import Evidence, Status
from ringfence.core.card import Pan, SecurityCode, brand_of
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked
from ringfence.engine.intents import CardInHand, Intent
from ringfence.engine.vault import CardErased, StoredCard, Token, Vault

PATH = "/v1/payment-instruments"
RAW_CARD, NETWORK_TOKEN, VAULTED = "RAW_CARD", "CARD_NETWORK_TOKEN", "CARD_PPRO_VAULTED"
CARDS = (RAW_CARD, NETWORK_TOKEN)
UPDATED_YEARS = 3
"""By how many years the sandbox's account updater renews a card."""
MOST_AT_HAND = 4096
"""Instruments of one process that are ready for their next charge: about 2 kB each."""
_ENCODE = msgspec.json.Encoder().encode


class Held(NamedTuple):
    """A card's instrument in hand for one charge: its id, the card, and what answers and events show of it.

    ``kept`` is what details hold of it, see ``kept_of``.  ``is_reachable``: its issuer can be asked (always, but in a sandbox); ``has_news``:
    the account updater knows a newer card.  ``proof`` is the cryptogram of a network token.
    """

    instrument_id: str
    card: CardInHand
    shown: dict[str, Any]
    kept: bytes
    is_reachable: bool = True
    has_news: bool = False
    proof: Evidence | None = None


class AtHand:
    """The cards' instruments that were charged last, by their ids: for as long as the vault has their tokens just so."""

    def __init__(self) -> None:
        self._held: dict[str, Held] = {}

    def find(self, vault: Vault, merchant_id: int, instrument_id: str) -> Held | None:
        """A merchant's instrument, without a security code."""
        held = self._held.get(instrument_id)
        return None if held is None or vault.cached_token(merchant_id, instrument_id) is not held.card.token else held

    def keep(self, held: Held) -> None:
        """Have it ready, unless it is good for one charge only, or a number in the clear belongs to it."""
        card = held.card
        if card.pan is None and card.security_code is None and held.proof is None and held.is_reachable and not held.has_news:
            self._held[held.instrument_id] = held
            if len(self._held) > MOST_AT_HAND:
                del self._held[next(iter(self._held))]


def kept_of(shown: dict[str, Any], card: CardInHand) -> bytes:
    """What a charge's details keep of its instrument: members of a JSON object, a comma before them."""
    return b"," + _ENCODE({"instrument": shown, "card": {"expiry": card.expiry, "holder": card.holder}})[1:-1]


def yymm(details: dict[str, Any]) -> str:
    """The expiry date of a card's details as the vault keeps it."""
    return f"{details['expiryYear'] % 100:02d}{details['expiryMonth']:02d}"


# ------------------------------------------------------------------------------------------------------- for charges

async def made(
    service: Service, caller: Caller, instrument: dict[str, Any], number: int | None = None, *, is_told: bool = False,
) -> Held:
    """A new instrument for a card or a network token: the number goes to the vault, code and cryptogram stay in hand.

    ``number`` is the instrument's own, where it was fixed before; ``is_told``: the merchant is told of it.
    """
    details, kind = instrument["details"], instrument["type"]
    merchant_id = caller.merchant.merchant_id
    pan = Pan(details["number" if kind == RAW_CARD else "tokenNumber"])
    stored = await service.vault.keep(merchant_id, pan)
    instrument_id = service.engine.new_id() if number is None else number
    name, expiry, holder = service.names.make(PREFIX, instrument_id), yymm(details), details["holderName"]
    told = _vaulted(name, stored, expiry, holder, details.get("brand", ""), kind)
    also = telling(service, caller, CREATED, instrument_id, *told) if is_told else None
    token = await service.vault.create_token(merchant_id, stored, name=name, expiry=expiry, holder=holder, also=also)
    if not isinstance(token, Token):            # a first try under this number has made it
        assert not isinstance(token, CardErased), "it was kept in this moment"
        token = await service.vault.token(merchant_id, name, fresh=True)
        assert token is not None, "its name is taken by itself"
    if kind == NETWORK_TOKEN:
        await service.instruments.keep(merchant_id, instrument_id, kind, {"brand": details["brand"]})
    code = SecurityCode(details["cvv"]) if details.get("cvv") else None
    proof = Evidence(Status.AUTHENTICATED, details.get("eci", ""), details["cryptogram"]) if details.get("cryptogram") else None
    return _in_hand(service, token, pan, code, shown(token, details.get("brand", ""), kind), proof)


async def looked_at(service: Service, caller: Caller, instrument: dict[str, Any]) -> Held:
    """A card as it stands in a request that came before: nothing is made, and nothing can be paid with it."""
    details = instrument["details"]
    pan = Pan(details["number" if instrument["type"] == RAW_CARD else "tokenNumber"])
    stored = await service.vault.keep(caller.merchant.merchant_id, pan)
    card = CardInHand(pan, yymm(details), None, stored, holder=details["holderName"])
    return Held("", card, {}, kept_of({}, card))


async def named(service: Service, caller: Caller, instrument_id: str, cvv: str | None) -> Held | None:
    """A card's instrument by its id; ``None`` where the merchant has none of that id."""
    token = await _token(service, caller, instrument_id)
    if token is None:
        return None
    held = _in_hand(service, token, None, SecurityCode(cvv) if cvv else None, shown(token))
    service.at_hand.keep(held)
    return held


async def _token(service: Service, caller: Caller, instrument_id: str) -> Token | None:
    if service.names.read(PREFIX, instrument_id) is None:
        return None
    merchant_id = caller.merchant.merchant_id
    token = service.vault.cached_token(merchant_id, instrument_id) or await service.vault.token(merchant_id, instrument_id)
    return token if token is not None and token.active else None


def _in_hand(
    service: Service, token: Token, pan: Pan | None, code: SecurityCode | None, told: dict[str, Any], proof: Evidence | None = None,
) -> Held:
    is_reachable, has_news = True, False
    if service.stand_in is not None:            # a sandbox: any number stands for one of its own
        known = pan or service.vault.reveal(token.card)
        digits = known.reveal() if known else f"{token.card.bin}{token.card.last4}"
        number, has_news = service.stand_in(digits)
        is_reachable = bool(number)
        if number != digits or pan is not None:     # else it stands for itself, and is opened where it is needed
            pan = Pan(number) if number else None
    card = CardInHand(pan, token.expiry, code, token.card, token, holder=token.holder)
    return Held(token.name, card, told, kept_of(told, card), is_reachable, has_news, proof)


def shown(token: Token, brand: str = "", kind: str = RAW_CARD) -> dict[str, Any]:
    """A card's instrument as it is told: vaulted, without its number."""
    told, details = _vaulted(token.name, token.card, token.expiry, token.holder, brand, kind)
    return {"id": token.name, "type": told, "details": details}


def _vaulted(name: str, card: StoredCard, expiry: str, holder: str, brand: str, kind: str) -> tuple[str, dict[str, Any]]:
    """Type and details."""
    return VAULTED if kind == RAW_CARD else kind, {
        "brand": brand or card.brand or str(brand_of(card.bin) or ""), "bin": card.bin, "last4Digits": card.last4,
        "expiryMonth": int(expiry[2:]), "expiryYear": 2000 + int(expiry[:2]), "holderName": holder, "panAlias": name}


async def citing(service: Service, caller: Caller, held: Held, reference: str) -> Held:
    """The same, its card knowing the scheme reference of a first payment that was made elsewhere; one of our own is not replaced."""
    merchant_id, token = caller.merchant.merchant_id, held.card.token
    assert token is not None, "a card's instrument is a token"
    if token.card.first_reference:
        return held
    await service.instruments.cite(merchant_id, token.name, token.card, reference)
    fresh = await service.vault.token(merchant_id, token.name, fresh=True)
    return held if fresh is None else held._replace(card=with_changes(held.card, token=fresh, stored=fresh.card))


async def renew(service: Service, caller: Caller, held: Held) -> None:
    """The account updater's news: the card behind the instrument expires later."""
    year, month = int(held.card.expiry[:2]) + UPDATED_YEARS, held.card.expiry[2:]
    number = service.names.read(PREFIX, held.instrument_id)
    also = None
    if number is not None and held.shown:
        details = held.shown["details"] | {"expiryYear": 2000 + year % 100}
        also = telling(service, caller, UPDATED, number, held.shown["type"], details)
    await service.vault.update_token(caller.merchant.merchant_id, held.instrument_id, expiry=f"{year % 100:02d}{month}", also=also)
    await service.agreements.updated(caller.merchant.merchant_id, held.instrument_id)


# ------------------------------------------------------------------------------------------------------------ the API

async def create(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-instruments``."""
    asked = read(request.body, fields.INSTRUMENT_REQUEST)
    if isinstance(asked, Answer):
        return asked
    keyed = {**asked, "details": {name: value for name, value in asked.get("details", {}).items() if name not in _SECRET}}

    async def work(number: int) -> Answer:
        return await _make(service, request.caller, asked, number)

    return await once(service, request, keyed, work)


_SECRET = frozenset({"number", "cvv", "tokenNumber", "cryptogram"})


async def _make(service: Service, caller: Caller, asked: dict[str, Any], number: int) -> Answer:
    if asked["type"] not in CARDS:
        details = asked.get("details", {})
        await service.instruments.keep(
            caller.merchant.merchant_id, number, asked["type"], details, telling(service, caller, CREATED, number, asked["type"], {}))
        return answers.ok({"id": service.names.make(PREFIX, number), "type": asked["type"], "details": details})
    held = await made(service, caller, asked, number, is_told="validate" not in asked)
    if (validate := asked.get("validate")) is not None and (said := await _validated(service, caller, held, validate["currency"])):
        await service.vault.update_token(caller.merchant.merchant_id, held.instrument_id, active=False)
        return answers.error(422, f"the card was not accepted: {said}")
    if validate is not None and (also := telling(service, caller, CREATED, number, held.shown["type"], held.shown["details"])) is not None:
        await service.instruments.note(also)
    return answers.ok(held.shown)


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


async def show(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-instruments/{instrumentId}``."""
    found = await _find(service, request)
    return answers.not_found("Payment instrument") if found is None else answers.ok(found)


async def _find(service: Service, request: Request) -> dict[str, Any] | None:
    name, caller = request.variables[0], request.caller
    number = service.names.read(PREFIX, name)
    if number is None:
        return None
    account = await service.instruments.find(caller.merchant.merchant_id, number)
    token = await _token(service, caller, name)
    if token is not None:
        return shown(token, account.details["brand"] if account else "", account.kind if account else RAW_CARD)
    return None if account is None else {"id": name, "type": account.kind, "details": account.details}


async def replace(service: Service, request: Request) -> Answer:
    """``PUT /v1/payment-instruments/{instrumentId}``: other details of the same kind."""
    asked = read(request.body, fields.INSTRUMENT_REQUEST)
    if isinstance(asked, Answer):
        return asked
    found, name, merchant_id = await _find(service, request), request.variables[0], request.caller.merchant.merchant_id
    if found is None:
        return answers.not_found("Payment instrument")
    if found["type"] != (VAULTED if asked["type"] == RAW_CARD else asked["type"]):
        return answers.error(409, f"type must be that of the instrument: {found['type']}")
    number = service.names.read(PREFIX, name)
    assert number is not None, "it was found"
    details = asked.get("details", {})
    if asked["type"] not in CARDS:
        await service.instruments.replace(
            merchant_id, number, asked["type"], details, telling(service, request.caller, UPDATED, number, asked["type"], {}))
    else:
        card = await service.vault.keep(merchant_id, Pan(details["number" if asked["type"] == RAW_CARD else "tokenNumber"]))
        told = _vaulted(name, card, yymm(details), details["holderName"], details.get("brand", ""), asked["type"])
        also = telling(service, request.caller, UPDATED, number, *told)
        await service.instruments.put_card(merchant_id, name, card, yymm(details), details["holderName"], also)
        if asked["type"] == NETWORK_TOKEN:
            await service.instruments.replace(merchant_id, number, asked["type"], {"brand": details["brand"]})
    await service.agreements.updated(merchant_id, name)
    return await show(service, request)


async def delete(service: Service, request: Request) -> Answer:
    """``DELETE /v1/payment-instruments/{instrumentId}``: 204, and nothing is found or charged by that id any more."""
    name, merchant_id = request.variables[0], request.caller.merchant.merchant_id
    number = service.names.read(PREFIX, name)
    if number is None:
        return answers.not_found("Payment instrument")
    found = await _find(service, request)
    also = telling(service, request.caller, DELETED, number, found["type"], found["details"] if found["type"] in (VAULTED, NETWORK_TOKEN) else {}) \
        if found is not None else None
    token = await _token(service, request.caller, name)
    was_there = await service.instruments.delete(merchant_id, number, None if token is not None else also)
    if token is not None:
        await service.vault.update_token(merchant_id, name, active=False, also=also)
    return answers.NO_CONTENT if was_there or token is not None else answers.not_found("Payment instrument")


GROUP = "payment-instruments"
ENDPOINTS = (
    Endpoint("POST", PATH, create, group=GROUP, takes=JSON),
    Endpoint("GET", f"{PATH}/{{instrumentId}}", show, group=GROUP),
    Endpoint("PUT", f"{PATH}/{{instrumentId}}", replace, group=GROUP, takes=JSON),
    Endpoint("DELETE", f"{PATH}/{{instrumentId}}", delete, group=GROUP),
)
