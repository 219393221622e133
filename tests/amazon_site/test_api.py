"""What a merchant's client meets before any money: who asks, in which form, under which key."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from ringfence.amazon_site import api, site, wire
from ringfence.amazon_site.problems import STATUSES, Problem
from ringfence.amazon_site.verifying import BASICS
from tests.amazon_site.site_asking import BASE, OTHER_KEY, PEM, STORE, Shop, Time, ask_raw, usd

pytestmark = pytest.mark.anyio

SESSION = {"webCheckoutDetails": {"checkoutReviewReturnUrl": "https://shop.example/review"}, "storeId": STORE}


async def test_every_answer_has_a_request_id_and_says_json(here):
    for answer in (await here.shop.ask("POST", "/checkoutSessions", SESSION), await here.shop.ask("GET", "/charges/none"),
                   await here.shop.ask("GET", "/none"), await here.shop.ask("GET", "/charges/x", authorization="")):
        assert len(answer.headers["x-amz-pay-request-id"]) == 36
        assert answer.headers["content-type"] == "application/json"
        assert answer.status == 201 or set(answer.json) == {"reasonCode", "message"}


@pytest.mark.parametrize(("prefix", "key_id", "status", "environment"), [
    ("/v2", "SANDBOX-KEY", 201, "Sandbox"), ("/sandbox/v2", "SANDBOX-KEY", 201, "Sandbox"), ("/v2", "LIVE-KEY", 201, "Live"),
    ("/live/v2", "LIVE-KEY", 201, "Live"), ("/sandbox/v2", "PLAIN", 201, "Sandbox"), ("/live/v2", "PLAIN", 201, "Live"),
    ("/v2", "PLAIN", 400, "InvalidRequest"), ("/live/v2", "SANDBOX-KEY", 401, "UnauthorizedAccess"),
    ("/v2", "NOBODY", 401, "UnauthorizedAccess")])
async def test_path_and_key_say_the_environment(here, prefix, key_id, status, environment):
    for known in ("LIVE-KEY", "PLAIN"):
        await here.site.register("SHOP", name="Shop", public_key_id=known, public_key_pem=PEM, store_id=STORE)
    answer = await Shop(here.app, here.time.wall, key_id, prefix).ask("POST", "/checkoutSessions", SESSION)
    assert (answer.status, answer.json.get("releaseEnvironment") or answer.json["reasonCode"]) == (status, environment)


async def test_what_is_live_is_not_seen_from_the_sandbox(here):
    await here.site.register("SHOP", name="Shop", public_key_id="LIVE-KEY", public_key_pem=PEM, store_id=STORE)
    made = await here.shop.ask("POST", "/checkoutSessions", SESSION)
    live = Shop(here.app, here.time.wall, "LIVE-KEY")
    assert (await live.ask("GET", f"/checkoutSessions/{made.json['checkoutSessionId']}")).problem == (404, "ResourceNotFound")


UNAUTHENTIC = {
    # what is wrong                     headers                                                  problem
    "no authorization":                 ({"authorization": "none"},                              (401, "UnauthorizedAccess")),
    "no accept":                        ({"accept": ""},                                         (400, "MissingHeader")),
    "no date":                          ({"x_amz_pay_date": ""},                                 (400, "MissingHeader")),
    "no host":                          ({"x_amz_pay_host": ""},                                 (400, "MissingHeader")),
    "no region":                        ({"x_amz_pay_region": ""},                               (400, "MissingHeader")),
    "another region":                   ({"x_amz_pay_region": "eu"},                             (400, "InvalidHeaderValue")),
    "an old date":                      ({"x_amz_pay_date": "20260105T101112Z"},                 (401, "UnauthorizedAccess")),
    "no date at all":                   ({"x_amz_pay_date": "yesterday"},                        (400, "InvalidHeaderValue")),
    "another type":                     ({"content_type": "text/plain"},                         (400, "InvalidHeaderValue")),
}


@pytest.mark.parametrize("wrong", UNAUTHENTIC)
async def test_a_request_that_is_not_authentic(here, wrong):
    headers, problem = UNAUTHENTIC[wrong]
    unsigned = "authorization" in headers
    shop = here.shop
    if unsigned:
        shop.key_id = "a b"         # spoils the header's form
    answer = await shop.ask("POST", "/checkoutSessions", SESSION, **({} if unsigned else headers))
    assert answer.problem == problem


async def test_a_request_signed_with_another_key_is_refused(here):
    here.shop.key = OTHER_KEY
    assert (await here.shop.ask("POST", "/checkoutSessions", SESSION)).problem == (401, "UnauthorizedAccess")


async def test_a_region_goes_by_its_other_names_and_the_older_algorithm_is_good(here):
    answer = await here.shop.ask("POST", "/checkoutSessions", SESSION, x_amz_pay_region="us", algorithm="AMZN-PAY-RSASSA-PSS")
    assert answer.status == 201


async def test_dates_within_a_quarter_of_an_hour_are_near_enough(here):
    for seconds, status in ((-899, 201), (899, 201), (-901, 401), (901, 401)):
        shop = Shop(here.app, lambda seconds=seconds: here.time.wall() + seconds)
        assert (await shop.ask("POST", "/checkoutSessions", SESSION)).status == status


ILL_FORMED = {
    # what is wrong                                              the body                                                               code
    "not JSON":                                                  (b"{",                                                                 "InvalidRequestFormat"),
    "no object":                                                 (b"[]",                                                                "InvalidRequestFormat"),
    "a lone surrogate":                                          (b'{"storeId":"\\ud800"}',                                             "InvalidRequestFormat"),
    "too deep":                                                  (b"[" * 9_000,                                                         "InvalidRequestFormat"),
    "a field that is none":                                      (SESSION | {"store": "x"},                                             "UnrecognizedField"),
    "a field inside that is none":                               (SESSION | {"webCheckoutDetails": {"url": "x"}},                       "UnrecognizedField"),
    "no store":                                                  ({"webCheckoutDetails": {}},                                           "MissingParameterValue"),
    "null is nothing":                                           (SESSION | {"storeId": None},                                          "MissingParameterValue"),
    "no review":                                                 (SESSION | {"webCheckoutDetails": {}},                                 "MissingParameterValue"),
    "a text that is a number":                                   (SESSION | {"storeId": 7},                                             "InvalidParameterValue"),
    "another's store":                                           (SESSION | {"storeId": "x"},                                           "InvalidParameterValue"),
    "no way back":                                               (SESSION | {"webCheckoutDetails": {"checkoutReviewReturnUrl": "javascript:x"}}, "InvalidParameterValue"),
    "an unknown scope":                                          (SESSION | {"scopes": ["x"]},                                          "InvalidParameterValue"),
    "a name too long":                                           (SESSION | {"merchantMetadata": {"merchantStoreName": "x" * 51}},      "InvalidParameterValue"),
    "an amount that is a number":                                (SESSION | {"paymentDetails": {"chargeAmount": {"amount": 1, "currencyCode": "USD"}}}, "InvalidParameterValue"),
    "an amount with three decimals":                             (SESSION | {"paymentDetails": {"chargeAmount": usd("1.001")}},         "InvalidParameterValue"),
    "an amount below zero":                                      (SESSION | {"paymentDetails": {"chargeAmount": usd("-1.00")}},         "InvalidParameterValue"),
    "an amount of nothing":                                      (SESSION | {"paymentDetails": {"chargeAmount": usd("0.00")}},          "InvalidParameterValue"),
    "another region's currency":                                 (SESSION | {"paymentDetails": {"chargeAmount": usd("1.00", "EUR")}},   "InvalidParameterValue"),
    "no currency":                                               (SESSION | {"paymentDetails": {"chargeAmount": usd("1.00", "XXX")}},   "InvalidParameterValue"),
    "above the maximum":                                         (SESSION | {"paymentDetails": {"chargeAmount": usd("150000.01")}},     "InvalidParameterValue"),
    "less in all than at once":                                  (SESSION | {"paymentDetails": {"chargeAmount": usd("2.00"), "totalOrderAmount": usd("1.00")}}, "InvalidParameterValue"),
    "a descriptor without a capture":                            (SESSION | {"paymentDetails": {"softDescriptor": "X"}},                "InvalidParameterCombination"),
    "an address outside of ProcessOrder":                        (SESSION | {"addressDetails": {"name": "X"}},                          "InvalidParameterCombination"),
    "recurring without how often":                               (SESSION | {"chargePermissionType": "Recurring"},                      "MissingParameterValue"),
    "ProcessOrder without an amount":                            (SESSION | {"webCheckoutDetails": {"checkoutMode": "ProcessOrder", "checkoutResultReturnUrl": "https://x"},
                                                                             "paymentDetails": {"paymentIntent": "Authorize"}},         "MissingParameterValue"),
}


@pytest.mark.parametrize("wrong", ILL_FORMED)
async def test_a_request_that_is_ill_formed(here, wrong):
    body, code = ILL_FORMED[wrong]
    assert (await here.shop.ask("POST", "/checkoutSessions", body)).problem == (400, code)


async def test_a_body_that_is_too_large(here):
    assert (await here.shop.ask("POST", "/charges", b" " * 70_000)).problem == (400, "InvalidRequest")


async def test_every_code_that_is_said_has_a_status():
    from pathlib import Path

    import ringfence.amazon_site
    said = set()
    for path in Path(ringfence.amazon_site.__file__).parent.glob("*.py"):
        said |= set(wire.re.findall(r'Problem\(\s*"(\w+)"', path.read_text("utf-8")))
    assert said and said <= STATUSES.keys()
    assert all(Problem(code, "").status in (400, 401, 404, 405, 422, 429, 500, 503) for code in STATUSES)


@pytest.mark.parametrize("operation", [one for one in api.OPERATIONS if one.has_key], ids=lambda one: one.name)
async def test_a_key_is_needed_where_money_moves(here, operation):
    path = operation.path.replace("{name}", "x")
    body = {"createCheckoutSession": SESSION, "createCharge": {"chargePermissionId": "x", "chargeAmount": usd("1.00")},
            "captureCharge": {"captureAmount": usd("1.00")}, "createRefund": {"chargeId": "x", "refundAmount": usd("1.00")}}[operation.name]
    assert (await here.shop.ask("POST", path, body, key=None)).problem == (400, "MissingHeader")
    assert (await here.shop.ask("POST", path, body, key=" ")).problem == (400, "MissingHeaderValue")
    assert (await here.shop.ask("POST", path, body, key="k" * 33)).problem == (400, "InvalidHeaderValue")


async def test_the_same_key_gets_the_first_answer_however_it_is_written(here):
    first = await here.shop.ask("POST", "/checkoutSessions", SESSION, key="k")
    turned = json.dumps(dict(reversed(SESSION.items())), indent=3).encode()
    again = await here.shop.ask("POST", "/checkoutSessions", turned, key="k")
    assert (first.status, first.json) == (again.status, again.json) and first.status == 201
    other = await here.shop.ask("POST", "/checkoutSessions", SESSION | {"platformId": "p"}, key="k")
    assert other.problem == (400, "DuplicateIdempotencyKey")


async def test_a_refusal_does_not_use_up_its_key(here):
    assert (await here.shop.ask("POST", "/checkoutSessions", SESSION | {"storeId": "x"}, key="k")).status == 400
    assert (await here.shop.ask("POST", "/checkoutSessions", SESSION, key="k")).status == 201


@pytest.mark.parametrize(("method", "path", "problem"), [
    ("GET", "/checkoutSessions", (405, "UnsupportedOperation")), ("PUT", "/charges/x", (405, "UnsupportedOperation")),
    ("POST", "/charges/x/cancel", (405, "UnsupportedOperation")), ("PATCH", "/charges/x", (405, "UnsupportedOperation")),
    ("GET", "/disputes/x", (404, "ResourceNotFound")), ("GET", "/charges/x/y/z", (404, "ResourceNotFound")),
    ("GET", "/refunds/x", (404, "ResourceNotFound")), ("GET", "/chargePermissions/x", (404, "ResourceNotFound")),
    ("GET", "/buyers/x", (404, "ResourceNotFound"))])
async def test_what_is_not_there(here, method, path, problem):
    assert (await here.shop.ask(method, path, {} if method in ("PATCH", "PUT", "POST") else None)).problem == problem


async def test_another_merchants_objects_are_not_there(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    await here.site.register("OTHER", name="Other", public_key_id="SANDBOX-OTHER", public_key_pem=PEM, store_id="other")
    other = Shop(here.app, here.time.wall, "SANDBOX-OTHER")
    for method, path, body in (
            ("GET", f"/checkoutSessions/{done.json['checkoutSessionId']}", None), ("GET", f"/charges/{done.json['chargeId']}", None),
            ("GET", f"/chargePermissions/{done.json['chargePermissionId']}", None),
            ("POST", f"/charges/{done.json['chargeId']}/capture", {"captureAmount": usd("1.00")}),
            ("DELETE", f"/charges/{done.json['chargeId']}/cancel", {"cancellationReason": "x"}),
            ("POST", "/refunds", {"chargeId": done.json["chargeId"], "refundAmount": usd("1.00")})):
        assert (await other.ask(method, path, body)).problem == (404, "ResourceNotFound")


async def test_a_simulation_code_belongs_to_its_operation(here):
    for code in ("Nonsense", "BuyerCanceled"):
        answer = await here.shop.ask("POST", "/charges", {"chargePermissionId": "x", "chargeAmount": usd("1.00")}, code=code)
        assert answer.problem == (400, "InvalidSandboxSimulationSpecified")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*wire.CREATE_SESSION, *wire.CREATE_CHARGE, "amount", "x"]), inner, max_size=4),
    max_leaves=12)


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory) -> Iterator[Shop]:
    """One shop for all examples."""
    time = Time()
    one = site(tmp_path_factory.mktemp("amazon"), time.now, base_url=BASE, wall=time.wall)
    asyncio.run(one.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE))
    yield Shop(Starlette(routes=one.routes), time.wall)
    one.close()


@settings(max_examples=300)
@given(body=JSON, at=st.sampled_from([one for one in api.OPERATIONS if one.method != "GET"]))
async def test_no_body_breaks_it(open_shop, body, at):
    answer = await open_shop.ask(at.method, at.path.replace("{name}", "x"), body)
    assert answer.status in (400, 404, 405) and answer.json["reasonCode"] in STATUSES


@settings(max_examples=300)
@given(header=st.sampled_from(["authorization", "x-amz-pay-date", "x-amz-pay-region", "x-amz-pay-idempotency-key", "x-amz-pay-simulation-code", "cookie"]),
       value=st.binary(max_size=60), query=st.text("abc=&%+ä ", max_size=12))
async def test_no_header_and_no_query_breaks_it(open_shop, header, value, query):
    """Also of what is not signed: a request that cannot be believed is refused, never an error of the site."""
    answer = await ask_raw(open_shop.app, query, {**dict.fromkeys(BASICS, b"application/json"), header: value})
    assert answer in (400, 401)
