"""The door of stores: who signed, may they, how often; what is wrong with a request before anybody looks at its fields.

Plain ASGI.  What is refused here is refused as AWS's gateway does: 403 with ``x-amzn-ErrorType`` and ``message``; what is behind it answers with
``errorMsg``.  Decides nothing about trips, and nothing about stores but which of them a key may name: the order of checks is the handlers'.
"""
from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4
from zlib import crc32

import msgspec

from ringfence.api.http import BodyTooLarge, CallerGone, Receive, Scope, Send, read_body
from ringfence.api.jwo import sigv4
from ringfence.api.jwo.accounts import Account, Accounts, Unknown
from ringfence.api.jwo.door import Answer, Endpoint, Handlers, Request
from ringfence.api.jwo.sigv4 import Asked, Claim, Fault, Flaw
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.metrics import CRASHES, Counters
from ringfence.engine.rates import Rates

log = logging.getLogger(__name__)

_REGION = re.compile(rb"([a-z]{2}(?:-[a-z]+){1,3}-\d{1,2})\.", re.ASCII)
"""A host that begins with a region: ``us-east-1.payments.…``."""

#: What a gateway calls a fault.
NAMES = {
    Fault.MISSING: "MissingAuthenticationTokenException",
    Fault.INCOMPLETE: "IncompleteSignatureException",
    Fault.SCOPE: "InvalidSignatureException",
    Fault.UNSIGNED: "InvalidSignatureException",
    Fault.TIME: "InvalidSignatureException",
    Fault.MISMATCH: "InvalidSignatureException",
}
#: ... and a key that it does not know.
OF_KEYS = {
    Unknown.KEY: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    Unknown.EXPIRED: ("ExpiredTokenException", "The security token included in the request is expired."),
}


def refused(status: int, name: str, message: str, *headers: tuple[str, str], member: str = "message") -> Answer:
    """An answer of the gateway."""
    return Answer(status, msgspec.json.encode({member: message}), (("x-amzn-ErrorType", name), *headers))


def failed(status: int, name: str, *headers: tuple[str, str]) -> Answer:
    """An answer of the service behind it."""
    return Answer(status, msgspec.json.encode({"errorMsg": name}), headers)


UNSIGNED = refused(403, NAMES[Fault.MISSING], "Missing Authentication Token")
SWITCHED_OFF = "The merchant of this key is switched off."
TOO_LARGE = refused(413, "RequestTooLargeException", "Request Too Long", ("connection", "close"))
BROKEN = failed(500, "InternalServerException")
AWAY = failed(503, "ServiceUnavailableException")


def too_many(seconds: int) -> Answer:
    """Both shapes in one: the gateway's, and the one that the payment service has for 429."""
    body = msgspec.json.encode({"message": "Too Many Requests", "errorMsg": "TooManyRequestsException"})
    return Answer(429, body, (("x-amzn-ErrorType", "TooManyRequestsException"), ("Retry-After", str(seconds))))


async def never(request: Request) -> bool:
    """No request is let through above the rate."""
    return False


