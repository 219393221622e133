"""One contract, two stores: what is said of the database in memory is said of PostgreSQL too.

That is what makes the simulation evidence: it runs the real engine on a store that answers like the real one.
"""
from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest

from ringfence.core.commands import Command, Kind
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.core.recovery import Plan, pause
from ringfence.core.refusals import Refusal
from ringfence.engine.desk import PostgresDesk
from ringfence.engine.intent_lane import IntentLane, Reply
from ringfence.engine.intents import Earlier, Ended, Intent, Reserved, Result, processor_key
from ringfence.engine.outcome_lane import OutcomeLane, late_approval
from ringfence.engine.outcome_writing import Told
from ringfence.engine.recovery import Desk
from ringfence.processors.processor import Original
from ringfence.storage import reading
from ringfence.storage.jobs import JobRow, wake
from ringfence.storage.recovery import RECOVERY, REVERSAL
from tests.engine.composition import NOW, process, shop
from tests.simulation.counter import Counter, MemoryDesk
from tests.simulation.store import Database

pytestmark = pytest.mark.anyio

PLAN = Plan()
SUPERSEDED = Unknown(Silence.SUPERSEDED)
SILENT = Unknown(Silence.NO_ANSWER)
LEASE = 600.0
MERCHANT = "CycHZxVj"


class Facts(NamedTuple):
    """What stands about one payment."""

    payment: tuple[Any, ...] | None
    endings: list[tuple[int, int, str, int, str]]       # operation, attempt, result, minor, code
    ledger: list[tuple[int, str, int]]                  # operation, kind of transfer, minor
    jobs: list[tuple[str, int, datetime, datetime | None, int, int]]      # queue, operation, due, deadline, tries, nudges
    reversals: list[tuple[int, bool]]                   # operation, acknowledged
    notices: list[str]


class Store(ABC):
    """Both stores look like this; a dialogue speaks to it."""

    merchant_id: int
    desk: Desk
    other: Desk                                         # of another process
    intents: Callable[[Sequence[Intent]], Any]
    outcomes: Callable[[Sequence[Ended | Told]], Any]

    def __init__(self) -> None:
        self.now, self._ids, self._batches = NOW, 100, 1_000_000

    def new_id(self) -> int:
        self._ids += 1
        return self._ids

    def batch_id(self) -> int:
        """What the lanes count; the two stores count differently."""
        self._batches += 1
        return self._batches

    @abstractmethod
    async def all_facts(self, payments: Sequence[int]) -> list[Facts]:
        """All that is stored about each payment."""

    @abstractmethod
    async def wake(self, payment_id: int, operation_id: int, due_at: datetime) -> None:
        """Bring the recovery of that operation forward to *due_at*."""

    # -- what dialogues are made of

    async def facts(self, payment_id: int) -> Facts:
        (facts,) = await self.all_facts([payment_id])
        return facts

    def intent(self, kind: Kind, minor: int | None, payment_id: int = 0, key: str | None = None, **options: Any) -> Intent:
        operation_id = self.new_id()
        partial, content = options.pop("partial", False), options.pop("content", f"{kind} {minor}".encode())
        return Intent(
            self.merchant_id, MERCHANT, payment_id or operation_id, Command(kind, minor, "AED", operation_id, partial), "aps", "actor", "api",
            content, key=key, processor="scripted", **options,
        )

    async def ask(self, *args: Any, **options: Any) -> Reply:
        (reply,) = await self.intents([self.intent(*args, **options)])
        return reply

    async def accepted(self, *args: Any, **options: Any) -> Reserved:
        reply = await self.ask(*args, **options)
        assert isinstance(reply, Reserved), reply
        return reply

    async def end(self, reserved: Reserved, outcome: Outcome, reverse: bool = False) -> Result:
        (result,) = await self.outcomes([Ended(reserved, outcome, reverse)])
        return result

    async def approved(self, kind: Kind, minor: int, *args: Any, **options: Any) -> int:
        """The id of an operation that was asked and approved."""
        reserved = await self.accepted(kind, minor, *args, **options)
        result = await self.end(reserved, Approved(minor, "742138", "S1", "R1"))
        assert result.receipt and result.outcome == Approved(minor, "742138", "S1", "R1")
        return reserved.operation.id

    async def doubted(self, reverse: bool, kind: Kind = Kind.PURCHASE, minor: int = 1000, *args: Any) -> Reserved:
        """An operation whose owner heard nothing."""
        reserved = await self.accepted(kind, minor, *args)
        result = await self.end(reserved, SILENT, reverse)
        assert result.outcome == SILENT and result.receipt
        return reserved

    async def taken(self, reserved: Reserved) -> Reserved:
        """The same, in the hands of a recoverer now."""
        job = await self.desk.take(self.merchant_id, reserved.operation.id)
        assert job is not None
        case = await self.desk.case(job)
        assert case is not None and case.job == job
        return case.reserved

    async def given_back(self, reserved: Reserved) -> None:
        """Whoever has the job lets it go."""
        job = await self.desk.take(self.merchant_id, reserved.operation.id)
        assert job is not None
        await self.desk.later(job, self.now, "in vain")


