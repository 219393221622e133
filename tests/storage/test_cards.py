"""Card and token rows on a real server: what each statement does, and what two of them do to each other."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from ringfence.storage import cards, vault_keys
from ringfence.storage.cards import NewCard
from ringfence.storage.database import connect
from ringfence.storage.vault_keys import InForce

pytestmark = pytest.mark.anyio
OTHER_WAITS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'test other')"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    """A database whose first key is in force, and cards 11, 12 (merchant 1) and 11 (merchant 2) with tokens A, B, C."""
    connection = await connect(database, application_name="test")
    await vault_keys.begin(connection, 1)
    await cards.insert(connection, 1, None, [card(1, 11, b"x"), card(1, 12, b"y"), card(2, 11, b"x")], NOW)
    await cards.insert_tokens(connection, [(1, "A", 11, "2912", ""), (1, "B", 11, "3001", "A B"), (2, "C", 11, "2912", "")], NOW)
    yield connection
    await connection.close()


def card(merchant_id: int, card_id: int, odd: bytes | None, even: bytes | None = None, key_id: int = 1) -> NewCard:
    return NewCard(merchant_id, card_id, odd, even, key_id, b"wrapped", b"sealed", "VISA", "400555", "0001")


async def versions(connection: asyncpg.Connection) -> dict[tuple[int, str], int]:
    return {(row[0], row[1]): row[2] for row in await connection.fetch("SELECT merchant_id, token_name, version FROM tokens")}


async def test_cards_are_found_by_fingerprint_within_their_merchant(connection: asyncpg.Connection):
    """Places are kept; another merchant's card and an unknown fingerprint are not there; the key's oddness picks the column."""
    found = await cards.find(connection, 1, [(1, b"y"), (1, b"none"), (2, b"x"), (2, b"y"), (1, b"x")])
    assert [row and (row.merchant_id, row.card_id) for row in found] == [(1, 12), None, (2, 11), None, (1, 11)]
    assert await cards.find(connection, 2, [(1, b"x")]) == [None]


async def test_a_fingerprint_is_stored_once_per_merchant(connection: asyncpg.Connection):
    """The second card under one fingerprint, in either column, is not returned and not stored; its neighbour is."""
    assert await cards.insert(connection, 1, None, [card(1, 21, b"x"), card(1, 22, b"z")], NOW) == {(1, 22)}
    await vault_keys.set_state(connection, InForce(1, 2))
    assert await cards.insert(connection, 1, 2, [card(1, 23, b"new", b"even", 2)], NOW) == {(1, 23)}
    assert await cards.insert(connection, 1, 2, [card(1, 24, b"other", b"even", 2)], NOW) == set()


@pytest.mark.parametrize("known", [(2, None), (1, 2), (3, 4)])
async def test_nothing_is_stored_under_keys_that_are_not_in_force(connection: asyncpg.Connection, known: tuple[int, int | None]):
    """A process that knows other keys than the database stores nothing."""
    assert await cards.insert(connection, *known, [card(1, 21, b"z")], NOW) == set()


async def test_whoever_waits_while_the_keys_change_stores_nothing(connection: asyncpg.Connection, database: str):
    """An insert that began before a rotation's step committed sees the step, not what stood before."""
    other = await connect(database, application_name="test other")
    try:
        async with connection.transaction():
            await vault_keys.take_state(connection)
            storing = asyncio.ensure_future(cards.insert(other, 1, None, [card(1, 21, b"z")], NOW))
            while not await connection.fetchval(OTHER_WAITS):
                await connection.execute("SELECT pg_stat_clear_snapshot()")
            await vault_keys.set_state(connection, InForce(1, 2))
        assert await storing == set()
    finally:
        await other.close()


async def test_the_first_reference_is_noted_once_and_tells_every_token(connection: asyncpg.Connection):
    """The first reference stays; all tokens of that card change version, no others; a second one changes nothing."""
    await cards.note_first_references(connection, [(1, 11, "NTI1"), (1, 11, "NTI2")])
    (first,) = await cards.find(connection, 1, [(1, b"x")])
    assert first is not None
    assert await versions(connection) == {(1, "A"): 2, (1, "B"): 2, (2, "C"): 1}
    await cards.note_first_references(connection, [(1, 11, "NTI3"), (9, 99, "nobody's")])
    assert (await cards.find(connection, 1, [(1, b"x")])) == [first]
    assert await versions(connection) == {(1, "A"): 2, (1, "B"): 2, (2, "C"): 1}


