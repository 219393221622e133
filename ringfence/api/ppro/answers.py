"""Answers: a status, a JSON text, and the few headers; errors in their envelope (PPRO Global API, section 4.1).

A decline is not an error: it is told inside of an object, with 200.  Refuses to know what the objects say.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from ringfence.api.ppro.kinds import Problem

_ENCODE = msgspec.json.Encoder().encode

Header = tuple[bytes, bytes]
REPLAYED: Header = (b"request-idempotency", b"true")


JSON_BYTES = b"application/json"


class Answer(NamedTuple):
    """What is sent.  An empty body is none at all (204)."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()
    content_type: bytes = JSON_BYTES

    @property
    def is_success(self) -> bool:
        """Whether a repeat under the same key gets it again."""
        return self.status < 300


UNAUTHORIZED = Answer(401, b'{"message":"Unauthorized"}')
"""The one error without the envelope."""
NO_CONTENT = Answer(204, b"")


def ok(content: Any, status: int = 200, *headers: Header) -> Answer:
    """An object or a list."""
    return Answer(status, _ENCODE(content), headers)


def replayed(answer: Answer) -> Answer:
    """The same again, and said so."""
    return answer._replace(headers=(*answer.headers, REPLAYED))


@lru_cache(64)                              # an object says its two instants in several places
def moment(at: datetime) -> str:
    """An instant as this API writes it: UTC with milliseconds."""
    return f"{at.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def error(status: int, message: str, problems: Sequence[Problem] = (), *headers: Header) -> Answer:
    """An error in its envelope.  ``timestamp`` is the machine's: it is for logs, not for business."""
    told: dict[str, Any] = {"status": status, "failureMessage": message, "timestamp": moment(datetime.now(UTC))}
    if problems:
        told["extensions"] = {"fields": [{"path": one.path, "problem": one.problem} for one in problems]}
    return Answer(status, _ENCODE(told), headers)


def invalid(problems: Sequence[Problem]) -> Answer:
    """Fields that are wrong: 400 where the form of one is, else 422.  The first one stands in the message."""
    status = min(one.status for one in problems)
    first = next(one for one in problems if one.status == status)
    joint = " is " if first.problem.startswith("required") else " "
    return error(status, f"{first.path}{joint}{first.problem}", problems)


def not_found(what: str) -> Answer:
    """Neither here nor anybody else's business: another merchant's object is not there."""
    return error(404, f"{what} not found")


ALREADY_USED = "Request-Idempotency-Key was used for another request"
IN_FLIGHT = "the request with this Request-Idempotency-Key is still being carried out"
UNKNOWN_YET = "the outcome is not known yet; ask again with the same Request-Idempotency-Key, or read the payment charge"
AWAY = "the service cannot reach its database; nothing was done"
