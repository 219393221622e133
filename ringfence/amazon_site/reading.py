"""Reading the site's book from outside: the judge of every test of the adapter.

Says what stands at the site for each charge permission, as far as anybody has looked; needs no running service.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ringfence.amazon_site.book import FILE, Book, Change
from ringfence.amazon_site.limits import refunded
from ringfence.amazon_site.objects import Permission


class Standing(NamedTuple):
    """Where one permission stands.  Minor units; ``reference`` is what the merchant calls it."""

    permission: str
    merchant: str
    reference: str
    currency: str
    state: str
    held: int = 0                   # authorized and neither captured nor given back
    captured: int = 0
    refunded: int = 0               # what was asked for, arrived or not
    returned: int = 0               # of that, what has arrived


def standing(folder: Path) -> dict[str, Standing]:
    """Permission's identifier -> where it stands.  Empty where there is no book."""
    if not (folder / FILE).exists():
        return {}
    book = Book(folder, 0)
    try:
        return book.work_here(lambda change: {one.id: _stands(change, one) for one in change.all_permissions()})
    finally:
        book.close()


def _stands(change: Change, one: Permission) -> Standing:
    charges = change.charges_of(one.id)
    captured = [charge for charge in charges if charge.state == "Captured"]
    return Standing(
        one.id, one.merchant_id, one.given.get("merchantMetadata", {}).get("merchantReferenceId", ""), one.currency, one.state,
        sum(charge.takes for charge in charges if charge.is_open), sum(charge.amount_captured for charge in captured),
        sum(refunded(change, charge) for charge in captured), sum(refunded(change, charge, decided=True) for charge in captured))
