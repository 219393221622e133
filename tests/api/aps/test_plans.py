"""Plans: the short way through the wire ends where the whole ladder ends, whatever is sent."""
from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import ip_network
from itertools import permutations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from ringfence.api.aps import plans, signature, wire
from ringfence.api.aps.accounts import CHANNELS, Settings
from ringfence.api.aps.cards import CardDetails
from ringfence.api.aps.fields import CHECKS, FIELDS
from ringfence.api.aps.ladder import climb
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.card import SecurityCode
from tests.api.aps.dialogue import CAPTURE, CARD_PURCHASE, CREDENTIAL, EVERY_OPERATION, NOW, SETTINGS, TOKEN_PURCHASE, signed, without

CREDENTIALS = [replace(CREDENTIAL, sha_type=kind) for kind in signature.SHA_TYPES]
SHAPES = [
    *EVERY_OPERATION,
    {**TOKEN_PURCHASE, "return_url": "https://shop.example/?order=1", "customer_name": "Umm Kulthūm أم"},
    {**TOKEN_PURCHASE, "eci": "MOTO", "card_security_code": "739", "language": "ar"},
    {**TOKEN_PURCHASE, "eci": "RECURRING", "agreement_id": "A1"},
    {**TOKEN_PURCHASE, "device_fingerprint": "0400abc==;x=", "payment_option": "VISA", "cart_details": "{a=b}"},
    {**CARD_PURCHASE, "token_name": "T0ken_9", "remember_me": "YES", "card_holder_name": "A B", "order_description": "#1 new_"},
    {**without(CAPTURE, "merchant_reference"), "fort_id": "99999999999999999999", "order_description": "part"},
]
ACCOUNTS = [
    SETTINGS,
    Settings(fraud=True),
    Settings(sandbox=True, mask_first=8),
    Settings(channels=frozenset({"trusted"})),
    Settings(services=frozenset()),
    Settings(currencies=frozenset({"AED"})),
    Settings(payment_options=frozenset({"MASTERCARD"})),
    Settings(sources=(ip_network("10.0.0.0/8"),)),
    Settings(statement_descriptor=True),
]


@pytest.fixture(autouse=True)
def no_plans(monkeypatch):
    """Each test begins without plans, and leaves those of others alone."""
    monkeypatch.setattr(plans, "PLANS", {})


def spelled_out(outcome):
    """An outcome with all that equality overlooks: its type, the order of its parameters, and what masks itself."""
    parts = astuple(outcome) if isinstance(outcome, ApsRequest) else outcome
    return type(outcome), [list(part.items()) if isinstance(part, dict) else revealed(part) for part in parts]


def revealed(part):
    """Card and security code in the clear, everything else as it is."""
    if isinstance(part, CardDetails):
        return part.number.reveal(), part.expiry, part.holder
    return part.reveal() if isinstance(part, SecurityCode) else part


def both_ways(params, credential=CREDENTIAL, account=SETTINGS):
    """The outcome, which must be the ladder's."""
    told = wire.parse(params, credential, account, NOW)
    assert spelled_out(told) == spelled_out(climb(params, credential, account, NOW))
    return told


@pytest.mark.parametrize("params", SHAPES)
@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda credential: credential.sha_type)
def test_the_second_request_of_a_shape_does_not_climb(params, credential, monkeypatch):
    """The ladder accepts the first, the plan the next, and both become the same request."""
    first = both_ways(signed(params, credential), credential)
    assert isinstance(first, ApsRequest)
    expected = climb(signed({**params, "language": "ar"}, credential), credential, SETTINGS, NOW)
    monkeypatch.setattr(wire, "climb", None)
    second = wire.parse(signed({**params, "language": "ar"}, credential), credential, SETTINGS, NOW)
    assert spelled_out(second) == spelled_out(expected)


