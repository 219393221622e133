"""The operator's API: what happened to tokens, so that nobody's card is attached to another's account unnoticed."""
from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import Endpoint, merchant_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, rows, text
from ringfence.api.http import json_response
from ringfence.engine import token_events
from ringfence.engine.directory import Directory


class Services(NamedTuple):
    """What the endpoint works with."""

    pool: asyncpg.Pool
    directory: Directory


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/tokens``."""
    async def events(request: Request) -> Response:
        only = merchant_of(services.directory, request)
        merchants = {one.merchant_id: one.identifier for one in services.directory.merchants() if only in (None, one.identifier)}
        found = await token_events.latest(services.pool, sorted(merchants))
        return json_response({"events": [
            {"merchant": merchants[one.merchant_id], "token_name": one.token_name, "card_number": f"{one.bin[:6]}******{one.last4}",
             "event": one.event, "source": one.source, "reference": one.reference, "at": one.created_at} for one in found]})

    return [Route("/admin/tokens/events", guard(events))]


_EVENT = {
    "merchant": text("its identifier"), "token_name": text("the token"), "card_number": text("the card that was presented, masked"),
    "event": text("found: the card had this token already; updated: the token got this card by its name"),
    "source": text("who presented it: door and credential"), "reference": text("of the request or the order"),
    "at": text("business time", format="date-time"),
}

DESCRIBED: dict[str, Schema] = {
    "/admin/tokens/events": {"get": operator(
        "Cards presented where a token stood for them, and tokens that got another card, the newest first",
        answers("at most 1000 of them", fields({"events": rows(_EVENT, tuple(_EVENT))}, ("events",)), "400", "401"), parameters=(OF_MERCHANT,))},
}
