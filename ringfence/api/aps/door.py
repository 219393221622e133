"""What every APS operation needs at hand: the account that calls, and the service behind the door."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from ringfence.api.aps import codes
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.commands import Kind
from ringfence.core.refusals import Refusal
from ringfence.engine.directory import Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.reading import Reading
from ringfence.engine.vault import Vault

DOOR = "aps"
_ENCODE = msgspec.json.Encoder().encode


class Account(NamedTuple):
    """Who calls: the merchant, and the credential and settings as the wire wants them."""

    merchant: Merchant
    credential: Credential
    settings: Settings
    actor: str


class Service(NamedTuple):
    """What is behind the door.

    ``route`` names the processor for a merchant and brand; ``new_token_name`` makes the names of tokens.
    """

    engine: Engine
    reading: Reading
    vault: Vault
    content_key: bytes
    route: Callable[[Merchant, str], str]
    new_token_name: Callable[[], str]
    new_sdk_token: Callable[[], str]
    now: Callable[[], datetime]             # business time, UTC


class Reply(NamedTuple):
    """A result for the wire: five digits, the fields beyond the echo, and the receipt of what was committed."""

    code: str
    fields: Mapping[str, object] = {}
    receipt: str = ""


def order_key(reference: str) -> str:
    """The key a ``merchant_reference`` claims, for ever."""
    return f"aps:{reference}"


def verification_key(reference: str) -> str:
    """The key of a card verification's payment; its references are their own."""
    return f"aps:verify:{reference}"


def content_of(service: Service, request: ApsRequest, card_id: int | None = None) -> bytes:
    """What was asked, under a key (BLAKE2b, RFC 7693 2.9): every parameter but signature and security code, the card by
    its record."""
    return blake2b(f"{request.pairs}|{card_id}".encode(), key=service.content_key, digest_size=16).digest()


def details_of(request: ApsRequest) -> bytes:
    """What later messages about the operation repeat: the echo, card number masked."""
    return _ENCODE(request.echo)


def refused(request: ApsRequest, refusal: Refusal, kind: Kind | None = None, **fields: object) -> Reply:
    """A refusal in APS's words, with the operation's failure status."""
    return Reply(request.operation.failure + codes.refusal_message(refusal, kind), fields)
