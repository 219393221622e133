"""The vault on a real server: one record per number, and tokens that notice what changes."""
from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ringfence.core.card import SecurityCode
from ringfence.engine import key_sources, keys, rotation, sealing
from ringfence.engine import vault as vault_module
from ringfence.engine.sealing import NotOpened
from ringfence.engine.vault import AlreadyUsed, CardErased, NameTaken, NotFound, Token, Vault
from ringfence.storage import cards, vault_keys
from ringfence.storage.database import DatabaseUnavailable
from tests.canary import Secrets, find_secrets
from tests.engine.vaults import NOW, PAN, WAITING, Process, number, process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


# -- cards

async def test_a_number_has_one_record_per_merchant(one: Process):
    """Kept twice it is the same record; another merchant has another, and neither opens as the other's."""
    first, again, others = await one.vault.keep(1, PAN), await one.vault.keep(1, PAN), await one.vault.keep(2, PAN)
    assert first == again and first.card_id != others.card_id
    assert await one.vault.card(1, first.card_id) == first
    assert await one.vault.card(2, first.card_id) is None
    assert (first.brand, first.bin, first.last4, first.masked) == ("VISA", "400555", "0001", "400555******0001")
    assert one.vault.reveal(first) == one.vault.reveal(others) == PAN
    with pytest.raises(NotOpened):
        one.vault.reveal(replace(first, merchant_id=2))
    with pytest.raises(NotOpened):
        one.vault.reveal(replace(first, sealed=others.sealed))


async def test_ciphers_are_kept_for_the_cards_opened_last(one: Process, monkeypatch: pytest.MonkeyPatch):
    """Their number is bounded, and every card opens whether its cipher is still there or not, to its own merchant only."""
    monkeypatch.setattr(vault_module, "CACHED_CIPHERS", 3)
    stored = [await one.vault.keep(1, number(n)) for n in range(5)]
    for _ in range(2):
        assert [one.vault.reveal(card) for card in stored] == [number(n) for n in range(5)]
    assert len(one.vault._ciphers) == 3
    for wrong in (replace(stored[4], merchant_id=2), replace(stored[4], card_id=stored[3].card_id)):
        with pytest.raises(NotOpened):
            one.vault.reveal(wrong)


async def test_a_row_moved_to_another_merchant_does_not_open(one: Process):
    """Whoever can write the database cannot hand one merchant's card to another."""
    card = await one.vault.keep(1, PAN)
    await one.pool.execute("UPDATE cards SET merchant_id = 2")
    (moved,) = await one.pool.fetch("SELECT key_id, wrapped_key, ciphertext FROM cards WHERE merchant_id = 2")
    with pytest.raises(NotOpened):
        one.vault.reveal(replace(card, merchant_id=2, sealed=sealing.Sealed(*moved)))


async def test_two_processes_that_keep_the_same_numbers_at_once_make_one_record_each(database: str):
    """32 callers in each of two processes, the same 40 numbers in different orders: one record per number, the same for all."""
    async with process(database, 1) as left, process(database, 2) as right:
        numbers = [number(n) for n in range(40)]
        found = await asyncio.gather(*(
            running.vault.keep(1, pan) for _ in range(8) for running, order in ((left, numbers), (right, numbers[::-1])) for pan in order
        ))
        ids: dict[str, set[int]] = {}
        for card in found:
            pan = left.vault.reveal(card)
            assert pan is not None
            ids.setdefault(pan.reveal(), set()).add(card.card_id)
        assert len(ids) == 40 and all(len(same) == 1 for same in ids.values())
        assert await left.pool.fetchval("SELECT count(*) FROM cards") == 40


async def test_numbers_outside_the_sandbox_tables_are_kept_as_first_and_last_digits(database: str):
    """Such a card has a record, found again, and nothing to reveal; the row holds no ciphertext."""
    async with process(database, keeps=lambda pan: pan == PAN) as one:
        kept, short = await one.vault.keep(1, PAN), await one.vault.keep(1, number(7))
        assert one.vault.reveal(kept) == PAN and one.vault.reveal(short) is None and short.sealed is None
        assert await one.vault.keep(1, number(7)) == short
        assert await one.pool.fetchval("SELECT count(*) FROM cards WHERE ciphertext IS NULL") == 1


async def test_nothing_of_a_card_prints_its_number_or_ciphertext(one: Process):
    """repr and str of card, token and vault show the masked number at most."""
    card = await one.vault.keep(1, PAN)
    token = await one.vault.create_token(1, card, name=None, expiry="2912", holder="A B")
    shown = f"{card!r} {card} {token!r} {token} {one.vault!r} {one.ring!r} {vars(one.vault)!r}"
    assert card.sealed is not None
    assert PAN.reveal() not in shown and repr(card.sealed.ciphertext)[2:-1] not in shown and repr(card.sealed.wrapped_key)[2:-1] not in shown


