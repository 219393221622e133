"""Batch files in the background: looked through and ended by one process at a time, carried out by all of them.

Which process does what needs no lease where rows are taken: the commit that stores their intents is the claim (see
``engine.batch_carrier``).
"""
from __future__ import annotations

from ringfence.background.worker import Chore
from ringfence.engine.batch_carrier import Carrier
from ringfence.engine.batches import CARRIER, CHORE, Batches

PAUSE, FORGET_PAUSE = 0.5, 600.0
"""Seconds from one look to the next; the process that takes a file in, or lets one go, looks at once."""


def chore(desk: Batches) -> Chore:
    """Looks through what was handed in, and ends what has ended."""
    return Chore(CHORE, desk.look, PAUSE, alone=False)


def carrying(carrier: Carrier, pause: float) -> Chore:
    """Carries rows out; ``pause`` in seconds (wall time) while there are none."""
    return Chore(CARRIER, carrier.run, pause, alone=False)


def forgetting(desk: Batches) -> Chore:
    """Erases rows of files that ended long ago."""
    return Chore("old batch rows", desk.forget, FORGET_PAUSE)
