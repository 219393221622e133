"""After the trouble: until nothing is in doubt any more, and the verdict on both books."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from ringfence.processors.simulator import read_book
from ringfence.torture.judge import Findings, Row, found, ledger
from tests.sandbox import Client, Sandbox

SETTLED_SECONDS = 90.0
"""After that long nothing may be in doubt."""
SOON = {"RINGFENCE_ANSWER_SECONDS": "0.5", "RINGFENCE_RECOVERY_PAUSES": "0.2,0.5,1,2"}
"""Doubts are looked after at once."""
NOT_BEFORE_AN_HOUR = {"RINGFENCE_ANSWER_SECONDS": "0.5", "RINGFENCE_RECOVERY_PAUSES": "3600,0.2,0.5,1,2"}
"""Doubts stand until the clock is moved, so that a test can look at them."""
LOOK_SECONDS = 0.25
"""Between two looks at whole books: they take what those who write them need."""


async def settled(sandbox: Sandbox) -> None:
    """Returns once every operation has its end."""
    await _until_none(sandbox, lambda row: not row.result, "stay in doubt")


async def noted(sandbox: Sandbox) -> None:
    """Returns once the ledger says of every operation how it ended, or that nobody knows."""
    await _until_none(sandbox, lambda row: not row.result and not row.noted, "never became unknown")


async def _until_none(sandbox: Sandbox, is_left: Callable[[Row], bool], what: str) -> None:
    """While it waits it asks for what anybody asks, and looks again a little later."""
    until = time.monotonic() + SETTLED_SECONDS
    client = Client(sandbox.port, sandbox.merchant())
    try:
        while left := [row for row in await ledger(sandbox.data) if is_left(row)]:
            assert time.monotonic() < until, f"{len(left)} operations {what}: {left[:3]}"
            await client.status("NOBODY-S")
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        await client.close()


def verdict(data: Path) -> Findings:
    """Both books, operation by operation."""
    return found(asyncio.run(ledger(data)), read_book(data / "simulator"), ())


AGREED = Findings((), (), (), ())
"""Nothing is lost, duplicated, unresolved or different."""
