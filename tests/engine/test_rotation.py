"""Rotation of the vault's master key on a real server, while processes keep and open cards."""
from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringfence.core.dispute import Dispute
from ringfence.engine import evidence, keys, rotation
from ringfence.engine.key_sources import KeySource
from ringfence.engine.keys import open_text, seal_text
from ringfence.engine.rotation import Progress, RotationRefused, rotate
from ringfence.engine.vault import StoredCard
from ringfence.storage import cards, disputes, instruments, vault_keys
from ringfence.storage.database import DatabaseUnavailable
from ringfence.storage.disputes import CaseRow, FileRow
from tests.engine.vaults import KEYS, NOW, PAN, WAITING, Process, number, process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


CASE = CaseRow(1, 16, 15, 15, "simulator", "C-1", "AED", "aps", "ORD-1", "fraud_card_absent", "10.4", "", Dispute(1000), "", NOW, NOW)


class Killed(BaseException):
    """The rotating process died here."""


async def filled(one: Process, count: int = 60) -> list[StoredCard]:
    """Cards of two merchants with tokens T0…, and what else is sealed: a credential's phrase, an instrument, a file of a dispute."""
    stored = await asyncio.gather(*(one.vault.keep(1 + n % 2, number(n)) for n in range(count)))
    async with one.pool.acquire() as connection:
        await cards.insert_tokens(connection, [(card.merchant_id, f"T{n}", card.card_id, "2912", "") for n, card in enumerate(stored)], NOW)
        await connection.execute(
            "INSERT INTO credentials (merchant_id, door, public_name, sealed, algorithm, created_at) VALUES (1, 'aps', 'AC', $1, 'SHA-256', now())",
            seal_text(one.ring, "credential", 1, "PASS"),
        )
        await instruments.keep(connection, 1, 17, "BANK_ACCOUNT", seal_text(one.ring, "instrument", 1, "IBAN"), NOW)
        file = FileRow(18, "receipt.pdf", "application/pdf", 5, "chargeback", "merchant", False, NOW)
        await disputes.attach(connection, CASE, file, evidence.sealed(one.ring, 1, 18, b"%PDF-"))
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
        kept = await instruments.find(fresh.pool, 1, 17)
        assert kept is not None and open_text(fresh.ring, "instrument", 1, kept[1]) == "IBAN"
        async with fresh.pool.acquire() as connection:
            assert await evidence.find(connection, fresh.ring, 1, CASE.dispute_id, 18) == ("receipt.pdf", "application/pdf", b"%PDF-")


async def test_a_rotation_leaves_every_card_under_the_new_key(database: str):
    """Two rotations after each other: odd to even and back; chain and content keys stay; the old key no longer starts."""
    async with process(database) as one:
        stored, lasting = await filled(one), one.ring.lasting
    for old, new in itertools.pairwise(KEYS[:3]):
        seen: list[Progress] = []
        async with process(database, 2, key=old, next=new) as operator:
            done = await rotate(operator.pool, operator.ring._source, progress=seen.append, chunk=7)
            assert (done.cards, done.texts, done.resumed) == (60, 3, False)
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
