"""Instruments: what a charge is paid with, inline or by its id (PPRO Global API, sections 7.5 and 12).

A card's instrument is a token of the vault whose name is the instrument's id; all else is sealed beside it.  No answer holds a card number, a
security code or a cryptogram.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace as with_changes

from ringfence.api.ppro.door import Caller, Service
from ringfence.api.ppro.failures import WITHOUT_NUMBER
from ringfence.api.ppro.instrument_events import CREATED, PREFIX, UPDATED, telling
from ringfence.core.authentication import Evidence, Status
from ringfence.core.card import Pan, SecurityCode, brand_of
from ringfence.engine.intents import CardInHand
from ringfence.engine.vault import CardErased, StoredCard, Token, Vault

RAW_CARD, NETWORK_TOKEN, VAULTED = "RAW_CARD", "CARD_NETWORK_TOKEN", "CARD_PPRO_VAULTED"
CARDS = (RAW_CARD, NETWORK_TOKEN)
SECRET = frozenset({"number", "cvv", "tokenNumber", "cryptogram"})
"""What details hold that is never told, and kept by the vault alone or not at all."""
SHOWN_OF_TOKEN = ("brand", "holderName", "expiryMonth", "expiryYear")
"""What is kept and told of a network token whose number was not given."""
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


def yymm(details: Mapping[str, Any]) -> str:
    """The expiry date of a card's details as the vault keeps it."""
    return f"{details['expiryYear'] % 100:02d}{details['expiryMonth']:02d}"


def number_of(instrument: Mapping[str, Any]) -> str:
    """The number in a request's instrument, "" for none."""
    name = {RAW_CARD: "number", NETWORK_TOKEN: "tokenNumber"}.get(instrument["type"])
    return instrument.get("details", {}).get(name, "") if name else ""      # type: ignore[no-any-return]


async def compared(service: Service, caller: Caller, instrument: Mapping[str, Any]) -> dict[str, Any]:
    """What of an instrument is compared under a key: a number has become its record, and what else is secret says nothing."""
    told = {name: value for name, value in instrument.get("details", {}).items() if instrument["type"] not in CARDS or name not in SECRET}
    digits = number_of(instrument)
    return {**instrument, "details": told} | (
        {"card": (await service.vault.keep(caller.merchant.merchant_id, Pan(digits))).card_id} if digits else {})


# ------------------------------------------------------------------------------------------------------- for charges

async def made(
    service: Service, caller: Caller, instrument: dict[str, Any], number: int | None = None, *, is_told: bool = False,
) -> Held:
    """A new instrument for a card or a network token: the number goes to the vault, code and cryptogram stay in hand.

    ``number`` is the instrument's own, where it was fixed before; ``is_told``: the merchant is told of it.
    """
    details, kind = instrument["details"], instrument["type"]
    merchant_id = caller.merchant.merchant_id
    pan = Pan(number_of(instrument))
    stored = await service.vault.keep(merchant_id, pan)
    instrument_id = service.engine.new_id() if number is None else number
    name, expiry, holder = service.names.make(PREFIX, instrument_id), yymm(details), details["holderName"]
    told = described(name, stored, expiry, holder, details.get("brand", ""), kind)
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
    pan = Pan(number_of(instrument))
    stored = await service.vault.keep(caller.merchant.merchant_id, pan)
    card = CardInHand(pan, yymm(details), None, stored, holder=details["holderName"])
    return Held("", card, {}, kept_of({}, card))


async def named(service: Service, caller: Caller, instrument_id: str, cvv: str | None) -> Held | None:
    """A card's instrument by its id; ``None`` where the merchant has none of that id."""
    token = await token_of(service, caller, instrument_id)
    if token is None:
        return None
    held = _in_hand(service, token, None, SecurityCode(cvv) if cvv else None, await told_of(service, caller, token))
    service.at_hand.keep(held)
    return held


async def why_none(service: Service, caller: Caller, instrument_id: str) -> str:
    """Why nothing can be charged by an id that names no card: there is nothing, or its number was never given."""
    number = service.names.read(PREFIX, instrument_id)
    account = await service.instruments.find(caller.merchant.merchant_id, number) if number is not None else None
    return WITHOUT_NUMBER if account is not None and account.kind == NETWORK_TOKEN else "INSTRUMENT_NOT_FOUND"


async def token_of(service: Service, caller: Caller, instrument_id: str) -> Token | None:
    """The token that an instrument's number is behind; ``None`` where there is none of that id, or it has no number."""
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
    told, details = described(token.name, token.card, token.expiry, token.holder, brand, kind)
    return {"id": token.name, "type": told, "details": details}


async def told_of(service: Service, caller: Caller, token: Token) -> dict[str, Any]:
    """The same of an instrument that is kept: what a network token was kept as is told with it."""
    number = service.names.read(PREFIX, token.name)
    account = await service.instruments.find(caller.merchant.merchant_id, number) if number is not None else None
    return shown(token) if account is None else shown(token, account.details["brand"], account.kind)


def described(name: str, card: StoredCard, expiry: str, holder: str, brand: str, kind: str) -> tuple[str, dict[str, Any]]:
    """A card's instrument as it is told: type and details."""
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
