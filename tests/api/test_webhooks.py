"""Webhooks for operators over HTTP: what stands there, what is told again, and what makes no sense."""
from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from ringfence.api import webhooks
from ringfence.api.admin import guard
from ringfence.api.aps import notifications, recurring
from ringfence.engine import feed, wording
from ringfence.engine import webhooks as engine
from ringfence.engine.addresses import rules_for
from ringfence.engine.feed import Notifier
from ringfence.engine.plan_notices import Desk
from ringfence.engine.plans import Plans
from ringfence.linking import link_states
from tests.api.asking import TOKEN, Operator
from tests.background.planning import members
from tests.engine.composition import NOW, Process, Shop, shop

pytestmark = pytest.mark.anyio
NOTICES = Desk(recurring.notices(), seconds=5.0)
NOTIFIERS: dict[str, Notifier] = {"aps": notifications.notifier(10.0)}
HOOK = "http://127.0.0.1:9/hook"
DAY = f"since={quote((NOW - timedelta(days=1)).isoformat())}&until={quote((NOW + timedelta(days=1)).isoformat())}"


@pytest.fixture(scope="module")
async def here(one: Process) -> Shop:
    return await shop(one, feedback_url=HOOK, notification_url=HOOK)


@pytest.fixture
def operator(one: Process) -> Operator:
    return Operator(webhooks.routes(guard(TOKEN), webhooks.Services(
        one.pool, one.directory, NOTIFIERS, rules_for(False), one.now, NOTICES, plans_of(one).number)))


def plans_of(one: Process) -> Plans:
    return Plans(one.pool, one.now, NOTICES, recurring.judge(one.now, sandbox=True), partial(link_states, one.links))


async def handed_out(one: Process, answer: dict[str, Any]) -> str:
    """The delivery of an answered payment's first event, made as the outbox makes it; its id."""
    payment = int(answer["fort_id"])
    async with one.pool.acquire() as connection:
        events, _ = await feed.read(connection, {}, 10_000)
        told = wording.rendered([event for event in events if event.payment_id == payment], one.directory, NOTIFIERS)
        placed = await engine.placed_at(connection, one.now(), told)
        async with connection.transaction():
            assert await engine.handed_out(connection, one.now(), placed) == len(told)
    return f"{answer['merchant_identifier']}:{placed[0][1]}:{payment}:1"


async def gave_up(one: Process, delivery: str) -> None:
    """As if every attempt had been in vain."""
    _, endpoint, payment, sequence = delivery.split(":")
    await one.pool.execute(
        "UPDATE deliveries SET state = 'given_up', tried = 11, attempts = 11, ended_at = $4 WHERE endpoint_id = $1 AND payment_id = $2 AND sequence = $3",
        int(endpoint), int(payment), int(sequence), one.now())


async def state_of(operator: Operator, delivery: str) -> tuple[str, int]:
    """State and tries of a delivery."""
    status, shown = await operator.ask(f"/admin/webhooks/deliveries/{delivery}")
    assert status == 200
    return shown["state"], shown["tried"]


async def test_an_endpoint_and_its_deliveries_are_shown(one: Process, here: Shop, operator: Operator):
    """The address as it is told, and the very bytes."""
    answer = await here.purchase("SHOW-1")
    delivery = await handed_out(one, answer)
    status, shown = await operator.ask("/admin/webhooks/endpoints?merchant=CycHZxVj")
    assert status == 200
    [endpoint] = shown["endpoints"]
    assert (endpoint["url"], endpoint["door"], endpoint["schedule"], endpoint["accepts"]) == (HOOK, "aps", [10] * 10, [302])
    _, page = await operator.ask("/admin/webhooks/deliveries?limit=1")
    assert [row["id"] for row in page["deliveries"]] == [delivery] and page["next"] == delivery
    status, shown = await operator.ask(f"/admin/webhooks/deliveries/{delivery}")
    assert (status, json.loads(shown["body"]), shown["log"]) == (200, answer, [])
    assert (shown["state"], shown["event"], shown["purpose"], shown["url"]) == ("waiting", "purchase_approved", "feedback", HOOK)


async def test_pages_and_filters(one: Process, here: Shop, operator: Operator):
    """Page by page it is the whole list; by state, by time, by merchant."""
    deliveries = [await handed_out(one, await here.purchase(f"LIST-{number}")) for number in range(5)]
    await gave_up(one, deliveries[2])
    _, whole = await operator.ask("/admin/webhooks/deliveries?limit=500")
    found, after = list[Any](), ""
    while after is not None:
        _, page = await operator.ask(f"/admin/webhooks/deliveries?limit=2&after={after}")
        found, after = found + page["deliveries"], page["next"]
    assert found == whole["deliveries"] and {row["id"] for row in found} >= set(deliveries)
    _, failed = await operator.ask("/admin/webhooks/deliveries?state=given_up")
    assert [row["id"] for row in failed["deliveries"]] == [deliveries[2]]
    assert (await operator.ask(f"/admin/webhooks/deliveries?limit=500&{DAY}"))[1]["deliveries"] == found
    tomorrow = quote((NOW + timedelta(days=1)).isoformat())
    assert (await operator.ask(f"/admin/webhooks/deliveries?since={tomorrow}"))[1]["deliveries"] == []
    await shop(one, "Nothing")
    assert (await operator.ask("/admin/webhooks/deliveries?merchant=Nothing"))[1]["deliveries"] == []


