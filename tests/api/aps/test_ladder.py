"""The ladder: every rung of the validation order, the parameter it names, and that the lower rung wins."""
from __future__ import annotations

import ipaddress
import json

import pytest

from ringfence.api.aps import answers, signature, wire
from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.wire import ApsRequest, WireError
from tests.api.aps.dialogue import (
    CAPTURE,
    CARD_PURCHASE,
    COMMON,
    CREATE_TOKEN,
    CREDENTIAL,
    EVERY_OPERATION,
    SETTINGS,
    TOKEN_PURCHASE,
    ask,
    read,
    signed,
    told,
    without,
)

RECURRING = {**without(TOKEN_PURCHASE, "customer_ip"), "eci": "RECURRING"}

ILLEGIBLE = [
    b"", b"null", b"[]", b'"text"', b"7", b"{", b'{"a":1}x', b"command=PURCHASE&amount=1", b"<xml/>", b'{"a":"\xff"}', b'{"a":"\\ud800"}',
    b'{"a":NaN}', b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", b'{"a":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", ILLEGIBLE, ids=lambda body: repr(body[:24]))
def test_what_is_no_json_object_is_an_invalid_request_format(body):
    """00073, unsigned: no merchant is known."""
    answer = told(read(body), None)
    assert (answer["response_code"], answer["status"], answer["response_message"]) == ("00073", "00", "Invalid request format")
    assert "signature" not in answer


