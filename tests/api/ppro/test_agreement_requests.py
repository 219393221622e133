"""Requests about agreements at this door: what is wrong with them, what comes twice, and what comes at once."""
from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.ppro import agreements as door
from tests.api.ppro.agreeing import FIRST, AgreeingClient, agreement, history
from tests.api.ppro.asking import raw_card
from tests.engine.composition import NOW, Process, Shop

pytestmark = pytest.mark.anyio


@pytest.fixture
def client(one: Process, here: Shop) -> AgreeingClient:
    one.processor.forget()
    return AgreeingClient(one, here.identifier)


@pytest.mark.parametrize(("fields", "status", "message"), [
    ({"startDate": None}, 400, "startDate is required"),
    ({"consumer": {"country": "US"}}, 400, "consumer.name is required"),
    ({"consumer": {"country": "US", "name": ""}}, 400, "consumer.name is required"),
    ({"consumer": None}, 400, "consumer is required"),
    ({"amountType": "EXACT"}, 400, "amount is required"),
    ({"amount": {"value": 1, "currency": "XQX"}}, 400, "amount.currency is not a currency of ISO 4217"),
    ({"endDate": "2022-01-01T00:00:00Z"}, 422, "endDate must not be before startDate"),
    ({"startDate": "2025-03-26T00:00:000Z"}, 400, "startDate must be an instant such as 2026-01-05T10:11:12.345Z"),
    ({"frequency": {"type": "HOURLY"}}, 400, "frequency.type must be one of DAILY, WEEKLY, MONTHLY, YEARLY"),
    ({"frequency": {"type": "DAILY", "interval": 0}}, 422, "frequency.interval must be 1 to 1000"),
    ({"initialPaymentCharge": {"amount": {"value": 1, "currency": "XQX"}}}, 400, "initialPaymentCharge.amount.currency is not a currency of ISO 4217"),
    ({"initialPaymentCharge": {}}, 400, "initialPaymentCharge.amount is required"),
    ({"webhooksUrl": "https://10.0.0.1/hooks"}, 422, None),
    ({"initialPaymentCharge": {"amount": {"value": 100, "currency": "USD"}, "webhooksUrl": "https://10.0.0.1/hooks"}}, 422, None),
    ({"description": "x" * 101}, 400, "description must have 0 to 100 characters"),
])
async def test_bad_input(client: AgreeingClient, fields: dict[str, Any], status: int, message: str | None):
    """Each field by its path."""
    answered = await client.post("/payment-agreements", agreement("AMAZON_PAY", **fields))
    assert answered.status == status and (message is None or answered.body["failureMessage"] == message)
    if message is None:
        assert answered.body["failureMessage"].startswith("webhooksUrl ")


@pytest.mark.parametrize("settings", [None, [{"type": "REDIRECT"}], [{"type": "REDIRECT", "settings": {"returnUrl": "no address"}}]])
async def test_a_wallet_needs_a_way_back(client: AgreeingClient, settings: Any):
    """It failed for that reason."""
    made = await client.agree("AMAZON_PAY", authenticationSettings=settings)
    assert made["status"] == "FAILED" and made["failure"]["failureCode"] == "INVALID_AUTHENTICATION_SETTINGS"


# --------------------------------------------------------------------------------------------------- the seed page's slips

async def test_an_agreement_under_which_nothing_could_be_charged_is_refused(client: AgreeingClient):
    """Amazon Pay takes dollars from consumers in the US, unless the merchant's settings say otherwise."""
    for wrong, code in (({"amount": {"value": 1000, "currency": "EUR"}, "amountType": "MAX"}, "INVALID_CURRENCY"),
                        ({"consumer": {"name": "J", "country": "DE"}}, "COUNTRY_NOT_SUPPORTED")):
        made = (await client.post("/payment-agreements", agreement("AMAZON_PAY", **wrong))).body
        assert (made["status"], made["failure"]["failureCode"]) == ("FAILED", code)


