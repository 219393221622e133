"""Instruments: what a charge is paid with, inline or by its id (PPRO Global API, sections 7.5 and 12).

A card's instrument is a token of the vault whose name is the instrument's id.  No answer holds a card number or a security code.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ringfence.api.ppro.door import Caller, Service
from ringfence.core.card import Pan, SecurityCode, brand_of
from ringfence.engine.intents import CardInHand
from ringfence.engine.vault import Token

PREFIX = "instr"


class Held(NamedTuple):
    """An instrument in hand for one charge: its id, the card, and what answers and events show of it."""

    instrument_id: str
    card: CardInHand
    shown: dict[str, Any]


def yymm(details: dict[str, Any]) -> str:
    """The expiry date of a card's details as the vault keeps it."""
    return f"{details['expiryYear'] % 100:02d}{details['expiryMonth']:02d}"


async def made(service: Service, caller: Caller, details: dict[str, Any]) -> Held:
    """A new instrument for a RAW_CARD: the number goes to the vault, the code stays in hand."""
    merchant_id = caller.merchant.merchant_id
    pan = Pan(details["number"])
    stored = await service.vault.keep(merchant_id, pan)
    name = service.names.make(PREFIX, service.engine.new_id())
    token = await service.vault.create_token(merchant_id, stored, name=name, expiry=yymm(details), holder=details["holderName"])
    assert isinstance(token, Token), "the name is new, and the card was kept in this moment"
    code = SecurityCode(details["cvv"]) if details.get("cvv") else None
    card = CardInHand(pan, token.expiry, code, token.card, token, holder=token.holder)
    return Held(name, card, shown(token, details.get("brand", "")))


async def named(service: Service, caller: Caller, instrument_id: str, cvv: str | None) -> Held | None:
    """A card's instrument by its id; ``None`` where the merchant has none of that id."""
    if service.names.read(PREFIX, instrument_id) is None:
        return None
    merchant_id = caller.merchant.merchant_id
    token = service.vault.cached_token(merchant_id, instrument_id) or await service.vault.token(merchant_id, instrument_id)
    if token is None or not token.active:
        return None
    code = SecurityCode(cvv) if cvv else None
    return Held(instrument_id, CardInHand(None, token.expiry, code, token.card, token, holder=token.holder), shown(token))


def shown(token: Token, brand: str = "") -> dict[str, Any]:
    """A card's instrument as it is told: vaulted, without its number."""
    card = token.card
    return {"id": token.name, "type": "CARD_PPRO_VAULTED", "details": {
        "brand": brand or card.brand or str(brand_of(card.bin) or ""), "bin": card.bin, "last4Digits": card.last4,
        "expiryMonth": int(token.expiry[2:]), "expiryYear": 2000 + int(token.expiry[:2]), "holderName": token.holder, "panAlias": token.name}}
