"""The private PostgreSQL: started, killed, orphaned, refused.

All tests share one cluster, in the least convenient place there is: below a closed folder, with spaces, with a path longer
than a socket's may be.
"""
from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from ringfence.storage import binaries
from ringfence.storage.binaries import FORCED, PostgresError, account_for, find_binaries, usable
from ringfence.storage.orphans import servers_in
from ringfence.storage.postgres import FolderInUse, FolderLock, PrivatePostgres, address

ROOT = os.geteuid() == 0

SUPERVISOR = """
import sys
from pathlib import Path
from ringfence.storage import postgres
data = Path(sys.argv[1])
if sys.argv[2] == "deaf":
    postgres._ends_with_parent = lambda: None
lock = postgres.FolderLock(data)
server = postgres.PrivatePostgres(data, log=data / "postgres.log")
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""

HOLDER = """
import os, sys
from pathlib import Path
from ringfence.storage.postgres import FolderLock
lock = FolderLock(Path(sys.argv[1]))
if os.fork() == 0:
    os.write(1, b"%d\\n" % os.getpid())
    sys.stdin.read()
    os._exit(0)
os.wait()
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data folder below a closed one, and a PostgreSQL chosen like the session's."""
    closed = Path(tempfile.mkdtemp(prefix="ringfence-test-"))
    with pytest.MonkeyPatch.context() as patch:
        if chosen := os.environ.get("RINGFENCE_TEST_POSTGRES"):
            patch.setenv(FORCED, chosen)
        yield closed / ("a long name " * 10).strip() / "data"
    shutil.rmtree(closed, ignore_errors=True)


@pytest.fixture
def server(folder: Path) -> Iterator[PrivatePostgres]:
    server = PrivatePostgres(folder, log=folder / "postgres.log")
    server.start()
    yield server
    server.stop()


def ask(dsn: str, *statements: str) -> list[asyncpg.Record]:
    """Runs statements on a connection of their own; the rows of the last one."""
    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            return [await connection.fetch(statement) for statement in statements][-1]
        finally:
            await connection.close()
    return asyncio.run(run())


def ended(pid: int) -> None:
    """Returns when the process has ended: the kernel says so, nobody guesses."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    try:
        assert poll.poll(90_000), f"process {pid} is still there after 90 s"
    finally:
        os.close(watched)


def supervisor(folder: Path, manner: str) -> tuple[subprocess.Popen[str], int]:
    """Another process that keeps the server, and the server's process id."""
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, folder, manner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    return process, int(process.stdout.readline())


