"""``kill -9`` while Amazon charges, captures and refunds: nothing is charged twice, and everything ends.

Workers pay through the engine at the simulated site, over HTTP; two at a time, and both are killed again and again.  Whoever starts next ends what they
left.  At the end our ledger and the site's book must agree, payment by payment.
"""
from __future__ import annotations

import asyncio
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.applications import Starlette

from ringfence.amazon_site import site
from ringfence.amazon_site.book import Book, Change
from ringfence.amazon_site.limits import refunded
from ringfence.amazon_site.objects import Charge
from ringfence.amazon_site.reading import standing
from ringfence.background import abandoned
from ringfence.core.proof import Balance
from ringfence.engine.proof import prove
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.connections import Connections
from ringfence.processors.amazon_pay.wallet import Absent, Wallet
from tests.amazon_site.site_asking import KEY, PEM, STORE, Browser, Shop
from tests.engine import composition
from tests.engine.composition import process, shop
from tests.engine.recovering import end_doubts, lapse, next_due, reverse_due
from tests.faults.amazon_worker import TOGETHER, Orders, Passing, account_at, with_amazon
from tests.processors.conformance.amazon import served

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]      # less than a minute alone; a crowded machine must not fail it

ROUNDS, WORKERS, SESSIONS = 3, 2, 6
ANSWERS = (30, 70)
"""So many answers a worker gives before it dies: between these."""
ROOT = Path(__file__).parents[2]


async def _killed(orders: Orders, path: Path, chance: random.Random) -> Counter[str]:
    """A worker that is killed in the middle of its work; what it answered until then."""
    path.write_bytes(msgspec.json.encode(orders))
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.amazon_worker", str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    answers: Counter[str] = Counter()
    try:
        async with asyncio.timeout(240):
            for _ in range(chance.randint(*ANSWERS)):
                line = (await worker.stdout.readline()).decode().strip()
                assert line, "the worker died by itself"
                answers[line] += 1
        await asyncio.sleep(chance.uniform(0, 0.03))        # anywhere between two answers
    finally:
        if worker.returncode is None:
            worker.kill()
        await worker.wait()
    return answers


def _charges(folder: Path) -> list[tuple[Charge, int]]:
    """Every charge at the site, with what was given back of it."""
    book = Book(folder, 0)

    def read(change: Change) -> list[tuple[Charge, int]]:
        return [(one, refunded(change, one, decided=True)) for permission in change.all_permissions() for one in change.charges_of(permission.id)]

    try:
        return book.work_here(read)
    finally:
        book.close()


async def test_nothing_is_charged_twice_when_workers_are_killed(database: str, tmp_path: Path):
    """Six kills; each hits payments in flight."""
    chance, now, folder = random.Random(7), Passing(), tmp_path / "site"

    async def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
        return 200

    on = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{on.getsockname()[1]}"
    amazon = site(folder, now, base_url=base, post=post)
    await amazon.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE)
    key_file = tmp_path / "amazon.pem"
    key_file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    app, account = Starlette(routes=amazon.routes), account_at(base, key_file)
    client, buttons = Client(Connections()), Shop(app, time.time)
    wallet = Wallet(client, {"CycHZxVj": account}.get)

    async def agreed() -> str:
        session = await Browser(app).approve(buttons.button(buttons.recurring("9.00")))
        found = await wallet.agree("CycHZxVj", session, 900, "USD", datetime.now(UTC) + timedelta(seconds=20))
        assert not isinstance(found, Absent)
        return found.permission_id

    async with served(app, on), process(database, 1, now=now, recovers=True) as one:
        await shop(one)
        permissions = [await agreed() for _ in range(4)]
        lost, answers = 0, Counter[str]()
        for round_ in range(ROUNDS):
            orders = [Orders(
                database, composition.MASTER_KEY, 10 + WORKERS * round_ + number, "CycHZxVj", base, str(key_file), permissions,
                [await Browser(app).approve(buttons.button(buttons.payload("9.00", "Authorize"))) for _ in range(SESSIONS)],
                chance.randrange(2**32)) for number in range(WORKERS)]
            for said in await asyncio.gather(*(_killed(each, tmp_path / f"{each.place}.json", chance) for each in orders)):
                answers += said
            lost = max(lost, await one.value(_OPEN))
        assert lost >= TOGETHER, "no kill hit what was in flight"
        assert {"authorization Approved", "purchase Approved", "capture Approved", "void Approved", "refund Unknown"} <= answers.keys(), answers

        # what time does: leases and deadlines of the dead run out, and everything is asked about until it ends
        last = with_amazon(one, "CycHZxVj", account)
        await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE ask_deadline > now() - interval '1 minute'")
        await one.value("DELETE FROM sweeps")
        await abandoned.sweep(one.pool, one.directory, one.engine)
        await lapse(one)
        await end_doubts(one)
        await reverse_due(one)
        assert await one.value(_OPEN) == 0 and await next_due(one) is None
        assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'reversal'") == 0

        # the witness
        charges = _charges(folder)
        named = Counter(charge.given.get("merchantMetadata", {}).get("merchantReferenceId") for charge, _ in charges if charge.state == "Captured")
        assert max((count for name, count in named.items() if name and name != "order-7"), default=0) <= 1, "charged twice"
        payment_of = {row[0]: row[1] for row in await one.fetch("SELECT charge_id, payment_id FROM amazon_objects WHERE charge_id <> ''")}
        theirs: Counter[int] = Counter()
        held: set[int] = set()
        for charge, back in charges:
            if charge.state == "Captured":
                theirs[payment_of[charge.id]] += charge.amount_captured - back
            elif charge.is_open:
                held.add(payment_of[charge.id])
        rows = await one.fetch("SELECT payment_id, captured - refunded AS net, authorized - captured - voided - unsecured AS open FROM payments")
        assert {row["payment_id"]: row["net"] for row in rows if row["net"]} == {payment: net for payment, net in theirs.items() if net}
        assert {row["payment_id"] for row in rows if row["open"] > 0} == held

        async def balances() -> dict[tuple[str, str], Balance]:
            stands = standing(folder).values()
            return {("CycHZxVj", "USD"): Balance(sum(each.captured for each in stands), sum(each.returned for each in stands))}

        proof = await prove(one.pool, chain_key=one.chain_key, full=True, balances={"amazon_pay": balances})
        assert proof.ok, proof.as_json()
        await last.close()
        await client.close()
    amazon.close()


_OPEN = """
    SELECT count(*) FROM operations o WHERE NOT EXISTS (
        SELECT FROM outcomes x WHERE x.merchant_id = o.merchant_id AND x.payment_id = o.payment_id AND x.operation_id = o.operation_id
            AND x.result NOT IN ('unknown', 'challenge'))
"""
"""Operations that have not ended."""
