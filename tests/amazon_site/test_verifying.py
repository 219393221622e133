"""Signatures: Amazon's vectors, both algorithms, and everything that must not pass."""
from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.amazon_site import verifying
from ringfence.amazon_site.verifying import button_is_signed, canonical_request, is_signed, lacking, read_authorization, read_date, string_to_sign
from tests.amazon_site.site_asking import KEY, OTHER_KEY, SALTS, V2, sign

PUBLIC = KEY.public_key()
HEADERS = {
    "accept": "application/json", "content-type": "application/json", "x-amz-pay-date": "20260105T101112Z", "x-amz-pay-host": "pay-api.amazon.com",
    "x-amz-pay-region": "na"}
KEYED = HEADERS | {"x-amz-pay-idempotency-key": "0123456789abcdef0123456789abcdef"}
CHARGE = b'{"chargePermissionId":"S01-1234567-1234567","chargeAmount":{"amount":"14.00","currencyCode":"USD"},"captureNow":true}'
BUTTON = (b'{"storeId":"amzn1.application-oa2-client.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","webCheckoutDetails":{"checkoutReviewReturnUrl":'
          b'"https://localhost/test/CheckoutReview.php","checkoutResultReturnUrl":"https://localhost/test/CheckoutResult.php"}}')

VECTORS = {
    # method, path                                           headers  body    digest of the canonical request
    ("POST", "/v2/charges"):                                 (KEYED,   CHARGE, "c626fe9409a51b6a7e7361f853e1abf396838110053865851e69fb84814ac118"),
    ("GET", "/sandbox/v2/charges/S01-1234567-1234567-C000001"): (HEADERS, b"",   "4eb969ab98bf84d4c5151408c97787f4f249e3d77a624cf7b81d127ab02242f0"),
}


@pytest.mark.parametrize(("method", "path"), VECTORS)
def test_the_digest_of_a_request_is_amazons(method, path):
    headers, body, digest = VECTORS[method, path]
    text = canonical_request(method, path, "", headers, sorted(headers), body)
    assert string_to_sign(V2, text.encode()) == f"{V2}\n{digest}"


def test_the_digest_of_a_buttons_payload_is_amazons():
    assert string_to_sign(V2, BUTTON).splitlines()[1] == "8dec52d799607be40f82d5c8e7ecb6c171e6591c41b1111a576b16076c89381c"


def test_a_canonical_request_line_by_line():
    """Values lose what is too much white space, a query is sorted and encoded anew, odd paths are encoded."""
    text = canonical_request(
        "GET", "/v2/some odd/path", "b=2&a=z&a=b%20c&e", {"accept": " application/json ", "x-amz-pay-date": "a   b"}, ["accept", "X-Amz-Pay-Date"], b"")
    assert text.splitlines() == [
        "GET", "/v2/some%20odd/path", "a=b%20c&a=z&b=2&e=", "accept:application/json", "x-amz-pay-date:a b", "", "accept;X-Amz-Pay-Date",
        hashlib.sha256(b"").hexdigest()]


@pytest.mark.parametrize("algorithm", SALTS)
def test_a_signature_of_either_algorithm_is_known_and_only_under_its_own_name(algorithm):
    [other] = SALTS.keys() - {algorithm}
    signature = verifying.base64.b64decode(sign(b"text", algorithm))
    assert is_signed(PUBLIC, algorithm, b"text", signature)
    assert not is_signed(PUBLIC, other, b"text", signature)
    assert not is_signed(PUBLIC, algorithm, b"text.", signature)
    assert not is_signed(OTHER_KEY.public_key(), algorithm, b"text", signature)
    assert not is_signed(PUBLIC, "none", b"text", signature)


def test_a_button_is_signed_byte_for_byte():
    assert button_is_signed(PUBLIC, V2, BUTTON, sign(BUTTON))
    assert not button_is_signed(PUBLIC, V2, BUTTON.replace(b":", b": ", 1), sign(BUTTON))
    assert not button_is_signed(PUBLIC, V2, BUTTON, "ä")
    assert not button_is_signed(PUBLIC, V2, BUTTON, "")


@given(st.binary(max_size=300))
def test_no_chance_signature_passes(signature):
    assert not is_signed(PUBLIC, V2, CHARGE, signature)


@pytest.mark.parametrize("header", [
    "", "AMZN-PAY-RSASSA-PSS-V2", "Bearer x", "AMZN-PAY-RSASSA-PSS-V3 PublicKeyId=a, SignedHeaders=b, Signature=YQ==",
    "AMZN-PAY-RSASSA-PSS-V2 PublicKeyId=, SignedHeaders=b, Signature=YQ==", "AMZN-PAY-RSASSA-PSS-V2 PublicKeyId=a,SignedHeaders=b,Signature=YQ==",
    "AMZN-PAY-RSASSA-PSS-V2 PublicKeyId=a, SignedHeaders=b, Signature=Y"])
def test_what_is_no_authorization_is_none(header):
    assert read_authorization(header) is None


def test_an_authorization_is_read():
    signed = read_authorization("AMZN-PAY-RSASSA-PSS PublicKeyId=SANDBOX-1, SignedHeaders=accept;Date, Signature=YQ==")
    assert signed == ("AMZN-PAY-RSASSA-PSS", "SANDBOX-1", ("accept", "Date"), b"a")


@pytest.mark.parametrize("name", verifying.BASICS)
def test_each_of_the_five_headers_must_be_signed(name):
    assert lacking(HEADERS, sorted(HEADERS)) == ""
    assert lacking(HEADERS, sorted(HEADERS.keys() - {name})) == name


def test_a_header_that_was_not_sent_cannot_be_signed():
    assert lacking(HEADERS, [*HEADERS, "x-other"]) == "x-other"


@pytest.mark.parametrize(("text", "read"), [
    ("20260105T101112Z", datetime(2026, 1, 5, 10, 11, 12, tzinfo=UTC)), ("2026-01-05T10:11:12Z", datetime(2026, 1, 5, 10, 11, 12, tzinfo=UTC)),
    ("2026-01-05", None), ("", None), ("20261305T101112Z", None)])
def test_a_date_is_read_in_either_form(text, read):
    assert read_date(text) == read
