"""The counter where intents are committed: keys claimed, amounts reserved.

New payments are one statement for the whole batch.  Operations on existing payments are loaded and locked in key order,
decided in turn and saved, in the same transaction.  No processor is asked here.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import asyncpg
from msgspec.structs import replace

from ringfence.core.events import Event
from ringfence.core.payment import FIRST, Decision, Operation, Payment, decide
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import Earlier, Intent, Reserved, Result
from ringfence.engine.lane import Lane
from ringfence.storage import alike
from ringfence.storage import payments as rows
from ringfence.storage.payments import EventRow, Held, Key, Keyed, OperationRow

DUPLICATE_WINDOW = timedelta(seconds=60)
"""Two captures or refunds with one content within this time raise ``possible_duplicate``."""

# All fields at once, at a third of the price of a call.
_row, _reserved, _payment, _held = (partial(tuple.__new__, kind) for kind in (OperationRow, Reserved, Payment, Held))
_NOTHING_YET = tuple(Payment(0, ""))[2:]

CAREFUL_BATCHES = 64
"""After a key that was taken: so many batches are stored in the way that expects more of them."""

FINAL = frozenset({"approved", "declined", "reversed", "not_asked"})


class TokenChanged(NamedTuple):
    """The token is not as it was read: read it again and try once more."""


Reply = Reserved | Result | TokenChanged


class IntentLane:
    """Commits batches of intents on one lane."""

    def __init__(self, lane: Lane, *, now: Callable[[], datetime], ask_seconds: float) -> None:
        """``now``: business time, UTC.  ``ask_seconds``: how long an owner may take to ask and write the outcome."""
        self._lane, self._now, self._ask = lane, now, timedelta(seconds=ask_seconds)
        self._careful = 0

    async def commit(self, intents: Sequence[Intent]) -> list[Reply]:
        """A reply for each intent, in order."""
        batch = IntentBatch(intents, self._now(), self._ask, free=not self._careful)
        replies = await self._lane.run(batch.commit, batch.committed)
        self._careful = CAREFUL_BATCHES if batch.found_taken else max(self._careful - 1, 0)
        return replies


class IntentBatch:
    """One batch on its way through one commit, which may be part of a larger one."""

    def __init__(self, intents: Sequence[Intent], now: datetime, ask: timedelta, *, alike: bool = False, free: bool = False) -> None:
        """``alike``: new payments are stored as ``storage.alike`` does, which raises ``NotAlike`` where one is turned down; the caller
        takes his transaction back then.  ``free``: the keys of new payments are expected to be free; not within a larger commit."""
        self._intents, self._now, self._ask, self._alike, self._free = intents, now, ask, alike, free
        self.found_taken = False                                # a new payment's key
        self._replies: list[Reply | None] = []
        self._claims: list[tuple[OperationRow, int]] = []       # row, place in the batch

    async def commit(self, connection: asyncpg.Connection) -> list[Reply]:
        """A reply for each intent, in order; what they say is true once the transaction is committed."""
        self._replies, self._claims = [None] * len(self._intents), []
        self._deadline = datetime.now(UTC) + self._ask      # of this try: never before its transaction began
        later, begin = [], self._begin
        for place, intent in enumerate(self._intents):
            if intent.command.kind in FIRST:
                begin(place, intent)
            else:
                later.append(place)
        if not later:
            stored = await self._claim(connection, free=self._free)
        else:
            async with connection.transaction():
                stored = await self._claim(connection)
                await self._operate(connection, later)
        return await self._settled(connection, stored)

    async def committed(self, connection: asyncpg.Connection) -> list[Reply] | None:
        """After a lost answer: the batch was stored if any of its operations is there."""
        accepted = [reply for reply in self._replies if isinstance(reply, Reserved)]
        if not accepted or None in self._replies:
            return None
        stored = await rows.present(
            connection, [(one.intent.merchant_id, one.intent.payment_id, one.operation.id) for one in accepted]
        )
        return await self._settled(connection, stored) if stored else None

    def _begin(self, place: int, intent: Intent) -> None:
        """A new payment: nothing to load, so it is decided at once."""
        command = intent.command
        verdict = decide(_payment((intent.payment_id, command[2], *_NOTHING_YET)), command, self._now)
        if type(verdict) is Refusal:
            self._replies[place] = Result(refusal=verdict)
            return
        operation = verdict[1]
        assert operation is not None
        self._accept(place, intent, operation, _held((verdict[0], 0, None, None)), intent.key)

    def _accept(self, place: int, intent: Intent, operation: Operation, held: Held, key: str | None) -> None:
        row = operation_row(intent, operation, key)
        self._replies[place] = _reserved((intent, operation, held, row, self._deadline, self._now))
        self._claims.append((row, place))

    async def _claim(self, connection: asyncpg.Connection, *, free: bool = False) -> set[int]:
        """Store the new payments' intents, in the order of their keys: two lanes cannot embrace."""
        if not self._claims:
            return set()
        claims = sorted([row for row, _ in self._claims], key=_in_key_order)
        if self._alike:
            await alike.claim(connection, claims, self._now, self._deadline)
            return {row[2] for row in claims}
        if free:
            try:
                return await rows.claim_free(connection, claims, self._now, self._deadline)
            except asyncpg.UniqueViolationError:        # nothing was stored
                pass
        return await rows.claim(connection, claims, self._now, self._deadline)

    async def _operate(self, connection: asyncpg.Connection, places: Sequence[int]) -> None:
        """Operations on existing payments: load and lock, decide in turn, save."""
        keys = sorted({_key(self._intents[place]) for place in places})
        held = await rows.lock(connection, keys)
        with_key = sorted({_key(self._intents[place]) for place in places if self._intents[place].key} & held.keys())
        keyed = await rows.keyed(connection, with_key) if with_key else {}
        missing = [key for key in keys if key not in held]
        begun = await rows.begun(connection, missing) if missing else set()
        claims_before, changed, events = len(self._claims), {}, []
        for place in places:
            intent, key = self._intents[place], _key(self._intents[place])
            if key not in held:
                refusal = Refusal.OPERATION_IN_PROGRESS if key in begun else Refusal.PAYMENT_NOT_FOUND
                self._replies[place] = Result(refusal=refusal)
                continue
            name, reply = _name_of(intent, keyed.get(key, ()))
            if reply is not None:
                self._replies[place] = replace(reply, payment=held[key].payment)
                continue
            verdict = decide(held[key].payment, intent.command, self._now)
            if isinstance(verdict, Refusal):
                self._replies[place] = Result(held[key].payment, refusal=verdict)
                continue
            held[key], told = self._noted(intent, held[key], verdict)
            events += told
            changed[key] = held[key]
            self._accept(place, intent, verdict.operation, held[key], name)
            if name:
                keyed.setdefault(key, []).append(Keyed(
                    intent.payment_id, verdict.operation.id, name, intent.content, intent.command.kind, verdict.operation.minor,
                    None, None,
                ))
        if changed:
            claims = [row for row, _ in self._claims[claims_before:]]
            stored = await rows.claim(connection, claims, self._now, self._deadline)
            assert len(stored) == len(claims), "keys of one payment are claimed under its lock"
            await rows.reserve(connection, changed, self._now)
        if events:
            await rows.tell(connection, events)

    def _noted(self, intent: Intent, held: Held, verdict: Decision) -> tuple[Held, list[EventRow]]:
        """The payment after an accepted command; without a key, an identical one within a minute is told."""
        assert verdict.operation is not None
        if intent.key:
            return held._replace(payment=verdict.payment), []
        repeated = (
            held.last_content == intent.content and held.last_asked_at is not None
            and self._now - held.last_asked_at <= DUPLICATE_WINDOW
        )
        after = Held(verdict.payment, held.sequence + repeated, intent.content, self._now)
        if not repeated:
            return after, []
        return after, [EventRow(
            intent.merchant_id, intent.payment_id, after.sequence, Event.POSSIBLE_DUPLICATE, verdict.operation.id, 1,
            self._now, 0,
        )]

    async def _settled(self, connection: asyncpg.Connection, stored: set[int]) -> list[Reply]:
        """The replies; new payments that were not stored learn why."""
        turned_down = [] if self._alike else [
            place for row, place in self._claims if row.operation_id not in stored and row.kind in FIRST
        ]
        if turned_down:
            wanted = [(self._intents[place].merchant_id, self._intents[place].key) for place in turned_down]
            owners = await rows.key_owners(connection, [pair for pair in wanted if pair[1]])
            for place, pair in zip(turned_down, wanted, strict=True):
                owner = owners.get(pair)
                self.found_taken = self.found_taken or owner is not None
                self._replies[place] = TokenChanged() if owner is None else Result(
                    refusal=Refusal.KEY_USED, earlier=Earlier(*owner, None, None, False)
                )
        return self._replies     # type: ignore[return-value]


