"""The tables: complete, consistent with each other, and within what the clients' models know."""
from __future__ import annotations

import re

import pytest

from ringfence.api.aps import codes
from ringfence.api.aps.ambiguity import LONG
from ringfence.api.aps.fields import CHECKS, FIELDS, FRAUD, LOOSE
from ringfence.api.aps.messages import MESSAGES
from ringfence.api.aps.operations import FEATURES_ABSENT, OPERATIONS, UNAVAILABLE, VARIANTS, brand_message
from ringfence.core.commands import Kind
from ringfence.core.refusals import Refusal

ROWS = list(OPERATIONS.values())

#: The keys that the official .NET client knows in answers.
NET_ALL = set(
    "access_code merchant_identifier language merchant_reference fort_id response_message response_code status"
    " reconciliation_reference processor_response_code signature".split()
)
NET_PAYMENT = set(
    "command amount currency customer_email token_name payment_option sadad_olp knet_ref_number third_party_transaction_number eci"
    " order_description customer_ip customer_name merchant_extra merchant_extra1 merchant_extra2 merchant_extra3 merchant_extra4"
    " merchant_extra5 authorization_code card_holder_name expiry_date card_number 3ds_url remember_me return_url phone_number"
    " settlement_reference agreement_id recurring_mode recurring_transactions_count acquirer_response_code"
    " acquirer_response_message fraud_comment".split()
)
NET = {
    "AUTHORIZATION": NET_PAYMENT,
    "PURCHASE": NET_PAYMENT,
    "CAPTURE": set("command amount currency order_description acquirer_response_code acquirer_response_message".split()),
    "VOID_AUTHORIZATION": set("command order_description".split()),
    "REFUND": set("command amount currency maintenance_reference order_description".split()),
    "CHECK_STATUS": set(
        "query_command transaction_status transaction_code transaction_message refunded_amount captured_amount authorized_amount"
        " authorization_code".split()
    ),
}
NET_FAMILIES = ("billing_", "shipping_", "app_")


@pytest.mark.parametrize("name", NET)
def test_an_answer_holds_only_keys_that_the_net_client_knows(name):
    """Another key would make that client refuse the answer's signature."""
    row = next(row for row in ROWS if row.name == name)
    of_links = {"payment_link_id"}          # documented for payments of a link, which that client does not know anyway
    unknown = {key for key in row.answers - NET[name] - NET_ALL - of_links if not (key.startswith(NET_FAMILIES) and name in ("AUTHORIZATION", "PURCHASE"))}
    assert unknown == set()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_consistent(row):
    """Every name is in the dictionary, what is mandatory is accepted, what is echoed may be answered, codes exist."""
    assert row.accepts <= FIELDS.keys()
    assert set(row.mandatory) | set(row.one_of) | row.unsigned & row.accepts <= row.accepts
    assert row.echoes <= row.accepts & row.answers
    assert {"signature", "card_security_code"}.isdisjoint(row.echoes)
    assert "card_security_code" not in row.answers
    assert row.success[:2] in codes.STATUSES and row.success[2:] in MESSAGES
    assert row.failure in codes.STATUSES
    for variant in row.variants:
        assert set(variant.mandatory) | variant.forbidden <= row.accepts


@pytest.mark.parametrize("key", sorted(UNAVAILABLE), ids="=".join)
def test_an_operation_not_served_here_has_its_own_answer(key):
    """Known by name, not among the served ones, with a code whose text exists."""
    assert key not in OPERATIONS
    assert UNAVAILABLE[key][2:] in MESSAGES


def test_features_that_are_absent_are_not_accepted_by_any_row():
    """They are known only to be refused by name."""
    assert all(row.accepts.isdisjoint(FEATURES_ABSENT) for row in ROWS)
    assert {code[2:] for code in FEATURES_ABSENT.values()} <= MESSAGES.keys()


@pytest.mark.parametrize("refusal", Refusal)
def test_every_refusal_has_a_message(refusal):
    """For each kind of operation, and one that exists."""
    assert refusal in codes.REFUSAL_CODES
    for kind in (None, *Kind):
        assert codes.refusal_message(refusal, kind) in MESSAGES


