"""``ringfence trigger``: each event that it lists happens."""
from __future__ import annotations

import json

import pytest

from ringfence.api.ppro import notifications
from ringfence.cli import trigger_charges as charges
from ringfence.cli.trigger import WAYS
from ringfence.core.events import Event
from ringfence.failures import Exit
from tests.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(workers=1, environment={"RINGFENCE_ANSWER_SECONDS": "0.2"}) as running:
        yield running


@pytest.mark.parametrize("event", WAYS)
def test_an_event_is_made(sandbox: Sandbox, event: str):
    """By a payment of its own, whose story tells of it."""
    done = sandbox.command("trigger", event, "--yes", "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    made = json.loads(done.stdout)
    assert (made["event"]["type"], made["event"]["payment"], made["event"]["reference"]) == (event, made["payment"], made["reference"])


def test_the_clock_moves_only_if_that_is_wanted(sandbox: Sandbox):
    """Refused, nothing is paid and nothing moved."""
    before = sandbox.json("clock", "show")["ahead_seconds"]
    done = sandbox.command("trigger", "authorization_expired", input="n\n")
    assert done.returncode == 1 and "7d" in done.stderr and done.stdout == ""
    assert sandbox.json("clock", "show")["ahead_seconds"] == pytest.approx(before, abs=1)


def test_the_list_says_how(sandbox: Sandbox):
    """One line for an event, and the same for machines."""
    shown = sandbox.command("trigger", "--list")
    assert shown.returncode == 0 and all(event in shown.stdout for event in WAYS)
    assert sandbox.json("trigger", "--list")["events"].keys() == WAYS.keys() | charges.WAYS.keys()


@pytest.mark.parametrize(("event", "code"), [("chargeback_opened", Exit.REFUSED), ("purchase_aproved", Exit.USAGE), (None, Exit.USAGE)])
def test_what_no_payment_can_cause_is_refused_with_the_list(sandbox: Sandbox, event: str | None, code: Exit):
    """Whether it is an event or not."""
    done = sandbox.command("trigger", *([event] if event else []))
    assert done.returncode == code and "capture_declined" in done.stderr


def test_another_merchant_can_be_chosen(sandbox: Sandbox):
    """One of the seeded, one that was made, and none that is not there."""
    sandbox.command("merchant", "create", "Shop7")
    for merchant in ("RingfenceThree", "Shop7"):
        assert sandbox.json("trigger", "purchase_approved", "--merchant", merchant)["event"]["merchant"] == merchant
    assert sandbox.command("trigger", "purchase_approved", "--merchant", "Nobody").returncode == Exit.REFUSED


def test_every_listed_webhook_is_one():
    """Spelled as the door spells it."""
    said = {f"PAYMENT_CHARGE_{row.type}" for row in notifications.TOLD.values()}
    assert charges.WAYS.keys() <= said | {"PAYMENT_CHARGE_CREATED", "PAYMENT_CHARGE_DISCARDED"}


def test_every_listed_event_is_one():
    """Spelled as the core spells it."""
    assert WAYS.keys() <= {*Event}
