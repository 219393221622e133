"""What the processes of a running service take of the machine; who they are is the torture suite's to say."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ringfence.torture.killer import processes_of

__all__ = ["processes_of", "proportional_bytes"]


def proportional_bytes(pids: Iterable[int]) -> int:
    """PSS: what the processes take of the machine's memory, shared pages divided among those who share them."""
    return sum(
        int(line.split()[1]) * 1024
        for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")
    )