#: What is sent (signed), and the code and text of the answer.
RUNGS = [
    # 2: the merchant
    (without(TOKEN_PURCHASE, "merchant_identifier"), "00001", "Missing parameter: merchant_identifier"),
    ({**TOKEN_PURCHASE, "merchant_identifier": "nobody"}, "00009", "Invalid merchant identifier"),
    (without({**TOKEN_PURCHASE, "merchant_identifier": "nobody"}, "access_code"), "00009", "Invalid merchant identifier"),
    (without(TOKEN_PURCHASE, "access_code"), "00001", "Missing parameter: access_code"),
    ({**TOKEN_PURCHASE, "access_code": "other"}, "00010", "Invalid access code"),
    # 3: the operation
    (without(TOKEN_PURCHASE, "command"), "00001", "Missing parameter: command"),
    ({**TOKEN_PURCHASE, "command": "PAY"}, "00004", "Invalid command"),
    ({**COMMON, "query_command": "PURCHASE"}, "00004", "Invalid command"),
    ({**COMMON, "service_command": "CURRENCY_CONVERSION", "merchant_reference": "INV-7"}, "00093", "service inactive"),
    ({**COMMON, "query_command": "GET_INSTALLMENTS_PLANS"}, "00783", "Installments service inactive"),
    ({**COMMON, "service_command": "TOKENIZATION"}, "00034", "Operation not allowed"),
    # 5: nothing extra
    ({**TOKEN_PURCHASE, "response_format": "JSON"}, "00027", "Invalid extra parameters: response_format"),
    ({**TOKEN_PURCHASE, "b_extra": "1", "a_extra": ""}, "00027", "Invalid extra parameters: a_extra, b_extra"),
    ({**TOKEN_PURCHASE, "service_command": "SDK_TOKEN"}, "00027", "Invalid extra parameters: service_command"),
    ({**TOKEN_PURCHASE, "4005550000000001": "x", "a b": "y"}, "00027", "Invalid extra parameters: ?, ?"),
    ({**TOKEN_PURCHASE, "expiry_date": "3005"}, "00027", "Invalid extra parameters: expiry_date"),
    ({**TOKEN_PURCHASE, "eci": "RECURRING", "card_security_code": "739"}, "00027", "Invalid extra parameters: card_security_code"),
    ({**CAPTURE, "customer_email": "a@b.co"}, "00027", "Invalid extra parameters: customer_email"),
    # 6: nothing missing
    (without(TOKEN_PURCHASE, "customer_email"), "00001", "Missing parameter: customer_email"),
    ({**TOKEN_PURCHASE, "customer_email": ""}, "00001", "Missing parameter: customer_email"),
    ({**TOKEN_PURCHASE, "customer_email": None}, "00001", "Missing parameter: customer_email"),
    (without(TOKEN_PURCHASE, "language"), "00001", "Missing parameter: language"),
    (without(TOKEN_PURCHASE, "token_name"), "00001", "Missing parameter: token_name"),
    (without(TOKEN_PURCHASE, "customer_ip"), "00001", "Missing parameter: customer_ip"),
    (without(CARD_PURCHASE, "card_security_code"), "00001", "Missing parameter: card_security_code"),
    (without(CARD_PURCHASE, "expiry_date"), "00001", "Missing parameter: expiry_date"),
    (without(CARD_PURCHASE, "card_number"), "00001", "Missing parameter: card_number"),
    (without(CAPTURE, "merchant_reference"), "00001", "Missing parameter: merchant_reference"),
    (without(CREATE_TOKEN, "return_url"), "00001", "Missing parameter: return_url"),
    ({**COMMON, "service_command": "SDK_TOKEN"}, "00001", "Missing parameter: device_id"),
    # 6: lengths, formats, lists
    ({**TOKEN_PURCHASE, "merchant_reference": "x" * 41}, "00032", "Invalid parameter length: merchant_reference"),
    ({**TOKEN_PURCHASE, "merchant_reference": "test 2121"}, "00002", "Invalid parameter format: merchant_reference"),
    ({**TOKEN_PURCHASE, "amount": 10.5}, "00002", "Invalid parameter format: amount"),
    ({**TOKEN_PURCHASE, "amount": -5}, "00002", "Invalid parameter format: amount"),
    ({**TOKEN_PURCHASE, "amount": True}, "00002", "Invalid parameter format: amount"),
    ({**TOKEN_PURCHASE, "amount": ["1"]}, "00002", "Invalid parameter format: amount"),
    ({**TOKEN_PURCHASE, "amount": "1\n"}, "00002", "Invalid parameter format: amount"),
    ({**TOKEN_PURCHASE, "order_description": "a\x00b"}, "00002", "Invalid parameter format: order_description"),
    ({**TOKEN_PURCHASE, "language": "fr"}, "00033", "Parameter value not allowed: language"),
    ({**TOKEN_PURCHASE, "eci": "SHOP"}, "00033", "Parameter value not allowed: eci"),
    ({**TOKEN_PURCHASE, "remember_me": "MAY"}, "00033", "Parameter value not allowed: remember_me"),
    # 6: currency, amount, card
    ({**TOKEN_PURCHASE, "currency": "XYZ"}, "00013", "Invalid currency"),
    ({**TOKEN_PURCHASE, "currency": "sar"}, "00013", "Invalid currency"),
    ({**TOKEN_PURCHASE, "amount": "0"}, "00005", "Invalid amount"),
    ({**TOKEN_PURCHASE, "amount": 0}, "00005", "Invalid amount"),
    ({**CARD_PURCHASE, "expiry_date": "3013"}, "00100", "Invalid expiry date"),
    ({**CARD_PURCHASE, "expiry_date": "2511"}, "00012", "Card expired"),
    ({**CARD_PURCHASE, "card_number": "4005550000000002"}, "00016", "Invalid card number"),
    ({**CARD_PURCHASE, "card_number": "400555"}, "00016", "Invalid card number"),
    ({**CARD_PURCHASE, "card_security_code": "7391"}, "00002", "Invalid parameter format: card_security_code"),
    ({**CARD_PURCHASE, "merchant_reference": f"A-{CARD_PURCHASE['card_number']}"}, "00002", "Invalid parameter format: merchant_reference"),
    ({**CARD_PURCHASE, "token_name": CARD_PURCHASE["card_number"]}, "00002", "Invalid parameter format: token_name"),
    ({**CARD_PURCHASE, "card_number": "345678901234564"}, "00002", "Invalid parameter format: card_security_code"),
    # 6: an agreement about repeated payments
    ({**RECURRING, "recurring_mode": "FIXED"}, "00001", "Missing parameter: recurring_transactions_count"),
    ({**RECURRING, "recurring_mode": "VARIABLE"}, "00001", "Missing parameter: recurring_transactions_count"),
    ({**TOKEN_PURCHASE, "recurring_mode": "FIXED"}, "00001", "Missing parameter: recurring_transactions_count"),
    ({**RECURRING, "recurring_mode": "SOMETIMES"}, "00033", "Parameter value not allowed: recurring_mode"),
    ({**RECURRING, "recurring_mode": "FIXED", "recurring_transactions_count": "0"}, "00002", "Invalid parameter format: recurring_transactions_count"),
    ({**RECURRING, "recurring_days_between_payments": "000"}, "00002", "Invalid parameter format: recurring_days_between_payments"),
    ({**RECURRING, "recurring_expiry_date": "2026-02-30"}, "00002", "Invalid parameter format: recurring_expiry_date"),
    ({**RECURRING, "recurring_expiry_date": "2026-1-30"}, "00002", "Invalid parameter format: recurring_expiry_date"),
    ({**RECURRING, "recurring_expiry_date": "2026-01-03"}, "00110", "Contradicting parameters, please refer to the integration guide"),
    ({**RECURRING, "agreement_id": "A-1"}, "00002", "Invalid parameter format: agreement_id"),
    # 7: what the service or this operation does not have
    ({**TOKEN_PURCHASE, "digital_wallet": "APPLE_PAY"}, "00014", "Inactive payment option"),
    ({**without(TOKEN_PURCHASE, "token_name"), "digital_wallet": "APPLE_PAY", "apple_header": {"a": "b"}}, "00014", "Inactive payment option"),
    ({**TOKEN_PURCHASE, "installments": "YES"}, "00783", "Installments service inactive"),
    ({**TOKEN_PURCHASE, "command": "AUTHORIZATION", "eci": "RECURRING"}, "00112", "Service not applicable for payment operation"),
    ({**TOKEN_PURCHASE, "statement_descriptor": "SHOP"}, "00067",
     "Dynamic Descriptor not configured for selected payment option"),
]


