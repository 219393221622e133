"""Agreements at this door: made with a card, charged, revoked; what each method asks of whom."""
from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.ppro import agreements as door
from ringfence.api.ppro.returning import Returning
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine.browser import Return
from ringfence.storage import agreements as rows
from tests.api.ppro.agreeing import BACK, REDIRECT, AgreeingClient, agreement, history
from tests.api.ppro.asking import raw_card
from tests.engine.composition import AUTHENTICATED, NOW, Process, Shop

pytestmark = pytest.mark.anyio

FIRST = {"amount": {"value": 1000, "currency": "USD"}, "merchantPaymentChargeReference": "sub-1"}


@pytest.fixture
def client(one: Process, here: Shop) -> AgreeingClient:
    one.processor.forget()
    return AgreeingClient(one, here.identifier)


# ---------------------------------------------------------------------------------------------------------------- cards

async def test_a_card_that_never_paid_is_proved_by_a_nominal_authorization(one: Process, client: AgreeingClient):
    """It is given back, and what it proved is cited by later charges."""
    before = len(one.processor.asked)
    made = await client.agree(instrument=raw_card("4000009900000103"))
    asked = one.processor.asked[before:]
    assert [(one.kind, one.minor) for one in asked] == [(Kind.AUTHORIZATION, 100), (Kind.VOID, 100)]
    assert made["status"] == "ACTIVE" and history(made) == ["ACTIVE"] and made["revocations"] == [] and "initialPaymentChargeId" not in made
    charged = await client.charge_under(made, merchantPaymentChargeReference="sub-2", scheduleType="SCHEDULED")
    assert (charged["status"], charged["agreementId"], charged["initiator"], charged["instrumentId"]) == (
        "CAPTURED", made["id"], "MERCHANT", made["instrumentId"])
    last = one.processor.asked[-1]
    assert last.initiation is Initiation.RECURRING and last.cited_reference and last.security_code is None
    assert await client.told(made) == ["CREATED", "ACTIVE"]
    assert (await client.data(made))[0]["instrument"] == {"id": made["instrumentId"], "type": "CARD_PPRO_VAULTED"}


async def test_a_card_that_paid_before_is_taken_at_once(one: Process, client: AgreeingClient):
    """Nobody is asked."""
    paid = await client.charge(instrument=raw_card("4000009900000202"))
    before = len(one.processor.asked)
    made = await client.agree(instrument=None, instrumentId=paid["instrumentId"])
    assert (made["status"], made["instrumentId"]) == ("ACTIVE", paid["instrumentId"]) and len(one.processor.asked) == before


async def test_a_mandate_from_elsewhere_is_cited(one: Process, client: AgreeingClient):
    """An agreement that was made elsewhere goes on here."""
    before = len(one.processor.asked)
    made = await client.agree(instrument=raw_card("4000009900000301"), initialSchemeAuthorizationReference="MCC0123456789")
    assert made["status"] == "ACTIVE" and made["initialSchemeAuthorizationReference"] == "MCC0123456789" and len(one.processor.asked) == before
    await client.charge_under(made)
    assert one.processor.asked[-1].cited_reference == "MCC0123456789"


async def test_with_an_initial_charge_one_approval_covers_both(one: Process, client: AgreeingClient):
    """It is the caller's charge, listed under the agreement."""
    before = len(one.processor.asked)
    made = await client.agree(instrument=raw_card("4000009900000400"), initialPaymentCharge=FIRST)
    assert made["status"] == "ACTIVE" and [one.kind for one in one.processor.asked[before:]] == [Kind.PURCHASE]
    assert one.processor.asked[-1].security_code is not None
    charge = (await client.get(f"/payment-charges/{made['initialPaymentChargeId']}")).body
    assert (charge["status"], charge["agreementId"], charge["initiator"]) == ("CAPTURED", made["id"], "CONSUMER")
    assert charge["authorizations"][0]["merchantPaymentChargeReference"] == "sub-1"
    later = await client.charge_under(made)
    listed = (await client.get(f"/payment-charges?agreementId={made['id']}")).body
    assert [one["id"] for one in listed["data"]] == [later["id"], charge["id"]]


@pytest.mark.parametrize("initial", [None, FIRST])
async def test_a_card_that_is_declined_is_no_mandate(one: Process, client: AgreeingClient, initial: dict[str, Any] | None):
    """There is nothing that later charges could cite."""
    one.processor.say(Declined("51"))
    made = await client.agree(instrument=raw_card("4000009900000509" if initial else "4000009900000608"), initialPaymentCharge=initial)
    assert made["status"] == "FAILED" and history(made) == ["FAILED"]
    assert made["failure"]["failureCode"] == made["history"][0]["failure"]["failureCode"] == "INSUFFICIENT_FUNDS"
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_INACTIVE"
    assert (await client.told(made)) == ["CREATED", "FAILED"]


