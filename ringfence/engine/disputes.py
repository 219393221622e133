"""Disputes: the provider tells, the merchant answers, the clock ends his turn, and money follows.

Every step is one transaction under the case's lock: where it stands, what is to be booked on the payment, what the merchant is to be told,
and the job that goes on from it.  What leaves the database comes after: a booking is a notice on the payment, which counts once however often
it is tried; an answer goes to the processor under the case's name and its round.  Whoever dies in between, the job does the rest.  Decides
nothing about what may follow what (``core.dispute``), and knows no door's words.
"""
from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg
import msgspec

from ringfence.core.dispute import (
    ATTACHABLE,
    PROCESSING,
    WRITABLE,
    Act,
    Action,
    Decision,
    Dispute,
    Heard,
    Refusal,
    Sent,
    Silence,
    Status,
    decide,
)
from ringfence.core.dispute_reasons import Reason, code_of
from ringfence.core.notices import Notice
from ringfence.core.refusals import Refusal as Refused
from ringfence.engine import dispute_events, evidence
from ringfence.engine.batcher import CommitFailed
from ringfence.engine.intents import Result
from ringfence.engine.keys import Keyring
from ringfence.storage import disputes as rows
from ringfence.storage import jobs
from ringfence.storage.borrowing import borrowed
from ringfence.storage.disputes import AnswerRow, CaseRow, EventRow, Evidence, FileRow, MessageRow
from ringfence.storage.jobs import Job, JobRow

__all__ = ["Action", "Answer", "Case", "CaseRow", "Desk", "Evidence", "FileRow", "MessageRow", "TooMuch", "Why"]

QUEUE = "dispute"
MERCHANT, PROVIDER = "merchant", "provider"
LONGEST_MESSAGE = 2_000
LARGEST_FILE, MOST_FILES, MOST_MESSAGES, LONGEST_NAME = 5 << 20, 10, 100, 200
AGAIN = timedelta(minutes=1)
"""After so long (business time) what could not be booked, or sent, is tried again."""