class Memory(Store):
    """The store of the simulation."""

    def __init__(self) -> None:
        super().__init__()
        self.merchant_id, self.database = 1, Database(lambda: 0.0)
        counter = Counter(self.database, self, now=lambda: self.now, wall=lambda: self.now, new_id=self.batch_id, ask_seconds=30)
        self.intents, self.outcomes = counter.intents, counter.outcomes
        self.desk, self.other = (MemoryDesk(self.database, self, holder, LEASE) for holder in ("one", "two"))

    async def pass_in(self) -> float:
        return 0.0

    async def pass_out(self, lost: float) -> bool:
        return True

    async def all_facts(self, payments: Sequence[int]) -> list[Facts]:
        return [self._facts(payment_id) for payment_id in payments]

    def _facts(self, payment_id: int) -> Facts:
        database = self.database
        operations = {operation_id for (_, operation_id), (one, _) in database.operations.items() if one.payment_id == payment_id}
        payment = database.payments.get((self.merchant_id, payment_id))
        return Facts(
            None if payment is None else tuple(payment),
            sorted((of, attempt, one.result, one.minor, one.code) for (_, of, attempt), one in database.endings.items() if of in operations),
            sorted((of, kind.lower(), minor) for _, payment_of, of, kind, minor in database.transfers if payment_of == payment_id),
            sorted((queue, of, job.due_at, job.deadline_at, job.tries, job.nudges)
                   for (_, queue, of), job in database.jobs.items() if job.payment[1] == payment_id),
            sorted((of, done) for (_, of), done in database.reversals.items() if of in operations),
            sorted(identity for _, of, identity in database.notices if of == payment_id),
        )

    async def wake(self, payment_id: int, operation_id: int, due_at: datetime) -> None:
        self.database.wake(RECOVERY, (self.merchant_id, payment_id), operation_id, due_at)


