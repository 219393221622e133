"""Checkout sessions: create, read, change, complete, finalize.

Nothing is charged before a session is completed.  Decides what a session must have and what completing it makes; the buyer's side of it is
``checkout``.
"""
from __future__ import annotations

from typing import Any

from ringfence.amazon_site import charging, showing, simulating
from ringfence.amazon_site.asking import Asked, Done, is_theirs, missing
from ringfence.amazon_site.book import Change
from ringfence.amazon_site.limits import LEDGERS, MONTHLY, most
from ringfence.amazon_site.objects import Merchant, Permission, Session
from ringfence.amazon_site.passing import SESSION_SECONDS, end_session, lives_until
from ringfence.amazon_site.problems import Problem
from ringfence.amazon_site.simulating import GOOD, WAITS, Outcome
from ringfence.amazon_site.telling import tell
from ringfence.amazon_site.wire import Price, read_price

PRODUCTS = ("PayAndShip", "PayOnly", "PayAndShipMultiAddress")


def create(asked: Asked) -> Done | Problem:
    """POST checkoutSessions."""
    made = begin(asked.change, asked.merchant, asked.environment, asked.body, asked.now)
    return made if isinstance(made, Problem) else Done(201, showing.session(made, asked.base_url))


def begin(
    change: Change, merchant: Merchant, environment: str, given: dict[str, Any], now: int, *, product: str = "", language: str = "",
) -> Session | Problem:
    """A new session of what the merchant said, through the API or with a button."""
    if given["storeId"] != merchant.store_id:
        return Problem("InvalidParameterValue", "The field storeId is not a store of this merchant.")
    if problem := _problem(given, merchant):
        return problem
    is_digital = "addressDetails" not in given and given.get("webCheckoutDetails", {}).get("checkoutMode") == "ProcessOrder"
    return change.put(Session(
        change.new_uuid("session"), merchant.merchant_id, environment, given, product or ("PayOnly" if is_digital else "PayAndShip"), language,
        "Open", "", "", "", 0, False, "", "", now, now, now + SESSION_SECONDS, now + SESSION_SECONDS))


def read(asked: Asked) -> Done | Problem:
    """GET checkoutSessions/ID."""
    session = asked.change.session(asked.name)
    return Done(200, showing.session(session, asked.base_url)) if session and is_theirs(asked, session) else missing("checkout session", asked.name)


def update(asked: Asked) -> Done | Problem:
    """PATCH checkoutSessions/ID: the fields of each object that are given replace those that stand."""
    session = asked.change.session(asked.name)
    if session is None or not is_theirs(asked, session):
        return missing("checkout session", asked.name)
    if session.state != "Open":
        return Problem("InvalidCheckoutSessionStatus", f"The checkout session is {session.state}.")
    if session.approved:
        return Problem("InvalidCheckoutSessionStatus", "The buyer has approved the checkout session as it is.")
    given = dict(session.given)
    for name, value in asked.body.items():
        given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
    if problem := _problem(given, asked.merchant):
        return problem
    session = asked.change.put(session._replace(given=given, updated=asked.now))
    return Done(200, showing.session(session, asked.base_url))


def complete(asked: Asked) -> Done | Problem:
    """POST checkoutSessions/ID/complete, behind the buyer's return."""
    session = asked.change.session(asked.name)
    if session is None or not is_theirs(asked, session):
        return missing("checkout session", asked.name)
    if session.state == "Completed":        # whoever did not hear the first answer hears it now
        return Done(200, showing.completed(session, asked.base_url))
    if session.state == "Canceled":
        return Problem("CheckoutSessionCanceled", f"The checkout session is canceled: {session.reason}.")
    if showing.constraints(session) or not session.approved:
        return Problem("InvalidCheckoutSessionStatus", "The checkout session cannot be completed before its buyer has approved it.")
    return _finish(asked, session)


def finalize(asked: Asked) -> Done | Problem:
    """POST checkoutSessions/ID/finalize: complete without sending the buyer to a result page, with what the body says."""
    session = asked.change.session(asked.name)
    if session is None or not is_theirs(asked, session):
        return missing("checkout session", asked.name)
    if session.state == "Canceled":
        return Problem("CheckoutSessionCanceled", f"The checkout session is canceled: {session.reason}.")
    if session.state == "Completed":
        return Done(200, showing.completed(session, asked.base_url))
    if not session.buyer:
        return Problem("InvalidCheckoutSessionStatus", "There is no buyer associated with the checkout session.")
    said = {name: asked.body[name] for name in ("chargeAmount", "totalOrderAmount", "paymentIntent", "canHandlePendingAuthorization")
            if name in asked.body}
    details = {"paymentIntent": "Confirm", **session.given.get("paymentDetails", {}), **said}
    given = session.given | {"paymentDetails": details}
    if problem := _problem(given, asked.merchant):
        return problem
    return _finish(asked, session._replace(given=given))