@pytest.mark.parametrize(("params", "code", "text"), RUNGS, ids=[f"{code} {text[-28:]}" for _, code, text in RUNGS])
def test_a_rung_breaks_with_its_code_and_names_the_parameter(params, code, text):
    """Signed with the response phrase, without a ``fort_id``, and never with secrets."""
    error = ask(params)
    assert isinstance(error, WireError)
    answer = told(error)
    assert (answer["response_code"], answer["status"], answer["response_message"]) == (code, code[:2], text)
    assert answer["signature"] == signature.sign(answer, CREDENTIAL.response_phrase)
    assert "fort_id" not in answer and "card_security_code" not in answer and "4005550000000001" not in json.dumps(answer)


@pytest.mark.parametrize("given", [None, "", "0" * 64, "not hexadecimal", "é" * 64])
def test_a_signature_is_asked_for_before_anything_about_the_parameters(given):
    """00001 where it is missing, 00008 where it is wrong, even if parameters are missing or too many."""
    error = read({**COMMON, "service_command": "SDK_TOKEN", "foreign": "1", "signature": given})
    assert error.code == ("00008" if given else "00001")
    assert error.named == ("" if given else "signature")


#: Two faults at once, and which is told.
TWO_FAULTS = [
    ({**without(TOKEN_PURCHASE, "customer_email"), "extra": "1"}, "00027"),
    ({**without(TOKEN_PURCHASE, "customer_email"), "merchant_reference": "x" * 41}, "00001"),
    ({**TOKEN_PURCHASE, "merchant_reference": "x" * 41, "access_code": CREDENTIAL.access_code, "token_name": "a b"}, "00032"),
    ({**TOKEN_PURCHASE, "token_name": "a b", "eci": "SHOP"}, "00002"),
    ({**TOKEN_PURCHASE, "eci": "SHOP", "currency": "XYZ"}, "00033"),
    ({**TOKEN_PURCHASE, "currency": "XYZ", "amount": "0"}, "00013"),
    ({**CARD_PURCHASE, "amount": "0", "expiry_date": "2511"}, "00005"),
    ({**CARD_PURCHASE, "expiry_date": "2513", "card_number": "4005550000000002"}, "00100"),
]


