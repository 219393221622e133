"""Plans over HTTP: made, shown, listed, changed, paused, resumed and ended; what is wrong is named, and nothing of it happens."""
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ringfence.api import openapi, plans
from ringfence.api.admin import guard
from tests.api.asking import TOKEN, Operator
from tests.background.planning import BEGIN, DAY, Members, members
from tests.engine.composition import NOW, Process, Time, process, shop
from tests.service.test_described import differences

pytestmark = pytest.mark.anyio
WISH = {"merchant": "Club", "plan_id": "gym", "token_name": "T1", "amount": 2500, "currency": "AED", "customer_email": "sara@example.com",
        "start": "2026-01-31"}


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time()) as running:
        yield running


@pytest.fixture
async def club(one: Process) -> Members:
    return await members(one)


@pytest.fixture
def operator(club: Members, one: Process) -> Operator:
    return Operator(plans.routes(guard(TOKEN), plans.Services(one.directory, club.plans, one.now)))


def as_described(path: str, method: str, answer: tuple[int, Any]) -> Any:
    """The answer, which is what the description says it is."""
    status, body = answer
    [content] = openapi.document()["paths"][path][method]["responses"][str(status)]["content"].values()
    assert not list(differences(content["schema"], body))
    return body


PLAN = "/admin/plans/{merchant}/{plan}"


async def test_a_plan_over_its_whole_life(operator: Operator, club: Members, one: Process):
    """Each answer is the plan as it stands then, as the description has it."""
    made = as_described("/admin/plans", "post", await operator.ask("/admin/plans", WISH))
    assert (made["status"], made["kind"], made["unit"], made["anchor"], made["failed"]) == ("active", "charge", "month", 31, "pause")
    assert [one["due_date"] for one in made["next"]] == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]
    found = as_described("/admin/plans/due", "get", await operator.ask("/admin/plans/due?until=60d"))
    assert [(one["due_date"], one["what"], one["amount"]) for one in found["due"]] == [("2026-01-31", "charge", 2500), ("2026-02-28", "charge", 2500)]
    await club.until(BEGIN + DAY)
    shown = as_described(PLAN, "get", await operator.ask("/admin/plans/Club/gym"))
    (period,) = shown["periods"]
    assert (period["state"], period["reference"], period["attempts"][0]["result"]) == ("charged", "gym.20260131.1", "approved")
    assert period["payment"] == str(await one.value("SELECT payment_id FROM operations WHERE source = 'plan'"))
    for act, body, status in (("pause", {"reason": "holiday"}, "paused"), ("resume", {}, "active"), ("end", {}, "ended")):
        assert as_described(f"{PLAN}/{act}", "post", await operator.ask(f"/admin/plans/Club/gym/{act}", body))["status"] == status
    assert await operator.ask("/admin/plans/Club/gym/resume", {}) == (409, {"error": "it is ended; only a paused or stopped plan can be resumed"})


async def test_plans_are_listed_page_by_page(operator: Operator, club: Members, one: Process):
    """Of all merchants or of one, in one state."""
    await shop(one, "Other")
    for name in ("a", "b", "c"):
        await club.plan(name)
    await club.pause("b")
    page = as_described("/admin/plans", "get", await operator.ask("/admin/plans?limit=2"))
    assert [one["plan_id"] for one in page["plans"]] == ["a", "b"] and page["next"] == "Club:2"
    assert [one["plan_id"] for one in (await operator.ask(f"/admin/plans?limit=2&after={page['next']}"))[1]["plans"]] == ["c"]
    assert [one["plan_id"] for one in (await operator.ask("/admin/plans?status=paused"))[1]["plans"]] == ["b"]
    assert (await operator.ask("/admin/plans?merchant=Other"))[1] == {"plans": [], "next": None}


#: Where, what is sent, the status, and the field that is named.
REFUSED = [
    ("/admin/plans", {**WISH, "amount": "2500"}, 400, "amount"), ("/admin/plans", {**WISH, "amount": True}, 400, "amount"),
    ("/admin/plans", {**WISH, "amount": 10**30}, 400, "amount"), ("/admin/plans", {**WISH, "amount": 0}, 400, "amount"),
    ("/admin/plans", {**WISH, "merchant": "Nobody"}, 400, "merchant"), ("/admin/plans", {**WISH, "plan_id": "a b"}, 400, "plan_id"),
    ("/admin/plans", {**WISH, "plan_id": "a\0"}, 400, "plan_id"), ("/admin/plans", {**WISH, "token_name": ""}, 400, "token_name"),
    ("/admin/plans", {**WISH, "token_name": "T9"}, 400, "token_name"), ("/admin/plans", {**WISH, "start": "31.01.2026"}, 400, "start"),
    ("/admin/plans", {**WISH, "start": "2026-02-30"}, 400, "start"), ("/admin/plans", {**WISH, "start": "9999-12-31"}, 400, "start"),
    ("/admin/plans", {**WISH, "start": 20260131}, 400, "start"), ("/admin/plans", {**WISH, "every": 1.5}, 400, "every"),
    ("/admin/plans", {**WISH, "count": -10**20}, 400, "count"), ("/admin/plans", {**WISH, "zone": "\u00e9"}, 400, "zone"),
    ("/admin/plans", {**WISH, "kind": "invoice"}, 400, "token_name"), ("/admin/plans", {**WISH, "colour": "red"}, 400, "colour"),
    ("/admin/plans", {**WISH, "description": "a=b"}, 400, "plan"), ("/admin/plans", [], 400, "body"),
    ("/admin/plans/Club/none/pause", {}, 404, None), ("/admin/plans/Nobody/gym/end", {}, 404, None),
    ("/admin/plans/Club/none/resume", {"charge_missed": "yes"}, 400, "charge_missed"), ("/admin/plans/Club/none/pause", {"reason": "x" * 201}, 400, "reason"),
    ("/admin/plans/Club/none", None, 404, None), ("/admin/plans/Club/n\u00e9", None, 404, None), ("/admin/plans?limit=0", None, 400, "limit"),
    ("/admin/plans?limit=1e9", None, 400, "limit"), ("/admin/plans?status=tired", None, 400, "status"), ("/admin/plans?after=x", None, 400, "after"),
    ("/admin/plans?after=Club:99999999999999999999", None, 400, "after"), ("/admin/plans?merchant=Nobody", None, 400, "merchant"),
    ("/admin/plans/due?until=yesterday", None, 400, "until"), ("/admin/plans/due?until=2020-01-01", None, 400, "until"),
    ("/admin/plans/due?until=9999w", None, 400, "until"), ("/admin/plans/due?until=999999w", None, 400, "until"),
]


async def test_what_is_wrong_is_named_and_changes_nothing(operator: Operator, one: Process):
    """Never a crash; the answer says what to do."""
    for path, body, status, field in REFUSED:
        got, answer = await operator.ask(path, body)
        assert (got, answer.get("field")) == (status, field) and answer["error"], (path, body, answer)
    assert await one.value("SELECT count(*) FROM plans") == 0 and one.now.now == NOW
    assert (await operator.ask("/admin/plans", token="another"))[0] == 401
