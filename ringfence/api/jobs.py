"""Jobs that were set aside, for operators: what failed too often, and the order to try it again.

Parses, asks the engine, and writes what it says.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import asyncpg
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, rows, text
from ringfence.api.http import json_response
from ringfence.core.ids import LARGEST
from ringfence.engine import set_aside
from ringfence.engine.directory import Directory
from ringfence.engine.metrics import QUEUES


class Services(NamedTuple):
    """What the endpoints work with.  ``now``: business time; ``nudge`` has the background look."""

    pool: asyncpg.Pool
    directory: Directory
    now: Callable[[], datetime]
    nudge: Callable[[], object]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """``/admin/jobs`` and what is below."""
    return [
        Route("/admin/jobs", guard(lambda request: _jobs(services, request))),
        Route("/admin/jobs/retry", guard(lambda request: _retry(services, request)), methods=["POST"]),
    ]


async def _jobs(services: Services, request: Request) -> Response:
    found = await set_aside.listed(services.pool, _number(services, merchant_of(services.directory, request)))
    return json_response({"jobs": [_shown(services, one) for one in found]})


async def _retry(services: Services, request: Request) -> Response:
    given = await read_object(request)
    only(given, "merchant", "queue", "subject")
    merchant, queue, subject = text_of(given, "merchant", "") or None, text_of(given, "queue", "") or None, text_of(given, "subject", "")
    if merchant is not None and services.directory.merchant(merchant) is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    if queue is not None and queue not in QUEUES:
        raise BadInput("queue", f"must be one of {', '.join(QUEUES)}")
    if subject and not (subject.isascii() and subject.isdigit() and len(subject) <= 19 and int(subject) <= LARGEST):
        raise BadInput("subject", "must be the number of a job, as the list has it")
    done = await set_aside.retry(services.pool, services.now(), _number(services, merchant), queue, int(subject) if subject else None)
    services.nudge()
    return json_response({"jobs": done})


def _number(services: Services, identifier: str | None) -> int | None:
    merchant = services.directory.merchant(identifier) if identifier else None
    return merchant and merchant.merchant_id


def _shown(services: Services, one: set_aside.SetAside) -> dict[str, Any]:
    merchant = services.directory.by_id(one.merchant_id)
    return {
        "merchant": merchant.identifier if merchant else str(one.merchant_id), "queue": one.queue, "subject": str(one.subject),
        "payment": str(one.payment_id) if one.payment_id else None, "failures": one.failures, "note": one.note}


_QUEUE: Schema = {"type": "string", "enum": list(QUEUES)}

#: The paths of this module, for machines.
DESCRIBED: dict[str, Schema] = {
    "/admin/jobs": {"get": operator("Jobs that failed so often that they were set aside", answers("at most 500 of them", fields({
        "jobs": rows({
            "merchant": text("its identifier"), "queue": _QUEUE,
            "subject": text("what it is about: the number of an operation, plan, endpoint or message"),
            "payment": {"type": ["string", "null"]}, "failures": {"type": "integer", "description": "in a row"},
            "note": text("what the last try met"),
        }, ("merchant", "queue", "subject", "payment", "failures", "note")),
    }, ("jobs",)), "400", "401"), parameters=(OF_MERCHANT,))},
    "/admin/jobs/retry": {"post": operator(
        "Have jobs that were set aside tried again at once",
        answers("how many there were", fields({"jobs": {"type": "integer"}}, ("jobs",)), "400", "401"),
        body=fields({"merchant": text("only this merchant's"), "queue": _QUEUE, "subject": text("only this one")}, additionalProperties=False))},
}
