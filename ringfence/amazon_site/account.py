"""The buyer's account: recurring permissions, to look at, to end, and to pay with another card."""
from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.amazon_site import pages
from ringfence.amazon_site.book import Change
from ringfence.amazon_site.buyers import BUYERS, CARDS, Card
from ringfence.amazon_site.desk import Desk
from ringfence.amazon_site.objects import Permission
from ringfence.amazon_site.passing import close, seconds
from ringfence.amazon_site.telling import tell
from ringfence.amazon_site.terms import terms_of

PATH = "/amazon/account"


class Row(NamedTuple):
    """One of them, as it is shown."""

    id: str
    merchant: str
    terms: str
    card: Card
    state: str


def routes(desk: Desk) -> list[Route]:
    """``/amazon/account``."""
    async def account(request: Request) -> Response:
        return await _account(desk, request)

    return [Route(PATH, account, methods=["GET", "POST"])]


async def _account(desk: Desk, request: Request) -> Response:
    visit = await pages.visit(desk, request)
    if visit.buyer is None:
        return pages.render("sign_in", visit, next=PATH, merchant="", problem="", email="", buyers=BUYERS.values())
    email = visit.buyer.email
    if request.method == "POST":
        form = await pages.form(request)
        if form is not None and visit.is_genuine(form):
            await desk.carry_out(lambda change: _act(change, email, form, seconds(desk.now())))
        return pages.go(PATH, visit)
    rows = await desk.carry_out(lambda change: [_row(change, one, visit.language) for one in change.permissions_of(email)])
    return pages.render("account", visit, permissions=rows, cards=CARDS.values())


def _act(change: Change, email: str, form: dict[str, str], now: int) -> None:
    """End a permission of the buyer's, or give it another card; anything else is nothing."""
    permission = change.permission(form.get("permission", ""))
    if permission is None or permission.buyer != email or permission.state == "Closed":
        return
    if form.get("action") == "cancel":
        close(change, permission, "BuyerClosed", now)
    elif form.get("action") == "card" and form.get("card") in CARDS:
        was = permission.state
        permission = change.put(permission._replace(card=form["card"], state="Chargeable", reason="", updated=now))
        tell(change, permission, now, "ATTRIBUTE_CHANGE" if was == "Chargeable" else "STATE_CHANGE")


def _row(change: Change, one: Permission, language: str) -> Row:
    merchant = change.merchant(one.merchant_id)
    name = one.given.get("merchantMetadata", {}).get("merchantStoreName") or (merchant.name if merchant else one.merchant_id)
    return Row(one.id, name, terms_of(one.type, one.given, language), CARDS[one.card], one.state)
