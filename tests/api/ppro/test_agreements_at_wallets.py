"""Agreements with a wallet at this door: whom the payer gives leave, what is told of it, and who ends it."""
from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ringfence.core.commands import Initiation
from ringfence.storage import agreements as rows
from tests.api.ppro.agreeing import FIRST, AgreeingClient, history
from tests.engine.composition import NOW, Process, Shop

pytestmark = pytest.mark.anyio


@pytest.fixture
def client(one: Process, here: Shop) -> AgreeingClient:
    one.processor.forget()
    return AgreeingClient(one, here.identifier)


async def test_golden_agreement_without_a_charge_and_a_subsequent_one(one: Process, client: AgreeingClient):
    """Section 19.4, every generated value supplied."""
    made = await client.agree("AMAZON_PAY", consumer={"name": "John Smith", "country": "US", "email": "j@shop.example"})
    number, at = client.number(made), "2026-01-05T07:09:19.000Z"
    assert made == {
        "id": made["id"], "status": "AUTHENTICATION_PENDING", "paymentMethod": "AMAZON_PAY", "startDate": "2023-03-26T20:24:27.000Z",
        "consumer": {"name": "John Smith", "country": "US", "email": "j@shop.example"},
        "authenticationMethods": [
            {"type": "REDIRECT", "details": {"requestUrl": f"https://pay.example/wallet/{number}", "requestMethod": "GET"}}],
        "history": [{"id": made["history"][0]["id"], "status": "AUTHENTICATION_PENDING", "createdAt": at}], "revocations": [],
        "createdAt": at, "updatedAt": at}
    assert made["id"].startswith("agr_") and made["history"][0]["id"].startswith("ahist_")
    await client.agreed(made)
    await client.agreed(made)
    now = await client.agreement(made)
    assert now["status"] == "ACTIVE" and "authenticationMethods" not in now and history(now) == ["AUTHENTICATION_PENDING", "ACTIVE"]
    assert (await client.get(f"/payment-instruments/{now['instrumentId']}")).body["details"] == {"consumerEmail": "j@shop.example"}
    body = {"amount": {"value": 9000, "currency": "USD"}, "merchantPaymentChargeReference": "sub-2", "initiator": "MERCHANT",
            "scheduleType": "SCHEDULED", "autoCapture": True}
    charged = (await client.ask_under(made, body, key="sub-2")).body
    assert (charged["status"], charged["agreementId"]) == ("CAPTURED", made["id"])
    last = one.processor.asked[-1]
    assert (last.account, last.initiation, last.pan) == ("S01-1234567-1234567", Initiation.RECURRING, None)
    assert await client.revoke(made) == {"status": "REVOKED"}
    assert client.wallet.closed == [("AMAZON_PAY", "S01-1234567-1234567")]
    later = await client.charge_under(made)
    assert (later["status"], later["failure"]["failureType"], later["failure"]["failureCode"]) == (
        "FAILED", "INTERNAL_DECLINE", "AGREEMENT_REVOKED")
    again = await client.ask_under(made, body, key="sub-2")
    assert again.again and again.body["id"] == charged["id"]
    ended = await client.agreement(made)
    assert [(one["id"][:4], one["revocationStatus"]) for one in ended["revocations"]] == [("rev_", "REVOKED_BY_MERCHANT")]
    assert await client.told(made) == ["CREATED", "AUTHENTICATION_PENDING", "ACTIVE", "REVOKED_BY_MERCHANT"]


@pytest.mark.parametrize(("told", "said", "shown"), [
    ("sara@buyer.example", None, {"consumerEmail": "sara@buyer.example"}),
    ("sara@buyer.example", "j@shop.example", {"consumerEmail": "sara@buyer.example"}),
    ("", "j@shop.example", {"consumerEmail": "j@shop.example"}), ("", None, {})])
@pytest.mark.parametrize("initial", [None, FIRST])
async def test_a_wallets_instrument_shows_whose_account_it_is(
    one: Process, client: AgreeingClient, told: str, said: str | None, shown: dict[str, str], initial: dict[str, Any] | None,
):
    """As the wallet says; where it does not, as the merchant said."""
    client.wallet.payers["S01-7654321-7654321"] = told
    consumer = {"name": "John Smith", "country": "US", **({"email": said} if said else {})}
    made = await client.agree("AMAZON_PAY", consumer=consumer, initialPaymentCharge=initial)
    await client.agreed(made, "S01-7654321-7654321")
    now = await client.agreement(made)
    assert now["status"] == "ACTIVE" and (await client.get(f"/payment-instruments/{now['instrumentId']}")).body == {
        "id": now["instrumentId"], "type": "AMAZON_PAY", "details": shown}