class Postgres(Store):
    """The lanes and the desk, on a real server."""

    async def open(self, address: str, ends: AsyncExitStack) -> Postgres:
        self._process = one = await ends.enter_async_context(process(address))
        self.merchant_id = (await shop(one, MERCHANT)).account.merchant_id
        outcomes = OutcomeLane(
            one.outcome_lane, now=lambda: self.now, new_id=self.batch_id, chain_key=one.chain_key, value_date=lambda name, at: at.date(), plan=PLAN)
        self.intents, self.outcomes = IntentLane(one.intent_lane, now=lambda: self.now, ask_seconds=30).commit, outcomes.commit
        self.desk, self.other = (PostgresDesk(one.pool, one.directory, one.vault, holder, LEASE, {}) for holder in ("one", "two"))
        return self

    async def all_facts(self, payments: Sequence[int]) -> list[Facts]:
        one = self._process

        async def rows(columns: str, table: str) -> dict[int, list[tuple[Any, ...]]]:
            """Those of each payment in order; one statement for all, as the dialogues ask for everything again and again."""
            of: dict[int, list[tuple[Any, ...]]] = {payment_id: [] for payment_id in payments}
            for row in await one.pool.fetch(
                    f"SELECT payment_id, {columns} FROM {table} WHERE merchant_id = $1 AND payment_id = ANY($2) ORDER BY 2, 3",
                    self.merchant_id, payments):
                of[row[0]].append(tuple(row)[1:])
            return of

        endings = await rows("operation_id, attempt, result, minor, response_code", "outcomes")
        ledger = await rows("operation_id, kind, minor", "journal")
        jobs = await rows("queue, subject, due_at, deadline_at, tries, nudges", "jobs")
        reversals = await rows("operation_id, acknowledged_at IS NOT NULL", "reversals")
        notices = await rows("identity, noticed", "notices")
        found = []
        for of in payments:
            payment = await reading.payment(one.pool, self.merchant_id, of)
            found.append(Facts(
                None if payment is None else tuple(payment), endings[of], sorted(ledger[of]), jobs[of], sorted(set(reversals[of])),
                [row[0] for row in notices[of]]))
        return found

    async def wake(self, payment_id: int, operation_id: int, due_at: datetime) -> None:
        await wake(self._process.pool, [JobRow(self.merchant_id, RECOVERY, operation_id, payment_id, due_at)])


@pytest.fixture(params=["memory", "postgres"])
def place(request: pytest.FixtureRequest) -> str | None:
    """The address of a database, or none."""
    return None if request.param == "memory" else request.getfixturevalue("database")


@pytest.fixture
async def store(place: str | None) -> AsyncIterator[Store]:
    if place is None:
        yield Memory()
        return
    async with AsyncExitStack() as ends:
        yield await Postgres().open(place, ends)


# -- intents

async def test_an_intent_is_claimed_and_nothing_follows_before_its_outcome(store: Store):
    """Then the payment stands, and takes what follows."""
    first = await store.accepted(Kind.AUTHORIZATION, 1000, key="order-1")
    assert (first.operation.minor, first.operation.attempt, first.operation.unknown) == (1000, 1, False)
    assert (await store.ask(Kind.CAPTURE, 400, first.operation.id)).refusal is Refusal.OPERATION_IN_PROGRESS
    assert (await store.ask(Kind.CAPTURE, 400, 99)).refusal is Refusal.PAYMENT_NOT_FOUND
    assert await store.facts(first.operation.id) == Facts(None, [], [], [], [], [])
    await store.end(first, Approved(1000))
    facts = await store.facts(first.operation.id)
    assert facts.endings == [(first.operation.id, 1, "approved", 1000, "00")] and not facts.jobs and not facts.reversals
    assert facts.ledger == [(first.operation.id, "authorize", 1000)]
    assert isinstance(await store.ask(Kind.CAPTURE, 400, first.operation.id), Reserved)
    assert (await store.ask(Kind.CAPTURE, 601, first.operation.id)).refusal is Refusal.EXCEEDS_CAPTURABLE


async def test_a_key_begins_one_payment(store: Store):
    """Whoever comes second hears whose it is, whether that has ended or not."""
    first = await store.accepted(Kind.PURCHASE, 1000, key="order-1")
    for _ in range(2):
        again = await store.ask(Kind.PURCHASE, 1000, key="order-1")
        assert again.refusal is Refusal.KEY_USED and again.earlier == Earlier(first.operation.id, first.operation.id, None, None, False)
        await store.end(first, Declined("51"))
    assert isinstance(await store.ask(Kind.PURCHASE, 1000, key="order-2"), Reserved)


