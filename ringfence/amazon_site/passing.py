"""Passing: what time does to objects, written into the book when somebody next looks.

Every object says when time changes it (``due``); whoever works with the book first makes all that is due happen, in order, each at its own
instant, and tells of it.  So all processes agree, however late the first of them looks.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.objects import DAY, Charge, Permission, Refund, Session, months_later
from ringfence.amazon_site.telling import tell

SESSION_SECONDS = DAY
"""So long a buyer has for a session; it is deleted after ``SESSION_KEPT``."""
SESSION_KEPT = 30 * DAY
AUTHORIZATION_SECONDS = 30 * DAY
AT_ONCE_SECONDS = 7 * DAY
"""An authorization that is older is captured later."""
PERMISSION_SECONDS, PERMISSION_MONTHS = 180 * DAY, 13
BUYER_SECONDS = 30 * DAY
"""So long a merchant may see who the buyer of a permission is."""


def bring_up_to(change: Change, now: int) -> None:
    """Make everything happen that time has done by an instant."""
    while (row := change.run("first_due", now).fetchone()) is not None:
        at, kind, name = row
        _STEPS[kind](change, name, at)


def end_session(change: Change, session: Session, reason: str, at: int) -> Session:
    """A session is canceled."""
    return change.put(session._replace(state="Canceled", reason=reason, updated=at, due=session.created + SESSION_KEPT))


def authorized(change: Change, charge: Charge, at: int) -> Charge:
    """An authorization succeeds; with it the capture, where it was to be captured at once."""
    if charge.given.get("captureNow"):
        return captured(change, charge._replace(amount_captured=charge.amount), at)
    one = change.put(charge._replace(state="Authorized", reason="", updated=at, due=charge.expires))
    tell(change, one, at)
    return one


def captured(change: Change, charge: Charge, at: int) -> Charge:
    """A capture succeeds.  A one-time permission of which everything is captured is over (Amazon Pay: charge permission)."""
    one = change.put(charge._replace(state="Captured", reason="", updated=at, due=None))
    tell(change, one, at)
    permission = change.permission(one.permission)
    assert permission is not None
    if permission.type == "OneTime" and permission.state != "Closed":
        taken = sum(other.amount_captured for other in change.charges_of(permission.id) if other.state == "Captured")
        if taken >= permission.amount_limit:
            close(change, permission, "MerchantClosed", at)
    return one


def declined(change: Change, charge: Charge, reason: str, at: int) -> Charge:
    """An authorization or a capture fails, with what that means for the permission."""
    one = change.put(charge._replace(state="Declined", reason=reason, amount_captured=0, updated=at, due=None))
    tell(change, one, at)
    permission = change.permission(one.permission)
    if permission is not None and permission.state == "Chargeable":
        if reason == "HardDeclined":
            tell(change, change.put(permission._replace(state="NonChargeable", reason="PaymentMethodInvalid", updated=at)), at)
        elif reason == "AmazonRejected":
            close(change, permission, "AmazonCanceled", at)
    return one


def canceled(change: Change, charge: Charge, reason: str, at: int) -> Charge:
    """A charge is given back before it was captured."""
    one = change.put(charge._replace(state="Canceled", reason=reason, updated=at, due=None))
    tell(change, one, at)
    return one


def close(change: Change, permission: Permission, reason: str, at: int) -> Permission:
    """Nothing can be charged on it any more; what is authorized can still be captured."""
    one = change.put(permission._replace(state="Closed", reason=reason, updated=at, due=None))
    tell(change, one, at)
    return one


def lives_until(permission_type: str, at: int, *, longer: bool) -> int:
    """When a permission ends that was made, or last charged, at an instant.  ``longer``: with ``extendExpiration``."""
    one_time = permission_type == "OneTime"
    return at + PERMISSION_SECONDS if one_time and not longer else months_later(at, PERMISSION_MONTHS)


def _session(change: Change, name: str, at: int) -> None:
    session = change.session(name)
    assert session is not None
    if session.state == "Open":
        end_session(change, session, "Expired", at)
    else:
        change.run("forget_session", name)


def _charge(change: Change, name: str, at: int) -> None:
    charge = change.charge(name)
    assert charge is not None
    if charge.state == "Authorized":
        canceled(change, charge, "ExpiredUnused", at)
    elif charge.ends_as:
        declined(change, charge, charge.ends_as, at)
    elif charge.state == "CaptureInitiated":
        captured(change, charge, at)
    else:
        authorized(change, charge, at)


def _permission(change: Change, name: str, at: int) -> None:
    permission = change.permission(name)
    assert permission is not None
    close(change, permission, "Expired", at)


def _refund(change: Change, name: str, at: int) -> None:
    refund = change.refund(name)
    assert refund is not None
    tell(change, ended(change, refund, at), at)


def ended(change: Change, refund: Refund, at: int) -> Refund:
    """A refund is decided."""
    return change.put(refund._replace(state="Declined" if refund.ends_as else "Refunded", reason=refund.ends_as, updated=at, due=None))


#: By kind, as the query names them.
_STEPS: dict[int, Callable[[Change, str, int], None]] = {1: _charge, 2: _refund, 3: _permission, 4: _session}


def seconds(at: datetime) -> int:
    """An instant as the book writes it."""
    return int(at.timestamp())


def instants(change: Change, until: int) -> list[datetime]:
    """When something will be due, up to an instant: changes of state, and notifications to be sent."""
    return [datetime.fromtimestamp(at, UTC) for (at,) in change.run("instants", until)]
