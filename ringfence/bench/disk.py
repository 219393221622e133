"""The disk: how long it takes to make eight kilobytes durable, in the minute that latencies are measured.

A payment waits for two such writes, so nothing answers faster at the 99th percentile than the disk's own tail allows.
"""
from __future__ import annotations

import os
import time
from pathlib import Path

BLOCK = 8192                            # one page of PostgreSQL's write-ahead log
BLOCKS = 256


def durable_writes(folder: Path, seconds: float, pause_s: float = 0.004) -> list[float]:
    """Milliseconds of each fdatasync after a write of 8 kB into a file in *folder*, one every *pause_s* or so, for *seconds*.

    The file is written once beforehand, as PostgreSQL reuses its log files: no block is allocated while we measure.
    """
    path, took = folder / f"fdatasync-{os.getpid()}", []
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.unlink(path)
        block = os.urandom(BLOCK)
        for place in range(BLOCKS):
            os.pwrite(file, block, place * BLOCK)
        os.fsync(file)
        end = time.perf_counter() + seconds
        while not took or time.perf_counter() < end:
            os.pwrite(file, block, len(took) % BLOCKS * BLOCK)
            began = time.perf_counter()
            os.fdatasync(file)
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(pause_s)
    finally:
        os.close(file)
    return took
