"""``/v1``: who calls, which endpoint, how often; what is wrong with a request before anybody looks at its fields.

Plain ASGI.  Decides nothing about payments.  (PPRO Global API, sections 1, 3 to 6.)
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from zlib import crc32

from ringfence.api.http import Asking, BodyTooLarge, CallerGone, Learn, Prepared, Receive, Scope, Send, read_body
from ringfence.api.ppro import answers
from ringfence.api.ppro.answers import JSON_BYTES, Answer, Header
from ringfence.api.ppro.door import JSON, LONGEST_KEY, Caller, Endpoint, Request, Service, caller_of
from ringfence.api.ppro.kinds import Problem
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.metrics import CRASHES, PPRO_SECONDS, REQUESTS_PPRO, Counters
from ringfence.engine.rates import Rates, Taken

log = logging.getLogger(__name__)

PREFIX = "/v1"
BEARER = "bearer"
KEY = b"request-idempotency-key"
LONGEST_NAME = 100
"""Characters of a parameter's name that are told."""
REFERENCE = 512
"""Characters of a Request-Reference that are given back."""


Headers = Iterable[tuple[bytes, bytes]]
Said = tuple[Answer, tuple[Header, ...]]
"""An answer, and the headers that say how often more may be asked."""


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

    def plain(self, method: str, takes: str) -> list[str]:
        """The paths without open parts that take such a body."""
        return ["/".join(part or "" for part in shape) for shape, methods in self._shapes.items()
                if None not in shape and method in methods and methods[method].takes == takes]

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


