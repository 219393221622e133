"""What was acknowledged must be stored exactly once: losing, doubling and changing are each noticed and named."""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ringfence.bench.load import Load
from ringfence.bench.verification import QUERIES, checkpoint, verify

from .conftest import MERCHANTS, Running

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
FILLINGS = {"bigint": 0, "integer": 0, "smallint": 1, "text": "", "bytea": b"", "boolean": False, "timestamp with time zone": NOW, "jsonb": "{}"}


async def fill(connection: asyncpg.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    """Rows with the given columns; every other column that must have a value gets the empty one of its type."""
    needed = await connection.fetch(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_name = $1 AND is_nullable = 'NO' AND column_default IS NULL", table)
    whole = [{row["column_name"]: FILLINGS[row["data_type"]] for row in needed} | one for one in rows]
    if whole:
        columns = list(whole[0])
        await connection.copy_records_to_table(table, columns=columns, records=[[one[name] for name in columns] for one in whole])


async def store(dsn: str, kept: list[tuple[str, str, int]], **changes: str) -> None:
    """Keeps purchases as the service does: one operation and one approved outcome each."""
    connection = await asyncpg.connect(dsn)
    numbers = {merchant.identifier: place for place, merchant in enumerate(MERCHANTS, start=1)}
    try:
        await fill(connection, "merchants", [{"merchant_id": number, "identifier": name, "name": name} for name, number in numbers.items()])
        ids = [{"merchant_id": numbers[name], "payment_id": place, "operation_id": place} for place, (name, _, _) in enumerate(kept, start=1)]
        await fill(connection, "operations", [
            one | {"kind": "purchase", "door": "aps", "reference": reference, "minor": minor, "currency": "AED"} | changes
            for one, (_, reference, minor) in zip(ids, kept, strict=True)])
        await fill(connection, "outcomes", [
            one | {"attempt": 1, "result": "approved", "minor": minor} for one, (_, _, minor) in zip(ids, kept, strict=True)])
    finally:
        await connection.close()


@pytest.mark.parametrize(("fault", "word"), [("none", None), ("loses", "Missing: "), ("doubles", "Double: "), ("changes", "Different: ")])
def test_a_service_that_does_not_keep_its_word_is_found_out(fake: Callable[[str], Running], database: str, tmp_path: Path, fault: str,
                                                             word: str | None) -> None:
    """One purchase in a hundred lost, kept twice or kept with another amount: each of them is named, and nothing else."""
    running = fake(fault)
    with Load(running.base_url, MERCHANTS, tmp_path / "acknowledged") as load:
        load.tokens(8, "3012")
        figures, _, _ = load.run(lambda: None, connections=8, warm_up=0.1, seconds=0.3, stock=200)
    assert figures.faults == {}
    asyncio.run(store(database, running.kept()))
    found = verify(database, tmp_path / "acknowledged")
    if word is None:
        assert found == []
    else:
        assert len(found) == min((figures.approved + 95) // 100, 20)
        assert all(sentence.startswith(word) for sentence in found)


LINE = '{"merchant":"Shop1","reference":"%s","amount":1234,"currency":"%s","code":"14000","operation":"PURCHASE"}\n'


@pytest.mark.parametrize(("changes", "lines", "word"), [
    ({}, LINE % ("one", "AED"), None),
    ({}, "", None),
    ({}, LINE % ("one", "AED") * 2, "acknowledged a payment again"),
    ({}, LINE % ("one", "SAR"), "Different"),
    ({}, LINE % ("two", "AED"), "Missing"),
    ({"door": "jwo"}, LINE % ("one", "AED"), "Missing"),
    ({"kind": "authorization"}, LINE % ("one", "AED"), "Missing"),
])
def test_only_the_same_purchase_at_the_same_door_is_the_payment(database: str, tmp_path: Path, changes: dict[str, str], lines: str,
                                                                word: str | None) -> None:
    """Another reference, currency, door or kind does not stand in for it, and one payment is acknowledged once."""
    asyncio.run(store(database, [("Shop1", "one", 1234)], **changes))
    (tmp_path / "acknowledged").write_text(lines)
    found = verify(database, tmp_path / "acknowledged")
    assert found == [] if word is None else len(found) == 1 and word in found[0]


def test_a_declined_or_unknown_outcome_is_no_payment(database: str, tmp_path: Path) -> None:
    """The operation is there, its approval is not."""
    async def decline() -> None:
        connection = await asyncpg.connect(database)
        await connection.execute("UPDATE outcomes SET result = 'unknown'")
        await connection.close()

    asyncio.run(store(database, [("Shop1", "one", 1234)]))
    asyncio.run(decline())
    (tmp_path / "acknowledged").write_text(LINE % ("one", "AED"))
    assert [sentence.split(":")[0] for sentence in verify(database, tmp_path / "acknowledged")] == ["Missing"]


def test_every_question_says_what_it_asks() -> None:
    """Each statement of the file has a name and a description."""
    assert set(QUERIES) == {"no_guessing", "make_acknowledged", "count_acknowledged", "not_exactly_once"}
    assert all(query.description.endswith(".") for query in QUERIES.values())


def test_a_checkpoint_names_the_local_postmaster(database: str) -> None:
    """On a private server the postmaster is the parent of our own backend."""
    number = checkpoint(database)
    assert number is not None
    assert Path(f"/proc/{number}/comm").read_text().startswith("postgres")
