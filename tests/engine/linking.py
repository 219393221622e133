"""What the tests of payment links share: a desk on a process in miniature, and a merchant's order."""
from __future__ import annotations

from datetime import timedelta
from typing import Any

from ringfence.engine.links import Desk, Order, Terms
from tests.engine.composition import BASE_URL, NOW, Process

BASE = BASE_URL
TERMS = Terms("PURCHASE", 10_000, "AED", "en", "", "sara@shop.example", "00962797219966", "Sara Ali", "Two boxes of dates", "", "",
              (), NOW + timedelta(days=3))


def desk(one: Process, **changes: Any) -> Desk:
    """The desk of a process, with what a test wants otherwise."""
    return one.links._replace(**changes)


def order(reference: str = "INV-7", **changes: Any) -> Order:
    """An order for a link."""
    return Order(reference, TERMS._replace(**changes), "test")