class Standing(NamedTuple):
    """What the head of a request says, while the directory stays as it is.

    ``slot`` and ``rate`` are those of the caller's bucket; ``refusal`` is what is wrong with the head, told once the request is counted.
    """

    endpoint: Endpoint
    variables: tuple[str, ...]
    callers: tuple[Caller, ...]
    slot: int
    rate: int
    refusal: Answer | None
    content_type: str


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
        began = perf_counter()
        headers = _first_of_each(scope["headers"])
        try:
            answer, limits = await self._answer(scope, receive, headers)
        except CallerGone:
            return
        except Exception as broken:
            answer, limits = self._broken(broken, scope["method"], scope["path"]), ()
        await _send(send, answer, *limits, *_reference(headers))
        self._counters.observe(PPRO_SECONDS, perf_counter() - began)
        self._counters.add(REQUESTS_PPRO)

    def learning(self) -> dict[str, Learn]:
        """The paths that have a short way: what is sent to them differs in body and key alone."""
        return {path: partial(self._learn, path) for path in self._paths.plain("POST", JSON)}

    def _learn(self, path: str, given: Headers) -> Prepared | None:
        headers, directory = _first_of_each(given), self._service.directory
        version, standing = directory.version, self._standing("POST", path, headers)
        if isinstance(standing, Answer):
            return None
        reference, service = _reference(headers), self._service
        usual = _usual_head(standing.rate, reference)

        def whole(answer: Answer, counted: tuple[Taken, int] | None) -> tuple[bytes, bytes]:
            status, body, further, content_type = answer
            if status == 200 and counted is not None and not further and content_type is JSON_BYTES:
                return body, usual % (len(body), counted[0].left)
            limits = () if counted is None else _limits(*counted)
            return answer.body, _head(answer.status, _headers(answer, *limits, *reference))

        async def awaited(coming: Awaitable[Answer], counted: tuple[Taken, int]) -> tuple[bytes, bytes]:
            try:
                return whole(await coming, counted)
            except Exception as broken:
                return whole(self._broken(broken, "POST", path), None)

        def begin(body: bytes, source_ip: str, key: str, asking: Asking) -> Coroutine[Any, Any, tuple[bytes, bytes]] | None:
            nonlocal version, standing, usual
            if version != directory.version:
                version, standing = directory.version, self._standing("POST", path, headers)
                usual = b"" if isinstance(standing, Answer) else _usual_head(standing.rate, reference)
            if isinstance(standing, Answer):
                return _said(*whole(standing, None))
            try:
                taken, refusal = self._counted(standing, key)
                counted = taken, standing.rate
                if refusal is not None:
                    return _said(*whole(refusal, counted))
                request = _asked(("POST", path, standing.variables, {}, body, key, standing.callers, source_ip, standing.content_type))
                if standing.endpoint.begin is None:
                    return awaited(standing.endpoint.handle(service, request), counted)

                def hear(told: Answer | Awaitable[Answer]) -> None:
                    if isinstance(told, Answer):
                        asking.answered(*whole(told, counted))
                    else:
                        asking.goes_on(awaited(told, counted))

                coming = standing.endpoint.begin(service, request, hear)
                return None if coming is None else awaited(coming, counted)
            except Exception as broken:
                return _said(*whole(self._broken(broken, "POST", path), None))

        return Prepared(begin, _whole_head, self._body_limit, REQUESTS_PPRO, PPRO_SECONDS, KEY)

    def _broken(self, why: Exception, method: str, path: str) -> Answer:
        """What is said where something broke on the way to an answer."""
        if isinstance(why, BodyTooLarge):
            return answers.error(413, why.problem)._replace(headers=((b"connection", b"close"),))
        if isinstance(why, CONNECTION_LOST):
            log.warning("%s %s waits for the database: %s", method, path, why)
            return answers.error(503, answers.AWAY)
        self._counters.add(CRASHES)
        log.error("%s %s broke", method, path, exc_info=why)
        return answers.error(500, "something is broken here; the log says what")

    async def _answer(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]) -> Said:
        path, method = scope["path"], scope["method"]
        standing = self._standing(method, path, headers)
        if isinstance(standing, Answer):
            return standing, ()
        if standing.endpoint.is_open:
            return await standing.endpoint.handle(self._service, _request(method, path, standing, {}, b"", "")), ()
        key = headers.get(KEY, b"").decode("latin-1") if method in ("POST", "PATCH") else ""
        taken, refusal = self._counted(standing, key)
        limits = _limits(taken, standing.rate)
        if refusal is not None:
            return refusal, limits
        body = await read_body(
            scope, receive, self._body_limit if standing.endpoint.takes in ("", JSON) else self._file_limit)
        query = _query(scope["query_string"]) if scope["query_string"] else {}
        if isinstance(query, Answer):
            return query, limits
        client = scope.get("client")
        return await standing.endpoint.handle(
            self._service, _request(method, path, standing, query, body, key, client[0] if client else "")), limits

    def _standing(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Standing | Answer:
        """Who calls, and what; the answer where that is enough to refuse."""
        found = self._paths.find(path)
        endpoint = found and found.methods.get(method)
        if found is not None and endpoint is not None and endpoint.is_open:
            return Standing(endpoint, found.variables, (), 0, 0, None, "")
        key = _bearer(headers)
        held = self._service.directory.held_by("ppro", key) if key else {}
        if not held:
            return answers.UNAUTHORIZED
        if found is None:
            return answers.error(404, "there is nothing at this path")
        if endpoint is None:
            allowed = ", ".join(sorted(found.methods)).encode()
            return answers.error(405, "this method is not possible here")._replace(headers=((b"allow", allowed),))
        callers = [
            caller_of(merchant, one) for one in held.values()
            if (merchant := self._service.directory.merchant(one.identifier)) is not None and merchant.active]
        if not callers:
            return answers.error(403, "the merchant is switched off")
        rate, refusal = max(one.merchant.settings.requests_per_second for one in callers), None
        if endpoint.names_merchant:
            named = headers.get(b"merchant-id", b"").decode("latin-1")
            callers = [one for one in callers if one.credential.public_name == named]
            if not named:
                refusal = answers.error(400, "the header Merchant-Id is required")
            elif not callers:
                refusal = answers.error(403, "this key does not act for this merchant")
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        if refusal is None and endpoint.takes and content_type.partition(";")[0].strip().lower() != endpoint.takes:
            refusal = answers.error(415, f"the content type must be {endpoint.takes}")
        slot = crc32(f"{key}|{endpoint.group}".encode("utf-8", "surrogatepass"))
        return Standing(endpoint, found.variables, tuple(callers), slot, rate, refusal, content_type)

    def _counted(self, standing: Standing, key: str) -> tuple[Taken, Answer | None]:
        """Count a request: how many more there may be, and the answer where it is refused."""
        rate = standing.rate
        taken = self._rates.take(standing.slot, rate, 2 * rate)
        if not taken.granted:
            seconds = str(int(taken.wait) + 1).encode()
            return taken, answers.error(429, "too many requests")._replace(headers=((b"retry-after", seconds),))
        if standing.refusal is None and len(key) > LONGEST_KEY:
            return taken, answers.error(400, f"Request-Idempotency-Key must have at most {LONGEST_KEY} characters")
        return taken, standing.refusal


_asked = partial(tuple.__new__, Request)         # all fields at once, at a third of the price of a call


async def _said(body: bytes, head: bytes) -> tuple[bytes, bytes]:
    return body, head


def _request(
    method: str, path: str, standing: Standing, query: Mapping[str, str], body: bytes, key: str, source_ip: str = "",
) -> Request:
    return Request(method, path, standing.variables, query, body, key, standing.callers, source_ip, standing.content_type)


def _query(written: bytes) -> dict[str, str] | Answer:
    """The parameters behind the path; each once, for nobody could say which of two counts."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(written.decode("latin-1"), keep_blank_values=True):
        if name in found:
            return answers.invalid([Problem(name[:LONGEST_NAME], "must be given once")])
        found[name] = value
    return found


def _first_of_each(headers: Headers) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found.setdefault(name, value)
    return found


def _reference(headers: Mapping[bytes, bytes]) -> tuple[Header, ...]:
    reference = headers.get(b"request-reference", b"")[:REFERENCE]
    return ((b"request-reference", reference),) if reference else ()


def _bearer(headers: Mapping[bytes, bytes]) -> str:
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == BEARER else ""


def _limits(taken: Taken, rate: int) -> tuple[Header, ...]:
    return (
        (b"x-ratelimit-remaining", b"%d" % taken.left), (b"x-ratelimit-requested-tokens", b"1"),
        (b"x-ratelimit-burst-capacity", b"%d" % (2 * rate)), (b"x-ratelimit-replenish-rate", b"%d" % rate))


def _headers(answer: Answer, *headers: Header) -> list[Header]:
    written = ((b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))) if answer.body else ()
    return [*written, *answer.headers, *headers]


async def _send(send: Send, answer: Answer, *headers: Header) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer, *headers)})
    await send({"type": "http.response.body", "body": answer.body})


def _head(status: int, headers: Iterable[Header]) -> bytes:
    return _STATUS_LINES[status] + b"".join([b"%b: %b\r\n" % one for one in headers])


def _usual_head(rate: int, reference: tuple[Header, ...]) -> bytes:
    """The head of most answers, 200 and no more to say than that, but for two numbers: the body's length, and how often more may be asked."""
    length: Header = (b"content-length", b"\0")
    (remaining, _), *limits = _limits(Taken(True, 0, 0.0), rate)
    made = _head(200, ((b"content-type", JSON_BYTES), length, (remaining, b"\0"), *limits, *reference))
    return made.replace(b"%", b"%%").replace(b"\0", b"%d")


def _whole_head(answer: bytes, head: bytes) -> bytes:
    return head


_STATUS_LINES = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
