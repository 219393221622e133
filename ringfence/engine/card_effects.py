"""What outcomes change in the vault, in the same commit: first references, blocks, tokens that were asked for or proved.

A token that was asked for may not come about: its name was given away meanwhile, or the card has its token already where there is only
to be one.  What is told of the payment then says so, now and later.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, is_hard
from ringfence.engine.intents import CardInHand, Ended, Intent, Reserved
from ringfence.engine.vault import StoredCard
from ringfence.storage import cards
from ringfence.storage import tokens as token_rows

_FIRST_KINDS = (Kind.AUTHORIZATION, Kind.PURCHASE)
_CARDHOLDER = Initiation.CARDHOLDER


class Wanted(NamedTuple):
    """A token that an approved payment was to make.  Sorted by merchant and name."""

    merchant_id: int
    name: str
    card_id: int
    expiry: str
    holder: str
    one_token: bool
    payment_id: int
    operation_id: int
    actor: str
    reference: str


class CardEffects(NamedTuple):
    """Rows per statement; false where nothing changes."""

    references: list[tuple[int, int, str]]              # merchant, card, scheme reference
    blocks: list[tuple[int, int, str]]                  # merchant, card, the decline
    tokens: list[Wanted]
    paid: list[tuple[int, str, int, str]]               # merchant, name, card, reference: by a payment of a tokenization
    declines: list[tuple[int, int, int]]                # merchant, card, operation: of payments that the merchant began by itself

    @classmethod
    def of(cls, messages: Sequence[object]) -> CardEffects | None:
        """The effects of a batch.  Only the payments of cardholders prove a card, and only those that were wholly approved."""
        effects = cls([], [], [], [], [])
        for message in messages:
            if type(message) is Ended:
                reserved, outcome, _ = message
                intent = reserved.intent
                card = intent.card
                if card is not None and (stored := card.stored) is not None and reserved.operation.kind in _FIRST_KINDS:
                    effects._add(reserved, outcome, intent, card, stored)
        return effects if any(effects) else None

    def _add(self, reserved: Reserved, outcome: Outcome, intent: Intent, card: CardInHand, stored: StoredCard) -> None:
        _, operation, _, row, _, _ = reserved
        if type(outcome) is Approved and outcome.minor == operation.minor:
            if outcome.scheme_reference and not stored.first_reference and intent.initiation is _CARDHOLDER:
                self.references.append((stored.merchant_id, stored.card_id, outcome.scheme_reference))
            if card.keep_as:
                self.tokens.append(Wanted(
                    stored.merchant_id, card.keep_as, stored.card_id, card.expiry, card.holder, card.one_token, intent.payment_id,
                    operation.id, intent.actor, intent.reference or ""))
            elif row.token_version is not None and (card.token is None or card.token.in_flow):      # whoever recovers has no token in hand
                self.paid.append((stored.merchant_id, row.token_name or "", stored.card_id, intent.reference or ""))
        elif type(outcome) is Declined and intent.initiation is not _CARDHOLDER:
            self.declines.append((stored.merchant_id, stored.card_id, operation.id))
            if is_hard(outcome):
                self.blocks.append((stored.merchant_id, stored.card_id, outcome.advice or outcome.response_code))

    async def apply(self, connection: asyncpg.Connection, now: datetime) -> dict[int, str]:
        """Write them; the cards are held in key order before anything is changed, so that two lanes cannot embrace.

        Which operations made another token than they were to, or none (""), by their ids.
        """
        touched = {one[:2] for one in (*self.references, *self.blocks)} | {(one[0], one[2]) for one in (*self.tokens, *self.paid)}
        if touched:
            await cards.lock_cards(connection, sorted(touched))
        if self.references:
            await cards.note_first_references(connection, sorted(self.references))
        if self.blocks:
            await cards.block_cards(connection, sorted(self.blocks))
        if self.declines:
            await cards.note_declines(connection, sorted(self.declines), now)
        if self.paid:
            await token_rows.settle(connection, sorted(set(self.paid)))
        return await _make(connection, sorted(self.tokens), now) if self.tokens else {}


async def _make(connection: asyncpg.Connection, wanted: Sequence[Wanted], now: datetime) -> dict[int, str]:
    """Make the tokens; what differs from what was wanted, by operation."""
    single = {(one.merchant_id, one.card_id) for one in wanted if one.one_token}
    standing: dict[tuple[int, int], str] = {}
    if single:
        standing = {key: one.token_name for key, one in (await token_rows.standing_for(connection, sorted(single))).items()}
    was_there, fresh, named = set(standing), [], {}
    for one in wanted:
        if one.one_token:
            named[one.operation_id] = standing.setdefault((one.merchant_id, one.card_id), one.name)
        if named.get(one.operation_id, one.name) == one.name:
            fresh.append(one)
    made = await cards.insert_tokens(connection, [one[:5] for one in fresh], now) if fresh else set()
    asked = Counter(one[:2] for one in fresh)
    if doubtful := sorted(name for name, times in asked.items() if times > 1 or name not in made):
        there = await token_rows.cards_named(connection, doubtful)
        for one in wanted:
            name = one.merchant_id, named.get(one.operation_id, one.name)
            if name in asked and there.get(name, one.card_id) != one.card_id:
                named[one.operation_id] = ""
        missing = set(doubtful) - there.keys()              # the card was erased in this moment
        named |= {one.operation_id: "" for one in fresh if one[:2] in missing}
    await _met([one for one in wanted if one.one_token and (one.merchant_id, one.card_id) in was_there], named, connection, now)
    others = [(one, named[one.operation_id]) for one in wanted if named.get(one.operation_id, one.name) != one.name]
    if others:
        await token_rows.correct(connection, [(one.merchant_id, one.payment_id, one.operation_id, name or None) for one, name in others])
    return {one.operation_id: name for one, name in others}


async def _met(wanted: Sequence[Wanted], named: dict[int, str], connection: asyncpg.Connection, now: datetime) -> None:
    """Cards that had their token already were paid with: it is there to stay, and what happened is noted."""
    if not wanted:
        return
    facts = {(one.merchant_id, named[one.operation_id]): (one.card_id, one.expiry, one.holder) for one in wanted}
    await token_rows.refresh(connection, [(*key, *fact) for key, fact in sorted(facts.items())])
    await token_rows.note(connection, [
        (one.merchant_id, named[one.operation_id], one.card_id, "found", one.actor, one.reference) for one in wanted], now)
