"""``ringfence retention`` against a running sandbox and beside a stopped one: what it prints, what it refuses, and what is gone afterwards."""
from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from ringfence.failures import Exit
from ringfence.storage.postgres import address
from tests.sandbox import CARD, Client, Sandbox
from tests.service.test_up import call


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, environment={"RINGFENCE_RETENTION_CARD_DAYS": "40", "RINGFENCE_RETENTION_DELIVERY_DAYS": "5"}) as running:
        yield running


def paid(sandbox: Sandbox, command: str, reference: str, *, merchant: int = 0) -> str:
    """A payment's id; its events were handed out."""
    async def pay() -> str:
        client = Client(sandbox.port, sandbox.merchant(merchant))
        answer = await client.ask(**{**CARD, "command": command, "merchant_reference": reference, "amount": "1000"})
        await client.close()
        assert answer["status"] in ("02", "14"), answer
        connection = await asyncpg.connect(address(sandbox.data))
        while await connection.fetchval("SELECT EXISTS (SELECT FROM batches b LEFT JOIN follows f USING (lane) WHERE b.number > coalesce(f.number, 0))"):
            await asyncio.sleep(0)
        await connection.close()
        return answer["fort_id"]
    return asyncio.run(pay())


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {line["what"]: line["count"] for line in report["lines"]}


def test_it_shows_the_policy_that_was_configured(sandbox: Sandbox):
    """For machines and for people; nothing would go from a fresh sandbox."""
    shown = sandbox.json("retention", "show")
    assert shown["policy"] == {"card_days": 40, "personal_days": 1095, "delivery_days": 5, "report_days": 7} and shown["dry_run"] is True
    assert set(counts(shown)) == {"cards", "authentications", "details", "holders", "plans", "links", "agreements", "trips", "deliveries", "notices", "sdk_tokens", "evidence",
                                  "reports"}
    assert not any(counts(shown).values())
    printed = sandbox.command("retention", "show").stdout
    assert "cards 40, personal data 1095, deliveries 5, reports 7 days" in printed and "sdk tokens" in printed


def test_one_payment_is_erased_by_the_name_its_merchant_knows(sandbox: Sandbox):
    """First said, then done; its money can still be given back."""
    paid(sandbox, "PURCHASE", "FORGET-1")
    would = sandbox.json("retention", "run", "--payment", "FORGET-1", "--dry-run")
    assert counts(would) == {"cards": 1, "details": 1, "deliveries": 0} and would["dry_run"] is True
    done = sandbox.json("retention", "run", "--payment", "FORGET-1")
    assert counts(done) == counts(would) and done["dry_run"] is False
    assert counts(sandbox.json("retention", "run", "--payment", done["payment"])) == {"cards": 0, "details": 0, "deliveries": 0}

    async def refunded() -> str:
        client = Client(sandbox.port, sandbox.merchant())
        code = (await client.refund("FORGET-1", 1000))["response_code"]
        await client.close()
        return code
    assert asyncio.run(refunded()) == "06000"


def test_what_cannot_be_erased_is_refused_with_the_reason(sandbox: Sandbox):
    """An open hold, a name that nothing has, one that two merchants have, and a merchant without a payment."""
    paid(sandbox, "AUTHORIZATION", "OPEN-1")
    refused = sandbox.command("retention", "run", "--payment", "OPEN-1")
    assert refused.returncode == Exit.REFUSED and "of its hold are open" in refused.stderr
    nothing = sandbox.command("retention", "run", "--payment", "NOTHING-1")
    assert nothing.returncode == Exit.REFUSED and "no payment has that id or reference" in nothing.stderr
    mine, others = paid(sandbox, "PURCHASE", "TWICE-1"), paid(sandbox, "PURCHASE", "TWICE-1", merchant=1)
    twice = sandbox.command("retention", "run", "--payment", "TWICE-1", "--dry-run")
    assert twice.returncode == Exit.REFUSED and mine in twice.stderr and others in twice.stderr
    whose = sandbox.merchant(1)["merchant_identifier"]
    assert sandbox.json("retention", "run", "--payment", "TWICE-1", "--merchant", whose, "--dry-run")["payment"] == others
    assert sandbox.command("retention", "run", "--merchant", whose).returncode == Exit.USAGE


WRONG = [
    ({"dry_run": "yes"}, "dry_run"), ({"payment": 7}, "payment"), ({"payment": "A\0"}, "payment"), ({"merchant": "X"}, "merchant"),
    ({"all": True}, "all"), ([], "body"),
]


@pytest.mark.parametrize(("body", "field"), WRONG)
def test_an_order_that_makes_no_sense_is_refused(sandbox: Sandbox, body: Any, field: str):
    """400, the field by its name; nothing goes."""
    status, answer = call(sandbox, "/admin/retention", method="POST", body=body)
    assert status == 400 and answer["field"] == field


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_erases_without_the_token(sandbox: Sandbox, method: str):
    """Nor looks."""
    assert call(sandbox, "/admin/retention", method=method, token="wrong")[0] == 401


def test_what_is_due_goes_once_time_has_passed_also_without_a_service(sandbox: Sandbox):
    """A dry run beside the stopped service says what the run then does."""
    paid(sandbox, "PURCHASE", "AGED-1", merchant=1)
    assert sandbox.stop() == Exit.OK
    assert sandbox.command("clock", "advance", "41d").returncode == Exit.OK
    would = counts(sandbox.json("retention", "run", "--dry-run"))
    assert would["cards"] == 1 and would["details"] == 0
    assert counts(sandbox.json("retention", "run")) == would
    assert not any(counts(sandbox.json("retention", "show")).values())
    assert sandbox.json("proof")["ok"] is True
