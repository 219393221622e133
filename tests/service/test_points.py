"""Points in a service: a page of count-downs kills its processes where it says."""
from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ringfence.engine import points
from tests.sandbox import CARD, Sandbox, request
from tests.service.test_up import workers

FORM = f"={len(points.NAMES)}q"


class Page:
    """The page, and the sandbox whose processes look at it."""

    def __init__(self, sandbox: Sandbox, file: Path) -> None:
        self.sandbox, self._file = sandbox, file

    def arm(self, **counts: int) -> None:
        with self._file.open("r+b") as page:
            page.write(struct.pack(FORM, *(counts.get(name, 0) for name in points.NAMES)))

    def left(self) -> dict[str, int]:
        return dict(zip(points.NAMES, struct.unpack(FORM, self._file.read_bytes()), strict=True))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    file = tmp_path_factory.mktemp("points") / "page"
    file.write_bytes(bytes(points.PAGE_BYTES))
    with Sandbox(workers=1, environment={"RINGFENCE_TORTURE_POINTS": str(file)}) as running:
        yield Page(running, file)


def after_arming(page: Page, place: str, reference: str, *, known: bool) -> bytes:
    """All that comes back for a purchase on a connection once the point is armed; ``known``: it has carried such a request before."""
    sandbox = page.sandbox

    def purchase(name: str) -> bytes:
        body = request(sandbox.merchant(), command="PURCHASE", merchant_reference=name, amount="1000", **CARD)
        return b"POST /FortAPI/paymentApi HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
            len(body), body)

    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.port)
        try:
            if known:
                writer.write(purchase(f"{reference}-A"))
                await reader.readexactly(announced(await reader.readuntil(b"\r\n\r\n")))
            page.arm(**{place: 1})
            writer.write(purchase(f"{reference}-B"))
            return await reader.read()
        finally:
            writer.close()

    return asyncio.run(talk())


def announced(head: bytes) -> int:
    return next(int(line.split()[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))


def one_worker(sandbox: Sandbox, besides: int = 0) -> int:
    """The worker, once there is one that is not *besides*; a process may end while it is looked at."""
    while True:
        with suppress(OSError, ValueError):
            [pid] = workers(sandbox)
            if pid != besides:
                return pid
        time.sleep(0.02)                                # what is awaited starts in this time; looking takes time from it


COMMITS = ("before_intent_commit", "after_intent_commit", "before_outcome_commit", "after_outcome_commit")


@pytest.mark.parametrize(("place", "known"), [
    (COMMITS[0], False), *(pytest.param(place, False, marks=pytest.mark.wide) for place in COMMITS[1:]),
    ("in_answer", False), pytest.param("in_answer", True, marks=pytest.mark.wide)])
def test_a_process_is_killed_where_the_page_says(page: Page, place: str, known: bool):
    """The caller gets nothing, or the first half of an answer; another worker comes, and the point sleeps again."""
    sandbox, before = page.sandbox, one_worker(page.sandbox)
    heard = after_arming(page, place, f"POINT-{place}-{known}", known=known)
    if place == "in_answer":
        head, _, body = heard.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200") and (b"\r\n\r\n" not in heard or len(body) < announced(head))
    else:
        assert heard == b""
    assert page.left()[place] == 0
    one_worker(sandbox, besides=before)
    while sandbox.command("clock", "show").returncode:
        continue
    assert sandbox.json("pay", "--amount", "10.00")["response_code"] == "14000"


def test_a_page_that_is_none_ends_the_start(tmp_path: Path):
    """With a sentence that names the variable."""
    (tmp_path / "page").write_bytes(b"short")
    sandbox = Sandbox(workers=1, environment={"RINGFENCE_TORTURE_POINTS": str(tmp_path / "page")})
    try:
        with pytest.raises(AssertionError, match="not ready"):
            sandbox.start()
        assert "RINGFENCE_TORTURE_POINTS" in sandbox.output.read_text()
    finally:
        sandbox.remove()
