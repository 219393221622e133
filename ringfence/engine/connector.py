"""The retailer's connector: what is told and asked there, as bytes, and what its answers mean.

Decides nothing about gates and carts.  Addresses, keys and patience are the merchant's settings; how bytes travel and how they are signed is handed
in.  An answer that cannot be understood is no answer.  (Just Walk Out: Create Purchases and Shopper Authorization.)
"""
from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, uuid5

import msgspec

from ringfence.core.money import CURRENCIES, format_decimal
from ringfence.core.trip import Recommendation, Risk
from ringfence.engine.directory import Merchant
from ringfence.engine.gates import Question
from ringfence.storage.trips import TripRow

log = logging.getLogger(__name__)

DOOR = "jwo"
PURCHASES, AUTHORIZATION = "/v1/order/purchases", "/v1/fraudandabuse/shopperauthorization"
MOST_ITEMS = 1_000


class Item(NamedTuple):
    """A line of a cart.  ``quantity`` is a decimal text in units of ``unit``; ``upcs``: numbers on the article."""

    id: str
    quantity: str = "1"
    unit: str = "each"
    type: str = "SKU"
    upcs: tuple[str, ...] = ()
    line: str = ""


class Answer(NamedTuple):
    """What came back: a status and the beginning of the body, or 0 and a sentence why nothing did."""

    status: int
    body: bytes = b""
    reason: str = ""


Post = Callable[[str, Mapping[str, str], bytes, float], Awaitable[Answer]]
"""Posts to a checked address: URL, headers, body, seconds for all of it.  Never raises for the retailer's sake."""
Sign = Callable[..., dict[str, str]]
"""What a request carries on top of its headers to be signed; see ``api.jwo.sigv4.sign``."""


class Connector:
    """Every merchant's connector, as one process calls it."""

    def __init__(self, post: Post, sign: Sign, wall: Callable[[], datetime]) -> None:
        """``wall``: wall time, by which requests are signed."""
        self._post, self._sign, self._wall = post, sign, wall

    async def tell(self, merchant: Merchant, store: str, body: bytes) -> Answer | None:
        """Hand in a purchase; ``None`` where this store's purchases are told to nobody."""
        base = address(merchant.settings.connector_purchases_url, store)
        return await self._send(merchant, base + PURCHASES, body) if base else None

    async def asks(self, question: Question) -> Recommendation | None:
        """Whether the retailer lets somebody in; ``None`` where it says nothing and our own recommendation is to stand."""
        settings = question.merchant.settings
        base = address(settings.connector_authorization_url, question.store.store)
        if not base:
            return None
        answer = await self._send(question.merchant, base + AUTHORIZATION, authorization_body(question))
        said = decision(answer.body, question.currency) if answer.status == 200 else None
        if said is None:
            log.warning("the retailer did not decide on trip %s of store %s: %s", question.name, question.store.store,
                        answer.reason or f"status {answer.status}, or an answer that is none")
            return Recommendation(is_authorized=False) if settings.connector_silence == "refuse" else None
        return said

    async def _send(self, merchant: Merchant, url: str, body: bytes) -> Answer:
        settings = merchant.settings
        keys = [one for one in merchant.credentials if one.door == DOOR and settings.connector_access_key in ("", one.public_name)]
        if not keys:
            return Answer(0, reason="the merchant has no access key to sign with")
        parts = urlsplit(url)
        headers = {"host": parts.netloc, "content-type": "application/json"}
        signed = self._sign(
            "POST", parts.path + (f"?{parts.query}" if parts.query else ""), headers, body, access_key_id=keys[0].public_name,
            secret=keys[0].response_phrase, region=settings.connector_region, at=self._wall())
        return await self._post(
            url, {"content-type": "application/json", "user-agent": "Ringfence", **signed}, body, settings.connector_seconds)


def address(by_store: Sequence[tuple[str, str]], store: str) -> str:
    """A store's address, else the one for all others, without a slash at its end; "" for none."""
    known = dict(by_store)
    return known.get(store, known.get("*", "")).rstrip("/")


# ---------------------------------------------------------------------------------------------------------- what is asked at the gate

def authorization_body(question: Question) -> bytes:
    """A Shopper Authorization."""
    recommended, entry = question.recommended, f"{question.store.store}/{question.name}/entry"
    conditions = [] if recommended.hold is None else [{"type": "ADJUST", "amount": _money(recommended.hold, question.currency)}]
    return msgspec.json.encode({
        "storeId": question.store.store, "shopperIdentity": {"id": question.shopper},
        "authorizedAmount": _money(question.minor, question.currency),
        "shopperInteraction": {
            "shoppingTripId": question.name,
            "gateAuthenticationEvent": {
                "id": str(uuid5(NAMESPACE_URL, entry)), "type": "CREDIT_CARD", "interactionType": "TAP", "timestamp": _instant(question.at),
                "location": "ENTRY", "data": {}},
            "recommendation": {
                "shopperAuthorized": recommended.is_authorized, "authorizationConditions": conditions,
                "shopperRisks": [one.value for one in recommended.risks]},
        },
    })


