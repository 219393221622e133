"""What ``ringfence trigger`` does at the PPRO door: the payment charge that causes a webhook."""
from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from ringfence.cli.listen import events_behind
from ringfence.cli.service import Running, admin, segment
from ringfence.config import Config
from ringfence.failures import Exit, Failure

MINOR, PART = 1_000, 400
CURRENCY = "USD"
CHALLENGED = "0601"
"""The scenario of a card whose holder must act."""


class Way(NamedTuple):
    """How a webhook comes about: a charge with the card of ``scenario``, and one operation that may follow."""

    scenario: str
    captures: bool = True                       # by itself
    then: str = ""


#: Every webhook that a charge over HTTP can cause, and the charge that does.
WAYS: dict[str, Way] = {f"PAYMENT_CHARGE_{what}": way for what, way in {
    "CREATED": Way("0000"),
    "AUTHENTICATION_PENDING": Way(CHALLENGED),
    "PROVIDER_CONFIRMATION_PENDING": Way("0300"),
    "AUTHORIZATION_SUCCEEDED": Way("0000", False),
    "AUTHORIZATION_FAILED": Way("0051"),
    "CAPTURE_SUCCEEDED": Way("0000", False, "captures"),
    "CAPTURE_FAILED": Way("0505", False, "captures"),
    "VOID_SUCCEEDED": Way("0000", False, "voids"),
    "REFUND_SUCCEEDED": Way("0000", True, "refunds"),
    "REFUND_FAILED": Way("0507", True, "refunds"),
    "DISCARDED": Way(CHALLENGED, True, "discards"),
}.items()}


class Made(NamedTuple):
    """The charge that was made, and the event that came of it with its messages; ``None`` where it did not come in time."""

    charge: str
    event: dict[str, Any] | None


def told(way: Way) -> str:
    """A way in words."""
    then = f", {way.then}" if way.then else ""
    return f"POST /v1/payment-charges{'' if way.captures else ' without autoCapture'}{then} with the card of scenario {way.scenario}"


def made(config: Config, service: Running, known: dict[str, Any], merchant: str | None, event: str, wait: float) -> Made:
    """Make the charge, and wait for its webhook.  Raises ``Failure`` where it could not even begin."""
    shop, way = _shop(config, known, merchant), WAYS[event]
    card = next(one for one in known["test_cards"] if one["scenario"] == way.scenario)
    cursor = events_behind(service, "", {})["cursor"]
    month, year = int(card["expiry"][2:]), 2000 + int(card["expiry"][:2])
    charge = _asked(service, shop, "", {
        "paymentMethod": "CARD", "amount": {"value": MINOR, "currency": CURRENCY}, "autoCapture": way.captures,
        "consumer": {"name": "Jane Doe", "country": "US"},
        "authenticationSettings": [{"type": "3DS", "settings": {"returnUrl": "https://shop.example/return"}}] if way.scenario == CHALLENGED else [],
        "instrument": {"type": "RAW_CARD", "details": {
            "number": card["number"], "cvv": card["security_code"], "holderName": "Jane Doe", "expiryMonth": month, "expiryYear": year}}})
    if way.then:
        _asked(service, shop, f"/{charge['id']}/{way.then}", {} if way.then == "discards" else {"amount": PART})
    return Made(charge["id"], _awaited(service, cursor, shop["identifier"], charge["id"], event, wait))


def _shop(config: Config, known: dict[str, Any], merchant: str | None) -> dict[str, str]:
    """The first credential of the PPRO door of a merchant, or of the sandbox's first one."""
    for one in known["merchants"]:
        if merchant in (None, one["identifier"]):
            return {"identifier": one["identifier"], **one["ppro"]}
    shown = admin(config, "GET", f"/admin/merchants/{segment(str(merchant))}?phrases=true")
    return {"identifier": shown["identifier"], **shown["ppro"][0]}


def _asked(service: Running, shop: dict[str, str], path: str, body: dict[str, Any]) -> dict[str, Any]:
    status, answer = service.call("POST", f"/v1/payment-charges{path}", body, {
        "authorization": f"Bearer {shop['api_key']}", "merchant-id": shop["merchant_id"]})
    if status != 200:
        raise Failure(Exit.REFUSED, f"The service answered {status}: {answer.get('failureMessage', answer.get('message', ''))}.")
    return answer


def _awaited(service: Running, cursor: str, identifier: str, charge: str, type_: str, wait: float) -> dict[str, Any] | None:
    """The event whose messages are of that type and about the charge, once it is in the feed; ``None`` where it did not come in time."""
    until = time.monotonic() + wait
    while (left := until - time.monotonic()) > 0:
        page = events_behind(service, cursor, {"merchant": identifier, "messages": "1", "wait": f"{min(left, 5.0):.3f}"})
        for one in page["events"]:
            if any(message["purpose"] == type_ and json.loads(message["body"])["subject"] == charge for message in one["messages"]):
                return one
        cursor = page["cursor"]
    return None
