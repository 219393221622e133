"""Expiry: authorizations that were neither captured nor given back in time.

Every process looks for them: the reservation of a void is what claims a hold, so that any number of them may (see
``engine.bulk``).  One with a capture in flight or in doubt waits.
"""
from __future__ import annotations

from ringfence.background.worker import Chore
from ringfence.engine.bulk import Expirer

NAME = "expiry"


def chore(expirer: Expirer, pause: float) -> Chore:
    """The sweep, ``pause`` seconds (wall time) after the last one ended."""
    return Chore(NAME, expirer.sweep, pause, alone=False)