async def test_a_key_of_a_later_operation_is_in_progress_used_or_about_something_else(store: Store):
    """In doubt it is in progress still."""
    payment_id = await store.approved(Kind.AUTHORIZATION, 1000)
    capture = await store.accepted(Kind.CAPTURE, 400, payment_id, "capture-1")
    running = await store.ask(Kind.CAPTURE, 400, payment_id, "capture-1")
    assert running.refusal is Refusal.KEY_IN_PROGRESS and running.earlier == Earlier(payment_id, capture.operation.id, None, None, True)
    await store.end(capture, SILENT)
    doubted = await store.ask(Kind.CAPTURE, 400, payment_id, "capture-1")
    assert doubted.refusal is Refusal.KEY_IN_PROGRESS and doubted.earlier.result == "unknown"
    assert (await store.ask(Kind.CAPTURE, 400, payment_id, "capture-2")).refusal is Refusal.OUTCOME_UNKNOWN
    await store.end(await store.taken(capture), Approved(400))
    used = await store.ask(Kind.CAPTURE, 400, payment_id, "capture-1")
    assert used.refusal is Refusal.KEY_USED and used.earlier.result == "approved" and used.earlier.same_content
    assert (await store.ask(Kind.CAPTURE, 500, payment_id, "capture-1")).refusal is Refusal.KEY_CONTENT_DIFFERS


async def test_a_refund_that_was_declined_may_be_asked_for_again_under_its_key(store: Store):
    """Until one is approved."""
    payment_id = await store.approved(Kind.PURCHASE, 1000)
    for _ in range(2):
        refund = await store.accepted(Kind.REFUND, 400, payment_id, "refund-1", asks_again=True)
        await store.end(refund, Declined("05"))
    await store.approved(Kind.REFUND, 400, payment_id, "refund-1", asks_again=True)
    assert (await store.ask(Kind.REFUND, 400, payment_id, "refund-1", asks_again=True)).refusal is Refusal.KEY_USED
    assert [ending[2] for ending in (await store.facts(payment_id)).endings] == ["approved", "declined", "declined", "approved"]


async def test_two_that_race_for_the_same_money_do_not_both_get_it(store: Store):
    """In one batch."""
    payment_id = await store.approved(Kind.AUTHORIZATION, 1000)
    one, two = await store.intents([store.intent(Kind.CAPTURE, 600, payment_id) for _ in range(2)])
    assert isinstance(one, Reserved) and two.refusal is Refusal.EXCEEDS_CAPTURABLE


# -- doubts

@pytest.mark.parametrize("reverse", [True, False])
async def test_what_is_unknown_gets_a_job_and_where_it_can_only_be_undone_a_reversal(store: Store, reverse: bool):
    """In the commit that says so; the job is due after the plan's first pause, and a person's after a day."""
    reserved = await store.doubted(reverse)
    name = reserved.operation.id
    facts = await store.facts(name)
    assert facts.jobs == [(RECOVERY, name, store.now + pause(PLAN, 0, name), store.now + timedelta(days=1), 0, 0)]
    assert facts.reversals == ([(name, False)] if reverse else [])
    assert facts.endings == [(name, 1, "unknown", 0, "no_answer")] and facts.ledger == [(name, "doubt_purchase", 1000)]
    assert await store.desk.doubts(store.merchant_id, name) == [name]


async def test_a_case_is_the_operation_as_it_was_accepted(store: Store):
    """With the attempt of its claim, and what its messages cite; one that has ended is none."""
    payment_id = await store.approved(Kind.AUTHORIZATION, 1000)
    asked_at, store.now = store.now, store.now + timedelta(minutes=1)
    capture = await store.doubted(False, Kind.CAPTURE, 400, payment_id)
    job = await store.desk.take(store.merchant_id, capture.operation.id)
    assert job is not None and (job.tries, job.payment_id, job.queue) == (1, payment_id, RECOVERY)
    case = await store.desk.case(job)
    assert case is not None and not case.reversal_left and case.decided is None and case.asked_at == asked_at + timedelta(minutes=1)
    assert case.reserved.operation == capture.operation._replace(attempt=2, unknown=True)
    assert case.reserved.intent.original == Original(processor_key(payment_id), 1000, "742138", "R1", "S1")
    assert case.reserved.held.payment.pending_capture == 400
    await store.end(case.reserved, Approved(400))
    assert await store.desk.case(job) is None and await store.desk.doubts(store.merchant_id, payment_id) == []