async def test_golden_agreement_with_its_first_charge(one: Process, client: AgreeingClient):
    """Section 19.4: one approval covers both; the payer's way is the charge's."""
    made = await client.agree("AMAZON_PAY", consumer={"name": "John Smith", "country": "US"}, initialPaymentCharge={
        "amount": {"value": 1000, "currency": "USD"}, "merchantPaymentChargeReference": "sub-1"})
    charge, at = made["initialPaymentChargeId"], "2026-01-05T07:09:19.000Z"
    number = client.service.names.read("charge", charge)
    assert made == {
        "id": made["id"], "status": "AUTHENTICATION_PENDING", "paymentMethod": "AMAZON_PAY", "startDate": "2023-03-26T20:24:27.000Z",
        "initialPaymentChargeId": charge, "consumer": {"name": "John Smith", "country": "US"},
        "authenticationMethods": [
            {"type": "REDIRECT", "details": {"requestUrl": f"https://pay.example/wallet/{number}", "requestMethod": "GET"}}],
        "history": [{"id": made["history"][0]["id"], "status": "AUTHENTICATION_PENDING", "createdAt": at}], "revocations": [],
        "createdAt": at, "updatedAt": at}
    assert (await client.read({"id": charge}))["status"] == "AUTHENTICATION_PENDING"
    assert (await client.data(made))[1]["authenticationMethods"] == made["authenticationMethods"]
    await client.agreed(made, "S01-7654321-7654321")
    assert (await client.agreement(made))["status"] == "ACTIVE"
    assert (await client.charge_under(made, 9000))["status"] == "CAPTURED" and one.processor.asked[-1].account == "S01-7654321-7654321"
    assert await client.told(made) == ["CREATED", "AUTHENTICATION_PENDING", "ACTIVE"]


async def test_what_is_told_of_an_agreement(client: AgreeingClient):
    """Section 15.5, as it was at the event."""
    made = await client.agree(
        "AMAZON_PAY", merchantPaymentAgreementReference="plan-7", description="Coffee", frequency={"type": "MONTHLY"},
        amount={"value": 900, "currency": "USD"}, amountType="MAX", endDate="2027-01-01T00:00:00Z")
    await client.mandates.refused(client.merchant_id, client.number(made), "payer_canceled")
    shared = {"paymentAgreementId": made["id"], "paymentMethod": "AMAZON_PAY", "merchantPaymentAgreementReference": "plan-7"}
    created, pending, failed = await client.data(made)
    assert created == shared | {
        "paymentAgreementStatus": "INITIALIZING", "description": "Coffee", "frequency": {"type": "MONTHLY"},
        "consumer": {"name": "Jane Doe", "country": "US"}, "startDate": "2023-03-26T20:24:27.000Z", "endDate": "2027-01-01T00:00:00.000Z",
        "amount": {"value": 900, "currency": "USD"}, "amountType": "MAX"}
    assert pending == shared | {"paymentAgreementStatus": "AUTHENTICATION_PENDING", "authenticationMethods": made["authenticationMethods"]}
    assert failed == shared | {"paymentAgreementStatus": "FAILED", "failure": {
        "failureType": "PROVIDER_DECLINE", "failureCode": "CANCELED_BY_CONSUMER", "failureMessage": "The consumer cancelled"}}