LOG_FILE = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())"


async def test_the_database_holds_no_number_no_hash_and_no_code(one: Process, postgres: Any, tmp_path: Path):
    """All rows, and what the server wrote to its write-ahead log meanwhile if it lies on this machine, are searched for the numbers, their
    plain hashes and a code; a number planted as a holder's name shows that the search would have found them.  No number has many zeros: such
    digits, packed, stand in any log."""
    began = await one.pool.fetchval(LOG_FILE)
    numbers, code, planted = [number(70_271_828_183 + n * 731_415_927) for n in range(50)], SecurityCode("739"), number(4_711)
    stored = await asyncio.gather(*(one.vault.keep(1, pan) for pan in numbers))
    for card in stored:
        await one.vault.create_token(1, card, name=None, expiry="2912", holder="A B")
    await one.vault.create_token(1, stored[0], name=None, expiry="2912", holder=planted.reveal())
    dump = tmp_path / "dump"
    with dump.open("wb") as file:
        for table in ("cards", "tokens", "vault_keys", "vault_state"):
            for row in await one.pool.fetch(f"SELECT * FROM {table}"):
                for name, value in row.items():
                    file.write(f"{name}: ".encode() + (value if isinstance(value, bytes) else str(value).encode()) + b"\n")
    ended, log = await one.pool.fetchval(LOG_FILE), postgres.cluster / "pg_wal" if postgres.cluster else None
    written = [file for file in log.iterdir() if began <= file.name <= ended] if log else []
    secrets = Secrets(frozenset(pan.reveal() for pan in (*numbers, planted)), frozenset({code.reveal()}))
    found = find_secrets([dump, *written], secrets)
    assert {what for _, what in found} == {f"card number …{planted.last4} in clear"}
    assert {path.parent for path, _ in found} == {tmp_path, *([log] if log else [])}


def test_no_function_of_the_vault_takes_a_security_code():
    """Codes live in requests: no parameter, field or global of the vault's modules is one."""
    for module in (vault_module, keys, key_sources, sealing, rotation, cards, vault_keys):
        assert "SecurityCode" not in inspect.getsource(module), module.__name__
    with pytest.raises(TypeError):
        SecurityCode("739").__reduce_ex__(4)


# -- tokens

async def test_a_token_stands_for_its_card(one: Process):
    """Made with a generated or a given name, found by it, in its own merchant only."""
    card = await one.vault.keep(1, PAN)
    generated = await one.vault.create_token(1, card, name=None, expiry="2912", holder="A B")
    named = await one.vault.create_token(1, card, name="T0ken_1", expiry="3001", holder="")
    assert isinstance(generated, Token) and isinstance(named, Token)
    assert generated.name == "1" + "0" * 31 and generated.card == card and generated.version == 1 and generated.created_at == NOW
    assert await one.vault.token(1, "T0ken_1") == named
    assert await one.vault.token(2, "T0ken_1") is None and await one.vault.token(1, "none") is None
    assert await one.vault.create_token(1, card, name="T0ken_1", expiry="3001", holder="") == NameTaken("T0ken_1")


async def test_generated_names_have_128_random_bits(database: str):
    """Without an injected source: 32 upper-case hexadecimal digits, different each time."""
    async with process(database) as one:
        vault = Vault(one.pool, one.ring, new_id=itertools.count(1).__next__, keeps=lambda pan: True, now=lambda: NOW)
        card = await vault.keep(1, PAN)
        made = [await vault.create_token(1, card, name=None, expiry="2912", holder="") for _ in range(3)]
        names = {token.name for token in made if isinstance(token, Token)}
        assert len(names) == 3 and all(len(name) == 32 and set(name) <= set("0123456789ABCDEF") for name in names)


async def test_a_token_is_changed_and_renamed(one: Process):
    """Every change raises the version; the old name is gone after a rename; what is taken or not there is said."""
    card = await one.vault.keep(1, PAN)
    await one.vault.create_token(1, card, name="A", expiry="2912", holder="A B")
    await one.vault.create_token(1, card, name="B", expiry="2912", holder="")
    changed = await one.vault.update_token(1, "A", expiry="3005", holder="C D")
    assert isinstance(changed, Token) and (changed.expiry, changed.holder, changed.active, changed.version) == ("3005", "C D", True, 2)
    assert await one.vault.update_token(1, "A", new_name="B") == NameTaken("B")
    renamed = await one.vault.update_token(1, "A", new_name="C")
    assert isinstance(renamed, Token) and (renamed.name, renamed.version) == ("C", 3)
    assert await one.vault.token(1, "A") is None and await one.vault.update_token(1, "A", active=False) == NotFound("A")
    span = {"since": NOW, "until": NOW + timedelta(days=1)}
    assert [token.name for token in await one.vault.tokens(1, **span, after=None, limit=10)] == ["B", "C"]
    assert [token.name for token in await one.vault.tokens(1, **span, after="B", limit=10)] == ["C"]


