"""Access keys, lent keys and what retailers are told, over the operator's HTTP."""
from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from ringfence.api import access_keys, openapi, purchases
from ringfence.api.admin import BadInput, guard
from ringfence.engine.purchases import Purchases
from ringfence.engine.session_tokens import opener
from ringfence.storage import purchases as rows
from tests.api.asking import TOKEN, Operator
from tests.api.jwo.signing import SECRET
from tests.engine.composition import Process, shop
from tests.service.test_described import differences

pytestmark = pytest.mark.anyio

_numbers = itertools.count(1)


def described(path: str, method: str, status: int, answer: Any) -> list[str]:
    """Where an answer is not as the description has it."""
    content, = openapi.document()["paths"][path][method]["responses"][str(status)]["content"].values()
    return list(differences(content["schema"], answer))


@dataclass
class Desk:
    """An operator of one merchant without keys."""

    one: Process
    name: str
    operator: Operator

    @property
    def path(self) -> str:
        return f"/admin/merchants/{self.name}/access-keys"

    async def ask(self, path: str, body: object = None, **options: Any) -> tuple[int, Any]:
        return await self.operator.ask(path, body, **options)


@pytest.fixture
async def desk(one: Process) -> Desk:
    async def everywhere() -> None:
        """One process knows what it did."""

    name = f"Keys{next(_numbers)}"
    await shop(one, name)
    told = Purchases(one.pool, one.directory, b"k" * 32, one.now)
    guarded = guard(TOKEN)
    return Desk(one, name, Operator([
        *access_keys.routes(guarded, access_keys.Services(one.directory, one.keyring, everywhere)),
        *purchases.routes(guarded, purchases.Services(told, one.directory))]))


async def test_a_key_is_made_shown_once_narrowed_and_switched_off(desk: Desk):
    status, made = await desk.ask(desk.path, {"operations": ["adjust"], "stores": ["STORE-001"]})
    assert status == 201 and described("/admin/merchants/{identifier}/access-keys", "post", 201, made) == []
    name = made["access_key_id"]
    assert name.startswith("AKIA") and len(name) == 20 and len(made["secret_access_key"]) == len(made["connector_secret"]) == 40
    status, listed = await desk.ask(desk.path)
    assert (status, listed) == (200, {"access_keys": [
        {"access_key_id": name, "operations": ["adjust"], "stores": ["STORE-001"], "regions": []}]})
    status, changed = await desk.ask(f"{desk.path}/{name}", {"stores": []}, method="PATCH")
    assert (status, changed["operations"], changed["stores"]) == (200, ["adjust"], [])
    assert await desk.ask(f"{desk.path}/{name}", method="DELETE") == (200, {"access_keys": []})
    for method, body in (("DELETE", None), ("PATCH", {"stores": []})):
        assert (await desk.ask(f"{desk.path}/{name}", body, method=method))[0] == 404


async def test_a_key_of_ones_own(desk: Desk):
    wanted = {"access_key_id": f"AKIDMINE{desk.name.upper()}", "secret_access_key": SECRET, "connector_secret": "connector-secret-not-real"}
    status, made = await desk.ask(desk.path, wanted)
    assert status == 201 and {name: made[name] for name in wanted} == wanted
    status, refused = await desk.ask(desk.path, wanted)
    assert (status, refused["field"]) == (400, "access_key_id")


@pytest.mark.parametrize(("body", "field"), [
    ({"access_key_id": "akia"}, "access_key_id"), ({"access_key_id": 1}, "access_key_id"), ({"access_key_id": "A" * 129}, "access_key_id"),
    ({"secret_access_key": "short"}, "secret_access_key"), ({"connector_secret": "with a space in it"}, "connector_secret"),
    ({"operations": ["everything"]}, "operations"), ({"operations": "adjust"}, "operations"), ({"operations": [1]}, "operations"),
    ({"stores": ["not a store"]}, "stores"), ({"stores": [""]}, "stores"), ({"regions": ["US EAST"]}, "regions"), ({"region": []}, "region"),
    ([], "body"),
])
async def test_what_is_wrong_with_a_key_is_named(desk: Desk, body: Any, field: str):
    status, refused = await desk.ask(desk.path, body)
    assert (status, refused["field"]) == (400, field)
    assert await desk.ask(desk.path) == (200, {"access_keys": []})


