"""The processors on the bench.  A new processor joins with one more function in ``BENCHES``."""
from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from ringfence.processors.simulator import Simulator, standing
from tests.processors.conformance.dialogue import Bench, Moved

T1 = 0.05

CARDS = {
    "approve": "4000009900000004", "insufficient": "4000009900510002", "partial": "4000009900100002", "silent": "4000009903000001",
    "slow": "4000009903020009", "stolen": "4000009900430003", "garbled": "4000009904000000",
}


@asynccontextmanager
async def _simulator(folder: Path, inquiry: bool) -> AsyncIterator[Bench]:
    simulator = Simulator(folder, seed=7, worker=0, t1_seconds=T1, inquiry=inquiry)

    def stands(payment: int) -> Moved:
        now = standing(folder).get(payment)
        return {"held": now.held, "captured": now.captured, "refunded": now.refunded} if now else {"held": 0, "captured": 0, "refunded": 0}

    try:
        yield Bench(simulator, CARDS, stands, T1)
    finally:
        await simulator.close()


BENCHES: dict[str, Callable[[Path], AbstractAsyncContextManager[Bench]]] = {
    "simulator": lambda folder: _simulator(folder, False),
    "simulator with inquiry": lambda folder: _simulator(folder, True),
}


@pytest.fixture(params=BENCHES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: object) -> AsyncIterator[Bench]:
    """One processor, ready."""
    async with BENCHES[request.param](tmp_path) as made:
        yield made