def _in_key_order(row: OperationRow) -> tuple[int, str, int]:
    return row[0], row[8] or "", row[2]             # merchant, key, operation


def _key(intent: Intent) -> Key:
    return intent.merchant_id, intent.payment_id


def _name_of(intent: Intent, keyed: Sequence[Keyed]) -> tuple[str | None, Result | None]:
    """The key to store, or the reply to a repeat.  Asked again after a decline, a key gets a number behind it.

    Ids of two hosts do not tell which of their operations came first, so the one that stands in the way is looked for.
    """
    if intent.key is None:
        return None, None
    numbered = intent.key + "#"
    same = [one for one in keyed if one.key == intent.key or (intent.asks_again and one.key.startswith(numbered))]
    if not same:
        return intent.key, None
    last = next((one for one in same if one.result not in FINAL or one.result == "approved"), same[-1])
    earlier = Earlier(last.payment_id, last.operation_id, last.result, last.response_code, last.content == intent.content)
    if last.result not in FINAL:
        return None, Result(refusal=Refusal.KEY_IN_PROGRESS, earlier=earlier)
    if intent.asks_again and last.result != "approved":
        return f"{intent.key}#{len(same) + 1}", None
    refusal = Refusal.KEY_USED if earlier.same_content or intent.asks_again else Refusal.KEY_CONTENT_DIFFERS
    return None, Result(refusal=refusal, earlier=earlier)


def operation_row(intent: Intent, operation: Operation, key: str | None) -> OperationRow:
    """The intent as it is stored, but for its times: the statement gives them to the whole batch."""
    card = intent.card
    token = card.token if card else None
    operation_id, kind, minor, _, accepts_partial, reason, hold_seconds, allotment = operation[:8]
    return _row((
        intent.merchant_id, intent.payment_id, operation_id, kind, minor, intent.command.currency, intent.door,
        intent.reference, key, intent.content, intent.details, intent.actor, intent.source, intent.processor,
        card.stored.card_id if card and card.stored else None,
        token.name if token else (card.keep_as or None) if card else None,      # without a version: a token to be made
        token.version if token else None, intent.initiation, intent.channel, accepts_partial, reason, hold_seconds,
        [number for part in allotment for number in part] if allotment else None, None, None,
    ))