async def test_a_key_is_lent(desk: Desk):
    _, made = await desk.ask(desk.path, {})
    path = f"{desk.path}/{made['access_key_id']}/session"
    status, lent = await desk.ask(path, {"seconds": 900, "stores": ["STORE-001"]})
    assert status == 201
    assert described("/admin/merchants/{identifier}/access-keys/{access_key_id}/session", "post", 201, lent) == []
    session = opener(desk.one.keyring)(lent["session_token"])
    assert session is not None and (session.access_key_id, session.secret) == (lent["access_key_id"], lent["secret_access_key"])
    assert session.lender == made["access_key_id"] and session.allowed.stores == {"STORE-001"}
    for body, field in (({"seconds": 899}, "seconds"), ({"seconds": 43_201}, "seconds"), ({"seconds": True}, "seconds"), ({"seconds": "900"}, "seconds"),
                        ({"operations": ["x"]}, "operations"), ({"regions": []}, "regions")):
        status, refused = await desk.ask(path, body)
        assert (status, refused["field"]) == (400, field)
    assert (await desk.ask(path.replace("AKIA", "AKIB"), {}))[0] == 404
    assert opener(desk.one.keyring)(lent["session_token"][4:]) is None


async def test_nobody_without_the_token_and_no_merchant_without_a_name(desk: Desk):
    assert (await desk.ask(desk.path, token="wrong"))[0] == 401
    assert (await desk.ask("/admin/merchants/Nobody/access-keys"))[0] == 404
    assert (await desk.ask("/admin/merchants/Nobody/access-keys", {}))[0] == 404


async def test_purchases_are_listed_and_told_again(desk: Desk):
    merchant = desk.one.directory.merchant(desk.name)
    assert merchant is not None
    now = desk.one.now()
    async with desk.one.pool.acquire() as connection, connection.transaction():
        for number, name in ((1, "trip-1"), (2, "trip-2")):
            assert await rows.put(connection, merchant.merchant_id, number, "STORE-001", name, now, b"{}", now, now + timedelta(hours=46))
        for one in await rows.purchases(connection, merchant.merchant_id, "waiting", 10):
            await rows.note(connection, one, 400, "refused", "status 400", "", now)
    status, listed = await desk.ask(f"/admin/jwo/purchases?merchant={desk.name}&state=refused")
    assert status == 200 and described("/admin/jwo/purchases", "get", 200, listed) == []
    assert [(one["trip"], one["attempts"], one["note"]) for one in listed["purchases"]] == [("trip-2", 1, "status 400"), ("trip-1", 1, "status 400")]
    again = "/admin/jwo/purchases/again"
    assert await desk.ask(again, {"merchant": desk.name, "trip": "trip-1", "store": "OTHER"}) == (200, {"again": 0})
    assert await desk.ask(again, {"merchant": desk.name, "trip": "trip-1"}) == (200, {"again": 1})
    assert await desk.ask(again, {"merchant": desk.name}) == (200, {"again": 1})
    assert [one["state"] for one in (await desk.ask(f"/admin/jwo/purchases?merchant={desk.name}"))[1]["purchases"]] == ["waiting"] * 2
    for path, body, field in (("/admin/jwo/purchases?state=lost", None, "state"), ("/admin/jwo/purchases?merchant=Nobody", None, "merchant"),
                              (again, {"merchant": "Nobody"}, "merchant"), (again, {"all": True}, "all")):
        status, refused = await desk.ask(path, body)
        assert (status, refused["field"]) == (400, field)


@pytest.mark.parametrize("body", [
    {"items": {}}, {"items": [1]}, {"items": [{}]}, {"items": [{"id": ""}]}, {"items": [{"id": "x" * 256}]}, {"items": [{"id": "x", "quantity": "0"}]},
    {"items": [{"id": "x", "quantity": "-1"}]}, {"items": [{"id": "x", "quantity": "1e3"}]}, {"items": [{"id": "x", "quantity": 1}]},
    {"items": [{"id": "x", "quantity": "NaN"}]}, {"items": [{"id": "x", "type": "UPC"}]}, {"items": [{"id": "x", "unit": ""}]},
    {"items": [{"id": "x", "upcs": [""]}]}, {"items": [{"id": "x", "price": "1.00"}]}, {"items": [{"id": "x"}] * 1_001}, {"cart": []}, [], "x",
])
async def test_a_cart_that_is_none(body: Any):
    """Wherever it comes in."""
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": msgspec.json.encode(body), "more_body": False}

    with pytest.raises(BadInput):
        await purchases.read_items(Request({"type": "http", "headers": [], "method": "POST"}, receive))


def test_the_paths_are_described():
    for module in (access_keys, purchases):
        assert module.DESCRIBED.keys() <= openapi.document()["paths"].keys()
