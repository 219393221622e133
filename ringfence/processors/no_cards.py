"""What stands where issuers would, in an installation that takes no cards: wallets alone.

The doors refuse cards before anything is stored; what should reach here all the same is never asked of anybody, and that is the answer.
"""
from __future__ import annotations

from datetime import date, datetime, time

from ringfence.core.authentication import Status
from ringfence.core.outcomes import NotAsked, Outcome, Silence, Unknown
from ringfence.processors.authenticator import AuthenticationRequest, Said, Screen
from ringfence.processors.processor import Ask, Capabilities

NAME = "none"
WHY = "no_processor"
"""Why nobody was asked."""


class NoCards:
    """A processor of nothing.  Its business day is that of what nobody is asked about."""

    name = NAME
    capabilities = Capabilities(False, False, False, False, time(0), "UTC")

    async def ask(self, message: Ask) -> Outcome:
        """See ``Processor.ask``."""
        return NotAsked(WHY)

    async def inquire(self, message: Ask) -> Outcome:
        """See ``Processor.inquire``."""
        return Unknown(Silence.NO_ANSWER)

    async def reverse(self, message: Ask) -> bool:
        """See ``Processor.reverse``: there is nothing to undo, and nobody who could say so."""
        return False

    async def totals(self, day: date) -> dict[tuple[str, str, str], tuple[int, int]] | None:
        """See ``Processor.totals``."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


class NoAccessControl:
    """Access control of nobody's cards, and the pages that it does not have."""

    def takes_part(self, message: Ask) -> bool:
        """See ``Authenticator.takes_part``."""
        return False

    async def authenticate(self, request: AuthenticationRequest) -> Said:
        """See ``Authenticator.authenticate``."""
        return Said(Status.ERROR)

    async def result(self, acs_id: str, at: datetime) -> Said | None:
        """See ``Authenticator.result``."""
        return None

    async def look(self, acs_id: str, at: datetime) -> Screen | None:
        """See ``AccessControl.look``."""
        return None

    async def act(self, acs_id: str, action: str, code: str, at: datetime) -> Screen | None:
        """See ``AccessControl.act``."""
        return None