@pytest.mark.parametrize(("params", "code"), TWO_FAULTS, ids=[code for _, code in TWO_FAULTS])
def test_of_two_faults_the_lower_rung_is_told(params, code):
    """The order is part of the protocol."""
    assert ask(params).code == code


#: Settings of the account, what is sent, from where, and the code.
SWITCHES = [
    (Settings(sources=(ipaddress.ip_network("192.0.2.0/24"),)), TOKEN_PURCHASE, "192.0.3.1", "00040"),
    (Settings(sources=(ipaddress.ip_network("192.0.2.0/24"),)), TOKEN_PURCHASE, "", "00040"),
    (Settings(sources=(ipaddress.ip_network("192.0.2.0/24"),)), TOKEN_PURCHASE, "192.0.2.7", None),
    (Settings(channels=frozenset({"trusted"})), TOKEN_PURCHASE, "", "00046"),
    (Settings(channels=frozenset({"merchant_page"})), CARD_PURCHASE, "", "00046"),
    (Settings(channels=frozenset({"merchant_page"})), {**TOKEN_PURCHASE, "eci": "MOTO"}, "", "00046"),
    (Settings(channels=frozenset({"merchant_page"})), {**TOKEN_PURCHASE, "eci": "RECURRING"}, "", "00046"),
    (Settings(channels=frozenset({"merchant_page", "trusted", "moto"})), RECURRING, "", "00046"),
    (Settings(channels=frozenset({"recurring"})), RECURRING, "", None),
    (Settings(channels=frozenset({"moto"})), {**TOKEN_PURCHASE, "eci": "MOTO"}, "", None),
    (Settings(channels=frozenset({"trusted"})), {**CARD_PURCHASE, "eci": "MOTO"}, "", "00046"),
    (Settings(channels=frozenset({"moto"})), {**CARD_PURCHASE, "eci": "MOTO"}, "", "00046"),
    (Settings(channels=frozenset({"trusted", "moto"})), {**CARD_PURCHASE, "eci": "MOTO"}, "", None),
    (Settings(channels=frozenset({"merchant_page", "moto", "recurring"})), CARD_PURCHASE, "", "00046"),
    (SETTINGS, {**RECURRING, "recurring_mode": "UNSCHEDULED"}, "", None),
    (SETTINGS, {**RECURRING, "recurring_mode": "VARIABLE", "recurring_transactions_count": "12", "recurring_expiry_date": "2026-01-05"}, "", None),
    (Settings(services=frozenset()), CREATE_TOKEN, "", "00038"),
    (Settings(services=frozenset()), {**COMMON, "service_command": "SDK_TOKEN", "device_id": "d"}, "", "00068"),
    (Settings(services=frozenset()), {**COMMON, "query_command": "CHECK_VERIFY_CARD_STATUS", "merchant_reference": "V"}, "", "00093"),
    (Settings(currencies=frozenset({"AED"})), TOKEN_PURCHASE, "", "00013"),
    (Settings(payment_options=frozenset({"AMEX"})), CARD_PURCHASE, "", "00003"),
    (Settings(payment_options=frozenset({"AMEX"})), {**TOKEN_PURCHASE, "payment_option": "VISA"}, "", "00003"),
    (Settings(fraud=True), {**CARD_PURCHASE}, "", "00001"),
    (Settings(statement_descriptor=True), {**TOKEN_PURCHASE, "statement_descriptor": "SHOP"}, "", None),
]


@pytest.mark.parametrize(("settings", "params", "source_ip", "code"), SWITCHES)
def test_the_accounts_switches_are_obeyed(settings, params, source_ip, code):
    """Each with its own code; ``None`` passes."""
    outcome = ask(params, settings, source_ip)
    assert isinstance(outcome, ApsRequest) if code is None else outcome.code == code