@pytest.mark.parametrize("outcome", [Approved(1000), Declined("51"), Reversed(), Reversed(returned=1000)])
async def test_a_final_outcome_ends_the_job_and_answers_the_reversal(store: Store, outcome: Outcome):
    """In its own commit; the doubt is out of the books."""
    reserved = await store.doubted(type(outcome) is Reversed)
    result = await store.end(await store.taken(reserved), outcome)
    facts = await store.facts(reserved.operation.id)
    assert result.outcome == outcome and result.receipt and not facts.jobs
    assert facts.reversals == ([(reserved.operation.id, True)] if type(outcome) is Reversed else [])
    assert (reserved.operation.id, "doubt_purchase_ended", 1000) in facts.ledger and result.payment.unknown == 0


async def test_an_attempt_ends_once(store: Store):
    """Whoever comes second writes nothing, whatever he brings; the first one stands."""
    reserved = await store.accepted(Kind.AUTHORIZATION, 1000)
    await store.end(reserved, Declined("51"))
    before = await store.facts(reserved.operation.id)
    for outcome in (Declined("05"), SILENT, NotAsked("deadline")):
        result = await store.end(reserved, outcome)
        assert result.outcome == SUPERSEDED and not result.receipt
        assert await store.facts(reserved.operation.id) == before


@pytest.mark.parametrize("outcome", [Approved(400), Declined("05"), SILENT])
async def test_what_a_recoverer_found_counts_only_while_the_claim_is_his(store: Store, outcome: Outcome):
    """Another has claimed the job since: nothing is written; what the other finds is."""
    payment_id = await store.approved(Kind.AUTHORIZATION, 1000)
    capture = await store.doubted(False, Kind.CAPTURE, 400, payment_id)
    stale = await store.taken(capture)
    job = await store.desk.take(store.merchant_id, capture.operation.id)
    assert job is None, "it is in somebody's hands"
    await store.wake(payment_id, capture.operation.id, store.now)
    before = await store.facts(payment_id)
    fresh = stale._replace(operation=stale.operation._replace(attempt=3))
    assert (await store.end(fresh, outcome)).outcome == SUPERSEDED and await store.facts(payment_id) == before
    assert (await store.end(stale, Approved(400))).receipt
    after = await store.facts(payment_id)
    assert (await store.end(fresh, outcome)).outcome == SUPERSEDED and await store.facts(payment_id) == after


async def test_a_job_is_in_one_hand_and_comes_back_when_it_is_given(store: Store):
    """What was asked for meanwhile brings it back at once, and keeps it from being removed."""
    reserved = await store.doubted(False)
    name, due = reserved.operation.id, store.now + timedelta(hours=1)
    job = await store.desk.take(store.merchant_id, name)
    assert job is not None and await store.other.take(store.merchant_id, name) is None
    await store.desk.later(job, due, "in vain")
    assert (await store.facts(name)).jobs[0][2:] == (due, store.now + timedelta(days=1), 1, 0)
    again = await store.other.take(store.merchant_id, name)
    assert again is not None and (again.tries, again.note) == (2, "in vain")
    await store.desk.later(job, store.now, "too late")
    await store.desk.done(job)
    assert (await store.facts(name)).jobs[0][2:] == (due, store.now + timedelta(days=1), 2, 0)
    await store.wake(name, name, store.now + timedelta(minutes=5))
    await store.other.later(again, due + timedelta(hours=1), "in vain")
    assert (await store.facts(name)).jobs[0][2] == store.now + timedelta(minutes=5)
    third = await store.desk.take(store.merchant_id, name)
    assert third is not None
    await store.wake(name, name, store.now)
    await store.desk.done(third)
    assert len((await store.facts(name)).jobs) == 1
    fourth = await store.desk.take(store.merchant_id, name)
    assert fourth is not None
    await store.desk.done(fourth)
    assert (await store.facts(name)).jobs == [] and await store.desk.take(store.merchant_id, name) is None


# -- reversals and late answers

