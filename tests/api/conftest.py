"""One process of the service and one merchant of it, for all tests of a module; its business time stands still."""
from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.engine.composition import Process, Shop, Time, process, shop


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    async with process(module_database, now=Time()) as running:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one)
