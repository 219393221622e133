"""Checkout: what a buyer's browser sees between the shop and the shop.

``/amazon/checkout`` takes what a shop's button brings, and believes only what is signed; ``/amazon/checkout/ID`` is where the buyer signs in,
chooses and approves.  It may be asked for again at any time, and shows where things stand.  What cannot be used shows a page and leads nowhere:
only an address that a merchant signed is one to leave for.
"""
from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.amazon_site import pages, sessions, showing, verifying, wire
from ringfence.amazon_site.api import environment_of
from ringfence.amazon_site.book import Change
from ringfence.amazon_site.buyers import BUYERS, CARDS, find
from ringfence.amazon_site.desk import Desk
from ringfence.amazon_site.objects import Merchant, Session
from ringfence.amazon_site.pages import Visit
from ringfence.amazon_site.passing import end_session, seconds
from ringfence.amazon_site.problems import Problem
from ringfence.amazon_site.simulating import CANCELS, WAITS
from ringfence.amazon_site.terms import terms_of

log = logging.getLogger(__name__)

PATH = "/amazon/checkout"
BUTTON = ("payloadJSON", "signature", "algorithm", "publicKeyId", "merchantId")
TOKEN_SECONDS = 3_600
"""So long a merchant may ask who signed in (business time)."""


def routes(desk: Desk) -> list[Route]:
    """``/amazon/checkout…``, ``/amazon/sign-in`` and ``/amazon/sign-out``."""
    async def begin(request: Request) -> Response:
        return await _begin(desk, request)

    async def here(request: Request) -> Response:
        return await _here(desk, request)

    async def consent(request: Request) -> Response:
        return await _consent(desk, request)

    async def sign_in(request: Request) -> Response:
        return await _sign_in(desk, request)

    async def sign_out(request: Request) -> Response:
        return await _sign_out(desk, request)

    return [
        Route(PATH, begin, methods=["GET", "POST"]), Route(PATH + "/{session}", here, methods=["GET", "POST"]),
        Route("/amazon/consent", consent, methods=["GET", "POST"]), Route("/amazon/sign-in", sign_in, methods=["POST"]),
        Route("/amazon/sign-out", sign_out, methods=["POST"]),
    ]


# ------------------------------------------------------------------------------------------------------ from the shop

async def _begin(desk: Desk, request: Request) -> Response:
    """What a button brought becomes a session, and its buyer is led to it."""
    fields = pages.read_fields(request.url.query) if request.method == "GET" else await pages.form(request)
    language = "ar" if fields and fields.get("checkoutLanguage", "").lower().startswith("ar") else ""
    visit = await pages.visit(desk, request, language)
    if fields is None or any(not fields.get(name) for name in BUTTON):
        return _broken(visit, Problem("InvalidRequest", f"The form must have {', '.join(BUTTON)}, each once."))

    def work(change: Change) -> str | Problem:
        known = _signed(change, fields)
        if isinstance(known, Problem):
            return known
        merchant, environment = known
        payload = fields["payloadJSON"].encode()
        if b'"signInReturnUrl"' in payload:
            wish = wire.read_body(payload, wire.SIGN_IN)
            if isinstance(wish, Problem):
                return wish
            return "/amazon/consent?" + pages.urlencode({name: fields[name] for name in BUTTON} | {"language": visit.language})
        given = wire.read_body(payload, wire.CREATE_SESSION)
        if isinstance(given, Problem):
            return given
        product = fields.get("productType", "")
        if (begun := _begun(change, merchant, given, fields.get("checkoutSessionId", ""))) is not None:
            return f"{PATH}/{begun.id}"
        made = sessions.begin(
            change, merchant, environment, given, seconds(desk.now()), product=product if product in sessions.PRODUCTS else "",
            language=visit.language)
        return made if isinstance(made, Problem) else f"{PATH}/{made.id}"

    led = await desk.carry_out(work)
    return _broken(visit, led) if isinstance(led, Problem) else pages.go(led, visit)


def _begun(change: Change, merchant: Merchant, given: dict[str, Any], name: str) -> Session | None:
    """The session that the merchant made of the same payload through the API, where the button names it."""
    session = change.session(name) if name else None
    return session if session is not None and session.merchant_id == merchant.merchant_id and session.given == given else None


