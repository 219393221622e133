"""Authenticating a payer, between the commit of an intent and the question to the issuer of the money.

Asks the card's access control who pays, keeps what it said as an authentication that only this payment may use, and gives the engine either
the message with the proof in it or the outcome: stopped, or a challenge for the payer.  What follows from a status is a table of the core;
what follows a challenge is ``challenges``.  No security code is kept here: it goes to the code box, or the payment ends.
"""
from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.core.authentication import (
    CHALLENGE,
    FIRST_SIGN,
    GOOD_FOR,
    SECURED,
    Ended,
    Mode,
    Status,
    Verdict,
    is_believable,
    verdict,
    why_stopped,
)
from ringfence.core.card import Brand
from ringfence.core.outcomes import Challenge, Declined, NotAsked, Outcome
from ringfence.engine.authentication import Demand
from ringfence.engine.code_box import CodeBox
from ringfence.engine.directory import Directory
from ringfence.engine.intents import Reserved
from ringfence.processors.authenticator import MANDATED, NO_PREFERENCE, AuthenticationRequest, Authenticator, Said
from ringfence.processors.processor import Ask
from ringfence.storage import authentications as rows
from ringfence.storage.authentications import AuthenticationRow
from ringfence.storage.database import DatabaseUnavailable

log = logging.getLogger(__name__)

_REQUIRED = Mode.REQUIRED               # Python 3.11 looks up a member of an enumeration for longer than all of ``concerns`` takes
PAGE = "/3ds/"
"""Below it are the pages of challenges."""
NO_DATABASE = "database"
"""Why a payment was not asked for whose authentication could not be stored."""


class Address(NamedTuple):
    """What the address of a challenge's page says: whose it is, which, and the secret that proves that it was told to the caller."""

    merchant_id: int
    authentication_id: int
    secret: str

    def __str__(self) -> str:
        return f"{self.merchant_id:x}-{self.authentication_id:x}-{self.secret}"

    @property
    def hash(self) -> bytes:
        """What is stored of it (SHA-256; the secret has 128 bits)."""
        return hashlib.sha256(str(self).encode()).digest()


def read_address(text: str) -> Address | None:
    """The address of a page; ``None`` for a text that is none."""
    merchant, _, rest = text.partition("-")
    number, _, secret = rest.partition("-")
    if not (0 < len(merchant) <= 8 and 0 < len(number) <= 16 and 16 <= len(secret) <= 64 and text.isascii()):
        return None
    try:
        found = Address(int(merchant, 16), int(number, 16), secret)
    except ValueError:
        return None
    return found if str(found) == text and found.merchant_id < 2**31 and found.authentication_id < 2**63 else None


SecretOf = Callable[[int, int], str]
"""Merchant and authentication -> the secret in the address of its page: made anew whenever it is wanted, and kept nowhere."""


def secrets_under(key: bytes) -> SecretOf:
    """Secrets of 128 bits that nobody guesses who lacks ``key``: BLAKE2b under it (RFC 7693), in 32 hexadecimal digits."""
    def secret_of(merchant_id: int, authentication_id: int) -> str:
        place = merchant_id.to_bytes(4, "big") + authentication_id.to_bytes(8, "big")
        return hashlib.blake2b(place, key=key[:64], person=b"3ds page", digest_size=16).hexdigest().upper()

    return secret_of


def attempt_name(operation_id: int) -> str:
    """Where a payment's security code waits during its challenge."""
    return f"challenge:{operation_id}"