@pytest.mark.parametrize(("refusal", "kind", "message"), [
    (Refusal.EXCEEDS_CAPTURABLE, Kind.CAPTURE, "042"), (Refusal.EXCEEDS_REFUNDABLE, Kind.REFUND, "048"),
    (Refusal.NOTHING_CAPTURED, Kind.REFUND, "048"), (Refusal.ALREADY_CAPTURED, Kind.VOID, "034"),
    (Refusal.PAYMENT_VOIDED, Kind.CAPTURE, "773"), (Refusal.PAYMENT_VOIDED, Kind.VOID, "047"),
    (Refusal.PAYMENT_VOIDED, Kind.REFUND, "773"), (Refusal.PAYMENT_IS_PURCHASE, Kind.CAPTURE, "034"),
    (Refusal.PAYMENT_PENDING, Kind.VOID, "662"), (Refusal.PAYMENT_DECLINED, Kind.REFUND, "662"),
    (Refusal.PAYMENT_NOT_FOUND, Kind.CAPTURE, "036"), (Refusal.KEY_USED, Kind.PURCHASE, "007"),
    (Refusal.KEY_USED, Kind.REFUND, "066"), (Refusal.KEY_IN_PROGRESS, Kind.REFUND, "784"),
    (Refusal.CURRENCY_DIFFERS, Kind.REFUND, "013"), (Refusal.TOKEN_INACTIVE, None, "044"),
])
def test_lifecycle_refusals_have_the_codes_of_the_lifecycle_table(refusal, kind, message):
    """Row by row."""
    assert codes.refusal_message(refusal, kind) == message


@pytest.mark.parametrize(("response_code", "message"), [
    ("51", "029"), ("54", "012"), ("33", "012"), ("14", "016"), ("15", "031"), ("05", "666"), ("91", "666"), ("", "666"),
])
def test_declines_are_named_by_the_issuers_code(response_code, message):
    """What a shopper can act on has its own message, the rest is declined."""
    assert codes.decline_message(response_code) == message
    assert message in MESSAGES and codes.acquirer_message(response_code)


def test_every_message_has_both_languages_and_fits():
    """English in ASCII, Arabic in Arabic letters, 150 characters at most."""
    for code, message in MESSAGES.items():
        assert re.fullmatch("[0-9]{3}", code) and message.en.isascii()
        assert re.search("[\u0600-\u06ff]", message.ar), code
        assert 0 < len(message.en) <= 150 and 0 < len(message.ar) <= 150
    assert MESSAGES["000"] == ("Success", "عملية ناجحة")


def test_every_status_of_the_operations_has_a_row():
    """Unknown outcomes and the status query's not-found included."""
    for code in (codes.UNKNOWN_OUTCOME, codes.ORDER_NOT_FOUND):
        assert code[:2] in codes.STATUSES and code[2:] in MESSAGES


#: Field, a value at its limit, values beyond it.
SHAPES = [
    ("access_code", "a" * 20, ["a" * 21, "a_b", "a b", ""]),
    ("merchant_reference", "A-1_." * 8, ["x" * 41, "ORD 1", "ORD#1"]),
    ("amount", "9" * 10, ["9" * 11, "-5", "1.5", "1e3", "٣"]),
    ("currency", "SAR", ["SARR", "SA1"]),
    ("customer_email", "a.b-c_d+e@shop.example", ["a", "@", "a@b@c", "a b@c", "a@b\n"]),
    ("customer_name", "عمر O'Neil-Smith", ["x" * 41, "a=b", "a1"]),
    ("order_description", "iPhone 6-S: $1 # 'x'/y عربي", ["x" * 151, "a=b", "a\x00b", "a\x85b"]),
    ("merchant_extra", "a.;/_-,'@" * 111, ["x" * 1000, "a=b", "a b"]),
    ("merchant_extra5", "x" * 250, ["x" * 251]),
    ("token_name", "a.@-_" * 20, ["x" * 101, "a b", "a=b"]),
    ("card_number", "1" * 19, ["1" * 20, "4005 5500"]),
    ("expiry_date", "3005", ["305", "30055", "May1"]),
    ("card_security_code", "1234", ["12", "12345", "12a"]),
    ("remember_me", "YES", ["yes", "Y"]),
    ("return_url", "https://shop.example/a_b/?x=1&y=2#/z?w=abc==", [
        "shop.example", "javascript:alert(1)", "https://shop.example/a=b", "https://shop.example/?a=b=c", "https://shop.example/\n",
        "https://" + "x" * 393,
    ]),
    ("device_fingerprint", "0400ab+/==;0500x=,y=", ["a=b", "x" * 4001, "a\n"]),
    ("airline_data", "{a=b, c={d=e}}", ["a=b", "{a=b", "{" + "x" * 4000 + "}"]),
    ("billing_street", "Straße 5, [الرياض]", ["a=b", "x" * 256, "a\nb"]),
    ("payment_option", "MADA", ["visa", "GOLD"]),
    ("language", "ar", ["AR", "fr", "eng"]),
    ("recurring_expiry_date", "2030-01-31", ["2030-1-31", "31-01-2030"]),
    ("from_date", "2017-08-03T00:00:01+03:00", ["2017-08-03", "2017-08-03T00:00:01"]),
    ("customer_ip", "2001:db8::7", ["x" * 46, "shop.example"]),
]