async def test_a_block_is_kept_and_tells_every_token(connection: asyncpg.Connection):
    """The first reason stays; the tokens of the card change version."""
    await cards.lock_cards(connection, [(1, 11), (1, 12)])
    await cards.block_cards(connection, [(1, 11, "R1"), (1, 12, "03")])
    await cards.block_cards(connection, [(1, 11, "04")])
    assert [row and row.blocked for row in await cards.find(connection, 1, [(1, b"x"), (1, b"y"), (2, b"x")])] == ["R1", "03", ""]
    assert await versions(connection) == {(1, "A"): 2, (1, "B"): 2, (2, "C"): 1}


async def test_a_token_made_while_its_card_is_blocked_learns_of_it(connection: asyncpg.Connection, database: str):
    """Insert and block take turns at the card: the token is read with the block, or changes version after it was made."""
    other = await connect(database, application_name="test other")
    try:
        async with connection.transaction():
            await cards.block_cards(connection, [(1, 11, "R1")])
            making = asyncio.ensure_future(cards.insert_tokens(other, [(1, "D", 11, "2912", "")], NOW))
            while not await connection.fetchval(OTHER_WAITS):
                await connection.execute("SELECT pg_stat_clear_snapshot()")
        assert await making == {(1, "D")}
        (token,) = await cards.load_tokens(other, [(1, "D")])
        assert token is not None and token.card.blocked == "R1"
    finally:
        await other.close()


async def test_token_names_are_unique_per_merchant(connection: asyncpg.Connection):
    """A taken name and a card that is not there are not returned; the same name of another merchant is made."""
    made = await cards.insert_tokens(connection, [(1, "A", 12, "2912", ""), (2, "A", 11, "2912", ""), (2, "E", 99, "2912", "")], NOW)
    assert made == {(2, "A")}
    (untouched,) = await cards.load_tokens(connection, [(1, "A")])
    assert untouched is not None and untouched.card.card_id == 11


async def test_tokens_are_listed_oldest_first_within_a_span(connection: asyncpg.Connection):
    """From since until before until, page by page behind a token, one merchant only."""
    await cards.insert_tokens(connection, [(1, "Z", 12, "2912", ""), (1, "0", 12, "2912", "")], NOW + timedelta(days=1))
    span = NOW, NOW + timedelta(days=2)
    names = [row.token_name for row in await cards.list_tokens(connection, 1, *span, None, 10)]
    assert names == ["A", "B", "0", "Z"]
    assert [row.token_name for row in await cards.list_tokens(connection, 1, *span, "A", 2)] == ["B", "0"]
    assert [row.token_name for row in await cards.list_tokens(connection, 1, NOW, NOW + timedelta(days=1), None, 10)] == ["A", "B"]
    assert [row.token_name for row in await cards.list_tokens(connection, 1, NOW + timedelta(seconds=1), span[1], None, 10)] == ["0", "Z"]


async def test_rotation_passes_over_cards_that_a_payment_holds(connection: asyncpg.Connection, database: str):
    """A held card is left for the next pass; nobody waits."""
    other = await connect(database, application_name="test other")
    try:
        async with connection.transaction():
            await cards.lock_cards(connection, [(1, 12)])
            async with other.transaction():
                free = await cards.to_rewrap(other, 1, (-1, -1), 10)
                await cards.rewrap(other, 2, [(row.merchant_id, row.card_id, b"again", b"even") for row in free])
        assert [(row.merchant_id, row.card_id) for row in free] == [(1, 11), (2, 11)]
        assert await cards.count(other, 1) == 1 and await cards.count(other, 2) == 2
    finally:
        await other.close()


async def test_a_card_without_key_has_no_ciphertext(connection: asyncpg.Connection):
    """The three parts of a sealed number are there together or not at all."""
    with pytest.raises(asyncpg.CheckViolationError):
        await cards.insert(connection, 1, None, [card(1, 21, b"z")._replace(wrapped_key=None)], NOW)
    with pytest.raises(asyncpg.CheckViolationError):
        await cards.insert(connection, 1, None, [card(1, 21, None)], NOW)