class Authenticating:
    """Asks access control for one process."""

    def __init__(
        self, pool: asyncpg.Pool, authenticator: Authenticator, code_box: CodeBox, directory: Directory, *, new_id: Callable[[], int],
        secret_of: SecretOf, now: Callable[[], datetime], wall: Callable[[], datetime], seconds: float,
    ) -> None:
        """``now`` is business time, ``wall`` the machine's; ``seconds`` (wall time) is how long access control may think."""
        self._pool, self._authenticator, self._box, self._directory = pool, authenticator, code_box, directory
        self._new_id, self._secret_of, self._now, self._wall, self._seconds = new_id, secret_of, now, wall, seconds

    def concerns(self, demand: Demand, message: Ask) -> bool:
        """Whether anything is to be done for this payment before it is asked for.  Never waits: most payments end here."""
        mode, _, is_ahead, external = demand
        return self._authenticator.takes_part(message) or mode is _REQUIRED or is_ahead > 0 or external is not None

    async def before(self, reserved: Reserved, message: Ask) -> Ask | Outcome:
        """The message with what proves the payer, or what becomes of the payment instead."""
        demand = reserved.intent.demand
        assert demand is not None
        try:
            if demand.external is not None:
                if verdict(Status(demand.external.status), demand.mode) is Verdict.STOP:
                    return NotAsked(Ended.FAILED)
                return message._replace(evidence=demand.external)
            if demand.ahead:
                return await self._with_one_made_ahead(reserved, message, demand.ahead)
            if not self._authenticator.takes_part(message):
                return NotAsked(Ended.FAILED)           # required, and nobody can be asked
            return await self._asked(reserved, message, demand)
        except DatabaseUnavailable:
            log.warning("the authentication for operation %d could not be stored", reserved.operation.id)
            return NotAsked(NO_DATABASE)

    async def again(self, reserved: Reserved, message: Ask, declined: Declined) -> Outcome:
        """Behind an issuer's soft decline: a challenge, should access control have one; else the decline stands.

        The challenge is committed before anything is asked again: from then on it is another message, under a key of its own.
        """
        demand = reserved.intent.demand
        if demand is None or not _wants_authentication(message, declined) or not self._authenticator.takes_part(message):
            return declined
        said = await self.say(self._request(reserved, message, demand, MANDATED))
        pending = verdict(said.status, demand.mode) is Verdict.WAIT
        if not pending and said.status not in SECURED:
            return declined
        row = self._row(reserved, message, demand, said, MANDATED)
        row = row._replace(soft_decline=declined.response_code, ended_at=None, used_by=None)
        try:
            return await self._challenge(reserved, row, in_hand=not pending)
        except DatabaseUnavailable:
            return declined

    async def _with_one_made_ahead(self, reserved: Reserved, message: Ask, authentication_id: int) -> Ask | Outcome:
        """Used in a commit of its own, behind the intent's: from then on no other payment may use it, whatever becomes of this one."""
        merchant_id, operation_id = reserved.intent.merchant_id, reserved.operation.id
        if not await rows.use(self._pool, merchant_id, authentication_id, operation_id, self._now()):
            return NotAsked(Ended.MISUSED)
        row = await rows.load(self._pool, merchant_id, authentication_id)
        assert row is not None, "it was just used"
        return message._replace(evidence=row.evidence)

    async def _asked(self, reserved: Reserved, message: Ask, demand: Demand) -> Ask | Outcome:
        indicator = MANDATED if demand.mode is Mode.REQUIRED else NO_PREFERENCE
        said = await self.say(self._request(reserved, message, demand, indicator))
        row, follows = self._row(reserved, message, demand, said, indicator), verdict(said.status, demand.mode)
        if follows is Verdict.WAIT:
            return await self._challenge(reserved, row)
        await rows.keep(self._pool, row)
        if follows is Verdict.STOP:
            return NotAsked(why_stopped(said.cancelled))
        return message if said.status is Status.ERROR else message._replace(evidence=row.evidence)

    async def _challenge(self, reserved: Reserved, row: AuthenticationRow, *, in_hand: bool = False) -> Outcome:
        """Everything that carrying on will need is put away before anybody is told of the challenge.  ``in_hand``: nobody needs to be."""
        code = reserved.intent.card.security_code if reserved.intent.card else None
        if code is not None and not await self._box.put(row.merchant_id, attempt_name(row.payment_id), code):
            return NotAsked(Ended.CODE_GONE)
        address = Address(row.merchant_id, row.authentication_id, self._secret_of(row.merchant_id, row.authentication_id))
        row = row._replace(has_code=code is not None, token_hash=address.hash)
        await rows.keep(self._pool, row, row.made_at + FIRST_SIGN)
        return Challenge("" if in_hand else f"{PAGE}{address}", str(row.authentication_id))

    async def say(self, request: AuthenticationRequest) -> Said:
        """ARes, within the time that access control has."""
        try:
            async with asyncio.timeout(self._seconds):
                said = await self._authenticator.authenticate(request)
            if is_believable(said.status, said.version):
                return said
            log.warning("access control said %s in version %r of the protocol, which cannot be", said.status, said.version)
        except TimeoutError:
            log.warning("access control did not keep its deadline")
        except Exception:
            log.exception("access control broke its contract")
        return Said(Status.ERROR)

    def _request(self, reserved: Reserved, message: Ask, demand: Demand, indicator: str) -> AuthenticationRequest:
        assert message.pan is not None
        merchant = self._directory.by_id(reserved.intent.merchant_id)
        return AuthenticationRequest(
            f"{message.operation_id}-{indicator}", message.pan, message.expiry, message.minor, message.currency, message.merchant,
            merchant.name if merchant else message.merchant, demand.language, indicator, message.at,
            self._wall() + timedelta(seconds=self._seconds), message.magic,
        )

    def _row(self, reserved: Reserved, message: Ask, demand: Demand, said: Said, indicator: str) -> AuthenticationRow:
        """What is kept of an answer.  One that needs no payer is at its end, and used, if it is used at all, by this payment."""
        card, now = reserved.intent.card, self._now()
        pending = verdict(said.status, demand.mode) is Verdict.WAIT
        proceeds = verdict(said.status, demand.mode) is Verdict.PROCEED
        return AuthenticationRow(
            reserved.intent.merchant_id, self._new_id(), reserved.intent.payment_id, card.stored.card_id if card and card.stored else 0,
            message.minor, message.currency, demand.mode, indicator, "", said.status, said.reason, said.cancelled, said.eci, said.cavv,
            said.ds_id, said.version, said.acs_id, None, False, "", now, now + CHALLENGE, None if pending else now, now + GOOD_FOR,
            None, reserved.operation.id if proceeds else None,
        )


def _wants_authentication(message: Ask, declined: Declined) -> bool:
    """Whether a decline is an issuer's wish to know who pays: 1A, and of Mastercard 65; from nobody who has seen a proof already."""
    if message.pan is None or (message.evidence is not None and message.evidence.cavv):
        return False
    return declined.response_code == "1A" or (declined.response_code == "65" and message.pan.brand is Brand.MASTERCARD)
