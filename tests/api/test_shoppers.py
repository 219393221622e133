"""Shoppers of stores over HTTP: registered, changed, listed, forgotten; what is wrong is named."""
from __future__ import annotations

from typing import Any

import pytest

from ringfence.api import openapi, shoppers
from ringfence.api.admin import guard
from ringfence.engine.shoppers import Shoppers
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import Process, Shop, shop
from tests.service.test_described import differences

pytestmark = pytest.mark.anyio


class Keeper:
    """An operator who keeps the shoppers of one merchant; every answer is held against its description."""

    def __init__(self, one: Process, identifier: str) -> None:
        self._operator = Operator(shoppers.routes(guard(TOKEN), shoppers.Services(Shoppers(one.pool, one.now), one.directory)))
        self._identifier = identifier

    async def ask(self, method: str, store: str, shopper: str = "", body: Any = None, query: str = "", merchant: str | None = None) -> tuple[int, Any]:
        path, where = f"/admin/jwo/stores/{store}/shoppers", "/admin/jwo/stores/{store}/shoppers"
        if shopper:
            path, where = f"{path}/{shopper}", f"{where}/{{shopper}}"
        status, told = await self._operator.ask(f"{path}?merchant={merchant or self._identifier}{query}", body, method=method)
        [content] = openapi.document()["paths"][where][method.lower()]["responses"][str(status)]["content"].values()
        if status == 200:
            assert list(differences(content["schema"], told)) == []
        return status, told


async def test_a_register_of_shoppers(one: Process, here: Shop):
    keeper = Keeper(one, here.identifier)
    for name in ("ana", "bo", "cy"):
        assert await keeper.ask("PUT", "S1", name, {"email": f"{name}@shop.example"}) == (200, {"shopper": name, "email": f"{name}@shop.example"})
    assert (await keeper.ask("PUT", "S1", "bo", {"email": "bo@home.example"}))[0] == 200
    status, first = await keeper.ask("GET", "S1", query="&limit=2")
    assert status == 200 and [one["email"] for one in first["shoppers"]] == ["ana@shop.example", "bo@home.example"] and first["next"] == "bo"
    _, rest = await keeper.ask("GET", "S1", query="&limit=2&after=bo")
    assert [one["shopper"] for one in rest["shoppers"]] == ["cy"] and rest["next"] is None
    assert (await keeper.ask("GET", "S2"))[1] == {"shoppers": [], "next": None}
    assert await keeper.ask("DELETE", "S1", "ana") == (200, {"forgotten": "ana"})
    assert (await keeper.ask("DELETE", "S1", "ana"))[0] == 404
    other = Keeper(one, (await shop(one, "Other")).identifier)
    assert (await other.ask("GET", "S1"))[1]["shoppers"] == [] and (await other.ask("DELETE", "S1", "bo"))[0] == 404


@pytest.mark.parametrize(("method", "store", "shopper", "body", "query", "field"), [
    ("PUT", "S 1", "ana", {"email": "a@b.example"}, "", "store"), ("PUT", "S1", "a b", {"email": "a@b.example"}, "", "shopper"),
    ("PUT", "S1", "ana", {}, "", "email"), ("PUT", "S1", "ana", {"email": 5}, "", "email"), ("PUT", "S1", "ana", {"email": "nowhere"}, "", "email"),
    ("PUT", "S1", "ana", {"email": f"{'a' * 120}@shop.example"}, "", "email"), ("PUT", "S1", "ana", {"email": "a@b.example", "name": "A"}, "", "name"),
    ("PUT", "S1", "ana", [], "", "body"), ("GET", "S1", "", None, "&limit=0", "limit"), ("GET", "S1", "", None, "&after=%00", "after"),
    ("DELETE", "S1", "a" * 256, None, "", "shopper"),
])
async def test_what_is_wrong_is_named(one: Process, here: Shop, method: str, store: str, shopper: str, body: Any, query: str, field: str):
    status, told = await Keeper(one, here.identifier).ask(method, store, shopper, body, query)
    assert (status, told["field"]) == (400, field)


async def test_a_merchant_that_nobody_knows(one: Process, here: Shop):
    status, told = await Keeper(one, here.identifier).ask("GET", "S1", merchant="Nobody")
    assert (status, told["field"]) == (400, "merchant")