async def test_switching_a_token_off_keeps_the_card_for_refunds(one: Process):
    """An inactive token is still found and its card still opens; it can be switched on again."""
    card = await one.vault.keep(1, PAN)
    await one.vault.create_token(1, card, name="A", expiry="2912", holder="")
    off = await one.vault.update_token(1, "A", active=False)
    assert isinstance(off, Token) and not off.active
    found = await one.vault.token(1, "A")
    assert found == off and one.vault.reveal(found.card) == PAN and await one.vault.keep(1, PAN) == card
    on = await one.vault.update_token(1, "A", active=True)
    assert isinstance(on, Token) and on.active and on.version == 3


async def test_a_cached_token_is_a_look_up_and_may_be_asked_for_anew(database: str):
    """The second look-up asks no database; another process's change shows after fresh or forget, and in the version."""
    async with process(database, 1) as left, process(database, 2) as right:
        card = await left.vault.keep(1, PAN)
        made = await left.vault.create_token(1, card, name="A", expiry="2912", holder="")
        assert isinstance(made, Token)
        cached = await right.vault.token(1, "A")
        await left.vault.update_token(1, "A", holder="C D")
        assert await right.vault.token(1, "A") is cached
        fresh = await right.vault.token(1, "A", fresh=True)
        assert fresh is not None and (fresh.holder, fresh.version) == ("C D", 2)
        async with left.pool.acquire() as connection:
            await cards.note_first_references(connection, [(1, card.card_id, "NTI1")])
        right.vault.forget(1, "A")
        found = await right.vault.token(1, "A")
        assert found is not None and (found.card.first_reference, found.version) == ("NTI1", 3)


async def test_a_token_that_is_off_or_missing_is_looked_for_each_time(database: str):
    """What another process switches on or creates is seen at once."""
    async with process(database, 1) as left, process(database, 2) as right:
        card = await left.vault.keep(1, PAN)
        assert await right.vault.token(1, "A") is None
        await left.vault.create_token(1, card, name="A", expiry="2912", holder="")
        assert await right.vault.token(1, "A") is not None
        await left.vault.update_token(1, "A", active=False)
        off = await right.vault.token(1, "A", fresh=True)
        assert off is not None and not off.active
        await left.vault.update_token(1, "A", active=True)
        on = await right.vault.token(1, "A")
        assert on is not None and on.active


async def test_the_cache_is_bounded_and_keeps_what_is_used(one: Process, monkeypatch: pytest.MonkeyPatch):
    """With room for three, the token used longest ago goes."""
    monkeypatch.setattr(vault_module, "CACHED_TOKENS", 3)
    card = await one.vault.keep(1, PAN)
    made = [await one.vault.create_token(1, card, name=name, expiry="2912", holder="") for name in "ABC"]
    assert await one.vault.token(1, "A") is made[0]
    await one.vault.create_token(1, card, name="D", expiry="2912", holder="")
    assert await one.vault.token(1, "A") is made[0] and await one.vault.token(1, "C") is made[2]
    again = await one.vault.token(1, "B")
    assert again == made[1] and again is not made[1]


async def test_a_lost_database_is_said_as_one(one: Process):
    """Every waiting caller gets DatabaseUnavailable when its connection is cut; the same vault works on afterwards."""
    async with one.pool.acquire() as admin, admin.transaction():
        await admin.execute("LOCK TABLE cards, tokens")
        waiting = [asyncio.ensure_future(one.vault.keep(1, number(n))) for n in range(3)]
        waiting.append(asyncio.ensure_future(one.vault.token(1, "A")))
        while len(pids := await admin.fetch(WAITING)) < 2:
            await admin.execute("SELECT pg_stat_clear_snapshot()")
        for (pid,) in pids:
            await admin.fetchval("SELECT pg_terminate_backend($1)", pid)
        gone = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in gone] == [DatabaseUnavailable] * 4
    assert one.vault.reveal(await one.vault.keep(1, number(0))) == number(0)


# -- a token that may be asked for once

