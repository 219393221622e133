"""Recurring purchases of one sort, as columns: what all of them share is said once, by a model, and what is a row's own stands in lists.

``decide`` remains what says whether a payment may begin: it is asked of the row with the least amount and of the one with the largest, and
what it says holds for those between, because between two rows of a sort nothing differs that it looks at but the amount, and amounts are
refused below one limit and above another.  A test asks it of every row.  Each row can be had as the intent it is, for whoever must treat
it alone.  Refuses to know lanes and statements.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import NamedTuple

from msgspec.structs import replace

from ringfence.core.card import Pan
from ringfence.core.commands import Command, Initiation, Kind
from ringfence.core.payment import Decision, Payment, decide
from ringfence.core.refusals import Refusal
from ringfence.engine.asking import ask
from ringfence.engine.intent_lane import operation_row
from ringfence.engine.intents import CardInHand, Intent, Reserved, processor_key
from ringfence.processors.processor import Ask
from ringfence.storage.payments import Held

_ask = partial(tuple.__new__, Ask)


class Sheet(NamedTuple):
    """Intents that differ from ``model``, the first of them, in these columns only; operation and payment have one id, ``ids`` ascend.

    ``lines`` are those of the file, ``masked`` and ``expiries`` what is told of the cards.
    """

    model: Intent
    lines: Sequence[int]
    ids: Sequence[int]
    minors: Sequence[int]
    references: Sequence[str]
    keys: Sequence[str]
    contents: Sequence[bytes]
    details: Sequence[bytes]
    cards: Sequence[CardInHand]             # each with its token, which is there to stay
    masked: Sequence[str]
    expiries: Sequence[str]

    def only(self, places: Sequence[int]) -> Sheet:
        """The rows at these places."""
        columns = ([column[place] for place in places] for column in self[1:])
        return Sheet(self.intent(places[0]), *columns)

    def intent(self, place: int) -> Intent:
        """One of them by itself."""
        operation_id = self.ids[place]
        return replace(
            self.model, payment_id=operation_id, command=self.model.command._replace(minor=self.minors[place], operation_id=operation_id),
            content=self.contents[place], reference=self.references[place], key=self.keys[place], details=self.details[place],
            card=self.cards[place])

    def reserved(self, place: int, deadline: datetime, asked_at: datetime) -> Reserved:
        """One of them as it is stored; it was looked at by ``may_begin``."""
        return _begun(self.intent(place), deadline, asked_at)

    def rows(self) -> Iterable[tuple]:
        """What is each row's own of the intents that are stored, see ``storage.alike``."""
        tokens = [card.token for card in self.cards]
        return zip(
            self.ids, self.minors, self.references, self.keys, self.contents, self.details, [card.stored.card_id for card in self.cards],
            [token.name for token in tokens], [token.version for token in tokens], strict=True)     # type: ignore[union-attr]

    def messages(self, pans: Sequence[Pan | None], deadline: datetime, now: datetime) -> list[Ask]:
        """What is said to the processor of each."""
        model = ask(self.reserved(0, deadline, now), now, pans[0])
        same = [repeat(value) for value in model]
        cited = [card.stored.first_reference for card in self.cards]                                # type: ignore[union-attr]
        own = {
            "key": map(processor_key, self.ids), "minor": self.minors, "payment_id": self.ids, "operation_id": self.ids, "pan": pans,
            "expiry": [card.expiry for card in self.cards], "cited_reference": cited,
        }
        return list(map(_ask, zip(*(own.get(name, shared) for name, shared in zip(Ask._fields, same, strict=True)), strict=False)))


def may_be_of_one_sort(intent: Intent) -> bool:
    """Whether an intent can be the model of a sheet: a payment that the merchant begins, with a token that no payment has to prove."""
    card = intent.card
    return (
        intent.command.kind is Kind.PURCHASE and intent.initiation is not Initiation.CARDHOLDER and card is not None
        and card.stored is not None and card.token is not None and not card.token.in_flow and not card.keep_as
        and intent.demand is None and intent.redirect is None and not intent.never_asked and not intent.resubmitted and intent.key is not None)


def may_begin(sheet: Sheet, now: datetime) -> bool:
    """Whether ``decide`` accepts every row."""
    return all(
        type(_verdict(sheet.model.command._replace(minor=minor), now)) is Decision for minor in (min(sheet.minors), max(sheet.minors)))


def _verdict(command: Command, now: datetime) -> Decision | Refusal:
    return decide(Payment(command.operation_id, command.currency), command, now)


def _begun(intent: Intent, deadline: datetime, asked_at: datetime) -> Reserved:
    verdict = _verdict(intent.command, asked_at)
    assert type(verdict) is Decision and verdict.operation is not None, "every row was accepted"
    return Reserved(
        intent, verdict.operation, Held(verdict.payment, 0, None, None), operation_row(intent, verdict.operation, intent.key), deadline, asked_at)