async def test_telling_again(one: Process, here: Shop, operator: Operator):
    """One, all that failed, those of a range; each begins anew."""
    first, second = [await handed_out(one, await here.purchase(f"AGAIN-{number}")) for number in range(2)]
    for asked in ({"delivery": first}, {"failed": True}, {"failed": True, "merchant": "CycHZxVj"}):
        await gave_up(one, first)
        status, done = await operator.ask("/admin/webhooks/redeliver", asked)
        assert status == 200 and done["deliveries"] >= 1
        assert await state_of(operator, first) == ("waiting", 0)
    await gave_up(one, second)
    made = {"since": NOW.isoformat(), "until": (NOW + timedelta(seconds=1)).isoformat()}
    status, done = await operator.ask("/admin/webhooks/redeliver", made)
    assert status == 200 and await state_of(operator, second) == ("waiting", 0)


async def test_telling_at_another_address(one: Process, here: Shop, operator: Operator):
    """Copies of the same bytes; the first endpoint keeps its own."""
    delivery = await handed_out(one, await here.purchase("ELSE-1"))
    other = "http://127.0.0.1:9/other"
    assert await operator.ask("/admin/webhooks/redeliver", {"delivery": delivery, "url": other}) == (200, {"deliveries": 1})
    _, shown = await operator.ask("/admin/webhooks/endpoints")
    [number] = [row["endpoint"] for row in shown["endpoints"] if row["url"] == other]
    merchant, _, payment, sequence = delivery.split(":")
    _, copy = await operator.ask(f"/admin/webhooks/deliveries/{merchant}:{number}:{payment}:{sequence}")
    _, original = await operator.ask(f"/admin/webhooks/deliveries/{delivery}")
    assert (copy["body"], copy["url"], original["url"]) == (original["body"], other, HOOK)


async def test_events_from_before_an_address_was_set_are_replayed(one: Process, operator: Operator):
    """To the addresses of today, once."""
    late = await shop(one, "Late")
    before = datetime.now(UTC) - timedelta(minutes=1)
    answer = await late.purchase("LATE-1")
    await one.directory.change("Late", {"feedback_url": HOOK})
    asked = {"since": before.isoformat(), "until": (datetime.now(UTC) + timedelta(minutes=1)).isoformat(), "merchant": "Late"}
    assert await operator.ask("/admin/webhooks/replay", asked) == (200, {"deliveries": 1})
    assert await operator.ask("/admin/webhooks/replay", asked) == (200, {"deliveries": 0})
    _, page = await operator.ask("/admin/webhooks/deliveries?merchant=Late")
    [row] = page["deliveries"]
    assert row["payment"] == answer["fort_id"]


async def test_notices_of_plans_are_replayed_where_they_were_not_told(one: Process, operator: Operator):
    """To the address of today, byte for byte and once: of one plan, of one name, or of all that were made in a range."""
    club = await members(one, "Plans", plan_url="http://127.0.0.1:9/old")
    for name in ("gym", "pool"):
        await club.plan(name, start=date(2026, 1, 31))
        await club.pause(name)
    await club.resume("gym")
    old = {one["sequence"] + one["plan_id"]: one for one in await club.notices()}
    assert sorted(old) == ["1gym", "1pool", "2gym"]
    await one.directory.change("Plans", {"plan_url": "http://127.0.0.1:9/new"})
    replay, of_gym = "/admin/webhooks/replay", {"merchant": "Plans", "plan": "gym"}
    assert await operator.ask(replay, {**of_gym, "event": "plan_resumed"}) == (200, {"deliveries": 1})
    assert await operator.ask(replay, of_gym) == (200, {"deliveries": 1})
    made = {"since": NOW.isoformat(), "until": (NOW + timedelta(seconds=1)).isoformat(), "merchant": "Plans"}
    assert await operator.ask(replay, {**made, "event": "plan_charged"}) == (200, {"deliveries": 0})
    assert await operator.ask(replay, made) == (200, {"deliveries": 1})
    assert await operator.ask(replay, made) == await operator.ask(replay, of_gym) == (200, {"deliveries": 0})
    rows = await one.fetch(
        "SELECT d.body, d.state FROM deliveries d JOIN endpoints e USING (merchant_id, endpoint_id) WHERE e.url LIKE '%/new'")
    assert {row["state"] for row in rows} == {"waiting"}
    assert sorted(row["body"] for row in rows) == sorted(
        row["body"] for row in await one.fetch("SELECT d.body FROM deliveries d JOIN endpoints e USING (merchant_id, endpoint_id) "
                                               "WHERE e.url LIKE '%/old'"))
    for wrong, field in (({"plan": "gym"}, "merchant"), ({**of_gym, "plan": "none"}, "plan"), ({"merchant": "Plans"}, "since"),
                         ({**of_gym, "since": "yesterday"}, "since")):
        status, answer = await operator.ask(replay, wrong)
        assert (status, answer["field"]) == (400, field), wrong