#: What is written into values to spoil them: separators of every kind, other parameters, other scripts, too much, nothing.
SPOILED = st.sampled_from([
    "", " ", "\n", "\0", "=", "\u2028", "0", "000", "new_", "service_", "recurring_", "x" * 60, "9" * 300, "\nSAR\n", "amount=1",
    "YES", "ECOMMERCE", "MOTO", "RECURRING", "CAPTURE", "XTS", "JPY", "3013", "2001", "4005550000000002", "٣", "é", "%s", "https://x.example/?a=",
]) | st.text(max_size=5)
SIGNED_BY = st.sampled_from(["plain", "plain", "plain", "upper", "omitting", "other", "none", "letters"])


@st.composite
def mutated(draw):
    """Parameters of a known shape in some order, and the same with one to three values spoiled, extended, dropped or new."""
    params = draw(st.sampled_from(SHAPES))
    names = draw(st.permutations(list(params))) if draw(st.booleans()) else list(params)
    before = {name: params[name] for name in names}
    if draw(st.booleans()):
        before[draw(st.sampled_from(["customer_name", "expiry_date", "token_name", "eci", "order_description"]))] = ""
    after = dict(before)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(sorted(after)) | st.sampled_from(sorted(after)) | st.sampled_from(sorted(FIELDS)))
        change = draw(st.sampled_from(["replace", "append", "prepend", "drop", "valid"]))
        spoiled = draw(SPOILED)
        if change == "drop":
            after.pop(name, None)
        elif change == "valid":
            after[name] = draw(st.sampled_from([other[name] for other in SHAPES if name in other] or ["1"]))
        else:
            after[name] = {"replace": spoiled, "append": after.get(name, "") + spoiled, "prepend": spoiled + after.get(name, "")}[change]
    return before, after


def sign_as(params, credential, how):
    """The parameters, signed as that kind of client does."""
    params = without(params, "signature")
    match how:
        case "plain":
            return signed(params, credential)
        case "upper":
            return {**params, "signature": signed(params, credential)["signature"].upper()}
        case "omitting":
            return {**params, "signature": signed({k: v for k, v in params.items() if v}, credential)["signature"]}
        case "other":
            return {"signature": signature.sign(params, credential.response_phrase, credential.sha_type), **params}
        case "letters":
            return {**params, "signature": "é" * 64}
    return params


@settings(max_examples=600)
@given(mutated(), st.sampled_from(CREDENTIALS), st.sampled_from(ACCOUNTS), st.sampled_from(ACCOUNTS), SIGNED_BY)
@example(({**TOKEN_PURCHASE, "expiry_date": ""}, {**TOKEN_PURCHASE, "expiry_date": "3005"}), CREDENTIAL, SETTINGS, SETTINGS, "plain")
def test_after_any_request_any_other_ends_as_on_the_ladder(pair, credential, account, other_account, how):
    """The same request or the same error, by a plan or without: twice the one, the other in the same account and in another."""
    before, after = pair
    plans.PLANS.clear()
    for params, where in ((before, account), (before, account), (after, account), (after, account), (after, other_account)):
        both_ways(sign_as(params, credential, how if params is after else "plain"), credential, where)


VALUES = st.sampled_from(sorted({value for params in SHAPES for value in params.values()})) | SPOILED


PIECES = VALUES | st.text(st.sampled_from("aA1.:/@=?&{}[]-+; \n"), max_size=6)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(sorted(FIELDS)), PIECES | st.tuples(PIECES, PIECES).map("\n".join)), min_size=1, max_size=3))
@example([("device_fingerprint", ""), ("amount", "1")])
@example([("device_fingerprint", "a="), ("order_description", "x"), ("amount", "1")])
@example([("amount", "1\n2"), ("currency", "SAR")])
@example([("customer_email", "a" * 250 + "@b.co"), ("customer_ip", "::1")])
def test_joined_values_keep_the_joined_rules_where_each_keeps_its_own(fields):
    """A newline in a value moves no value to another's rule, and none is too long, too short or empty unseen."""
    joined = re.compile("\n".join(FIELDS[name].rule for name, _ in fields)).fullmatch("\n".join(value for _, value in fields))
    assert bool(joined) == all(keeps_its_rules(FIELDS[name], value) for name, value in fields)
    for name, value in fields:
        assert not value or bool(CHECKS[name](value)) == keeps_its_rules(FIELDS[name], value)


