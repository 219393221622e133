"""A fake service to measure, with one fault or none."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from ringfence.bench.purchases import Merchant

MERCHANTS = [Merchant(f"Shop{number}", f"access{number}", f"request{number}", f"response{number}", sha_type)
             for number, sha_type in enumerate(("SHA-256", "SHA-512", "HMAC-256", "HMAC-512"))]


class Running(NamedTuple):
    """A fake service: where it is, its process, and the purchases it kept (merchant, reference, minor units)."""

    base_url: str
    pid: int
    book: Path

    def kept(self) -> list[tuple[str, str, int]]:
        return [tuple(json.loads(line)) for line in self.book.read_text().splitlines()]


@contextmanager
def serving(book: Path, fault: str) -> Iterator[Running]:
    with subprocess.Popen([sys.executable, str(Path(__file__).with_name("fake_service.py")), str(book), json.dumps(MERCHANTS), fault],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        yield Running(f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid, book)
        process.stdin.close()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """Starts the fake service with a fault of its table, or ``none``."""
    with ExitStack() as stack:
        yield lambda fault: stack.enter_context(serving(tmp_path / f"book-{fault}", fault))
