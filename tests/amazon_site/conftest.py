"""A site in miniature for each test; see ``site_asking``."""
from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.amazon_site.site_asking import Running, running


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "amazon") as one:
        yield one
