"""Webhooks of the PPRO door on their way: where they go, how they are signed, how often they are tried, and what is told again."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ringfence.api.ppro import notifications
from ringfence.engine import webhooks
from ringfence.engine.door_events import tell
from ringfence.storage import jobs
from tests.api.ppro.asking import charge
from tests.api.ppro.hooking import AUTHORIZED, CAPTURED, CREATED, EVER, Hooked, hooked
from tests.background.receiver import OK, REFUSED, receiving

pytestmark = pytest.mark.anyio
SECOND = timedelta(seconds=1)


@pytest.fixture
async def here(database: str) -> AsyncIterator[Hooked]:
    async with hooked(database) as one:
        yield one


# ------------------------------------------------------------------------------------------------------------- addresses

async def test_a_charge_is_told_at_its_own_address(database: str):
    """Also where the account has none; captures follow to the same place."""
    async with hooked(database, ppro_webhook_url="") as here:
        made = await here.client.charge(autoCapture=False, webhooksUrl=f"http://127.0.0.1:{here.receiver.port}/mine")
        await here.client.capture(made, 2599)
        assert await here.types() == [CREATED, AUTHORIZED, CAPTURED]
        assert {one.line for one in here.receiver.heard} == {"POST /mine HTTP/1.1"}
        await here.client.charge()
        assert await here.types() == []


@pytest.mark.parametrize(("url", "status"), [
    ("https://10.0.0.1/", 422), ("http://user:word@shop.example/", 422), ("https://169.254.169.254/latest", 422), ("https://!6", 422),
    ("https://shop.example/#a", 422), ("https://[::1]:0/", 400), ("ftp://shop.example/", 400)])
async def test_an_address_that_must_not_be_called_is_refused(here: Hooked, url: str, status: int):
    answered = await here.client.post("/payment-charges", charge(webhooksUrl=url))
    assert answered.status == status and answered.body["extensions"]["fields"][0]["path"] == "webhooksUrl"
    assert await here.process.value("SELECT count(*) FROM operations") == 0


async def test_without_any_address_no_event_is_read(database: str):
    """The account has none, and no charge ever named one: nobody looks at events."""
    async with hooked(database, ppro_webhook_url="") as here:
        await here.client.charge()
        await here.tell()
        assert await here.process.value("SELECT count(*) FROM endpoints") == 0
        assert not notifications.wants(here.process.directory.by_id(1))


# ------------------------------------------------------------------------------------------------- signatures and headers

async def test_signatures_can_be_switched_off_and_headers_be_added(here: Hooked):
    await here.set(ppro_webhook_legacy_signature="off", ppro_webhook_headers="X-Shop:one;Authorization:Basic c2hvcDp3b3Jk")
    await here.client.charge()
    await here.tell()
    headers = here.receiver.heard[-1].headers
    assert "webhook-signature" not in headers and "ppro-signature" in headers
    assert (headers["x-shop"], headers["authorization"]) == ("one", "Basic c2hvcDp3b3Jk")
    await here.set(ppro_webhook_signature="off")
    await here.client.charge()
    await here.tell()
    assert "ppro-signature" not in here.receiver.heard[-1].headers


async def test_each_delivery_is_signed_anew_over_the_same_bytes(here: Hooked):
    """The bytes and the older digest stay; the moment and the signature over it do not."""
    here.receiver.replies = [REFUSED] * 3
    await here.client.charge()
    await here.told()
    here.process.now.now += 15 * SECOND
    here.wall += 20 * SECOND
    again = {one["id"]: heard for one, heard in zip(await here.told(), here.receiver.heard[3:], strict=True)}
    for first in here.receiver.heard[:3]:
        second = again[json.loads(first.body)["id"]]
        assert first.body == second.body and first.headers["webhook-signature"] == second.headers["webhook-signature"]
        assert [one.headers["ppro-signature"].partition(",")[0] for one in (first, second)] == ["t=1795262400", "t=1795262420"]


async def test_a_replaced_secret_signs_beside_the_new_one_for_a_while(here: Hooked):
    """Then no more; the older scheme has room for one, which is the new one."""
    from ringfence.api.ppro.signatures import is_good, is_good_legacy
    name, directory = here.client.headers["merchant-id"], here.process.directory
    await directory.replace_secret(here.client.identifier, name, "whsec_new", here.wall, timedelta(hours=1))
    await here.client.charge()
    await here.tell()
    heard, at = here.receiver.heard[-1], int(here.wall.timestamp())
    old = f"whsec_{here.client.identifier}"
    assert heard.headers["ppro-signature"].count("s=") == 2
    assert all(is_good(heard.headers["ppro-signature"], heard.body, [secret], at) for secret in (old, "whsec_new"))
    assert [is_good_legacy(heard.headers["webhook-signature"], heard.body, [secret]) for secret in (old, "whsec_new")] == [False, True]
    here.wall += timedelta(hours=1)
    await here.client.charge()
    await here.tell()
    heard, at = here.receiver.heard[-1], int(here.wall.timestamp())
    assert heard.headers["ppro-signature"].count("s=") == 1 and is_good(heard.headers["ppro-signature"], heard.body, ["whsec_new"], at)


# -------------------------------------------------------------------------------------------------------------- schedule

async def test_fifteen_deliveries_with_pauses_that_double(here: Hooked):
    """Section 15.1's table, walked to the second; a redirect is a failure like any other."""
    here.receiver.reply = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    begin, table = here.process.now(), [0, 15, 45, 105, 225, 465, 945, 1905, 3825, 7665, 15345, 30705, 61425, 122865, 245745]
    async with here.process.pool.acquire() as connection, connection.transaction():
        await tell(connection, 1, "ppro", "agr", 77, "PAYMENT_AGREEMENT_ACTIVE", {}, "", begin)
    for number, since in enumerate(table):
        if number:
            here.process.now.now = begin + since * SECOND - SECOND
            await here.tell()
        assert len(here.receiver.heard) == number
        here.process.now.now = begin + since * SECOND
        await here.tell()
    here.process.now.now += timedelta(days=7)
    assert [one["type"] for one in await here.told()] == ["PAYMENT_AGREEMENT_ACTIVE"] * 15
    assert [row[0] for row in await here.process.fetch("SELECT state FROM deliveries")] == ["given_up"]