def _signed(change: Change, fields: dict[str, str]) -> tuple[Merchant, str] | Problem:
    """Whose button it is, and of which environment."""
    found = change.key(fields["publicKeyId"])
    if found is None or found[1].merchant_id != fields["merchantId"] or not verifying.button_is_signed(
            verifying.public_key(found[0]), fields["algorithm"], fields["payloadJSON"].encode(), fields["signature"]):
        return Problem("UnauthorizedAccess", "The signature of the button does not match its payload.")
    named = environment_of(fields["publicKeyId"])
    return found[1], named or ("Live" if fields.get("sandbox") == "false" else "Sandbox")


def _broken(visit: Visit, problem: Problem) -> Response:
    log.info("a button cannot be used: %s", problem.code)
    return pages.message(visit, "broken_title", "broken_said", status=400, reason=f"{problem.code}: {problem.message}")


# ------------------------------------------------------------------------------------------------------ the buyer's page

async def _here(desk: Desk, request: Request) -> Response:
    session_id = request.path_params["session"]
    found = await desk.carry_out(lambda change: _found(change, session_id))
    if found is None:
        return pages.message(await pages.visit(desk, request), "gone_title", "gone_said", status=404)
    session, merchant = found
    visit = await pages.visit(desk, request, session.language)
    if session.state != "Open" or session.approved:
        return _away(visit, session)
    if visit.buyer is None:
        return _sign_in_page(visit, f"{PATH}/{session.id}", merchant.name)
    if session.buyer not in ("", visit.buyer.email):
        return pages.message(visit, "other_buyer", "gone_said", status=403)
    if request.method == "GET":
        return _page(visit, session, merchant)
    form = await pages.form(request)
    if form is None or not visit.is_genuine(form):
        return _page(visit, session, merchant, problem="form_expired", status=400)
    return await _act(desk, visit, session, merchant, form)


async def _act(desk: Desk, visit: Visit, session: Session, merchant: Merchant, form: dict[str, str]) -> Response:
    """What the buyer did on the page."""
    action, card = form.get("action", ""), form.get("card", "")
    if action == "walk":
        return pages.message(visit, "walked_title", "walked_said")
    if action not in ("approve", "approve_and_walk", "cancel"):
        return _page(visit, session, merchant, problem="form_expired", status=400)
    if action != "cancel" and (problem := _card_problem(session, card)):
        return _page(visit, session, merchant, problem=problem, status=422)
    place = int(form["address"]) if form.get("address", "").isdecimal() and len(form["address"]) < 3 else 0
    email = visit.buyer.email if visit.buyer else ""

    def work(change: Change) -> Session | None:
        now, one = seconds(desk.now()), change.session(session.id)
        if one is None or one.state != "Open" or one.approved or one.buyer not in ("", email):
            return one
        if action == "cancel":
            return end_session(change, one, "BuyerCanceled", now)
        one = change.put(one._replace(buyer=email, card=card, address=place, updated=now, approved=not _is_review(one)))
        return end_session(change, one, CANCELS[card], now) if card in CANCELS and one.approved else one

    done = await desk.carry_out(work)
    if done is None:
        return pages.message(visit, "gone_title", "gone_said", status=404)
    if action == "approve_and_walk":
        return pages.message(visit, "walked_title", "walked_said")
    if done.state == "Open" and not done.approved:
        return pages.leave(visit, done.said("webCheckoutDetails", "checkoutReviewReturnUrl") or "", {"amazonCheckoutSessionId": done.id})
    return pages.go(f"{PATH}/{done.id}", visit)


def _is_review(session: Session) -> bool:
    """Whether the shop has still something to say before the buyer can approve."""
    missing = {one["constraintId"] for one in showing.constraints(session)}
    return not session.is_process_order and (not session.buyer or bool(missing - {"BuyerNotAssociated"}))


def _card_problem(session: Session, card: str) -> str:
    if card not in CARDS:
        return "choose_card"
    needs_more = card in WAITS and not (_is_review(session) or (session.can_wait and session.intent == "Authorize"))
    return "card_waits" if needs_more else ""


def _away(visit: Visit, session: Session) -> Response:
    """To the shop, which asks us what became of it."""
    if session.reason == "Expired":
        return pages.message(visit, "gone_title", "gone_said", status=410)
    said = session.given.get("webCheckoutDetails", {})
    result, cancel = said.get("checkoutResultReturnUrl", ""), said.get("checkoutCancelUrl", "")
    by_card = session.approved                          # a session that a card canceled was approved: its buyer expects the result
    way = result if session.state != "Canceled" or by_card else cancel or result or said.get("checkoutReviewReturnUrl", "")
    return pages.leave(visit, way, {"amazonCheckoutSessionId": session.id})