def keeps_its_rules(field, value):
    """Length, alphabet and list, one after the other."""
    listed = field.values is None or value in field.values
    return bool(0 < len(value) <= field.longest and field.pattern.fullmatch(value) and listed)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_no_rule_matches_a_newline_or_nothing(name):
    """What joins the values is in none of them, whatever stands around it."""
    rule = re.compile(FIELDS[name].rule)
    for sample in ("\n", "a\n", "\na", "1\n1", "{a\n}", "https://a\nb", "a@b\n", "YES\n", "en\n", "2030-01-01\n", ""):
        assert not rule.fullmatch(sample)


def test_what_was_sent_empty_leaves_no_plan():
    """A token purchase with an empty expiry date is fine; the next, with a date, is refused as ever."""
    assert isinstance(both_ways(signed({**TOKEN_PURCHASE, "expiry_date": ""})), ApsRequest)
    assert not plans.PLANS
    assert both_ways(signed({**TOKEN_PURCHASE, "expiry_date": "3005"})).code == "00027"


def test_a_switch_that_is_turned_off_is_off_at_once():
    """A plan speaks for the settings it was made under."""
    both_ways(signed(TOKEN_PURCHASE))
    assert both_ways(signed(TOKEN_PURCHASE), account=Settings(channels=CHANNELS - {"merchant_page"})).code == "00046"
    assert both_ways(signed(TOKEN_PURCHASE), account=Settings(currencies=frozenset({"AED"}))).code == "00013"


def test_a_card_that_expires_is_refused_by_its_plan_too():
    """A plan does not stop the clock: the same bytes are refused the month after."""
    params = signed(CARD_PURCHASE)
    assert isinstance(both_ways(params), ApsRequest)
    assert wire.parse(params, CREDENTIAL, SETTINGS, NOW.replace(year=2030, month=6)).code == "00012"


@pytest.mark.parametrize(("plain", "hiding", "named"), [
    ({"return_url": "https://shop.example/?x=1"}, {"return_url": "https://shop.example/?token_name=1"}, "return_url"),
    ({"device_fingerprint": "abcd"}, {"device_fingerprint": "eci="}, "device_fingerprint"),
])
def test_a_second_reading_is_refused_where_there_is_a_plan_as_well(plain, hiding, named):
    """Where a value may hold an equals sign, the search for another reading is part of every request."""
    assert isinstance(both_ways(signed({**CARD_PURCHASE, **plain})), ApsRequest)
    assert len(plans.PLANS) == 1
    assert both_ways(signed({**CARD_PURCHASE, **hiding}))[:2] == ("00002", named)


def test_another_way_to_pay_is_another_plan():
    """The same names with another ``eci``: another variant, other switches."""
    no_mail_order = Settings(channels=CHANNELS - {"moto"})
    assert both_ways(signed(TOKEN_PURCHASE), account=no_mail_order).variant.name == "token"
    assert both_ways(signed({**TOKEN_PURCHASE, "eci": "MOTO"})).variant.name == "moto token"
    assert both_ways(signed({**TOKEN_PURCHASE, "eci": "MOTO"}), account=no_mail_order).code == "00046"


@pytest.mark.parametrize("account", [Settings(payment_options=frozenset({"VISA"})), Settings(sources=(ip_network("::/0"),))])
def test_where_a_value_decides_a_switch_no_plan_is_made(account):
    """Accounts that restrict addresses or payment options climb, each time."""
    assert isinstance(wire.parse(signed(TOKEN_PURCHASE), CREDENTIAL, account, NOW, "::1"), ApsRequest)
    assert not plans.PLANS