async def test_the_decision_to_reverse_is_stored_first_and_gives_the_job_back(store: Store):
    """From then on no approval counts, whoever brings it; only the reversal's acknowledgement ends it."""
    reserved = await store.doubted(False)
    name = reserved.operation.id
    held = await store.taken(reserved)
    decided = await store.end(held, SILENT, True)
    assert decided.outcome == SILENT and decided.receipt
    facts = await store.facts(name)
    assert facts.reversals == [(name, False)] and facts.jobs[0][2] == store.now
    held = await store.taken(reserved)
    before = await store.facts(name)
    assert (await store.end(held, Approved(1000))).outcome == SUPERSEDED and await store.facts(name) == before
    ended = await store.end(held, Reversed())
    assert ended.receipt and (await store.facts(name)).reversals == [(name, True)] and not (await store.facts(name)).jobs


async def test_an_owner_that_comes_back_with_an_approval_is_late(store: Store):
    """It is never one.  While the doubt is open its recovery is woken, and it ends undone; it is told once."""
    reserved = await store.doubted(False)
    name = reserved.operation.id
    for _ in range(2):
        result = await store.end(reserved, Approved(1000))
        assert result.outcome == SUPERSEDED and not result.receipt
    facts = await store.facts(name)
    assert facts.reversals == [(name, False)] and facts.notices == [f"late:{name}-1"]
    assert facts.jobs[0][2] == store.now and [job[0] for job in facts.jobs] == [RECOVERY]
    held = await store.taken(reserved)
    assert (await store.end(held, Approved(1000))).outcome == SUPERSEDED
    assert (await store.end(held, Reversed())).receipt


async def test_a_late_approval_of_what_is_approved_changes_nothing(store: Store):
    """Recovery had asked and heard the same."""
    reserved = await store.doubted(False)
    await store.end(await store.taken(reserved), Approved(1000))
    before = await store.facts(reserved.operation.id)
    assert (await store.end(reserved, Approved(1000))).outcome == SUPERSEDED
    assert await store.facts(reserved.operation.id) == before


async def test_a_late_approval_of_what_has_ended_otherwise_is_undone_by_a_job_of_its_own(store: Store):
    """A person had decided that it was declined."""
    reserved = await store.doubted(False)
    name = reserved.operation.id
    await store.end(await store.taken(reserved), Declined("05"))
    await store.end(reserved, Approved(1000))
    facts = await store.facts(name)
    assert facts.reversals == [(name, False)] and [job[:3] for job in facts.jobs] == [(REVERSAL, name, store.now)]


async def test_a_part_that_nobody_wants_is_reversed_by_a_job_of_its_own(store: Store):
    """The operation has ended; what the processor still owes us is in the same commit."""
    reserved = await store.accepted(Kind.PURCHASE, 1000)
    result = await store.end(reserved, Approved(400, response_code="10"))
    facts = await store.facts(reserved.operation.id)
    assert result.payment.status == "declined" and facts.reversals == [(reserved.operation.id, False)]
    assert [job[0] for job in facts.jobs] == [REVERSAL]


async def test_a_fact_is_booked_once(store: Store):
    """By its identity."""
    payment_id = await store.approved(Kind.PURCHASE, 1000)
    notice = Notice(Noticed.CHARGEBACK, "case-1", 400, payment_id)
    told = [Told(store.merchant_id, payment_id, store.new_id(), "scripted", notice) for _ in range(2)]
    (first,), (second,) = await store.outcomes(told[:1]), await store.outcomes(told[1:])
    assert first.receipt and second.refusal is Refusal.KEY_USED and second.payment.disputed == 400
    late = Told(store.merchant_id, payment_id, store.new_id(), "scripted", late_approval(payment_id, 1000))
    assert (await store.outcomes([late]))[0].refusal is Refusal.KEY_USED
    (nobody,) = await store.outcomes([told[0]._replace(payment_id=99)])
    assert nobody.refusal is Refusal.PAYMENT_NOT_FOUND


# -- whatever comes