@pytest.mark.parametrize(
    "params", EVERY_OPERATION, ids=lambda params: params.get("command") or params.get("service_command") or params["query_command"],
)
def test_a_good_request_of_every_operation_passes(params):
    """And its answer repeats it, the card masked."""
    request = ask(params)
    assert isinstance(request, ApsRequest)
    answer = json.loads(answers.format_answer(request, {}, request.operation.success, CREDENTIAL))
    expected = {**without(params, "card_security_code"), **({"card_number": "400555******0001"} if "card_number" in params else {})}
    assert expected.items() <= answer.items()
    assert all(isinstance(value, str) and value for value in answer.values())


@pytest.mark.parametrize(("eci", "means", "dropped", "variant"), [
    ("ECOMMERCE", {"token_name": "T"}, (), "token"),
    ("", {"token_name": "T"}, (), "token"),
    ("MOTO", {"token_name": "T"}, ("customer_ip",), "moto token"),
    ("RECURRING", {"token_name": "T"}, ("customer_ip",), "recurring"),
    ("MOTO", {"card_number": "4005550000000001", "expiry_date": "3005"}, ("customer_ip",), "moto card"),
    ("ECOMMERCE", {"card_number": "4005550000000001", "expiry_date": "3005", "card_security_code": "123", "token_name": "T"},
     ("customer_ip",), "card"),
])
def test_the_way_to_pay_follows_from_indicator_and_means(eci, means, dropped, variant):
    """Each has its own mandatory fields."""
    params = {**without(TOKEN_PURCHASE, "token_name", "eci", *dropped), **({"eci": eci} if eci else {}), **means}
    request = ask(params)
    assert isinstance(request, ApsRequest)
    assert (request.variant.name, request.eci) == (variant, eci or "ECOMMERCE")


@pytest.mark.parametrize(("literal", "text"), [
    ("3197", "3197"), ("1998.9999999999998", "1999"), ("110.00000000000001", "110"), ("56.99999999999999", "57"), ("1e3", "1000"),
    ("100.0", "100"), ('"25500"', "25500"),
])
def test_a_numbers_text_is_what_the_php_clients_signed(literal, text):
    """14 significant digits, no trailing zeros: for the signature, the amount and the echo."""
    body = json.dumps(signed({**TOKEN_PURCHASE, "amount": text}))
    request = read(body.replace(f'"amount": "{text}"', f'"amount": {literal}').encode())
    assert isinstance(request, ApsRequest)
    assert (request.amount, request.echo["amount"]) == (int(text), text)


@pytest.mark.parametrize(("literal", "value"), [
    ("1e400", "1e400"), ("0.1", "0.1"), ("1.25", "1.25"), ("-0.5", "-0.5"), ("1e-7", "0.0000001"), ("1e21", "1000000000000000000000"),
    ("123456789012345678901234567890", "123456789012345678901234567890"), ("null", ""), ("true", "true"), ('{"a":{"b":[1,null]}}', "{a={b=[1, ]}}"),
])
def test_every_json_value_has_a_text(literal, value):
    """Never an exception, never a float."""
    assert wire.decode(f'{{"x":{literal}}}'.encode()) == {"x": value}


def test_an_eighteen_digit_fort_id_may_come_as_a_number():
    """Parsed without rounding; beyond 63 bits it names no payment."""
    assert ask({**CAPTURE, "fort_id": 169996200024611493}).fort_id == 169996200024611493
    assert ask({**CAPTURE, "fort_id": "99999999999999999999"}).fort_id == 0


@pytest.mark.parametrize("leave_out", [(), ("card_number", "expiry_date", "card_holder_name")], ids=["all signed", "card fields not"])
def test_create_token_may_be_signed_with_or_without_the_card_fields(leave_out):
    """The clients disagree, so both hold."""
    params = {**CREATE_TOKEN, "card_holder_name": "Sara Ali"}
    given = signature.sign(without(params, *leave_out), CREDENTIAL.request_phrase)
    assert isinstance(read({**params, "signature": given}), ApsRequest)


