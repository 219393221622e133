"""Verification: every payment that was acknowledged is stored exactly once, with its amount.

Asks the database itself, with SQL of its own; the proof asks again through the ledger.
"""
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import asyncpg
import msgspec

from ringfence.bench.processor_time import parent_of_backend
from ringfence.storage.database import connect, parse_queries

NAMED = 20                              # how many faulty payments are named
QUERIES = parse_queries(resources.files("ringfence.bench").joinpath("verification.sql").read_text("utf-8"))


class Acknowledged(msgspec.Struct):
    """One line of the list: a purchase that a client saw approved.  ``amount`` is in minor units."""

    merchant: str
    reference: str
    amount: int
    currency: str


def listed(acknowledged: Path) -> Iterator[tuple[str, str, int, str]]:
    """The rows of a list of acknowledged payments (JSON lines)."""
    read = msgspec.json.Decoder(Acknowledged).decode
    with acknowledged.open("rb") as file:
        for line in file:
            one = read(line)
            yield one.merchant, one.reference, one.amount, one.currency


def verify(dsn: str, acknowledged: Path) -> list[str]:
    """What is missing, double or different, in sentences; empty when every acknowledged payment is there exactly once."""
    return asyncio.run(_verify(dsn, acknowledged))


async def _verify(dsn: str, acknowledged: Path) -> list[str]:
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        await connection.execute(QUERIES["no_guessing"].sql)
        await connection.execute(QUERIES["make_acknowledged"].sql)
        await connection.copy_records_to_table("acknowledged", records=listed(acknowledged), timeout=None)
        await connection.execute("ANALYZE acknowledged")
        count = await connection.fetchrow(QUERIES["count_acknowledged"].sql, timeout=None)
        found = await connection.fetch(QUERIES["not_exactly_once"].sql, NAMED, timeout=None)
    finally:
        await connection.close()
    twice = [f"{count['lines'] - count['payments']} answers acknowledged a payment again."] if count["lines"] != count["payments"] else []
    return twice + [sentence(row) for row in found]


def sentence(row: asyncpg.Record) -> str:
    """One payment that is not there exactly once."""
    name, asked = f"{row['merchant']} {row['reference']}", f"{row['minor']} {row['currency']}"
    if row["approved"] == 0:
        return f"Missing: {name}, {asked} was acknowledged and is not stored as approved."
    if row["approved"] > 1:
        return f"Double: {name}, {asked} is approved {row['approved']} times."
    return f"Different: {name}, {asked} was acknowledged, {row['approved_minor']} minor units are stored."


def checkpoint(dsn: str) -> int | None:
    """Makes a checkpoint, and gives the postmaster's process id where it runs on this machine."""
    return asyncio.run(_checkpoint(dsn))


async def _checkpoint(dsn: str) -> int | None:
    connection = await connect(dsn, application_name="ringfence bench")
    try:
        await connection.execute("CHECKPOINT", timeout=None)
        local = await connection.fetchval("SELECT inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr()")
        return parent_of_backend(connection.get_server_pid()) if local else None
    finally:
        await connection.close()