T0, T1 = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
WRONG: list[tuple[str, object, str]] = [
    ("endpoints?merchant=Nobody", None, "merchant"),
    ("deliveries?state=lost", None, "state"),
    ("deliveries?since=yesterday", None, "since"),
    (f"deliveries?since={T1}&until={T0}", None, "until"),
    ("deliveries?limit=501", None, "limit"),
    ("deliveries?after=1:2:3", None, "after"),
    ("deliveries?after=CycHZxVj:1:1:1", None, "after"),
    ("deliveries?merchant=Nobody", None, "merchant"),
    ("redeliver", [], "body"),
    ("redeliver", {}, "body"),
    ("redeliver", {"failed": True, "delivery": "x"}, "body"),
    ("redeliver", {"failed": True, "since": T0, "until": T1}, "body"),
    ("redeliver", {"failed": False}, "failed"),
    ("redeliver", {"everything": True}, "everything"),
    ("redeliver", {"since": T0}, "until"),
    ("redeliver", {"until": T0}, "since"),
    ("redeliver", {"since": T1, "until": T0}, "until"),
    ("redeliver", {"since": T0, "until": T0}, "until"),
    ("redeliver", {"since": "1 Jan", "until": T0}, "since"),
    ("redeliver", {"failed": True, "merchant": "Nobody"}, "merchant"),
    ("redeliver", {"delivery": "CycHZxVj:1:1:1", "merchant": "CycHZxVj"}, "merchant"),
    ("redeliver", {"failed": True, "url": "ftp://shop.example/"}, "url"),
    ("redeliver", {"failed": True, "url": "http://user:word@shop.example/"}, "url"),
    ("redeliver", {"failed": True, "url": "http://169.254.169.254/latest"}, "url"),
    ("redeliver", {"failed": True, "url": "http://10.0.0.1/"}, "url"),
    ("redeliver", {"failed": True, "url": "http://shop.example/#top"}, "url"),
    ("redeliver", {"failed": True, "url": 7}, "url"),
    ("replay", {}, "since"),
    ("replay", {"since": T1, "until": T0}, "until"),
    ("replay", {"since": T0, "until": T1, "merchant": "Nobody"}, "merchant"),
    ("replay", {"since": T0, "until": T1, "failed": True}, "failed"),
]


@pytest.mark.parametrize(("path", "body", "field"), WRONG, ids=lambda value: str(value)[:60])
async def test_what_makes_no_sense_is_refused_and_changes_nothing(one: Process, here: Shop, operator: Operator, path: str, body: object, field: str):
    """400, and which field."""
    before = await one.fetch("SELECT * FROM deliveries ORDER BY payment_id, endpoint_id"), await one.fetch("SELECT * FROM jobs")
    status, answer = await operator.ask(f"/admin/webhooks/{path}", body)
    assert (status, answer["field"]) == (400, field) and answer["error"]
    assert before == (await one.fetch("SELECT * FROM deliveries ORDER BY payment_id, endpoint_id"), await one.fetch("SELECT * FROM jobs"))


async def test_what_is_not_there_is_404_and_what_is_erased_cannot_be_sent(one: Process, here: Shop, operator: Operator):
    """By its id, whatever stands in it."""
    for name in ("CycHZxVj:1:1:1", "Nobody:1:1:1", "x", "CycHZxVj:1:9999999999999999999:1", "CycHZxVj:-1:1:1", "²:1:1:1"):
        assert (await operator.ask(f"/admin/webhooks/deliveries/{name}"))[0] == 404
        assert (await operator.ask("/admin/webhooks/redeliver", {"delivery": name}))[0] == 404
    delivery = await handed_out(one, await here.purchase("ERASED-1"))
    await one.pool.execute("UPDATE deliveries SET body = NULL WHERE payment_id = $1", int(delivery.split(":")[2]))
    status, answer = await operator.ask("/admin/webhooks/redeliver", {"delivery": delivery})
    assert (status, answer) == (409, {"error": "its bytes were erased"})
    assert (await operator.ask(f"/admin/webhooks/deliveries/{delivery}"))[1]["body"] is None


async def test_all_of_it_is_behind_the_token(operator: Operator):
    """Like everything of operators."""
    for path, body in (("endpoints", None), ("deliveries", None), ("deliveries/x", None), ("redeliver", {}), ("replay", {})):
        assert (await operator.ask(f"/admin/webhooks/{path}", body, token="wrong"))[0] == 401


def test_every_endpoint_is_described():
    """Paths and methods, as they are served."""
    served = {(route.path, method.lower()) for route in webhooks.routes(lambda endpoint: endpoint, None)    # type: ignore[arg-type]
              for method in route.methods or () if method != "HEAD"}
    assert served == {(path, method) for path, methods in webhooks.DESCRIBED.items() for method in methods}
