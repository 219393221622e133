"""The engine: commit what we intend, ask the processor, commit what it said; answer only after that.

Both commits go through one counter each, where whoever arrives while a commit is running joins the next one.  No
transaction is open while a processor thinks, so a slow one keeps only its own caller waiting.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b

import asyncpg

from ringfence.core.card import Pan
from ringfence.core.commands import Initiation
from ringfence.core.outcomes import Declined, NotAsked, Outcome, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.engine.batcher import Batcher, CommitFailed
from ringfence.engine.intent_lane import IntentLane, TokenChanged
from ringfence.engine.intents import CardInHand, Ended, Intent, Reserved, Result
from ringfence.engine.lane import NotCommitted
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.engine.vault import Vault
from ringfence.processors.processor import Ask, Processor
from ringfence.storage.payments import SQL

log = logging.getLogger(__name__)


def processor_key(operation_id: int, attempt: int) -> str:
    """The key a processor sees: the same after a crash, new for a new attempt."""
    return blake2b(b"%d.%d" % (operation_id, attempt), digest_size=16).hexdigest()


class Engine:
    """Carries intents between callers, the database and the processors."""

    def __init__(
        self, *, intents: IntentLane, outcomes: OutcomeLane, processors: Mapping[str, Processor], vault: Vault,
        pool: asyncpg.Pool, new_id: Callable[[], int], now: Callable[[], datetime],
    ) -> None:
        self._intents = Batcher(intents.commit)
        self._outcomes = Batcher(outcomes.commit)
        self._processors, self._vault, self._pool = processors, vault, pool
        self.new_id, self.now = new_id, now
        self._owed: set[asyncio.Task[None]] = set()

    async def execute(self, intent: Intent) -> Result:
        """Carry out one intent.

        The result is a refusal (nothing was asked), or an outcome that is committed; ``Unknown`` where the processor gave
        no believable answer, or where its answer could not be committed.
        """
        if intent.initiation is not Initiation.CARDHOLDER and (refused := await self._may_initiate(intent)):
            return refused
        try:
            reply = await self._intents.submit(intent)
            if isinstance(reply, TokenChanged):
                fresh = await self._with_fresh_token(intent)
                if isinstance(fresh, Result):
                    return fresh
                intent, reply = fresh, await self._intents.submit(fresh)
                if isinstance(reply, TokenChanged):
                    return Result(refusal=Refusal.TOKEN_INACTIVE)
        except NotCommitted:
            return Result(refusal=Refusal.SERVICE_UNAVAILABLE)
        except CommitFailed:
            return Result(outcome=Unknown(Silence.OWNER_GONE))
        if isinstance(reply, Result):
            return reply
        return await self.finish(Ended(reply, await self._ask(reply)))

    async def finish(self, ended: Ended) -> Result:
        """Commit an outcome; see ``execute``."""
        reserved = ended.reserved
        try:
            result = await self._outcomes.submit(ended)
        except CommitFailed:
            return Result(reserved.held.payment, reserved.operation, Unknown(Silence.OWNER_GONE))
        self._after(reserved, result)
        return result

    async def idle(self) -> None:
        """Returns once every submitted intent and outcome is committed."""
        await self._intents.idle()
        await self._outcomes.idle()
        if self._owed:
            await asyncio.wait(self._owed)

    @property
    def waiting(self) -> tuple[int, int]:
        """Intents and outcomes that wait for a batch."""
        return self._intents.waiting, self._outcomes.waiting

    async def _may_initiate(self, intent: Intent) -> Result | None:
        """Whether the merchant may start this payment: an approved first one must stand behind the card."""
        token = intent.card.token if intent.card else None
        if token is None:
            return Result(refusal=Refusal.INITIAL_PAYMENT_MISSING)
        if not token.card.first_reference or token.card.blocked:
            token = await self._vault.token(intent.merchant_id, token.name, fresh=True)
        if token is None or not token.card.first_reference:
            return Result(refusal=Refusal.INITIAL_PAYMENT_MISSING)
        return Result(refusal=Refusal.CARD_BLOCKED) if token.card.blocked else None

    async def _with_fresh_token(self, intent: Intent) -> Intent | Result:
        """The intent with its token as it is now, or why that will not do."""
        assert intent.card is not None and intent.card.token is not None
        token = await self._vault.token(intent.merchant_id, intent.card.token.name, fresh=True)
        if token is None:
            return Result(refusal=Refusal.TOKEN_NOT_FOUND)
        if not token.active:
            return Result(refusal=Refusal.TOKEN_INACTIVE)
        card = intent.card._replace(token=token, stored=token.card, expiry=token.expiry)
        return intent._replace(card=card)

    async def _ask(self, reserved: Reserved) -> Outcome:
        """One question to the processor.  Right before it is sent the owner looks at its lease once more."""
        processor = self._processors[reserved.intent.processor]
        message = ask(reserved, self.now(), self._pan(reserved.intent.card))
        if datetime.now(UTC) >= reserved.deadline:
            return NotAsked("deadline")
        try:
            return await processor.ask(message)
        except Exception:
            log.exception("processor %s broke its contract", processor.name)
            return Unknown(Silence.NOT_BELIEVABLE)

    def _pan(self, card: CardInHand | None) -> Pan | None:
        if card is None or card.pan is not None or card.stored is None:
            return card.pan if card else None
        return self._vault.reveal(card.stored)

    def _after(self, reserved: Reserved, result: Result) -> None:
        """What the commit changed beyond the payment: caches forget, owed reversals leave at once."""
        card = reserved.intent.card
        by_merchant = reserved.intent.initiation is not Initiation.CARDHOLDER
        if card is not None and card.token is not None and (
            not card.token.card.first_reference or by_merchant and isinstance(result.outcome, Declined)
        ):
            self._vault.forget(reserved.intent.merchant_id, card.token.name)
        if result.payment is not None and result.payment.status == "declined" and result.payment.authorized:
            self.reverse_soon(reserved)

    def reverse_soon(self, reserved: Reserved) -> None:
        """Send the reversal of a partial approval nobody wants; what fails here is sent again by the background."""
        task = asyncio.ensure_future(self.reverse(reserved))
        self._owed.add(task)
        task.add_done_callback(self._owed.discard)

    async def reverse(self, reserved: Reserved) -> None:
        """Send the reversal of exactly this message, and note the acknowledgement."""
        processor = self._processors[reserved.intent.processor]
        try:
            done = await processor.reverse(ask(reserved, self.now(), self._pan(reserved.intent.card)))
        except Exception:
            log.exception("processor %s broke its contract", processor.name)
            return
        if done:
            await self._pool.execute(
                SQL.acknowledge_reversal, reserved.intent.merchant_id, reserved.intent.payment_id, reserved.operation.id,
                reserved.operation.attempt, datetime.now(UTC),
            )


def ask(reserved: Reserved, now: datetime, pan: Pan | None) -> Ask:
    """The message for a processor."""
    intent, operation, card = reserved.intent, reserved.operation, reserved.intent.card
    cited = ""
    if intent.initiation is not Initiation.CARDHOLDER and card and card.stored:
        cited = card.stored.first_reference
    payment = reserved.held.payment
    return Ask(
        processor_key(operation.id, operation.attempt), operation.kind, operation.minor, intent.command.currency,
        intent.merchant, intent.payment_id, operation.id, now, reserved.deadline, pan, card.expiry if card else "",
        card.security_code if card else None, intent.initiation, intent.channel, cited, intent.original,
        operation.accepts_partial, False, payment.open + payment.unsecured, intent.magic,
    )
