"""A priced cart is charged: by the payment service, call by call, or by the checkout service in one.

Every call may be repeated: what it does is named by store and trip.  What is busy or away is asked again, each time signed anew; what is refused is
not.
"""
from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from pricing import Line, checkout_body, total
from signing import Keys, sign

PAUSES = (1, 2, 4, 8, 16)
"""Seconds before a call is made again that met 500, 503 or nobody."""
PENDING = (1, 2, 5, 10, 30, 60)
"""... and before an Adjust is repeated whose outcome nobody knows; the last one repeats."""
SECONDS = 10


class Refused(Exception):
    """The service does not take a request; asking again is no use."""


class Service(NamedTuple):
    """Where requests go, and how they are signed.  ``wait`` sleeps so many seconds."""

    url: str
    keys: Keys
    wait: Callable[[float], None] = time.sleep

    def call(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer's object, empty for an empty body.  Raises ``Refused``, or ``OSError`` once patience is at its end."""
        data = json.dumps(body, default=_number).encode()
        for pause in (*PAUSES, None):
            url = self.url + path
            request = urllib.request.Request(url, data, sign(self.keys, url, data, datetime.now(UTC)), method="POST")
            try:
                with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                    text = answer.read()
                    return json.loads(text, parse_float=Decimal, parse_int=Decimal) if text else {}
            except urllib.error.HTTPError as error:
                with error:
                    said = error.read().decode(errors="replace")
                    if error.code == 429:
                        pause = float(error.headers.get("Retry-After", "600"))
                    elif error.code < 500:
                        raise Refused(f"{path}: {error.code} {said}") from error
                if pause is None:
                    raise
            except OSError:
                if pause is None:
                    raise
            self.wait(pause)
        raise AssertionError("the last try returns or raises")


def _number(amount: Decimal) -> float:
    """Two decimals of any price survive a double, and are written as they were."""
    return float(amount)


def pay(service: Service, store: str, trip: str, lines: list[Line], currency: str) -> str:
    """Adjust to the cart's price and capture it; take what stands where the issuer allows no more.  A sentence says what became of it."""
    named, price = {"storeId": store, "shoppingTripId": trip}, total(lines)
    if not price:
        service.call("/v1/cancel/charge", named)
        return "nothing was bought, and the hold is given back"
    answer = _adjusted(service, named, price, currency)
    approved = answer["status"] == "APPROVED"
    taken = price if approved else min(price, Decimal(answer["authorizedAmount"]["amount"]))
    if taken:
        service.call("/v1/capture/charge", named | {"amount": {"amount": taken, "code": currency}})
    else:
        service.call("/v1/cancel/charge", named)
    service.call("/v1/feedback/payment-status", named | {
        "totalAmount": {"amount": price, "code": currency}, "settledAmount": {"amount": taken, "code": currency},
        "paymentStatusTime": int(time.time())})
    return f"{taken} of {price} {currency} captured" + ("" if approved else f", {price - taken} are owed")


def _adjusted(service: Service, named: dict[str, str], price: Decimal, currency: str) -> dict[str, Any]:
    """The answer of an Adjust, once there is one."""
    pauses = [*PENDING]
    while True:
        answer = service.call("/v1/adjust/charge", named | {"amount": {"amount": price, "code": currency}})
        if answer["status"] != "PENDING":
            return answer
        service.wait(pauses.pop(0) if len(pauses) > 1 else pauses[0])


def check_out(service: Service, store: str, trip: str, lines: list[Line], currency: str) -> str:
    """Hand the cart over; who charges it is somebody else.  A free cart is given up as the payment service has it."""
    if not lines:
        return pay(service, store, trip, lines, currency)
    answer = service.call("/v1/checkout/carts", checkout_body(store, trip, lines, currency))
    return f"order {answer['orderId']}"
