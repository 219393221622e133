"""Charges, refunds and charge permissions: what a merchant does without the buyer.

Each operation is a ladder of refusals, then what happens; behind the last rung it succeeds, or is declined as the simulation says.
"""
from __future__ import annotations

from typing import Any

from ringfence.amazon_site import showing
from ringfence.amazon_site.asking import Asked, Done, is_theirs, missing
from ringfence.amazon_site.limits import MOST_CHARGES, NUMBERS, balance, count, most, refundable
from ringfence.amazon_site.objects import Charge, Permission, Refund
from ringfence.amazon_site.passing import (
    AT_ONCE_SECONDS,
    AUTHORIZATION_SECONDS,
    authorized,
    canceled,
    captured,
    close,
    declined,
    lives_until,
)
from ringfence.amazon_site.problems import Problem
from ringfence.amazon_site.simulating import CAPTURE, CHARGE, GOOD, REFUND, SECONDS, WAITS, Outcome
from ringfence.amazon_site.telling import tell
from ringfence.amazon_site.wire import Price, read_price


def permission_id(asked: Asked) -> str:
    """A new identifier: P or S, the region, fourteen digits."""
    number = asked.change.count("permission")
    drawn = int.from_bytes(asked.change.drawn("permission digits")[:8], "big") % 10**7
    return f"{'P' if asked.environment == 'Live' else 'S'}{NUMBERS[asked.merchant.region]}-{drawn:07}-{number:07}"


# ------------------------------------------------------------------------------------------------------ permissions

def read_permission(asked: Asked) -> Done | Problem:
    """GET chargePermissions/ID."""
    permission = asked.change.permission(asked.name)
    if permission is None or not is_theirs(asked, permission):
        return missing("charge permission", asked.name)
    return Done(200, showing.permission(asked.change, permission, asked.now))


def update_permission(asked: Asked) -> Done | Problem:
    """PATCH chargePermissions/ID."""
    permission = asked.change.permission(asked.name)
    if permission is None or not is_theirs(asked, permission):
        return missing("charge permission", asked.name)
    if permission.state == "Closed":
        return Problem("InvalidChargePermissionStatus", "The charge permission is Closed.")
    if "recurringMetadata" in asked.body and permission.type != "Recurring":
        return Problem("InvalidParameterCombination", "Only a recurring charge permission has recurringMetadata.")
    given = dict(permission.given)
    for name, value in asked.body.items():
        given[name] = {**given.get(name, {}), **value}
    permission = asked.change.put(permission._replace(given=given, updated=asked.now))
    return Done(200, showing.permission(asked.change, permission, asked.now))


def close_permission(asked: Asked) -> Done | Problem:
    """DELETE chargePermissions/ID/close."""
    permission = asked.change.permission(asked.name)
    if permission is None or not is_theirs(asked, permission):
        return missing("charge permission", asked.name)
    if permission.state == "Closed":
        return Problem("InvalidChargePermissionStatus", "The charge permission is Closed already.")
    permission = close(asked.change, permission, asked.simulation or "MerchantClosed", asked.now)
    if asked.body.get("cancelPendingCharges"):
        for charge in asked.change.charges_of(permission.id):
            if charge.state in ("AuthorizationInitiated", "Authorized"):
                canceled(asked.change, charge, "ChargePermissionCanceled", asked.now)
    return Done(200, showing.permission(asked.change, permission, asked.now))


# ------------------------------------------------------------------------------------------------------ charges

def create_charge(asked: Asked) -> Done | Problem:
    """POST charges."""
    body, wanted = asked.body, read_price(asked.body["chargeAmount"])
    permission = asked.change.permission(body["chargePermissionId"])
    if permission is None or not is_theirs(asked, permission):
        return missing("charge permission", body["chargePermissionId"])
    if wanted.currency != permission.currency:
        return Problem("CurrencyMismatch", f"The charge permission is in {permission.currency}.")
    if body.get("softDescriptor") and not body.get("captureNow"):
        return Problem("InvalidParameterCombination", "A softDescriptor goes together with captureNow only.")
    state, reason = showing.standing(asked.change, permission)
    if state != "Chargeable":
        return Problem("InvalidChargePermissionStatus", f"The charge permission is {state}: {reason}.")
    if permission.type == "OneTime" and count(asked.change, permission) >= MOST_CHARGES:
        return Problem("TransactionCountExceeded", f"There are {MOST_CHARGES} charges on the charge permission.")
    if wanted.minor > most(wanted.currency) or wanted.minor > balance(asked.change, permission, asked.now):
        return Problem("TransactionAmountExceeded", "The amount is above what may still be charged.")
    outcome = _outcome(permission, body, asked.simulation)
    if isinstance(outcome, Problem):
        return outcome
    given = {name: value for name, value in body.items() if name not in ("chargePermissionId", "chargeAmount")}
    charge = begin(asked, permission, given, wanted, outcome)
    if charge.state == "Declined":
        return Problem(charge.reason, showing.DESCRIPTIONS[charge.reason])
    return Done(201, showing.charge(asked.change, charge))


def _outcome(permission: Permission, body: dict[str, Any], code: str) -> Outcome | Problem:
    """How a charge ends: as the header says, else as the card does."""
    can_wait, captures = bool(body.get("canHandlePendingAuthorization")), bool(body.get("captureNow"))
    if code == "CaptureInitiated":
        return Outcome(later=True) if captures else Problem("InvalidSandboxSimulationSpecified", "CaptureInitiated needs captureNow.")
    if code:
        outcome = CHARGE[code]
        if outcome.later and not can_wait:
            return Problem("InvalidSandboxSimulationSpecified", f"{code} needs canHandlePendingAuthorization.")
        return outcome
    return WAITS.get(permission.card, GOOD) if can_wait else GOOD