def decision(body: bytes, currency: str) -> Recommendation | None:
    """What the retailer decided; ``None`` for what says nothing.  It stands at the top, or below ``recommendation`` as it was sent."""
    said = _decoded(body)
    if isinstance(said, dict) and "shopperAuthorized" not in said:
        said = said.get("recommendation")
    if not isinstance(said, dict) or not isinstance(said.get("shopperAuthorized"), bool):
        return None
    hold: int | None = None
    conditions = said.get("authorizationConditions") or []
    for one in conditions if isinstance(conditions, list) else [None]:
        if not isinstance(one, dict):
            return None
        if one.get("type") == "ADJUST":
            hold = _minor(one.get("amount"), currency)
            if hold is None:
                return None
    risks = said.get("shopperRisks") or []
    known = {risk.value: risk for risk in Risk}
    named = tuple(known[one] for one in risks if isinstance(one, str) and one in known) if isinstance(risks, list) else ()
    return Recommendation(said["shopperAuthorized"], hold, named)


# ---------------------------------------------------------------------------------------------------------- what is told when a shopper left

def purchase_body(row: TripRow, items: Sequence[Item], ended_at: datetime, content_key: bytes) -> bytes:
    """A Create Purchases, but for its ``requestId``, which every attempt has anew.  No price and no card is in it."""
    def event(person: int) -> dict[str, Any]:
        scanned = {} if row.card_id else {"scanResult": {"id": row.shopper, "type": "SHOPPER"}}
        return {"id": str(uuid5(NAMESPACE_URL, f"{row.store}/{row.name}/entry/{person}")), "timestamp": _instant(row.started_at),
                "location": "ENTRY", "payloadType": "FINANCIAL" if row.card_id else "SCAN_CODE", **scanned}

    told: dict[str, Any] = {
        "idempotentShoppingTripId": row.name, "storeId": row.store,
        "shoppingTrip": {
            "startTime": _instant(row.started_at), "endTime": _instant(ended_at), "authEvents": [event(one) for one in range(row.people)]},
        "cartItems": [{
            "id": item.id, "type": item.type, "quantity": {"value": item.quantity, "unit": item.unit},
            "externalIdentifiers": [{"id": upc, "type": "UPC"} for upc in item.upcs], "lineItemId": item.line or str(place),
        } for place, item in enumerate(items, 1)],
        "shopperIdentity": {"id": row.shopper},
    }
    if row.card_id:
        source = blake2b(f"payment source {row.merchant_id} {row.card_id}".encode(), key=content_key, digest_size=12).hexdigest()
        told["paymentSource"] = {"id": f"source-{source}"}
    return msgspec.json.encode(told)


def attempt_body(stored: bytes, merchant_id: int, number: int, attempt: int) -> bytes:
    """One attempt's bytes: the same but for ``requestId``, which follows from trip and attempt."""
    request_id = str(uuid5(NAMESPACE_URL, f"purchase/{merchant_id}/{number}/{attempt}"))
    return msgspec.json.encode({"requestId": request_id, **msgspec.json.decode(stored)})


def purchase_id(body: bytes) -> str | None:
    """The retailer's name for a purchase, empty where nothing was bought; ``None`` where the answer has none."""
    said = _decoded(body)
    found = said.get("purchaseId") if isinstance(said, dict) else None
    return found if isinstance(found, str) and len(found) <= 255 and found.isprintable() else None


# ---------------------------------------------------------------------------------------------------------- values

def _money(minor: int, currency: str) -> dict[str, Any]:
    return {"value": msgspec.Raw(format_decimal(minor, currency).encode()), "currencyCode": currency}


def _minor(value: object, currency: str) -> int | None:
    """Minor units of ``{"value": 20, "currencyCode": "USD"}``; ``None`` for anything else, another currency and what is finer than it."""
    if not isinstance(value, dict) or value.get("currencyCode") != currency or not isinstance(number := value.get("value"), Decimal):
        return None
    if not 0 <= number < 10 ** 12 or not number.is_finite():
        return None
    scaled = number.scaleb(CURRENCIES[currency].exponent)
    return int(scaled) if scaled == scaled.to_integral_value() else None


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=Decimal, parse_int=Decimal, parse_constant=_refuse)
    except (ValueError, RecursionError, ArithmeticError):
        return None


def _refuse(text: str) -> None:
    raise ValueError(text)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
