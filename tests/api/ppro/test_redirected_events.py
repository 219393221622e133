"""What a merchant is told of a consumer who is sent away (PPRO Global API, section 15.8), row by row."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from ringfence.api.ppro.mandates import Mandates
from ringfence.core.redirection import Stand
from ringfence.engine.redirects import Seen
from tests.api.ppro.agreeing import FIRST, agreement
from tests.api.ppro.hooking import Hooked, hooked
from tests.api.ppro.test_redirection import amazon
from tests.engine.recovering import claim_due

pytestmark = pytest.mark.anyio
CREATED, PENDING = "CHARGE_CREATED", "CHARGE_AUTHENTICATION_PENDING"


@pytest.fixture(scope="module")
async def here(module_database: str) -> AsyncIterator[Hooked]:
    async with hooked(module_database) as one:
        mandates = Mandates(one.client.service)
        one.process.redirects.agreed, one.process.redirects.refused = mandates.agreed, mandates.refused
        yield one


async def away(here: Hooked, **fields: Any) -> dict[str, Any]:
    """A charge whose consumer is sent away, after both events of its beginning."""
    made = (await here.client.post("/payment-charges", amazon(**fields))).body
    created, pending = await here.told()
    assert [created["type"], pending["type"]] == [f"PAYMENT_{CREATED}", f"PAYMENT_{PENDING}"]
    assert created["data"]["paymentChargeStatus"] == "AUTHORIZATION_PROCESSING" and created["data"]["paymentMethod"] == "AMAZON_PAY"
    assert pending["data"]["paymentChargeStatus"] == "AUTHENTICATION_PENDING"
    assert pending["data"]["authenticationMethods"] == made["authenticationMethods"]
    return made


async def back(here: Hooked, made: dict[str, Any], stand: Stand) -> list[dict[str, Any]]:
    """The consumer comes back with a session that stands so; what is told of it."""
    session = f"s-{made['id']}"
    here.process.wallet.sessions[session] = Seen(stand)
    row = await here.process.redirects.find(made["authenticationMethods"][0]["details"]["requestUrl"].rpartition("/")[2])
    assert row is not None
    await here.process.redirects.came_back(row, session)
    return [one["data"] for one in await here.told()]


def shown(told: list[dict[str, Any]]) -> list[tuple[str, str, bool | None]]:
    return [(one["type"].removeprefix("PAYMENT_CHARGE_"), one["paymentChargeStatus"], one.get("isMultiStep")) for one in told]


@pytest.mark.parametrize(("auto", "types"), [
    (True, [("AUTHORIZATION_SUCCEEDED", "CAPTURE_PROCESSING", False), ("CAPTURE_SUCCEEDED", "CAPTURED", None)]),
    (False, [("AUTHORIZATION_SUCCEEDED", "CAPTURE_PENDING", True)]),
])
async def test_approved(here: Hooked, auto: bool, types: list[Any]):
    made = await away(here, autoCapture=auto)
    assert shown(await back(here, made, Stand.APPROVED)) == types


@pytest.mark.parametrize(("stand", "code"), [(Stand.CANCELED, "CANCELED_BY_CONSUMER"), (Stand.DECLINED, "GENERIC_DECLINE")])
async def test_cancelled_or_declined(here: Hooked, stand: Stand, code: str):
    made = await away(here)
    (failed,) = await back(here, made, stand)
    assert shown([failed]) == [("AUTHORIZATION_FAILED", "FAILED", None)]
    assert (failed["failure"]["failureType"], failed["failure"]["failureCode"]) == ("PROVIDER_DECLINE", code)
    assert failed["authorizationId"] == made["authorizations"][0]["id"]


async def test_vanished(here: Hooked):
    made = await away(here)
    here.process.now.now += timedelta(hours=24)
    for job in await claim_due(here.process, "redirection"):
        await here.process.redirects.attempt(job)
    (discarded,) = [one["data"] for one in await here.told()]
    assert shown([discarded]) == [("DISCARDED", "DISCARDED", None)]
    assert discarded["discardType"] == "AUTHENTICATION_TIMEOUT" and discarded["authorizationId"] == made["authorizations"][0]["id"]
    assert discarded["amount"] == {"value": 1000, "currency": "USD"}


async def test_given_up_by_the_merchant(here: Hooked):
    made = await away(here)
    await here.client.post(f"/payment-charges/{made['id']}/discards", {"merchantDiscardReference": "d-1"})
    (discarded,) = [one["data"] for one in await here.told()]
    assert shown([discarded]) == [("DISCARDED", "DISCARDED", None)] and discarded["discardType"] == "MERCHANT_INITIATED_DISCARD"
    assert discarded["merchantDiscardReference"] == "d-1"


@pytest.mark.parametrize(("stand", "told"), [
    (Stand.APPROVED, {"type": "PAYMENT_CHARGE_CAPTURE_SUCCEEDED", "paymentChargeStatus": "CAPTURED", "captureId": "", "merchantCaptureReference": "order-1001"}),
    (Stand.CANCELED, {"type": "PAYMENT_CHARGE_AUTHORIZATION_FAILED", "paymentChargeStatus": "FAILED", "authorizationId": "", "failure": {
        "failureType": "PROVIDER_DECLINE", "failureCode": "CANCELED_BY_CONSUMER", "failureMessage": "The consumer cancelled"}}),
    (Stand.EXPIRED, {
        "type": "PAYMENT_CHARGE_DISCARDED", "paymentChargeStatus": "DISCARDED", "authorizationId": "", "discardType": "AUTHENTICATION_TIMEOUT"}),
], ids=lambda one: str(one) if isinstance(one, Stand) else "")
async def test_the_golden_webhooks(here: Hooked, stand: Stand, told: dict[str, Any]):
    """Section 19.5, value for value; ids are supplied, and the wallet's own word stands beside."""
    made = await away(here)
    *_, data = await back(here, made, stand)
    after = await here.client.read(made)
    ids = {"captureId": [one["id"] for one in after["captures"]], "authorizationId": [one["id"] for one in after["authorizations"]]}
    data.get("failure", {}).pop("providerFailureCode", None)
    assert data == {
        "paymentChargeId": made["id"], "paymentMethod": "AMAZON_PAY", "merchantId": here.client.headers["merchant-id"],
        "merchantPaymentChargeReference": "order-1001", "amount": {"value": 1000, "currency": "USD"}, **told,
        **{name: ids[name][0] for name in ids if name in told}}


