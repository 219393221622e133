"""The benchmark of plans: on a real service, as small as it can be, with a worker killed in the middle."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ringfence.cli import cli


@pytest.mark.wide
def test_plans_of_one_day_are_charged_once_and_proved_although_a_worker_dies() -> None:
    """Started as a person starts it: every plan once, one client goes on buying, and the proof agrees."""
    ended = subprocess.run([sys.executable, "-m", "ringfence.cli", "bench", "plans", "--count", "4000", "--tokens", "40", "--kill", "1", "--json"],
                           capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    found = json.loads(ended.stdout)
    assert (found["count"], found["charged"], found["left"][-1], found["killed"], found["faults"]) == (4_000, 4_000, 0, 1, [])
    assert found["per_second"] > 0 and found["live_purchases"] > 0 and found["peak_pss_mb"] > 10
    assert found["cpu_us_per_charge"]["python"] > 0 and found["cpu_us_per_charge"]["postgres"] > 0


@pytest.mark.parametrize("words", [("--count", "0"), ("--tokens", "1001"), ("--kill", "-1")])
def test_a_command_line_that_makes_no_sense_starts_nothing(words: tuple[str, ...]) -> None:
    """Exit code 2, as of every command."""
    ended = CliRunner().invoke(cli, ["bench", "plans", *words])
    assert ended.exit_code == 2 and ended.stderr.startswith("Usage: ")
