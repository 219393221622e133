"""What every APS operation needs at hand: the account that calls, and the service behind the door."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from ringfence.api.aps import codes
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.commands import Kind
from ringfence.core.refusals import Refusal
from ringfence.engine.ahead import Ahead
from ringfence.engine.code_box import CodeBox
from ringfence.engine.directory import Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.links import Desk as LinkDesk
from ringfence.engine.reading import Reading
from ringfence.engine.vault import Vault

DOOR = "aps"
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder(dict[str, str | dict[str, str]]).decode
CARD = "card"
"""Where details keep what the answer says of the card, beside the echo; no APS parameter is called so."""


CHANNEL = "channel"
"""... and below it the channel of a payment that came over a page; no answer holds it."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who calls: the merchant, and the credential and settings as the wire wants them."""

    merchant: Merchant
    credential: Credential
    settings: Settings
    actor: str


@dataclass(frozen=True, slots=True)
class Service:
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
    code_box: CodeBox
    base_url: str = ""                      # how callers reach the service
    ahead: Ahead | None = None              # authentications made ahead of their payments
    links: LinkDesk | None = None           # where payment links are served
    takes_cards: bool = True                # there is somebody to ask for them


class Reply(NamedTuple):
    """A result for the wire: five digits, the fields beyond the echo, and the receipt of what was committed."""

    code: str
    fields: Mapping[str, object] = {}
    receipt: str = ""


def order_key(reference: str) -> str:
    """The key a ``merchant_reference`` claims, for ever."""
    return f"aps:{reference}"


def attempt_key(reference: str, number: int) -> str:
    """The key of the ``number``-th attempt to pay an order on a page; the first claims the order's own."""
    return order_key(reference) if number == 1 else f"{order_key(reference)}#{number}"


def verification_key(reference: str) -> str:
    """The key of a card verification's payment; its references are their own."""
    return f"aps:verify:{reference}"


def content_of(service: Service, request: ApsRequest, card_id: int | None = None) -> bytes:
    """What was asked, under a key (BLAKE2b, RFC 7693 2.9): every parameter but signature and security code, the card by
    its record."""
    return blake2b(f"{request.pairs}|{card_id}".encode(), key=service.content_key, digest_size=16).digest()


def details_of(request: ApsRequest, card: Mapping[str, object] | None = None) -> bytes:
    """What later messages about the operation repeat: the echo, card number masked, and the ``card`` as the answer shows it.

    ``card`` may also hold what the payment came by (``CHANNEL``), where the echo alone would not tell.
    """
    return _ENCODE(request.echo if card is None else {**request.echo, CARD: card})


def read_details(details: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """The echo and the card of ``details_of``; no card where there was none, or where the payment is older than this part of details."""
    echo: dict[str, Any] = _DECODE(details)
    return echo, echo.pop(CARD, {})


def card_facts(details: bytes) -> tuple[str, str]:
    """Expiry date (YYMM) and holder of the card that an operation was paid with, "" for what nobody said."""
    echo, card = read_details(details)
    return tuple(card.get(name) or echo.get(name, "") for name in ("expiry_date", "card_holder_name"))      # type: ignore[return-value]


def refused(request: ApsRequest, refusal: Refusal, kind: Kind | None = None, **fields: object) -> Reply:
    """A refusal in APS's words, with the operation's failure status."""
    return Reply(request.operation.failure + codes.refusal_message(refusal, kind), fields)
