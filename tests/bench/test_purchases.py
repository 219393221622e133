"""Requests are signed as the protocol says, and only an approval of exactly that purchase is taken for one."""
from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.bench.load import card_number
from ringfence.bench.purchases import LARGEST, SMALLEST, Merchant, fault, is_signed, signature, signed, template

SHOP = Merchant("CycHZxVj", "zx0IPmPy5jp1vAz8Kpg7", "reqPhrase01", "resPhrase01", "SHA-256")
KINDS = ("SHA-256", "SHA-512", "HMAC-256", "HMAC-512")

# Published vectors: fields, phrase, SHA type, signature.
PURCHASE = {"access_code": "SILgpo7pWbmzuURp2qri", "amount": "1000", "command": "PURCHASE", "currency": "USD", "customer_email": "test@gmail.com",
            "language": "en", "merchant_identifier": "MxvOupuG", "merchant_reference": "Test010"}
VECTORS = [
    (PURCHASE, "PASS", "SHA-256", "94c38afc7bdae0114fc8c740edf12416f22998241ce4b4ea70d5521233a2c882"),
    (PURCHASE, "PASS", "SHA-512", "01575815bbdb23a862855bf2087012e243215e6464b6239a422d9a85936adca90bf6c3227c180890ad13b00ddf3a248608053d7174"
                                  "cbe622f24bdf2d5f345638"),
    (PURCHASE, "PASS", "HMAC-256", "b592468a25c7292cdadb2e58c3c184e5b868eda03d8c2920f66fe16a587681f3"),
    (PURCHASE, "PASS", "HMAC-512", "4c3addc9583cdadb5861d22926c2e6735aa32e18a747981fdafe454b050c38651bf96ab468ce24619468d87b8dad45820803b95595c3"
                                   "dca5710604ce363e75a2"),
    ({"query_command": "CHECK_STATUS", "merchant_reference": "122333", "language": "en"}, "sha-request-phrase", "SHA-256",
     "9eb08299a5f9cda485e4967a25d4c8ff7ecfc98ae8f6d23fcb12457ea709fb26"),
    ({"access_code": "zx0IPmPy5jp1vAz8Kpg7", "amount": "5000", "command": "CAPTURE", "currency": "SAR", "fort_id": "169996200024611493",
      "language": "en", "merchant_identifier": "CycHZxVj", "merchant_reference": "ORD-1001", "response_code": "04000", "response_message": "Success",
      "status": "04", "signature": "is not signed"}, "resPhrase01", "SHA-256", "9ff9586470e7595d0c2ed54b423b27f2f781b3a046c6eeccafcc347edd35a98b"),
]


@pytest.mark.parametrize(("fields", "phrase", "sha_type", "expected"), VECTORS)
def test_signatures_are_those_of_the_protocol(fields: dict[str, str], phrase: str, sha_type: str, expected: str) -> None:
    """The published vectors come out, for every SHA type."""
    assert signature(fields, phrase, sha_type) == expected


@given(reference=st.text("0123456789abcdef", min_size=16, max_size=16), amount=st.integers(SMALLEST, LARGEST).map(str),
       token=st.from_regex(r"[A-Za-z0-9.@_-]{1,100}", fullmatch=True), sha_type=st.sampled_from(KINDS))
def test_a_purchase_from_a_template_is_a_whole_signed_request(reference: str, amount: str, token: str, sha_type: str) -> None:
    """Whatever is filled in, length, fields and signature are right."""
    merchant = SHOP._replace(sha_type=sha_type)
    order = template(merchant, token, "127.0.0.1:8080")(reference, amount)
    head, body = order.request.split(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    fields = json.loads(body)
    assert (fields["command"], fields["merchant_reference"], fields["amount"], fields["token_name"]) == ("PURCHASE", reference, amount, token)
    assert fields["signature"] == signature(fields, merchant.request_phrase, sha_type)
    assert json.loads(order.line) == {"merchant": merchant.identifier, "reference": reference, "operation": "PURCHASE", "code": "14000",
                                      "amount": int(amount), "currency": fields["currency"]}


def test_other_requests_are_signed_too() -> None:
    """A token request carries the merchant's names and a signature over everything."""
    head, body = signed(SHOP, "shop", {"service_command": "CREATE_TOKEN"}).split(b"\r\n\r\n")
    fields = json.loads(body)
    assert b"Host: shop" in head
    assert fields["access_code"] == SHOP.access_code
    assert fields["signature"] == signature(fields, SHOP.request_phrase, "SHA-256")


ORDER = template(SHOP, "TOKEN", "shop")("0123456789abcdef", "1234")
APPROVED = {"response_code": "14000", "merchant_reference": ORDER.reference, "amount": "1234", "response_message": "Success"}


def said(**changed: object) -> bytes:
    """An approval with changes, signed with the response phrase."""
    fields = {name: value for name, value in (APPROVED | changed).items() if value is not None}
    made = signature({name: str(value) for name, value in fields.items()}, SHOP.response_phrase, "SHA-256")
    return json.dumps({"signature": made, **fields}).encode()


@pytest.mark.parametrize(("body", "wrong"), [
    (said(), None),
    (said(response_code="13666"), "response code 13666"),
    (said(response_code=None), "response code missing"),
    (said(merchant_reference="0123456789abcdee"), "another reference"),
    (said(amount="1235"), "another amount"),
    (said(signature="0" * 64), "signature"),
    (said(response_message=1), "signature"),
    (said(amount=1234), "not a JSON object of texts"),
    (b"[]", "not a JSON object of texts"),
    (b"", "not a JSON object of texts"),
    (b"<html>", "not a JSON object of texts"),
])
def test_only_an_approval_of_exactly_that_purchase_counts(body: bytes, wrong: str | None) -> None:
    """Another code, reference, amount, form or signature is a fault, and says which."""
    found = fault(ORDER, body, thoroughly=True)
    assert found is None if wrong is None else found is not None and wrong in found


def test_a_signature_made_with_the_request_phrase_is_noticed() -> None:
    """Answers are signed with the response phrase; nothing else will do, and only thorough looks see it."""
    fields = dict(APPROVED)
    body = json.dumps(fields | {"signature": signature(fields, SHOP.request_phrase, "SHA-256")}).encode()
    assert fault(ORDER, body, thoroughly=False) is None
    assert not is_signed(SHOP, body)


def test_phrases_do_not_print() -> None:
    """A merchant prints without its phrases, also inside other values."""
    assert "Phrase" not in f"{SHOP} {SHOP!r} {ORDER!r}".replace(ORDER.request.decode(), "")


def test_cards_are_test_cards_with_a_luhn_digit() -> None:
    """Instance 0 is the number printed in the sandbox's table; others differ in the instance."""
    assert card_number(0) == "4000009900000004"
    assert len({card_number(number) for number in range(250)}) == 250
    for number in range(250):
        digits = [int(digit) for digit in card_number(number)]
        assert sum(digits[-1::-2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]) in range(0, 1000, 10)
