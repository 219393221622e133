"""Challenges whose payers do not come back: looked after until they end.  What follows is ``engine.challenges``' to know."""
from __future__ import annotations

from ringfence.background.worker import Queue
from ringfence.engine.challenges import Challenges
from ringfence.storage.authentications import CHALLENGE

AT_ONCE, PER_MERCHANT = 32, 8
"""Looks in flight together, and of one merchant."""


def queue(challenges: Challenges) -> Queue:
    """Every challenge in its time."""
    return Queue(CHALLENGE, challenges.attempt, at_once=AT_ONCE, per_merchant=PER_MERCHANT)
