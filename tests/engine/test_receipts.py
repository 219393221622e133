"""Receipts on a real database: which ones a trip has, that they stay as they were given out, and who finds them."""
from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import date, timedelta
from decimal import Decimal

import pytest

from ringfence.core.card import Pan
from ringfence.core.cart import Cart, Line
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.core.receipt import Kind
from ringfence.core.receipt_sheet import as_text, sheet
from ringfence.engine.debts import Debts
from ringfence.engine.link_addresses import LINK, RECEIPT, Addresses
from ringfence.engine.orders import Orders
from ringfence.engine.receipts import Issued, LookUp, Receipts
from ringfence.engine.trips import Trip
from ringfence.storage import trips as trip_rows
from tests.engine.composition import NOW, Process, Shop
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio
TODAY = NOW.date()
OTHER = Pan("5555009900000000")
CART = Cart("USD", (Line("0012345678905", "SKU", 200, "each", 350, 21, 371),), 700, 0, 42, 742)
REFUND = "3b2f6a0e-9c41-4d7e-8f10-5a6b7c8d9e0f"


class Till:
    """Receipts of one store."""

    def __init__(self, store: Store, one: Process, here: Shop) -> None:
        self.store, self.one, self.here = store, one, here
        self.orders = Orders(one.pool, new_id=one.new_id, now=one.now)
        self.receipts = Receipts(
            one.pool, one.reading, one.directory, Addresses(b"k" * 32, RECEIPT), self.orders, now=one.now, new_id=one.new_id)
        self.debts = Debts(one.pool, one.directory, one.now, book=one.engine.notice)

    async def of(self, trip: Trip) -> list[Issued]:
        found = await self.receipts.of(self.one.directory.merchant(self.here.identifier), trip.store, trip.name)
        assert found is not None
        return found

    async def charged(self, minor: int, **entry) -> Trip:
        trip = await self.store.enter(**entry)
        assert await self.store.capture(trip, minor) is None
        return trip

    async def find(self, tail: str, amount: str, day: date = TODAY, store: str = "") -> list[Issued]:
        return await self.receipts.look_up(self.here.account, LookUp(tail, day, Decimal(amount), store))

    async def owe(self, trip: Trip, total: int, settled: int = 0) -> None:
        """A retailer says what the cart cost, and how much of it was paid."""
        assert await self.debts.reported(await self.store.find(trip), total, settled, self.one.now(), "test") is None


@pytest.fixture
async def till(here: Shop, one: Process) -> Till:
    return Till(await Store(here).built(), one, here)


def said(one: Issued, language: str = "en") -> str:
    return as_text(sheet(one.receipt, language))


async def test_a_trip_that_has_not_ended_has_no_receipt(till: Till):
    trip = await till.store.enter()
    assert await till.of(trip) == []
    await till.store.adjust(trip, 1500)
    assert await till.of(trip) == []
    assert await till.receipts.of(till.here.account, trip.store, "nobody") is None
    assert await till.receipts.of(till.here.account, "STORE-9", trip.name) is None


async def test_a_charged_trip(till: Till):
    """With the store's own words, what the reader recorded and what the issuer said; nothing of the card beyond that."""
    trip = await till.store.enter()
    await till.store.adjust(trip, 742)
    await till.orders.place(await till.store.find(trip), CART, "test")
    assert await till.store.capture(trip, 742) is None
    sale, = await till.of(trip)
    assert (sale.receipt.kind, sale.receipt.minor, sale.receipt.total, sale.receipt.cart) == (Kind.SALE, 742, 742, CART)
    text = said(sale)
    for piece in ("APPROVED", "7.42 USD", "0012345678905", "2 x 3.50", "0.42 USD", "742138", trip.read.tail, trip.read.application_id,
                  trip.read.terminal_id, trip.name, trip.store, till.here.account.name):
        assert piece in text, piece
    assert trip.read.expiry
    assert not re.search(rf"(?<![\w-]){trip.read.expiry}(?![\w-])", text), "an expiry; an id may hold its digits"


