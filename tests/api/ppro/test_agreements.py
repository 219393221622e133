"""Agreements at this door: made with a card, charged, revoked; what each method asks of whom."""
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.ppro.returning import Returning
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine.browser import Return
from tests.api.ppro.agreeing import BACK, FIRST, REDIRECT, AgreeingClient, history
from tests.api.ppro.asking import raw_card
from tests.engine.composition import AUTHENTICATED, NOW, Process, Shop

pytestmark = pytest.mark.anyio


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


@pytest.mark.parametrize(("settings", "asks"), [
    ({"outOfScope": {"reason": "MIT"}}, 0), ({"authenticationStatus": "SUCCESS", "authenticationValue": "AAECAwQFBgcICQoLDA0ODxAREhM="}, 2)])
async def test_a_result_from_elsewhere_goes_to_the_issuer(one: Process, client: AgreeingClient, settings: dict[str, Any], asks: int):
    """By a nominal authorization and its void; the reason why there is none goes to nobody."""
    paid = await client.charge(instrument=raw_card("4000009900000905"))
    before = len(one.processor.asked)
    made = await client.agree(
        instrument=None, instrumentId=paid["instrumentId"], authenticationSettings=[{"type": "EXTERNAL_3DS", "settings": settings}])
    assert made["status"] == "ACTIVE" and len(one.processor.asked) == before + asks
    assert not asks or one.processor.asked[before].evidence is not None


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




async def test_the_books_agree(one: Process):
    """With everything that happened here."""
    await one.prove()
