"""The sample retailer in front of a running sandbox: carts are told, priced and charged, keys are lent and switched off."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ringfence.cli.jwo_purchases import item_of
from tests.sandbox import Sandbox

RETAILER = Path(__file__).parents[2] / "examples" / "retailer" / "retailer.py"
CARD, POOR = "4000009900000004", "5555009900000000"
SECONDS = 30


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as running:
        assert running.command("jwo", "store", "set", "MARKET", "--currency", "USD", "--hold", "20.00").returncode == 0
        yield running


@contextmanager
def retailer(sandbox: Sandbox, *words: str, keys: dict[str, str] | None = None) -> Iterator[Any]:
    """The retailer, known to the sandbox's first merchant; gives a function that waits for a line of its output."""
    jwo = sandbox.description["merchants"][0]["jwo"]
    url = f"http://127.0.0.1:{sandbox.port}"
    keys = keys or {"access_key_id": jwo["access_key_id"], "secret_access_key": jwo["secret_access_key"]}
    environment = {f"AWS_{name.upper()}": value for name, value in keys.items() if name != "expiration"} | {
        "AWS_REGION": jwo["region"], "PAYMENT_API_ENDPOINT": url, "CHECKOUT_API_ENDPOINT": url, "CONNECTOR_ACCESS_KEY_ID": jwo["access_key_id"],
        "CONNECTOR_SECRET": jwo["connector_secret"], "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen([sys.executable, str(RETAILER), "--port", "0", *words], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, **environment})
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip().rpartition(" ")[2]
        asked(sandbox, "/admin/merchants/RingfenceOne", {"settings": {
            "connector_purchases_url": f"MARKET={address}", "connector_authorization_url": address, "trip_risk": "recommendation"}}, "PATCH")
        yield process.stdout.readline
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def visit(sandbox: Sandbox, name: str, *items: str, card: str = CARD, **come: str) -> None:
    """Somebody comes in and leaves with these."""
    opened = asked(sandbox, "/admin/jwo/trips", {"store": "MARKET", "card": card, "expiry": "3912", "trip": name, **come})
    assert opened["opened"], opened
    asked(sandbox, f"/admin/jwo/trips/{name}/end", {"items": [item_of(one) for one in items]})


def stands(sandbox: Sandbox, name: str, state: str) -> dict[str, Any]:
    """The trip, once it is in that state."""
    until = time.monotonic() + SECONDS
    while (trip := asked(sandbox, f"/admin/jwo/trips/{name}"))["state"] != state and time.monotonic() < until:
        time.sleep(0.1)
    assert trip["state"] == state, trip
    return trip


def test_a_cart_becomes_a_capture(sandbox: Sandbox):
    """Above its hold too; nothing bought gives the hold back."""
    with retailer(sandbox) as said:
        visit(sandbox, "lunch", "sandwich", "water:2")
        assert said() == "trip lunch: 9.71 of 9.71 USD captured\n"
        visit(sandbox, "music", "headphones")
        assert said() == "trip music: 62.54 of 62.54 USD captured\n"
        visit(sandbox, "looking")
        assert said() == "trip looking: nothing was bought, and the hold is given back\n"
    assert (stands(sandbox, "lunch", "captured")["captured"], stands(sandbox, "music", "captured")["captured"]) == (971, 6254)
    stands(sandbox, "looking", "cancelled")
    told = {one["trip"]: one for one in sandbox.json("jwo", "purchase", "list")["purchases"]}
    assert [told[name]["state"] for name in ("lunch", "music", "looking")] == ["taken"] * 3
    assert told["lunch"]["purchase_id"] == "order-1" and told["looking"]["purchase_id"] == ""
    assert sandbox.json("proof")["ok"] is True


def test_what_an_issuer_does_not_allow_is_owed(sandbox: Sandbox):
    """The retailer takes what stands, of an increment that was approved in part too; and its card does not come in again."""
    with retailer(sandbox) as said:
        asked(sandbox, "/admin/simulator", {"balance": {"card": POOR, "currency": "USD", "minor": 2_500}})
        visit(sandbox, "short", "headphones", card=POOR)
        assert said() == "trip short: 25.00 of 62.54 USD captured, 37.54 are owed\n"
        assert not asked(sandbox, "/admin/jwo/trips", {"store": "MARKET", "card": POOR, "expiry": "3912"})["opened"]


def test_a_cart_goes_through_the_checkout_service_with_a_lent_key(sandbox: Sandbox):
    """The key may check out in that store, and nothing else."""
    jwo = sandbox.description["merchants"][0]["jwo"]
    lent = sandbox.json("jwo", "key", "session", jwo["access_key_id"], "--operation", "checkout", "--store", "MARKET")
    assert lent["access_key_id"].startswith("ASIA")
    with retailer(sandbox, "--checkout", keys=lent) as said:
        visit(sandbox, "groceries", "0012345678905:2", "apples:0.455:kg", shopper="bo")
        assert said().startswith("trip groceries: order ")
    assert stands(sandbox, "groceries", "captured")["captured"] == 774


def test_the_command_line_says_who_left_with_what(sandbox: Sandbox):
    """And has what was refused told again."""
    with retailer(sandbox) as said:
        opened = sandbox.command("jwo", "trip", "open", "--store", "MARKET", "--card", CARD, "--trip", "typed")
        assert opened.returncode == 0, opened.stderr
        ended = sandbox.command("jwo", "trip", "end", "typed", "--item", "caviar:2")
        assert ended.returncode == 0, ended.stderr
        assert said() == "trip typed: caviar has no price\n"
        refused = asked(sandbox, "/admin/jwo/purchases?state=refused")["purchases"]
        until = time.monotonic() + SECONDS
        while not refused and time.monotonic() < until:
            refused = asked(sandbox, "/admin/jwo/purchases?state=refused")["purchases"]
        assert [(one["trip"], one["note"]) for one in refused] == [("typed", "status 400")]
    assert "status 400" in sandbox.command("jwo", "purchase", "list", "--state", "refused").stdout
    assert sandbox.command("jwo", "purchase", "again", "--trip", "typed").stdout == "1 are told again.\n"


def test_who_is_not_welcome_stays_outside(sandbox: Sandbox):
    with retailer(sandbox, "--not-welcome", "mallory"):
        shut = sandbox.command("jwo", "trip", "open", "--store", "MARKET", "--card", CARD, "--shopper", "mallory")
        assert shut.returncode == 9 and "not wanted" in shut.stderr


def test_keys_are_kept_by_the_command_line(sandbox: Sandbox):
    """Made, narrowed, listed, switched off for good."""
    made = sandbox.json("jwo", "key", "add", "--operation", "refund", "--store", "MARKET")
    assert made["operations"] == ["refund"] and len(made["secret_access_key"]) == 40
    name = made["access_key_id"]
    assert sandbox.json("jwo", "key", "set", name, "--all-operations", "--region", "eu-west-1") == {
        "access_key_id": name, "operations": [], "stores": ["MARKET"], "regions": ["eu-west-1"]}
    listed = sandbox.command("jwo", "key", "list").stdout
    assert name in listed and "eu-west-1" in listed and made["secret_access_key"] not in listed
    assert f"{name} is off; 1 are left." in sandbox.command("jwo", "key", "off", name).stdout
    again = sandbox.command("jwo", "key", "off", name)
    assert again.returncode == 9 and "there is no such merchant with an access key of that id in force" in again.stderr
    wrong = sandbox.command("jwo", "key", "add", "--operation", "everything")
    assert wrong.returncode == 9 and "operations must be among adjust" in wrong.stderr
    exported = sandbox.command("jwo", "key", "session", "AKIARINGFENCESANDBOX", "--export").stdout.splitlines()
    assert [line.partition("=")[0] for line in exported] == [
        "export AWS_ACCESS_KEY_ID", "export AWS_SECRET_ACCESS_KEY", "export AWS_SESSION_TOKEN"]


def asked(sandbox: Sandbox, path: str, body: object = None, method: str | None = None) -> Any:
    """What the operator's API answers."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{sandbox.port}{path}", None if body is None else json.dumps(body).encode(),
        {"authorization": f"Bearer {sandbox.description['admin']}"}, method=method)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return json.load(answer)
