"""The vault on a real server: one record per number, tokens that notice what changes, and keys that rotate while cards are used."""
from __future__ import annotations

import asyncio
import base64
import inspect
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from ringfence.core.card import Pan, SecurityCode, check_digit
from ringfence.engine import key_sources, keys, rotation, sealing
from ringfence.engine import vault as vault_module
from ringfence.engine.key_sources import KeySource
from ringfence.engine.keys import Keyring, open_keyring, open_text, seal_text
from ringfence.engine.rotation import Progress, RotationRefused, rotate
from ringfence.engine.sealing import NotOpened
from ringfence.engine.vault import AlreadyUsed, CardErased, NameTaken, NotFound, StoredCard, Token, Vault
from ringfence.storage import cards, vault_keys
from ringfence.storage.database import DatabaseUnavailable
from tests.canary import Secrets, find_secrets

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
PAN = Pan("4005550000000001")
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
KEYS = [base64.b64encode(os.urandom(32)).decode() for _ in range(4)]


def number(n: int) -> Pan:
    """A valid Visa number of our own, different for each n."""
    digits = f"4{n:014d}"
    return Pan(digits + check_digit(digits))


class Process:
    """A vault with its own pool, keyring and ids, as one worker process has them."""

    def __init__(self, pool: asyncpg.Pool, ring: Keyring, place: int, keeps: Callable[[Pan], bool]) -> None:
        self.pool, self.ring = pool, ring
        ids = itertools.count(place * 1_000_000 + 1)
        names = (f"{place}{n:031X}" for n in itertools.count())
        self.vault = Vault(pool, ring, new_id=ids.__next__, keeps=keeps, now=lambda: NOW, new_name=names.__next__)


@asynccontextmanager
async def process(
    database: str, place: int = 1, *, key: str = KEYS[0], next: str | None = None, source: KeySource | None = None,
    keeps: Callable[[Pan], bool] = lambda pan: True,
) -> AsyncIterator[Process]:
    environ = {"RINGFENCE_MASTER_KEY": key} | ({"RINGFENCE_MASTER_KEY_NEXT": next} if next else {})
    async with asyncpg.create_pool(database, min_size=1, max_size=8) as pool:
        async with pool.acquire() as connection:
            ring = await open_keyring(connection, source or KeySource(environ))
        yield Process(pool, ring, place, keeps)


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
        one.vault.reveal(first._replace(merchant_id=2))
    with pytest.raises(NotOpened):
        one.vault.reveal(first._replace(sealed=others.sealed))


async def test_ciphers_are_kept_for_the_cards_opened_last(one: Process, monkeypatch: pytest.MonkeyPatch):
    """Their number is bounded, and every card opens whether its cipher is still there or not, to its own merchant only."""
    monkeypatch.setattr(vault_module, "CACHED_CIPHERS", 3)
    stored = [await one.vault.keep(1, number(n)) for n in range(5)]
    for _ in range(2):
        assert [one.vault.reveal(card) for card in stored] == [number(n) for n in range(5)]
    assert len(one.vault._ciphers) == 3
    for wrong in (stored[4]._replace(merchant_id=2), stored[4]._replace(card_id=stored[3].card_id)):
        with pytest.raises(NotOpened):
            one.vault.reveal(wrong)


async def test_a_row_moved_to_another_merchant_does_not_open(one: Process):
    """Whoever can write the database cannot hand one merchant's card to another."""
    card = await one.vault.keep(1, PAN)
    await one.pool.execute("UPDATE cards SET merchant_id = 2")
    (moved,) = await one.pool.fetch("SELECT key_id, wrapped_key, ciphertext FROM cards WHERE merchant_id = 2")
    with pytest.raises(NotOpened):
        one.vault.reveal(card._replace(merchant_id=2, sealed=sealing.Sealed(*moved)))


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