class StoreApi:
    """The door of one worker."""

    def __init__(
        self, endpoints: Handlers, service: Any, accounts: Accounts, rates: Rates, counters: Counters, *, body_limit: int,
        regions: frozenset[str] = frozenset({"us-east-1"}), wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        spared: Callable[[Request], Awaitable[bool]] = never,
    ) -> None:
        """``endpoints`` by path; ``service`` is what they work with.  ``body_limit`` in bytes.  ``regions`` are taken on every host, beside the
        one that a host's own first label names.  ``wall``: wall time.  ``spared``: whether a request above its key's rate is answered all the
        same, which is asked for Capture and Cancel only: nobody loses a hold that is about to end over a rate.
        """
        self.endpoints = endpoints
        self._service, self._accounts, self._rates, self._counters = service, accounts, rates, counters
        self._body_limit, self._regions, self._wall, self._spared = body_limit, regions, wall, spared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        request_id = str(uuid4())
        path = scope["path"]
        try:
            answer = await self._answer(scope, receive, request_id)
        except BodyTooLarge:
            answer = TOO_LARGE
        except CallerGone:
            return
        except CONNECTION_LOST as lost:
            log.warning("%s %s waits for the database: %s", request_id, path, lost)
            answer = AWAY
        except Exception:
            self._counters.add(CRASHES)
            log.exception("%s %s broke", request_id, path)
            answer = BROKEN
        if answer.status >= 400:
            log.info("%s %s %s answered %d %s", request_id, scope["method"], path if path in self.endpoints else "elsewhere", answer.status,
                     next((value for name, value in answer.headers if name == "x-amzn-ErrorType"), ""))
        elif log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s answered %d", request_id, path, answer.status)
        await _send(send, answer, request_id)

    async def _answer(self, scope: Scope, receive: Receive, request_id: str) -> Answer:
        endpoint = self.endpoints.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            return UNSIGNED
        headers = scope["headers"]
        claim = sigv4.read_claim(headers)
        if isinstance(claim, Flaw):
            return _of(claim)
        token = None
        if any(name == b"x-amz-security-token" for name, _ in headers):
            token = sigv4.value_of(headers, b"x-amz-security-token") or ""
        now = self._wall()
        account = self._accounts.find(claim.access_key_id, token, now)
        if isinstance(account, Unknown):
            return refused(403, *OF_KEYS[account])
        asked = Asked("POST", scope.get("raw_path") or scope["path"].encode(), scope["query_string"], headers)
        if (flaw := sigv4.flaw_of(claim, asked, self._expected(asked, account), now)) is not None:
            return _of(flaw)
        body = await read_body(scope, receive, self._body_limit)
        if (flaw := sigv4.mismatch(claim, asked, body, self._accounts.signing_key(account, claim))) is not None:
            return _of(flaw)
        return await self._of_signed(endpoint, account, claim, Request(endpoint.path, body, account.caller, request_id))

    async def _of_signed(self, endpoint: Endpoint, account: Account, claim: Claim, request: Request) -> Answer:
        """The answer to somebody who is who he says."""
        merchant, operation = account.caller.merchant, endpoint.operation
        if not merchant.active:
            return refused(403, "AccessDeniedException", SWITCHED_OFF, member="Message")
        if not account.may(operation):
            said = f"User: {claim.access_key_id} is not authorized to perform: execute-api:Invoke on resource: POST{endpoint.path}"
            return refused(403, "AccessDeniedException", said, member="Message")
        rate = merchant.settings.store_requests_per_second
        taken = self._rates.take(crc32(f"{account.caller.credential.public_name}|{operation}".encode()), rate, 2 * rate)
        if not taken.granted and not (operation in ("capture", "cancel") and await self._spared(request)):
            return too_many(merchant.settings.store_retry_after)
        answer: Answer = await endpoint.handle(self._service, request)
        return answer

    def _expected(self, asked: Asked, account: Account) -> frozenset[str]:
        """The regions that this request may be signed for."""
        regions = self._regions
        host = next((value for name, value in asked.headers if name == b"host"), b"")
        if found := _REGION.match(host):
            regions |= {found[1].decode()}
        return regions & account.regions if account.regions else regions


def _of(flaw: Flaw) -> Answer:
    return refused(403, NAMES[flaw.fault], flaw.problem)


async def _send(send: Send, answer: Answer, request_id: str) -> None:
    content = [(b"content-type", b"application/json")] if answer.body else []
    await send({"type": "http.response.start", "status": answer.status, "headers": [
        *content, (b"content-length", b"%d" % len(answer.body)), (b"x-amzn-requestid", request_id.encode()),
        *((name.lower().encode(), value.encode()) for name, value in answer.headers)]})
    await send({"type": "http.response.body", "body": answer.body})