class Breaking(asyncpg.Connection):
    """A connection that is lost at its n-th statement: ``before`` the server sees it, or ``after`` it was carried out."""

    plan: tuple[int, str] | None = None
    statements: list[str]

    async def _passed(self, statement: str, carry_out: Callable[[], Awaitable[Any]]) -> Any:
        cls = type(self)
        if cls.plan is None:
            return await carry_out()
        cls.statements.append(statement)
        number, when = cls.plan
        if len(cls.statements) != number:
            return await carry_out()
        if when == "after":
            await carry_out()
        self.terminate()
        raise asyncpg.ConnectionDoesNotExistError("cut by the test")

    async def execute(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._passed(query, lambda: asyncpg.Connection.execute(self, query, *values, **options))

    async def fetch(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._passed(query, lambda: asyncpg.Connection.fetch(self, query, *values, **options))

    async def fetchval(self, query: str, *values: Any, **options: Any) -> Any:
        return await self._passed(query, lambda: asyncpg.Connection.fetchval(self, query, *values, **options))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_token_and_its_reference_are_one_commit(database: str, when: str):
    """Whichever statement the connection is lost at: afterwards there are both or neither, and asked again there are both."""
    async with process(database) as one, asyncpg.create_pool(database, min_size=1, max_size=1, connection_class=Breaking) as pool:
        vault = Vault(pool, one.ring, new_id=itertools.count(1).__next__, keeps=lambda pan: True, now=lambda: NOW)
        card = await vault.keep(1, PAN)
        broken = 0
        for number in itertools.count(1):
            Breaking.plan, Breaking.statements, once = (number, when), [], ("aps", "CREATE_TOKEN", f"R-{number}")
            try:
                made = await vault.create_token(1, card, name=f"T{number}", expiry="2912", holder="A B", once=once)
            except DatabaseUnavailable:
                made, broken = None, broken + 1
            finally:
                Breaking.plan = None
            stored = await one.pool.fetchval("SELECT count(*) FROM tokens WHERE token_name = $1", f"T{number}")
            used = await one.pool.fetchval("SELECT count(*) FROM service_references WHERE reference = $1", f"R-{number}")
            assert stored == used
            if isinstance(made, Token):
                assert stored == 1
                break
            again = await vault.create_token(1, card, name=f"T{number}", expiry="2912", holder="A B", once=once)
            assert isinstance(again, Token) if not stored else again == AlreadyUsed(f"R-{number}")
        assert broken == len(Breaking.statements) == number - 1, "each of them was cut once"
        assert {"BEGIN;", "COMMIT;"} < set(Breaking.statements)


async def test_a_reference_is_used_up_by_the_token_it_made_and_by_nothing_else(one: Process):
    """Asked again it makes no second token; where the name was taken, or the card is gone, it is still free."""
    card, once = await one.vault.keep(1, PAN), ("aps", "CREATE_TOKEN", "R-1")
    made = await one.vault.create_token(1, card, name="A", expiry="2912", holder="", once=once)
    assert isinstance(made, Token)
    assert await one.vault.create_token(1, card, name="B", expiry="2912", holder="", once=once) == AlreadyUsed("R-1")
    assert await one.vault.token(1, "B") is None
    other = ("aps", "CREATE_TOKEN", "R-2")
    assert await one.vault.create_token(1, card, name="A", expiry="2912", holder="", once=other) == NameTaken("A")
    await one.pool.execute("UPDATE cards SET erased_at = $1", NOW)
    assert await one.vault.create_token(1, card, name="C", expiry="2912", holder="", once=other) == CardErased(card.card_id)
    assert await one.vault.create_token(1, card, name=None, expiry="2912", holder="", once=other) == CardErased(card.card_id)
    await one.pool.execute("UPDATE cards SET erased_at = NULL")
    assert isinstance(await one.vault.create_token(1, card, name="C", expiry="2912", holder="", once=other), Token)


async def test_one_reference_asked_for_at_once_in_two_processes_makes_one_token(database: str):
    """Sixteen callers, each with a name of its own: one gets a token, the others hear that the reference is used."""
    async with process(database, 1) as left, process(database, 2) as right:
        card = await left.vault.keep(1, PAN)
        said = await asyncio.gather(*(
            running.vault.create_token(1, card, name=f"T{place}{n}", expiry="2912", holder="", once=("aps", "CREATE_TOKEN", "R-1"))
            for n in range(8) for place, running in enumerate((left, right))
        ))
        assert sorted(type(one).__name__ for one in said) == ["AlreadyUsed"] * 15 + ["Token"]
        assert await left.pool.fetchval("SELECT count(*) FROM tokens") == 1