#: What may be evidence: the content type, and how such a file begins.
FILE_TYPES: dict[str, bytes] = {"application/pdf": b"%PDF-", "image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}

UNSAID = "application/octet-stream"
"""The content type of a file about which nothing is said."""

log = logging.getLogger(__name__)
_ENCODE = msgspec.json.Encoder().encode


class Case(NamedTuple):
    """What a provider says of a case with every notice.  ``capture_id``: the operation concerned, 0 for the payment as a whole."""

    processor: str
    name: str
    payment_id: int
    capture_id: int
    minor: int
    reason: Reason
    note: str = ""


class Answer(NamedTuple):
    """A merchant's answer as a processor gets it; the same for the same case and round, however often it is sent."""

    case: str
    round: int
    action: Action
    minor: int
    message: str
    evidence: tuple[Evidence, ...]
    at: datetime


Send = Callable[[Answer], Awaitable[bool]]
"""Hands an answer to a processor; true once it has it."""
Book = Callable[[int, int, str, Notice], Awaitable[Result]]
"""``Engine.notice``."""


class Why(NamedTuple):
    """Why an answer, a message or a file is not taken; ``field`` says which part of it is to blame, where one is."""

    refusal: Refusal | None
    problem: str
    field: str = ""


class NotThere(NamedTuple):
    """The merchant has no dispute of that id."""


class TooMuch(NamedTuple):
    """More than may be kept."""

    problem: str


class Desk:
    """Everything that is done with disputes."""

    def __init__(
        self, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], datetime], new_id: Callable[[], int], *, book: Book | None = None,
        send: Mapping[str, Send] | None = None, nudge: Callable[[], object] = lambda: None,
    ) -> None:
        """``now`` is business time; ``send`` by processor; ``nudge`` has the queue look now.  Without ``book`` what follows is left to it."""
        self._pool, self._keyring, self._now, self._new_id = pool, keyring, now, new_id
        self._book, self._send, self._nudge = book, send or {}, nudge

    # -- the provider

    async def tell(self, merchant_id: int, case: Case, heard: Heard, note: str = "") -> CaseRow | None:
        """Take a provider's notice; the case as it stands then, ``None`` where the payment has not begun (tell it again later).

        Told twice it does nothing; told early it waits for its predecessors.
        """
        async with borrowed(self._pool) as connection:
            began = await rows.origin(connection, merchant_id, case.payment_id)
            if began is None:
                return None
            now = self._now()
            async with connection.transaction():
                row = await rows.opened(connection, CaseRow(
                    merchant_id, self._new_id(), case.payment_id, case.capture_id, case.processor, case.name, began.currency, began.door,
                    began.reference, case.reason, code_of(case.reason, began.brand), case.note, Dispute(case.minor), "", now, now))
                if await rows.hear(connection, row, heard, note, now):
                    row = await self._hear(connection, row, now)
        return await self._go_on(row)

    async def _hear(self, connection: asyncpg.Connection, row: CaseRow, now: datetime) -> CaseRow:
        """Apply what is kept and has its turn."""
        for heard, note, _ in await rows.heard(connection, row, row.stands.heard):
            decision = decide(row.stands, heard, now)
            if not isinstance(decision, Decision):
                log.warning("dispute %d: notice %d waits for its predecessors", row.dispute_id, heard.number)
                break
            if note and heard.number > 1 and (decision.dispute.is_closed or decision.dispute.status != row.stands.status):
                row = row._replace(closing_note=note if decision.dispute.is_closed else row.closing_note)
                await rows.write(connection, row, MessageRow(self._new_id(), PROVIDER, decision.dispute.phase, note, now))
            row = await self._apply(connection, row, decision, now)
        return row

    # -- the merchant

    async def act(
        self, merchant_id: int, dispute_id: int, act: Act, *, actor: str, message: str = "", resolution: str = "",
    ) -> CaseRow | Why | NotThere:
        """Take a merchant's answer; it is sent at once, or by the queue.  The same answer given again is the one that was given."""
        if len(message) > LONGEST_MESSAGE:
            return Why(None, f"must have at most {LONGEST_MESSAGE} characters", "message")
        async with self._held(merchant_id, dispute_id) as (connection, row, now):
            if row is None:
                return NotThere()
            decision = decide(row.stands, act, now)
            if not isinstance(decision, Decision):
                answers = await rows.answers(connection, row)
                if answers and answers[-1][1:5] == (act.action, act.minor, resolution, message):
                    return row
                return _why(decision, act, row)
            await rows.answer(connection, row, AnswerRow(
                decision.dispute.round, act.action, act.minor, resolution, message, actor, now, None))
            if message:
                await rows.write(connection, row, MessageRow(self._new_id(), MERCHANT, row.stands.phase, message, now))
            row = await self._apply(connection, row, decision, now)
        return await self._go_on(row)

    async def write(self, merchant_id: int, dispute_id: int, content: str, number: int | None = None) -> MessageRow | Why | NotThere:
        """Keep a message of the merchant's; written again under the same number it is the one that was written."""
        if not content.strip():
            return Why(None, "must say something", "content")
        if len(content) > LONGEST_MESSAGE:
            return Why(None, f"must have at most {LONGEST_MESSAGE} characters", "content")
        async with self._held(merchant_id, dispute_id) as (connection, row, now):
            if row is None:
                return NotThere()
            written = await rows.messages(connection, row)
            if before := next((one for one in written if one.message_id == number), None):
                return before
            if row.stands.status not in WRITABLE:
                return Why(None, f"messages can be written while it is {' or '.join(WRITABLE)}; it is {row.stands.status}")
            if len(written) >= MOST_MESSAGES:
                return Why(None, f"at most {MOST_MESSAGES} messages are kept")
            message = MessageRow(number or self._new_id(), MERCHANT, row.stands.phase, content, now)
            await rows.write(connection, row, message)
            return message

    async def attach(
        self, merchant_id: int, dispute_id: int, shown: Evidence, number: int | None = None
    ) -> FileRow | Why | TooMuch | NotThere:
        """Keep a file of the merchant's, which goes with his answer; added again under the same number it is the one that was added."""
        if len(shown.content) > LARGEST_FILE:
            return TooMuch(f"must have at most {LARGEST_FILE >> 20} MB")
        kind = kind_of(shown)
        if kind is None:
            return Why(None, f"must be one of {', '.join(FILE_TYPES)}", "file")
        name = shown.name.replace("\\", "/").rpartition("/")[2]
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            return Why(None, f"must have a printable name of at most {LONGEST_NAME} characters", "file")
        async with self._held(merchant_id, dispute_id) as (connection, row, now):
            if row is None:
                return NotThere()
            added = await rows.files(connection, row)
            if before := next((one for one in added if one.file_id == number), None):
                return before
            if row.stands.status not in ATTACHABLE:
                return Why(None, f"evidence can be added while it is {' or '.join(ATTACHABLE)}; it is {row.stands.status}")
            if len(added) >= MOST_FILES:
                return TooMuch(f"at most {MOST_FILES} files are kept")
            file = FileRow(number or self._new_id(), name, kind, len(shown.content), row.stands.phase, MERCHANT, False, now)
            await rows.attach(connection, row, file, evidence.sealed(self._keyring, merchant_id, file.file_id, shown.content))
            return file

    # -- the clock, and what leaves the database

    async def run(self, job: Job) -> None:
        """What is due of a case: its deadline, its bookings, its answer; then the job is given back."""
        async with self._held(job.merchant_id, job.subject) as (connection, row, now):
            if row is not None and isinstance(decision := decide(row.stands, Silence(), now), Decision):
                await self._apply(connection, row, decision, now)
        is_done = row is not None and await self._carry(row.merchant_id, row.dispute_id)
        async with borrowed(self._pool) as connection:
            row = await rows.one(connection, job.merchant_id, job.subject)
            if row is None:
                await jobs.done(connection, job)
            elif not is_done:
                await jobs.later(connection, job, self._now() + AGAIN, "could not be booked, or sent")
            elif row.stands.status is Status.OPEN and row.stands.due_at is not None:
                await jobs.later(connection, job, row.stands.due_at)
            else:
                await jobs.done(connection, job)

    async def _go_on(self, row: CaseRow) -> CaseRow:
        """What follows at once; the job is there for what does not come about, and for the deadline."""
        if self._book is None:
            self._nudge()
            return row
        await self._carry(row.merchant_id, row.dispute_id)
        self._nudge()
        async with borrowed(self._pool) as connection:
            return await rows.one(connection, row.merchant_id, row.dispute_id) or row

    async def _carry(self, merchant_id: int, dispute_id: int) -> bool:
        """Book what is not booked, send what is not sent, book what follows from that; whether nothing is left."""
        return await self._booked(merchant_id, dispute_id) and (
            await self._sent(merchant_id, dispute_id) and await self._booked(merchant_id, dispute_id))

    async def _booked(self, merchant_id: int, dispute_id: int) -> bool:
        async with borrowed(self._pool) as connection:
            row = await rows.one(connection, merchant_id, dispute_id)
            left = await rows.unbooked(connection, merchant_id, dispute_id)
        for place, noticed, minor in left if row is not None else ():
            if self._book is None:
                return False
            notice = Notice(noticed, f"dispute:{dispute_id}:{place}", minor, row.capture_id)
            try:
                result = await self._book(merchant_id, row.payment_id, row.processor, notice)
            except CommitFailed:
                return False
            if result.refusal is Refused.PAYMENT_NOT_FOUND:
                return False
            async with borrowed(self._pool) as connection:
                await rows.note_booked(connection, merchant_id, dispute_id, place, self._now())
        return True

    async def _sent(self, merchant_id: int, dispute_id: int) -> bool:
        async with borrowed(self._pool) as connection:
            row = await rows.one(connection, merchant_id, dispute_id)
            answers = await rows.answers(connection, row) if row is not None else []
            is_on_its_way = row is not None and row.stands.status in PROCESSING.values()
            if row is None or not is_on_its_way or answers[-1].sent_at is not None:
                return True
            files = [
                found for one in await rows.files(connection, row)
                if (found := await evidence.find(connection, self._keyring, merchant_id, dispute_id, one.file_id)) is not None]
        last, send = answers[-1], self._send.get(row.processor)
        if send is None:
            return False
        answer = Answer(
            row.case_name, last.round, Action(last.action), row.stands.offered, last.message, tuple(files), last.asked_at)
        try:
            if not await send(answer):
                return False
        except Exception:
            log.exception("processor %s broke its contract", row.processor)
            return False
        async with self._held(merchant_id, dispute_id) as (connection, row, now):
            assert row is not None, "cases stay"
            await rows.note_sent(connection, row, last.round, now)
            if isinstance(decision := decide(row.stands, Sent(last.round), now), Decision):
                await self._apply(connection, row, decision, now)
        return True

    # -- what holds together

    @asynccontextmanager
    async def _held(self, merchant_id: int, dispute_id: int) -> AsyncIterator[tuple[asyncpg.Connection, CaseRow | None, datetime]]:
        """A transaction with the case held in it (``None``: there is none), and its instant."""
        async with borrowed(self._pool) as connection, connection.transaction():
            yield connection, await rows.lock(connection, merchant_id, dispute_id), self._now()

    async def _apply(self, connection: asyncpg.Connection, row: CaseRow, decision: Decision, now: datetime) -> CaseRow:
        """Store what was decided of a case that is held, and all that follows."""
        row = row._replace(stands=decision.dispute, changed_at=now)
        await rows.save(connection, row)
        for noticed, minor in decision.bookings:
            await rows.book(connection, row, self._new_id(), noticed, minor, now)
        moved = decision.bookings[0].minor if decision.bookings else 0
        for happened in decision.events:
            await dispute_events.tell(connection, row.merchant_id, "dispute", row.dispute_id, row.payment_id, EventRow(
                self._new_id(), happened, _ENCODE(_told(row, moved)), now))
        if decision.bookings or decision.answer:
            due: datetime | None = now
        else:
            due = row.stands.due_at if row.stands.status is Status.OPEN else None
        if due is not None:
            await jobs.wake(connection, [JobRow(row.merchant_id, QUEUE, row.dispute_id, row.payment_id, due)])
        return row


