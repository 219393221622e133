"""The seam to the issuers' access control: one protocol that the simulator and a real 3DS server speak.

An authenticator is asked whether a card takes part (at once, from what it has cached of the directory's ranges), asked to authenticate, and
looked at for results: the result message of a challenge comes to it from server to server, never by way of a browser.  It keeps its own time
limits and never raises for what a network did.  It knows nothing of payments' lives, of doors or of the ledger.
"""
from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from ringfence.core.authentication import VERSIONS, Status
from ringfence.core.card import Pan
from ringfence.processors.processor import Ask

NO_PREFERENCE, MANDATED = "01", "04"
"""``threeDSRequestorChallengeInd``: what we ask for.  Mandated after an issuer's soft decline (1A, 65), or where a merchant insists."""


class AuthenticationRequest(NamedTuple):
    """AReq: one card, one amount (minor units of ``currency``).  ``reference`` is our own transaction id, the same in every message about it."""

    reference: str
    pan: Pan
    expiry: str                     # YYMM
    minor: int
    currency: str
    merchant: str                   # its identifier, and
    merchant_name: str              # the name that the payer is shown
    language: str                   # en, ar
    indicator: str                  # see NO_PREFERENCE
    at: datetime                    # business time, UTC
    deadline: datetime              # wall time, UTC: an answer after it is worthless
    magic: bool = False             # sandbox: amounts may choose the outcome


class Said(NamedTuple):
    """ARes, and for a challenge its end in RReq.

    ``version`` is the newest of ``VERSIONS`` that the issuer speaks too, and the same in every message of one authentication.

    ``acs_id`` names the challenge at the issuer; ``cancelled`` is ``challengeCancel``; ``page`` is an address of the issuer's own where it
    has one, "" where its page is ours (the simulator's).
    """

    status: Status
    reason: str = ""                # transStatusReason
    eci: str = ""
    cavv: str = ""
    ds_id: str = ""
    version: str = ""
    acs_id: str = ""
    cancelled: str = ""
    page: str = ""


class Authenticator(Protocol):
    """See the module."""

    def takes_part(self, message: Ask) -> bool:
        """Whether the card's issuer can be asked about this payment.  Never waits: it stands in the way of every payment."""

    async def authenticate(self, request: AuthenticationRequest) -> Said:
        """ARes by the request's deadline; ``Status.ERROR`` where there is none."""

    async def result(self, acs_id: str, at: datetime) -> Said | None:
        """RReq of a challenge, once it is there; ``at`` is business time."""


class Screen(NamedTuple):
    """What the simulated issuer shows to a payer.

    ``kind``: ``decide`` (approve, reject, one-time password), ``method`` (pass by), ``elsewhere`` (decide in the bank's application) or ``done``
    (the browser may go back; ``status`` is what it carries, which proves nothing).  Amounts are minor units.
    """

    kind: str
    scenario: str
    merchant_name: str
    card: str                       # masked
    minor: int
    currency: str
    language: str
    reference: str
    problem: str = ""               # "wrong_code" after a wrong one-time password
    tries_left: int = 3
    status: str = ""
    version: str = VERSIONS[0]


class AccessControl(Protocol):
    """The simulated issuer's pages.  Every action is decided once, whoever sends it and however often."""

    async def look(self, acs_id: str, at: datetime) -> Screen | None:
        """What the payer's browser is shown now; the first look is its first sign of life."""

    async def act(self, acs_id: str, action: str, code: str, at: datetime) -> Screen | None:
        """The payer did something: ``approve``, ``reject``, ``nothing``, ``cancel``, ``code`` (with the one-time password), ``method``."""