async def test_what_was_said_once_is_said_for_ever(till: Till):
    """However often it is asked for, and though the shop has another name and the store another place since."""
    trip = await till.charged(1500)
    first, = await till.of(trip)
    await till.one.directory.change(till.here.identifier, {"receipt_zone": "Asia/Dubai"}, name="Another name")
    row = await trip_rows.store(till.one.pool, trip.merchant_id, trip.store)
    await trip_rows.put_store(till.one.pool, row._replace(title="Elsewhere", address=("Far away",)), till.one.now())
    till.one.now.now += timedelta(days=30)
    again, = await till.of(trip)
    assert again == first and "Elsewhere" not in said(again)
    assert (await till.receipts.by_address(first.address))[1] == first


async def test_many_ask_at_once_and_get_one_receipt(till: Till):
    trip = await till.charged(1500)
    found = await asyncio.gather(*(till.of(trip) for _ in range(8)))
    assert len({one.address for many in found for one in many}) == 1


async def test_refunds_are_receipts_of_their_own(till: Till):
    """Each of them; the sale's does not change."""
    trip = await till.charged(1500)
    sale, = await till.of(trip)
    for place, minor in enumerate((400, 100)):
        await till.store.trips.refund(await till.store.find(trip), minor, "USD", REFUND[:-1] + str(place), "DAMAGED_ITEM", "test")
    beside = await till.receipts.beside(till.here.account, sale)
    first, *refunds = await till.of(trip)
    assert first == sale and beside == [first, *refunds]
    assert [(one.receipt.kind, one.receipt.minor, one.receipt.total, one.receipt.of) for one in refunds] == [
        (Kind.REFUND, 400, 1500, sale.receipt.number), (Kind.REFUND, 100, 1500, sale.receipt.number)]
    assert all("RF-" in said(one) and "REFUND" in said(one) and "Damaged item" in said(one) for one in refunds)


async def test_a_declined_refund_has_none(till: Till):
    trip = await till.charged(1500)
    till.one.processor.say(Declined("05"))
    await till.store.trips.refund(await till.store.find(trip), 400, "USD", REFUND, "OTHER", "test")
    assert len(await till.of(trip)) == 1


async def test_charged_in_part(till: Till):
    """Charged and outstanding stand apart."""
    trip = await till.store.enter()
    till.one.processor.say(Declined("51"))
    await till.store.adjust(trip, 6410)
    await till.owe(trip, 6410)
    assert await till.store.capture(trip, 2000) is None
    sale, = await till.of(trip)
    assert (sale.receipt.minor, sale.receipt.total, sale.receipt.outstanding) == (2000, 6410, 4410)
    assert "44.10 USD" in said(sale) and "approved" not in said(sale).lower()


async def test_a_price_that_is_told_later_makes_another_receipt(till: Till):
    """It replaces the first, which can still be read as it was; the store's name is the first one's."""
    trip = await till.charged(2000)
    first, = await till.of(trip)
    await till.owe(trip, 6410)
    second, = await till.of(trip)
    assert (first.receipt.outstanding, second.receipt.outstanding, second.receipt.replaces) == (0, 4410, first.receipt.number)
    assert second.address != first.address and second.receipt.store == first.receipt.store
    assert (await till.receipts.by_address(first.address))[1] == first and [second] == await till.of(trip)
    assert "Replaces receipt" in said(second)


async def test_a_cancelled_trip(till: Till):
    """An empty cart, and one that the issuer would not pay for: the code of the decline, and never a word of approval."""
    empty, declined = await till.store.enter(), await till.store.enter(pan=OTHER)
    till.one.processor.say(Declined("51"))
    await till.store.adjust(declined, 6410)
    await till.owe(declined, 6410)
    for trip in (empty, declined):
        assert await till.store.trips.cancel(await till.store.find(trip), "test") is None
    one, other = (await till.of(empty))[0], (await till.of(declined))[0]
    assert (one.receipt.kind, one.receipt.outstanding, one.receipt.card.response_code) == (Kind.NOT_CHARGED, 0, "")
    assert (other.receipt.kind, other.receipt.outstanding, other.receipt.card.response_code) == (Kind.NOT_CHARGED, 6410, "51")
    assert "DECLINED" in said(other) and not any("approv" in said(each).lower() for each in (one, other))


async def test_an_expired_trip(till: Till):
    trip = await till.store.enter()
    till.one.now.now = trip.expires_at
    one, = await till.of(trip)
    assert one.receipt.kind is Kind.NOT_CHARGED and one.receipt.at == trip.expires_at