def kind_of(shown: Evidence) -> str | None:
    """The content type of a file, which must begin as such files do; where none was said, that of files that begin so."""
    possible = FILE_TYPES if shown.content_type == UNSAID else {shown.content_type} & FILE_TYPES.keys()
    return next((kind for kind in possible if shown.content.startswith(FILE_TYPES[kind])), None)


def _told(row: CaseRow, moved: int) -> dict[str, object]:
    """What an event says: values as they stand at its instant, whichever door will word them."""
    stands = row.stands
    return {
        "dispute": str(row.dispute_id), "payment": str(row.payment_id), "capture": str(row.capture_id), "reference": row.reference,
        "door": row.door, "phase": stands.phase, "status": stands.status, "amount": stands.minor, "moved": moved, "currency": row.currency,
        "reason": row.reason, "reason_code": row.reason_code, "due_at": stands.due_at, "closing": stands.closing,
    }


PROBLEMS: dict[Refusal, str] = {
    Refusal.NOT_ALLOWED: "is not possible in this phase",
    Refusal.NOT_YOUR_TURN: "an answer is on its way, or the issuer has it to decide",
    Refusal.CLOSED: "the dispute has ended",
    Refusal.TOO_LATE: "its time is over",
}


def _why(refusal: Refusal, act: Act, row: CaseRow) -> Why:
    if refusal is not Refusal.AMOUNT_WRONG:
        return Why(refusal, PROBLEMS[refusal], "action" if refusal is Refusal.NOT_ALLOWED else "")
    if act.action is Action.ACCEPT:
        return Why(refusal, "goes with a challenge or an offer only", "amount")
    return Why(refusal, f"must be 1 to {row.stands.minor} minor units", "amount")