async def test_a_declined_first_charge_leaves_a_mandate_that_was_there(one: Process, client: AgreeingClient):
    """The agreement is active, its first charge failed."""
    paid = await client.charge(instrument=raw_card("4000009900000707"))
    one.processor.say(Declined("51"))
    made = await client.agree(instrument=None, instrumentId=paid["instrumentId"], initialPaymentCharge=FIRST)
    assert made["status"] == "ACTIVE"
    assert (await client.get(f"/payment-charges/{made['initialPaymentChargeId']}")).body["status"] == "FAILED"


async def test_a_cardholder_who_must_act(one: Process, client: AgreeingClient):
    """AUTHENTICATION_PENDING with the way to the issuer's page; active once he is back."""
    one.issuers.challenge("agr1")
    made = await client.agree(
        instrument=raw_card("4000009900000806"), authenticationSettings=[{"type": "3DS", "settings": {"returnUrl": BACK, "preference": "CHALLENGE"}}])
    assert made["status"] == "AUTHENTICATION_PENDING" and made["authenticationMethods"][0]["type"] == "3DS"
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_INACTIVE"
    row = await client.agreements.find(client.merchant_id, client.number(made))
    assert row is not None
    number = await one.value("SELECT authentication_id FROM authentications WHERE merchant_id = $1 AND payment_id = $2", client.merchant_id, row.payment_id)
    one.issuers.results["agr1"] = AUTHENTICATED
    await one.challenges.carry_on(client.merchant_id, number)
    now = await client.agreement(made)
    assert now["status"] == "ACTIVE" and history(now) == ["AUTHENTICATION_PENDING", "ACTIVE"] and "authenticationMethods" not in now
    assert one.processor.asked[-1].kind is Kind.VOID
    assert await client.told(made) == ["CREATED", "AUTHENTICATION_PENDING", "ACTIVE"]


@pytest.mark.parametrize("initial", [None, FIRST])
async def test_the_browsers_way_back_settles_it(one: Process, client: AgreeingClient, initial: dict[str, Any] | None):
    """The agreement is active before the merchant's page asks; a payment that nobody was told of is not named."""
    acs = f"back{initial is None}"
    one.issuers.challenge(acs)
    made = await client.agree(
        instrument=raw_card("4000009900001606" if initial else "4000009900001705"), initialPaymentCharge=initial,
        authenticationSettings=[{"type": "3DS", "settings": {"returnUrl": f"{BACK}?x=1", "preference": "CHALLENGE"}}])
    row = await client.agreements.find(client.merchant_id, client.number(made))
    assert row is not None and row.status == "AUTHENTICATION_PENDING"
    number = await one.value("SELECT authentication_id FROM authentications WHERE merchant_id = $1 AND payment_id = $2", client.merchant_id, row.payment_id)
    one.issuers.results[acs] = AUTHENTICATED
    await one.challenges.carry_on(client.merchant_id, number)
    returning = Returning(one.reading, one.directory, client.service.names, is_live=False, settle=client.mandates.paid)
    way = await returning.way(client.merchant_id, row.payment_id)
    assert isinstance(way, Return) and way.url == f"{BACK}?x=1"
    assert way.fields == {"payment-agreement-id": made["id"]} | ({"payment-charge-id": made["initialPaymentChargeId"]} if initial else {})
    assert await client.told(made) == ["CREATED", "AUTHENTICATION_PENDING", "ACTIVE"]


async def test_a_cardholder_who_cancels(one: Process, client: AgreeingClient):
    """Both end; the background finds out without the browser."""
    one.issuers.challenge("cancels")
    made = await client.agree(
        instrument=raw_card("4000009900001804"), initialPaymentCharge=FIRST,
        authenticationSettings=[{"type": "3DS", "settings": {"returnUrl": BACK, "preference": "CHALLENGE"}}])
    row = await client.agreements.find(client.merchant_id, client.number(made))
    assert row is not None
    assert await one.challenges.give_up(client.merchant_id, row.payment_id, "authentication_cancelled")
    one.now.now = NOW + timedelta(seconds=30)
    try:
        await client.look()
    finally:
        one.now.now = NOW
    assert await client.told(made) == ["CREATED", "AUTHENTICATION_PENDING", "FAILED"]
    assert (await client.agreement(made))["failure"]["failureCode"] == "CANCELED_BY_CONSUMER"
    assert (await client.read({"id": made["initialPaymentChargeId"]}))["status"] == "FAILED"


async def test_an_instrument_that_is_not_there(client: AgreeingClient):
    """The agreement failed, and can be read."""
    made = await client.agree(instrument=None, instrumentId="instr_000000000000000000000")
    assert made["status"] == "FAILED" and made["failure"]["failureCode"] == "INSTRUMENT_NOT_FOUND"
    assert await client.agreement(made) == made