async def test_the_database_holds_no_number_no_hash_and_no_code(one: Process, tmp_path: Path):
    """All rows, and where the server's folder can be read its files and write-ahead log too, are searched for the numbers, their
    plain hashes and a code; a number planted as a holder's name shows that the search would have found them."""
    numbers, code, planted = [number(n) for n in range(50)], SecurityCode("739"), number(4_711)
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
    folder = Path(await one.pool.fetchval("SHOW data_directory"))
    log = [folder / "pg_wal"] if os.access(folder, os.R_OK | os.X_OK) else []
    secrets = Secrets(frozenset(pan.reveal() for pan in (*numbers, planted)), frozenset({code.reveal()}))
    found = find_secrets([dump, *log], secrets)
    assert {what for _, what in found} == {f"card number …{planted.last4} in clear"}
    assert {path.parent for path, _ in found} == {tmp_path, *log}


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


# -- rotation

class Killed(BaseException):
    """The rotating process died here."""


async def filled(one: Process, count: int = 60) -> list[StoredCard]:
    """Cards of two merchants with tokens T0…, and a credential whose phrase is sealed."""
    stored = await asyncio.gather(*(one.vault.keep(1 + n % 2, number(n)) for n in range(count)))
    async with one.pool.acquire() as connection:
        await cards.insert_tokens(connection, [(card.merchant_id, f"T{n}", card.card_id, "2912", "") for n, card in enumerate(stored)], NOW)
        await connection.execute(
            "INSERT INTO credentials (merchant_id, door, public_name, sealed, algorithm, created_at) VALUES (1, 'aps', 'AC', $1, 'SHA-256', now())",
            seal_text(one.ring, "credential", 1, "PASS"),
        )
    return list(stored)


async def everything_holds(database: str, key: str, stored: list[StoredCard]) -> None:
    """A process that has the new key only finds every card once, opens it, and keeps the same numbers in the same records."""
    async with process(database, 9, key=key) as fresh:
        for n, card in enumerate(stored):
            token = await fresh.vault.token(card.merchant_id, f"T{n}")
            assert token is not None and token.version == 1 and fresh.vault.reveal(token.card) == number(n)
            assert (await fresh.vault.keep(card.merchant_id, number(n))).card_id == card.card_id
        assert await fresh.pool.fetchval("SELECT count(*) FROM cards") == len(stored)
        assert await fresh.pool.fetchval("SELECT count(DISTINCT key_id) FROM cards") == 1
        sealed = await fresh.pool.fetchval("SELECT sealed FROM credentials")
        assert open_text(fresh.ring, "credential", 1, sealed) == "PASS"


async def test_a_rotation_leaves_every_card_under_the_new_key(database: str):
    """Two rotations after each other: odd to even and back; chain and content keys stay; the old key no longer starts."""
    async with process(database) as one:
        stored, lasting = await filled(one), one.ring.lasting
    for old, new in itertools.pairwise(KEYS[:3]):
        seen: list[Progress] = []
        async with process(database, 2, key=old, next=new) as operator:
            done = await rotate(operator.pool, operator.ring._source, progress=seen.append, chunk=7)
            assert (done.cards, done.texts, done.resumed) == (60, 1, False)
        assert seen[-1].step == "clearing" and max(p.done for p in seen) == max(p.total for p in seen) == 60
        await everything_holds(database, new, stored)
        with pytest.raises(keys.WrongMasterKey, match="retired"):
            async with process(database, key=old):
                pass
    async with process(database, key=KEYS[2]) as last:
        assert last.ring.lasting == lasting and last.ring.current.number == 3
        assert await last.pool.fetchval("SELECT count(*) FROM cards WHERE fingerprint_even IS NOT NULL") == 0


