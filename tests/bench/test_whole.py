"""The benchmark of the real service, as small as it can be: everything that the long one does, pgbench apart."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .test_bench import KEYS


@pytest.mark.wide
def test_the_real_service_keeps_every_purchase_that_it_acknowledged(tmp_path: Path) -> None:
    """Started as a person starts it; a second of full load and one of half load: no error, and SQL and proof find all of it."""
    ended = subprocess.run([sys.executable, "-m", "ringfence.cli", "bench", "--json", "--rounds", "1", "--seconds", "1", "--connections", "16",
                            "--skip-pgbench", "--data", str(tmp_path / "data")], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    found = json.loads(ended.stdout)
    assert found.keys() >= KEYS
    assert (found["errors"], found["verified"], found["ratio"]) == (0, True, None)
    assert found["ppro_ratio"] > 0 and found["charges_checked"] > 0
    assert found["cpu_us"]["python"] > 0
    assert found["cpu_us"]["postgres"] > 0
    assert found["acknowledged"] >= found["signatures_checked"] * 100 > 0
