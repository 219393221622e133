"""Tokens in the making on a real server: one for a card whoever comes at once, also while the vault's keys rotate."""
from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ringfence.engine.rotation import rotate
from ringfence.engine.token_making import attempt_of
from ringfence.engine.vault import AlreadyUsed, CardErased, Flow, NameTaken, Tokenized
from tests.engine.composition import CARD, Shop, shop
from tests.engine.composition import process as whole_process
from tests.engine.vaults import KEYS, NOW, PAN, Process, number, process

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


async def tokenized(one: Process, n: int, name: str | None = None, *, flow: Flow | None = None, unique: bool = True) -> Tokenized:
    card = await one.vault.keep(1, number(n))
    made = await one.vault.tokenize(1, card, name=name, expiry="2912", holder="", unique=unique, flow=flow)
    assert isinstance(made, Tokenized), made
    return made


async def test_one_token_for_a_card_while_keys_rotate_and_two_processes_serve(database: str):
    """Numbers old and new, with and without names, all the time: each card was new once, and has one token at the end."""
    async with (
        process(database, 1, next=KEYS[1]) as left, process(database, 2, next=KEYS[1]) as right,
        process(database, 3, next=KEYS[1]) as operator,
    ):
        for n in range(60):
            await left.vault.keep(1, number(n))
        stop, told = asyncio.Event(), []

        async def serve(running: Process, start: int) -> None:
            n = start
            while not stop.is_set():
                at = n % 120
                flow = None if n % 2 else Flow(f"ORD-{start}-{n}", start * 1_000_000 + n, 3_600)
                told.append((at, await tokenized(running, at, f"wish-{start}-{n}" if n % 3 else None, flow=flow)))
                n += 1

        async def hold(running: Process, name: str) -> None:
            while not stop.is_set():
                async with running.pool.acquire() as connection:
                    await running.ring.notice(connection, name)

        serving = [asyncio.ensure_future(serve(running, start)) for start, running in enumerate((left, right, left, right))]
        serving += [asyncio.ensure_future(hold(left, "left")), asyncio.ensure_future(hold(right, "right"))]
        try:
            done = await rotate(operator.pool, operator.ring._source, chunk=3)
            while len({at for at, _ in told}) < 120:
                await asyncio.sleep(0)
        finally:
            stop.set()
            await asyncio.gather(*serving)
        assert done.cards >= 60
        assert Counter(at for at, made in told if made.created) == Counter(range(120)), "18000 once for each card"
        names = {at: {made.token.name for each, made in told if each == at} for at in range(120)}
        assert all(len(each) == 1 for each in names.values())
        assert await left.pool.fetchval("SELECT count(*) FROM tokens") == 120 == await left.pool.fetchval("SELECT count(*) FROM cards")


async def test_two_merchants_have_each_their_own_token_of_a_card(one: Process):
    cards = [await one.vault.keep(merchant_id, PAN) for merchant_id in (1, 2)]
    made = [await one.vault.tokenize(card.merchant_id, card, name="T", expiry="2912", holder="", unique=True) for card in cards]
    assert [isinstance(each, Tokenized) and each.created for each in made] == [True, True]


async def test_without_the_setting_a_card_may_have_many(one: Process):
    made = [await tokenized(one, 1, unique=False) for _ in range(3)]
    assert [each.created for each in made] == [True] * 3 and len({each.token.name for each in made}) == 3


async def test_a_name_moves_to_another_card_while_that_card_is_met(database: str):
    """Somebody gives the card's token another card in the moment in which the card is presented: nobody ends with two or none."""
    async with process(database, 1) as left, process(database, 2) as right:
        for turn in range(20):
            first = await tokenized(left, 1)
            _, *presented = await asyncio.gather(
                tokenized(left, 2, first.token.name, flow=Flow(f"A-{turn}", turn, 3_600)),
                *(tokenized(right, 1, flow=Flow(f"B-{turn}-{n}", 1_000 + 10 * turn + n, 3_600)) for n in range(3)))
            active = await left.pool.fetch("SELECT card_id, count(*) FROM tokens WHERE active GROUP BY card_id")
            came_before = all(each.token.name == first.token.name for each in presented)       # then that was the card's token, and went
            assert {row[1] for row in active} == {1} and len(active) == (1 if came_before else 2)
            await left.pool.execute("DELETE FROM tokens")
            for vault in (left.vault, right.vault):
                vault._tokens.clear()


