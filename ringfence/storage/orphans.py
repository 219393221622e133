"""What still runs in a cluster after somebody was killed.

Decides which processes are an earlier server of ours and ends them.  Refuses to know how a server is started.
"""
from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from ringfence.storage.binaries import PostgresError

GLANCE = 0.005                                          # seconds between two looks at a process that starts or stops
PATIENCE = 60.0                                         # seconds a server may take to stop of its own accord


def end_orphans(cluster: Path) -> None:
    """Ends what still runs in *cluster* from a supervisor or a server that was killed, and removes its stale pid file.

    Found by what they are (a ``postgres`` whose working directory is the cluster), never by a number in a file, which may be
    another program's by now.  Without ``/proc`` nothing is done: PostgreSQL then refuses to start beside a living server.
    """
    if not cluster.exists() or not Path("/proc/self/cwd").exists():
        return
    for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        left = servers_in(cluster)
        if not left:
            break
        leader = pid_file(cluster)[:1]
        if number == signal.SIGINT and leader and leader[0] in map(str, left):
            left = [int(leader[0])]                     # it stops its children
        elif number == signal.SIGINT:
            continue                                    # no server, only its children: nothing can be orderly any more
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + seconds
        while servers_in(cluster) and time.monotonic() < until:
            time.sleep(GLANCE)
    if left := servers_in(cluster):
        raise PostgresError(f"PostgreSQL processes {left} of an earlier run still hold {cluster} and cannot be ended.")
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def servers_in(cluster: Path) -> list[int]:
    """The processes of a server of *cluster*: all of them have it as their working directory."""
    place, found = cluster.stat(), []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(OSError):                     # ended meanwhile, or somebody else's
                here = os.stat(f"/proc/{name}/cwd")
                if (here.st_ino, here.st_dev) == (place.st_ino, place.st_dev) and Path(f"/proc/{name}/comm").read_text() == "postgres\n":
                    found.append(int(name))
    return found


def pid_file(cluster: Path) -> list[str]:
    """The lines of ``postmaster.pid``: process, folder, start, port, socket folder, address, shared memory, status."""
    try:
        return [line.strip() for line in (cluster / "postmaster.pid").read_text("utf-8", "replace").splitlines()]
    except OSError:
        return []
