"""What the tests of recovery share: a process with a scripted issuer, another one beside it, and a shop.  Other tests have their own."""
from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engine.composition import Process, Shop, process, shop
from tests.engine.recovering import recovers


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    """A process whose scripted issuer cannot be asked what became of a message."""
    async with process(database, recovers=True, ask_seconds=5.0) as running:
        yield running


@pytest.fixture
async def two(database: str, one: Process) -> AsyncIterator[Process]:
    """Another process on the same database and clock; its issuer is the first one's."""
    async with process(database, 2, now=one.now) as running:
        running.processor = one.processor
        running.engine._processors = one.engine._processors
        recovers(running)
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)