@pytest.mark.parametrize("seed", range(12))
async def test_both_stores_answer_any_dialogue_alike(database: str, seed: int):
    """Eighty messages drawn from a seed: each reply, and what stands after it, is the same in both."""
    async with AsyncExitStack() as ends:
        stores: list[Store] = [Memory(), await Postgres().open(database, ends)]
        stores[0].merchant_id, dialogues = stores[1].merchant_id, [_Dialogue(one, random.Random(seed)) for one in stores]
        for _ in range(80):
            memory, postgres = [await one.step() for one in dialogues]
            for ours, real in zip(memory, postgres, strict=True):
                assert ours == real


class _Dialogue:
    """Says the same to any store, as long as that answers the same."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store, self._chance = store, chance
        self._payments: list[int] = []
        self._reserved: list[Reserved] = []             # everything that was ever in somebody's hands

    async def step(self) -> list[Any]:
        chance, store = self._chance, self._store
        store.now += timedelta(seconds=chance.choice((0, 1, 30)))
        what = chance.choice(("begin", "operate", "operate", "end", "end", "end", "take", "take", "late"))
        replies: list[Any] = []
        if what == "begin" or not self._payments:
            kind = chance.choice((Kind.AUTHORIZATION, Kind.PURCHASE))
            replies = await store.intents([store.intent(kind, 1000, key=f"order-{chance.randrange(9)}", partial=chance.random() < 0.3)])
        elif what == "operate":
            replies = await store.intents([self._operation() for _ in range(chance.choice((1, 1, 2)))])
        elif what == "take":
            for operation_id in await store.desk.doubts(store.merchant_id, chance.choice(self._payments)):
                job = await store.desk.take(store.merchant_id, operation_id)
                case = job and await store.desk.case(job)
                replies.append(job and job._replace(merchant_id=0))
                if job is not None and case is not None:
                    self._reserved.append(case.reserved)
                    replies.append((case.reserved.operation, case.reserved.intent.original, case.reversal_left, case.asked_at))
                    if chance.random() < 0.4:
                        await store.desk.later(job, store.now + timedelta(seconds=chance.choice((0, 60))), "in vain")
        elif self._reserved:
            reserved = chance.choice(self._reserved[-6:])
            if what == "late":
                notice = late_approval(reserved.operation.id, reserved.operation.minor)
                intent = reserved.intent
                replies = await store.outcomes([
                    Told(intent.merchant_id, intent.payment_id, store.new_id(), "scripted", notice, reverse=chance.random() < 0.5)])
            else:
                replies = await store.outcomes([Ended(reserved, *self._outcome(reserved))])
        for reply in replies:
            if isinstance(reply, Reserved):
                self._reserved.append(reply)
                if reply.intent.payment_id not in self._payments:
                    self._payments.append(reply.intent.payment_id)
        return [what, *(_shown(reply) for reply in replies), *await store.all_facts(self._payments)]

    def _operation(self) -> Intent:
        chance = self._chance
        payment_id, kind = chance.choice(self._payments), chance.choice((Kind.CAPTURE, Kind.REFUND, Kind.VOID, Kind.INCREMENT, Kind.DECREMENT))
        key = f"{payment_id}-{chance.randrange(6)}" if chance.random() < 0.6 else None
        return self._store.intent(kind, chance.choice((100, 300)), payment_id, key, asks_again=kind is Kind.REFUND)

    def _outcome(self, reserved: Reserved) -> tuple[Outcome, bool]:
        chance, minor = self._chance, reserved.operation.minor
        outcome = chance.choice((Approved(minor), Approved(minor), Approved(minor // 2, response_code="10"), Declined("51"), SILENT, SILENT,
                                 Reversed(), NotAsked("deadline")))
        return outcome, chance.random() < 0.5 and reserved.operation.kind in (Kind.AUTHORIZATION, Kind.PURCHASE, Kind.INCREMENT)


def _shown(reply: Any) -> Any:
    """What may be compared: all but receipts, and what only one of both stores counts."""
    if isinstance(reply, Reserved):
        return reply.operation, reply.held.payment, reply.row._replace(asked_at=None, ask_deadline=None)
    if isinstance(reply, Result):
        return reply.payment, reply.operation, reply.outcome, reply.refusal, reply.earlier, bool(reply.receipt)
    return reply