def _page(visit: Visit, session: Session, merchant: Merchant, *, problem: str = "", status: int = 200) -> Response:
    details, said = session.given.get("paymentDetails", {}), session.given.get("merchantMetadata", {})
    kind = "review" if _is_review(session) else "pay" if session.type == "OneTime" else "set_up"
    return pages.render(
        "approve", visit, status=status, kind=kind, merchant=said.get("merchantStoreName") or merchant.name, problem=problem,
        price=wire.read_price(details["chargeAmount"]) if "chargeAmount" in details and session.intent != "Confirm" else None,
        terms=terms_of(session.type, session.given, visit.language), reference=said.get("merchantReferenceId"), note=said.get("noteToBuyer"),
        here=f"{PATH}/{session.id}", cards=CARDS.values(), chosen=session.card or "1111",
        addresses=visit.buyer.addresses if visit.buyer and session.product != "PayOnly" and "addressDetails" not in session.given else ())


def _found(change: Change, session_id: str) -> tuple[Session, Merchant] | None:
    session = change.session(session_id)
    merchant = session and change.merchant(session.merchant_id)
    return None if session is None or merchant is None else (session, merchant)


# ------------------------------------------------------------------------------------------------------ signing in

async def _sign_in(desk: Desk, request: Request) -> Response:
    form = await pages.form(request) or {}
    visit = await pages.visit(desk, request, form.get("language", "") if form.get("language") in ("en", "ar") else "")
    way = _inside(form.get("next", ""))
    if not visit.is_genuine(form):
        return _sign_in_page(visit, way, problem="form_expired", status=400)
    buyer = find(form.get("email", ""), form.get("password", ""))
    if buyer is None:
        return _sign_in_page(visit, way, problem="wrong_password", email=form.get("email", "")[:128], status=422)
    await visit.sign_in(buyer)
    return pages.go(way, visit)


async def _sign_out(desk: Desk, request: Request) -> Response:
    form, visit = await pages.form(request) or {}, await pages.visit(desk, request)
    if visit.is_genuine(form):
        await visit.sign_out()
    return pages.go(_inside(form.get("next", "")), visit)


def _sign_in_page(visit: Visit, way: str, merchant: str = "", *, problem: str = "", email: str = "", status: int = 200) -> Response:
    return pages.render(
        "sign_in", visit, status=status, next=way, merchant=merchant, problem=problem, email=email, buyers=BUYERS.values())


def _inside(path: str) -> str:
    """A page of the site to go on to; the account for anything else."""
    is_inside = path.startswith("/amazon/") and not any(sign in path for sign in "\\\r\n\t") and path.isprintable() and path.isascii()
    return path if is_inside else "/amazon/account"


async def _consent(desk: Desk, request: Request) -> Response:
    """A buyer signs in at a shop, without paying: the shop gets a token for who it is."""
    visit = await pages.visit(desk, request)
    fields = pages.read_fields(request.url.query) or {}
    if any(not fields.get(name) for name in BUTTON):
        return _broken(visit, Problem("InvalidRequest", f"The address must have {', '.join(BUTTON)}."))
    known = await desk.carry_out(lambda change: _signed(change, fields))
    wish: Any = known if isinstance(known, Problem) else wire.read_body(fields["payloadJSON"].encode(), wire.SIGN_IN)
    if isinstance(known, Problem) or isinstance(wish, Problem) or wish["storeId"] != known[0].store_id:
        return _broken(visit, wish if isinstance(wish, Problem) else Problem("InvalidParameterValue", "storeId is not a store of this merchant."))
    merchant, environment = known
    here = f"/amazon/consent?{request.url.query}"
    if visit.buyer is None:
        return _sign_in_page(visit, here, merchant.name)
    form = await pages.form(request) if request.method == "POST" else None
    if form is None or not visit.is_genuine(form):
        return pages.render("consent", visit, merchant=merchant.name, here=here)
    if form.get("action") != "approve":
        return pages.leave(visit, wish.get("signInCancelUrl") or wish["signInReturnUrl"], {})
    email, until = visit.buyer.email, _seconds_later(desk.now(), TOKEN_SECONDS)

    def work(change: Change) -> str:
        token = change.new_uuid("buyer token").replace("-", "")
        scopes = msgspec.json.encode(wish.get("signInScopes", ["name", "email"])).decode()
        change.run("put_token", token, merchant.merchant_id, environment, email, scopes, until)
        return token

    return pages.leave(visit, wish["signInReturnUrl"], {"buyerToken": await desk.carry_out(work)})


def _seconds_later(at: datetime, length: int) -> int:
    return seconds(at) + length
