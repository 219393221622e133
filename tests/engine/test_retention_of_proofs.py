"""Retention of what proves who paid (3-D Secure), on a real database: when it goes, what stays, and that nobody misses it."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from ringfence.core.authentication import Status
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine import retention
from ringfence.engine.authenticating import read_address
from ringfence.engine.retention import Refused, Report
from ringfence.engine.story import explain
from ringfence.processors.authenticator import Said
from tests.api.aps.test_three_d_secure import proof
from tests.engine.composition import AUTHENTICATED, CARD, Process, Shop
from tests.engine.test_retention import DAY, erase, everything_stored, here, one, run

__all__ = ["here", "one"]
pytestmark = pytest.mark.anyio

IDENTIFIES = (AUTHENTICATED.cavv, "ds-secret", "acs-secret")


async def challenged(one: Process, here: Shop, reference: str = "C-1", command: str = "PURCHASE") -> str:
    """A payment whose payer acts on the bank's page; the page's address."""
    one.issuers.say(Said(Status.CHALLENGE, ds_id="ds-secret", version="2.1.0", acs_id="acs-secret"))
    answer = await here.pay(command, reference)
    assert answer["response_code"] == "20064"
    return answer["3ds_url"].rpartition("/")[2]


async def authenticated(one: Process, here: Shop, reference: str = "C-1", command: str = "PURCHASE") -> str:
    """... and did, and the payment was asked for."""
    page = await challenged(one, here, reference, command)
    address = read_address(page)
    one.issuers.results["acs-secret"] = AUTHENTICATED._replace(ds_id="ds-secret", version="2.1.0")
    await one.challenges.carry_on(address.merchant_id, address.authentication_id)
    return page


async def holds(one: Process) -> bool:
    """Whether anything that identifies is stored anywhere; all of it or nothing, hash of the page's address included."""
    stored = await everything_stored(one)
    there = {value in stored for value in IDENTIFIES} | set(await one.value("SELECT array_agg(token_hash IS NOT NULL) FROM authentications"))
    assert len(there) == 1, there
    return there.pop()


async def test_the_proof_goes_with_the_card_and_nothing_else_notices(one: Process, here: Shop):
    """Who was asked and how it ended stays, also in the story; the proof of the money holds; a refund cites the original."""
    page = await authenticated(one, here)
    assert await holds(one)
    before = await explain(one.pool, "C-1", keys=lambda reference: [f"aps:{reference}"])
    assert (await run(one))["authentications"] == 0
    one.now.now += 99 * DAY
    assert (await run(one))["authentications"] == 0 and await holds(one)
    one.now.now += 2 * DAY
    assert (await run(one, dry_run=True))["authentications"] == 1 and await holds(one)
    await one.prove()
    assert (await run(one))["authentications"] == 1 and not await holds(one)
    await one.prove()
    assert (await run(one))["authentications"] == 0
    kept = (await one.fetch("SELECT status, eci, version, minor, currency, used_by = payment_id AS used FROM authentications"))[0]
    assert tuple(kept) == ("Y", "05", "2.1.0", 1000, "AED", True)
    after = await explain(one.pool, "C-1", keys=lambda reference: [f"aps:{reference}"])
    told = [[line for line in story.sentences if "3-D Secure" in line or "challenge" in line] for story in (before, after)]
    assert told[0] == told[1] and len(told[0]) >= 2
    assert await one.challenges.find(read_address(page)) is None and await one.challenges.page(here.account.merchant_id, kept["minor"]) == ""
    assert (await here.refund("C-1", "1000"))["response_code"] == "06000"
    await one.prove()


async def test_what_was_not_paid_needs_no_proof_after_a_day(one: Process, here: Shop):
    """Declined by the issuer behind a challenge."""
    one.processor.say(Declined("51"))
    await authenticated(one, here)
    one.now.now += DAY - timedelta(seconds=1)
    assert (await run(one))["authentications"] == 0
    one.now.now += timedelta(seconds=1)
    assert (await run(one))["authentications"] == 1 and not await holds(one)


async def holding(one: Process, here: Shop) -> None:
    await authenticated(one, here, command="AUTHORIZATION")


async def in_doubt(one: Process, here: Shop) -> None:
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await authenticated(one, here)


async def disputed(one: Process, here: Shop) -> None:
    await authenticated(one, here)
    payment_id = await one.value("SELECT payment_id FROM payments")
    await one.engine.notice(here.account.merchant_id, payment_id, "scripted", Notice(Noticed.CHARGEBACK, "case-1", 400, payment_id))


async def waiting(one: Process, here: Shop) -> None:
    await challenged(one, here)