async def test_a_rotation_while_two_processes_serve(database: str):
    """Old and new numbers are kept, tokens read and cards opened all the time; each number ends with one record.

    The processes notice the new key as they do in service, and nothing they hold stops opening.
    """
    async with (
        process(database, 1, next=KEYS[1]) as left, process(database, 2, next=KEYS[1]) as right,
        process(database, 3, next=KEYS[1]) as operator,
    ):
        stored, records, stop = await filled(left, 300), {}, asyncio.Event()

        async def serve(running: Process, start: int) -> int:
            n = start
            while not stop.is_set():
                merchant_id, pan = 1 + n % 2, number(n % 900)
                card = await running.vault.keep(merchant_id, pan)
                assert running.vault.reveal(card) == pan
                assert records.setdefault((merchant_id, pan), card.card_id) == card.card_id
                token = await running.vault.token(1 + n % 300 % 2, f"T{n % 300}", fresh=n % 3 == 0)
                assert token is not None and running.vault.reveal(token.card) == number(n % 300)
                n += 7
            return n - start

        async def hold(running: Process, name: str) -> None:
            while not stop.is_set():
                async with running.pool.acquire() as connection:
                    await running.ring.notice(connection, name)
                    await cards.note_first_references(connection, [(1, stored[0].card_id, "NTI1")])

        serving = [asyncio.ensure_future(serve(running, start)) for running in (left, right) for start in range(4)]
        serving += [asyncio.ensure_future(hold(left, "left")), asyncio.ensure_future(hold(right, "right"))]
        try:
            done = await rotate(operator.pool, operator.ring._source, chunk=10)
        finally:
            stop.set()
            served = await asyncio.gather(*serving)
        assert done.cards >= 300 and all(served[:8])
        assert left.ring.in_force == right.ring.in_force == vault_keys.InForce(2, None)
        assert all(left.vault.reveal(card) == number(n) for n, card in enumerate(stored)), "what was read before still opens"
        async with process(database, 4, key=KEYS[1]) as fresh:
            for (merchant_id, pan), card_id in records.items():
                card = await fresh.vault.keep(merchant_id, pan)
                assert card.card_id == card_id and fresh.vault.reveal(card) == pan
            assert await fresh.pool.fetchval("SELECT count(*) FROM cards WHERE key_id = 1 OR fingerprint_odd IS NOT NULL") == 0


STEPS = {"before anything is re-wrapped": ("re-wrapping", 0), "in the middle": ("re-wrapping", 21), "when all is re-wrapped": ("re-wrapping", 60),
         "after the switch": ("clearing", 0)}


@pytest.mark.parametrize("moment", STEPS)
async def test_a_rotation_that_was_killed_is_finished_by_the_next(database: str, moment: str):
    """Killed at any step: both processes with both keys still serve, new numbers get one record, and the next run finishes."""
    step, reached = STEPS[moment]

    def kill(progress: Progress) -> None:
        if progress.step == step and progress.done >= reached:
            raise Killed

    async with process(database) as one:
        stored = await filled(one)
    async with process(database, 2, next=KEYS[1]) as operator:
        with pytest.raises(Killed):
            await rotate(operator.pool, operator.ring._source, progress=kill, chunk=7)
    async with process(database, 3, next=KEYS[1]) as serving:
        assert [await serving.vault.keep(card.merchant_id, number(n)) for n, card in enumerate(stored)]
        stored.append(await serving.vault.keep(1, number(60)))
        async with serving.pool.acquire() as connection:
            await cards.insert_tokens(connection, [(1, "T60", stored[-1].card_id, "2912", "")], NOW)
        done = await rotate(serving.pool, serving.ring._source, chunk=7)
        assert done.resumed and done.key_id == 2
    await everything_holds(database, KEYS[1], stored)


async def test_a_rotation_whose_connection_breaks_goes_on_later(database: str):
    """A chunk that did not commit left nothing behind."""
    async with process(database) as one:
        stored = await filled(one)
    async with process(database, 2, next=KEYS[1]) as operator, process(database, 3, next=KEYS[1]) as other:
        async with other.pool.acquire() as admin, admin.transaction():
            await admin.execute("LOCK TABLE cards IN SHARE MODE")           # rows can be held, not changed
            rotating = asyncio.ensure_future(rotate(operator.pool, operator.ring._source, chunk=7))
            while not (pids := await admin.fetch(WAITING)):
                await admin.execute("SELECT pg_stat_clear_snapshot()")
            await admin.fetchval("SELECT pg_terminate_backend($1)", pids[0][0])
            with pytest.raises(DatabaseUnavailable):
                await rotating
        assert await other.pool.fetchval("SELECT count(*) FROM cards WHERE key_id = 1") == 60
        assert (await rotate(other.pool, other.ring._source, chunk=7)).resumed
    await everything_holds(database, KEYS[1], stored)


