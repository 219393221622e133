"""First operations in bulk: what is stored is what the statements of live payments store, to the letter."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime

import asyncpg
import pytest

from ringfence.core.chain import Link
from ringfence.storage import alike
from ringfence.storage import payments as rows
from ringfence.storage.alike import NotAlike
from ringfence.storage.database import connect
from ringfence.storage.payments import BalanceRow, Finished, OperationRow
from tests.storage.storing import stored

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
DAY = date(2026, 1, 5)
LATER = datetime(2100, 1, 1, tzinfo=UTC)         # a deadline that does not lie behind the transaction's beginning


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    made = await connect(database, application_name="test", by_key=True)
    yield made
    await made.close()


def operation(number: int, **other: object) -> OperationRow:
    """A recurring purchase."""
    row = OperationRow(
        1, number, number, "purchase", 1_000 + number, "AED", "aps", f"o-{number}", f"aps:o-{number}", b"content", b"{}", "access:a", "batch",
        "simulator", 7, None, None, "recurring", "ecommerce", False, "requested", 0, None, None, None)
    return row._replace(**other)


def whole(number: int, currency: str = "AED", code: str = "00", **at: int) -> tuple:
    """A purchase that was approved whole: a row of the type ``first_outcome``."""
    minor = 1_000 + number
    return (1, number, "approved", minor, code, "", f"{number:06}", f"{number:015}", f"{number:012}", "", "", currency, "captured", True,
            minor, minor, 0, 0, 0, None, 5, minor, 20, minor, DAY, "purchase_approved")


DECLINED = (1, 90, "declined", 0, "51", "", "", "", "1", "", "", "AED", "declined", True, 0, 0, 0, 0, 0, None, None, None, None, None, None,
            "purchase_declined")
AUTHORIZED = (1, 91, "approved", 500, "00", "", "a", "s", "p", "M", "05", "AED", "authorized", False, 500, 0, 0, 0, 0, NOW, 1, 500, None, None,
              DAY, "authorization_approved")
UNKNOWN = (1, 92, "unknown", 0, "no_answer", "", "", "", "", "", "", "AED", "created", True, 0, 0, 0, 700, 1, None, 72, 700, None, None, DAY,
           "purchase_unknown")
IN_PART = (1, 93, "approved", 5, "10", "", "a", "s", "p", "", "", "AED", "captured", True, 5, 5, 0, 0, 0, None, 5, 5, 20, 4, DAY,
           "purchase_approved")

MIXES = {
    "of one sort": [whole(number) for number in range(1, 40)],
    "of several": [*(whole(number) for number in range(1, 9)), *(whole(number, "KWD") for number in range(10, 30)), whole(40, code="10"),
                   DECLINED, AUTHORIZED, UNKNOWN],
    "of no sort": [DECLINED, AUTHORIZED, UNKNOWN, IN_PART],
    "one": [whole(1)],
}


@pytest.mark.parametrize("mix", MIXES)
async def test_outcomes_are_stored_as_by_the_statement_of_all(connection: asyncpg.Connection, mix: str):
    """Approved whole or in part, declined, in doubt; of one currency or two."""
    finished = Finished(MIXES[mix], [], {}, [], [BalanceRow(1, "AED", "bank", 3, 5)], [], [], [], Link(3, 1, 77, NOW, len(MIXES[mix]), b"x" * 32))
    plain = await stored(connection, lambda: rows.finish(connection, finished, NOW))
    assert await stored(connection, lambda: alike.finish(connection, finished, NOW)) == plain
    assert len(plain["outcomes"]) == len(MIXES[mix])


async def test_an_attempt_has_one_outcome(connection: asyncpg.Connection):
    """Whoever comes second breaks the unique rule, and stores nothing."""
    finished = Finished([whole(1)], [], {}, [], [], [], [], [], Link(3, 1, 77, NOW, 1, b"x" * 32))
    await rows.finish(connection, finished, NOW)
    with pytest.raises(asyncpg.UniqueViolationError):
        await alike.finish(connection, finished._replace(firsts=[whole(2), whole(1)], link=Link(3, 2, 78, NOW, 2, b"x" * 32)), NOW)
    assert await connection.fetchval("SELECT count(*) FROM outcomes") == 1


async def test_intents_are_stored_as_by_the_statement_of_all(connection: asyncpg.Connection):
    """Also where they differ in what most of them share."""
    intents = [*(operation(number) for number in range(1, 9)), operation(9, currency="KWD"), operation(10, kind="authorization", hold_seconds=60),
               operation(11, key=None, reference=None, details=None, card_id=None)]
    plain = await stored(connection, lambda: rows.claim(connection, intents, NOW, LATER))
    assert await stored(connection, lambda: alike.claim(connection, intents, NOW, LATER)) == plain
    assert len(plain["operations"]) == len(intents)


@pytest.mark.parametrize("other", [operation(2, key="aps:o-1"), operation(2, token_name="nobody", token_version=1)], ids=["key", "token"])
async def test_one_that_is_turned_down_takes_back_all(connection: asyncpg.Connection, other: OperationRow):
    """A key that is taken, and a token that is not as it was read."""
    await rows.claim(connection, [operation(1)], NOW, NOW)
    with pytest.raises(NotAlike):
        async with connection.transaction():
            await alike.claim(connection, [operation(3), other], NOW, NOW)
    assert await connection.fetchval("SELECT count(*) FROM operations") == 1