async def test_news_of_the_instrument_are_told(client: AgreeingClient):
    """ACTIVE stays ACTIVE; no change of status is noted."""
    made = await client.agree(instrument=raw_card("4000009900000905"))
    body = b'{"type":"RAW_CARD","details":{"number":"4000009900000905","holderName":"Jane Doe","expiryMonth":1,"expiryYear":2033}}'
    assert (await client.send("PUT", f"/v1/payment-instruments/{made['instrumentId']}", body)).status == 200
    now = await client.agreement(made)
    assert (now["status"], now["instrumentUpdated"], history(now)) == ("ACTIVE", True, ["ACTIVE"])
    assert await client.told(made) == ["CREATED", "ACTIVE", "UPDATED"]


# ------------------------------------------------------------------------------------------------------- amounts and dates

@pytest.mark.parametrize(("kind", "minor", "code"), [
    ("EXACT", 1000, None), ("EXACT", 999, "AMOUNT_NOT_SUPPORTED"), ("MAX", 1000, None), ("MAX", 1001, "AMOUNT_NOT_SUPPORTED"),
    ("VARIABLE", 90_000, None),
])
async def test_what_was_agreed_on_binds_charges(client: AgreeingClient, kind: str, minor: int, code: str | None):
    made = await client.agree("MOCK", amount={"value": 1000, "currency": "USD"}, amountType=kind)
    assert (made["status"], made["amountType"], made["amount"]) == ("ACTIVE", kind, {"value": 1000, "currency": "USD"})
    charged = await client.charge_under(made, minor)
    assert charged["status"] == ("FAILED" if code else "CAPTURED") and charged.get("failure", {}).get("failureCode") == code
    if code:
        assert charged["failure"]["failureType"] == "INTERNAL_DECLINE"


async def test_dates_bind_charges(one: Process, client: AgreeingClient):
    """Before the first and behind the last day nothing is charged."""
    made = await client.agree("MOCK", startDate="2026-01-06T00:00:00Z", endDate="2026-01-07T00:00:00.000Z")
    assert (made["startDate"], made["endDate"]) == ("2026-01-06T00:00:00.000Z", "2026-01-07T00:00:00.000Z")
    assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_INACTIVE"
    one.now.now = NOW + timedelta(days=1)
    try:
        assert (await client.charge_under(made))["status"] == "CAPTURED"
        one.now.now = NOW + timedelta(days=3)
        assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_INACTIVE"
    finally:
        one.now.now = NOW


# -------------------------------------------------------------------------------------------------------------- the mock

async def test_a_mock_agreement_is_active_at_once(one: Process, client: AgreeingClient):
    """With an instrument of its own; its charges reach the provider without the consumer."""
    made = await client.agree("MOCK")
    assert made["status"] == "ACTIVE" and made["instrumentId"].startswith("instr_")
    charged = await client.charge_under(made, initiator="MERCHANT", scheduleType="UNSCHEDULED", autoCapture=True)
    assert (charged["status"], charged["paymentMethod"], charged["consumer"]["name"]) == ("CAPTURED", "MOCK", "Jane Doe")
    assert one.processor.asked[-1].initiation is Initiation.UNSCHEDULED


async def test_a_mock_whose_payer_must_act(client: AgreeingClient):
    """The description says so, as a charge's descriptor would."""
    made = await client.agree("MOCK", description="requiresAuthentication=true;authenticationType=REDIRECT", authenticationSettings=REDIRECT)
    assert made["status"] == "AUTHENTICATION_PENDING" and made["authenticationMethods"][0]["type"] == "REDIRECT"
    assert client.wallet.sent[client.number(made)].leave_url == BACK
    await client.agreed(made, "")
    assert (await client.agreement(made))["status"] == "ACTIVE"


async def test_approved_with_a_declined_first_charge(one: Process, client: AgreeingClient):
    """Where the method has a mandate of its own the agreement is active, and the charge failed."""
    one.processor.say(Declined("05"))
    made = await client.agree("MOCK", initialPaymentCharge=FIRST)
    assert made["status"] == "ACTIVE"
    assert (await client.get(f"/payment-charges/{made['initialPaymentChargeId']}")).body["status"] == "FAILED"


async def test_nobody_knows_what_became_of_the_first_charge(one: Process, client: AgreeingClient):
    """AUTHORIZATION_PROCESSING until it is known; the background finds out."""
    one.processor.capabilities = one.processor.capabilities._replace(inquiry=True)
    try:
        one.processor.say(Unknown(Silence.PENDING))
        made = await client.agree("MOCK", initialPaymentCharge=FIRST)
        assert made["status"] == "AUTHORIZATION_PROCESSING"
        assert (await client.charge_under(made))["failure"]["failureCode"] == "AGREEMENT_INACTIVE"
        assert await client.told(made) == ["CREATED"]
    finally:
        one.processor.capabilities = one.processor.capabilities._replace(inquiry=False)


# --------------------------------------------------------------------------------------------------------------- wallets

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
