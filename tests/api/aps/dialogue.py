"""One merchant, one credential, and both sides of the wire: what the tests of this door speak with."""
from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from ringfence.api.aps import answers, signature, wire
from ringfence.api.aps.accounts import Credential, Settings

CREDENTIAL = Credential("CycHZxVj", "zx0IPmPy5jp1vAz8Kpg7", "reqPhrase01", "resPhrase01")
SETTINGS = Settings()
NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
GOLDEN = Path(__file__).parent / "golden"
COMMON = {"access_code": CREDENTIAL.access_code, "merchant_identifier": CREDENTIAL.merchant_identifier, "language": "en"}

TOKEN_PURCHASE = {
    **COMMON, "command": "PURCHASE", "merchant_reference": "ORD-1002", "amount": "25500", "currency": "SAR",
    "customer_email": "a@b.co", "customer_ip": "192.178.1.10", "token_name": "T0ken_1", "eci": "ECOMMERCE",
}
CARD_PURCHASE = {
    **COMMON, "command": "PURCHASE", "merchant_reference": "ORD-1003", "amount": "25500", "currency": "SAR",
    "customer_email": "a@b.co", "card_number": "4005550000000001", "expiry_date": "3005", "card_security_code": "739",
}
CAPTURE = {**COMMON, "command": "CAPTURE", "merchant_reference": "ORD-1002", "amount": "100", "currency": "SAR"}
CREATE_TOKEN = {
    **COMMON, "service_command": "CREATE_TOKEN", "merchant_reference": "TOK-1", "card_number": "4005550000000001",
    "expiry_date": "3005", "return_url": "https://shop.example/token",
}
PAYMENT_LINK = {
    **COMMON, "service_command": "PAYMENT_LINK", "merchant_reference": "INV-7", "amount": "10000", "currency": "AED",
    "customer_email": "customer1@domain.com", "customer_phone": "00962797219966", "link_command": "PURCHASE",
    "notification_type": "EMAIL,SMS", "request_expiry_date": "2026-12-31T15:36:55+03:00",
}
EVERY_OPERATION = [
    TOKEN_PURCHASE,
    CARD_PURCHASE,
    {**TOKEN_PURCHASE, "command": "AUTHORIZATION"},
    CAPTURE,
    {**COMMON, "command": "VOID_AUTHORIZATION", "fort_id": "169996200024611493"},
    {**CAPTURE, "command": "REFUND", "maintenance_reference": "RF-1"},
    {**COMMON, "query_command": "CHECK_STATUS", "merchant_reference": "ORD-1002"},
    CREATE_TOKEN,
    {**COMMON, "service_command": "UPDATE_TOKEN", "merchant_reference": "TOK-2", "token_name": "T0ken_1", "new_token_name": "T0ken_2"},
    {**COMMON, "query_command": "GET_TOKENS"},
    {**COMMON, "service_command": "SDK_TOKEN", "device_id": "ffffffff-a9fa-0b44-7b27-29e70033c587"},
    {**COMMON, "service_command": "VERIFY_CARD", "merchant_reference": "VER-1", "currency": "SAR", "card_number": "4005550000000001",
     "expiry_date": "3005"},
    {**COMMON, "query_command": "CHECK_VERIFY_CARD_STATUS", "merchant_reference": "VER-1"},
    {**COMMON, "query_command": "GENERATE_REPORT", "merchant_reference": "REP-1", "from_date": "2026-01-01T00:00:00+03:00",
     "to_date": "2026-01-31T23:59:59+03:00", "columns": "[fort_id, amount]", "filters": "[{key=currency, value=SAR}]", "response_format": "XML"},
    {**COMMON, "query_command": "DOWNLOAD_REPORT", "merchant_reference": "REP-1"},
    PAYMENT_LINK,
    {**COMMON, "query_command": "CHECK_PAYMENT_LINK_STATUS", "merchant_reference": "INV-7"},
]


def without(params: dict, *names: str) -> dict:
    """The parameters but these."""
    return {name: value for name, value in params.items() if name not in names}


def signed(params: dict, credential: Credential = CREDENTIAL) -> dict:
    """What a correct client sends."""
    return {**params, "signature": signature.sign(params, credential.request_phrase, credential.sha_type)}


def read(body: bytes | dict, credential: Credential = CREDENTIAL, settings: Settings = SETTINGS, source_ip: str = ""):
    """The request or the error that a body becomes, as the door climbs the ladder."""
    params = wire.decode(body if isinstance(body, bytes) else json.dumps(body).encode())
    if isinstance(params, wire.WireError):
        return params
    address = wire.address(params)
    if isinstance(address, wire.WireError):
        return address
    if address.merchant_identifier != credential.merchant_identifier:
        return wire.unknown_merchant(params)
    if address.access_code != credential.access_code:
        return wire.unknown_access_code(params)
    return wire.parse(params, credential, settings, NOW, source_ip)


def ask(params: dict, settings: Settings = SETTINGS, source_ip: str = ""):
    """``read`` of parameters signed as a correct client does."""
    return read(signed(params), settings=settings, source_ip=source_ip)


def told(error: wire.WireError, credential: Credential | None = CREDENTIAL) -> dict:
    """The answer to an error, as the client decodes it."""
    return json.loads(answers.format_error(error, credential))


def golden(name: str):
    """A file of golden values."""
    return json.loads((GOLDEN / name).read_text("utf-8"))
