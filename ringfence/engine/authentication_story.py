"""What a payment's story tells of its payer's authentications.  Without the cryptogram, and without the address of the page."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ringfence.core.authentication import PENDING, VERSIONS, Cancelled, Status
from ringfence.storage.authentications import AuthenticationRow

#: What access control answered, by status.
SAID: dict[str, str] = {
    Status.AUTHENTICATED: "the payer was authenticated", Status.ATTEMPTED: "authentication was attempted, and the issuer stands by it",
    Status.FAILED: "the payer was not authenticated", Status.UNAVAILABLE: "authentication could not be performed",
    Status.REJECTED: "the issuer rejected it", Status.INFORMATIONAL: "an exemption was acknowledged",
    Status.CHALLENGE: "the payer must act on the issuer's page", Status.DECOUPLED: "the payer must act in the bank's application",
    Status.METHOD: "the browser must pass by the issuer first", Status.ERROR: "access control did not answer",
}
CANCELLED: dict[str, str] = {
    Cancelled.CARDHOLDER: "cancelled by the payer", Cancelled.DECOUPLED_TIMEOUT: "too late", Cancelled.ISSUER_TIMEOUT: "too late",
    Cancelled.NO_FIRST_SIGN: "the browser never came", Cancelled.ERROR: "an error",
}


def happened(row: AuthenticationRow) -> Iterator[tuple[datetime, int, str]]:
    """Instants (business time), before which attempt they belong, and sentences."""
    wanted = f", because it was declined {row.soft_decline} without" if row.soft_decline else ""
    waited = bool(row.acs_id)
    begun = "a challenge began" if waited and row.status not in PENDING else _said(row)
    if row.version not in ("", VERSIONS[0]):
        begun += f", in version {row.version} of the protocol, as the issuer speaks no newer one"
    yield row.made_at, 0, f"3-D Secure ({row.mode}) was asked{wanted}: {begun}."
    if row.ended_at is not None and waited:
        yield row.ended_at, 1, f"The challenge ended: {_said(row)}."


def next_of(rows: Sequence[AuthenticationRow]) -> str:
    """Until when a payer is waited for, "" where none is."""
    waiting = [row for row in rows if row.ended_at is None]
    return f" It is given up at {waiting[-1].due_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC." if waiting else ""


def _said(row: AuthenticationRow) -> str:
    parts = [f"{row.status}, {SAID[row.status]}"]
    if row.reason:
        parts.append(f"reason {row.reason}")
    if row.cancelled:
        parts.append(CANCELLED.get(row.cancelled, f"cancelled {row.cancelled}"))
    if row.eci:
        parts.append(f"ECI {row.eci}")
    return ", ".join(parts)
