"""Asking: one request of a merchant as the operations see it, and what they give back."""
from __future__ import annotations

from typing import Any, NamedTuple

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.objects import Merchant
from ringfence.amazon_site.problems import Problem


class Asked(NamedTuple):
    """A request that is authentic and well formed.  ``name``: the identifier in the path; ``now``: Unix seconds of business time."""

    change: Change
    merchant: Merchant
    environment: str
    now: int
    name: str
    body: dict[str, Any]
    simulation: str
    base_url: str


class Done(NamedTuple):
    """What an operation answers."""

    status: int
    body: dict[str, Any]


def missing(what: str, name: str) -> Problem:
    """There is no such thing, or it is somebody else's."""
    return Problem("ResourceNotFound", f"There is no {what} {name[:64]}.")


def is_theirs(asked: Asked, one: Any) -> bool:
    """Whether an object is there, and the caller's, in the environment that the caller speaks of."""
    return one is not None and (one.merchant_id, one.environment) == (asked.merchant.merchant_id, asked.environment)
