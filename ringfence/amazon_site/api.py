"""The API: ``/v2``, ``/sandbox/v2`` and ``/live/v2``, as a merchant's client calls them.

Who asks is proved first (the signature is rebuilt from the request as it came), then the form of the request, then whether it was asked before
under its key; only then an operation sees it.  All of that is one transaction.  Decides nothing about money.
"""
from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ringfence.amazon_site import charging, faults, sessions, showing, verifying, wire
from ringfence.amazon_site.asking import Asked, Done, missing
from ringfence.amazon_site.book import Change
from ringfence.amazon_site.desk import Desk
from ringfence.amazon_site.limits import ALIASES
from ringfence.amazon_site.objects import Merchant
from ringfence.amazon_site.passing import seconds
from ringfence.amazon_site.problems import DECLINES, Problem
from ringfence.amazon_site.simulating import check

PREFIXES = {"/v2": "", "/sandbox/v2": "Sandbox", "/live/v2": "Live"}
"""Where the API is, and of which environment; "": the one that the public key's identifier begins with."""
BODY_BYTES = 65_536
SECONDS_OF_SILENCE = 300.0
"""So long a request that is never answered is kept (wall time), should its caller not hang up."""


class Operation(NamedTuple):
    """One row of the API.  ``has_key``: it needs an idempotency key."""

    name: str
    method: str
    path: str
    fields: wire.Fields
    run: Callable[[Asked], Done | Problem]
    has_key: bool = False


def _unsupported(asked: Asked) -> Done | Problem:
    return Problem("UnsupportedOperation", "This is for payment service providers of Amazon's only.")


def _buyer(asked: Asked) -> Done | Problem:
    row = asked.change.run("token", asked.name).fetchone()
    if row is None or row[:2] != (asked.merchant.merchant_id, asked.environment) or row[4] <= asked.now:
        return missing("buyer token", asked.name)
    return Done(200, showing.buyer_of_token(row[2], msgspec.json.decode(row[3])))


#: Source: Amazon Pay API v2, its paths behind the prefix.
OPERATIONS = (
    Operation("createCheckoutSession", "POST", "/checkoutSessions", wire.CREATE_SESSION, sessions.create, has_key=True),
    Operation("getCheckoutSession", "GET", "/checkoutSessions/{name}", wire.NOTHING, sessions.read),
    Operation("updateCheckoutSession", "PATCH", "/checkoutSessions/{name}", wire.CHANGE_SESSION, sessions.update),
    Operation("completeCheckoutSession", "POST", "/checkoutSessions/{name}/complete", wire.COMPLETE, sessions.complete),
    Operation("finalizeCheckoutSession", "POST", "/checkoutSessions/{name}/finalize", wire.FINALIZE, sessions.finalize),
    Operation("getChargePermission", "GET", "/chargePermissions/{name}", wire.NOTHING, charging.read_permission),
    Operation("updateChargePermission", "PATCH", "/chargePermissions/{name}", wire.CHANGE_PERMISSION, charging.update_permission),
    Operation("closeChargePermission", "DELETE", "/chargePermissions/{name}/close", wire.CLOSE, charging.close_permission),
    Operation("createCharge", "POST", "/charges", wire.CREATE_CHARGE, charging.create_charge, has_key=True),
    Operation("getCharge", "GET", "/charges/{name}", wire.NOTHING, charging.read_charge),
    Operation("updateCharge", "PATCH", "/charges/{name}", {"statusDetails": wire.Field(wire.anything)}, _unsupported),
    Operation("captureCharge", "POST", "/charges/{name}/capture", wire.CAPTURE, charging.capture, has_key=True),
    Operation("cancelCharge", "DELETE", "/charges/{name}/cancel", wire.CANCEL, charging.cancel),
    Operation("createRefund", "POST", "/refunds", wire.REFUND, charging.create_refund, has_key=True),
    Operation("getRefund", "GET", "/refunds/{name}", wire.NOTHING, charging.read_refund),
    Operation("getBuyer", "GET", "/buyers/{name:path}", wire.NOTHING, _buyer),
)