@pytest.mark.parametrize(("params", "change"), [
    (TOKEN_PURCHASE, {"merchant_reference": "ORD_new_"}),
    (CARD_PURCHASE | {"device_id": "service_"}, {"card_security_code": "12"}),
    (CAPTURE, {"amount": "0"}),
    (TOKEN_PURCHASE, {"currency": "XXY"}),
    (TOKEN_PURCHASE, {"token_name": "T0ken_1\n"}),
    (TOKEN_PURCHASE, {"customer_ip": "1.1.1.1\nECOMMERCE", "eci": "MOTO"}),
])
def test_what_the_plan_does_not_admit_climbs(params, change):
    """The error, or the acceptance, is the ladder's."""
    both_ways(signed(params))
    both_ways(signed({**params, **change}))


def test_a_value_that_lengthens_the_next_name_is_left_to_the_ladder():
    """``ORD_new_`` before ``token_name`` writes ``new_token_name=``; the search for a second reading is the ladder's."""
    both_ways(signed(TOKEN_PURCHASE))
    plan, = plans.PLANS.values()
    assert plan.pairs(signed({**TOKEN_PURCHASE, "merchant_reference": "ORD_new"}), CREDENTIAL)
    assert plan.pairs(signed({**TOKEN_PURCHASE, "merchant_reference": "ORD_new_"}), CREDENTIAL) is None


@pytest.mark.parametrize("params", [{**TOKEN_PURCHASE, "amount": "0"}, {**TOKEN_PURCHASE, "4005550000000001": "x"}, {"signature": "x"}])
def test_a_refused_request_leaves_no_plan(params):
    """Nobody fills the memory with names of their own making."""
    both_ways(params if "signature" in params else signed(params))
    both_ways({**TOKEN_PURCHASE, "signature": "00" * 32})
    assert not plans.PLANS


def test_the_plans_are_bounded(monkeypatch):
    """A client that changes the order of its names gets no more plans than there is room for, and right answers all the same."""
    monkeypatch.setattr(plans, "MOST", 3)
    for names in list(permutations(CAPTURE))[:10]:
        assert isinstance(both_ways(signed({name: CAPTURE[name] for name in names})), ApsRequest)
    assert len(plans.PLANS) == 3


AGREED = {**TOKEN_PURCHASE, "eci": "RECURRING", "recurring_mode": "FIXED", "recurring_transactions_count": "12"}


def test_an_agreement_climbs_every_time():
    """Its values must agree with each other and with the day, which names do not tell."""
    for _ in range(2):
        assert isinstance(both_ways(signed(AGREED)), ApsRequest)
        assert isinstance(both_ways(signed({**AGREED, "recurring_expiry_date": "2030-01-01", "recurring_days_between_payments": "30"})), ApsRequest)
        assert both_ways(signed({**AGREED, "recurring_expiry_date": "2020-01-01"})).code == "00110"
        assert both_ways(signed({**AGREED, "recurring_transactions_count": "0"})).code == "00002"
    assert not plans.PLANS


def test_no_plan_holds_a_value():
    """Neither card data, nor references, nor signatures stay behind."""
    sent = [signed(params) for params in SHAPES]
    for params in sent:
        both_ways(params)
    kept = repr([(shape, plan, plan.spelling.pieces, plan.fits.__self__.pattern) for shape, plan in plans.PLANS.items()])
    kept = re.sub(r" at 0x[0-9a-f]+", "", kept)  # an address may have the digits of a security code
    assert len(plans.PLANS) == len(SHAPES)
    for params in sent:
        for name in params.keys() & {"card_number", "card_security_code", "signature", "merchant_reference", "customer_email", "token_name"}:
            assert params[name] not in kept


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=6), min_size=2))
def test_a_spelling_joins_as_the_signature_does(params):
    """The pairs from a kept spelling are those that are sorted anew."""
    spelling = signature.spelling(tuple(params))
    assert spelling.pairs(spelling.values(params)) == signature.join_texts(params)


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3) | st.integers(0, 9)), max_size=6))
def test_bodies_of_texts_decode_like_any_other(pairs):
    """Same values, same order, the last of two equal keys: whether all values are texts or not."""
    body = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs) + "}"
    assert list(wire.decode(body.encode()).items()) == [(name, str(value)) for name, value in json.loads(body).items()]
