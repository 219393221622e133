"""What is remembered of Amazon's objects: which of them belongs to which message of ours.

Values and a protocol; who keeps them is not this floor's business.  A row is stored before Amazon is asked for the first time, so that
whoever goes on after a crash asks under the same key, and about the same object.
"""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

SESSION, CHARGE, CAPTURE, CANCEL, REFUND = "session", "charge", "capture", "cancel", "refund"
"""What a message became: a session that is completed, a charge of its own, the capture or cancellation of an earlier message's charge, a
refund of a charge."""

TOO_MUCH = "TransactionAmountExceeded"
"""Amazon's word where a charge is more than what its permission has left."""
UNDONE = "undone"
"""How a message stands that was undone, and is known to be."""


class Thing(NamedTuple):
    """One message to Amazon and its object.

    ``key`` is the message's; of a part of a refund with the part's number behind a dot.  Ids are empty until they are known.  ``holds``: its
    charge is one that waits for a capture.  ``undone``: nothing may come of it any more.
    """

    merchant: str
    key: str
    payment_id: int
    operation_id: int
    kind: str
    minor: int
    session_id: str = ""
    permission_id: str = ""
    charge_id: str = ""
    refund_id: str = ""
    holds: bool = False
    undone: bool = False
    state: str = ""                 # Amazon's word, as it was read last; or ``UNDONE``
    begun_at: datetime | None = None    # wall time


def is_held(things: Sequence[Thing]) -> bool:
    """Whether one of a payment's charges waits for a capture, and no message has taken it."""
    taken = {one.charge_id for one in things if one.kind in (CAPTURE, CANCEL)}
    return any(one.holds and one.charge_id and not one.undone and one.charge_id not in taken for one in things)


class ObjectsUnavailable(Exception):
    """They cannot be read or written now."""


class Objects(Protocol):
    """Where they are kept.  Every method raises ``ObjectsUnavailable``; what it was to store is then stored or not."""

    async def begin(self, thing: Thing) -> Thing:
        """Store a message that is about to be asked; what is stored already under its key, or of another message about its session."""

    async def know(self, thing: Thing) -> None:
        """Store what is known of it now: ids that are not empty, state, and that it is undone."""

    async def take(self, thing: Thing) -> Thing | None:
        """Begin the capture or cancellation of a charge of the payment that holds and that no other message has taken: the row, with that
        charge; the same one when it is asked again.  ``None``: no charge holds."""

    async def release(self, thing: Thing) -> None:
        """Forget a message that certainly was never carried out: what it took is free again."""

    async def of_payment(self, merchant: str, payment_id: int) -> list[Thing]:
        """Everything of a payment, the oldest first."""

    async def named(self, merchant: str, object_id: str) -> list[Thing]:
        """The messages about the session, charge, refund or permission of this name."""
