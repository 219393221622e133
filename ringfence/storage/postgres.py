"""The private PostgreSQL below a data folder: made, started, watched and stopped.

Decides how one server process is kept for one data folder, whatever was killed before.  Refuses to know its tables, and has
no threads and no event loop: the process that supervises it forks workers.

What lies in the data folder: ``postgres/`` (the cluster), ``postgres.password`` and ``postgres.socket`` (mode 0600; how to
connect).  The caller holds the folder's ``FolderLock``; without it two supervisors would end each other's server.
"""
from __future__ import annotations

import ctypes
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Self

from ringfence.storage.binaries import CACHE, Account, Binaries, PostgresError, account_for, find_binaries, usable
from ringfence.storage.folder import FolderInUse, FolderLock
from ringfence.storage.orphans import GLANCE, PATIENCE, end_orphans, pid_file

__all__ = ["FolderInUse", "FolderLock", "PostgresError", "PrivatePostgres", "address", "find_binaries"]

NAME = "ringfence"                                      # the role and the database
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")
ACCESS = "local all all scram-sha-256\n"                # pg_hba.conf, whole
SOCKETS = "/tmp"                                        # a Unix socket's path may have about 100 bytes; data folders are longer
PR_SET_PDEATHSIG = 1                                    # prctl(2)


