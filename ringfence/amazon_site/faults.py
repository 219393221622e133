"""Faults: what goes wrong because somebody asked for it, how often, and at which operation.

Kept in the book, so that whichever process serves the next request obeys.  Each is used up by the operations it happens to, in the order in
which they were asked for.
"""
from __future__ import annotations

from typing import Any, NamedTuple

from ringfence.amazon_site import simulating
from ringfence.amazon_site.book import Change

MOST_TIMES = 1_000_000
MOST_SECONDS = 30 * 86_400

#: Faults of requests: kind -> what its value may be.
OF_REQUESTS = {
    "status": "500, 503 or 429: answered without having done anything",
    "delay": "seconds (wall time, at most 60) before anything is done",
    "drop": "cut: done, and the connection ends in the middle of the answer; silence: done, and never answered",
    "simulate": "a simulation code, as if the request had brought it",
}
#: Faults of notifications.
OF_NOTIFICATIONS = {
    "duplicate": "sent twice",
    "late": "seconds (business time) that it is sent later",
    "lost": "never sent",
}
OPERATIONS = (
    "createCheckoutSession", "getCheckoutSession", "updateCheckoutSession", "completeCheckoutSession", "finalizeCheckoutSession",
    "getChargePermission", "updateChargePermission", "closeChargePermission", "createCharge", "getCharge", "updateCharge", "captureCharge",
    "cancelCharge", "createRefund", "getRefund", "getBuyer",
)


class Fault(NamedTuple):
    """One of them; ``times`` are left."""

    n: int
    operation: str
    kind: str
    value: str
    times: int


def taken(change: Change, operation: str, *kinds: str) -> Fault | None:
    """The first fault for this operation (of these kinds, where some are named), used up by one; ``None`` where all goes well."""
    for row in change.run("faults").fetchall():
        fault = Fault(*row)
        fits = fault.operation == operation or (fault.operation == "*" and operation in OPERATIONS)
        if fits and (not kinds or fault.kind in kinds):
            change.run("use_fault", fault.n)
            change.run("forget_faults")
            return fault
    return None


def add(change: Change, order: Any) -> str:
    """Carry out ``{"operation", "kind", "value", "times"}``; "" or what is wrong with it."""
    if not isinstance(order, dict) or not order.keys() <= {"operation", "kind", "value", "times"}:
        return "the body must be an object of operation, kind, value and times"
    operation, kind, value, times = order.get("operation", "*"), order.get("kind"), order.get("value", ""), order.get("times", 1)
    if operation not in (*OPERATIONS, "*", "notification"):
        return f"operation must be one of {', '.join(OPERATIONS)}, notification, or * for all requests"
    kinds = OF_NOTIFICATIONS if operation == "notification" else OF_REQUESTS
    if kind not in kinds:
        return f"kind must be one of {', '.join(kinds)}"
    if not isinstance(times, int) or isinstance(times, bool) or not 1 <= times <= MOST_TIMES:
        return f"times must be 1 to {MOST_TIMES}"
    if problem := _value_problem(operation, kind, value):
        return problem
    change.run("add_fault", operation, kind, str(value), times)
    return ""


def _value_problem(operation: str, kind: str, value: object) -> str:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if kind == "status" and value not in (500, 503, 429):
        return "value must be 500, 503 or 429"
    if kind == "delay" and not (number is not None and 0 < number <= 60):
        return "value must be a number of seconds, at most 60"
    if kind == "late" and not (isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_SECONDS):
        return f"value must be a whole number of seconds, at most {MOST_SECONDS}"
    if kind == "drop" and value not in ("cut", "silence"):
        return "value must be cut or silence"
    if kind == "simulate" and not (isinstance(value, str) and value in simulating.CODES.get(str(operation), ())):
        return "value must be a simulation code of the operation that is named"
    return ""


def listed(change: Change) -> list[dict[str, Any]]:
    """All that is still to go wrong."""
    return [{name: value for name, value in Fault(*row)._asdict().items() if name != "n"} for row in change.run("faults")]