async def test_where_order_is_asked_for_one_waits_for_the_one_before(here: Hooked):
    await here.set(ppro_webhook_order="strict")
    here.receiver.replies = [REFUSED]
    await here.client.charge()
    await here.tell()
    assert len(here.receiver.heard) == 1
    here.process.now.now += 15 * SECOND
    await here.tell()
    assert [json.loads(one.body)["type"].removeprefix("PAYMENT_") for one in here.receiver.heard] == [CREATED, CREATED, AUTHORIZED, CAPTURED]


# --------------------------------------------------------------------------------------------------------------- replays

async def test_what_is_replayed_has_the_ids_and_bytes_that_it_had(here: Hooked):
    """At another address, which knows nothing of it yet; the first one gets nothing twice."""
    made = await here.client.charge(1000, autoCapture=False)
    await here.client.capture(made, 1000)
    async with here.process.pool.acquire() as connection, connection.transaction():
        await tell(connection, 1, "ppro", "agr", 77, "PAYMENT_AGREEMENT_ACTIVE", {"paymentAgreementStatus": "ACTIVE"}, "", here.process.now())
    first = await here.told()
    assert len(first) == 4
    assert await webhooks.replay(here.process.pool, here.process.now(), here.process.directory, here.notifiers, *EVER) == 0
    async with receiving() as other:
        await here.set(ppro_webhook_url=other.url)
        await here.client.refund(made, 1000)        # what happened since changes nothing of what is told of before
        assert await webhooks.replay(here.process.pool, here.process.now(), here.process.directory, here.notifiers, *EVER) == 5
        await here.tell()
        again = {one.body for one in other.heard}
    assert {one.body for one in here.receiver.heard} < again and len(again) == 5


# ----------------------------------------------------------------------------------------------------------- killed midway

async def test_a_sender_that_is_killed_while_it_delivers_is_followed_by_another(here: Hooked):
    """The receiver hears one event twice, with one id; each delivery ends once."""
    here.receiver.replies = [OK]
    await here.client.charge()
    await here.follower.run()
    found = await jobs.claim(here.process.pool, "delivery", now=here.process.now(), holder="killed", lease=10.0, per_merchant=8, limit=1, after=-1)
    assert found
    await here.process.pool.execute("UPDATE jobs SET leased_until = '-infinity'")
    told = await here.told()
    assert [one["type"].removeprefix("PAYMENT_") for one in told] == [CREATED, AUTHORIZED, CAPTURED]
    assert await here.process.value("SELECT count(*) FROM deliveries WHERE state = 'delivered'") == 3
