"""Charges: what the benchmark sends to the PPRO door, and the judgement of its answers.

A charge is what a purchase is at the APS door: a stored instrument, captured at once, with a key of its own that makes a repeat harmless.
Reads answers with code of its own; refuses to know connections and time.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable

import msgspec

from ringfence.bench.purchases import CURRENCY, Merchant, Order

PATH, INSTRUMENTS = "/v1/payment-charges", "/v1/payment-instruments"
STATUS = "CAPTURED"
_NAME = re.compile(r"charge_[A-Za-z0-9]{21}")


class Authorization(msgspec.Struct):
    """The first operation of a charge."""

    amount: int = 0
    status: str = ""
    merchantPaymentChargeReference: str = ""


class Capture(msgspec.Struct):
    """What was captured."""

    amount: int = 0
    status: str = ""


class Charge(msgspec.Struct):
    """What is read of every answer."""

    status: str = ""
    currency: str = ""
    authorizations: list[Authorization] = []


class Whole(Charge):
    """What is read of some."""

    id: str = ""
    captures: list[Capture] = []


_read, _read_whole = msgspec.json.Decoder(Charge).decode, msgspec.json.Decoder(Whole).decode


def head(merchant: Merchant, host: str, path: str, length: int, key: str = "") -> str:
    """The head of a request whose body has *length* bytes."""
    keyed = f"Request-Idempotency-Key: {key}\r\n" if key else ""
    return (f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {merchant.api_key}\r\nMerchant-Id: {merchant.merchant_id}\r\n"
            f"Content-Type: application/json\r\n{keyed}Content-Length: {length}\r\n\r\n")


def instrument(merchant: Merchant, host: str, number: str, expiry: str) -> bytes:
    """A request that keeps a card; *expiry* is YYMM."""
    body = json.dumps({"type": "RAW_CARD", "details": {
        "brand": "VISA", "number": number, "holderName": "Jane Doe", "expiryMonth": int(expiry[2:]), "expiryYear": 2000 + int(expiry[:2])}})
    return (head(merchant, host, INSTRUMENTS, len(body)) + body).encode()


def template(merchant: Merchant, instrument_id: str, host: str) -> Callable[[str, str], Order]:
    """A maker of charges with one instrument: ``(reference of 16 characters, amount of 4 digits) -> Order``."""
    before = '{"paymentMethod":"CARD","amount":{"value":'
    after = (f',"currency":"{CURRENCY}"}},"consumer":{{"name":"Jane Doe","country":"AE","email":"buyer@shop.example",'
             f'"client":{{"ip":"203.0.113.7"}}}},"instrumentId":"{instrument_id}","initiator":"CONSUMER","autoCapture":true,"merchantPaymentChargeReference":"')
    length = len(before) + 4 + len(after) + 16 + 2
    opening, closing = head(merchant, host, PATH, length, "\0").split("\0")
    line = (f'{{"merchant":{json.dumps(merchant.identifier)},"door":"ppro","operation":"PURCHASE","currency":"{CURRENCY}","result":"approved",'
            '"amount":')

    def make(reference: str, amount: str) -> Order:
        request = f'{opening}{reference}{closing}{before}{amount}{after}{reference}"}}'
        return Order(request.encode(), reference, amount, merchant, f'{line}{amount},"reference":"{reference}"}}\n'.encode(), fault)

    return make


def fault(order: Order, body: bytes, thoroughly: bool) -> str | None:
    """What is wrong with the answer to *order*, in a few words, or ``None`` when it captures exactly that charge.

    *thoroughly* also looks at its id and its capture.
    """
    try:
        charge = _read_whole(body) if thoroughly else _read(body)
    except msgspec.DecodeError:
        return "an answer that is not a charge"
    if charge.status != STATUS:
        return f"status {charge.status or 'missing'}"
    if len(charge.authorizations) != 1 or charge.authorizations[0].merchantPaymentChargeReference != order.reference:
        return "an answer to another reference"
    if charge.authorizations[0].amount != int(order.amount) or charge.currency != CURRENCY:
        return "an answer with another amount"
    if isinstance(charge, Whole):
        captured = [one.amount for one in charge.captures if one.status == STATUS]
        if captured != [int(order.amount)] or _NAME.fullmatch(charge.id) is None:
            return "an answer without its capture, or without an id"
    return None
