"""A PostgreSQL cluster that is made and migrated once for each run of tests, and copied for whoever needs one of its own.

Making one takes a second of processor time and several waits for the disk.  What a first start does is the matter of the tests of
``up`` and of ``PrivatePostgres``, which begin with nothing.
"""
from __future__ import annotations

import asyncio
import atexit
import fcntl
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from ringfence.storage.binaries import FORCED
from ringfence.storage.database import connect
from ringfence.storage.migrations import migrate
from ringfence.storage.postgres import PrivatePostgres

#: Bytes free in memory that data folders of tests ask for; a run takes a tenth.
MEMORY_NEEDED = 4 << 30
SHARED = "RINGFENCE_TEST_CLUSTERS"
"""The variable with the folder where the processes of a run share what they make."""


def memory() -> Path | None:
    """A folder in memory with room for data folders: no commit of a test has to wait for a disk, and what is killed is processes, which
    takes from a file in memory no more than from one on a disk.  ``None`` where there is no room: then they lie where all temporary files do.
    """
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > MEMORY_NEEDED else None


def put_cluster(data: Path) -> None:
    """Make *data*, a new data folder, one whose cluster is there and migrated, and was never started."""
    made = _made(os.environ.get(FORCED))
    data.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", *(str(made / name) for name in ("postgres", "postgres.password")), str(data)], check=True)


def share() -> None:
    """What this process makes is for those that it starts, too."""
    if SHARED not in os.environ:
        os.environ[SHARED] = _folder()


def _folder() -> str:
    folder = tempfile.mkdtemp(prefix="ringfence-test-", dir=memory())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _made(forced: str | None) -> Path:
    """A data folder with a cluster, one for each choice of programs; who comes first makes it, and the others wait."""
    kind = "own" if forced is None else forced.strip("/").replace("/", "-")
    folder = Path(os.environ.get(SHARED) or _folder()) / kind
    with folder.with_suffix(".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (done := folder.with_suffix(".made")).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            server = PrivatePostgres(folder, log=folder / "postgres.log")
            try:
                asyncio.run(migrated(server.start()))
            finally:
                server.stop()
            done.touch()
    return folder


async def migrated(address: str) -> None:
    """Bring the schema of that database up to date."""
    connection = await connect(address, application_name="ringfence tests")
    try:
        await migrate(connection)
    finally:
        await connection.close()
