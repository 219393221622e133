"""Page sessions: what is to be paid or kept on a page, who may open it, and what became of it.

A session is found by a secret in its address (128 bits, kept as a hash only).  One attempt at a time: the database decides which, so any
worker serves any step, and a form sent twice pays once.  Decides when a session may be taken up again and when another takes its place;
refuses to know cards, and how an attempt ended.  It is the door's function that says so (see ``Cashier``).
"""
from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from ringfence.engine.browser import Goto, Way
from ringfence.storage import sessions as rows
from ringfence.storage.sessions import SessionRow

PAYMENT, TOKENIZATION = "payment", "tokenization"
PATH = "/pay/"
IN_HAND = ("trying", "challenged")
"""States of a session in which an attempt is under way."""
RACES = 5
"""How often opening is tried again because somebody else opened at the same moment."""


class Asked(msgspec.Struct, frozen=True):
    """What a page is opened for.  ``given`` is what the door needs to make its request again: no card data, no signature.

    ``minor`` is in minor units of ``currency``, 0 for a card that is only kept.  ``return_url`` "": the page says itself how it ended.
    ``remember``: whether the payer's card is kept, ``None`` where it is the payer's choice.  ``payment_options``: brands, none for all.
    """

    given: dict[str, str]
    language: str
    minor: int = 0
    currency: str = ""
    description: str = ""
    return_url: str = ""
    token_name: str = ""
    remember: bool | None = None
    payment_options: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """How a session ended, in the door's own words: a code, and what its answer holds beyond what it repeats."""

    code: str
    fields: dict[str, str] = {}


class Session(NamedTuple):
    """A session as it stands.  ``state`` is open, trying, challenged, done or cancelled; ``is_late``: its time is up (only while open)."""

    merchant_id: int
    session_id: int
    door: str
    purpose: str
    reference: str
    asked: Asked
    payment_link_id: int | None
    state: str
    attempts: int
    payment_id: int | None
    problem: str
    answer: Answer | None
    tried_at: datetime | None           # wall time
    is_late: bool
    path: str


class Taken(NamedTuple):
    """The reference has a session for something else, in which something was tried."""

    reference: str


@dataclass(frozen=True, slots=True, repr=False)
class Typed:
    """What a payer typed into the card form, blanks around it removed; the number without its spaces.  Prints nothing of it.

    ``saved``: the card that the shop knows is meant, and only ``code`` was asked for.
    """

    number: str = ""
    month: str = ""
    year: str = ""
    code: str = ""
    holder: str = ""
    remember: bool = False
    saved: bool = False

    def __repr__(self) -> str:
        return "Typed(…)"


class SavedCard(NamedTuple):
    """A card that the shop offers to a returning payer; ``expiry`` is YYMM or ""."""

    brand: str
    masked: str
    expiry: str


class Form(NamedTuple):
    """What the card form shows beside the session itself.

    ``asks_to_remember``: whether the payer may choose, and what is chosen before.  ``goes_back``: whether the browser leaves for the shop in
    the end; else our own page says it.
    """

    merchant_name: str
    saved: SavedCard | None
    asks_to_remember: bool
    remembers: bool
    framed_by: tuple[str, ...]
    is_test: bool
    goes_back: bool


class Ending(NamedTuple):
    """How it ended where no shop says so: ``paid``, ``kept``, ``declined``, ``unknown``, ``cancelled``, ``expired``, or ``elsewhere`` (the
    order was paid, or is being paid, without this page)."""

    how: str


class Cashier(NamedTuple):
    """What a door does for its pages.

    ``form``: ``None`` where the account is no longer there.  ``check``: what is wrong with what was typed, a word for each field.
    ``attempt``: one attempt, with a form made when so many were behind; where to go next, always inside our origin or to the bank.
    ``settle``: look what became of an attempt, and note it; with ``is_stale`` an attempt that nobody was asked for is over.
    ``cancel``: the payer gave up; false where it was too late for that.  ``ending``: how an ended session (also a late one) is told.
    """

    form: Callable[[Session], Awaitable[Form | None]]
    check: Callable[[Session, Typed], Awaitable[Mapping[str, str]]]
    attempt: Callable[[Session, Typed, int], Awaitable[Way]]
    settle: Callable[[Session, bool], Awaitable[None]]
    cancel: Callable[[Session], Awaitable[bool]]
    ending: Callable[[Session], Way | Ending]


Finish = Callable[[int, int], Awaitable[Way | Ending | None]]
"""Merchant and payment whose challenge ended -> where the payer's browser goes, or how it ended where it has nowhere to go; ``None`` where
nobody knows that payment."""


def finishing(sessions: Sessions, cashier: Cashier, otherwise: Finish) -> Finish:
    """Where a browser goes from its bank: back to the page, where the payment was tried on one (it says how it ended, or asks for another
    card), else by ``otherwise``."""
    async def finish(merchant_id: int, payment_id: int) -> Way | Ending | None:
        session = await sessions.of_payment(merchant_id, payment_id)
        if session is None:
            return await otherwise(merchant_id, payment_id)
        if session.state in IN_HAND:
            await cashier.settle(session, False)
        return Goto(session.path)

    return finish


_ENCODE = msgspec.json.Encoder().encode
_ASKED = msgspec.json.Decoder(Asked).decode
_ANSWER = msgspec.json.Decoder(Answer).decode


