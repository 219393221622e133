"""One service per data folder.

Decides whether this process may use a data folder.  Refuses to know what lies in it.
"""
from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FolderInUse(Exception):
    """Another process holds the data folder; the message names both."""


class FolderLock:
    """An exclusive lock on ``DATA/lock`` that ends with the process holding it, however it ends.

    The lock is flock's: it belongs to an open file, so the file is closed on exec and in every child that this process forks,
    and neither PostgreSQL nor a worker can keep the folder locked once its supervisor was killed.
    """

    def __init__(self, data: Path) -> None:
        """Makes *data* (mode 0700) where it does not exist, and locks it; raises ``FolderInUse`` when somebody else has."""
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file: int | None = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            self.release()
            who = f"process {holder}" if holder.isdecimal() else "another process"
            raise FolderInUse(f"The data folder {data.resolve()} is in use by {who}. Stop that one first, or choose another folder.") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)
        os.register_at_fork(after_in_child=self.release)

    def release(self) -> None:
        """Lets go; harmless when done twice."""
        if self._file is not None:
            os.close(self._file)                        # not LOCK_UN: a forked child that unlocked would unlock its parent too
            self._file = None
