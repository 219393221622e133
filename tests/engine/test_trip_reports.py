"""Reports of trips: every end has its name, and the sums are the ledger's."""
from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest

from ringfence.api.trip_reports import COLUMNS, as_csv, as_json
from ringfence.core.card import Pan
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine.trip_reports import AMOUNTS, Ended, Span, Sums, TripLine, lines
from ringfence.engine.trips import Trip
from tests.engine.composition import NOW, Process, Shop
from tests.engine.stores import Store
from tests.engine.test_receipts import REFUND, Till

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)

LEDGER = """
SELECT k.debit, k.credit, t.currency, sum(t.minor)::bigint AS minor
FROM transfers t JOIN transfer_kinds k USING (kind) JOIN trip_payments o USING (merchant_id, payment_id)
WHERE t.merchant_id = $1 GROUP BY 1, 2, 3
"""


@pytest.fixture
async def till(here: Shop, one: Process) -> Till:
    return Till(await Store(here).built(), one, here)


async def found(till: Till, since=NOW - DAY, until=NOW + 10 * DAY, store: str = "") -> list[TripLine]:
    return [line async for line in lines(till.one.pool, Span(till.store.merchant_id, since, until, store), till.one.now())]


async def of(till: Till, trip: Trip) -> TripLine:
    return next(line for line in await found(till) if line.trip == trip.name)


async def balances(till: Till) -> dict[tuple[str, str], int]:
    """Debits less credits of the trips' payments, by account and currency."""
    sums: dict[tuple[str, str], int] = {}
    for row in await till.one.pool.fetch(LEDGER, till.store.merchant_id):
        for account, minor in ((row["debit"], row["minor"]), (row["credit"], -row["minor"])):
            sums[account, row["currency"]] = sums.get((account, row["currency"]), 0) + minor
    return sums


async def scene(till: Till) -> dict[str, Trip]:
    """A trip of every end."""
    store = till.store
    trips = {name: await till.charged(1500) for name in ("charged", "refunded")}
    await store.refund(trips["refunded"], 400, REFUND)
    trips["cancelled"] = await store.enter()
    await store.cancel(trips["cancelled"])
    till.one.processor.say(Declined("51"))
    await store.come(name="refused")
    trips["charging"] = await store.enter()
    till.one.processor.say(Unknown(Silence.NO_ANSWER))
    await store.capture(trips["charging"], 700)
    trips["part"] = await store.enter()
    till.one.processor.say(Declined("51"))
    await store.adjust(trips["part"], 6410)
    await store.capture(trips["part"], 2000)
    trips["open"] = await store.enter()
    trips["raised"] = await store.enter()
    await store.adjust(trips["raised"], 2500)
    return trips


async def test_every_end_has_its_name(till: Till):
    trips = await scene(till)
    states = {line.trip: line.state for line in await found(till)}
    assert {name: states[trip.name] for name, trip in trips.items()} == {
        "charged": Ended.CHARGED, "refunded": Ended.CHARGED, "cancelled": Ended.CANCELLED, "charging": Ended.CHARGING, "part": Ended.CHARGED,
        "open": Ended.UNCHARGED, "raised": Ended.UNCHARGED}
    assert states["refused"] == Ended.REFUSED
    till.one.now.now = trips["open"].expires_at
    assert (await of(till, trips["open"])).state is Ended.EXPIRED and (await of(till, trips["charged"])).state is Ended.CHARGED


@pytest.mark.parametrize(("refused", "state"), [
    ("waiting", Ended.UNCHARGED), ("entering", Ended.UNCHARGED), ("debt", Ended.REFUSED), ("too_little", Ended.REFUSED), ("unknown", Ended.REFUSED)])
async def test_a_gate_that_stayed_shut_and_one_that_nobody_came_to(till: Till, refused: str, state: Ended):
    trip = await till.store.enter()
    await till.one.pool.execute(
        "UPDATE trips SET refused = $3 WHERE merchant_id = $1 AND number = $2", trip.merchant_id, trip.number, refused)
    assert (await of(till, trip)).state is state


async def test_the_sums_are_the_ledger_s(till: Till):
    """Held, charged and returned, to the minor unit."""
    await scene(till)
    sums = Sums()
    for line in await found(till):
        sums.add(line)
    ledger, total = await balances(till), sums.amounts["USD"]
    assert total["held"] == -ledger["hold.promised", "USD"] == 7 * 2000 + 500
    assert total["charged"] == ledger["hold.captured", "USD"] == 5000
    assert total["charged"] - total["refunded"] == ledger["processor.receivable", "USD"] == 4600
    assert sums.states["USD"] == {
        Ended.CHARGED: 3, Ended.CHARGING: 1, Ended.UNCHARGED: 2, Ended.CANCELLED: 1, Ended.EXPIRED: 0, Ended.REFUSED: 1}
    await till.one.prove()