async def test_an_erased_card_gets_no_token_and_the_reference_is_free(one: Process):
    card = await one.vault.keep(1, PAN)
    await one.pool.execute("UPDATE cards SET fingerprint_odd = NULL, key_id = NULL, wrapped_key = NULL, ciphertext = NULL, erased_at = now()")
    once = ("aps", "CREATE_TOKEN", "R")
    assert await one.vault.tokenize(1, card, name="T", expiry="2912", holder="", once=once) == CardErased(card.card_id)
    fresh = await one.vault.keep(1, PAN)
    assert isinstance(await one.vault.tokenize(1, fresh, name="T", expiry="2912", holder="", once=once), Tokenized)
    assert await one.vault.tokenize(1, fresh, name="U", expiry="2912", holder="", once=once) == AlreadyUsed("R")
    assert await one.vault.tokenize(1, fresh, name="T", expiry="2912", holder="") == NameTaken("T")


async def test_what_a_tokenization_leaves_is_found_by_reference_and_token(one: Process):
    """And by the reference alone, the latest: where a browser returns after a challenge."""
    token = (await tokenized(one, 1, flow=Flow("ORD-1", 17, 3_600, code_waits=True, return_url="https://shop.example/1"))).token
    other = (await tokenized(one, 2, flow=Flow("ORD-1", 18, 3_600, remembers=False, return_url="https://shop.example/2"))).token
    left = await one.vault.tokenization(1, "ORD-1", token.name)
    assert left is not None and (left.code_waits, left.remembers, left.return_url, attempt_of(left.tokenization_id)) == (
        True, True, "https://shop.example/1", "tokenization:17")
    latest = await one.vault.tokenization(1, "ORD-1")
    assert latest is not None and (latest.token_name, latest.return_url) == (other.name, "https://shop.example/2")
    assert await one.vault.tokenization(1, "ORD-2") is None and await one.vault.tokenization(2, "ORD-1") is None
    assert token.temporary and token.in_flow
    assert await one.vault.tokens(1, since=NOW, until=NOW + timedelta(days=1)) == []


@pytest.fixture(scope="module")
def served(module_database: str) -> Iterator[tuple[asyncio.Runner, Process]]:
    """One process for all examples, and where it runs."""
    with asyncio.Runner() as runner:
        opened = process(module_database)
        try:
            yield runner, runner.run(opened.__aenter__())
        finally:
            runner.run(opened.__aexit__(None, None, None))


@settings(max_examples=40)
@given(some.lists(some.tuples(some.integers(1, 3), some.sampled_from([None, "A", "B", "C"]), some.booleans(), some.booleans()), max_size=12))
def test_whatever_is_presented_a_card_has_one_token(served: tuple[asyncio.Runner, Process], asked: list[tuple[int, str | None, bool, bool]]):
    """Cards under names and without, in flows and not, some switched off between: at most one active token for each card, and what is
    answered is it."""
    runner, one = served

    async def play() -> None:
        await one.pool.execute("TRUNCATE tokens, tokenizations")
        for step, (n, name, in_flow, is_off) in enumerate(asked):
            card = await one.vault.keep(1, number(n))
            flow = Flow(f"ORD-{step}", step, 3_600) if in_flow else None
            made = await one.vault.tokenize(1, card, name=name, expiry="2912", holder="", unique=True, flow=flow)
            active = dict(await one.pool.fetch("SELECT token_name, card_id FROM tokens WHERE active"))
            assert len(set(active.values())) == len(active)
            if isinstance(made, Tokenized):
                assert active[made.token.name] == card.card_id and made.token.active
                if is_off:
                    await one.vault.update_token(1, made.token.name, active=False, unique=True)
            else:
                assert isinstance(made, NameTaken) and name
    runner.run(play())


async def test_of_twenty_payments_that_name_one_token_one_has_it(database: str):
    """Each with a card of its own, in two processes, in few batches: the others' answers name no token."""
    async with whole_process(database, 1) as left, whole_process(database, 2) as right:
        right.engine._processors = left.engine._processors
        here = await shop(left)
        await right.directory.refresh()
        shops: list[Shop] = [here, here.at(right)]
        answers = await asyncio.gather(*(
            shops[n % 2].purchase(f"ORD-{n}", **{**CARD, "card_number": number(n).reveal(), "remember_me": "YES"}, token_name="wish")
            for n in range(20)))
        assert {answer["response_code"] for answer in answers} == {"14000"}
        [winner] = [answer for answer in answers if answer.get("token_name") == "wish"]
        assert all("token_name" not in answer for answer in answers if answer is not winner)
        [row] = await left.fetch("SELECT c.last4 FROM tokens t JOIN cards c USING (merchant_id, card_id)")
        assert winner["card_number"].endswith(row[0])
        assert await left.value("SELECT count(*) FROM operations WHERE token_name IS NOT NULL") == 1
        await left.prove()