def _problem(given: dict[str, Any], merchant: Merchant) -> Problem | None:
    """What cannot be together in one session."""
    web, details = given.get("webCheckoutDetails", {}), given.get("paymentDetails", {})
    prices = {name: read_price(details[name]) for name in ("chargeAmount", "totalOrderAmount", "estimateOrderTotal") if name in details}
    if "amount" in given.get("recurringMetadata", {}):
        prices["recurringMetadata.amount"] = read_price(given["recurringMetadata"]["amount"])
    for name, price in prices.items():
        if price.currency not in LEDGERS[merchant.region]:
            return Problem("InvalidParameterValue", f"The field {name} must be in {' or '.join(LEDGERS[merchant.region])}.")
        if price.minor > most(price.currency):
            return Problem("InvalidParameterValue", f"The field {name} is above the maximum.")
    if len({price.currency for price in prices.values()}) > 1:
        return Problem("CurrencyMismatch", "All amounts must be in the same currency.")
    if "totalOrderAmount" in prices and "chargeAmount" in prices and prices["totalOrderAmount"].minor < prices["chargeAmount"].minor:
        return Problem("InvalidParameterValue", "The field paymentDetails.totalOrderAmount must not be below chargeAmount.")
    if details.get("softDescriptor") and details.get("paymentIntent") != "AuthorizeWithCapture":
        return Problem("InvalidParameterCombination", "A softDescriptor goes together with AuthorizeWithCapture only.")
    if given.get("chargePermissionType") == "Recurring" and "recurringMetadata" not in given:
        return Problem("MissingParameterValue", "The field recurringMetadata is missing.")
    if web.get("checkoutMode") == "ProcessOrder":
        needed = {"webCheckoutDetails.checkoutResultReturnUrl": web.get("checkoutResultReturnUrl"),
                  "paymentDetails.paymentIntent": details.get("paymentIntent"),
                  "paymentDetails.chargeAmount": details.get("chargeAmount") or details.get("paymentIntent") == "Confirm"}
        if lacks := next((name for name, value in needed.items() if not value), ""):
            return Problem("MissingParameterValue", f"The field {lacks} is missing: ProcessOrder has no review.")
    elif "addressDetails" in given:
        return Problem("InvalidParameterCombination", "addressDetails go together with the checkoutMode ProcessOrder only.")
    elif not web.get("checkoutReviewReturnUrl"):
        return Problem("MissingParameterValue", "The field webCheckoutDetails.checkoutReviewReturnUrl is missing.")
    return None


def _finish(asked: Asked, session: Session) -> Done | Problem:
    """Make the permission, and the charge where there is to be one."""
    details = session.given.get("paymentDetails", {})
    charge_price = read_price(asked.body["chargeAmount"])
    if "chargeAmount" in details and read_price(details["chargeAmount"]) != charge_price:
        return Problem("InvalidParameterValue", "The field chargeAmount is not the amount of the checkout session.")
    if charge_price.currency not in LEDGERS[asked.merchant.region]:
        return Problem("InvalidParameterValue", "The field chargeAmount is not in a currency of this region.")
    total = asked.body.get("totalOrderAmount") or details.get("totalOrderAmount")
    total_price = read_price(total) if total else charge_price
    if total_price.currency != charge_price.currency:
        return Problem("CurrencyMismatch", "All amounts must be in the same currency.")
    if total_price.minor < charge_price.minor:
        return Problem("InvalidParameterValue", "The field totalOrderAmount must not be below chargeAmount.")
    outcome = _outcome(session, asked.simulation)
    if isinstance(outcome, Problem):
        return outcome
    if outcome.declined:
        end_session(asked.change, session, outcome.declined, asked.now)
        return Problem("CheckoutSessionCanceled", f"The checkout session is canceled: {outcome.declined}.")
    permission, charge_id = _permission(asked, session, total_price), ""
    if session.intent != "Confirm":
        given = {"captureNow": session.intent == "AuthorizeWithCapture", "canHandlePendingAuthorization": session.can_wait} | {
            name: value for name, value in (
                ("softDescriptor", details.get("softDescriptor")), ("merchantMetadata", session.given.get("merchantMetadata"))) if value}
        charge_id = charging.begin(asked, permission, given, charge_price, outcome).id
    session = asked.change.put(session._replace(
        state="Completed", updated=asked.now, permission=permission.id, charge=charge_id, due=session.created + 30 * SESSION_SECONDS))
    return Done(202 if outcome.later else 200, showing.completed(session, asked.base_url))


def _outcome(session: Session, code: str) -> Outcome | Problem:
    """How completing ends: as the header says, else as the card does."""
    if code and code != "AuthorizationInitiated":
        return Outcome(declined=code)
    outcome = simulating.CHARGE[code] if code else WAITS.get(session.card, GOOD)
    if outcome.later and not (session.can_wait and session.intent != "Confirm"):
        return Problem("InvalidSandboxSimulationSpecified",
                       "An authorization that is decided later needs canHandlePendingAuthorization and something to authorize.")
    return outcome


def _permission(asked: Asked, session: Session, total: Price) -> Permission:
    given = {name: session.given[name] for name in ("recurringMetadata", "merchantMetadata", "platformId", "scopes") if name in session.given}
    given["ships"] = session.product != "PayOnly"
    limit = total.minor if session.type == "OneTime" else max(MONTHLY, total.minor)
    expires = lives_until(session.type, asked.now, longer=bool(session.said("paymentDetails", "extendExpiration")))
    permission = asked.change.put(Permission(
        charging.permission_id(asked), asked.merchant.merchant_id, asked.environment, session.id, session.type, given, session.buyer, session.card,
        session.address, total.currency, limit, "Chargeable", "", asked.now, asked.now, expires, expires))
    tell(asked.change, permission, asked.now)
    return permission
