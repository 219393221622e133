"""A storm of payments over HTTP, and a faithful record of it: what was answered, and what was in flight when the line went dead.

Knows what a client knows, and nothing else: a request without an answer may have happened or not.
"""
from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.sandbox import Client, Sandbox

LINE_DEAD = (ConnectionError, asyncio.IncompleteReadError)
SUCCESS = {"AUTHORIZATION": "02000", "PURCHASE": "14000", "CAPTURE": "04000", "VOID_AUTHORIZATION": "08000", "REFUND": "06000"}
#: What a service may say while its database is away: that nobody knows, or that nothing was done.
IN_TROUBLE = {"15777", "03006", "13006", "05006", "09006", "07006"}


class Sent(NamedTuple):
    """One request on its way."""

    merchant: str
    reference: str
    operation: str
    minor: int


class Answered(NamedTuple):
    """One request with its answer; ``seconds`` is how long it took."""

    sent: Sent
    code: str
    fort_id: str
    seconds: float


class Storm:
    """Clients that pay, capture, void and refund in random order until they are told to stop."""

    def __init__(self, sandbox: Sandbox, name: str, *, clients: int = 64) -> None:
        """``name`` begins every order number; no two storms on one sandbox may share it."""
        self._sandbox, self.name, self._clients = sandbox, name, clients
        self._merchants = [sandbox.merchant(0), sandbox.merchant(1)]
        self.answered: list[Answered] = []
        self.lost: list[Sent] = []
        self._watchers: list[tuple[int, asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False

    async def start(self) -> None:
        """Let it begin."""
        self._tasks = [asyncio.create_task(self._shop(number)) for number in range(self._clients)]

    async def answers(self, count: int) -> None:
        """Returns once so many more requests are answered."""
        event = asyncio.Event()
        self._watchers.append((len(self.answered) + count, event))
        reached = asyncio.ensure_future(event.wait())
        done, _ = await asyncio.wait((reached, *self._tasks), timeout=200, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        for failed in done - {reached}:
            failed.result()             # a client that ends before the storm does so by an exception
        assert reached in done, f"{len(self.answered)} answers, and no more"

    def over(self) -> None:
        """No further request from now on; those in flight are still waited for."""
        self._is_over = True

    async def end(self) -> None:
        """Returns when the last request was answered or lost."""
        self.over()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 200)

    @property
    def unexpected(self) -> list[Answered]:
        """Answers that are neither the success that was due nor an honest word of trouble."""
        return [one for one in self.answered if one.code not in IN_TROUBLE | {SUCCESS[one.sent.operation]}]

    @property
    def troubled(self) -> list[Answered]:
        """Answers that promise nothing."""
        return [one for one in self.answered if one.code in IN_TROUBLE]

    def append_to(self, path: Path) -> None:
        """What was acknowledged, as ``ringfence proof --acknowledged`` reads it."""
        with path.open("a") as file:
            for (merchant, reference, operation, minor), code, _, _ in self.answered:
                file.write(json.dumps({
                    "merchant": merchant, "reference": reference, "operation": operation, "amount": minor, "currency": "AED",
                    "code": code,
                }) + "\n")

    async def _shop(self, number: int) -> None:
        chance = random.Random(f"{self.name} {number}")
        merchant = self._merchants[number % len(self._merchants)]
        client = Client(self._sandbox.port, merchant)
        serial = 0
        while not self._is_over:
            serial += 1
            try:
                await chance.choices(STORIES, (4, 3, 2, 2))[0](self, client, f"{self.name}-{number}-{serial}", chance)
            except LINE_DEAD:
                await client.close()
                client = Client(self._sandbox.port, merchant)
        await client.close()

    async def ask(self, client: Client, operation: str, reference: str, minor: int) -> bool:
        """One request; whether it succeeded and the story may go on."""
        sent = Sent(client.merchant["merchant_identifier"], reference, operation, minor)
        body = ASK[operation](client, reference, minor)
        began = time.monotonic()
        try:
            answer = await body
        except ConnectionRefusedError:      # nobody listened: it was never sent
            raise
        except LINE_DEAD:
            self.lost.append(sent)
            raise
        self.answered.append(Answered(sent, answer["response_code"], answer.get("fort_id", ""), time.monotonic() - began))
        for count, event in self._watchers:
            if len(self.answered) >= count:
                event.set()
        return answer["response_code"] == SUCCESS[operation] and not self._is_over


ASK: dict[str, Callable[..., object]] = {
    "AUTHORIZATION": Client.authorize, "PURCHASE": Client.purchase, "CAPTURE": Client.capture, "REFUND": Client.refund,
    "VOID_AUTHORIZATION": lambda client, reference, minor: client.void(reference),
}


HIGHEST = 8_999
"""Magic amounts, which choose their outcome, begin above."""


async def _purchase(storm: Storm, client: Client, reference: str, chance: random.Random) -> None:
    await storm.ask(client, "PURCHASE", reference, chance.randint(100, HIGHEST))


async def _sale_and_return(storm: Storm, client: Client, reference: str, chance: random.Random) -> None:
    amount = chance.randint(100, HIGHEST)
    if await storm.ask(client, "PURCHASE", reference, amount):
        await storm.ask(client, "REFUND", reference, chance.randint(1, amount))


async def _order(storm: Storm, client: Client, reference: str, chance: random.Random) -> None:
    """Authorized, sent in two parcels, and a part of it comes back."""
    amount = chance.randint(100, HIGHEST)
    first = chance.randint(1, amount - 1)
    if not await storm.ask(client, "AUTHORIZATION", reference, amount) or not await storm.ask(client, "CAPTURE", reference, first):
        return
    if chance.random() < 0.5 and not await storm.ask(client, "CAPTURE", reference, amount - first):
        return
    await storm.ask(client, "REFUND", reference, chance.randint(1, first))


async def _cancelled(storm: Storm, client: Client, reference: str, chance: random.Random) -> None:
    amount = chance.randint(100, HIGHEST)
    if await storm.ask(client, "AUTHORIZATION", reference, amount):
        await storm.ask(client, "VOID_AUTHORIZATION", reference, amount)


STORIES = (_purchase, _order, _sale_and_return, _cancelled)