async def test_the_golden_webhook_of_an_agreement(here: Hooked):
    made = await agreed_with(here)
    session = f"s-{made['id']}"
    here.process.wallet.sessions[session] = Seen(Stand.APPROVED, "S01-7654321-0000003")
    row = await here.process.redirects.find(made["authenticationMethods"][0]["details"]["requestUrl"].rpartition("/")[2])
    assert row is not None
    await here.process.redirects.came_back(row, session)
    *_, active = await here.told()
    assert (active["subject"], active["data"]) == (made["id"], {
        "type": "PAYMENT_AGREEMENT_ACTIVE", "paymentAgreementId": made["id"], "paymentAgreementStatus": "ACTIVE", "paymentMethod": "AMAZON_PAY",
        "merchantId": here.client.headers["merchant-id"]})


# ------------------------------------------------------------------------------------------------------------- agreements


async def agreed_with(here: Hooked, **fields: Any) -> dict[str, Any]:
    """An agreement whose consumer is sent away."""
    answered = await here.client.post("/payment-agreements", agreement("AMAZON_PAY", **fields))
    assert answered.status == 200 and answered.body["status"] == "AUTHENTICATION_PENDING", answered
    return answered.body


async def types_behind(here: Hooked, made: dict[str, Any], seen: Seen) -> list[tuple[str, str]]:
    """The consumer comes back with a session that stands so: types and statuses of what is told."""
    session = f"s-{made['id']}"
    here.process.wallet.sessions[session] = seen
    row = await here.process.redirects.find(made["authenticationMethods"][0]["details"]["requestUrl"].rpartition("/")[2])
    assert row is not None
    await here.process.redirects.came_back(row, session)
    await here.client.get(f"/payment-agreements/{made['id']}")          # whoever looks first settles it, else a job does
    return [_said(one) for one in await here.told()]


def _said(one: dict[str, Any]) -> tuple[str, str]:
    data = one["data"]
    return one["type"].removeprefix("PAYMENT_"), data.get("paymentAgreementStatus") or data["paymentChargeStatus"]


