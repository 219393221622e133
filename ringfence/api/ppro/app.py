"""``/v1``: who calls, which endpoint, how often; what is wrong with a request before anybody looks at its fields.

Plain ASGI.  Decides nothing about payments.  (PPRO Global API, sections 1, 3 to 6.)
"""
from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl
from zlib import crc32

from ringfence.api.http import BodyTooLarge, CallerGone, Receive, Scope, Send, read_body
from ringfence.api.ppro import answers
from ringfence.api.ppro.answers import Answer, Header
from ringfence.api.ppro.door import LONGEST_KEY, Caller, Endpoint, Request, Service
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.metrics import CRASHES, Counters
from ringfence.engine.rates import Rates, Taken

log = logging.getLogger(__name__)

PREFIX = "/v1"
BEARER = "Bearer "
REFERENCE = 512
"""Characters of a Request-Reference that are given back."""


class Found(NamedTuple):
    """What stands at a path: its endpoints by method, and the open parts of the path."""

    methods: Mapping[str, Endpoint]
    variables: tuple[str, ...]


class Paths:
    """Endpoints by their paths."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._shapes: dict[tuple[str | None, ...], dict[str, Endpoint]] = {}
        for one in endpoints:
            shape = tuple(None if part.startswith("{") else part for part in one.path.split("/"))
            methods = self._shapes.setdefault(shape, {})
            assert one.method not in methods, f"{one.method} {one.path} stands twice"
            methods[one.method] = one

    def find(self, path: str) -> Found | None:
        """What stands at a path; ``None`` where nothing does.  A part that is named wins over one that is open."""
        parts = path.split("/")
        methods = self._shapes.get(tuple(parts))
        if methods is not None:
            return Found(methods, ())
        for shape, methods in self._shapes.items():
            if len(shape) == len(parts) and all((want is None and have) or want == have for want, have in zip(shape, parts, strict=True)):
                return Found(methods, tuple(have for want, have in zip(shape, parts, strict=True) if want is None))
        return None


class GlobalApi:
    """The door of one worker."""

    def __init__(
        self, service: Service, endpoints: Iterable[Endpoint], rates: Rates, counters: Counters, *, body_limit: int, file_limit: int = 0,
    ) -> None:
        """``body_limit`` and ``file_limit`` (of what is no JSON) are in bytes."""
        self._service, self._paths, self._rates, self._counters = service, Paths(endpoints), rates, counters
        self._body_limit, self._file_limit = body_limit, file_limit or body_limit

    def stands_at(self, path: str) -> bool:
        """Whether something of this door stands at a path."""
        return self._paths.find(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, value)
        limits: tuple[Header, ...] = ()
        try:
            answer, limits = await self._answer(scope, receive, headers)
        except BodyTooLarge:
            answer = answers.error(413, "the body is too large")._replace(headers=((b"connection", b"close"),))
        except CallerGone:
            return
        except CONNECTION_LOST as lost:
            log.warning("%s %s waits for the database: %s", scope["method"], scope["path"], lost)
            answer = answers.error(503, answers.AWAY)
        except Exception:
            self._counters.add(CRASHES)
            log.exception("%s %s broke", scope["method"], scope["path"])
            answer = answers.error(500, "something is broken here; the log says what")
        reference = headers.get(b"request-reference", b"")[:REFERENCE]
        named = ((b"request-reference", reference),) if reference else ()
        await _send(send, answer, *limits, *named)

    async def _answer(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> tuple[Answer, tuple[Header, ...]]:
        path, method = scope["path"], scope["method"]
        found = self._paths.find(path)
        endpoint = found and found.methods.get(method)
        if endpoint is not None and endpoint.is_open:
            return await endpoint.handle(self._service, Request(method, path, found.variables, {}, b"", "", ())), ()
        key = _bearer(headers)
        held = self._service.directory.held_by("ppro", key) if key else {}
        if not held:
            return answers.UNAUTHORIZED, ()
        if found is None:
            return answers.error(404, "there is nothing at this path"), ()
        if endpoint is None:
            allowed = ", ".join(sorted(found.methods)).encode()
            return answers.error(405, "this method is not possible here")._replace(headers=((b"allow", allowed),)), ()
        callers = [
            Caller(merchant, one) for one in held.values()
            if (merchant := self._service.directory.merchant(one.identifier)) is not None and merchant.active]
        if not callers:
            return answers.error(403, "the merchant is switched off"), ()
        rate = max(one.merchant.settings.requests_per_second for one in callers)
        taken = self._rates.take(crc32(f"{key}|{endpoint.group}".encode("utf-8", "surrogatepass")), rate, 2 * rate)
        limits = _limits(taken, rate)
        if not taken.granted:
            seconds = str(int(taken.wait) + 1).encode()
            return answers.error(429, "too many requests")._replace(headers=((b"retry-after", seconds),)), limits
        if endpoint.names_merchant:
            named = headers.get(b"merchant-id", b"").decode("latin-1")
            if not named:
                return answers.error(400, "the header Merchant-Id is required"), limits
            callers = [one for one in callers if one.credential.public_name == named]
            if not callers:
                return answers.error(403, "this key does not act for this merchant"), limits
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        if endpoint.takes and content_type.partition(";")[0].strip().lower() != endpoint.takes:
            return answers.error(415, f"the content type must be {endpoint.takes}"), limits
        idempotency = headers.get(b"request-idempotency-key", b"").decode("latin-1") if method in ("POST", "PATCH") else ""
        if len(idempotency) > LONGEST_KEY:
            return answers.error(400, f"Request-Idempotency-Key must have at most {LONGEST_KEY} characters"), limits
        body = await read_body(scope, receive, self._body_limit if endpoint.takes in ("", "application/json") else self._file_limit)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)) if scope["query_string"] else {}
        client = scope.get("client")
        request = Request(
            method, path, found.variables, query, body, idempotency, tuple(callers), client[0] if client else "", content_type)
        return await endpoint.handle(self._service, request), limits


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"authorization", b"").decode("latin-1")
    return given.removeprefix(BEARER).strip() if given.startswith(BEARER) else ""


def _limits(taken: Taken, rate: int) -> tuple[Header, ...]:
    return (
        (b"x-ratelimit-remaining", b"%d" % taken.left), (b"x-ratelimit-requested-tokens", b"1"),
        (b"x-ratelimit-burst-capacity", b"%d" % (2 * rate)), (b"x-ratelimit-replenish-rate", b"%d" % rate))


async def _send(send: Send, answer: Answer, *headers: Header) -> None:
    written = ((b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))) if answer.body else ()
    await send({"type": "http.response.start", "status": answer.status, "headers": [*written, *answer.headers, *headers]})
    await send({"type": "http.response.body", "body": answer.body})
