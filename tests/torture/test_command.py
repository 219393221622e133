"""``ringfence torture``: what makes no sense is refused before anything starts, and a few kills lose nothing."""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner

from ringfence.cli import cli
from ringfence.engine.points import NAMES
from ringfence.torture.killer import left_running
from ringfence.torture.tally import GROUP, WORKER

TORTURE = (sys.executable, "-m", "ringfence.cli", "torture")

pytestmark = pytest.mark.timeout(900)   # less than a minute alone; a crowded machine must not fail it


def torture(*words: str | Path, seconds: float = 880) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TORTURE, *map(str, words)], capture_output=True, text=True, timeout=seconds, check=False)


@pytest.mark.parametrize(("words", "said"), [
    (("--kills", "101"), "--kills"), (("--kills", "-1"), "--kills"), (("--kills", "many"), "--kills"),
    (("--database-kills", "101"), "--database-kills"), (("--workers", "0"), "--workers"), (("--seed", "-1"), "--seed"),
    (("--seed", "x"), "--seed"), (("--tally", "no/such/folder/tally.json"), "no folder"), (("--kill", "3"), "--kills"),
])
def test_a_value_that_makes_no_sense_is_refused_by_name(words, said):
    """Nothing is started, and the exit code is that of a wrong command line."""
    done = CliRunner().invoke(cli, ["torture", *words])
    assert done.exit_code == 2 and said in done.stderr, done.stderr


def test_a_folder_that_holds_anything_is_refused(tmp_path):
    """The torture never runs on somebody's installation."""
    (tmp_path / "sandbox.json").write_text("{}")
    done = torture("--data", tmp_path, "--kills", "1")
    assert done.returncode == 2 and "not empty" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["sandbox.json"]


def test_a_file_that_is_no_tally_is_refused(tmp_path):
    """... and left as it is."""
    (tmp_path / "tally.json").write_text("mine")
    done = torture("--tally", tmp_path / "tally.json", "--kills", "1")
    assert done.returncode == 2 and "not a tally" in done.stderr and (tmp_path / "tally.json").read_text() == "mine"


class Short(NamedTuple):
    """A run of a few kills, in a tally: what it said, and the folder of all its files."""

    done: subprocess.CompletedProcess[str]
    folder: Path


@pytest.fixture(scope="module")
def short() -> Iterator[Short]:
    """Five kills of the service, and one of the database."""
    folder = Path(tempfile.mkdtemp(prefix="ringfence-test-"))
    done = torture("--kills", "5", "--database-kills", "1", "--seed", "1", "--tally", folder / "tally.json", "--data", folder / "run", "--json")
    yield Short(done, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.wide
def test_a_few_kills_lose_nothing(short: Short):
    """Everything, single workers, named points and the database die under load; the three witnesses agree, and nothing stays in doubt."""
    done = short.done
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert (report["passed"], report["kills"], report["database_kills"]) == (True, 5, 1)
    assert (report["lost"], report["duplicated"], report["unresolved"], report["differences"], report["surprises"]) == (0, 0, 0, 0, 0)
    assert report["proof_ok"] and report["faults"] == {}
    assert set(report["hits"]) == set(NAMES)
    assert report["fewest_in_flight"] >= 16 and report["acknowledged"] >= 1_000 and report["unanswered"] >= 32
    kinds = report["kinds"]
    assert kinds[GROUP] >= 2 and kinds[WORKER] >= 2 and sum(report["hits"].values()) >= 1


@pytest.mark.wide
def test_merchants_were_told_of_everything_once(short: Short):
    """The address that answers was told of every event, in the same bytes each time; the dead one has its deliveries waiting."""
    report = json.loads(short.done.stdout)
    assert report["deliveries"] > report["received"] > 0 and report["delivery_faults"] == 0


@pytest.mark.wide
def test_the_run_stands_in_its_tally_and_is_not_made_twice(short: Short):
    """A seed that has had its run ends at once with that run's verdict."""
    tally = short.folder / "tally.json"
    assert json.loads(tally.read_text())["runs"] == [json.loads(short.done.stdout)]
    again = torture("--kills", "5", "--seed", "1", "--tally", tally, seconds=300)
    assert again.returncode == 0 and "has had its run" in again.stderr


@pytest.mark.long
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("seed", [2, 3])
def test_forty_kills_lose_nothing(seed):
    """With and without inquiry, and a recovery worker beside that dies too."""
    done = torture("--kills", "40", "--database-kills", "4", "--seed", str(seed), "--separate-worker", "--json", seconds=1_200)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.mark.wide
def test_nothing_is_left_running(short: Short):
    """No process outlives the command."""
    data = short.folder / "run" / "data"
    assert (data / "sandbox.json").exists() and left_running(data) == []
