"""Answers in this door's own words (Just Walk Out payments, section 5): ``{"errorMsg": "…"}``, or truly nothing behind a 200.

Which field is wrong stands in the header ``Ringfence-Reason``: the body is the documented one.  Refuses to know requests.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringfence.api.jwo.door import Answer, Caller
from ringfence.api.jwo.kinds import Wrong
from ringfence.core.trip import TripRefusal

_ENCODE = msgspec.json.Encoder().encode

BAD_REQUEST, UNKNOWN_TRIP, EXPIRED = "BadRequestException", "UnknownShoppingTrip", "ShoppingTripExpiredException"
UNAVAILABLE, BROKEN, THROTTLED = "ServiceUnavailableException", "InternalServerException", "TooManyRequestsException"

#: Why nothing is done about a trip, but that it expired: status, name.
REFUSALS: Mapping[TripRefusal, tuple[int, str]] = {
    TripRefusal.UNKNOWN: (400, UNKNOWN_TRIP),
    TripRefusal.STATE: (400, BAD_REQUEST),
    TripRefusal.AMOUNT: (400, BAD_REQUEST),
    TripRefusal.CURRENCY: (400, BAD_REQUEST),
    TripRefusal.CONTENT: (400, BAD_REQUEST),
    TripRefusal.LATE: (400, BAD_REQUEST),
    TripRefusal.UNAVAILABLE: (503, UNAVAILABLE),
}
#: ... and in a sentence, for whoever reads the header.
SAID: Mapping[TripRefusal, str] = {
    TripRefusal.STATE: "not at this point of the trip's payment",
    TripRefusal.AMOUNT: "amount.amount is more than stands or is left",
    TripRefusal.CURRENCY: "amount.code is not the currency of the authorization",
    TripRefusal.CONTENT: "was asked before with other content",
    TripRefusal.LATE: "the time for refunds is over",
    TripRefusal.UNAVAILABLE: "not known yet, or not stored: send the same again",
}
EMPTY = Answer(200)


def ok(content: Mapping[str, Any], status: int = 200) -> Answer:
    """An object."""
    return Answer(status, _ENCODE(content))


def error(status: int, name: str, reason: str = "") -> Answer:
    """An error; the reason goes into a header."""
    return Answer(status, _ENCODE({"errorMsg": name}), (("Ringfence-Reason", reason),) if reason else ())


def bad(wrong: Wrong, name: str = BAD_REQUEST) -> Answer:
    """A field that is wrong."""
    return error(400, name, f"{wrong.field} {wrong.problem}".strip())


def refused(refusal: TripRefusal, caller: Caller) -> Answer:
    """Why nothing is done about a trip.  No page tells the status of one that expired: a setting does."""
    if refusal is TripRefusal.EXPIRED:
        return error(int(caller.merchant.settings.trip_expired_status), EXPIRED)
    return error(*REFUSALS[refusal], SAID.get(refusal, ""))


def denied(caller: Caller, store: str) -> Answer | None:
    """The gateway's answer where this key may do nothing in that store; it is the same whether the store is there or not."""
    if not caller.stores or store in caller.stores:
        return None
    body = _ENCODE({"Message": "User is not authorized to access this resource"})
    return Answer(403, body, (("x-amzn-ErrorType", "AccessDeniedException"),))
