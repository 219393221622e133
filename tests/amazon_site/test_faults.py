"""What goes wrong on demand, and that asking again with the same key is harmless."""
from __future__ import annotations

import json

import pytest

from tests.amazon_site.site_asking import TOKEN, ask
from tests.amazon_site.test_notifications import order
from tests.amazon_site.test_paying import capture, charge, permission_of, standing

pytestmark = pytest.mark.anyio

ADMIN = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(("status", "code"), [(500, "InternalServerError"), (503, "ServiceUnavailable"), (429, "TooManyRequests")])
async def test_a_status_without_having_done_anything(here, status, code):
    done = await here.bought(here.shop.payload("100.00", "Confirm"))
    await order(here, operation="createCharge", kind="status", value=status, times=2)
    for _ in range(2):
        assert (await charge(here, done.json["chargePermissionId"], key="k")).problem == (status, code)
    assert (await here.shop.ask("GET", "/charges/x")).status == 404
    assert standing(await permission_of(here, done))[2] == "100.00"
    assert (await charge(here, done.json["chargePermissionId"], key="k")).status == 201


@pytest.mark.parametrize("how", ["cut", "silence"])
async def test_an_answer_that_is_lost_behind_what_was_done(here, how):
    """The repeat with the same key hears the first answer, and nothing happens twice."""
    done = await here.bought(here.shop.payload("100.00", "Confirm"))
    await order(here, operation="createCharge", kind="drop", value=how)
    lost = await charge(here, done.json["chargePermissionId"], key="k")
    assert lost.status == (200 + 1 if how == "cut" else 0) and (not lost.body or int(lost.headers["content-length"]) > len(lost.body))
    again = await charge(here, done.json["chargePermissionId"], key="k")
    assert again.status == 201 and again.json["chargeId"].endswith("-C000001")
    assert standing(await permission_of(here, done))[2] == "90.00"


async def test_a_code_without_a_header(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    await order(here, operation="captureCharge", kind="simulate", value="AmazonRejected")
    assert (await capture(here, done.json["chargeId"])).problem == (422, "AmazonRejected")


async def test_an_answer_that_takes_its_time(here):
    from time import monotonic
    await order(here, operation="*", kind="delay", value=0.05)
    began = monotonic()
    assert (await here.shop.ask("GET", "/charges/x")).status == 404
    assert monotonic() - began >= 0.05


async def test_faults_are_listed_and_ended(here):
    await order(here, operation="getCharge", kind="status", value=503, times=9)
    assert (await here.shop.ask("GET", "/charges/x")).status == 503
    listed = await ask(here.app, "GET", "/amazon/faults", b"", ADMIN)
    assert listed.json == {"faults": [{"operation": "getCharge", "kind": "status", "value": "503", "times": 8}]}
    assert (await ask(here.app, "DELETE", "/amazon/faults", b"", ADMIN)).json == {"faults": []}
    assert (await here.shop.ask("GET", "/charges/x")).status == 404


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}])
@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/amazon/faults"), ("POST", "/amazon/faults"), ("DELETE", "/amazon/faults"), ("GET", "/amazon/notifications")])
async def test_only_an_administrator_may(here, method, path, headers):
    assert (await ask(here.app, method, path, b"{}", headers)).status == 401


@pytest.mark.parametrize("wrong", [
    b"{", b"[]", {"kind": "none"}, {"kind": "status", "value": 418}, {"kind": "status", "value": [500]}, {"kind": "status", "value": 500, "times": 0},
    {"kind": "status", "value": 500, "times": True}, {"kind": "delay", "value": 61}, {"kind": "delay", "value": "1"},
    {"kind": "drop", "value": "loudly"}, {"kind": "late", "value": 1}, {"operation": "none", "kind": "drop", "value": "cut"},
    {"operation": "notification", "kind": "late", "value": -1}, {"operation": "notification", "kind": "status", "value": 500},
    {"operation": "createCharge", "kind": "simulate", "value": "BuyerCanceled"}, {"operation": "*", "kind": "simulate", "value": "HardDeclined"},
    {"operation": ["createCharge"], "kind": "drop", "value": "cut"}, {"kind": "status", "value": 500, "else": 1}, b"[" * 9_000, b"x" * 20_000])
async def test_an_order_that_cannot_be_understood(here, wrong):
    body = wrong if isinstance(wrong, bytes) else json.dumps(wrong).encode()
    answer = await ask(here.app, "POST", "/amazon/faults", body, ADMIN)
    assert answer.status == 400 and answer.json["error"]