async def test_debts_and_recoveries_are_the_ledger_s(till: Till):
    """Of a trip charged in part, of one that was not charged at all, and of one that was paid later and forgiven in part."""
    part, none, paid = [await till.store.enter() for _ in range(3)]
    for trip in (part, none, paid):
        till.one.processor.say(Declined("51"))
        await till.store.adjust(trip, 6410)
    await till.store.capture(part, 2000)
    await till.store.cancel(none)
    await till.store.capture(paid, 2000)
    for trip in (part, none, paid):
        await till.owe(trip, 6410)
    till.one.now.now += timedelta(hours=1)
    await till.owe(paid, 6410, 4000)
    await till.debts.forgive(till.here.account.merchant_id, paid.payment_id, 410, "somebody", "a gift")
    sums = Sums()
    for line in await found(till):
        sums.add(line)
    ledger, total = await balances(till), sums.amounts["USD"]
    assert (total["total"], total["charged"], total["debt"]) == (3 * 6410, 4000, 4410 + 6410 + 4410)
    assert total["debt"] == -ledger["debt.incurred", "USD"] and total["owed"] == ledger["debt.owed", "USD"]
    assert total["recovered"] == ledger["debt.recovered", "USD"] == 2000 and total["forgiven"] == ledger["debt.forgiven", "USD"] == 410
    assert total["total"] == total["charged"] + total["debt"]
    assert (await of(till, none)).state is Ended.CANCELLED and (await of(till, none)).strategy == "retailer"
    await till.one.prove()


async def test_what_is_reconciled_by_is_what_receipts_say(till: Till):
    trip = await till.charged(1500)
    line, given = await of(till, trip), await till.store.trips.receipt_data(await till.store.find(trip))
    assert (line.reconciliation_id, line.statement_id, line.payment) == (given.reconciliation_id, given.card_statement_id, str(trip.payment_id))
    assert (line.tail, line.brand) == (trip.read.tail, "VISA") and line.charged_at == NOW


async def test_only_what_began_in_the_interval_and_in_the_store(till: Till):
    first = await till.charged(1500)
    till.one.now.now += DAY
    second = await till.charged(700, pan=Pan("5555009900000000"))
    assert [line.trip for line in await found(till)] == [first.name, second.name]
    assert [line.trip for line in await found(till, until=NOW + DAY)] == [first.name]
    assert [line.trip for line in await found(till, since=NOW + DAY)] == [second.name]
    assert [line.trip for line in await found(till, store="STORE-1")] == [first.name, second.name]
    assert await found(till, store="STORE-2") == [] == await found(till, since=NOW, until=NOW)


async def parts(stream) -> bytes:
    return b"".join([part async for part in stream])


async def test_as_csv(till: Till):
    """Every trip, then a sum for each currency; amounts with their decimals."""
    await scene(till)
    await till.store.built(currency="JPY")
    yen = await till.store.enter()
    assert await till.store.trips.capture(yen, 1500, "JPY", "test") is None
    text = (await parts(as_csv(lines(till.one.pool, Span(till.store.merchant_id, NOW - DAY, NOW + DAY), NOW)))).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    trips, totals = [row for row in rows if row["row"] == "trip"], [row for row in rows if row["row"] == "total"]
    assert len(trips) == 9 and [row["currency"] for row in totals] == ["JPY", "USD"]
    assert [(row["held"], row["charged"]) for row in totals] == [("2000", "1500"), ("145.00", "50.00")]
    for total in totals:
        cents = {name: sum(int(row[name].replace(".", "")) for row in trips if row["currency"] == total["currency"]) for name in AMOUNTS}
        assert {name: int(total[name].replace(".", "")) for name in AMOUNTS} == cents


async def test_a_spreadsheet_computes_nothing(till: Till):
    await till.charged(1500, name="-1-2")
    text = (await parts(as_csv(lines(till.one.pool, Span(till.store.merchant_id, NOW - DAY, NOW + DAY), NOW)))).decode()
    assert next(csv.DictReader(io.StringIO(text)))["trip"] == "'-1-2"


async def test_as_json(till: Till):
    """One text, however many chunks it leaves in."""
    await scene(till)
    for chunk in (1, 3, 200):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ringfence.api.trip_reports.CHUNK", chunk)
            said = json.loads(await parts(as_json(lines(till.one.pool, Span(till.store.merchant_id, NOW - DAY, NOW + DAY), NOW), {"merchant": "M"})))
        assert said["merchant"] == "M" and len(said["trips"]) == 8 and set(said["trips"][0]) == set(COLUMNS)
        total, = said["totals"]
        assert total["charged"] == sum(one["charged"] for one in said["trips"]) == 5000 and total["trips"]["charged"] == 3
    empty = json.loads(await parts(as_json(lines(till.one.pool, Span(till.store.merchant_id, NOW, NOW), NOW), {"merchant": "M"})))
    assert empty == {"merchant": "M", "trips": [], "totals": []}
