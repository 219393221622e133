"""The second judge: which ends of a history are legal.

It shares no code with the core.  It knows what each client asked and was told, what stands in the issuer's book, and how things stand
with us at the end; from the first two it says what the third must be.  It knows nothing of attempts, leases, fences and queues: how
an end came about is nobody's business here.
"""
from __future__ import annotations

from typing import NamedTuple

FIRST = ("authorization", "purchase")
UNDONE = (*FIRST, "increment")
"""What a reversal may end."""


class Seen(NamedTuple):
    """What one client heard of one request.  ``said``: approved, declined, unknown, refused, or nothing.  ``minor`` is 0 for all
    there is.  ``key`` is the client's own name for its intention, '' where it gave none."""

    payment: int
    operation: int
    kind: str
    minor: int
    key: str
    said: str
    approved: int


class Ours(NamedTuple):
    """One operation as we have it.  ``result``: approved, declined, reversed, not_asked, unknown or '' for none; ``returned`` is what
    a refund of ours gave back of a purchase that nobody wanted to be unknown any longer."""

    payment: int
    operation: int
    kind: str
    minor: int
    takes_part: bool
    key: str
    result: str
    approved: int
    returned: int


class Standing(NamedTuple):
    """One payment as we have it: amounts, what is reserved, how many doubts, and the sums of the ledger by kind of transfer."""

    authorized: int
    captured: int
    voided: int
    refunded: int
    pending: int
    doubts: int
    ledger: dict[str, int]


class Line(NamedTuple):
    """A line of the issuer's book: a message that it approved, and whether that still stands."""

    key: str
    payment: int
    operation: int
    kind: str
    minor: int
    stands: bool


class End(NamedTuple):
    """How a history ended."""

    seen: list[Seen]
    ours: list[Ours]
    payments: dict[int, Standing]
    book: list[Line]
    jobs: int                               # recoveries and reversals that are still to be done
    owed: int                               # reversals that nobody acknowledged
    reviewed: list[tuple[str, int]]         # kind and number of operations that a person had to decide
    refused: set[int]                       # purchases that the issuer would not take back
    remembers: bool                         # whether the issuer answers a repeated refund from memory


def judge(end: End) -> list[str]:
    """Everything that is wrong with it; empty where it is legal."""
    wrong: list[str] = []
    book = _by_operation(end.book, wrong)
    for one in end.ours:
        wrong += _operation(one, book.get(one.operation, []))
    for seen in end.seen:
        wrong += _told(seen, {one.operation: one for one in end.ours})
    wrong += _intentions(end)
    for payment in sorted({line.payment for line in end.book} | set(end.payments)):
        wrong += _payment(payment, end)
    if end.jobs or end.owed:
        wrong.append(f"{end.jobs} jobs and {end.owed} reversals are left over")
    for kind, operation in end.reviewed:
        legal = not end.remembers if kind == "refund" else kind == "purchase" and operation in end.refused
        if not legal:
            wrong.append(f"a person had to decide about {kind} {operation}")
    return wrong


def _by_operation(book: list[Line], wrong: list[str]) -> dict[int, list[Line]]:
    """The book by operation; every operation has one message that moved something, and at most one that gave it back."""
    found: dict[int, list[Line]] = {}
    for line in book:
        found.setdefault(line.operation, []).append(line)
    for operation, lines in found.items():
        moved = [line for line in lines if not line.key.endswith("-return")]
        given = [line for line in lines if line.key.endswith("-return")]
        if len(moved) != 1 or len(given) > 1:
            wrong.append(f"operation {operation} moved money under {[line.key for line in lines]}")
        elif given and (moved[0].kind, given[0].kind, given[0].minor) != ("purchase", "refund", moved[0].minor):
            wrong.append(f"operation {operation} was given back as {given[0].kind} of {given[0].minor}")
    return found


def _operation(one: Ours, lines: list[Line]) -> list[str]:
    """Nothing is approved here and gone there, or the other way round."""
    name = f"{one.kind} {one.operation} of {one.minor}"
    standing = sum(line.minor for line in lines if line.stands and not line.key.endswith("-return"))
    given = sum(line.minor for line in lines if line.stands and line.key.endswith("-return"))
    if one.result in ("", "unknown"):
        return [f"{name} never ended"]
    if one.result == "approved":
        if one.approved < one.minor and not one.takes_part:             # given back at once, as a whole
            legal = one.kind in FIRST and not standing
        else:
            legal = standing == one.approved and (one.approved == one.minor or one.kind in FIRST)
        return [] if legal and not given else [f"{name} is approved for {one.approved} here, and for {standing} at the issuer"]
    if one.result == "reversed" and one.kind not in UNDONE:
        return [f"{name} was reversed"]
    if one.returned != given or (given and one.result != "reversed"):
        return [f"{name} returned {one.returned} here, and {given} at the issuer"]
    return [] if standing == given else [f"{name} is {one.result} here, and stands with {standing} at the issuer"]