async def test_a_code_confirms_an_agreement(one: Process, client: AgreeingClient):
    """The answer names the agreement's status; where no code is awaited it says why not."""
    made = await client.agree("MOCK", description="requiresAuthentication=true;authenticationType=MULTI_FACTOR")
    asked: list[tuple[int, str]] = []

    async def confirmed(merchant_id: int, subject: int, code: str) -> bool:
        asked.append((subject, code))
        await client.mandates.agreed(merchant_id, subject, "")
        return True

    for wrong in ({}, {"details": {"verificationCode": "12345"}}, {"details": {"verificationCode": "12345x"}}):
        assert (await client.post(f"/payment-agreements/{made['id']}/authorizations", {"authenticationResult": wrong})).status == 400
    client.api._service = client.service._replace(confirm=confirmed)
    body = {"authenticationResult": {"type": "MULTI_FACTOR", "details": {"verificationCode": "123456"}}}
    said = await client.post(f"/payment-agreements/{made['id']}/authorizations", body)
    assert said.status == 200 and said.body.keys() == {"id", "agreementStatus", "createdAt"} and said.body["agreementStatus"] == "ACTIVE"
    assert asked == [(client.number(made), "123456")]
    again = await client.post(f"/payment-agreements/{made['id']}/authorizations", body)
    assert again.body["failure"]["failureCode"] == "AGREEMENT_INACTIVE" and len(asked) == 1


async def test_who_agreed_is_forgotten(one: Process, client: AgreeingClient):
    """Long after the end; the agreement can still be read."""
    made, stays = await client.agree("MOCK", description="Coffee"), await client.agree("MOCK")
    await client.revoke(made)
    by = NOW + timedelta(days=1)
    async with one.pool.acquire() as connection:
        count = await rows.count_personal(connection, client.merchant_id, by)
        assert count and await rows.erase_personal(connection, client.merchant_id, by, 1000) == count
        assert not await rows.count_personal(connection, client.merchant_id, by)
    now = await client.agreement(made)
    assert now["status"] == "REVOKED_BY_MERCHANT" and "consumer" not in now and "description" not in now
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_REVOKED"
    assert (await client.agreement(stays))["consumer"]["name"] == "Jane Doe"


@pytest.mark.parametrize("why", ["payer_canceled", "payer_timeout", "wallet_declined", "wallet_canceled", "payer_not_authenticated"])
async def test_a_payer_who_does_not_agree(client: AgreeingClient, why: str):
    """The agreement failed, and says why; an approval that comes then changes nothing."""
    made = await client.agree("AMAZON_PAY")
    await client.mandates.refused(client.merchant_id, client.number(made), why)
    await client.agreed(made)
    now = await client.agreement(made)
    assert now["status"] == "FAILED" and now["failure"]["failureType"] == "PROVIDER_DECLINE" and history(now)[-1] == "FAILED"
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_INACTIVE"


@pytest.mark.parametrize(("reason", "status"), [
    ("BuyerClosed", "REVOKED_BY_CONSUMER"), ("BuyerCanceled", "REVOKED_BY_CONSUMER"), ("AmazonClosed", "REVOKED_BY_PROVIDER"),
    ("AmazonCanceled", "REVOKED_BY_PROVIDER"), ("Expired", "REVOKED_BY_PROVIDER"), ("MerchantClosed", "REVOKED_BY_MERCHANT"),
])
async def test_the_wallet_ends_it(client: AgreeingClient, reason: str, status: str):
    """Told twice, it happens once; the wallet is not told what it said itself."""
    made = await client.agree("AMAZON_PAY")
    account = f"S01-0000000-{client.number(made) % 10_000_000:07d}"
    await client.agreed(made, account)
    await asyncio.gather(*(client.mandates.closed(client.merchant_id, account, reason) for _ in range(5)))
    await client.mandates.closed(client.merchant_id, account, "Expired" if status != "REVOKED_BY_PROVIDER" else "BuyerClosed")
    now = await client.agreement(made)
    assert now["status"] == status and [one["revocationStatus"] for one in now["revocations"]] == [status]
    assert client.wallet.closed == []
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_REVOKED"
    assert (await client.told(made))[-1] == status


async def test_a_wallet_that_does_not_answer_is_told_again(one: Process, client: AgreeingClient):
    """The agreement has ended at once; the wallet is told until it knows."""
    made = await client.agree("AMAZON_PAY")
    await client.agreed(made)
    client.wallet.is_silent = True
    assert await client.revoke(made) == {"status": "REVOKED"} and len(client.wallet.closed) == 1
    client.wallet.is_silent = False
    one.now.now = NOW + timedelta(minutes=10)
    try:
        assert await client.look() and len(client.wallet.closed) == 2
        one.now.now = NOW + timedelta(hours=2)
        await client.look()
        assert len(client.wallet.closed) == 2
    finally:
        one.now.now = NOW


async def test_the_books_agree(one: Process):
    """With everything that happened here."""
    await one.prove()
