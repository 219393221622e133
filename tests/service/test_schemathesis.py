"""Schemathesis finds nothing at the PPRO door: what its description allows is taken, what it forbids is refused, never a 500.

Every operation is asked a fixed number of times with a fixed seed; ``make test-long`` asks ten times as often, and at every limit.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox import Sandbox
from tests.service.schemathesis.known import made

HERE = Path(__file__).parent / "schemathesis"
SEED = "20260105"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1) as running:
        running.command("merchant", "set", "RingfenceOne", "requests_per_second=100000")
        yield running


@pytest.mark.parametrize(("examples", "phases"), [
    pytest.param("20", "fuzzing", marks=[pytest.mark.wide, pytest.mark.timeout(600)]),
    pytest.param("200", "coverage,fuzzing,stateful", marks=[pytest.mark.long, pytest.mark.timeout(7200)])])
def test_nothing_is_found(sandbox: Sandbox, tmp_path: Path, examples: str, phases: str):
    merchant = next(one for one in sandbox.description["merchants"] if one["identifier"] == "RingfenceOne")["ppro"]
    said = subprocess.run(
        [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml"), "run",
         f"http://127.0.0.1:{sandbox.port}/v1/openapi.json", "--header", f"Authorization: Bearer {merchant['api_key']}",
         "--header", f"Merchant-Id: {merchant['merchant_id']}", "--seed", SEED, "--max-examples", examples, "--phases", phases,
         "--checks", "all", "--suppress-health-check", "all", "--no-color", "--generation-database", "none"],
        cwd=tmp_path, env={
            **os.environ, "RINGFENCE_TEST_KNOWN": json.dumps(made(sandbox, merchant)), "SCHEMATHESIS_HOOKS": "tests.service.schemathesis.hooks",
            "PYTHONPATH": str(HERE.parents[2])},
        capture_output=True, text=True, timeout=7000)
    assert said.returncode == 0, said.stdout[-60000:] + said.stderr[-2000:]
    assert "Tested: " in said.stdout
