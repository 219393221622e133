"""What stands around every endpoint of operators."""
from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest
from starlette.requests import Request
from starlette.responses import Response

from ringfence.api.admin import guard
from ringfence.storage.database import DatabaseUnavailable

pytestmark = pytest.mark.anyio

LOST = [
    ConnectionRefusedError(111, "Connect call failed"), DatabaseUnavailable("the database cannot be reached"),
    asyncpg.CannotConnectNowError("the database system is starting up"), asyncpg.ConnectionDoesNotExistError("closed in the middle"),
    asyncpg.AdminShutdownError("terminating connection"), asyncpg.InterfaceError("connection is closed"),
]


def asked(method: str) -> Request:
    return Request({"type": "http", "method": method, "path": "/admin/reviews", "query_string": b"", "scheme": "http", "server": ("here", 80),
                    "headers": [(b"authorization", b"Bearer token")]})


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
@pytest.mark.parametrize(("method", "said"), [
    ("GET", "the database does not answer"), ("POST", "the database does not answer; whether this was done shows when it is back")])
async def test_a_database_that_is_away_is_503(lost: Exception, method: str, said: str):
    """Wherever it is missed, and in the shape of any other refusal; what may have changed something does not claim that it did not."""
    async def endpoint(request: Request) -> Response:
        raise lost

    answer = await guard("token")(endpoint)(asked(method))
    assert (answer.status_code, json.loads(answer.body)) == (503, {"error": said})


async def test_what_the_end_of_the_service_cuts_short_is_503():
    """Such as a long way of the clock: not a 500, for nothing is broken."""
    async def endpoint(request: Request) -> Response:
        raise asyncio.CancelledError("Task cancelled, timeout graceful shutdown exceeded")

    answer = await guard("token")(endpoint)(asked("POST"))
    assert (answer.status_code, json.loads(answer.body)) == (503, {"error": "the service stops; whether this was done shows when it is back"})


async def test_a_bug_stays_a_bug():
    """What is broken is not taken for a database that is away."""
    async def endpoint(request: Request) -> Response:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await guard("token")(endpoint)(asked("GET"))