def _told(seen: Seen, ours: dict[int, Ours]) -> list[str]:
    """What a client was told stands, for ever; what it was not told is free."""
    one = ours.get(seen.operation)
    name = f"{seen.kind} {seen.operation} of {seen.minor}"
    if seen.said == "approved":
        if one is None or one.result != "approved" or one.approved != seen.approved:
            return [f"{name} was acknowledged for {seen.approved}, and is {one}"]
    elif seen.said == "declined":
        if one is None or one.result not in ("declined", "reversed", "not_asked"):
            return [f"{name} was told as declined, and is {one}"]
    elif seen.said == "refused" and one is not None:
        return [f"{name} was refused, and is {one}"]
    elif seen.said == "unknown" and one is not None and (one.kind, seen.minor or one.minor) != (seen.kind, one.minor):
        return [f"{name} became {one}"]
    return []


def _intentions(end: End) -> list[str]:
    """One intention moves money once, however often it is repeated, wherever, and whatever its repeats were told."""
    approved: dict[str, list[int]] = {}
    for one in end.ours:
        if one.key and one.result == "approved":
            approved.setdefault(one.key.split("#")[0], []).append(one.operation)
    return [f"{key} moved money as {operations}" for key, operations in approved.items() if len(operations) > 1]


def _payment(payment: int, end: End) -> list[str]:
    """The amounts are those of the issuer's book; nothing is reserved; the ledger says the same once more."""
    standing = end.payments.get(payment)
    lines = [line for line in end.book if line.payment == payment and line.stands and not line.key.endswith("-return")]
    given_back = {line.operation for line in end.book if line.payment == payment and line.stands and line.key.endswith("-return")}
    lines = [line for line in lines if line.operation not in given_back]
    if standing is None:
        return [f"payment {payment} stands at the issuer and not here"] if lines else []
    sums = dict.fromkeys(("authorization", "purchase", "increment", "decrement", "capture", "void", "refund"), 0)
    for line in lines:
        sums[line.kind] += line.minor
    unwanted = sum(one.approved for one in end.ours if one.payment == payment and one.result == "approved"
                   and one.approved < one.minor and not one.takes_part)
    wrong = []
    expected = {
        "authorized": sums["authorization"] + sums["purchase"] + sums["increment"] + unwanted,
        "captured": sums["capture"] + sums["purchase"],
        "voided": sums["void"] + sums["decrement"] + unwanted,
        "refunded": sums["refund"],
        "pending": 0, "doubts": 0,
    }
    for name, minor in expected.items():
        if getattr(standing, name) != minor:
            wrong.append(f"payment {payment}: {name} is {getattr(standing, name)} here, and {minor} by the issuer's book")
    ledger = standing.ledger
    posted = {
        "captured": ledger.get("CAPTURE", 0), "refunded": ledger.get("REFUND", 0),
        "authorized": ledger.get("AUTHORIZE", 0) + ledger.get("INCREASE", 0) + ledger.get("USE_NOW", 0),
        "voided": ledger.get("VOID", 0) + ledger.get("DECREASE", 0),
    }
    for name, minor in posted.items():
        if minor != expected[name]:
            wrong.append(f"payment {payment}: the ledger has {name} {minor}, the issuer's book {expected[name]}")
    doubts = {kind: minor for kind, minor in ledger.items() if kind.startswith("DOUBT_")}
    for kind, minor in doubts.items():
        if not kind.endswith("_ENDED") and minor != doubts.get(f"{kind}_ENDED", 0):
            wrong.append(f"payment {payment}: {kind} of {minor} ended with {doubts.get(f'{kind}_ENDED', 0)}")
    returned = sum(one.returned for one in end.ours if one.payment == payment)
    if not returned == ledger.get("MONEY_IN_SUSPENSE", 0) == ledger.get("SUSPENSE_RETURNED", 0):
        wrong.append(f"payment {payment}: {returned} were returned, and the ledger has {ledger}")
    if not 0 <= standing.refunded <= standing.captured <= standing.authorized:
        wrong.append(f"payment {payment}: refunded {standing.refunded}, captured {standing.captured}, authorized {standing.authorized}")
    if standing.captured + standing.voided > standing.authorized:
        wrong.append(f"payment {payment}: captured and voided more than {standing.authorized}")
    return wrong
