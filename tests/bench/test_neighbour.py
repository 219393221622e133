"""pgbench runs in a database of its own, which is gone afterwards, and its password is on no command line."""
from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from ringfence.bench.neighbour import DATABASE, Neighbour, NeighbourFailed, program, rate, without_password

PRINTED = """transaction type: <builtin: TPC-B (sort of)>
number of transactions actually processed: 30123
number of failed transactions: {failed} (0.000%)
latency average = 8.493 ms
initial connection time = 23.4 ms
tps = 3767.912345 (without initial connection time)
"""


async def databases(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")]
    finally:
        await connection.close()


def test_the_neighbour_moves_in_runs_and_moves_out(database: str, postgres: object) -> None:
    """A small TPC-B gives a rate; the database exists while it runs and not afterwards."""
    with Neighbour(database, postgres.bin, scale=1) as neighbour:  # type: ignore[attr-defined]
        assert DATABASE in asyncio.run(databases(database))
        assert neighbour.run(3) > 0
    assert DATABASE not in asyncio.run(databases(database))


def test_the_rate_is_the_one_without_connecting() -> None:
    """The number after ``tps =``."""
    assert rate(PRINTED.format(failed=0)) == 3767.912345


@pytest.mark.parametrize("printed", ["", PRINTED.format(failed=3), "tps = 12.5 (including connections establishing)\n"])
def test_a_run_without_a_rate_is_an_error(printed: str) -> None:
    """Failed transactions or another format are not taken for a result."""
    with pytest.raises(NeighbourFailed):
        rate(printed)


def test_the_password_travels_apart() -> None:
    """The address on the command line names server, person and database only."""
    address, password = without_password("postgresql://ringfence:s%2Fecret@/ringfence?host=/tmp/x", "other")
    assert (address, password) == ("postgresql://ringfence@/other?host=/tmp/x", "s/ecret")
    assert without_password("postgresql://db.example:5433/x", "y") == ("postgresql://db.example:5433/y", "")


def test_without_pgbench_we_say_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside the server nor on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NeighbourFailed, match="comes with PostgreSQL"):
        program(tmp_path)
