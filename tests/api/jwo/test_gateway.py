"""The gateway of the door of stores: who gets in, who does not, and in which words."""
from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ringfence.api.jwo.accounts import Accounts
from ringfence.api.jwo.app import StoreApi
from ringfence.api.jwo.door import Answer, Endpoint, Request
from ringfence.engine.credentials import Allowed, NewCredential
from ringfence.engine.directory import Directory, Rejected
from ringfence.engine.metrics import Metrics
from ringfence.engine.rates import Rates
from ringfence.engine.session_tokens import lend, opener
from tests.api.jwo.signing import AT, BODY, HOST, SECRET, changed, signed
from tests.engine.composition import Process

pytestmark = pytest.mark.anyio

PATH = "/v1/adjust/charge"
_numbers = itertools.count(1)
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Answered(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """What a gateway calls it."""
        return self.headers.get("x-amzn-errortype", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """A door whose endpoints say what they were asked, and a client that signs."""

    def __init__(self, directory: Directory, one: Process, folder: Path, key: str) -> None:
        self.directory, self.process, self.key = directory, one, key
        self.now, self.asked = AT, list[Request]()
        self.spares = False
        self.clock: Callable[[], float] = time.time         # of how often one may ask
        self.says: Callable[[Request], Awaitable[Answer]] | None = None
        endpoints = [Endpoint(PATH, "adjust", self._handle), Endpoint("/v1/capture/charge", "capture", self._handle),
                     Endpoint("/v1/refund", "refund", self._handle)]

        async def spared(request: Request) -> bool:
            return self.spares

        self.api = StoreApi(
            {one.path: one for one in endpoints}, "the service", Accounts(directory, opener(one.keyring)),
            Rates(folder / "rates", lambda: self.clock()), Metrics(1).row(0), body_limit=2_000, wall=lambda: self.now, spared=spared)

    async def _handle(self, service: Any, request: Request) -> Answer:
        assert service == "the service"
        self.asked.append(request)
        if self.says is not None:
            return await self.says(request)
        return Answer(200, b'{"status":"APPROVED"}')

    async def send(self, asked: Any, body: bytes) -> Answered:
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.api({"type": "http", "method": asked.method, "path": asked.path.decode(), "raw_path": asked.path, "query_string": asked.query,
                        "headers": asked.headers, "client": ("192.0.2.7", 1)}, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        answered = Answered(sent[0]["status"], headers, sent[1]["body"])
        assert re.fullmatch(UUID, headers["x-amzn-requestid"])
        assert headers["content-length"] == str(len(answered.body)) and ("content-type" in headers) == bool(answered.body)
        assert SECRET.encode() not in answered.body
        return answered

    async def post(self, path: str = PATH, body: bytes = BODY, *, host: str = HOST, **options: Any) -> Answered:
        return await self.send(*signed(f"https://{host}{path}", body, **{"key": self.key, "at": self.now, **options}))


@pytest.fixture
async def gateway(one: Process, tmp_path: Path) -> Gateway:
    number = next(_numbers)
    key = f"AKIDSTORES{number}"
    made = await one.directory.create(f"Stores{number}", "Corner Shops", [NewCredential("jwo", key, SECRET, "connector-secret-not-real")])
    assert not isinstance(made, Rejected), made
    return Gateway(one.directory, one, tmp_path, key)


async def test_a_signed_request_reaches_its_handler(gateway: Gateway):
    answered = await gateway.post()
    assert (answered.status, answered.json) == (200, {"status": "APPROVED"})
    request, = gateway.asked
    assert (request.path, request.body, request.request_id) == (PATH, BODY, answered.headers["x-amzn-requestid"])
    assert request.caller.actor == f"jwo:{gateway.key}" and request.caller.stores == frozenset()


async def test_an_empty_answer_is_truly_empty(gateway: Gateway):
    async def nothing(request: Request) -> Answer:
        return Answer(200)

    gateway.says = nothing
    answered = await gateway.post("/v1/capture/charge")
    assert answered.body == b"" and answered.headers["content-length"] == "0"


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS"])
async def test_another_method_and_another_path_are_no_route(gateway: Gateway, method: str):
    for answered in (await gateway.post(method=method), await gateway.post("/v1/elsewhere")):
        assert (answered.status, answered.error) == (403, "MissingAuthenticationTokenException")
        assert answered.json == {"message": "Missing Authentication Token"}


@pytest.mark.parametrize(("authorization", "error"), [
    (None, "MissingAuthenticationTokenException"), ("Bearer key_sandbox_one", "MissingAuthenticationTokenException"),
    ("AWS4-HMAC-SHA256 nonsense", "IncompleteSignatureException"),
])
async def test_what_is_not_signed(gateway: Gateway, authorization: str | None, error: str):
    asked, body = signed(f"https://{HOST}{PATH}", key=gateway.key)
    answered = await gateway.send(changed(asked, authorization=authorization), body)
    assert (answered.status, answered.error, list(answered.json)) == (403, error, ["message"])
    assert gateway.asked == []


async def test_what_is_signed_otherwise(gateway: Gateway):
    async def of(**options: Any) -> str:
        answered = await gateway.post(**options)
        assert answered.status == 403
        return answered.error

    assert await of(secret="another secret") == "InvalidSignatureException"
    assert await of(region="eu-west-1") == "InvalidSignatureException"
    assert await of(service="s3") == "InvalidSignatureException"
    assert await of(at=AT - timedelta(minutes=6)) == "InvalidSignatureException"
    assert await of(at=AT + timedelta(minutes=6)) == "InvalidSignatureException"
    assert await of(key="AKIDNOBODY") == "UnrecognizedClientException"
    assert await of(token="SESSIONTOKEN") == "UnrecognizedClientException"
    asked, _ = signed(f"https://{HOST}{PATH}", key=gateway.key)
    assert (await gateway.send(asked, BODY.replace(b"15.99", b"15.98"))).error == "InvalidSignatureException"
    assert gateway.asked == []


async def test_a_replay_is_a_repeat_inside_five_minutes_and_refused_behind_them(gateway: Gateway):
    asked, body = signed(f"https://{HOST}{PATH}", key=gateway.key)
    assert (await gateway.send(asked, body)).status == 200
    gateway.now = AT + timedelta(minutes=5)
    assert (await gateway.send(asked, body)).status == 200
    gateway.now += timedelta(seconds=1)
    assert (await gateway.send(asked, body)).error == "InvalidSignatureException"


@pytest.mark.parametrize(("host", "region", "status"), [
    ("us-east-1.payments.store.example", "us-east-1", 200), ("eu-west-1.payments.store.example", "eu-west-1", 200),
    ("ap-southeast-2.test.checkout.store.example:8443", "ap-southeast-2", 200), ("localhost:8080", "us-east-1", 200),
    ("localhost:8080", "localhost:8080", 403), ("localhost:8080", "eu-west-1", 403), ("eu-west-1.payments.store.example", "us-west-2", 403),
    ("shop-1.example", "shop-1", 403),
])
async def test_regions_of_hosts(gateway: Gateway, host: str, region: str, status: int):
    assert (await gateway.post(host=host, region=region)).status == status


async def test_a_body_that_is_too_large(gateway: Gateway):
    answered = await gateway.post(body=b"x" * 2_001)
    assert (answered.status, answered.error, answered.headers["connection"]) == (413, "RequestTooLargeException", "close")
    assert (await gateway.post(body=b"x" * 2_000)).status == 200


async def test_a_crash_is_an_internal_error_and_a_lost_database_unavailable(gateway: Gateway):
    async def broken(request: Request) -> Answer:
        raise ValueError("secret detail")

    async def lost(request: Request) -> Answer:
        raise ConnectionResetError("the database went away")

    gateway.says = broken
    answered = await gateway.post()
    assert (answered.status, answered.json) == (500, {"errorMsg": "InternalServerException"})
    gateway.says = lost
    answered = await gateway.post()
    assert (answered.status, answered.json) == (503, {"errorMsg": "ServiceUnavailableException"})


# ---------------------------------------------------------------------------------------------------------- what a key may do

async def test_a_key_may_be_for_some_operations_and_stores(gateway: Gateway):
    here = gateway.directory.named("jwo", gateway.key)
    assert here is not None
    await gateway.directory.allow(here.identifier, gateway.key, Allowed(frozenset({"refund"}), frozenset({"STORE-001"}), frozenset({"eu-west-1"})))
    assert (await gateway.post("/v1/refund", host="eu-west-1.payments.store.example", region="eu-west-1")).status == 200
    assert gateway.asked[-1].caller.stores == {"STORE-001"}
    assert (await gateway.post("/v1/refund")).error == "InvalidSignatureException"
    answered = await gateway.post(host="eu-west-1.payments.store.example", region="eu-west-1")
    assert (answered.status, answered.error, list(answered.json)) == (403, "AccessDeniedException", ["Message"])


async def test_a_key_that_is_switched_off_is_nobodys(gateway: Gateway):
    identifier = gateway.directory.named("jwo", gateway.key).identifier             # type: ignore[union-attr]
    assert (await gateway.post()).status == 200
    assert await gateway.directory.switch_off(identifier, gateway.key) is not None
    assert (await gateway.post()).error == "UnrecognizedClientException"
    assert await gateway.directory.switch_off(identifier, gateway.key) is None
    again = await gateway.directory.add_credential(identifier, NewCredential("jwo", gateway.key, SECRET, "connector-secret-not-real"))
    assert isinstance(again, Rejected) and again.errors[0].key == "access_key_id"


async def test_five_keys_and_no_more(gateway: Gateway):
    identifier = gateway.directory.named("jwo", gateway.key).identifier             # type: ignore[union-attr]
    for number in range(4):
        made = await gateway.directory.add_credential(
            identifier, NewCredential("jwo", f"{gateway.key}{number}", SECRET, "connector-secret-not-real"))
        assert not isinstance(made, Rejected)
    refused = await gateway.directory.add_credential(identifier, NewCredential("jwo", f"{gateway.key}9", SECRET, "connector-secret-not-real"))
    assert isinstance(refused, Rejected)


async def test_a_merchant_that_is_switched_off(gateway: Gateway):
    identifier = gateway.directory.named("jwo", gateway.key).identifier             # type: ignore[union-attr]
    await gateway.directory.change(identifier, {}, active=False)
    assert (await gateway.post()).error == "AccessDeniedException"
    assert (await gateway.post(secret="another secret")).error == "InvalidSignatureException"      # nobody else hears of it


# ---------------------------------------------------------------------------------------------------------- session tokens

async def test_a_lent_key_works_with_its_token_until_its_time_is_over(gateway: Gateway):
    lender = gateway.directory.named("jwo", gateway.key)
    assert lender is not None
    session, token = lend(gateway.process.keyring, lender, AT, timedelta(hours=1), Allowed(frozenset({"adjust"}), frozenset({"STORE-001"})))
    lent: dict[str, Any] = {"key": session.access_key_id, "secret": session.secret}
    assert (await gateway.post(**lent, token=token)).status == 200
    assert gateway.asked[-1].caller.stores == {"STORE-001"} and gateway.asked[-1].caller.actor == f"jwo:{gateway.key}"
    assert (await gateway.post("/v1/refund", **lent, token=token)).error == "AccessDeniedException"
    assert (await gateway.post(**lent)).error == "UnrecognizedClientException"                      # without its token
    assert (await gateway.post(token=token)).error == "UnrecognizedClientException"                 # another's token
    assert (await gateway.post(**lent, token=token[:-8] + "AAAAAAA=")).error == "UnrecognizedClientException"
    assert (await gateway.post(**lent | {"secret": SECRET}, token=token)).error == "InvalidSignatureException"
    gateway.now = AT + timedelta(hours=1)
    assert (await gateway.post(**lent, token=token)).error == "ExpiredTokenException"
    gateway.now = AT
    await gateway.directory.switch_off(lender.identifier, gateway.key)
    assert (await gateway.post(**lent, token=token)).error == "UnrecognizedClientException"


async def test_stores_that_a_session_does_not_share_with_its_lender_are_none(gateway: Gateway):
    lender = gateway.directory.named("jwo", gateway.key)
    assert lender is not None
    await gateway.directory.allow(lender.identifier, gateway.key, Allowed(stores=frozenset({"STORE-001", "STORE-002"})))
    for asked, left in (({"STORE-002", "STORE-003"}, {"STORE-002"}), ({"STORE-003"}, {""}), (set(), {"STORE-001", "STORE-002"})):
        session, token = lend(gateway.process.keyring, lender, AT, timedelta(hours=1), Allowed(stores=frozenset(asked)))
        await gateway.post(key=session.access_key_id, secret=session.secret, token=token)
        assert gateway.asked[-1].caller.stores == left


@pytest.mark.parametrize("token", ["", "AAAA", "é", "A" * 9_000, "AAAAAQEAAAAB" + "A" * 80])
async def test_what_is_no_token(gateway: Gateway, token: str):
    asked, body = signed(f"https://{HOST}{PATH}", key=gateway.key, token="x")
    odd = asked._replace(headers=[(name, token.encode() if name == b"x-amz-security-token" else value) for name, value in asked.headers])
    assert (await gateway.send(odd, body)).error == "UnrecognizedClientException"


async def test_nothing_prints_a_secret(gateway: Gateway):
    lender = gateway.directory.named("jwo", gateway.key)
    assert lender is not None
    session, token = lend(gateway.process.keyring, lender, AT, timedelta(hours=1), Allowed())
    account = Accounts(gateway.directory, opener(gateway.process.keyring)).find(session.access_key_id, token, AT)
    for one in (lender, session, account, NewCredential("jwo", "AKIDX", SECRET, "connector-secret-not-real")):
        printed = f"{one} {one!r} {[one]}"
        assert not any(secret in printed for secret in (SECRET, session.secret, "connector-secret-not-real", token))


# ---------------------------------------------------------------------------------------------------------- how often

async def test_above_the_rate_a_caller_waits_but_for_capture_of_a_trip_about_to_end(gateway: Gateway):
    identifier = gateway.directory.named("jwo", gateway.key).identifier             # type: ignore[union-attr]
    await gateway.directory.change(identifier, {"store_requests_per_second": "1"})
    began = time.time()
    gateway.clock = lambda: began                       # however slow the machine is, nobody gets a try back meanwhile
    assert [(await gateway.post()).status for _ in range(2)] == [200, 200]
    answered = await gateway.post()
    assert (answered.status, answered.error, answered.headers["retry-after"]) == (429, "TooManyRequestsException", "600")
    assert answered.json == {"message": "Too Many Requests", "errorMsg": "TooManyRequestsException"}
    assert [(await gateway.post("/v1/capture/charge")).status for _ in range(3)] == [200, 200, 429]     # a bucket of its own
    gateway.spares = True
    assert (await gateway.post("/v1/capture/charge")).status == 200
    assert (await gateway.post()).status == 429
    await gateway.directory.change(identifier, {"store_retry_after": "30"})
    assert (await gateway.post()).headers["retry-after"] == "30"


# ---------------------------------------------------------------------------------------------------------- what it costs

async def test_a_clock_of_its_own_is_the_walls(one: Process, tmp_path: Path):
    api = StoreApi({}, None, Accounts(one.directory, opener(one.keyring)), Rates(tmp_path / "rates", time.time), Metrics(1).row(0), body_limit=1)
    assert abs(api._wall() - datetime.now(UTC)) < timedelta(minutes=1)