class Sessions:
    """The page sessions, as one process reaches them."""

    def __init__(self, pool: asyncpg.Pool, *, key: bytes, new_id: Callable[[], int], now: Callable[[], datetime]) -> None:
        """``key`` makes the secrets of addresses and what is bound to them; ``now`` is business time."""
        self._pool, self._key, self._new_id, self._now = pool, key, new_id, now

    async def open(
        self, merchant_id: int, door: str, reference: str, asked: Asked, *, seconds: int, purpose: str = PAYMENT,
        payment_link_id: int | None = None,
    ) -> Session | Taken:
        """The session for what is asked, open for ``seconds`` of business time from now.

        The same again resumes it where it is open, and goes on where the payer had given up or was too late; one that is done stays so.
        Another thing under the same reference takes its place while nothing was tried.  Raises ``DatabaseUnavailable``.
        """
        written, expires_at = _ENCODE(asked), self._now() + timedelta(seconds=seconds)
        content = self._digest(b"content", written, 32)
        for _ in range(RACES):
            session_id = self._new_id()
            row = SessionRow(
                merchant_id, session_id, door, purpose, reference, content, hashlib.sha256(self._secret(merchant_id, session_id)).digest(),
                written, payment_link_id, "open", 0, None, "", None, self._now(), expires_at, None)
            if await rows.insert(self._pool, row):
                return self._session(row)
            found = await rows.by_reference(self._pool, merchant_id, door, purpose, reference)
            if found is None:
                continue
            same, over = found.content == content, found.state == "cancelled" or (found.state == "open" and found.expires_at <= self._now())
            if (found.state == "done" and purpose == TOKENIZATION) or (not same and not found.attempts):
                if await rows.replace(self._pool, found.session_id, row):
                    return self._session(row)
            elif not same:
                return Taken(reference)
            elif not over:
                return self._session(found)
            elif await rows.reopen(self._pool, merchant_id, found.session_id, expires_at):
                return self._session(found._replace(state="open", answer=None, expires_at=expires_at))
        return Taken(reference)

    async def at(self, address: str) -> Session | None:
        """The session at the last part of a page's address; ``None`` for what is none."""
        try:
            octets = base64.b64decode(address + "=", b"-_", validate=True) if len(address) == ADDRESS_LENGTH else b""
        except (binascii.Error, ValueError):
            return None
        if len(octets) != ADDRESS_OCTETS:
            return None
        merchant_id = int.from_bytes(octets[:4], "big")
        if merchant_id >= 1 << 31:
            return None
        row = await rows.by_token(self._pool, merchant_id, hashlib.sha256(octets[4:]).digest())
        return row and self._session(row)

    async def of_payment(self, merchant_id: int, payment_id: int) -> Session | None:
        """The session that a payment is the latest attempt of."""
        row = await rows.by_payment(self._pool, merchant_id, payment_id)
        return row and self._session(row)

    async def of_reference(self, merchant_id: int, door: str, purpose: str, reference: str) -> Session | None:
        """The session of a reference."""
        row = await rows.by_reference(self._pool, merchant_id, door, purpose, reference)
        return row and self._session(row)

    async def begin(self, session: Session, attempts: int, payment_id: int) -> bool:
        """Take the place of the one attempt, with a form that was made when ``attempts`` were behind."""
        return await rows.begin(self._pool, session.merchant_id, session.session_id, attempts, payment_id, self._now())

    async def challenge(self, session: Session, payment_id: int) -> bool:
        """The payer's bank asks."""
        return await rows.challenge(self._pool, session.merchant_id, session.session_id, payment_id)

    async def fail(self, session: Session, payment_id: int, problem: str, *, counts: bool = True) -> bool:
        """The attempt paid nothing; ``counts``: somebody was asked for it, so its key is used up."""
        return await rows.fail(self._pool, session.merchant_id, session.session_id, payment_id, problem, counts)

    async def finish(self, session: Session, payment_id: int, answer: Answer) -> bool:
        """The attempt ended the session."""
        return await rows.finish(self._pool, session.merchant_id, session.session_id, payment_id, _ENCODE(answer))

    async def cancel(self, session: Session, answer: Answer) -> bool:
        """The payer gave up; false while an attempt is in hand, and once it ended."""
        return await rows.cancel(self._pool, session.merchant_id, session.session_id, _ENCODE(answer))

    async def forget(self, merchants: Sequence[int], before: datetime, limit: int = 1_000) -> int:
        """Delete sessions that were over before an instant (business time); how many."""
        return await rows.forget(self._pool, merchants, before, limit)

    def mark(self, session: Session) -> str:
        """What a form of this session carries, so that no other page can send it (CSRF)."""
        return self._digest(b"form", session.merchant_id.to_bytes(4, "big") + session.session_id.to_bytes(8, "big"), 16).hex()

    def _session(self, row: SessionRow) -> Session:
        octets = row.merchant_id.to_bytes(4, "big") + self._secret(row.merchant_id, row.session_id)
        return Session(
            row.merchant_id, row.session_id, row.door, row.purpose, row.reference, _ASKED(row.asked), row.payment_link_id, row.state,
            row.attempts, row.payment_id, row.problem, None if row.answer is None else _ANSWER(row.answer), row.tried_at,
            row.state == "open" and row.expires_at <= self._now(), PATH + base64.urlsafe_b64encode(octets).rstrip(b"=").decode())

    def _secret(self, merchant_id: int, session_id: int) -> bytes:
        """The secret in a session's address: made from a key that the database does not have, so that its rows alone open no page."""
        return self._digest(b"address", merchant_id.to_bytes(4, "big") + session_id.to_bytes(8, "big"), 16)

    def _digest(self, purpose: bytes, octets: bytes, size: int) -> bytes:
        """BLAKE2b (RFC 7693) under the key, apart for each purpose."""
        return hashlib.blake2b(octets, key=self._key[:64], person=purpose, digest_size=size).digest()


ADDRESS_OCTETS = 4 + 16
ADDRESS_LENGTH = 27
"""The octets in base 64 without padding."""
