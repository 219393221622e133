"""The benchmark of expiry: on a real service, as small as it can be; and what it says when something is wrong."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from ringfence.bench.expiry import Expired
from ringfence.bench.holds import shares
from ringfence.cli import cli


@pytest.mark.wide
def test_holds_are_made_given_back_and_proved() -> None:
    """Started as a person starts it: every hold is voided once, one client goes on buying, and the proof agrees."""
    ended = subprocess.run([sys.executable, "-m", "ringfence.cli", "bench", "expiry", "--count", "700", "--json"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    found = json.loads(ended.stdout)
    assert (found["count"], found["voided"], found["proof_ok"], found["faults"]) == (700, 700, True, [])
    assert found["left"][-1] == 0 and found["left"] == sorted(found["left"], reverse=True)
    assert found["per_second"] > 0 and found["live_purchases"] > 0 and found["live_p99_ms"] > 0
    assert found["cpu_us_per_void"]["python"] > 0 and found["cpu_us_per_void"]["postgres"] > 0


@pytest.mark.parametrize(("voided", "faults", "passed"), [(10, [], True), (9, [], False), (10, ["P1 fails"], False)])
def test_it_passes_only_where_all_is_done_and_proved(voided: int, faults: list[str], passed: bool) -> None:
    """One hold that is left, or one sentence of the proof, is a failure."""
    one = Expired(10, voided, 2.0, (0.001, None), {}, 0, [10 - voided], faults)
    said = one.as_json()
    assert (one.passed, said["proof_ok"]) == (passed, not faults)
    assert (said["per_second"], said["cpu_us_per_void"]["postgres"], said["live_p99_ms"]) == (round(voided / 2), None, None)


def test_a_count_is_shared_out_evenly() -> None:
    """Nothing is lost by rounding."""
    assert (shares(10, 3), shares(2, 3)) == ([4, 3, 3], [1, 1, 0])


@pytest.mark.parametrize("words", [("--count", "0"), ("--count", "many"), ("--workers", "0"), ("--nothing",)])
def test_a_command_line_that_makes_no_sense_starts_nothing(words: tuple[str, ...]) -> None:
    """Exit code 2, as of every command."""
    ended = CliRunner().invoke(cli, ["bench", "expiry", *words])
    assert ended.exit_code == 2 and ended.stderr.startswith("Usage: ")
