"""What every test may ask for: a PostgreSQL server and fresh databases on it.

* ``postgres``: one server for the whole session (per xdist worker); ``postgres.address`` reaches it, ``postgres.bin`` holds its
  programs.
* ``database``: the address of a migrated, empty database, for one test.  ``module_database``: the same for one module.

Which PostgreSQL that is: a private one of the wheel; with ``RINGFENCE_TEST_POSTGRES=/usr/lib/postgresql/15/bin`` a private one
of that bin folder; with ``RINGFENCE_TEST_DATABASE_URL`` a server elsewhere, on which databases are made and dropped.

Asynchronous tests use anyio's plugin on asyncio with uvloop, as the service does: mark them ``@pytest.mark.anyio``.
"""
from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

from ringfence.storage.binaries import FORCED
from ringfence.storage.postgres import PrivatePostgres
from tests import clusters, databases
from tests.clusters import memory, put_cluster
from tests.databases import Server
from tests.kept import Kept
from tests.web import browsers

# What is quick and explains most comes first; then the longest files, and what starts services and waits for them, so that it waits
# beside others; the end is many short files, so that neither process is left alone with a long one.
TURNS = ("core", "api", "web", "storage", "torture", "faults", "processors", "engine", "simulation", "service", "bench", "background")

# How fast a machine is says nothing about the code: a crowded one must not fail a test that draws its examples slowly.  And each run draws the
# same ones, so that a change is never refused for what somebody else would have met by chance; ``make test-long`` draws others every time.
settings.register_profile("the same", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("fresh", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False, print_blob=True)
settings.load_profile("the same")

OPEN = "local all all trust\n"
"""``pg_hba.conf`` of the server that tests share, in a folder that only they and root enter: proving who one is takes either side half the
time of a connection, and tests make some thousands.  What a service's own server asks for is the matter of the tests of ``PrivatePostgres``."""
UNTOUCHED = "autovacuum = off\n"
"""``local.conf`` of that server: statistics of a database that was empty when they were taken would make plans for the test that fills it."""

NOT_LOOKED = pytest.StashKey[int]()
"""How many browser tests did not run."""


def pytest_configure(config: pytest.Config) -> None:
    """Where a browser is required, nothing runs without one.  The process that hands tests out shares what is made with those that run them."""
    if browsers.is_required() and (lacking := browsers.missing()):
        raise pytest.UsageError(f"browser tests are required here, and {lacking}")
    if config.getoption("numprocesses", None):
        clusters.share()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts the files in the order of ``TURNS``, all else last; takes out what needs a browser where there is none, and counts it."""
    if browsers.missing() and (looking := [item for item in items if item.get_closest_marker("browser")]):
        items[:] = [item for item in items if item not in looking]
        config.hook.pytest_deselected(items=looking)
        config.stash[NOT_LOOKED] = len(looking)
    tests = Path(__file__).parent
    place = {name: number for number, name in enumerate(TURNS)}
    items.sort(key=lambda item: place.get(item.path.relative_to(tests).parts[0], len(place)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays: nobody looks through it for garbage, neither meanwhile nor later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tells the process that reports what this one left out."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["not_looked"] = session.config.stash.get(NOT_LOOKED, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hears it; every process collects the same tests."""
    config, count = node.config, getattr(node, "workeroutput", {}).get("not_looked", 0)
    config.stash[NOT_LOOKED] = max(count, config.stash.get(NOT_LOOKED, 0))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Says how many browser tests did not run, and why."""
    if count := config.stash.get(NOT_LOOKED, 0):
        terminalreporter.write_line(f"{count} browser tests did not run: {browsers.missing()}", yellow=True)


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder that an unprivileged server can enter (pytest's ``tmp_path`` is closed to it when tests run as root)."""
    folder = Path(tempfile.mkdtemp(prefix="ringfence-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    forced = os.environ.get("RINGFENCE_TEST_POSTGRES")
    with pytest.MonkeyPatch.context() as patch:
        if forced:
            patch.setenv(FORCED, forced)
        elsewhere = os.environ.get("RINGFENCE_TEST_DATABASE_URL")
        if elsewhere:
            with databases.counter(elsewhere) as tell, databases.template(elsewhere, tell) as template:
                server = Server(elsewhere, PrivatePostgres(Path(), log=Path()).bin(), template, tell, [])
                yield server
                for one in server.shelf:
                    one.drop()
            return
        folder = Path(tempfile.mkdtemp(prefix="ringfence-test-", dir=memory()))
        private = PrivatePostgres(folder / "data", log=folder / "postgres.log")
        try:
            put_cluster(folder / "data")
            (folder / "data" / "postgres" / "pg_hba.conf").write_text(OPEN)
            (folder / "data" / "postgres" / "local.conf").write_text(UNTOUCHED)
            address = private.start()
            with databases.counter(address):            # the first connection to a database writes down what it has; copies have it then
                pass
            maintenance = databases.beside(address, "postgres")
            with databases.counter(maintenance) as tell:
                server = Server(maintenance, private.bin(), urlsplit(address).path[1:], tell, [], folder / "data" / "postgres")
                yield server
                for one in server.shelf:
                    one.close()
        finally:
            private.stop()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
async def kept() -> AsyncIterator[Kept]:
    """Connections that one test of a module leaves to the next; ``process`` in ``tests.engine.composition`` takes them."""
    async with Kept() as connections:
        yield connections


@pytest.fixture
def database(postgres: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    connections: Kept | None = request.getfixturevalue("kept") if request.node.get_closest_marker("anyio") else None
    is_new = request.node.get_closest_marker("new_database")
    with databases.new(postgres) if is_new else databases.borrowed(postgres, connections) as address:
        yield address


@pytest.fixture(scope="module")
def module_database(postgres: Server) -> Iterator[str]:
    with databases.borrowed(postgres, None) as address:
        yield address


@pytest.fixture
def empty_database(postgres: Server) -> Iterator[str]:
    """The address of a new database without any table."""
    with databases.new(postgres._replace(template="template0")) as address:
        yield address