class PrivatePostgres:
    """One PostgreSQL server for one data folder.

    As root it runs as the account ``ringfence`` or ``nobody``, also below folders which that account cannot enter: the
    server reaches its cluster through an open file descriptor.  On Linux it is told to stop when its supervisor dies;
    where that fails, the next ``start`` ends what was left.
    """

    def __init__(self, data: Path, *, log: Path, cache: Path = CACHE) -> None:
        """*log* receives what the server prints; *cache* holds a copy of its programs where one is needed."""
        self._data, self._log, self._cache = data.absolute(), log.absolute(), cache
        self._cluster = self._data / "postgres"
        self._binaries: Binaries | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Starts the server, making its cluster first where there is none, and returns the address for asyncpg.

        Returns when the server accepts connections, however long crash recovery takes; at once when it already runs.  The
        address stays the same when a server that died is started again.  Raises ``PostgresError`` where it cannot start.
        """
        if self.poll():
            return address(self._data)
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = account_for(self._cluster)
        end_orphans(self._cluster)
        self._binaries = usable(account, _major(self._cluster), self._cache)
        if not self._cluster.exists():
            self._create(account)
        self._configure(account)
        sockets = self._socket_folder(account)
        if not (self._data / "postgres.password").exists():
            self._single(self._cluster, account, self._new_password())
        began = self._log_size()
        self._child = self._spawn(account, sockets)
        try:
            while not _ready(self._cluster, self._child.pid):
                if self._child.poll() is not None:
                    raise PostgresError(f"PostgreSQL ended while it was starting ({_ending(self._child.returncode)}). "
                                        f"The end of {self._log}:\n{_tail(self._log, began)}")
                time.sleep(GLANCE)
        except BaseException:                           # a signal's exception too: nothing may be left behind
            self.stop()
            raise
        return address(self._data)

    def stop(self) -> None:
        """Stops the server in an orderly way and waits; clients still connected are cut off.  Harmless when it is not running."""
        if self._child is None:
            return
        for number, seconds in ((signal.SIGINT, PATIENCE), (signal.SIGQUIT, PATIENCE), (signal.SIGKILL, None)):
            if self._child.poll() is None:
                self._child.send_signal(number)         # fast shutdown; then without a checkpoint, which recovery makes up for
                with suppress(subprocess.TimeoutExpired):
                    self._child.wait(seconds)
        self._child = None
        self._drop_socket_folder()

    def poll(self) -> bool:
        """Whether the server process is alive; where not, ``start`` recovers it."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child is not None and self.poll() else None

    def bin(self) -> Path:
        """The bin folder in use (``pgbench`` and ``psql`` lie there too, in most installations)."""
        return self._binaries.folder if self._binaries else find_binaries()

    # -- the cluster --

    def _create(self, account: Account | None) -> None:
        """Makes the cluster beside its place and renames it there when it is complete, so that a start cut short leaves none."""
        unfinished = self._data / "postgres.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account:
            os.chown(unfinished, account.uid, account.gid)
        # Access is refused by initdb's rules and granted by ours; the password never touches a command line or a file of the cluster.
        self._run("initdb", unfinished, account, "--username", NAME, "--auth=reject", "--encoding=UTF8", "--locale=C", "--data-checksums",
                  "--no-sync")
        _replace(unfinished / "pg_hba.conf", ACCESS, account)
        self._single(unfinished, account, f"{self._new_password()}CREATE DATABASE {NAME}\n", "-F")
        _sync_file_system(unfinished)                   # once for all of it, where initdb and -F left it to us
        unfinished.rename(self._cluster)
        _sync_file_system(self._data)

    def _new_password(self) -> str:
        """Chooses and keeps a new password; returns the statement that sets it."""
        password = secrets.token_urlsafe(24)
        _replace(self._data / "postgres.password", password + "\n", None)
        return f"ALTER ROLE {NAME} PASSWORD '{password}'\n"

    def _single(self, cluster: Path, account: Account | None, statements: str, *settings: str) -> None:
        """Runs statements, one a line, in single-user mode: needs no password and lets nobody else in."""
        self._run("postgres", cluster, account, *settings, "postgres", first=("--single",), said=statements)

    def _run(self, program: str, cluster: Path, account: Account | None, *rest: str, first: Iterable[str] = (), said: str = "") -> None:
        assert self._binaries is not None
        with _Reached(cluster, account) as reached:
            done = subprocess.run([self._binaries.folder / program, *first, "-D", reached.path, *rest], check=False, cwd="/",
                                  env=_environment(), pass_fds=reached.files, input=said, capture_output=True, text=True,
                                  **(account.popen() if account else {}))  # type: ignore[call-overload]
        if done.returncode or "ERROR:" in done.stderr:  # single-user mode ends with 0 whatever became of the statements
            raise PostgresError(f"{program} could not prepare {cluster} ({_ending(done.returncode)}):\n{done.stderr.strip()[-2000:]}")

    def _configure(self, account: Account | None) -> None:
        assert self._binaries is not None
        text = resources.files("ringfence.storage").joinpath("postgresql.conf").read_text("utf-8")
        if self._binaries.major >= 18:
            text = f"io_method = sync                            # else three processes more\n{text}"
        if _reports_sync_errors():
            text = f"recovery_init_sync_method = syncfs          # else a crash costs an fsync for each of a thousand files\n{text}"
        _replace(self._cluster / "postgresql.conf", text, account)
        if not (self._cluster / "local.conf").exists():
            _replace(self._cluster / "local.conf", "# Your own settings; they come after those of postgresql.conf.\n", account)

    def _socket_folder(self, account: Account | None) -> str:
        """The private folder of the socket: the last one while it is still there and ours, else a new one."""
        kept, owner = self._data / "postgres.socket", account.uid if account else os.geteuid()
        with suppress(OSError):
            known = kept.read_text().strip()
            state = os.lstat(known)
            if (state.st_mode, state.st_uid) == (0o040700, owner):
                if not pid_file(self._cluster):         # nobody listens: a lock left here may name a living stranger by now
                    for name in os.listdir(known):
                        os.unlink(os.path.join(known, name))
                return known
        folder = tempfile.mkdtemp(prefix="ringfence-", dir=SOCKETS)
        if account:
            os.chown(folder, account.uid, account.gid)
        _replace(kept, folder + "\n", None)
        return folder

    def _drop_socket_folder(self) -> None:
        kept = self._data / "postgres.socket"
        with suppress(OSError):
            shutil.rmtree(kept.read_text().strip(), ignore_errors=True)
            kept.unlink()

    # -- the server --

    def _spawn(self, account: Account | None, sockets: str) -> subprocess.Popen[bytes]:
        assert self._binaries is not None
        self._log.parent.mkdir(parents=True, exist_ok=True)
        settings = [part for setting in DURABLE for part in ("-c", setting)]
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with _Reached(self._cluster, account) as reached:
                # Its own session: a terminal's Ctrl-C reaches the supervisor, which lets clients finish before it stops the server.
                return subprocess.Popen(
                    [self._binaries.folder / "postgres", "-D", reached.path, "-k", sockets, *settings], cwd="/", env=_environment(),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=reached.files, start_new_session=True,
                    preexec_fn=_ends_with_parent(),     # safe: its supervisor has no threads
                    **(account.popen() if account else {}))  # type: ignore[call-overload]
        finally:
            os.close(log)

    def _log_size(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0


def address(data: Path) -> str:
    """The address (for asyncpg) of the server that runs for *data*; it holds the password.

    Raises ``PostgresError`` when none was started or it was stopped; after a crash the address stands, and connecting fails.
    """
    try:
        password = (data / "postgres.password").read_text().strip()
        sockets = (data / "postgres.socket").read_text().strip()
    except PermissionError as why:
        raise PostgresError(f"{data} can be read only by the account that started its service, and by root.") from why
    except OSError as why:
        raise PostgresError(f"No PostgreSQL runs for {data}. Start it with: ringfence up --data {data}") from why
    return f"postgresql://{NAME}:{password}@/{NAME}?host={sockets}"


class _Reached:
    """A cluster's path as the account can use it: through an open folder, so that no parent needs to let it in."""

    def __init__(self, cluster: Path, account: Account | None) -> None:
        self.files: tuple[int, ...] = ()
        self.path = str(cluster)
        if account and Path("/proc/self/fd").exists():
            self.files = (os.open(cluster, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),)
            self.path = f"/proc/self/fd/{self.files[0]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            os.close(file)


def _ends_with_parent() -> Callable[[], None] | None:
    """What the child does before it becomes the server: asks Linux for a SIGINT when the supervisor dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGINT))
        if os.getppid() != parent:                      # it died before the request
            os._exit(1)
    return ask


def _ready(cluster: Path, pid: int) -> bool:
    """Whether the server with this process id says that it takes connections."""
    lines = pid_file(cluster)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7] == "ready"


def _major(cluster: Path) -> int | None:
    """The major version a cluster was made with; ``None`` where there is no cluster."""
    if not cluster.exists():
        return None
    try:
        return int((cluster / "PG_VERSION").read_text())
    except (OSError, ValueError) as why:
        raise PostgresError(f"{cluster} is not a PostgreSQL cluster (its PG_VERSION cannot be read). "
                            "Move it away, or choose another data folder.") from why


def _environment() -> dict[str, str]:
    """Nothing of ours reaches the server: neither PG* settings nor keys kept in environment variables."""
    return {"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)}


def _replace(path: Path, text: str, account: Account | None) -> None:
    """Writes a file with mode 0600, by a rename: whole or not at all, and never through a link that the account planted."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, text.encode())
        if account:
            os.fchown(file, account.uid, account.gid)
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(path)


def _sync_file_system(folder: Path) -> None:
    """Makes everything written below *folder* durable (syncfs(2); where there is none, every file system of the machine)."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(file):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(file)


def _reports_sync_errors() -> bool:
    """Whether syncfs says so when a write failed: on Linux since 5.8."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return sys.platform.startswith("linux") and release is not None and (int(release[1]), int(release[2])) >= (5, 8)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def _tail(log: Path, start: int) -> str:
    """The last lines that were printed after the byte *start*."""
    with log.open("rb") as file:
        file.seek(start)
        return "\n".join(file.read()[-8000:].decode("utf-8", "replace").splitlines()[-15:]) or "(nothing)"
