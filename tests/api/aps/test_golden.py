"""The worked exchanges: each request is read, each answer equals the published one, signature included."""
from __future__ import annotations

import json

import pytest

from ringfence.api.aps import answers
from ringfence.api.aps.wire import ApsRequest
from tests.api.aps.dialogue import CREDENTIAL, golden, read, signed

EXCHANGES = {name: row["body"] for name, row in golden("exchanges.json").items()}

#: Request, its answer, and what the service made up for it: the result's fields and code.
SCRIPT = [
    ("E3", "E5", "02000", {
        "fort_id": "169996200024611493", "payment_option": "VISA", "card_number": "455701******8902", "expiry_date": "3005",
        "card_holder_name": "Sara Ali", "authorization_code": "742138", "acquirer_response_code": "00",
        "acquirer_response_message": "Success",
    }),
    ("E6", "E7", "04000", {"fort_id": "169996200024611493"}),
    ("E8", "E9", "06000", {"fort_id": "169996200024611493"}),
    ("E10", "E11", "07048", {"fort_id": "169996200024611493"}),
    ("E12", "E13", "12000", {
        "fort_id": "169996200024611493", "transaction_status": "06", "transaction_code": "06000", "transaction_message": "Success",
        "authorized_amount": "10000", "captured_amount": "4000", "refunded_amount": "1500", "authorization_code": "742138",
    }),
    ("E14", "E15", "58000", {
        "card_number": "455701******8902", "expiry_date": "3005", "card_holder_name": "Sara Ali", "card_brand": "VISA",
        "card_bin": "455701", "creation_date": "2026-01-05T10:09:19+03:00",
    }),
]


@pytest.mark.parametrize(("asked", "answered", "code", "result"), SCRIPT, ids=[f"{a}-{b}" for a, b, _, _ in SCRIPT])
def test_an_exchange_runs_as_published(asked, answered, code, result):
    """The request passes every step; the answer is equal in structure and value."""
    request = read(EXCHANGES[asked])
    assert isinstance(request, ApsRequest)
    assert json.loads(answers.format_answer(request, result, code, CREDENTIAL)) == EXCHANGES[answered]


def test_a_request_is_read_into_values():
    """Amounts are numbers, ids are numbers, the rest is text."""
    request = read(EXCHANGES["E6"])
    assert (request.operation.name, request.amount, request.currency, request.reference, request.fort_id) == (
        "CAPTURE", 4000, "JOD", "ORD-2001", 169996200024611493)
    payment = read(EXCHANGES["E3"])
    assert (payment.token_name, payment.eci, payment.variant.name, payment.card) == (
        "79D4D15A30DE2401E053321E320A16E2", "ECOMMERCE", "token", None)


def test_arabic_is_answered_in_arabic():
    """The text follows ``language``, in the signature too."""
    request = read(signed({**{k: v for k, v in EXCHANGES["E12"].items() if k != "signature"}, "language": "ar"}))
    body = json.loads(answers.format_answer(request, {"fort_id": "1"}, "12000", CREDENTIAL))
    assert body["response_message"] == "عملية ناجحة"
