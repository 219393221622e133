"""Making tokens: what a card that is presented means for the tokens that are there.

Decides, under the card's lock, whether a new token is made, one that is there gets the card, or the card has its token already.  Where a
merchant wants one token for a card (``unique``), that is the oldest one switched on, whoever presents the card and under whatever name;
the lock makes whoever comes at the same moment see it.  Refuses to know doors and codes.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.storage import tokens as rows
from ringfence.storage.tokens import FlowRow

TRIES = 10
"""How often a name is made up, or a token looked for, that somebody else changes in the same moment."""


class Flow(NamedTuple):
    """The tokenization that a token is made by, before its payment.

    ``reference`` is the order's, ``id`` a new one: a security code waits under ``attempt``.  ``seconds`` (business time) until a
    token that no payment succeeded with is retired.
    """

    reference: str
    id: int
    seconds: int
    code_waits: bool = False
    remembers: bool = True
    return_url: str = ""

    @property
    def attempt(self) -> str:
        """What the code box knows the code by."""
        return attempt_of(self.id)


class Presented(NamedTuple):
    """A card presented to get a token.  ``expiry`` is YYMM, ``name`` ``None`` for one that we make up; ``source`` who presented it."""

    merchant_id: int
    card_id: int
    name: str | None
    expiry: str
    holder: str
    unique: bool = False
    flow: Flow | None = None            # None: the token is there to stay
    source: str = ""
    reference: str = ""


class Made(NamedTuple):
    """The token that stands for the card, and whether it is a new one."""

    name: str
    created: bool


class NameTaken(NamedTuple):
    """The merchant has a token of that name already."""

    name: str


class CardErased(NamedTuple):
    """Nothing but brand and digits is left of the card; kept again, its number gets another record."""

    card_id: int


def attempt_of(tokenization_id: int) -> str:
    """What the code box knows a tokenization's code by."""
    return f"tokenization:{tokenization_id}"


async def make(connection: asyncpg.Connection, asked: Presented, now: datetime, new_name: Callable[[], str]) -> Made | NameTaken | CardErased:
    """The token for a card, in the caller's transaction: it holds the card until the commit.  ``now``: business time."""
    merchant_id, card_id, flow = asked.merchant_id, asked.card_id, asked.flow
    if not await rows.hold_card(connection, merchant_id, card_id):
        return CardErased(card_id)
    until = None if flow is None else now + timedelta(seconds=flow.seconds)
    for _ in range(TRIES):
        made = await _made(connection, asked, until, now, new_name)
        if made is not None:
            break
    else:
        raise RuntimeError(f"no token could be made for card {card_id}")
    if isinstance(made, Made) and flow is not None:
        await rows.keep_flow(connection, merchant_id, flow.reference, FlowRow(
            made.name, flow.id, card_id, asked.expiry, asked.holder, flow.code_waits, flow.remembers, flow.return_url), now)
    return made


async def _made(
    connection: asyncpg.Connection, asked: Presented, until: datetime | None, now: datetime, new_name: Callable[[], str],
) -> Made | NameTaken | None:
    """One try; ``None`` where somebody else was quicker."""
    merchant_id, card_id, name, expiry, holder, unique, flow, *_ = asked
    own = (await rows.standing_for(connection, [(merchant_id, card_id)])).get((merchant_id, card_id)) if unique else None
    if own is not None and name != own.token_name:
        if name and await rows.cards_named(connection, [(merchant_id, name)]):
            return NameTaken(name)
        if not await rows.meet(connection, merchant_id, own.token_name, card_id, expiry, holder, until):
            return None
        await _note(connection, asked, own.token_name, "found", now)
        return Made(own.token_name, created=False)
    chosen = name or new_name()
    if await rows.make(connection, merchant_id, chosen, card_id, expiry, holder, now, until):
        return Made(chosen, created=True)
    if not name:
        return None
    if flow is None:
        return NameTaken(name)
    await rows.replace(connection, merchant_id, name, card_id, expiry, holder, until)
    await _note(connection, asked, name, "updated", now)
    return Made(name, created=False)


async def _note(connection: asyncpg.Connection, asked: Presented, name: str, event: str, now: datetime) -> None:
    await rows.note(connection, [(asked.merchant_id, name, asked.card_id, event, asked.source, asked.reference)], now)
