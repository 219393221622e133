"""Purchases: the signed requests that the benchmark sends, and the judgement of their answers.

Signs and checks with code of its own, so that the service is not measured against itself.  Refuses to know connections and time.
"""
from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

PATH = "/FortAPI/paymentApi"
CURRENCY = "AED"
SMALLEST, LARGEST = 1000, 8999          # minor units: four digits below the sandbox's magic amounts
APPROVED = "14000"

#: SHA type of a credential -> hash of the wrapped text, keyed where the kind is an HMAC (which wraps it all the same).
KINDS: dict[str, Callable[[bytes, bytes], str]] = {
    "SHA-256": lambda phrase, text: hashlib.sha256(text).hexdigest(),
    "SHA-512": lambda phrase, text: hashlib.sha512(text).hexdigest(),
    "HMAC-256": lambda phrase, text: hmac.digest(phrase, text, "sha256").hex(),
    "HMAC-512": lambda phrase, text: hmac.digest(phrase, text, "sha512").hex(),
}


class Merchant(NamedTuple):
    """One credential set, as the sandbox file lists it.  Prints without its phrases."""

    identifier: str
    access_code: str
    request_phrase: str
    response_phrase: str
    sha_type: str
    api_key: str = ""                   # of the PPRO door, "" for a merchant without one
    merchant_id: str = ""

    def __repr__(self) -> str:
        return f"Merchant({self.identifier!r}, {self.sha_type})"

    __str__ = __repr__


class Answer(msgspec.Struct):
    """What is read of every answer."""

    response_code: str = ""
    merchant_reference: str = ""
    amount: str = ""


_read = msgspec.json.Decoder(Answer).decode
_read_whole = msgspec.json.Decoder(dict[str, str]).decode


def fault(order: Order, body: bytes, thoroughly: bool) -> str | None:
    """What is wrong with the answer to *order*, in a few words, or ``None`` when it approves exactly that purchase.

    *thoroughly* also checks its signature.
    """
    try:
        answer = _read(body)
    except msgspec.DecodeError:
        return "an answer that is not a JSON object of texts"
    if answer.response_code != APPROVED:
        return f"response code {answer.response_code or 'missing'}"
    if answer.merchant_reference != order.reference:
        return "an answer to another reference"
    if answer.amount != order.amount:
        return "an answer with another amount"
    if thoroughly and not is_signed(order.merchant, body):
        return "an answer whose signature does not match"
    return None


class Order(NamedTuple):
    """One purchase or charge, ready to send: the HTTP request, what its answer must say, and who judges it."""

    request: bytes
    reference: str
    amount: str
    merchant: Merchant
    line: bytes                         # as the list of acknowledged payments has it
    judge: Callable[[Order, bytes, bool], str | None] = fault


def signature(fields: Mapping[str, str], phrase: str, sha_type: str) -> str:
    """The signature of a message, in lower-case hexadecimal: name=value in the order of names, between two phrases."""
    text = "".join(f"{name}={fields[name]}" for name in sorted(fields) if name != "signature")
    return KINDS[sha_type](phrase.encode(), f"{phrase}{text}{phrase}".encode())


def head(host: str, length: int) -> bytes:
    """The head of a request whose body has *length* bytes."""
    return (f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n").encode()


def signed(merchant: Merchant, host: str, fields: Mapping[str, str]) -> bytes:
    """A request with the merchant's names and signature added."""
    whole = {"merchant_identifier": merchant.identifier, "access_code": merchant.access_code, "language": "en", **fields}
    body = json.dumps(whole | {"signature": signature(whole, merchant.request_phrase, merchant.sha_type)}).encode()
    return head(host, len(body)) + body


def template(merchant: Merchant, token: str, host: str) -> Callable[[str, str], Order]:
    """A maker of purchases with one token: ``(reference of 16 characters, amount of 4 digits) -> Order``.

    Everything that does not change is written once; a purchase then costs two fillings of a text and one hash.
    """
    start, end = "\0reference", "\0amount"
    fields = {"command": "PURCHASE", "merchant_identifier": merchant.identifier, "access_code": merchant.access_code, "language": "en",
              "merchant_reference": start, "amount": end, "currency": CURRENCY, "customer_email": "buyer@shop.example",
              "customer_ip": "203.0.113.7", "token_name": token}
    text = "".join(f"{name}={fields[name]}" for name in sorted(fields))
    before, rest = text.split(end)
    between, after = rest.split(start)
    phrase, kind = merchant.request_phrase, KINDS[merchant.sha_type]
    before, after, secret = phrase + before, after + phrase, phrase.encode()
    said = json.dumps({name: value for name, value in fields.items() if name not in ("merchant_reference", "amount")}, separators=(",", ":"))[:-1]
    length = len(said) + len(',"amount":"0000","merchant_reference":"","signature":""}') + 16 + len(kind(secret, b""))
    opening = head(host, length).decode() + said + ',"amount":"'
    line = f'{{"merchant":{json.dumps(merchant.identifier)},"operation":"PURCHASE","currency":"{CURRENCY}","code":"{APPROVED}","amount":'

    def make(reference: str, amount: str) -> Order:
        digest = kind(secret, f"{before}{amount}{between}{reference}{after}".encode())
        request = f'{opening}{amount}","merchant_reference":"{reference}","signature":"{digest}"}}'
        return Order(request.encode(), reference, amount, merchant, f'{line}{amount},"reference":"{reference}"}}\n'.encode())

    return make


def is_signed(merchant: Merchant, body: bytes) -> bool:
    """Whether an answer carries the merchant's signature, made with the response phrase."""
    try:
        fields: dict[str, Any] = _read_whole(body)
    except msgspec.DecodeError:
        return False
    return fields.get("signature") == signature(fields, merchant.response_phrase, merchant.sha_type)
