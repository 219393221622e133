"""How often receipts may be looked up: three buckets for each question, so that nobody guesses his way to another's.

The narrowest is for one caller and one card's last digits: whoever knows his own visit needs one try or two, whoever guesses amounts needs
thousands.  The next is the caller's, the widest the merchant's.  A question counts in all of them until one says no.  Callers behind one proxy
are one caller: the limit of a caller is wide enough for a store full of people.
"""
from __future__ import annotations

import ipaddress
import math
from hashlib import blake2b
from typing import NamedTuple

from ringfence.engine.rates import SLOTS, Rates


class Limit(NamedTuple):
    """Tokens: so many at once, and so many a second after that."""

    burst: int
    per_second: float


OF_CARD, OF_CALLER, OF_MERCHANT = Limit(6, 1 / 60), Limit(60, 1.0), Limit(600, 20.0)


class LookUpRates:
    """The limits of one data folder."""

    def __init__(self, rates: Rates) -> None:
        self._rates = rates

    def wait(self, client: str, merchant_id: int, tail: str) -> int:
        """In how many seconds (wall time) this may be asked again; 0: it may now, and was counted."""
        caller = _caller(client)
        for limit, name in ((OF_MERCHANT, f"{merchant_id}"), (OF_CALLER, f"{merchant_id} {caller}"), (OF_CARD, f"{merchant_id} {caller} {tail}")):
            taken = self._rates.take(_slot(name), limit.per_second, limit.burst)
            if not taken.granted:
                return max(1, math.ceil(taken.wait))
        return 0


def _slot(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") % SLOTS


def _caller(client: str) -> str:
    """An address, or the network that one household or telephone has of IPv6 (RFC 6177)."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return client if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False).network_address)