async def test_nothing_is_sealed_under_a_key_that_a_running_process_lacks(database: str):
    """The rotation names that process and changes nothing; later, when all have the key, it goes through."""
    async with process(database, 1) as behind, process(database, 2, next=KEYS[1]) as operator:
        stored = await filled(behind)
        async with behind.pool.acquire() as connection:
            await behind.ring.notice(connection, "worker 1")
        with pytest.raises(RotationRefused, match="worker 1"):
            await rotate(operator.pool, operator.ring._source, patience=0)
        assert behind.ring.in_force == (1, None) and await operator.pool.fetchval("SELECT next_key FROM vault_state") is None
        assert await operator.pool.fetchval("SELECT count(*) FROM cards WHERE key_id <> 1") == 0
        await behind.pool.execute("DELETE FROM vault_holders")
        assert (await rotate(operator.pool, operator.ring._source)).key_id == 2
    await everything_holds(database, KEYS[1], stored)


async def test_a_key_given_up_takes_no_part_in_a_later_rotation(database: str):
    """A rotation refused with one next key, then done with another: the numbers keep their turns, odd and even."""
    async with process(database, 1) as behind:
        stored = await filled(behind)
        async with behind.pool.acquire() as connection:
            await behind.ring.notice(connection, "worker 1")
        async with process(database, 2, next=KEYS[1]) as operator:
            with pytest.raises(RotationRefused, match="worker 1"):
                await rotate(operator.pool, operator.ring._source, patience=0)
        await behind.pool.execute("DELETE FROM vault_holders")
    async with process(database, 3, next=KEYS[2]) as operator:
        assert (await rotate(operator.pool, operator.ring._source)).key_id == 4
    await everything_holds(database, KEYS[2], stored)


async def test_what_cannot_be_rotated_to_is_refused(database: str):
    """No next key, a former key, or a second rotation at the same time: a sentence each, and nothing changed."""
    async with process(database) as one:
        await filled(one, 2)
        with pytest.raises(RotationRefused, match="RINGFENCE_MASTER_KEY_NEXT"):
            await rotate(one.pool, one.ring._source)
    async with process(database, next=KEYS[1]) as operator:
        running = await operator.pool.acquire()
        await running.fetchval("SELECT pg_advisory_lock($1, $2)", *rotation.ROTATION)
        with pytest.raises(RotationRefused, match="Another rotation"):
            await rotate(operator.pool, operator.ring._source)
        await operator.pool.release(running)
        await rotate(operator.pool, operator.ring._source)
    async with process(database, key=KEYS[1], next=KEYS[0]) as back:
        with pytest.raises(RotationRefused, match="was key 1 before"):
            await rotate(back.pool, back.ring._source)


async def test_the_sandbox_makes_its_next_key_and_replaces_its_file(database: str, tmp_path: Path):
    """rotate alone is enough: afterwards keys/master is the new key, and a running process has noticed."""
    source = KeySource({}, tmp_path)
    async with process(database, source=source) as one:
        card = await one.vault.keep(1, PAN)
        before = (tmp_path / "keys" / "master").read_text()
        done = await rotate(one.pool, KeySource({}, tmp_path))
        assert (done.key_id, done.cards) == (2, 1)
        assert (tmp_path / "keys" / "master").read_text() != before and not (tmp_path / "keys" / "master.next").exists()
        again = await one.vault.keep(1, PAN)
        assert again.card_id == card.card_id and one.vault.reveal(again) == PAN == one.vault.reveal(card)
        assert one.ring.current.number == 2
    async with process(database, source=KeySource({}, tmp_path)) as restarted:
        assert (await restarted.vault.keep(1, PAN)).card_id == card.card_id


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
