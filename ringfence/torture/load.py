"""The load: merchants' clients on kept connections, and a faithful record of what they sent, what they heard and what they never heard.

Knows what a client knows, and nothing else: a request without an answer may have happened or not.  It is sent again only where the
protocol makes that safe (the same order number, the same ``maintenance_reference``); what became of anything else is asked.
"""
from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ringfence.bench.purchases import CURRENCY, Merchant, signed

LINE_DEAD = (ConnectionError, asyncio.IncompleteReadError, TimeoutError)
ANSWER_SECONDS = 30.0
"""A client waits no longer: then it counts as a request without an answer."""
AGAIN_SECONDS = 0.05
"""A client whose connection was refused waits so long before it tries again."""
RECENT_SECONDS = 0.25
"""What lost its answer so shortly before was in flight when a process died."""
SUCCESS = {"AUTHORIZATION": "02000", "PURCHASE": "14000", "CAPTURE": "04000", "VOID_AUTHORIZATION": "08000", "REFUND": "06000"}
UNKNOWN = "15777"
SHOWN = 50


class Sent(NamedTuple):
    """One operation on its way.  ``minor`` is in minor units; ``name`` is the ledger's reference for it."""

    merchant: str
    reference: str
    operation: str
    minor: int
    name: str


class Load:
    """What all clients share: where the service is, the record, and who waits for what."""

    def __init__(self, port: int, acknowledged: Path) -> None:
        """Everything that a client saw approved is appended to *acknowledged*, as ``ringfence proof`` reads it."""
        self.port, self._path = port, acknowledged
        self._file = acknowledged.open("a", encoding="utf-8", buffering=1)
        self.acknowledged = 0           # approved, as clients heard it
        self.sent = 0                   # requests
        self.lost = 0                   # requests without an answer
        self.codes: Counter[str] = Counter()
        self.surprises: Counter[str] = Counter()    # answers that nothing explains, as sentences
        self.open_orders: dict[tuple[str, str], None] = {}      # orders whose end no client knows
        self.in_flight = 0
        self.moves = 0                  # of the clock: holds may have ended
        self.is_over = False
        self._dead: deque[float] = deque(maxlen=1_000)
        self._changed = asyncio.Event()
        self._success_sent = 0.0        # when the latest request left that has succeeded

    def close(self) -> None:
        """Close the record."""
        self._file.close()

    def note(self, sent: Sent, code: str, asked: bool = False) -> None:
        """An operation that was acknowledged, at once or when it was *asked* about later."""
        self.acknowledged += 1
        self._file.write(json.dumps({
            "merchant": sent.merchant, "reference": sent.name, "operation": sent.operation, "amount": sent.minor, "currency": CURRENCY,
            "code": code, "asked_later": asked,
        }) + "\n")
        self._wake()

    def heard(self, sent_at: float) -> None:
        """Some request that left then succeeded."""
        self._success_sent = max(self._success_sent, sent_at)
        self._wake()

    def died(self) -> None:
        """A request lost its answer."""
        self.lost += 1
        self._dead.append(time.monotonic())

    @property
    def in_flight_lately(self) -> int:
        """Requests without an answer now, and those that lost theirs a moment ago."""
        since = time.monotonic() - RECENT_SECONDS
        return self.in_flight + sum(at >= since for at in self._dead)

    async def until_acknowledged(self, count: int, seconds: float) -> bool:
        """Whether so many operations are acknowledged altogether, within *seconds*."""
        return await self._until(lambda: self.acknowledged >= count, seconds)

    async def until_success(self, since: float, seconds: float) -> bool:
        """Whether a request that left after *since* (monotonic) succeeded, within *seconds*."""
        return await self._until(lambda: self._success_sent >= since, seconds)

    async def _until(self, holds: Any, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not holds():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), until - time.monotonic())
            except TimeoutError:
                return holds()
        return True

    def _wake(self) -> None:
        self._changed.set()


class Client:
    """One kept connection of one merchant."""

    def __init__(self, load: Load, merchant: Merchant) -> None:
        self.load, self.merchant = load, merchant
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def post(self, fields: dict[str, str]) -> dict[str, str] | None:
        """The answer to one signed request, or ``None``: then it may have been carried out or not."""
        while self._writer is None:
            try:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.load.port)
            except OSError:             # nobody listens: nothing was sent
                await asyncio.sleep(AGAIN_SECONDS)
        assert self._reader is not None
        load, at = self.load, time.monotonic()
        load.sent += 1
        load.in_flight += 1
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._writer.write(signed(self.merchant, "ringfence", fields))
                head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = await self._reader.readexactly(length)
        except LINE_DEAD:
            load.died()
            await self.close()
            return None
        finally:
            load.in_flight -= 1
        answer: dict[str, str] = json.loads(body) if head.startswith(b"http/1.1 200") else {"response_code": f"http {head.split()[1].decode()}"}
        code = answer.get("response_code", "none")
        load.codes[code] += 1
        if code.endswith("000"):
            load.heard(at)
        return answer

    async def operate(self, sent: Sent, fields: dict[str, str]) -> str | None:
        """The code that an operation was answered with; ``None`` where the line was dead."""
        answer = await self.post(fields)
        if answer is None:
            return None
        code = answer["response_code"]
        if code == SUCCESS[sent.operation]:
            self.load.note(sent, code)
        return code

    async def status(self, reference: str) -> str:
        """What CHECK_STATUS says became of an order: the code of its last operation, or why there is none."""
        while True:
            answer = await self.post({"query_command": "CHECK_STATUS", "merchant_reference": reference})
            if answer is not None:
                return answer.get("transaction_code", answer["response_code"])


async def statuses(load: Load, merchants: Sequence[Merchant], orders: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What CHECK_STATUS says of many orders (merchant, reference), asked eight at a time."""
    of = {merchant.identifier: merchant for merchant in merchants}
    said: dict[tuple[str, str], str] = {}
    waiting = list(orders)

    async def ask() -> None:
        clients = {name: Client(load, merchant) for name, merchant in of.items()}
        while waiting:
            merchant, reference = waiting.pop()
            said[merchant, reference] = await clients[merchant].status(reference)
        for client in clients.values():
            await client.close()

    await asyncio.gather(*(ask() for _ in range(8)))
    return said


def chances(seed: int, *names: object) -> random.Random:
    """Chance of its own for whoever is named."""
    return random.Random(f"{seed} {' '.join(map(str, names))}")
