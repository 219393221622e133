"""The benchmark of batch files: on a real service, as small as it can be."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ringfence.cli import cli


def test_a_file_is_carried_out_told_and_proved() -> None:
    """Started as a person starts it: every row once, one client goes on buying, and the proof agrees."""
    ended = subprocess.run([sys.executable, "-m", "ringfence.cli", "bench", "batch", "--rows", "3000", "--tokens", "20", "--json"],
                           capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    found = json.loads(ended.stdout)
    assert (found["rows"], found["approved"], found["codes"], found["faults"]) == (3_000, 3_000, {"14000": 3_000}, [])
    assert found["rows_per_second"] > 0 and found["live_purchases"] > 0 and found["peak_pss_mb"] > 10
    assert found["cpu_us_per_row"]["python"] > 0 and found["cpu_us_per_row"]["postgres"] > 0


@pytest.mark.parametrize("words", [("--rows", "0"), ("--tokens", "1001"), ("--kill", "-1")])
def test_a_command_line_that_makes_no_sense_starts_nothing(words: tuple[str, ...]) -> None:
    """Exit code 2, as of every command."""
    ended = CliRunner().invoke(cli, ["bench", "batch", *words])
    assert ended.exit_code == 2 and ended.stderr.startswith("Usage: ")
