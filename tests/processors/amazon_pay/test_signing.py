"""Signatures as Amazon's own clients make them: digests by published vectors, and whoever has the public key believes them."""
from __future__ import annotations

import re
from base64 import b64decode
from hashlib import sha256

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from ringfence.processors.amazon_pay.signing import (
    SALT_BYTES,
    Algorithm,
    KeyUnusable,
    Signer,
    canonical_query,
    canonical_request,
    load_key,
    string_to_sign,
)

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)

BASIC = {
    "accept": "application/json", "content-type": "application/json", "x-amz-pay-date": "20260105T101112Z",
    "x-amz-pay-host": "pay-api.amazon.com", "x-amz-pay-region": "na",
}
CHARGE = (b'{"chargePermissionId":"S01-1234567-1234567","chargeAmount":{"amount":"14.00","currencyCode":"USD"},'
          b'"captureNow":true}')
BUTTON = ('{"storeId":"amzn1.application-oa2-client.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","webCheckoutDetails":'
          '{"checkoutReviewReturnUrl":"https://localhost/test/CheckoutReview.php",'
          '"checkoutResultReturnUrl":"https://localhost/test/CheckoutResult.php"}}')


def believed(text: str, signature: str, algorithm: Algorithm) -> bool:
    """Whether the public key believes a signature, with exactly this algorithm's salt."""
    try:
        KEY.public_key().verify(
            b64decode(signature, validate=True), text.encode(),
            padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SALT_BYTES[algorithm]), SHA256())
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize(("method", "path", "body", "more", "body_hash", "digest"), [
    ("POST", "/v2/charges", CHARGE, {"x-amz-pay-idempotency-key": "0123456789abcdef0123456789abcdef"},
     "68ddab8d175aa898d69a311d1969d00524779c4fe7ede9835201c4ca14f7a22d",
     "c626fe9409a51b6a7e7361f853e1abf396838110053865851e69fb84814ac118"),
    ("GET", "/sandbox/v2/charges/S01-1234567-1234567-C000001", b"", {},
     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
     "4eb969ab98bf84d4c5151408c97787f4f249e3d77a624cf7b81d127ab02242f0"),
])
def test_a_request_has_the_published_digest(method: str, path: str, body: bytes, more: dict[str, str], body_hash: str, digest: str):
    """The canonical form is right to the byte, or nobody at Amazon believes any signature."""
    request = canonical_request(method, path, (), BASIC | more, body)
    assert request.endswith("\n" + body_hash)
    assert string_to_sign(Algorithm.PSS_V2, request) == f"AMZN-PAY-RSASSA-PSS-V2\n{digest}"


def test_a_button_has_the_published_digest():
    """The payload is hashed as it stands, character for character."""
    assert sha256(BUTTON.encode()).hexdigest() == "8dec52d799607be40f82d5c8e7ecb6c171e6591c41b1111a576b16076c89381c"
    assert string_to_sign(Algorithm.PSS_V2, BUTTON).endswith("\n8dec52d799607be40f82d5c8e7ecb6c171e6591c41b1111a576b16076c89381c")


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_header_names_key_and_headers_and_is_believed(algorithm: Algorithm):
    """And only with the salt that the algorithm's name promises; a header that need not be signed is not."""
    signer = Signer("SANDBOX-ABC", KEY, algorithm)
    key = {"x-amz-pay-idempotency-key": "0123456789abcdef0123456789abcdef"}
    header = signer.authorization("POST", "/v2/charges", BASIC | key | {"x-amz-pay-simulation-code": "HardDeclined"}, CHARGE)
    match = re.fullmatch(r"(\S+) PublicKeyId=SANDBOX-ABC, SignedHeaders=([a-z;-]+), Signature=([A-Za-z0-9+/]+=*)", header)
    assert match is not None
    assert match[1] == algorithm
    assert match[2] == "accept;content-type;x-amz-pay-date;x-amz-pay-host;x-amz-pay-idempotency-key;x-amz-pay-region"
    text = string_to_sign(algorithm, canonical_request("POST", "/v2/charges", (), BASIC | key, CHARGE))
    assert believed(text, match[3], algorithm)
    assert not believed(text, match[3], next(other for other in Algorithm if other is not algorithm))
    assert not believed(text.replace("\n", "\n0", 1), match[3], algorithm)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_button_is_believed_and_differs_each_time(algorithm: Algorithm):
    """Randomised: two signatures of one payload, both good."""
    signer = Signer("SANDBOX-ABC", KEY, algorithm)
    first, second = signer.button(BUTTON), signer.button(BUTTON)
    assert first != second
    assert believed(string_to_sign(algorithm, BUTTON), first, algorithm) and believed(string_to_sign(algorithm, BUTTON), second, algorithm)


def test_headers_are_written_one_way():
    """Names in small letters and sorted, values without white space around and with one blank inside."""
    assert canonical_request("get", "", (), {"X-B": "  one \t two\n", "Accept": "x"}, b"").split("\n")[:6] == [
        "GET", "/", "", "accept:x", "x-b:one two", ""]


@pytest.mark.parametrize(("query", "text"), [
    ((), ""),
    ((("b", "2"), ("a", "2"), ("a", "1")), "a=1&a=2&b=2"),
    ((("a b", "c/d~-_.*"),), "a%20b=c%2Fd~-_.%2A"),
    ((("name", "é"),), "name=%C3%A9"),
])
def test_a_query_is_written_one_way(query: tuple[tuple[str, str], ...], text: str):
    """RFC 3986, sorted by name, then by value."""
    assert canonical_query(query) == text


def _pem(key: object, encryption: object = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(("pem", "why"), [
    (b"", "PEM"), (b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "PEM"),
    (_pem(ec.generate_private_key(ec.SECP256R1())), "RSA"),
    (_pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "1024 bits"),
    (_pem(KEY, BestAvailableEncryption(b"secret")), "encrypted"),
])
def test_a_key_that_cannot_sign_says_why(pem: bytes, why: str):
    """In words, and without a word of the key."""
    with pytest.raises(KeyUnusable, match=why):
        load_key(pem)


def test_a_key_is_read_from_its_text_and_does_not_print():
    """What is printed of a signer names the public key only."""
    signer = Signer("SANDBOX-ABC", load_key(_pem(KEY)))
    assert believed("x", signer.signature("x"), Algorithm.PSS_V2)
    assert repr(signer) == "Signer('SANDBOX-ABC', …, 'AMZN-PAY-RSASSA-PSS-V2')"
    assert str(signer) == repr(signer)