def begin(asked: Asked, permission: Permission, given: dict[str, Any], wanted: Price, outcome: Outcome) -> Charge:
    """A new charge on a permission, as far as it gets at once."""
    change, now = asked.change, asked.now
    number = len(change.charges_of(permission.id)) + 1
    is_capture = asked.simulation == "CaptureInitiated"
    charge = Charge(
        f"{permission.id}-C{number:06}", permission.merchant_id, permission.environment, permission.id, given, wanted.currency, wanted.minor,
        wanted.minor if is_capture else 0, "CaptureInitiated" if is_capture else "AuthorizationInitiated", "", outcome.ends_as, now, now,
        now + AUTHORIZATION_SECONDS, None)
    if permission.type != "OneTime" and not outcome.declined:       # each charge gives a recurring permission its whole time again
        expires = lives_until(permission.type, now, longer=False)
        change.put(permission._replace(expires=expires, due=expires))
    if outcome.declined:
        return declined(change, charge, outcome.declined, now)
    if not outcome.later:
        return authorized(change, charge, now)
    charge = change.put(charge._replace(due=now + SECONDS))
    tell(change, charge, now)
    return charge


def read_charge(asked: Asked) -> Done | Problem:
    """GET charges/ID."""
    charge = asked.change.charge(asked.name)
    if charge is None or not is_theirs(asked, charge):
        return missing("charge", asked.name)
    return Done(200, showing.charge(asked.change, charge))


def capture(asked: Asked) -> Done | Problem:
    """POST charges/ID/capture: once, all of it or a part; what is not captured is given back."""
    charge, wanted = asked.change.charge(asked.name), read_price(asked.body["captureAmount"])
    if charge is None or not is_theirs(asked, charge):
        return missing("charge", asked.name)
    if charge.state != "Authorized":
        return Problem("InvalidChargeStatus", f"The charge is {charge.state}.")
    if wanted.currency != charge.currency:
        return Problem("CurrencyMismatch", f"The charge is in {charge.currency}.")
    if wanted.minor > charge.amount:
        return Problem("TransactionAmountExceeded", "The amount is above what was authorized.")
    is_late = asked.now >= charge.created + AT_ONCE_SECONDS
    outcome = CAPTURE[asked.simulation] if asked.simulation else Outcome(later=is_late)
    given = charge.given | ({"softDescriptor": asked.body["softDescriptor"]} if "softDescriptor" in asked.body else {})
    charge = charge._replace(given=given, amount_captured=wanted.minor)
    if outcome.declined:
        declined(asked.change, charge, outcome.declined, asked.now)
        return Problem(outcome.declined, showing.DESCRIPTIONS[outcome.declined])
    if outcome.later:
        charge = asked.change.put(charge._replace(
            state="CaptureInitiated", ends_as=outcome.ends_as, updated=asked.now, due=asked.now + SECONDS))
        tell(asked.change, charge, asked.now)
    else:
        charge = captured(asked.change, charge, asked.now)
    return Done(200, showing.charge(asked.change, charge))


def cancel(asked: Asked) -> Done | Problem:
    """DELETE charges/ID/cancel."""
    charge = asked.change.charge(asked.name)
    if charge is None or not is_theirs(asked, charge):
        return missing("charge", asked.name)
    if charge.state not in ("AuthorizationInitiated", "Authorized"):
        return Problem("InvalidChargeStatus", f"The charge is {charge.state}.")
    return Done(200, showing.charge(asked.change, canceled(asked.change, charge, "MerchantCanceled", asked.now)))


# ------------------------------------------------------------------------------------------------------ refunds

def create_refund(asked: Asked) -> Done | Problem:
    """POST refunds: always decided later."""
    body, wanted = asked.body, read_price(asked.body["refundAmount"])
    charge = asked.change.charge(body["chargeId"])
    if charge is None or not is_theirs(asked, charge):
        return missing("charge", body["chargeId"])
    if wanted.currency != charge.currency:
        return Problem("CurrencyMismatch", f"The charge is in {charge.currency}.")
    if charge.state != "Captured":
        return Problem("InvalidChargeStatus", f"The charge is {charge.state}.")
    if wanted.minor > refundable(asked.change, charge):
        return Problem("TransactionAmountExceeded", "The amount is above what may still be refunded.")
    # Refunds count on through all charges of a permission, so that no two have one name.
    number = sum(len(asked.change.refunds_of(one.id)) for one in asked.change.charges_of(charge.permission)) + 1
    ends_as = REFUND[asked.simulation].ends_as if asked.simulation else ""
    refund = asked.change.put(Refund(
        f"{charge.permission}-R{number:06}", charge.merchant_id, charge.environment, charge.id,
        {"softDescriptor": body["softDescriptor"]} if "softDescriptor" in body else {}, wanted.currency, wanted.minor, "RefundInitiated", "",
        ends_as, asked.now, asked.now, asked.now + SECONDS))
    return Done(201, showing.refund(refund))


def read_refund(asked: Asked) -> Done | Problem:
    """GET refunds/ID."""
    refund = asked.change.refund(asked.name)
    if refund is None or not is_theirs(asked, refund):
        return missing("refund", asked.name)
    return Done(200, showing.refund(refund))