@pytest.mark.parametrize(("number", "expiry", "sandbox", "code"), [
    ("4005550000000001", "2105", True, None), ("4005550000000001", "2105", False, "00012"),
    ("4111111111111111", "2105", True, "00012"), ("4005550000000001", "2104", True, "00012"),
    ("9818950527886700002", "2310", True, None), ("4005550000000001", "2601", False, None), ("4005550000000001", "2512", False, "00012"),
])
def test_printed_expiry_dates_hold_for_the_published_numbers_in_the_sandbox(number, expiry, sandbox, code):
    """And nowhere else; a card is good through its month."""
    outcome = ask({**CARD_PURCHASE, "card_number": number, "expiry_date": expiry}, Settings(sandbox=sandbox))
    assert isinstance(outcome, ApsRequest) if code is None else outcome.code == code


def test_secrets_mask_themselves():
    """Neither the request's repr nor the credential's shows a number, a code or a phrase."""
    shown = repr(ask(CARD_PURCHASE)) + repr(CREDENTIAL)
    for secret in ("4005550000000001", "739", "reqPhrase01", "resPhrase01", signed(CARD_PURCHASE)["signature"]):
        assert secret not in shown


def test_an_error_repeats_the_operations_parameters_and_drops_the_rest():
    """As the real service did: ``service_command`` is dropped where ``command`` is present."""
    params = {**TOKEN_PURCHASE, "service_command": "SDK_TOKEN", "device_fingerprint": "x", "signature": "4148"}
    answer = told(read(params))
    assert answer == {
        **TOKEN_PURCHASE, "response_code": "00008", "response_message": "Signature mismatch", "status": "00", "signature": answer["signature"],
    }


def test_errors_speak_the_requests_language():
    """Arabic text, the parameter's name as it is."""
    answer = told(ask({**without(TOKEN_PURCHASE, "customer_email"), "language": "ar"}))
    assert answer["response_message"] == "معامل مفقود: customer_email"


def test_an_answer_leaves_out_what_is_empty_or_unknown():
    """No nulls, no empty texts, no keys that the clients do not know."""
    request = ask(CAPTURE)
    answer = json.loads(answers.format_answer(request, {"fort_id": "", "trace": "x", "acquirer_response_code": None}, "04000", CREDENTIAL))
    assert answer.keys() == CAPTURE.keys() | {"response_code", "response_message", "status", "signature"}


def test_a_list_of_tokens_is_the_one_nested_answer():
    """Signed as nested text."""
    rows = [{"token_name": "T", "card_number": "400555******0001"}]
    request = ask({**COMMON, "query_command": "GET_TOKENS"})
    answer = json.loads(answers.format_answer(request, {"data": rows, "data_count": "1"}, "54000", CREDENTIAL))
    assert answer["data"] == rows
    assert answer["signature"] == signature.sign({**answer, "data": "[{token_name=T, card_number=400555******0001}]"}, "resPhrase01")


def test_a_void_may_carry_an_amount_and_never_repeats_it():
    """An old table lists it; no client sends it."""
    request = ask({**COMMON, "command": "VOID_AUTHORIZATION", "merchant_reference": "O", "amount": "100", "currency": "SAR"})
    assert isinstance(request, ApsRequest)
    assert {"amount", "currency"}.isdisjoint(request.echo)


@pytest.mark.parametrize("name", ["merchant_reference", "token_name", "customer_ip", "order_description"])
def test_a_card_number_in_another_parameter_never_comes_back(name: str):
    """Whoever puts the number into a reference is refused, and the answer does not repeat it."""
    params = {**CARD_PURCHASE, name: CARD_PURCHASE["card_number"]}
    refusal = wire.error(params, "00002", name)
    assert name not in refusal.echo
    assert not any(CARD_PURCHASE["card_number"] in value for value in refusal.echo.values())
