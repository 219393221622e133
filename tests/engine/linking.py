"""What the tests of payment links share: a desk on a process in miniature, and a merchant's order."""
from __future__ import annotations

from datetime import timedelta
from typing import Any

from ringfence.api.aps.door import order_key
from ringfence.engine import links
from ringfence.engine.link_addresses import Addresses
from ringfence.engine.links import Desk, Order, Terms
from tests.engine.composition import NOW, Process

BASE = "https://pay.example"
TERMS = Terms("PURCHASE", 10_000, "AED", "en", "", "sara@shop.example", "00962797219966", "Sara Ali", "Two boxes of dates", "", "",
              (), NOW + timedelta(days=3))


def desk(one: Process, **changes: Any) -> Desk:
    """The desk of a process; its messages are nobody's business unless a test makes it so."""
    made = Desk(
        one.pool, one.now, one.new_id, Addresses(bytes(32)), lambda: BASE, order_key, frozenset(links.MEDIA), lambda merchant, url: True,
        lambda: None)
    return made._replace(**changes)


def order(reference: str = "INV-7", **changes: Any) -> Order:
    """An order for a link."""
    return Order(reference, TERMS._replace(**changes), "test")