@pytest.mark.parametrize(("name", "good", "bad"), SHAPES, ids=[row[0] for row in SHAPES])
def test_a_field_takes_its_alphabet_to_its_length_and_no_more(name, good, bad):
    """A trailing newline, a digit of another script and a control character are never part of an alphabet."""
    assert CHECKS[name](good)
    for value in (*bad, good + "\n", good + "\x00"):
        assert not CHECKS[name](value), value


def test_only_the_loose_fields_can_hold_an_equals_sign():
    """And no loose field's name ends with another name, nor another with its: the search for second readings rests on that."""
    for name, field in FIELDS.items():
        holds = any(field.pattern.fullmatch(value) for value in (
            "a=b", "a=", "=", "{a=b}", "https://x/?a=b", "A=1", "1=1", "[{key=a, value=b}]", "A" * 27 + "=",
        ))
        assert holds == (name in LOOSE), name
        assert name not in LOOSE or not any(other != name and (other.endswith(name) or name.endswith(other)) for other in FIELDS)


def test_names_that_end_with_another_are_known():
    """Exactly these could be mistaken at their equals sign."""
    assert {
        "service_command", "query_command", "new_token_name", "recurring_expiry_date", "3ds_eci", "link_command", "request_expiry_date",
    } == LONG


def test_fraud_fields_are_accepted_for_payments_and_never_repeated():
    """Screening reads them; the clients' models do not know them in answers."""
    for name in ("AUTHORIZATION", "PURCHASE"):
        row = OPERATIONS["command", name]
        assert FRAUD.keys() <= row.accepts
        assert row.answers.isdisjoint(FRAUD)


@pytest.mark.parametrize(("command", "eci", "brand", "asked", "message"), [
    ("PURCHASE", "ECOMMERCE", "MADA", "", None),
    ("AUTHORIZATION", "ECOMMERCE", "MADA", "", "049"),
    ("AUTHORIZATION", "ECOMMERCE", "MEEZA", "MEEZA", "049"),
    ("PURCHASE", "MOTO", "MADA", "", "113"),
    ("PURCHASE", "RECURRING", "MEEZA", "", "113"),
    ("PURCHASE", "ECOMMERCE", "VISA", "MASTERCARD", "110"),
    ("AUTHORIZATION", "MOTO", "VISA", "VISA", None),
])
def test_domestic_brands_are_for_purchases_of_customers_who_are_present(command, eci, brand, asked, message):
    """And a named payment option must be the card's brand."""
    assert brand_message(OPERATIONS["command", command], eci, brand, asked) == message


def test_the_ways_to_pay_cover_every_indicator():
    """ECOMMERCE and MOTO with a token or a card, RECURRING with a token only."""
    assert [(variant.eci, "token_name" in variant.mandatory) for variant in VARIANTS] == [
        ("ECOMMERCE", True), ("ECOMMERCE", False), ("MOTO", True), ("MOTO", False), ("RECURRING", True)]
