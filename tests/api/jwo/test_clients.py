"""The clients that retailers have, over a real socket: botocore, requests-aws4auth and ``curl --aws-sigv4``, each with and without a session token."""
from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import uvicorn
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from requests_aws4auth import AWS4Auth

from ringfence.api.http import root
from ringfence.api.jwo.accounts import Accounts
from ringfence.api.jwo.app import StoreApi
from ringfence.api.jwo.door import Answer, Endpoint, Request
from ringfence.api.v1 import shared
from ringfence.engine.credentials import EVERYTHING, NewCredential
from ringfence.engine.directory import Rejected
from ringfence.engine.metrics import Metrics
from ringfence.engine.rates import Rates
from ringfence.engine.session_tokens import lend, opener
from tests.api.jwo.signing import BODY, SECRET
from tests.engine.composition import Process

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)
REGION = "us-east-1"
PATH = "/v1/adjust/charge"


class Keys(NamedTuple):
    """What a client is configured with."""

    url: str
    key: str
    secret: str
    token: str | None = None


Client = Callable[[Keys, bytes], "tuple[int, str]"]


def by_botocore(keys: Keys, body: bytes) -> tuple[int, str]:
    request = AWSRequest("POST", keys.url, data=body, headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(keys.key, keys.secret, keys.token), "execute-api", REGION).add_auth(request)
    answer = URLLib3Session().send(request.prepare())
    return answer.status_code, answer.text


def by_requests(keys: Keys, body: bytes) -> tuple[int, str]:
    auth = AWS4Auth(keys.key, keys.secret, REGION, "execute-api", session_token=keys.token)
    answer = requests.post(keys.url, data=body, auth=auth, headers={"Content-Type": "application/json"}, timeout=90)
    return answer.status_code, answer.text


async def by_curl(keys: Keys, body: bytes) -> tuple[int, str]:
    more = ("-H", f"x-amz-security-token: {keys.token}") if keys.token else ()
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "-w", "\n%{http_code}", "--aws-sigv4", f"aws:amz:{REGION}:execute-api", "--user", f"{keys.key}:{keys.secret}",
        "-H", "content-type: application/json", *more, "--data-binary", "@-", keys.url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(body), 90)
    text, _, status = said.decode().rpartition("\n")
    return int(status), text


def threaded(client: Client) -> Any:
    async def call(keys: Keys, body: bytes) -> tuple[int, str]:
        return await asyncio.to_thread(client, keys, body)

    return call


CLIENTS = {"botocore": threaded(by_botocore), "requests-aws4auth": threaded(by_requests)} | ({"curl": by_curl} if shutil.which("curl") else {})


async def _handle(service: Any, request: Request) -> Answer:
    return Answer(200, json.dumps({"actor": request.caller.actor, "bytes": len(request.body)}).encode())


async def _elsewhere(scope: Any, receive: Any, send: Any) -> None:
    """The other protocol on the same port, which answers everything with 401 or its own 200."""
    status = 200 if scope["path"] == "/v1/payment-charges" else 401
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def keys(one: Process, tmp_path: Path) -> AsyncIterator[dict[str, Keys]]:
    """A key and one that it lends, at a service on a port."""
    number = next(_numbers)
    name = f"AKIDCLIENT{number}"
    made = await one.directory.create(f"Clients{number}", "Corner Shops", [NewCredential("jwo", name, SECRET, "connector-secret-not-real")])
    assert not isinstance(made, Rejected), made
    stores = StoreApi(
        {PATH: Endpoint(PATH, "adjust", _handle)}, None, Accounts(one.directory, opener(one.keyring)), Rates(tmp_path / "rates", time.time),
        Metrics(1).row(0), body_limit=10_000)
    app = root({}, [], Metrics(1).row(0), {"/v1": shared(stores, _elsewhere, lambda path: path == "/v1/payment-charges")})
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listening]))
    while not server.started:
        await asyncio.sleep(0.01)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}{PATH}"
    session, token = lend(one.keyring, made.credentials[0], datetime.now(UTC), timedelta(hours=1), EVERYTHING)
    try:
        yield {"own": Keys(url, name, SECRET), "lent": Keys(url, session.access_key_id, session.secret, token)}
    finally:
        server.should_exit = True
        await serving
        listening.close()


@pytest.mark.parametrize("kind", ["own", "lent"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_gets_through(keys: dict[str, Keys], client: str, kind: str):
    status, said = await CLIENTS[client](keys[kind], BODY)
    assert (status, json.loads(said)) == (200, {"actor": f"jwo:{keys['own'].key}", "bytes": len(BODY)})


@pytest.mark.parametrize("kind", ["own", "lent"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_with_a_wrong_secret_does_not(keys: dict[str, Keys], client: str, kind: str):
    status, said = await CLIENTS[client](keys[kind]._replace(secret="another-secret-not-real"), BODY)
    assert status == 403 and list(json.loads(said)) == ["message"]


async def test_a_path_that_nobody_owns_is_answered_by_the_scheme(keys: dict[str, Keys]):
    own = keys["own"]
    base = own.url.removesuffix(PATH)
    status, said = await CLIENTS["botocore"](own._replace(url=f"{base}/v1/nothing"), BODY)
    assert (status, json.loads(said)) == (403, {"message": "Missing Authentication Token"})
    status, said = await CLIENTS["botocore"](own._replace(url=f"{base}/v1/payment-charges"), BODY)
    assert status == 200                                            # it stands at the other door, which then says what it thinks of the key
    for headers, path, expected in (({}, "/v1/nothing", 401), ({"Authorization": "Bearer x"}, "/v1/nothing", 401), ({}, PATH, 403),
                                    ({"Authorization": "Bearer x"}, PATH, 403)):
        answer = await asyncio.to_thread(requests.post, f"{base}{path}", headers=headers, timeout=90)
        assert answer.status_code == expected, (headers, path)
