"""Whole payments, from the button to the refund: what is asked, what is answered, what is told."""
from __future__ import annotations

import pytest

from tests.amazon_site.site_asking import BASE, usd

pytestmark = pytest.mark.anyio


def state(one) -> tuple[str, str | None]:
    return one["statusDetails"]["state"], one["statusDetails"]["reasonCode"]


def standing(permission) -> tuple[str, list[str], str]:
    details = permission["statusDetails"]
    return details["state"], [one["reasonCode"] for one in details["reasons"] or []], permission["limits"]["amountBalance"]["amount"]


async def permission_of(here, done):
    return await here.shop.get(f"/chargePermissions/{done.json['chargePermissionId']}")


async def charge(here, permission_id, amount="10.00", *, code="", key="", **fields):
    return await here.shop.ask(
        "POST", "/charges", {"chargePermissionId": permission_id, "chargeAmount": usd(amount), **fields}, code=code, key=key)


async def capture(here, charge_id, amount="10.00", *, code="", key=""):
    return await here.shop.ask("POST", f"/charges/{charge_id}/capture", {"captureAmount": usd(amount)}, code=code, key=key)


async def refund(here, charge_id, amount="10.00", *, code="", key=""):
    return await here.shop.ask("POST", "/refunds", {"chargeId": charge_id, "refundAmount": usd(amount)}, code=code, key=key)


# ------------------------------------------------------------------------------------------------------ completing

async def test_an_order_is_paid_at_once(here):
    browser = here.browser()
    session_id = await browser.approve(here.shop.button(here.shop.payload()))
    assert browser.leaves_for == f"https://shop.example/back?order=7&amazonCheckoutSessionId={session_id}#end"
    session = await here.shop.get(f"/checkoutSessions/{session_id}")
    assert (state(session), session["constraints"]) == (("Open", None), [])
    assert session["merchantMetadata"]["merchantReferenceId"] == "order-7"
    assert session["paymentDetails"]["chargeAmount"] == usd("10.00")
    assert session["buyer"]["email"] == "sara@buyer.example" and session["buyer"]["phoneNumber"] is None
    assert session["paymentPreferences"] == [{"paymentDescriptor": "Visa ****1111 (Amazon Pay)"}]
    assert (session["creationTimestamp"], session["expirationTimestamp"]) == ("20260131T100000Z", "20260201T100000Z")

    done = await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": usd("10.00")}, key=None)
    assert (done.status, state(done.json)) == (200, ("Completed", None))
    assert done.json["chargeId"] == done.json["chargePermissionId"] + "-C000001" and done.json["buyer"] is None
    paid = await here.shop.get(f"/charges/{done.json['chargeId']}")
    assert (state(paid), paid["captureAmount"], paid["refundedAmount"]) == (("Captured", None), usd("10.00"), usd("0.00"))
    assert paid["expirationTimestamp"] == "20260302T100000Z" and paid["releaseEnvironment"] == "Sandbox"
    assert standing(await permission_of(here, done)) == ("Closed", ["MerchantClosed"], "0.00")

    again = await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": usd("10.00")}, key=None)
    assert (again.status, again.json) == (200, done.json)


async def test_nothing_is_charged_before_the_buyer_has_approved(here):
    browser = here.browser()
    await browser.ask("POST", "/amazon/checkout", here.shop.button(here.shop.payload()))
    session_id = browser.path.rpartition("/")[2]
    session = await here.shop.get(f"/checkoutSessions/{session_id}")
    assert [one["constraintId"] for one in session["constraints"]] == ["BuyerNotAssociated"]
    done = await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": usd("10.00")}, key=None)
    assert done.problem == (422, "InvalidCheckoutSessionStatus")


