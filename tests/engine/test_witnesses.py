"""P9 with wallets and the mock method: their own books against ours, with payments in them."""
from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ringfence.amazon_site.reading import standing
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.core.proof import Balance
from ringfence.engine.intents import Intent
from ringfence.engine.proof import Proof, prove
from ringfence.processors.mock import Mock
from tests.engine.composition import Process, Shop
from tests.engine.recovering import end_doubts, next_due, recovers, try_due
from tests.engine.test_amazon_pay import Amazon
from tests.processors.amazon_pay.bench import world

pytestmark = pytest.mark.anyio
A, P, C, V, R = Kind.AUTHORIZATION, Kind.PURCHASE, Kind.CAPTURE, Kind.VOID, Kind.REFUND


def failed(proof: Proof) -> set[str]:
    """Names of the checks that failed anywhere."""
    return {name for book in proof.books for name, check in book.checks.items() if not check.ok}


async def test_the_mock_methods_book_agrees_by_day_and_kind(one: Process, here: Shop, tmp_path: Path):
    """Approved, declined, late, and given back; and a change in its book is found."""
    mock = Mock(tmp_path)
    one.engine._processors = {mock.name: mock}
    recovers(one)._processors = one.engine._processors
    payment = 0

    async def do(kind: Kind, minor: int, account: str = "") -> Any:
        nonlocal payment
        number = one.new_id()
        payment = number if kind in (A, P) else payment
        return (await one.engine.execute(Intent(
            here.account.merchant_id, here.identifier, payment, Command(kind, minor, "USD", number), "ppro", "test", "test", b"content",
            reference=f"M-{number}" if payment == number else None, processor=mock.name, account=account))).outcome

    async def proved() -> Proof:
        return await prove(one.pool, chain_key=one.chain_key, full=True, books={mock.name: mock.totals})

    assert isinstance(await do(A, 1000), Approved)
    assert isinstance(await do(C, 600), Approved)
    assert isinstance(await do(R, 100), Approved)
    assert isinstance(await do(V, 400), Approved)
    assert isinstance(await do(P, 300_002), Declined)
    assert await do(P, 700, "providerConfirmation=true;providerConfirmationDelay=30s") == Unknown(Silence.PENDING, within=30.0)
    proof = await proved()
    assert proof.ok and not any(book.checks["P9"].note for book in proof.books), "it may have approved what is pending here"
    await end_doubts(one)
    assert await next_due(one) is None
    assert (await proved()).ok
    for change, kept in (("minor = minor + 1", "minor = minor - 1"), ("result = '05'", "result = '00'")):
        for statement, expected in ((change, {"P9"}), (kept, set())):
            with closing(sqlite3.connect(tmp_path / "mock.sqlite", isolation_level=None)) as book:
                book.execute(f"UPDATE said SET {statement} WHERE kind = 'capture'")
            assert failed(await proved()) == expected


async def test_the_sites_balance_agrees_at_every_step(one: Process, here: Shop, tmp_path: Path):
    """Captured in two charges, refunded over both, a purchase undone by giving it back; and money that nobody here knows of is found."""
    async with world(tmp_path) as around:
        amazon = Amazon(one, here, around)

        async def kept(more: int = 0) -> dict[tuple[str, str], Balance]:
            stands = standing(tmp_path / "amazon").values()
            return {(here.identifier, "USD"): Balance(sum(each.captured for each in stands) + more, sum(each.returned for each in stands))}

        async def proved(told: Callable[[], Any] = kept) -> Proof:
            return await prove(one.pool, chain_key=one.chain_key, full=True, balances={"amazon_pay": told})

        assert isinstance(await amazon.begun(), Approved)
        for kind, minor in ((C, 3000), (C, 2000)):
            assert isinstance((await amazon.do(kind, minor)).outcome, Approved)
            proof = await proved()
            assert proof.ok and not any(book.checks["P9"].note for book in proof.books)
        assert (await amazon.do(R, 4500)).outcome == Unknown(Silence.PENDING)
        assert (await proved()).ok
        await around.on(minutes=2)
        assert (await proved()).ok, "given back there, and not known here yet"
        await amazon.later(minutes=2)
        assert await try_due(one) == 1
        assert (await proved()).ok

        async def one_more() -> Any:
            return await kept(1)

        async def one_less() -> Any:
            return await kept(-1)

        async def nothing() -> Any:
            return {}

        for wrong in (one_more, one_less, nothing):
            proof = await proved(wrong)
            assert failed(proof) == {"P9"}
            [difference] = [example for book in proof.books for example in book.checks["P9"].examples]
            assert (difference["processor"], difference["ours"]) == ("amazon_pay", {"captured": 5000, "refunded": 4500})