class _Came(NamedTuple):
    """A request as it came.  ``headers`` by small names; one that came twice is joined by a comma, and so matches no signature of one."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    prefix: str
    name: str


def routes(desk: Desk) -> list[Route]:
    """The API under all of its prefixes."""
    return [route for prefix in PREFIXES for route in (
        *(Route(prefix + one.path, _endpoint(desk, prefix, one), methods=[one.method]) for one in OPERATIONS),
        Route(prefix + "/{rest:path}", _nowhere, methods=["GET", "POST", "PATCH", "PUT", "DELETE"]))]


async def _nowhere(request: Request) -> Response:
    """Paths and methods that mean nothing."""
    inner = "/" + request.path_params["rest"]
    pattern = any(_fits(one.path, inner) for one in OPERATIONS)
    problem = Problem("UnsupportedOperation", "This method is not possible here.") if pattern else Problem(
        "ResourceNotFound", "There is nothing at this path.")
    return _response(problem.status, {"reasonCode": problem.code, "message": problem.message}, str(uuid.uuid4()))


def _fits(pattern: str, path: str) -> bool:
    wanted, given = pattern.split("/"), path.split("/")
    return len(wanted) == len(given) and all(one.startswith("{") or one == two for one, two in zip(wanted, given, strict=True))


def _endpoint(desk: Desk, prefix: str, operation: Operation) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        body = b""
        try:
            async for part in request.stream():
                body += part
                if len(body) > BODY_BYTES:
                    return _response(400, {"reasonCode": "InvalidRequest", "message": "The body is too large."}, str(uuid.uuid4()))
        except ClientDisconnect:
            return Response(status_code=499)
        came = _Came(
            request.method, request.scope.get("raw_path", request.url.path.encode()).decode("latin-1"),
            request.scope["query_string"].decode("latin-1"), _headers(request), body, prefix, request.path_params.get("name", ""))
        fault = await desk.book.work(lambda change: faults.taken(change, operation.name, "status", "delay", "drop"))
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(float(fault.value))
        if fault is not None and fault.kind == "status":
            code = {"429": "TooManyRequests", "503": "ServiceUnavailable"}.get(fault.value, "InternalServerError")
            return _response(int(fault.value), {"reasonCode": code, "message": "This was asked for."}, str(uuid.uuid4()))
        status, content, request_id = await desk.carry_out(lambda change: _carried_out(desk, change, operation, came))
        if fault is not None and fault.kind == "drop":
            return _Dropped(fault.value, status, content)
        return Response(content, status, {"x-amz-pay-request-id": request_id}, "application/json")

    return answer


def _headers(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        key, read = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        found[key] = f"{found[key]},{read}" if key in found else read
    return found


def _carried_out(desk: Desk, change: Change, operation: Operation, came: _Came) -> tuple[int, bytes, str]:
    request_id = change.new_uuid("request")
    return *_judged(desk, change, operation, came, seconds(desk.now())), request_id


def _judged(desk: Desk, change: Change, operation: Operation, came: _Came, now: int) -> tuple[int, bytes]:
    known = _authentic(desk, change, came)
    if isinstance(known, Problem):
        return _told(known)
    merchant, environment = known
    body = wire.read_body(came.body, operation.fields)
    if isinstance(body, Problem):
        return _told(body)
    key, digest = came.headers.get("x-amz-pay-idempotency-key", ""), _digest(came, body)
    if operation.has_key:
        if problem := _key_problem(came.headers):
            return _told(problem)
        before = change.run("answered", merchant.merchant_id, key).fetchone()
        if before is not None:
            same = before[0] == digest
            return (before[1], before[2]) if same else _told(Problem("DuplicateIdempotencyKey", "The key was used with other parameters."))
    code = came.headers.get("x-amz-pay-simulation-code", "").strip()
    if code and environment == "Live":
        return _told(Problem("InvalidSandboxSimulationSpecified", "There are no simulations outside of the sandbox."))
    if problem := check(operation.name, code):
        return _told(problem)
    ordered = faults.taken(change, operation.name, "simulate")
    code = ordered.value if ordered is not None else code
    done = operation.run(Asked(change, merchant, environment, now, came.name, body, code, desk.base_url))
    answer = _told(done) if isinstance(done, Problem) else (done.status, msgspec.json.encode(done.body))
    if operation.has_key and (not isinstance(done, Problem) or done.code in DECLINES):
        change.run("keep_answer", merchant.merchant_id, key, digest, *answer)
    return answer


def _authentic(desk: Desk, change: Change, came: _Came) -> tuple[Merchant, str] | Problem:
    """Who asks, in which environment."""
    headers = came.headers
    if (absent := next((name for name in verifying.BASICS if name not in headers), "")):
        return Problem("MissingHeader", f"The header {absent} is missing.")
    signed = verifying.read_authorization(headers.get("authorization", ""))
    if signed is None:
        return Problem("UnauthorizedAccess", "The authorization header is missing or malformed.")
    if lacks := verifying.lacking(headers, signed.names):
        return Problem("UnauthorizedAccess", f"The header {lacks} is not signed.")
    found = change.key(signed.key_id)
    text = verifying.canonical_request(came.method, came.path, came.query, headers, signed.names, came.body)
    if found is None or not verifying.is_signed(verifying.public_key(found[0]), signed.algorithm, text.encode(), signed.signature):
        return Problem("UnauthorizedAccess", "The signature does not match: check the private key and the public key id.")
    merchant, date = found[1], verifying.read_date(headers["x-amz-pay-date"])
    if date is None:
        return Problem("InvalidHeaderValue", "The header x-amz-pay-date is no date such as 20260105T101112Z.")
    if abs(date.timestamp() - desk.wall()) > verifying.SKEW_SECONDS:
        return Problem("UnauthorizedAccess", "The header x-amz-pay-date is too far from now.")
    region = headers["x-amz-pay-region"].strip().lower()
    if ALIASES.get(region, region) != merchant.region:
        return Problem("InvalidHeaderValue", f"The header x-amz-pay-region must be {merchant.region} for this merchant.")
    for name in ("accept", "content-type"):
        if not headers[name].lower().startswith("application/json"):
            return Problem("InvalidHeaderValue", f"The header {name} must be application/json.")
    return _environment(merchant, PREFIXES[came.prefix], signed.key_id)


def _environment(merchant: Merchant, by_path: str, key_id: str) -> tuple[Merchant, str] | Problem:
    by_key = environment_of(key_id)
    if not by_path and not by_key:
        return Problem("InvalidRequest", "The path must begin with /sandbox or /live for a public key id that names no environment.")
    if by_path and by_key and by_path != by_key:
        return Problem("UnauthorizedAccess", "The public key is of the other environment.")
    return merchant, by_path or by_key


def environment_of(key_id: str) -> str:
    """The environment that a public key's identifier names, "" for none."""
    return next((name for name in ("Sandbox", "Live") if key_id.upper().startswith(name.upper())), "")