async def test_a_declined_gate(till: Till):
    """The shopper who was not let in may be told why; nobody is where nobody knows."""
    till.one.processor.say(Declined("51"))
    await till.store.come(name="a")
    till.one.processor.say(Unknown(Silence.NO_ANSWER))
    await till.store.come(name="b")
    one, = await till.receipts.of(till.here.account, "STORE-1", "a")
    assert one.receipt.card.response_code == "51" and "DECLINED" in said(one)
    assert await till.receipts.of(till.here.account, "STORE-1", "b") == []


async def test_a_capture_that_nobody_knows_has_no_receipt_yet(till: Till):
    trip = await till.store.enter()
    till.one.processor.say(Unknown(Silence.NO_ANSWER))
    await till.store.capture(trip, 1500)
    assert await till.of(trip) == []


async def test_the_look_up_finds_what_fits_exactly(till: Till):
    """Whatever is off by a little, and whatever by much, finds the same nothing."""
    trip = await till.charged(1840)
    tail = trip.read.tail
    found, = await till.find(tail, "18.40")
    assert found == (await till.of(trip))[0]
    assert await till.find(tail, "18.4") == await till.find(tail, "18.40", store="STORE-1") == [found]
    for wrong in (("9999", "18.40"), (tail, "18.41"), (tail, "1840"), (tail, "18.399"), (tail, "0"), (tail, "99999999999999")):
        assert await till.find(*wrong) == []
    assert await till.find(tail, "18.40", store="STORE-2") == []
    for days in (-1, 1):
        assert await till.find(tail, "18.40", day=NOW.date() + timedelta(days=days)) == []


async def test_the_day_is_the_store_s(till: Till):
    """A visit at NOW in UTC is on another day elsewhere."""
    await till.one.directory.change(till.here.identifier, {"receipt_zone": "Pacific/Kiritimati"})         # 14 hours ahead
    till.one.now.now = NOW.replace(hour=12)
    trip = await till.charged(1840)
    merchant = till.one.directory.merchant(till.here.identifier)
    tomorrow = NOW.date() + timedelta(days=1)
    for day, many in ((NOW.date(), 0), (tomorrow, 1)):
        assert len(await till.receipts.look_up(merchant, LookUp(trip.read.tail, day, Decimal("18.40")))) == many


async def test_equal_visits_are_all_shown_and_open_ones_are_not(till: Till):
    trips = [await till.charged(1840) for _ in range(3)]
    await till.store.enter()
    assert len(await till.find(trips[0].read.tail, "18.40")) == 3
    gone = await till.store.enter()
    await till.store.trips.cancel(gone, "test")
    assert len(await till.find(trips[0].read.tail, "20.00")) == 0


async def test_a_refund_does_not_hide_the_sale(till: Till):
    trip = await till.charged(1840)
    await till.store.trips.refund(await till.store.find(trip), 1840, "USD", REFUND, "OTHER", "test")
    found, = await till.find(trip.read.tail, "18.40")
    assert found.receipt.kind is Kind.SALE


async def test_an_address_is_a_receipt_s_own(till: Till):
    """None of a link's opens a receipt, nor what nobody gave out."""
    trip = await till.charged(1840)
    one, = await till.of(trip)
    _, number = Addresses(b"k" * 32, RECEIPT).read(one.address)
    for wrong in (Addresses(b"k" * 32, LINK).make(trip.merchant_id, number), Addresses(b"x" * 32, RECEIPT).make(trip.merchant_id, number),
                  Addresses(b"k" * 32, RECEIPT).make(trip.merchant_id, number + 1), Addresses(b"k" * 32, RECEIPT).make(trip.merchant_id + 1, number),
                  "", "x", "A" * 38, one.address[:-1]):
        assert await till.receipts.by_address(wrong) is None
    assert len(one.address) == 38


async def test_what_is_kept_has_no_expiry(till: Till):
    trip = await till.charged(1840)
    await till.of(trip)
    kept = bytes(await till.one.pool.fetchval("SELECT content FROM receipts WHERE merchant_id = $1", trip.merchant_id)).decode()
    assert "expir" not in kept and f'"{trip.read.expiry}"' not in kept and dataclasses.fields(trip.read)