@pytest.mark.parametrize("situation", [holding, in_doubt, disputed, waiting])
async def test_a_proof_stays_while_its_payment_needs_it(one: Process, here: Shop, situation: Callable[[Process, Shop], Awaitable[None]]):
    """However long that takes."""
    await situation(one, here)
    one.now.now += 1_000 * DAY
    assert (await run(one))["authentications"] == 0
    stored = await everything_stored(one)
    assert "acs-secret" in stored and "ds-secret" in stored


async def test_one_that_no_payment_used_goes_a_day_after_it_expired(one: Process, here: Shop):
    """With the address it led to. Its cryptogram is never taken for another server's: it is ours, and expired."""
    ours = await proof(here, merchant_3ds_url="https://shop.example/3ds?customer=tahira")
    one.now.now += 2 * DAY - timedelta(seconds=1)
    assert (await run(one))["authentications"] == 0
    one.now.now += timedelta(seconds=1)
    assert (await run(one))["authentications"] == 1
    stored = await everything_stored(one)
    assert AUTHENTICATED.cavv not in stored and "customer=tahira" not in stored
    for n, fields in enumerate((ours, {"ver_token": ours["ver_token"]}, {"3ds_xid": ours["3ds_xid"]})):
        assert (await here.purchase(f"P-{n}", **{"3ds_status": "Y", "3ds_eci": "05", **fields}))["response_code"] == "13152"
    assert one.processor.asked == [] and (await run(one))["authentications"] == 0
    found = await here.ask(service_command="3DS_AUTHENTICATION", merchant_reference="EN-1", threeds_id=str(await one.value("SELECT authentication_id FROM authentications")))
    assert (found["response_code"], found["3ds_status"], "ver_token" in found) == ("44000", "Y", False)


async def test_one_that_a_payment_used_goes_with_that_payment(one: Process, here: Shop):
    """And is used for ever."""
    ours = await proof(here)
    assert (await here.purchase("P-1", **ours))["response_code"] == "14000"
    one.now.now += 99 * DAY
    assert (await run(one))["authentications"] == 0
    one.now.now += 2 * DAY
    assert (await run(one))["authentications"] == 1 and AUTHENTICATED.cavv not in await everything_stored(one)
    assert (await here.purchase("P-2", ver_token=ours["ver_token"], **{"3ds_status": "Y"}))["response_code"] == "13152"
    await one.prove()


async def test_another_servers_proof_is_not_kept_at_all(one: Process, here: Shop):
    """It goes to the issuer, and that is all."""
    foreign = "B" * 27 + "="
    answer = await here.purchase("M-1", **{"3ds_xid": "A" * 27 + "=", "3ds_status": "Y", "3ds_eci": "05", "ver_token": foreign})
    assert answer["response_code"] == "14000" and one.processor.asked[0].evidence.cavv == foreign
    assert foreign not in await everything_stored(one)


async def test_more_than_a_commit_of_them(one: Process, here: Shop, monkeypatch: pytest.MonkeyPatch):
    """In commits of two, with one in between that somebody holds: that one waits for the next day."""
    monkeypatch.setattr(retention, "CHUNK", 2)
    for n in range(7):
        one.issuers.say(AUTHENTICATED._replace(ds_id=f"ds-{n}"))
        await here.purchase(f"P-{n}")
    one.now.now += 101 * DAY
    async with one.pool.acquire() as connection, connection.transaction():
        held = await connection.fetchval("SELECT authentication_id FROM authentications ORDER BY authentication_id OFFSET 3 LIMIT 1")
        await connection.execute("SELECT FROM authentications WHERE authentication_id = $1 FOR UPDATE", held)
        assert (await run(one))["authentications"] == 6
    assert await one.value("SELECT array_agg(authentication_id) FROM authentications WHERE cavv <> ''") == [held]
    assert (await run(one))["authentications"] == 1
    await one.prove()


async def test_with_a_payment_that_was_asked_to_be_forgotten_its_proofs_go(one: Process, here: Shop):
    """Whatever their age; those of another payment stay, and while the payer is awaited nothing goes."""
    await challenged(one, here, "W-1")
    await authenticated(one, here, "C-1")
    one.issuers.say(AUTHENTICATED._replace(cavv="C" * 27 + "=", ds_id="ds-other"))
    await here.purchase("P-1")
    ids = {reference: await one.value("SELECT payment_id FROM operations WHERE reference = $1", reference) for reference in ("W-1", "C-1")}
    report = await erase(one, ids["C-1"])
    assert isinstance(report, Report) and ("authentications", 1) in [(line.what, line.count) for line in report.lines]
    stored = await everything_stored(one)
    assert AUTHENTICATED.cavv not in stored and "ds-other" in stored and "C" * 27 in stored
    refused = await erase(one, ids["W-1"])
    assert isinstance(refused, Refused) and "under way" in refused.reason
    assert CARD["card_number"] not in stored
    await one.prove()