def _key_problem(headers: dict[str, str]) -> Problem | None:
    key = headers.get("x-amz-pay-idempotency-key")
    if key is None:
        return Problem("MissingHeader", "The header x-amz-pay-idempotency-key is missing.")
    if not key.strip():
        return Problem("MissingHeaderValue", "The header x-amz-pay-idempotency-key is empty.")
    return None if len(key) <= 32 else Problem("InvalidHeaderValue", "The header x-amz-pay-idempotency-key is longer than 32 characters.")


def _digest(came: _Came, body: dict[str, Any]) -> str:
    """What a request asks, however it was written."""
    said = msgspec.json.encode([came.method, came.prefix, came.path, body], order="sorted")
    return hashlib.sha256(said).hexdigest()


def _told(problem: Problem) -> tuple[int, bytes]:
    return problem.status, msgspec.json.encode({"reasonCode": problem.code, "message": problem.message})


def _response(status: int, body: dict[str, Any], request_id: str) -> Response:
    return Response(msgspec.json.encode(body), status, {"x-amz-pay-request-id": request_id}, "application/json")


class _Dropped(Response):
    """An answer that never arrives: the connection ends in the middle of it, or nothing comes at all."""

    def __init__(self, how: str, status: int, content: bytes) -> None:
        super().__init__(content, status)
        self._how = how

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._how == "silence":
            limit = time.monotonic() + SECONDS_OF_SILENCE
            while time.monotonic() < limit:
                try:
                    async with asyncio.timeout(limit - time.monotonic()):
                        message = await receive()
                except TimeoutError:
                    return
                if message["type"] == "http.disconnect":
                    return
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": [
            (b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]})
        await send({"type": "http.response.body", "body": self.body[:len(self.body) // 2], "more_body": True})
