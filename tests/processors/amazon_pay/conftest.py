"""The processor with the simulated site behind it; see ``bench``."""
from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.processors.amazon_pay.bench import World, world


@pytest.fixture
async def amazon(tmp_path: Path, anyio_backend: object) -> AsyncIterator[World]:
    async with world(tmp_path) as one:
        yield one