async def test_the_ends_of_the_calendar_are_instants(client: AgreeingClient):
    """They come back as they were kept, and not as the infinity of a database."""
    for start, told in (("0000-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"), ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z")):
        made = (await client.post("/payment-agreements", agreement("MOCK", startDate=start, endDate="9999-12-31T23:59:59.999999Z"))).body
        assert (made["startDate"], made["endDate"], made["status"]) == (told, "9999-12-31T23:59:59.999Z", "ACTIVE")
        assert (await client.get(f"/payment-agreements/{made['id']}")).body == made


async def test_the_seeds_slips(client: AgreeingClient):
    """Slips 4, 5 and 6: read; both and different: refused; 7 and 14: an unknown id is not there, however long."""
    inner = {"amount": {"value": 500, "currency": "USD", "merchantPaymentChargeReference": "inner"}}
    made = await client.agree("MOCK", initialPaymentCharge=inner)
    charge = (await client.get(f"/payment-charges/{made['initialPaymentChargeId']}")).body
    assert charge["authorizations"][0]["merchantPaymentChargeReference"] == "inner"
    beside = await client.agree("MOCK", initialPaymentCharge={**inner, "merchantPaymentChargeReference": "beside"})
    charge = (await client.get(f"/payment-charges/{beside['initialPaymentChargeId']}")).body
    assert charge["authorizations"][0]["merchantPaymentChargeReference"] == "beside"
    old = (await client.ask_under(made, {"amount": {"amount": 700, "currency": "USD"}, "paymentChargeMerchantReference": "alias"})).body
    assert (old["status"], old["authorizations"][0]["amount"], old["authorizations"][0]["merchantPaymentChargeReference"]) == ("CAPTURED", 700, "alias")
    both = await client.ask_under(made, {"amount": {"amount": 700, "value": 701, "currency": "USD"}})
    assert (both.status, both.body["failureMessage"]) == (400, "amount.amount differs from amount.value")
    for name in ("agrmt_" + made["id"][4:], made["id"] + "x", "x"):
        assert (await client.get(f"/payment-agreements/{name}")).status == 404
        assert (await client.ask_under({"id": name}, {"amount": {"value": 1, "currency": "USD"}})).status == 404
        assert (await client.post(f"/payment-agreements/{name}/revocations", {})).status == 404


async def test_another_merchants_agreement_is_not_there(one: Process, client: AgreeingClient):
    """The same answer as for one that nobody made."""
    made = await client.agree("MOCK")
    await one.merchant("Elsewhere01", access_code="elsewhere", request="request0", response="response0")
    other = AgreeingClient(one, "Elsewhere01")
    for answered in (await other.get(f"/payment-agreements/{made['id']}"), await other.post(f"/payment-agreements/{made['id']}/revocations", {}),
                     await other.ask_under(made, {"amount": {"value": 1, "currency": "USD"}})):
        assert (answered.status, answered.body["failureMessage"]) == (404, "Payment agreement not found")
    assert (await other.get(f"/payment-charges?agreementId={made['id']}")).body["data"] == []
    assert (await client.agreement(made))["status"] == "ACTIVE"


# --------------------------------------------------------------------------------------------------------- once, and races

async def test_under_one_key_one_agreement(one: Process, client: AgreeingClient):
    """The same again; another body is a conflict, another card too; twenty at once make one."""
    body = agreement(instrument=raw_card("4000009900001002"), initialPaymentCharge=FIRST)
    before = len(one.processor.asked)
    found = await asyncio.gather(*(client.post("/payment-agreements", body, key="a1") for _ in range(20)))
    made = {answered.body["id"] for answered in found if answered.status == 200}
    assert {answered.status for answered in found} <= {200, 409} and len(made) == 1 and len(one.processor.asked) == before + 1
    again = await client.post("/payment-agreements", body, key="a1")
    assert again.again and {again.body["id"]} == made
    for other in ({"labels": {"a": "b"}}, {"instrument": raw_card("4000009900001101")}):
        assert (await client.post("/payment-agreements", {**body, **other}, key="a1")).status == 409


async def test_a_maker_that_died_is_gone_on_with(one: Process, client: AgreeingClient, monkeypatch: pytest.MonkeyPatch):
    """Between the agreement and its charge, and behind the charge: the next try under the key makes no second of either."""
    body = agreement(instrument=raw_card("4000009900001200"), initialPaymentCharge=FIRST)
    before = len(one.processor.asked)
    for place, name in (("before", "_first"), ("behind", "settled")):
        def died(*args: Any) -> Any:
            raise RuntimeError("killed by the test")

        with monkeypatch.context() as patched:
            patched.setattr(client, "is_breaking", True)
            patched.setattr(door, name, died)
            answered = await client.post("/payment-agreements", body, key="died")
            assert answered.status == 500
        await one.pool.execute("UPDATE keyed_requests SET held_until = '-infinity' WHERE status IS NULL")
        assert len(one.processor.asked) == before + (place == "behind")
    made = await client.post("/payment-agreements", body, key="died")
    assert made.status == 200 and made.body["status"] == "ACTIVE" and len(one.processor.asked) == before + 1
    assert await client.told(made.body) == ["CREATED", "ACTIVE"]


async def test_a_maker_that_never_comes_back(one: Process, client: AgreeingClient, monkeypatch: pytest.MonkeyPatch):
    """The background ends what nobody was asked about."""
    def died(*args: Any) -> Any:
        raise RuntimeError("killed by the test")

    with monkeypatch.context() as patched:
        patched.setattr(client, "is_breaking", True)
        patched.setattr(door, "_first", died)
        await client.post("/payment-agreements", agreement(instrument=raw_card("4000009900001309"), initialPaymentCharge=FIRST))
    number = await one.value("SELECT max(agreement_id) FROM agreements")
    made = {"id": client.service.names.make("agr", number)}
    assert (await client.agreement(made))["status"] == "INITIALIZING"
    one.now.now = NOW + timedelta(minutes=11)
    try:
        await client.look()
    finally:
        one.now.now = NOW
    now = await client.agreement(made)
    assert now["status"] == "FAILED" and now["failure"]["failureType"] == "INTERNAL_ERROR"


async def test_two_revocations_at_once(client: AgreeingClient):
    """One ends it, the other is told; both are in the list."""
    made = await client.agree("MOCK")
    said = await asyncio.gather(client.revoke(made, key="r1"), client.revoke(made, key="r2"))
    assert sorted(one["status"] for one in said) == ["FAILED", "REVOKED"]
    failed = next(one for one in said if one["status"] == "FAILED")
    assert (failed["failure"]["failureType"], failed["failure"]["failureCode"]) == ("INTERNAL_DECLINE", "AGREEMENT_REVOKED")
    now = await client.agreement(made)
    assert sorted(one["revocationStatus"] for one in now["revocations"]) == ["REVOCATION_FAILED", "REVOKED_BY_MERCHANT"]
    assert history(now) == ["ACTIVE", "REVOKED_BY_MERCHANT"] and (await client.told(made)).count("REVOKED_BY_MERCHANT") == 1
    again = await client.post(f"/payment-agreements/{made['id']}/revocations", {}, key="r1")
    assert again.again and again.body == said[0]


async def test_what_is_not_active_cannot_be_revoked(client: AgreeingClient):
    """It says so, and is in the list."""
    made = await client.agree("AMAZON_PAY")
    said = await client.revoke(made)
    assert (said["status"], said["failure"]["failureCode"]) == ("FAILED", "AGREEMENT_INACTIVE")
    now = await client.agreement(made)
    assert now["status"] == "AUTHENTICATION_PENDING" and now["revocations"][0]["revocationStatus"] == "REVOCATION_FAILED"
    assert now["revocations"][0]["failure"]["failureCode"] == "AGREEMENT_INACTIVE"


async def test_charges_against_a_revocation(one: Process, client: AgreeingClient):
    """Whoever commits first wins: a charge that was let in goes on, one that came later is told; nothing else happens."""
    made = await client.agree("MOCK")
    before = len(one.processor.asked)
    *charged, revoked = await asyncio.gather(*(client.charge_under(made) for _ in range(8)), client.revoke(made))
    assert revoked == {"status": "REVOKED"}
    paid = [one for one in charged if one["status"] == "CAPTURED"]
    assert {one["failure"]["failureCode"] for one in charged if one not in paid} <= {"AGREEMENT_REVOKED"}
    assert len(one.processor.asked) - before == len(paid)
    assert len((await client.get(f"/payment-charges?agreementId={made['id']}")).body["data"]) == 8
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_REVOKED"


async def test_a_charge_that_is_under_way_outlives_the_revocation(one: Process, client: AgreeingClient):
    """Its commit came first."""
    made = await client.agree("MOCK")
    held = one.processor.hold()
    charging = asyncio.ensure_future(client.charge_under(made))
    await held.arrived.wait()
    assert await client.revoke(made) == {"status": "REVOKED"}
    held.release()
    assert (await charging)["status"] == "CAPTURED"


async def test_the_books_agree(one: Process):
    """With everything that happened here."""
    await one.prove()
