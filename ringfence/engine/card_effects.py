"""What outcomes change in the vault, in the same commit: first references, blocks, tokens that were asked for."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, is_hard
from ringfence.engine.intents import Ended, Reserved
from ringfence.storage import cards

_FIRST_KINDS = (Kind.AUTHORIZATION, Kind.PURCHASE)


class CardEffects(NamedTuple):
    """Rows per statement; false where nothing changes."""

    references: list[tuple[int, int, str]]              # merchant, card, scheme reference
    blocks: list[tuple[int, int, str]]                  # merchant, card, the decline
    tokens: list[tuple[int, str, int, str, str]]        # merchant, name, card, expiry, holder

    @classmethod
    def of(cls, messages: Sequence[object]) -> CardEffects | None:
        """The effects of a batch.  Only the payments of cardholders prove a card, and only those that were wholly approved."""
        effects = cls([], [], [])
        for message in messages:
            if type(message) is Ended:
                effects._add(message[0], message[1])
        return effects if any(effects) else None

    def _add(self, reserved: Reserved, outcome: Outcome) -> None:
        intent, operation, *_ = reserved
        card = intent.card
        stored = card.stored if card is not None else None
        if stored is None or operation.kind not in _FIRST_KINDS:
            return
        if type(outcome) is Approved and outcome.minor == operation.minor:
            if outcome.scheme_reference and not stored.first_reference and intent.initiation is Initiation.CARDHOLDER:
                self.references.append((stored.merchant_id, stored.card_id, outcome.scheme_reference))
            if card.keep_as:
                self.tokens.append((stored.merchant_id, card.keep_as, stored.card_id, card.expiry, card.holder))
        elif type(outcome) is Declined and intent.initiation is not Initiation.CARDHOLDER and is_hard(outcome):
            self.blocks.append((stored.merchant_id, stored.card_id, outcome.advice or outcome.response_code))

    async def apply(self, connection: asyncpg.Connection, now: datetime) -> None:
        """Write them; the cards are held in key order before anything is changed, so that two lanes cannot embrace."""
        touched = {one[:2] for one in (*self.references, *self.blocks)} | {(one[0], one[2]) for one in self.tokens}
        await cards.lock_cards(connection, sorted(touched))
        if self.references:
            await cards.note_first_references(connection, sorted(self.references))
        if self.blocks:
            await cards.block_cards(connection, sorted(self.blocks))
        if self.tokens:
            await cards.insert_tokens(connection, sorted(self.tokens), now)
