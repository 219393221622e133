"""Accounts: what the APS wire must know of a merchant to read its requests.

Two values, filled by whoever keeps merchants.  Refuses to know where they are kept.
"""
from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NamedTuple

CHANNELS = frozenset({"redirection", "merchant_page", "trusted", "moto", "recurring"})
SERVICES = frozenset({"tokenization", "verify_card", "mobile_sdk", "reporting", "three_d_secure", "payment_links", "batch"})


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential set: an access code with its phrases.  Prints without them.

    ``sha_type`` is ``SHA-256``, ``SHA-512``, ``HMAC-256`` or ``HMAC-512``.
    """

    merchant_identifier: str
    access_code: str
    request_phrase: str
    response_phrase: str
    sha_type: str = "SHA-256"

    def __repr__(self) -> str:
        return f"Credential(merchant_identifier={self.merchant_identifier!r}, access_code={self.access_code!r}, {self.sha_type})"

    __str__ = __repr__


class Settings(NamedTuple):
    """The merchant's switches that step 7 and the card rules look at.  ``None`` means no restriction."""

    sandbox: bool = False                                   # test card numbers may keep their printed expiry dates
    fraud: bool = False                                     # the fraud service is on: ``customer_ip`` is mandatory for payments
    channels: frozenset[str] = CHANNELS
    services: frozenset[str] = SERVICES
    statement_descriptor: bool = False                      # a dynamic descriptor is configured
    currencies: frozenset[str] | None = None                # ISO 4217 alpha codes
    payment_options: frozenset[str] | None = None           # brands, as in ``payment_option``; empty: no cards at all
    sources: tuple[IPv4Network | IPv6Network, ...] | None = None
    return_origins: tuple[str, ...] | None = None           # where browsers may be sent back to; ``None``: anywhere
    mask_first: int = 6                                     # leading digits of a masked card number, 6 or 8
