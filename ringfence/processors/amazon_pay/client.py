"""The client: one question to Amazon Pay's API, signed, repeated under the same key while that helps, within its deadline.

Decides how a question leaves and whether its answer can be believed; what the answer means for a payment is the processor's to say.
Each try is logged with Amazon's request id and its reason code.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from ringfence.processors.amazon_pay.accounts import Account
from ringfence.processors.amazon_pay.codes import DECLINES
from ringfence.processors.amazon_pay.connections import Answer, Connections, Lost, NotSent

log = logging.getLogger(__name__)

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same question is asked again under the same key, as Amazon's own clients do."""
TRIES = 4
FIRST_PAUSE, LONGEST_PAUSE = 0.15, 2.0
"""Seconds between tries: they double."""
SLACK = 0.05
"""Seconds before the deadline in which nothing is begun any more."""
AGENT = "Ringfence"


class Trouble(StrEnum):
    """Why there is no answer that says anything about the question."""

    NOT_SENT = "not_sent"                   # certain: nothing of it left
    NOT_AUTHORIZED = "not_authorized"       # certain: Amazon does not believe our signature, or not our account; nothing happened
    NO_ANSWER = "no_answer"
    NOT_BELIEVABLE = "not_believable"


CERTAIN = (Trouble.NOT_SENT, Trouble.NOT_AUTHORIZED)
"""After these nothing happened, whatever was asked."""


class Failed(NamedTuple):
    """No usable answer."""

    trouble: Trouble
    note: str = ""


class Said(NamedTuple):
    """An answer: the object asked for, or the reason code that was given instead."""

    status: int
    object: Mapping[str, Any]
    reason: str = ""                # reasonCode of an error; "" where it is none
    message: str = ""
    request_id: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it is the object and no error."""
        return self.status in (200, 201, 202)


class Client:
    """Asks for any number of accounts over the same kept connections."""

    def __init__(self, connections: Connections, wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """``wall`` is the machine's clock, UTC: signatures carry it, and deadlines are by it."""
        self._connections, self._wall = connections, wall

    async def get(self, account: Account, path: str, deadline: datetime) -> Said | Failed:
        """Read an object."""
        return await self._ask(account, "GET", path, b"", "", deadline)

    async def send(
        self, account: Account, method: str, path: str, body: Mapping[str, Any], deadline: datetime, key: str = "",
    ) -> Said | Failed:
        """Ask for a change.  ``key`` makes a repeat harmless; without one a question whose answer was lost is not asked again here."""
        return await self._ask(account, method, path, msgspec.json.encode(body), key, deadline)

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _ask(self, account: Account, method: str, path: str, body: bytes, key: str, deadline: datetime) -> Said | Failed:
        repeats, sent, pause = method == "GET" or bool(key), False, FIRST_PAUSE
        failed: Said | Failed = Failed(Trouble.NOT_SENT, "the deadline has passed")
        for number in range(1, TRIES + 1):
            left = (deadline - self._wall()).total_seconds() - SLACK
            if left <= 0:
                break
            try:
                answer = await self._try(account, method, path, body, key, left)
            except NotSent as error:
                failed = Failed(Trouble.NO_ANSWER if sent else Trouble.NOT_SENT, str(error))
                log.warning("amazon pay: %s %s did not leave (try %d): %s", method, path, number, error)
            except Lost as error:
                sent, failed = True, Failed(Trouble.NO_ANSWER, str(error))
                log.warning("amazon pay: %s %s was not answered (try %d): %s", method, path, number, error)
                if not repeats:
                    break
            else:
                said = _read(answer)
                self._note(method, path, number, said)
                if type(said) is Failed:
                    sent, failed = True, said
                    if not repeats:
                        break
                elif said.status in (401, 403):
                    # Of the first try it is certain that nothing happened; behind one that was lost, that one may have been carried out.
                    return Failed(Trouble.NO_ANSWER if sent else Trouble.NOT_AUTHORIZED, said.reason)
                elif said.status not in AGAIN or said.reason in DECLINES:      # a decline stays one, whatever its status
                    return said
                else:                   # the reason may say more than the status: it goes along where no try is left
                    sent, failed = True, said if said.reason else Failed(Trouble.NO_ANSWER, str(said.status))
                    if not repeats:
                        break
            if number == TRIES or pause >= (deadline - self._wall()).total_seconds() - SLACK:
                break                           # no try is left; whoever waited for the deadline itself might miss it, and know less
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        return failed

    async def _try(self, account: Account, method: str, path: str, body: bytes, key: str, seconds: float) -> Answer:
        whole, origin = account.path(path), account.origin
        headers = {
            "accept": "application/json", "content-type": "application/json", "x-amz-pay-region": str(account.region),
            "x-amz-pay-date": f"{self._wall():%Y%m%dT%H%M%SZ}", "x-amz-pay-host": origin.netloc,
        }
        if key:
            headers["x-amz-pay-idempotency-key"] = key
        headers["authorization"] = account.signer.authorization(method, whole, headers, body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return await self._connections.exchange(origin, f"{method} {whole} HTTP/1.1\r\nuser-agent: {AGENT}\r\n{lines}", body, seconds)

    @staticmethod
    def _note(method: str, path: str, number: int, said: Said | Failed) -> None:
        if type(said) is Failed:
            log.warning("amazon pay: %s %s was answered with what is no object (try %d): %s", method, path, number, said.note)
        elif said.status in (401, 403):
            log.error("amazon pay refuses our account or signature, look at its configuration: %s %s, %d %s, request %s: %s",
                      method, path, said.status, said.reason, said.request_id, said.message)
        elif not said.is_good:
            log.warning("amazon pay: %s %s, %d %s, request %s (try %d): %s",
                        method, path, said.status, said.reason, said.request_id, number, said.message)
        else:
            log.debug("amazon pay: %s %s, %d, request %s", method, path, said.status, said.request_id)


def _read(answer: Answer) -> Said | Failed:
    """An answer as Amazon means it; what is no JSON object says nothing, unless its status alone does."""
    request_id = answer.headers.get("x-amz-pay-request-id", "")[:100]
    try:
        found = msgspec.json.decode(answer.body) if answer.body.strip() else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        if answer.status in AGAIN:
            return Said(answer.status, {}, "", "", request_id)
        return Failed(Trouble.NOT_BELIEVABLE, f"status {answer.status} with what is no JSON object")
    if answer.status in (200, 201, 202):
        return Said(answer.status, found, "", "", request_id)
    reason, message = found.get("reasonCode"), found.get("message")
    return Said(answer.status, found, reason[:100] if isinstance(reason, str) else "", message[:300] if isinstance(message, str) else "",
                request_id)