def test_a_started_server_keeps_what_it_commits(server: PrivatePostgres, folder: Path):
    """The three settings that make a commit durable are on, and no file of the cluster can switch them off."""
    (folder / "postgres" / "local.conf").write_text("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nwork_mem = 5MB\n")
    os.chmod(folder / "postgres" / "local.conf", 0o644)
    server.stop()
    dsn = server.start()
    rows = ask(dsn, "SELECT name, setting FROM pg_settings WHERE name = ANY ('{fsync,synchronous_commit,full_page_writes,work_mem}') ORDER BY 1")
    (folder / "postgres" / "local.conf").unlink()
    assert [tuple(row) for row in rows] == [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on"), ("work_mem", "5120")]


def test_it_does_not_run_as_root(server: PrivatePostgres):
    """As root the server runs as an unprivileged account without other groups; else as ourselves."""
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    assert "0" not in fields["Uid"] + fields["Gid"]
    assert not ROOT or fields["Groups"] == []


def test_only_its_owner_can_connect(server: PrivatePostgres, folder: Path):
    """The password and the socket's folder are private, nothing listens on the network, and a wrong password is refused."""
    dsn = address(folder)
    socket_folder = Path((folder / "postgres.socket").read_text().strip())
    assert stat.S_IMODE((folder / "postgres.password").stat().st_mode) == 0o600
    assert stat.S_IMODE(socket_folder.stat().st_mode) == 0o700
    assert ask(dsn, "SELECT current_setting('listen_addresses') AS a")[0]["a"] == ""
    password = (folder / "postgres.password").read_text().strip()
    with pytest.raises(asyncpg.InvalidPasswordError):
        ask(dsn.replace(password, "guess"), "SELECT 1")


def test_no_folder_is_opened_for_the_server(server: PrivatePostgres, folder: Path):
    """The closed folders above the cluster stay closed."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.parent.stat().st_mode) == 0o700
    assert len(str(folder)) > 100


def test_a_stop_and_a_start_keep_the_rows(server: PrivatePostgres):
    """Rows survive an orderly stop; a second start of a running server changes nothing."""
    dsn = server.start()
    ask(dsn, "CREATE TABLE stopped (n int)", "INSERT INTO stopped VALUES (1)")
    first = server.pid
    assert server.start() == dsn
    assert server.pid == first
    server.stop()
    assert not server.poll()
    assert server.pid is None
    assert ask(server.start(), "SELECT n FROM stopped")[0]["n"] == 1


def test_a_stopped_server_has_no_address(server: PrivatePostgres, folder: Path):
    """After an orderly stop there is nothing to connect to, and the message says how to start it."""
    server.stop()
    with pytest.raises(PostgresError, match="ringfence up --data"):
        address(folder)


def test_a_killed_server_is_noticed_and_recovered(server: PrivatePostgres):
    """After kill -9 of the server the next start recovers what was committed, under the address that clients already have."""
    dsn, pid = server.start(), server.pid
    assert pid
    ask(dsn, "CREATE TABLE killed (n int)", "INSERT INTO killed VALUES (1)")
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    assert not server.poll()
    assert server.start() == dsn
    assert ask(dsn, "SELECT n FROM killed")[0]["n"] == 1


def test_a_server_killed_at_work_leaves_no_process_behind(server: PrivatePostgres, folder: Path):
    """A backend that is busy when its server is killed is ended before the next server opens the cluster."""
    dsn, pid = server.start(), server.pid
    assert pid

    async def kill_during_a_statement() -> int:
        connection = await asyncpg.connect(dsn)
        backend = connection.get_server_pid()
        busy = asyncio.ensure_future(connection.fetchval("SELECT count(*) FROM generate_series(1, 9000000000)"))
        await asyncio.wait([busy], timeout=0)           # the statement is on its way
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(ended, pid)
        server.start()
        await asyncio.wait([busy])
        assert busy.exception()
        return backend
    backend = asyncio.run(kill_during_a_statement())
    assert backend not in servers_in(folder / "postgres")
    assert ask(dsn, "SELECT 1 AS one")[0]["one"] == 1


@pytest.mark.parametrize("manner", ["listening", "deaf"])
def test_a_killed_supervisor_leaves_nothing_in_the_way(folder: Path, manner: str):
    """After kill -9 of the supervisor the next one starts anew with every row, whether or not the server noticed the death."""
    process, pid = supervisor(folder, manner)
    ask(address(folder), f"CREATE TABLE orphaned_{manner} (n int)", f"INSERT INTO orphaned_{manner} VALUES (1)")
    process.kill()
    process.communicate()
    lock, server = FolderLock(folder), PrivatePostgres(folder, log=folder / "postgres.log")
    try:
        dsn = server.start()
        ended(pid)
        assert server.pid != pid
        assert ask(dsn, f"SELECT n FROM orphaned_{manner}")[0]["n"] == 1
    finally:
        server.stop()
        lock.release()


def test_a_server_that_nobody_buried_is_not_in_the_way(folder: Path):
    """A killed server whose supervisor has not collected it still has its number; the locks it left are not believed."""
    process, pid = supervisor(folder, "deaf")
    before = address(folder)
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    os.kill(pid, 0)                                     # its number is still taken
    server = PrivatePostgres(folder, log=folder / "postgres.log")
    try:
        assert server.start() == before
        assert ask(before, "SELECT 1 AS one")[0]["one"] == 1
    finally:
        server.stop()
        process.kill()
        process.communicate()


def test_a_server_ends_when_its_supervisor_was_killed(folder: Path):
    """On Linux the kernel tells the server, which stops in an orderly way with nobody's help."""
    process, pid = supervisor(folder, "listening")
    process.kill()
    process.communicate()
    ended(pid)
    assert not (folder / "postgres" / "postmaster.pid").exists()


def test_a_stale_pid_file_is_not_believed(server: PrivatePostgres, folder: Path):
    """A pid file left by a crash may name a process that is somebody else's by now: it is left alone, and the start succeeds."""
    server.stop()
    account = account_for(folder / "postgres")
    with subprocess.Popen(["sleep", "60"], **(account.popen() if account else {})) as stranger:
        path = folder / "postgres" / "postmaster.pid"
        path.write_text(f"{stranger.pid}\n{folder}/postgres\n1700000000\n5432\n/tmp\n\n  123456 7890\nready   \n")
        if account:
            os.chown(path, account.uid, account.gid)
        dsn = server.start()
        assert stranger.poll() is None
        assert server.pid != stranger.pid
        assert ask(dsn, "SELECT 1 AS one")[0]["one"] == 1
        stranger.terminate()


def test_a_start_that_fails_shows_the_servers_own_words(server: PrivatePostgres, folder: Path):
    """A setting that PostgreSQL refuses ends the start at once, with the end of its log in the message."""
    server.stop()
    mistake = folder / "postgres" / "local.conf"
    mistake.write_text("max_connections = plenty\n")
    mistake.chmod(0o644)
    with pytest.raises(PostgresError, match=r"(?s)ended while it was starting.*max_connections"):
        server.start()
    mistake.unlink()
    assert not server.poll()
    server.start()
    assert server.poll()


def test_a_cluster_open_to_others_is_refused(server: PrivatePostgres, folder: Path):
    """PostgreSQL refuses a cluster that others can read; the message passes that on."""
    server.stop()
    (folder / "postgres").chmod(0o755)
    with pytest.raises(PostgresError, match="invalid permissions"):
        server.start()
    (folder / "postgres").chmod(0o700)


def test_a_cluster_of_the_wrong_owner_is_refused(short_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Root's own cluster is refused to root with the command that mends it; another account's to an ordinary user with its name."""
    cluster = short_folder / "postgres"
    cluster.mkdir()
    monkeypatch.setattr(binaries.os, "geteuid", lambda: 0 if cluster.stat().st_uid == 0 else cluster.stat().st_uid + 1)
    with pytest.raises(PostgresError, match="chown -R" if cluster.stat().st_uid == 0 else "belongs to"):
        PrivatePostgres(short_folder, log=short_folder / "log").start()


def test_a_creation_cut_short_is_begun_again(short_folder: Path, folder: Path):
    """What an interrupted first start left is cleared away, and never taken for a cluster."""
    (short_folder / "postgres.new" / "base").mkdir(parents=True)
    (short_folder / "postgres.new" / "PG_VERSION").write_text("18\n")
    server = PrivatePostgres(short_folder, log=short_folder / "postgres.log")
    try:
        assert ask(server.start(), "SELECT current_database() AS name")[0]["name"] == "ringfence"
        assert not (short_folder / "postgres.new").exists()
    finally:
        server.stop()


def test_a_lost_password_is_replaced(server: PrivatePostgres, folder: Path):
    """Without its password file the cluster gets a new password, and keeps its rows."""
    before = address(folder)
    server.stop()
    (folder / "postgres.password").unlink()
    after = server.start()
    assert after.partition("@")[0] != before.partition("@")[0]
    assert ask(after, "SELECT 1 AS one")[0]["one"] == 1


@pytest.mark.parametrize(("written", "message"), [
    ("9\n", "No PostgreSQL 9, with which this data folder was made"),
    ("none\n", "not a PostgreSQL cluster"),
])
def test_a_cluster_of_another_version_is_refused(server: PrivatePostgres, folder: Path, written: str, message: str):
    """A cluster that no installed PostgreSQL can open is named, and left as it is."""
    server.stop()
    path = folder / "postgres" / "PG_VERSION"
    original = path.read_text()
    path.write_text(written)
    with pytest.raises(PostgresError, match=message):
        server.start()
    path.write_text(original)


def test_a_second_service_on_a_folder_is_refused(short_folder: Path):
    """The message names the folder and the process that holds it; after a release the folder is free."""
    lock = FolderLock(short_folder)
    with pytest.raises(FolderInUse, match=f"{short_folder} is in use by process {os.getpid()}"):
        FolderLock(short_folder)
    lock.release()
    FolderLock(short_folder).release()


def test_a_lock_ends_with_its_process_even_if_a_forked_child_lives_on(short_folder: Path):
    """A worker that outlives its killed supervisor does not keep the folder locked."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, short_folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        with pytest.raises(FolderInUse, match=f"process {holder.pid}"):
            FolderLock(short_folder)
        holder.kill()
        ended(holder.pid)
        os.kill(child, 0)                               # still there
        FolderLock(short_folder).release()


def test_programs_in_a_closed_folder_are_copied_once(short_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Programs that the server's account cannot enter are copied where it can, once; without root there is nothing to copy."""
    monkeypatch.delenv(FORCED, raising=False)
    source, cache = short_folder / "closed" / "site" / binaries.WHEEL, short_folder / "cache"
    package = find_binaries().parent.parent
    shutil.copytree(find_binaries().parent, source / "pginstall18", ignore=shutil.ignore_patterns("include", "*.a"))
    shutil.copytree(package.with_name(f"{binaries.WHEEL}.libs"), source.with_name(f"{binaries.WHEEL}.libs"))
    short_folder.chmod(0o755)
    (short_folder / "closed").chmod(0o700)
    monkeypatch.setenv(FORCED, str(source / "pginstall18" / "bin"))
    account = account_for(short_folder / "postgres")
    found = usable(account, None, cache)
    assert found.folder.is_relative_to(cache if ROOT else source)
    assert usable(account, None, cache) == found
    assert subprocess.run([found.folder / "initdb", "--version"], check=True, capture_output=True, **(account.popen() if account else {})).stdout
    assert stat.S_IMODE((short_folder / "closed").stat().st_mode) == 0o700


def test_a_bin_folder_that_holds_nothing_is_refused(short_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The variable's value is named; nothing else is tried behind the operator's back."""
    monkeypatch.setenv(FORCED, str(short_folder))
    with pytest.raises(PostgresError, match=f"names {short_folder}"):
        find_binaries()


def test_a_machine_without_postgresql_is_told_what_to_do(short_folder: Path, monkeypatch: pytest.MonkeyPatch):
    """The message names every way to get one."""
    monkeypatch.setattr(binaries, "_candidates", lambda: iter(()))
    with pytest.raises(PostgresError, match=r"(?s)ringfence\[embedded\].*apt-get.*RINGFENCE_DATABASE_URL"):
        find_binaries()
    with pytest.raises(PostgresError, match="No PostgreSQL was found"):
        PrivatePostgres(short_folder, log=short_folder / "log").start()