async def test_the_amount_is_the_one_the_buyer_saw(here):
    session_id = await here.browser().approve(here.shop.button(here.shop.payload("10.00")))
    for amount, problem in ((usd("10.01"), (400, "InvalidParameterValue")), (usd("9.99"), (400, "InvalidParameterValue"))):
        answer = await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": amount}, key=None)
        assert answer.problem == problem
    assert (await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": usd("10")}, key=None)).status == 200


@pytest.mark.parametrize(("card", "reason"), [("3064", "BuyerCanceled"), ("3434", "Declined")])
async def test_a_card_that_cancels_the_session(here, card, reason):
    browser = here.browser()
    session_id = await browser.approve(here.shop.button(here.shop.payload()), card)
    assert browser.leaves_for.startswith("https://shop.example/back?")
    assert state(await here.shop.get(f"/checkoutSessions/{session_id}")) == ("Canceled", reason)
    done = await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": usd("10.00")}, key=None)
    assert done.problem == (422, "CheckoutSessionCanceled")


@pytest.mark.parametrize("code", ["BuyerCanceled", "AmazonCanceled", "Declined"])
async def test_a_code_that_cancels_the_session(here, code):
    done = await here.bought(here.shop.payload(), code=code)
    assert done.problem == (422, "CheckoutSessionCanceled") and code in done.json["message"]


async def test_the_standard_way_with_a_review(here):
    """The buyer chooses, the shop says what it costs, the buyer approves."""
    made = await here.shop.ask("POST", "/checkoutSessions", {
        "webCheckoutDetails": {"checkoutReviewReturnUrl": "https://shop.example/review"}, "storeId": here.shop.payload()["storeId"]})
    session_id = made.json["checkoutSessionId"]
    assert (made.status, made.json["webCheckoutDetails"]["amazonPayRedirectUrl"]) == (201, None)
    browser = here.browser()
    await browser.ask("GET", f"/amazon/checkout/{session_id}")
    await browser.sign_in()
    await browser.click("approve", card="4444", address="1")
    assert browser.leaves_for == f"https://shop.example/review?amazonCheckoutSessionId={session_id}"
    seen = await here.shop.get(f"/checkoutSessions/{session_id}")
    assert seen["shippingAddress"]["city"] == "Portland"
    assert [one["constraintId"] for one in seen["constraints"]] == ["ChargeAmountNotSet", "CheckoutResultReturnUrlNotSet", "PaymentIntentNotSet"]
    changed = await here.shop.ask("PATCH", f"/checkoutSessions/{session_id}", {
        "webCheckoutDetails": {"checkoutResultReturnUrl": "https://shop.example/result"},
        "paymentDetails": {"paymentIntent": "Authorize", "chargeAmount": usd("25.00")}})
    assert (changed.status, changed.json["constraints"]) == (200, [])
    redirect = changed.json["webCheckoutDetails"]["amazonPayRedirectUrl"]
    assert redirect == f"{BASE}/amazon/checkout/{session_id}"
    await browser.ask("GET", redirect.removeprefix(BASE))
    await browser.click("approve", card="4444")
    assert browser.leaves_for == f"https://shop.example/result?amazonCheckoutSessionId={session_id}"
    done = await here.shop.ask("POST", f"/checkoutSessions/{session_id}/complete", {"chargeAmount": usd("25.00")}, key=None)
    assert done.status == 200
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Authorized", None)
    late = await here.shop.ask("PATCH", f"/checkoutSessions/{session_id}", {"platformId": "x"})
    assert late.problem == (422, "InvalidCheckoutSessionStatus")


async def test_finalize_without_a_result_page(here):
    made = await here.shop.ask("POST", "/checkoutSessions", {
        "webCheckoutDetails": {"checkoutReviewReturnUrl": "https://shop.example/review"}, "storeId": here.shop.payload()["storeId"]})
    path = f"/checkoutSessions/{made.json['checkoutSessionId']}"
    wish = {"chargeAmount": usd("25.00"), "paymentIntent": "AuthorizeWithCapture"}
    assert (await here.shop.ask("POST", f"{path}/finalize", wish, key=None)).problem == (422, "InvalidCheckoutSessionStatus")
    browser = here.browser()
    await browser.ask("GET", f"/amazon{path}".replace("checkoutSessions", "checkout"))
    await browser.sign_in()
    await browser.click("approve", card="1111")
    done = await here.shop.ask("POST", f"{path}/finalize", wish, key=None)
    assert done.status == 200
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Captured", None)


# ------------------------------------------------------------------------------------------------------ charges

async def test_a_capture_of_a_part_gives_the_rest_back_for_another_charge(here):
    done = await here.bought(here.shop.payload("100.00", "Authorize"))
    part = await capture(here, done.json["chargeId"], "30.00")
    assert (part.status, state(part.json), part.json["captureAmount"]) == (200, ("Captured", None), usd("30.00"))
    assert (await capture(here, done.json["chargeId"], "30.00")).problem == (422, "InvalidChargeStatus")
    assert standing(await permission_of(here, done)) == ("Chargeable", [], "70.00")
    permission = done.json["chargePermissionId"]
    assert (await charge(here, permission, "70.01")).problem == (422, "TransactionAmountExceeded")
    second = await charge(here, permission, "70.00", captureNow=True, softDescriptor="REST")
    assert (second.status, state(second.json), second.json["chargeId"]) == (201, ("Captured", None), f"{permission}-C000002")
    assert standing(await permission_of(here, done)) == ("Closed", ["MerchantClosed"], "0.00")
    assert (await charge(here, permission, "1.00")).problem == (422, "InvalidChargePermissionStatus")


async def test_the_total_of_an_order_may_be_more_than_its_first_charge(here):
    payload = here.shop.payload("40.00", "AuthorizeWithCapture")
    payload["paymentDetails"]["totalOrderAmount"] = usd("100.00")
    done = await here.bought(payload)
    assert standing(await permission_of(here, done)) == ("Chargeable", [], "60.00")


async def test_twenty_five_charges_and_no_more(here):
    done = await here.bought(here.shop.payload("100.00", "Confirm"))
    permission = done.json["chargePermissionId"]
    assert done.json["chargeId"] is None
    declined = await charge(here, permission, "1.00", code="SoftDeclined")
    assert declined.problem == (422, "SoftDeclined")
    for _ in range(25):
        assert (await charge(here, permission, "1.00")).status == 201
    assert (await charge(here, permission, "1.00")).problem == (422, "TransactionCountExceeded")


async def test_a_capture_is_refused_above_its_charge_or_in_other_money(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    assert (await capture(here, done.json["chargeId"], "10.01")).problem == (422, "TransactionAmountExceeded")
    answer = await here.shop.ask("POST", f"/charges/{done.json['chargeId']}/capture", {"captureAmount": usd("1.00", "EUR")})
    assert answer.problem == (400, "CurrencyMismatch")
    assert (await capture(here, done.json["chargeId"])).status == 200


async def test_a_charge_is_canceled_once_and_leaves_its_permission(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    path, reason = f"/charges/{done.json['chargeId']}/cancel", {"cancellationReason": "sold out"}
    gone = await here.shop.ask("DELETE", path, reason)
    assert (gone.status, state(gone.json)) == (200, ("Canceled", "MerchantCanceled"))
    assert (await here.shop.ask("DELETE", path, reason)).problem == (422, "InvalidChargeStatus")
    assert (await capture(here, done.json["chargeId"])).problem == (422, "InvalidChargeStatus")
    assert standing(await permission_of(here, done)) == ("Chargeable", [], "10.00")


async def test_the_same_key_never_charges_twice(here):
    done = await here.bought(here.shop.payload("100.00", "Confirm"))
    permission = done.json["chargePermissionId"]
    first = await charge(here, permission, key="once", captureNow=True)
    again = await charge(here, permission, key="once", captureNow=True)
    assert (first.status, first.json) == (again.status, again.json)
    assert (await charge(here, permission, "11.00", key="once", captureNow=True)).problem == (400, "DuplicateIdempotencyKey")
    assert standing(await permission_of(here, done)) == ("Chargeable", [], "90.00")


async def test_a_decline_keeps_its_key(here):
    done = await here.bought(here.shop.payload("100.00", "Confirm"))
    permission = done.json["chargePermissionId"]
    assert (await charge(here, permission, key="once", code="SoftDeclined")).problem == (422, "SoftDeclined")
    assert (await charge(here, permission, key="once")).problem == (422, "SoftDeclined")
    assert (await charge(here, permission)).status == 201


@pytest.mark.parametrize(("code", "status", "after"), [
    ("SoftDeclined", 422, ("Chargeable", [])), ("HardDeclined", 422, ("NonChargeable", ["PaymentMethodInvalid"])),
    ("AmazonRejected", 422, ("Closed", ["AmazonCanceled"])), ("TransactionTimedOut", 422, ("Chargeable", [])),
    ("ProcessingFailure", 500, ("Chargeable", []))])
async def test_what_a_decline_means_for_the_permission(here, code, status, after):
    done = await here.bought(here.shop.payload("100.00", "Confirm"))
    assert (await charge(here, done.json["chargePermissionId"], code=code)).problem == (status, code)
    assert standing(await permission_of(here, done)) == (*after, "100.00")


async def test_charges_have_a_currency_and_a_maximum(here):
    done = await here.bought(here.shop.recurring("150000.00"))
    permission = done.json["chargePermissionId"]
    answer = await here.shop.ask("POST", "/charges", {"chargePermissionId": permission, "chargeAmount": usd("1.00", "EUR")})
    assert answer.problem == (400, "CurrencyMismatch")
    assert (await charge(here, permission, "150000.01")).problem == (422, "TransactionAmountExceeded")
    assert (await charge(here, permission, "1.00", softDescriptor="X")).problem == (400, "InvalidParameterCombination")


# ------------------------------------------------------------------------------------------------------ recurring

async def test_a_recurring_permission_is_charged_every_month(here):
    done = await here.bought(here.shop.recurring("90.00", "AuthorizeWithCapture"))
    permission = done.json["chargePermissionId"]
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Captured", None)
    seen = await permission_of(here, done)
    assert (seen["chargePermissionType"], seen["statusDetails"]["state"]) == ("Recurring", "Chargeable")
    assert seen["recurringMetadata"] == {"frequency": {"unit": "Month", "value": "1"}, "amount": usd("90.00")}
    assert seen["expirationTimestamp"] == "20270228T100000Z"
    here.time.pass_(days=31)
    assert (await charge(here, permission, "90.00", captureNow=True, chargeInitiator="MITR", channel="Web")).status == 201
    assert (await permission_of(here, done))["expirationTimestamp"] == "20270403T100000Z"


async def test_a_month_has_a_limit_and_the_next_one_is_new(here):
    done = await here.bought(here.shop.recurring())
    permission = done.json["chargePermissionId"]
    assert (await charge(here, permission, "19999.00", captureNow=True)).status == 201
    assert (await charge(here, permission, "1.01", captureNow=True)).problem == (422, "TransactionAmountExceeded")
    here.time.pass_(days=1)
    assert (await charge(here, permission, "1.01", captureNow=True)).status == 201


async def test_a_permission_is_changed_and_closed_with_what_is_pending(here):
    done = await here.bought(here.shop.recurring(intent="Authorize"))
    path = f"/chargePermissions/{done.json['chargePermissionId']}"
    changed = await here.shop.ask("PATCH", path, {
        "merchantMetadata": {"noteToBuyer": "thank you"}, "recurringMetadata": {"frequency": {"unit": "Week", "value": "2"}}})
    assert changed.json["merchantMetadata"]["noteToBuyer"] == "thank you" and changed.json["merchantMetadata"]["merchantReferenceId"] == "order-7"
    assert changed.json["recurringMetadata"]["frequency"] == {"unit": "Week", "value": "2"}
    closed = await here.shop.ask("DELETE", f"{path}/close", {"closureReason": "over", "cancelPendingCharges": True})
    assert (closed.status, standing(closed.json)[:2]) == (200, ("Closed", ["MerchantClosed"]))
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Canceled", "ChargePermissionCanceled")
    assert (await here.shop.ask("DELETE", f"{path}/close", {"closureReason": "x"})).problem == (422, "InvalidChargePermissionStatus")
    assert (await here.shop.ask("PATCH", path, {"merchantMetadata": {}})).problem == (422, "InvalidChargePermissionStatus")


async def test_what_is_authorized_can_be_captured_behind_the_close(here):
    done = await here.bought(here.shop.recurring(intent="Authorize"))
    closed = await here.shop.ask(
        "DELETE", f"/chargePermissions/{done.json['chargePermissionId']}/close", {"closureReason": "over"}, code="AmazonClosed")
    assert standing(closed.json)[:2] == ("Closed", ["AmazonClosed"])
    assert state((await capture(here, done.json["chargeId"], "90.00")).json) == ("Captured", None)


# ------------------------------------------------------------------------------------------------------ refunds

async def test_refunds_in_parts_arrive_later(here):
    done = await here.bought(here.shop.payload("100.00"))
    first, second = await refund(here, done.json["chargeId"], "40.00"), await refund(here, done.json["chargeId"], "60.00")
    assert (first.status, state(first.json)) == (201, ("RefundInitiated", None))
    assert [one.json["refundId"][-8:] for one in (first, second)] == ["-R000001", "-R000002"]
    assert (await here.shop.get(f"/charges/{done.json['chargeId']}"))["refundedAmount"] == usd("0.00")
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/refunds/{first.json['refundId']}")) == ("Refunded", None)
    assert (await here.shop.get(f"/charges/{done.json['chargeId']}"))["refundedAmount"] == usd("100.00")


@pytest.mark.parametrize(("captured", "above"), [("100.00", "15.00"), ("1000.00", "75.00"), ("0.50", "0.07")])
async def test_a_little_more_than_captured_can_be_refunded(here, captured, above):
    done = await here.bought(here.shop.payload(captured))
    assert (await refund(here, done.json["chargeId"], captured)).status == 201
    cent_more = f"{(round(float(above) * 100) + 1) / 100:.2f}"
    assert (await refund(here, done.json["chargeId"], cent_more)).problem == (422, "TransactionAmountExceeded")
    assert (await refund(here, done.json["chargeId"], above)).status == 201


@pytest.mark.parametrize("code", ["AmazonRejected", "ProcessingFailure"])
async def test_a_refund_that_fails_can_be_asked_again(here, code):
    done = await here.bought(here.shop.payload())
    failed = await refund(here, done.json["chargeId"], "10.00", code=code, key="first")
    assert (await refund(here, done.json["chargeId"], "10.00", key="first")).json == failed.json
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/refunds/{failed.json['refundId']}")) == ("Declined", code)
    assert (await refund(here, done.json["chargeId"], "10.00")).status == 201


async def test_only_what_was_captured_is_refunded(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    assert (await refund(here, done.json["chargeId"])).problem == (422, "InvalidChargeStatus")
    assert (await refund(here, "none")).problem == (404, "ResourceNotFound")


async def test_yen_have_no_decimals(here):
    from tests.amazon_site.site_asking import PEM, Shop
    await here.site.register("SHOP", name="Shop", public_key_id="SANDBOX-JP", public_key_pem=PEM, store_id="jp", region="jp")
    shop = Shop(here.app, here.time.wall, "SANDBOX-JP")
    payload = shop.payload() | {"storeId": "jp"}
    payload["paymentDetails"]["chargeAmount"] = usd("1500", "JPY")
    session = await here.browser().approve(shop.button(payload))
    done = await shop.ask(
        "POST", f"/checkoutSessions/{session}/complete", {"chargeAmount": usd("1500", "JPY")}, key=None, x_amz_pay_region="jp")
    assert done.json["chargePermissionId"].startswith("S03-")
    paid = await shop.ask("GET", f"/charges/{done.json['chargeId']}", x_amz_pay_region="jp")
    assert paid.json["captureAmount"] == usd("1500", "JPY")
