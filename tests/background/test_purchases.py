"""What retailers are told and asked: over a real socket, signed so that their own check would pass."""
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.jwo import sigv4
from ringfence.api.jwo.sigv4 import Asked, Claim
from ringfence.background.purchases import BUSY_SECONDS, PAUSES, forgetting, queue, verdict
from ringfence.core.trip import Recommendation, Risk
from ringfence.engine.addresses import Rules, rules_for
from ringfence.engine.connector import Answer, Item, address, decision, purchase_id
from ringfence.engine.credentials import NewCredential
from ringfence.engine.directory import Rejected
from ringfence.engine.gates import Shut, Why
from ringfence.engine.purchases import Purchases
from ringfence.retailing import connector_of
from ringfence.storage import jobs
from ringfence.storage import purchases as rows
from ringfence.storage.purchases import QUEUE
from tests.engine.composition import Process, process, shop
from tests.engine.stores import Store

pytestmark = pytest.mark.anyio

SECRET = "connector-secret-not-real"
SANDBOX = rules_for(False)
CART = [Item("0012345678905", "2", upcs=("0012345678905",)), Item("apples", "0.45", "kg", line="L2")]


class Heard:
    """A request as a retailer's server gets it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        self.path, self.body = first.split(b" ")[1], body
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines if line)]

    @property
    def said(self) -> Any:
        return json.loads(self.body)

    @property
    def is_signed(self) -> bool:
        """Whether a retailer that has the secret would believe it."""
        claim, asked = sigv4.read_claim(self.headers), Asked("POST", self.path, b"", self.headers)
        assert isinstance(claim, Claim)
        key = sigv4.signing_key(SECRET, claim.day, claim.region)
        return sigv4.flaw_of(claim, asked, {"us-east-1"}, datetime.now(UTC)) is None and sigv4.mismatch(claim, asked, self.body, key) is None


class Retailer:
    """A server on a socket that says what the test wrote down, and 201 with a purchase after that."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.says: list[tuple[int, bytes]] = []
        self.silent = False
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        self.heard.append(Heard(head, await reader.readexactly(length)))
        if not self.silent:
            status, body = self.says.pop(0) if self.says else (201, b'{"purchaseId":"P-1"}')
            writer.write(b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
            await writer.drain()
        writer.close()


class Floor:
    """A store whose retailer is called, and the background that calls it."""

    def __init__(self, one: Process, store: Store, retailer: Retailer, rules: Rules) -> None:
        self.process, self.store, self.retailer = one, store, retailer
        connector = connector_of(rules, lambda: datetime.now(UTC))
        self.purchases = Purchases(one.pool, one.directory, b"k" * 32, one.now)
        self.queue = queue(one.pool, one.directory, connector, one.now)
        store.gates.asks = connector.asks

    async def set(self, **settings: str) -> None:
        """Settings of the merchant."""
        changed = await self.process.directory.change(self.store.shop.identifier, settings)
        assert changed is not None and not isinstance(changed, Rejected), changed

    async def leave(self, items: list[Item] | None = None) -> Any:
        """Somebody comes, and leaves with a cart a minute later."""
        trip = await self.store.enter()
        assert await self.purchases.left(trip.row, CART if items is None else items, self.process.now() + timedelta(minutes=1))
        return trip

    async def work(self, after: float = 0) -> int:
        """What is due so many seconds of business time later; how many jobs there were."""
        self.process.now.now += timedelta(seconds=after)
        claimed = await jobs.claim(self.process.pool, QUEUE, now=self.process.now(), holder="test", lease=30, per_merchant=8, limit=8, after=-1)
        for job in claimed:
            await self.queue.run(job)
        return len(claimed)

    async def row(self, trip: Any) -> rows.PurchaseRow:
        found = await rows.purchase(self.process.pool, trip.merchant_id, trip.number)
        assert found is not None
        return found


@asynccontextmanager
async def floor(database: str, rules: Rules = SANDBOX) -> AsyncIterator[Floor]:
    retailer = Retailer()
    server = await asyncio.start_server(retailer.answer, "127.0.0.1", 0)
    retailer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prod"
    async with process(database) as one:
        here = await shop(one)
        await one.directory.add_credential(here.identifier, NewCredential("jwo", "AKIDCONNECTOR", "secret-access-key-not-real", SECRET))
        made = Floor(one, await Store(here).built(), retailer, rules)
        await made.set(connector_purchases_url=retailer.url, connector_authorization_url=f"STORE-1={retailer.url}", trip_risk="recommendation")
        try:
            retailer.says.append((200, b'{"shopperAuthorized":true}'))
            yield made
        finally:
            server.close()
            await server.wait_closed()


@pytest.fixture
async def here(database: str) -> AsyncIterator[Floor]:
    async with floor(database) as made:
        yield made


# ---------------------------------------------------------------------------------------------------------- carts

async def test_a_cart_is_told_signed_and_without_prices(here: Floor):
    trip = await here.leave()
    assert await here.work() == 1
    told = here.retailer.heard[-1]
    assert told.path == b"/prod/v1/order/purchases" and told.is_signed
    said = told.said
    assert (said["idempotentShoppingTripId"], said["storeId"], said["shopperIdentity"]["id"]) == (trip.name, "STORE-1", trip.shopper)
    event, = said["shoppingTrip"]["authEvents"]
    assert (event["location"], event["payloadType"]) == ("ENTRY", "FINANCIAL") and "scanResult" not in event
    assert said["shoppingTrip"]["startTime"] < said["shoppingTrip"]["endTime"] and said["shoppingTrip"]["endTime"].endswith("Z")
    assert said["cartItems"] == [
        {"id": "0012345678905", "type": "SKU", "quantity": {"value": "2", "unit": "each"}, "lineItemId": "1",
         "externalIdentifiers": [{"id": "0012345678905", "type": "UPC"}]},
        {"id": "apples", "type": "SKU", "quantity": {"value": "0.45", "unit": "kg"}, "lineItemId": "L2", "externalIdentifiers": []}]
    assert said["paymentSource"]["id"].startswith("source-") and b"4000009900000004" not in told.body and b"price" not in told.body
    row = await here.row(trip)
    assert (row.state, row.purchase_id, row.attempts, row.status, row.body) == ("taken", "P-1", 1, 201, b"")
    assert await here.work(3_600) == 0


async def test_the_same_shopper_and_card_are_called_the_same(here: Floor):
    here.retailer.says += [(201, b'{"purchaseId":"P-1"}'), (200, b'{"shopperAuthorized":true}')]
    sources = []
    for _ in range(2):
        await here.leave()
        await here.work()
        sources.append(here.retailer.heard[-1].said["paymentSource"]["id"])
    assert sources[0] == sources[1]


async def test_a_cart_is_told_once_whoever_says_so(here: Floor):
    trip = await here.leave()
    assert not await here.purchases.left(trip.row, CART, here.process.now())
    await here.work()
    assert not await here.purchases.left(trip.row, [], here.process.now())
    assert await here.work() == 0
    again = trip.row._replace(started_at=trip.row.started_at + timedelta(hours=1))      # the trip began anew
    assert await here.purchases.left(again, [], here.process.now())
    assert await here.work() == 1


async def test_nobody_leaves_who_never_came_in(here: Floor):
    trip = await here.store.enter()
    assert not await here.purchases.left(trip.row._replace(refused="declined"), CART, here.process.now())


async def test_an_empty_cart_may_be_answered_with_an_empty_purchase(here: Floor):
    here.retailer.says.append((201, b'{"purchaseId":""}'))
    trip = await here.leave([])
    await here.work()
    assert here.retailer.heard[-1].said["cartItems"] == []
    assert ((await here.row(trip)).state, (await here.row(trip)).purchase_id) == ("taken", "")


async def test_what_is_busy_broken_or_away_is_told_again_under_another_request_id(here: Floor):
    here.retailer.says += [(500, b""), (503, b"oops"), (404, b""), (201, b"no purchase"), (429, b"")]
    trip = await here.leave()
    await here.work()
    for pause in PAUSES[:4]:
        assert await here.work(pause - 0.5) == 0
        assert await here.work(0.5) == 1
    assert (await here.row(trip)).note == "status 429"
    assert await here.work(BUSY_SECONDS - 1) == 0 and await here.work(1) == 1
    told = [one.said for one in here.retailer.heard if one.path.endswith(b"purchases")]
    assert len({one.pop("requestId") for one in told}) == 6 and all(one == told[0] for one in told)
    assert ((await here.row(trip)).state, (await here.row(trip)).attempts) == ("taken", 6)


async def test_a_retailer_that_is_not_there_is_called_until_the_trip_is_over(here: Floor):
    trip = await here.leave()
    await here.set(connector_purchases_url="http://127.0.0.1:1")
    await here.work()
    row = await here.row(trip)
    assert row.state == "waiting" and row.status is None and row.note.startswith("No connection")
    assert await here.work(46 * 3_600) == 1
    assert (await here.row(trip)).state == "given_up"
    assert await here.work(46 * 3_600) == 0


@pytest.mark.parametrize("status", [400, 401, 403, 422])
async def test_what_is_refused_is_not_told_again_until_somebody_says_so(here: Floor, status: int):
    here.retailer.says.append((status, b'{"message":"no"}'))
    trip = await here.leave()
    await here.work()
    assert ((await here.row(trip)).state, (await here.row(trip)).note) == ("refused", f"status {status}")
    assert await here.work(7_200) == 0
    assert await here.purchases.again(trip.merchant_id, trip.number) == 1
    assert await here.work() == 1
    assert (await here.row(trip)).state == "taken"
    assert await here.purchases.again(trip.merchant_id) == 0


async def test_a_store_without_an_address_tells_nobody(here: Floor):
    trip = await here.store.enter()
    await here.set(connector_purchases_url=f"OTHER={here.retailer.url}")
    assert not await here.purchases.left(trip.row, CART, here.process.now())
    await here.set(connector_purchases_url=here.retailer.url)
    assert await here.purchases.left(trip.row, CART, here.process.now())
    await here.set(connector_purchases_url="")
    await here.work()
    assert (await here.row(trip)).state == "given_up"


async def test_what_was_refused_is_forgotten_in_time(here: Floor):
    here.retailer.says.append((400, b""))
    trip = await here.leave()
    await here.work()
    chore = forgetting(here.process.pool, here.process.directory, 30, here.process.now)
    assert await chore.run() == 0
    here.process.now.now += timedelta(days=31)
    assert await chore.run() == 1 and (await here.row(trip)).body == b""
    assert await here.purchases.again(trip.merchant_id, trip.number) == 0


async def test_live_calls_nobody_inside(database: str):
    async with floor(database, rules_for(True)) as here:
        trip = await here.leave()
        await here.work()
        assert (await here.row(trip)).note == "The address must begin with https://." and here.retailer.heard == []


async def test_an_address_inside_is_not_stored_in_live(database: str):
    from ringfence.engine.addresses import judge
    async with floor(database) as here:
        before = here.store.shop.account.settings
        wanted = replace(before, connector_purchases_url=(("*", "https://10.0.0.1"), ("STORE-1", "https://shop.example")))
        errors = judge(rules_for(True))(before, wanted)
        assert [one.key for one in errors] == ["connector_purchases_url.*"]


# ---------------------------------------------------------------------------------------------------------- gates

async def test_the_retailer_is_asked_at_the_gate(here: Floor):
    trip = await here.store.enter()
    asked, = here.retailer.heard
    assert asked.path == b"/prod/v1/fraudandabuse/shopperauthorization" and asked.is_signed
    assert asked.said["authorizedAmount"] == {"value": 20.0, "currencyCode": "USD"} and b'"value":20.00' in asked.body
    interaction = asked.said["shopperInteraction"]
    assert interaction["shoppingTripId"] == trip.name
    assert interaction["recommendation"] == {"shopperAuthorized": True, "authorizationConditions": [], "shopperRisks": []}
    event = interaction["gateAuthenticationEvent"]
    assert (event["type"], event["interactionType"], event["location"], event["data"]) == ("CREDIT_CARD", "TAP", "ENTRY", {})


async def test_the_retailer_may_keep_the_gate_shut_or_hold_another_amount(here: Floor):
    here.retailer.says[:] = [(200, b'{"shopperAuthorized":false,"shopperRisks":["CustomerFraud","NewRisk"]}')]
    assert await here.store.come() == Shut(Why.NOT_WANTED)
    here.retailer.says[:] = [(200, b'{"recommendation":{"shopperAuthorized":true,"authorizationConditions":'
                                   b'[{"type":"ADJUST","amount":{"value":7.5,"currencyCode":"USD"}}]}}')]
    assert (await here.store.enter()).preauth == 750


@pytest.mark.parametrize("said", [(500, b""), (200, b""), (200, b'{"shopperAuthorized":"yes"}'), (403, b'{"shopperAuthorized":false}')])
async def test_a_retailer_that_says_nothing_leaves_it_to_us_or_keeps_the_gate_shut(here: Floor, said: tuple[int, bytes]):
    here.retailer.says[:] = [said, said]
    assert (await here.store.enter()).preauth == 2_000
    await here.set(connector_silence="refuse")
    assert await here.store.come() == Shut(Why.NOT_WANTED)


async def test_a_retailer_that_thinks_too_long_says_nothing(here: Floor):
    await here.set(connector_seconds="1")
    here.retailer.silent = True
    assert (await here.store.enter()).preauth == 2_000


# ---------------------------------------------------------------------------------------------------------- pure

ADJUST = '{{"shopperAuthorized":true,"authorizationConditions":[{{"type":"ADJUST","amount":{}}}]}}'


@pytest.mark.parametrize(("body", "expected"), [
    ('{"shopperAuthorized":true}', Recommendation()),
    ('{"shopperAuthorized":false,"shopperRisks":["BadDebt"]}', Recommendation(False, None, (Risk.BAD_DEBT,))),
    ('{"shopperAuthorized":true,"authorizationConditions":null,"more":1}', Recommendation()),
    ('{"shopperAuthorized":true,"authorizationConditions":[{"type":"NEW"}]}', Recommendation()),
    (ADJUST.format('{"value":20,"currencyCode":"USD"}'), Recommendation(hold=2_000)),
    (ADJUST.format('{"value":0,"currencyCode":"USD"}'), Recommendation(hold=0)),
    (ADJUST.format('{"value":20.005,"currencyCode":"USD"}'), None),
    (ADJUST.format('{"value":20,"currencyCode":"EUR"}'), None),
    (ADJUST.format('{"value":"20","currencyCode":"USD"}'), None),
    (ADJUST.format('{"value":true,"currencyCode":"USD"}'), None),
    (ADJUST.format('{"value":-1,"currencyCode":"USD"}'), None),
    (ADJUST.format('{"value":NaN,"currencyCode":"USD"}'), None),
    (ADJUST.format('{"value":1e999999999,"currencyCode":"USD"}'), None),
    (ADJUST.format("20"), None),
    ('{"shopperAuthorized":true,"authorizationConditions":["ADJUST"]}', None),
    ('{"shopperAuthorized":true,"authorizationConditions":{}}', Recommendation()),
    ('{"shopperAuthorized":true,"authorizationConditions":"x"}', None),
    ('{"shopperAuthorized":1}', None), ("{}", None), ("[]", None), ("", None), ('{"recommendation":[]}', None), ("[" * 60_000, None),
])
def test_what_a_decision_says(body: str, expected: Recommendation | None):
    assert decision(body.encode(), "USD") == expected


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_reading(body: bytes):
    assert isinstance(decision(body, "JPY"), Recommendation | None)
    assert isinstance(purchase_id(body), str | None)


@pytest.mark.parametrize(("status", "state"), [
    (201, "taken"), (200, "taken"), (202, "waiting"), (301, "waiting"), (400, "refused"), (403, "refused"), (404, "waiting"), (408, "waiting"),
    (429, "waiting"), (500, "waiting"), (503, "waiting"), (0, "waiting")])
def test_what_follows_from_a_status(status: int, state: str):
    assert verdict(Answer(status, b'{"purchaseId":"P-1"}'))[0] == state


@pytest.mark.parametrize(("by_store", "store", "expected"), [
    ((), "S", ""), ((("*", "https://a/"),), "S", "https://a"), ((("*", "https://a"), ("S", "https://b/prod/")), "S", "https://b/prod")])
def test_a_stores_address(by_store: Any, store: str, expected: str):
    assert address(by_store, store) == expected
