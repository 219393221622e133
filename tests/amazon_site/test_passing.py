"""What time does: sessions, authorizations, permissions, refunds, and what is decided later; whoever looks first, and however late."""
from __future__ import annotations

from datetime import timedelta

import pytest

from tests.amazon_site.site_asking import BEGAN, running, usd
from tests.amazon_site.test_paying import capture, charge, permission_of, refund, standing, state

pytestmark = pytest.mark.anyio


def waiting(here, amount="10.00", **details):
    payload = here.shop.payload(amount, "Authorize")
    payload["paymentDetails"] |= {"canHandlePendingAuthorization": True, **details}
    return payload


@pytest.mark.parametrize(("card", "ends"), [("0701", ("Authorized", None)), ("4354", ("Declined", "HardDeclined"))])
async def test_a_card_that_is_decided_after_thirty_seconds(here, card, ends):
    done = await here.bought(waiting(here), card)
    assert (done.status, state(done.json)) == (202, ("Completed", None))
    path = f"/charges/{done.json['chargeId']}"
    assert state(await here.shop.get(path)) == ("AuthorizationInitiated", None)
    assert standing(await permission_of(here, done))[:2] == ("NonChargeable", ["ChargeInProgress"])
    assert (await charge(here, done.json["chargePermissionId"], "1.00")).problem == (422, "InvalidChargePermissionStatus")
    here.time.pass_(seconds=29)
    assert state(await here.shop.get(path)) == ("AuthorizationInitiated", None)
    here.time.pass_(seconds=1)
    assert state(await here.shop.get(path)) == ends
    assert standing(await permission_of(here, done))[:2] == (
        ("NonChargeable", ["PaymentMethodInvalid"]) if card == "4354" else ("Chargeable", []))


@pytest.mark.parametrize("card", ["0701", "4354"])
async def test_such_a_card_is_not_taken_where_the_shop_cannot_wait(here, card):
    browser = here.browser()
    await browser.approve(here.shop.button(here.shop.payload(intent="Authorize")), card)
    assert browser.said.status == 422 and 'data-problem="card_waits"' in browser.said.text


async def test_a_session_that_is_completed_pending_is_captured_when_it_is_decided(here):
    payload = here.shop.payload()
    payload["paymentDetails"]["canHandlePendingAuthorization"] = True
    done = await here.bought(payload, code="AuthorizationInitiated")
    assert done.status == 202
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Captured", None)


async def test_the_code_wins_over_the_card(here):
    done = await here.bought(waiting(here), "4354", code="AuthorizationInitiated")
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Authorized", None)


async def test_a_charge_that_is_pending_is_canceled(here):
    done = await here.bought(waiting(here), "0701")
    gone = await here.shop.ask("DELETE", f"/charges/{done.json['chargeId']}/cancel", {"cancellationReason": "x"})
    assert state(gone.json) == ("Canceled", "MerchantCanceled")
    here.time.pass_(minutes=1)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Canceled", "MerchantCanceled")


@pytest.mark.parametrize("reason", ["SoftDeclined", "HardDeclined", "AmazonRejected", "TransactionTimedOut", "ProcessingFailure"])
async def test_a_charge_that_is_declined_later(here, reason):
    done = await here.bought(here.shop.recurring())
    permission = done.json["chargePermissionId"]
    assert (await charge(here, permission, code=f"Pending{reason}")).problem == (400, "InvalidSandboxSimulationSpecified")
    made = await charge(here, permission, code=f"Pending{reason}", canHandlePendingAuthorization=True)
    assert (made.status, state(made.json)) == (201, ("AuthorizationInitiated", None))
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/charges/{made.json['chargeId']}")) == ("Declined", reason)


async def test_a_capture_that_is_decided_later(here):
    done = await here.bought(here.shop.payload("100.00", "Authorize"))
    asked = await capture(here, done.json["chargeId"], "60.00", code="CaptureInitiated")
    assert (asked.status, state(asked.json), asked.json["captureAmount"]) == (200, ("CaptureInitiated", None), usd("0.00"))
    assert standing(await permission_of(here, done))[2] == "40.00"
    assert (await here.shop.ask("DELETE", f"/charges/{done.json['chargeId']}/cancel", {"cancellationReason": "x"})).problem == (
        422, "InvalidChargeStatus")
    here.time.pass_(seconds=30)
    paid = await here.shop.get(f"/charges/{done.json['chargeId']}")
    assert (state(paid), paid["captureAmount"]) == (("Captured", None), usd("60.00"))


@pytest.mark.parametrize("code", ["AmazonRejected", "ProcessingFailure"])
async def test_a_capture_that_fails_at_once_or_later(here, code):
    done = await here.bought(here.shop.payload("100.00", "Authorize"))
    assert (await capture(here, done.json["chargeId"], "60.00", code=code)).problem == (500 if code == "ProcessingFailure" else 422, code)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Declined", code)
    done = await here.bought(here.shop.payload("100.00", "Authorize"))
    assert (await capture(here, done.json["chargeId"], "60.00", code=f"Pending{code}")).status == 200
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Declined", code)