async def test_an_agreement_with_its_first_charge(here: Hooked):
    """One approval covers both; what belongs to one subject is told in its order, and between the two no order is promised."""
    made = await agreed_with(here, initialPaymentCharge=FIRST)
    begun = [_said(one) for one in await here.told()]
    ended = await types_behind(here, made, Seen(Stand.APPROVED, "S01-7654321-0000001"))
    told = begun + ended
    assert [one for one in told if one[0].startswith("AGREEMENT")] == [
        ("AGREEMENT_CREATED", "INITIALIZING"), ("AGREEMENT_AUTHENTICATION_PENDING", "AUTHENTICATION_PENDING"), ("AGREEMENT_ACTIVE", "ACTIVE")]
    assert [one for one in told if one[0].startswith("CHARGE")] == [
        ("CHARGE_CREATED", "AUTHORIZATION_PROCESSING"), ("CHARGE_AUTHENTICATION_PENDING", "AUTHENTICATION_PENDING"),
        ("CHARGE_AUTHORIZATION_SUCCEEDED", "CAPTURE_PROCESSING"), ("CHARGE_CAPTURE_SUCCEEDED", "CAPTURED")]
    assert len(begun) == 4, "what begins is told before the consumer comes back"


async def test_an_agreement_whose_consumer_cancels(here: Hooked):
    """Both end."""
    made = await agreed_with(here, initialPaymentCharge=FIRST)
    await here.told()
    assert sorted(await types_behind(here, made, Seen(Stand.CANCELED))) == [
        ("AGREEMENT_FAILED", "FAILED"), ("CHARGE_AUTHORIZATION_FAILED", "FAILED")]


async def test_an_agreement_whose_consumer_vanishes(here: Hooked):
    made = await agreed_with(here, initialPaymentCharge=FIRST)
    await here.told()
    here.process.now.now += timedelta(hours=24)
    for job in await claim_due(here.process, "redirection"):
        await here.process.redirects.attempt(job)
    await here.client.get(f"/payment-agreements/{made['id']}")
    assert sorted(_said(one) for one in await here.told()) == [("AGREEMENT_FAILED", "FAILED"), ("CHARGE_DISCARDED", "DISCARDED")]


async def test_charges_by_the_merchant_under_it_and_its_end(here: Hooked):
    """Without a first charge; then one that the merchant makes, one that names the instrument alone, and after the revocation neither."""
    made = await agreed_with(here, amount={"value": 900, "currency": "USD"}, amountType="MAX")
    assert [_said(one)[0] for one in await here.told()] == ["AGREEMENT_CREATED", "AGREEMENT_AUTHENTICATION_PENDING"]
    assert await types_behind(here, made, Seen(Stand.APPROVED, "S01-7654321-0000002")) == [("AGREEMENT_ACTIVE", "ACTIVE")]
    instrument = (await here.client.get(f"/payment-agreements/{made['id']}")).body["instrumentId"]

    async def under(minor: int, *, key: str = "") -> dict[str, Any]:
        return (await here.client.post(f"/payment-agreements/{made['id']}/payment-charges", {"amount": {"value": minor, "currency": "USD"}}, key=key)).body

    async def beside(minor: int, *, key: str = "", instrument_id: str = instrument) -> dict[str, Any]:
        return (await here.client.post("/payment-charges", {
            "paymentMethod": "AMAZON_PAY", "amount": {"value": minor, "currency": "USD"}, "consumer": {"country": "US", "name": "Jane Doe"},
            "initiator": "MERCHANT", "instrumentId": instrument_id}, key=key)).body

    for charge in (under, beside):
        done = await charge(900, key=f"{charge.__name__}-1")
        assert (done["status"], done["agreementId"], "authenticationMethods" in done) == ("CAPTURED", made["id"], False), done
        assert [_said(one)[0] for one in await here.told()] == [
            "CHARGE_CREATED", "CHARGE_AUTHORIZATION_SUCCEEDED", "CHARGE_CAPTURE_SUCCEEDED"]
        assert (await charge(900, key=f"{charge.__name__}-1"))["id"] == done["id"] and await here.told() == []
        assert (await charge(901))["failure"]["failureCode"] == "AMOUNT_NOT_SUPPORTED"
        await here.told()
    listed = (await here.client.get(f"/payment-charges?agreementId={made['id']}")).body["data"]
    assert len(listed) == 4 and {one["agreementId"] for one in listed} == {made["id"]}
    assert (await beside(900, instrument_id=f"instr_{'x' * 21}"))["failure"]["failureCode"] == "INSTRUMENT_NOT_FOUND"
    await here.client.post(f"/payment-agreements/{made['id']}/revocations", {})
    assert ("AGREEMENT_REVOKED_BY_MERCHANT", "REVOKED_BY_MERCHANT") in [_said(one) for one in await here.told()]
    assert {(await charge(900))["failure"]["failureCode"] for charge in (under, beside)} == {"AGREEMENT_REVOKED"}
