"""The engine: commit what we intend, ask the processor, commit what it said; answer only after that.

Both commits go through one counter each, where whoever arrives while a commit is running joins the next one.  No
transaction is open while a processor thinks, so a slow one keeps only its own caller waiting.  What is unknown afterwards
``recovery`` ends; an intent that finds its payment in doubt has that tried first.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
from msgspec.structs import replace

from ringfence.core.authentication import Ended as Stopped
from ringfence.core.authentication import Mode
from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.core.notices import Notice
from ringfence.core.outcomes import Challenge, Declined, NotAsked, Outcome, Silence, Unknown
from ringfence.core.recovery import REVERSIBLE
from ringfence.core.refusals import Refusal
from ringfence.engine import points
from ringfence.engine.asking import CARDHOLDER, ask
from ringfence.engine.at_once import AtOnce
from ringfence.engine.batcher import Batcher, CommitFailed, Waiting
from ringfence.engine.hearing import Hear, Hearer, waits_for_a_doubt
from ringfence.engine.intent_lane import IntentLane, TokenChanged
from ringfence.engine.intents import CardInHand, Ended, Intent, Reserved, Result, processor_key
from ringfence.engine.lane import CONNECTION_LOST, NotCommitted
from ringfence.engine.outcome_lane import OutcomeLane, unwritten
from ringfence.engine.outcome_writing import Told
from ringfence.engine.patience import OVERTIME_SECONDS, Patience
from ringfence.engine.together import Together
from ringfence.engine.vault import Token, Vault
from ringfence.processors.processor import AnswersAtOnce, Ask, Processor
from ringfence.storage import recovery as doubts

if TYPE_CHECKING:
    from ringfence.core.authentication import Evidence
    from ringfence.engine.authenticating import Authenticating
    from ringfence.engine.authentication import Demand
    from ringfence.engine.recovery import Recovery
    from ringfence.engine.redirects import Redirects

__all__ = ["Engine", "ask", "processor_key"]

log = logging.getLogger(__name__)

FRESH_TOKENS = 3
"""How often a token that keeps changing is read again before the payment is refused."""

_ended = partial(tuple.__new__, Ended)  # all fields at once, at a third of the price of a call
_CAPTURE = Kind.CAPTURE                 # Python 3.11 looks up a member of an enumeration for a tenth of a microsecond

REVERSAL_SECONDS = 30.0
"""How long the acknowledgement of an owed reversal is waited for; then it is sent again by its job."""


class Engine:
    """Carries intents between callers, the database and the processors."""

    recovery: Recovery | None = None        # set by whoever builds both; without it, what is unknown stays so
    authenticating: Authenticating | None = None    # likewise; without it, what needs an authentication is not asked
    redirecting: Redirects | None = None  # likewise; without it, whose payer must go somewhere is not asked
    rules: Mapping[str, Callable[[Intent], Awaitable[Refusal | None]]] = {}    # by processor: why an operation on a payment is not accepted
    binding: Callable[[Intent], Awaitable[Intent]] | None = None    # what a capture is, whichever door asks, of a payment made in a store
    challenged: Callable[[int, int], Awaitable[Result | None]] | None = None    # carries on at once where no payer is needed

    def __init__(
        self, *, intents: IntentLane, outcomes: OutcomeLane, processors: Mapping[str, Processor], vault: Vault,
        pool: asyncpg.Pool, new_id: Callable[[], int], now: Callable[[], datetime],
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``now`` is business time, ``wall`` the machine's; both UTC."""
        # One commit of this process at a time: two at once would share the same processors, at half the size each.
        turn = asyncio.Lock()
        self._outcomes = Batcher(outcomes.commit, turn=turn, tell=self._tell, failed=unwritten)
        self._at_once = {name: one for name, one in processors.items() if isinstance(one, AnswersAtOnce)}
        opened = lambda one, at: ask(one, at, self._pan(one.intent.card))  # noqa: E731
        at_once = AtOnce(self._at_once, self._outcomes.join, opened, self._waits_for_payer, self.ended)
        self._intents = Batcher(intents.commit, turn=turn, tell=lambda batch, replies: at_once.ask(batch, replies, self.now(), self.wall()))
        self._processors, self._vault, self._pool = processors, vault, pool
        self.new_id, self.now, self.wall = new_id, now, wall
        self.together = Together(processors, self._pan, now, wall)
        self._owed: set[asyncio.Task[bool]] = set()
        self._patience, self._reversal_seconds = Patience(), REVERSAL_SECONDS

    async def execute(self, intent: Intent) -> Result:
        """Carry out one intent.

        The result is a refusal (nothing was asked), or an outcome that is committed; ``Unknown`` where the processor gave
        no believable answer, or where its answer could not be committed.
        """
        if intent.initiation is not CARDHOLDER and not intent.never_asked and (refused := await self._may_initiate(intent)):
            return Result(refusal=refused)
        if intent.original is not None:
            if intent.processor in self.rules and (late := await self.turned_down(intent)):
                return Result(refusal=late)
            if self.binding is not None and intent.channel == "store" and intent.command.kind is _CAPTURE:
                intent = await self.binding(intent)
        return await self._reserved(intent, self._intents.submit(intent))

    def begin(self, intent: Intent, hear: Hear) -> bool:
        """Carry out one intent for somebody who waits in no task of his own; see ``execute``.  False where that must be awaited: nothing was done.

        ``hear`` is called later, once: with the result, or with what is to be awaited for it where anything is left to do.  It raises nothing.
        """
        if intent.initiation is not CARDHOLDER or intent.never_asked or intent.original is not None:
            return False
        self._intents.join(intent, Hearer(hear, intent, self._reserved))
        return True

    async def _reserved(self, intent: Intent, submitted: Awaitable[Reserved | Result | TokenChanged]) -> Result:
        """What became of an intent that waits to be reserved; see ``execute``."""
        fresh: CardInHand | None = None
        try:
            reply = await submitted
            if type(reply) is Result and waits_for_a_doubt(reply) and await self.resolve(intent.merchant_id, intent.payment_id):
                reply = await self._intents.submit(intent)
            for _ in range(FRESH_TOKENS):
                if not isinstance(reply, TokenChanged):
                    break
                changed = await self._with_fresh_token(intent)
                if isinstance(changed, Refusal):
                    return Result(refusal=changed)
                intent, fresh = changed, changed.card
                reply = await self._intents.submit(intent)
            if isinstance(reply, TokenChanged):
                return Result(refusal=Refusal.TOKEN_INACTIVE)
        except NotCommitted:
            return Result(refusal=Refusal.SERVICE_UNAVAILABLE)
        except CommitFailed:
            return Result(outcome=Unknown(Silence.OWNER_GONE))
        if isinstance(reply, Result):       # refused, or asked at once
            return reply if fresh is None or reply.outcome is None else replace(reply, card=fresh)
        if intent.never_asked:
            return await self.finish(_ended((reply, NotAsked(intent.never_asked), False)))
        result = await self.finish(self.ended(reply, await self._ask(reply)))
        if type(result.outcome) is Challenge and not result.outcome.url and self.challenged is not None:
            result = await self.challenged(intent.merchant_id, int(result.outcome.reference)) or result
        return result if fresh is None else replace(result, card=fresh)

    async def execute_many(self, intents: Sequence[Intent]) -> list[Result]:
        """The results of many intents that begin payments without their payers, in order, as ``execute`` has each: committed together, asked
        together by processors that take many at once.  One that cannot be stored has the outcome ``Unknown``, and nothing was asked."""
        results: dict[int, Result] = {}
        submitted: dict[int, asyncio.Future[Reserved | Result | TokenChanged]] = {}
        for place, intent in enumerate(intents):
            if refused := await self._may_initiate(intent):
                results[place] = Result(refusal=refused)
            else:
                submitted[place] = self._intents.submit(intent)
        if submitted:
            await asyncio.wait(submitted.values())
        reserved: dict[int, Reserved] = {}
        for place, reply in submitted.items():
            if reply.exception() is not None:
                away = isinstance(reply.exception(), NotCommitted)
                results[place] = Result(refusal=Refusal.SERVICE_UNAVAILABLE) if away else Result(outcome=Unknown(Silence.OWNER_GONE))
            elif isinstance(said := reply.result(), Reserved):
                reserved[place] = said
            else:
                results[place] = await self.execute(intents[place]) if isinstance(said, TokenChanged) else said
        outcomes = await self.together.ask(list(reserved.values()))
        finished = await asyncio.gather(*(
            self.finish(self.ended(one, outcome)) for one, outcome in zip(reserved.values(), outcomes, strict=True)))
        results.update(zip(reserved, finished, strict=True))
        return [results[place] for place in range(len(intents))]

    async def turned_down(self, intent: Intent) -> Refusal | None:
        """Which rule of its processor an operation on a payment breaks; ``execute`` looks by itself."""
        rule = self.rules.get(intent.processor)
        return None if rule is None else await rule(intent)

    async def carry_out(self, reserved: Reserved) -> Result:
        """Ask for what is reserved already, and commit the outcome."""
        return await self.finish(self.ended(reserved, await self._ask(reserved)))

    async def carry_on(self, reserved: Reserved, evidence: Evidence | None) -> Result:
        """Ask for what waited for its payer, who has done his part, and commit the outcome."""
        return await self.finish(self.ended(reserved, await self._ask(reserved, evidence, is_known=True)))

    async def resolve(self, merchant_id: int, payment_id: int) -> bool:
        """Try now to end what is in doubt about a payment; whether a doubt ended."""
        return self.recovery is not None and await self.recovery.resolve(merchant_id, payment_id)

    async def finish(self, ended: Ended) -> Result:
        """Commit an outcome; see ``execute``."""
        return await self._outcomes.submit(ended)

    async def notice(self, merchant_id: int, payment_id: int, processor: str, notice: Notice) -> Result:
        """Book a fact from outside, once per identity.

        A refusal says that it was booked before (``KEY_USED``), or that the payment has no outcome yet
        (``PAYMENT_NOT_FOUND``): tell it again later.  Raises ``CommitFailed`` where it could not be committed.
        """
        return await self._outcomes.submit(Told(merchant_id, payment_id, self.new_id(), processor, notice))

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

    async def _may_initiate(self, intent: Intent) -> Refusal | None:
        """Whether the merchant may start this payment.  What is paid without a card stands on an agreement, which its door looks at."""
        if intent.card is None:
            return None
        token = intent.card.token if intent.card else None
        if token is not None and may_initiate(token):     # perhaps no longer so: only the good news may come from the cache
            token = await self._vault.token(intent.merchant_id, token.name, fresh=True)
        return may_initiate(token)

    async def _with_fresh_token(self, intent: Intent) -> Intent | Refusal:
        """The intent with its token as it is now, or why that will not do."""
        assert intent.card is not None and intent.card.token is not None
        token = await self._vault.token(intent.merchant_id, intent.card.token.name, fresh=True)
        if token is None:
            return Refusal.TOKEN_NOT_FOUND
        if not token.active:
            return Refusal.TOKEN_INACTIVE
        if intent.initiation is not CARDHOLDER and (refused := may_initiate(token)):
            return refused
        if token.in_flow and intent.initiation is CARDHOLDER:
            return Refusal.TOKEN_IN_FLOW                # perhaps a security code waits for this very payment: the door looks
        card = replace(intent.card, token=token, stored=token.card, expiry=token.expiry, holder=token.holder)
        details = intent.describe(card) if intent.describe else intent.details
        return replace(intent, card=card, details=details)

    def ended(self, reserved: Reserved, outcome: Outcome) -> Ended:
        """What is known of an attempt now.  Where an unknown outcome can only end by a reversal, because nobody can be asked,
        that is decided in the commit that records it."""
        reverse = (
            reserved.operation.kind in REVERSIBLE and not self._processors[reserved.intent.processor].capabilities.inquiry
        )
        return _ended((reserved, outcome, reverse))

    def _tell(self, batch: Waiting[Ended | Told], results: Sequence[Result]) -> None:
        """Outcomes are committed: see ``after``, then their owners hear of them."""
        for (message, waiting), result in zip(batch, results, strict=True):
            if type(message) is Ended:
                self.after(message[0], result)
            if not waiting.done():
                waiting.set_result(result)

    async def _ask(self, reserved: Reserved, evidence: Evidence | None = None, *, is_known: bool = False) -> Outcome:
        """One question to the processor.  Right before it is sent the owner looks at its lease once more.

        ``is_known``: the payer was asked already, as far as he need be; ``evidence`` is what came of it.
        """
        processor = self._processors[reserved.intent.processor]
        try:
            message = self.message(reserved)
        except Exception:
            log.exception("the card of operation %d cannot be opened", reserved.operation.id)
            return NotAsked("card")
        demand = reserved.intent.demand
        if is_known:
            message = message._replace(evidence=evidence)
        elif reserved.intent.redirect is not None:
            return NotAsked(Stopped.FAILED) if self.redirecting is None else await self.redirecting.before(reserved)
        elif demand is not None and self._waits_for_payer(demand, message):
            return await self._ask_the_payer_first(reserved, message)
        left = (reserved.deadline - self.wall()).total_seconds()
        if left <= 0:
            return NotAsked("deadline")
        points.hit(points.BEFORE_ASK)
        at_once = self._at_once.get(processor.name)
        try:
            outcome = (at_once.answer_at_once((message,))[0] if at_once is not None else None) or await self._patiently(processor, message, left)
        except Exception:
            log.exception("processor %s broke its contract", processor.name)
            return Unknown(Silence.NOT_BELIEVABLE)
        points.hit(points.AFTER_ASK)
        return outcome

    def _waits_for_payer(self, demand: Demand, message: Ask) -> bool:
        """Whether anything is to be done about the payer's authentication before this is asked."""
        return demand.mode is Mode.REQUIRED if self.authenticating is None else self.authenticating.concerns(demand, message)

    async def _patiently(self, processor: Processor, message: Ask, left: float) -> Outcome:
        """Ask somebody who may let us wait, for ``left`` seconds and not much longer."""
        task = self._patience.begin(left + OVERTIME_SECONDS)
        try:
            return await processor.ask(message)
        except asyncio.CancelledError:
            if not self._patience.ended_alone(task):
                raise                       # somebody else wants this task to end
            log.warning("processor %s did not keep its deadline", processor.name)
            return Unknown(Silence.NO_ANSWER)
        finally:
            self._patience.end(task)

    async def _ask_the_payer_first(self, reserved: Reserved, message: Ask) -> Outcome:
        """See ``authenticating``; then the question to the processor, unless that is off or waits for the payer."""
        if self.authenticating is None:
            return NotAsked(Stopped.FAILED)
        ready = await self.authenticating.before(reserved, message)
        if type(ready) is not Ask:
            return ready                # type: ignore[return-value]
        outcome = await self._ask(reserved, ready.evidence, is_known=True)
        return outcome if type(outcome) is not Declined else await self.authenticating.again(reserved, ready, outcome)

    def message(self, reserved: Reserved, *, repeat: bool = False) -> Ask:
        """The message for a processor, made now.  Raises where the vault cannot open the card."""
        return ask(reserved, self.now(), self._pan(reserved.intent.card), repeat=repeat)

    def _pan(self, card: CardInHand | None) -> Pan | None:
        if card is None or card.pan is not None or card.stored is None:
            return card.pan if card else None
        return self._vault.reveal(card.stored)

    def after(self, reserved: Reserved, result: Result) -> None:
        """What the commit changed beyond the payment: caches forget, owed reversals leave at once."""
        intent = reserved.intent
        token = None if intent.card is None else intent.card.token
        if token is not None and (
            not token.card.first_reference or token.in_flow or (type(result.outcome) is Declined and intent.initiation is not CARDHOLDER)
        ):
            self._vault.forget(intent.merchant_id, token.name)
        if result.payment is not None and result.payment.status == "declined" and result.payment.authorized:
            self.reverse_soon(reserved)

    def reverse_soon(self, reserved: Reserved) -> None:
        """Send the reversal of a partial approval nobody wants; what fails here is sent again by the background."""
        card = reserved.intent.card
        if card is not None:            # the security code is gone with the first outcome
            reserved = reserved._replace(intent=replace(reserved.intent, card=replace(card, security_code=None)))
        task: asyncio.Task[bool] = asyncio.ensure_future(self.reverse(reserved))
        self._owed.add(task)
        task.add_done_callback(self._owed.discard)

    async def reverse(self, reserved: Reserved) -> bool:
        """Send the reversal of exactly this message, and note the acknowledgement; whether both were done.

        What fails is logged; the reversal stays owed, and its job sends it again.
        """
        intent, processor = reserved.intent, self._processors[reserved.intent.processor]
        deadline = self.wall() + timedelta(seconds=self._reversal_seconds)
        try:
            async with asyncio.timeout(self._reversal_seconds):
                acknowledged = await processor.reverse(self.message(reserved._replace(deadline=deadline)))
            if acknowledged:
                name = intent.merchant_id, intent.payment_id, reserved.operation.id
                await doubts.acknowledge(self._pool, [name], self.wall())
                return True
        except TimeoutError:
            log.warning("nobody acknowledged reversal %d in time", reserved.operation.id)
        except CONNECTION_LOST as lost:
            log.warning("the end of reversal %d could not be noted: %s", reserved.operation.id, lost)
        except Exception:
            log.exception("reversal %d could not be sent", reserved.operation.id)
        return False


def may_initiate(token: Token | None) -> Refusal | None:
    """Why the merchant may not start a payment: an approved one of the cardholder's own must stand behind the card."""
    if token is None or not token.card.first_reference:
        return Refusal.INITIAL_PAYMENT_MISSING
    return Refusal.CARD_BLOCKED if token.card.blocked else None
