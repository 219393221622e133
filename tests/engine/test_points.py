"""Points: where a trial kills a process, and nowhere else."""
from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ringfence.engine import points
from ringfence.engine.lane import Lane
from tests.engine.composition import Wire

PASS = """
import sys
from pathlib import Path
from ringfence.engine import points
points.arm(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    points.hit(points.AFTER_ASK)
    print(number, flush=True)
"""


def page(folder: Path, **counts: int) -> Path:
    file = folder / "points"
    file.write_bytes(struct.pack(f"={len(points.NAMES)}q", *(counts.get(name, 0) for name in points.NAMES)))
    return file


@pytest.fixture
def unarmed() -> Iterator[None]:
    """Whatever a test arms sleeps again after it."""
    yield
    points._counts = None


def test_a_point_kills_at_the_count_that_was_set(tmp_path: Path):
    """The third time that it is passed; the page says that it is off then."""
    file = page(tmp_path, after_ask=3, in_answer=7)
    ended = subprocess.run([sys.executable, "-c", PASS, str(file), "5"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "0\n1\n")
    assert struct.unpack(f"={len(points.NAMES)}q", file.read_bytes())[points.AFTER_ASK] == 0
    assert struct.unpack(f"={len(points.NAMES)}q", file.read_bytes())[points.IN_ANSWER] == 7


def test_of_several_processes_exactly_one_is_killed(tmp_path: Path):
    """They share one count-down."""
    file = page(tmp_path, after_ask=500)
    alive = [subprocess.Popen([sys.executable, "-c", PASS, str(file), "400"], stdout=subprocess.DEVNULL) for _ in range(3)]
    assert sorted(one.wait() for one in alive) == [-signal.SIGKILL, 0, 0]


def test_unarmed_nothing_is_counted_and_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    """Not even the page is looked at: there is none."""
    monkeypatch.setattr(os, "kill", lambda *arguments: pytest.fail("killed"))
    assert points._counts is None
    for point in range(len(points.NAMES)):
        assert not points.is_armed(point)
        points.hit(point)


@pytest.mark.usefixtures("unarmed")
def test_a_point_is_armed_until_it_was_passed_often_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is not set is not; what has killed is not any more."""
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments[1]))
    points.arm(page(tmp_path, in_webhook=2))
    assert points.is_armed(points.IN_WEBHOOK)
    assert not points.is_armed(points.IN_EXPIRY)
    for _ in range(5):
        points.hit(points.IN_WEBHOOK)
        points.hit(points.IN_EXPIRY)
    assert killed == [signal.SIGKILL]
    assert not points.is_armed(points.IN_WEBHOOK)


def test_a_page_that_is_none_is_refused(tmp_path: Path):
    """Too short, or not there."""
    (tmp_path / "short").write_bytes(b"\0" * (points.PAGE_BYTES - 1))
    with pytest.raises(ValueError, match="mmap"):
        points.arm(tmp_path / "short")
    with pytest.raises(FileNotFoundError):
        points.arm(tmp_path / "missing")


@pytest.mark.anyio
@pytest.mark.usefixtures("unarmed")
@pytest.mark.parametrize(("name", "committed"), [("before_intent_commit", 0), ("after_intent_commit", 1)])
async def test_a_lane_passes_its_points_around_each_commit(
    name: str, committed: int, tmp_path: Path, module_database: str, monkeypatch: pytest.MonkeyPatch,
):
    """Killed before, nothing of the batch was sent; killed after, it was committed.  A lane without points passes none."""
    class Killed(BaseException):
        """What stands for the end of this process."""

    def kill(process: int, number: int) -> None:
        raise Killed

    monkeypatch.setattr(os, "kill", kill)
    commits: list[int] = []

    async def commit(connection: asyncpg.Connection) -> None:
        commits.append(1)

    async def never(connection: asyncpg.Connection) -> None:
        """Nothing was committed."""

    for places in ((points.BEFORE_INTENT, points.AFTER_INTENT), None):
        lane = Lane(Wire(module_database, "lane").connect, numbers=range(300, 304), points=places)
        await lane.open()
        commits.clear()
        points.arm(page(tmp_path, **{name: 1}))
        if places:
            with pytest.raises(Killed):
                await lane.run(commit, never)
            assert len(commits) == committed
        else:
            await asyncio.wait_for(lane.run(commit, never), 60)
            assert len(commits) == 1
        await lane.close()