async def test_a_capture_after_a_week_takes_its_time(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    here.time.pass_(days=7)
    here.time.wall_at += 7 * 86_400
    assert state((await capture(here, done.json["chargeId"])).json) == ("CaptureInitiated", None)
    here.time.pass_(seconds=30)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Captured", None)


async def test_a_charge_that_is_captured_later_by_code(here):
    done = await here.bought(here.shop.recurring())
    permission = done.json["chargePermissionId"]
    assert (await charge(here, permission, code="CaptureInitiated")).problem == (400, "InvalidSandboxSimulationSpecified")
    made = await charge(here, permission, code="CaptureInitiated", captureNow=True)
    assert state(made.json) == ("CaptureInitiated", None)
    here.time.pass_(seconds=30)
    paid = await here.shop.get(f"/charges/{made.json['chargeId']}")
    assert (state(paid), paid["captureAmount"]) == (("Captured", None), usd("10.00"))


async def test_an_authorization_is_good_for_thirty_days(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    here.time.pass_(days=30, seconds=-1)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Authorized", None)
    here.time.pass_(seconds=1)
    gone = await here.shop.get(f"/charges/{done.json['chargeId']}")
    assert (state(gone), gone["statusDetails"]["lastUpdatedTimestamp"]) == (("Canceled", "ExpiredUnused"), "20260302T100000Z")
    assert standing(await permission_of(here, done)) == ("Chargeable", [], "10.00")


async def test_whoever_looks_late_sees_what_happened_in_its_order(here):
    """Decided after 30 seconds, unused 30 days after it was made, the permission over after 180: seen for the first time a year later."""
    done = await here.bought(waiting(here), "0701")
    here.time.pass_(days=365)
    assert state(await here.shop.get(f"/charges/{done.json['chargeId']}")) == ("Canceled", "ExpiredUnused")
    assert standing(await permission_of(here, done))[:2] == ("Closed", ["Expired"])
    await here.site.sweep()
    permission, paid = done.json["chargePermissionId"], done.json["chargeId"]
    assert here.told() == [
        ("CHARGE_PERMISSION", permission, "STATE_CHANGE"), ("CHARGE", paid, "STATE_CHANGE"), ("CHARGE", paid, "STATE_CHANGE"),
        ("CHARGE", paid, "STATE_CHANGE"), ("CHARGE_PERMISSION", permission, "STATE_CHANGE")]


@pytest.mark.parametrize(("fields", "days"), [({}, 180), ({"extendExpiration": True}, 393)])
async def test_a_one_time_permission_ends(here, fields, days):
    """13 months behind 31 January 2026 is 28 February 2027."""
    payload = here.shop.payload("100.00", "Confirm")
    payload["paymentDetails"] |= fields
    done = await here.bought(payload)
    here.time.pass_(days=days, seconds=-1)
    assert standing(await permission_of(here, done))[0] == "Chargeable"
    here.time.pass_(seconds=1)
    assert standing(await permission_of(here, done))[:2] == ("Closed", ["Expired"])


async def test_a_merchant_sees_who_the_buyer_is_for_thirty_days(here):
    once, often = await here.bought(here.shop.payload("100.00", "Confirm")), await here.bought(here.shop.recurring())
    here.time.pass_(days=30)
    assert (await permission_of(here, once))["buyer"] is None
    assert (await permission_of(here, often))["buyer"]["name"] == "Sara Ali"
    await here.shop.ask("DELETE", f"/chargePermissions/{often.json['chargePermissionId']}/close", {"closureReason": "x"})
    here.time.pass_(days=29)
    assert (await permission_of(here, often))["buyer"]["name"] == "Sara Ali"
    here.time.pass_(days=1)
    assert (await permission_of(here, often))["buyer"] is None


async def test_a_session_is_open_for_a_day_and_kept_for_a_month(here):
    session = await here.browser().approve(here.shop.button(here.shop.payload()))
    path = f"/checkoutSessions/{session}"
    here.time.pass_(days=1, seconds=-1)
    assert state(await here.shop.get(path)) == ("Open", None)
    here.time.pass_(seconds=1)
    assert state(await here.shop.get(path)) == ("Canceled", "Expired")
    done = await here.shop.ask("POST", f"{path}/complete", {"chargeAmount": usd("10.00")}, key=None)
    assert done.problem == (422, "CheckoutSessionCanceled")
    browser = here.browser()
    await browser.ask("GET", f"/amazon/checkout/{session}")
    assert (browser.said.status, browser.leaves_for) == (410, "")
    here.time.pass_(days=29)
    assert (await here.shop.ask("GET", path)).problem == (404, "ResourceNotFound")


async def test_when_something_will_be_due_is_known_ahead(here):
    done = await here.bought(waiting(here), "0701")
    await here.site.sweep()
    assert await here.site.due(BEGAN + timedelta(hours=1)) == [BEGAN + timedelta(seconds=30)]
    here.time.pass_(seconds=30)
    await here.site.sweep()
    assert await here.site.due(BEGAN + timedelta(hours=1)) == []
    assert (await here.site.due(BEGAN + timedelta(days=31)))[0] == BEGAN + timedelta(days=30)
    assert done.status == 202


async def test_a_sweep_decides_what_nobody_looks_at(here):
    done = await here.bought(here.shop.payload())
    back = await refund(here, done.json["chargeId"])
    await here.site.sweep()
    here.posts.clear()
    here.time.pass_(seconds=30)
    assert await here.site.sweep() == 1
    assert here.told() == [("REFUND", back.json["refundId"], "STATE_CHANGE")]
    assert await here.site.sweep() == 0


async def test_the_same_seed_gives_the_same_names(tmp_path):
    async def names(folder, seed):
        async with running(tmp_path / folder, seed=seed) as here:
            done = await here.bought(here.shop.payload())
            return done.json["checkoutSessionId"], done.json["chargeId"], done.headers["x-amz-pay-request-id"]

    assert await names("a", 7) == await names("b", 7)
    assert await names("c", 8) != await names("a", 7)
