"""The story of a payment, in sentences: who asked for what, what the processor said, what was posted, what comes next.

It reads one snapshot, decides nothing and shows no secret: of a card first and last digits, of an answer what its code means.
Instants of the story are business time; deadlines and reversals are wall time and say so.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from ringfence.core.chain import Link
from ringfence.core.commands import Kind
from ringfence.core.events import Event
from ringfence.core.ids import LARGEST, made_at
from ringfence.core.money import format_minor
from ringfence.core.notices import DEBTS
from ringfence.core.outcomes import Silence
from ringfence.core.proof import receipt_text
from ringfence.core.response_codes import ADVICE, meaning_of
from ringfence.engine import authentication_story, dispute_story
from ringfence.engine.outcome_batch import LEGS_PER_ATTEMPT
from ringfence.storage import reports
from ringfence.storage.reports import Life, Named, Window

#: How an unknown operation ends, by its kind.
WHAT_NEXT: dict[Kind, str] = {
    Kind.AUTHORIZATION: "The processor is asked what became of it, or exactly that message is reversed.",
    Kind.PURCHASE: "The processor is asked what became of it, or it is reversed; after the cut-over, what is known to be paid is refunded.",
    Kind.INCREMENT: "The processor is asked what became of it, or it is reversed down to the amount held before; the first hold is not touched.",
    Kind.DECREMENT: "The same message is repeated until it is acknowledged; it is never reversed.",
    Kind.CAPTURE: "The same message is repeated until it is acknowledged; it is never reversed.",
    Kind.VOID: "The same message is repeated until it is acknowledged; it is never reversed.",
    Kind.REFUND: "The processor is asked what became of it, or it is repeated under the same key; where neither is possible, a person decides.",
}

WHY_SILENT: dict[str, str] = {
    Silence.NO_ANSWER: "no answer came in time",
    Silence.CONNECTION_LOST: "the connection broke",
    Silence.NOT_BELIEVABLE: "the answer could not be believed",
    Silence.OWNER_GONE: "the process that asked died before it wrote the answer",
    Silence.SUPERSEDED: "recovery had taken the operation over before the answer came",
    Silence.PENDING: "the processor has it, and has not decided",
}

WHY_REVERSED: dict[str, str] = {
    "partial_not_wanted": "less was approved than asked, and a part is not wanted",
    Silence.SUPERSEDED: "the approval came after the attempt had ended",
    "unknown": "nobody could say what had become of it",
}

BEFORE_ASKED, BEHIND_ASKED = timedelta(seconds=10), timedelta(seconds=150)
"""Between the moment an operation's id was made and its deadline lies less than the longest time a processor may think."""

#: Events that say more than the outcome before them.
TOLD = {
    Event.OVER_RETURNED: "More went back than was captured: a person should look at this payment.",
    Event.NOTICE_UNMATCHED: "The fact speaks of more than the books hold; the difference is not posted.",
    Event.POSSIBLE_DUPLICATE: "An identical request came less than a minute before: a possible duplicate.",
}

RETURNED = "suspense_returned"
"""The transfer that tells of a purchase that was given back by a refund."""

_NAMES = {"increment": "increase of the hold", "decrement": "decrease of the hold"}


class Sentence(NamedTuple):
    """One thing that happened (``at``: business time, UTC), or how things stand (``None``)."""

    at: datetime | None
    what: str                       # asked, outcome, posted, event, fact, dispute, reversal, standing, next
    text: str


class Chapter(NamedTuple):
    """One payment; ``names``: what each door calls it."""

    merchant: str
    payment_id: int
    told: tuple[Sentence, ...]
    names: Mapping[str, str] = {}


class Story(NamedTuple):
    """What a name means: one payment, or several with the same reference."""

    name: str
    chapters: tuple[Chapter, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """All of it, a line each."""
        lines = []
        for chapter in self.chapters:
            called = "".join(f", {what} {name}" for what, name in chapter.names.items())
            lines.append(f"Payment {chapter.payment_id} of {chapter.merchant}{called}.")
            lines += [f"{_instant(one.at)}  {one.text}" if one.at else one.text for one in chapter.told]
        return tuple(lines)

    def as_json(self) -> dict[str, Any]:
        """For machines; ids are texts, they have 63 bits."""
        return {
            "name": self.name,
            "payments": [
                {"merchant": chapter.merchant, "payment": str(chapter.payment_id), "names": dict(chapter.names),
                 "story": [{"at": one.at.isoformat() if one.at else None, "what": one.what, "text": one.text} for one in chapter.told]}
                for chapter in self.chapters
            ],
        }


def id_of(name: str) -> int | None:
    """A name as an id; ``None`` where it is none."""
    number = int(name) if name.isascii() and name.isdecimal() and len(name) <= 19 else LARGEST + 1
    return number if number <= LARGEST else None


def asked_about(number: int) -> Window:
    """When an operation with this id was asked: the id says when it was made."""
    made = made_at(number)
    return Window(made - BEFORE_ASKED, made + BEHIND_ASKED)


async def explain(
    pool: asyncpg.Pool, name: str, merchant: str | None = None, *, keys: Callable[[str], Sequence[str]],
    asked: Callable[[int], Window] = asked_about, now: datetime | None = None, number_of: Callable[[str], int | None] = id_of,
    names_of: Callable[[int], Mapping[str, str]] = lambda payment_id: {},
) -> Story | None:
    """The story behind a payment's id, an operation's id or a door's reference; ``None`` where nothing has that name.

    ``merchant``: a wire name, where only its payments may be shown.  ``keys``: what a first operation of that reference claims, at any
    door.  ``asked``: where ids do not tell when they were made.  ``now``: wall time, for deadlines.  ``number_of``: the id that a name
    stands for at any door; ``names_of``: what the doors call a payment.
    """
    number = number_of(name)
    async with reports.borrowed(pool) as connection, reports.snapshot(connection):
        found = await reports.named(connection, name, merchant, keys=keys(name), number=number, asked=asked(number or 0))
        chapters = [
            _chapter(one, await reports.life(connection, one.merchant_id, one.payment_id), now or datetime.now(UTC))
            ._replace(names=names_of(one.payment_id)) for one in found]
    return Story(name, tuple(chapters)) if chapters else None


def _chapter(named: Named, life: Life, now: datetime) -> Chapter:
    currency = life.operations[0]["currency"]
    told = sorted(_happened(life, currency, now), key=lambda item: item[0])
    ending = (*_standing(life, currency), *_next(life, now))
    return Chapter(named.merchant, named.payment_id, (*(sentence for _, sentence in told), *ending))


Place = tuple[datetime, int, int, int]
"""Where a sentence stands: its instant; then its operation, attempt and turn, for what happened at one instant."""


def _happened(life: Life, currency: str, now: datetime) -> Iterator[tuple[Place, Sentence]]:
    kinds = {row["operation_id"]: row["kind"] for row in life.operations}
    processors = {row["operation_id"]: row["processor"] for row in life.operations}
    outcomes = {(row["operation_id"], row["attempt"]): row["answered_at"] for row in life.outcomes}
    facts = {row["operation_id"]: row["noticed_at"] for row in life.notices}
    for row in life.operations:
        yield (row["asked_at"], row["operation_id"], 0, 0), Sentence(row["asked_at"], "asked", _asked(row))
    for one in life.authentications:
        for at, attempt, text in authentication_story.happened(one):
            yield (at, one.payment_id, attempt, 0), Sentence(at, "authentication", text)
    for at, event_id, text in dispute_story.happened(life.dispute_events):
        yield (at, event_id, 0, 0), Sentence(at, "dispute", text)
    returned = {(row["operation_id"], row["leg"] // LEGS_PER_ATTEMPT + 1): row["minor"] for row in life.transfers if row["kind"] == RETURNED}
    for row in life.outcomes:
        place = (row["answered_at"], row["operation_id"], row["attempt"], 1)
        kind, processor = kinds.get(row["operation_id"], "operation"), processors.get(row["operation_id"], "the processor")
        given_back = returned.get((row["operation_id"], row["attempt"]), 0)
        yield place, Sentence(row["answered_at"], "outcome", _outcome(row, kind, processor, currency, given_back))
    for row in life.notices:
        yield (row["noticed_at"], row["operation_id"], 0, 1), Sentence(row["noticed_at"], "fact", _fact(row, currency))
    for row in life.transfers:
        attempt = row["leg"] // LEGS_PER_ATTEMPT + 1
        at = outcomes.get((row["operation_id"], attempt)) or facts.get(row["operation_id"]) or datetime.max.replace(tzinfo=UTC)
        text = f"Posted {format_minor(row['minor'], row['currency'])}: {row['debit']} ← {row['credit']} ({row['kind']}, {row['value_date']})."
        yield (at, row["operation_id"], attempt, 2 + row["leg"] % LEGS_PER_ATTEMPT), Sentence(at, "posted", text)
    for row in life.events:
        text = TOLD.get(row["event"], f"Event {row['sequence']}: {row['event']}.")
        yield (row["occurred_at"], row["operation_id"], row["attempt"], LEGS_PER_ATTEMPT), Sentence(row["occurred_at"], "event", text)


def _asked(row: asyncpg.Record) -> str:
    kind = _NAMES.get(row["kind"], row["kind"])
    amount = format_minor(row["minor"], row["currency"])
    if row["kind"] == Kind.VOID and row["reason"] == "expired":
        what = f"The hold was past its instant: giving back {amount} was asked by {row['actor']}"
    else:
        what = f"{kind.capitalize()} of {amount} asked by {row['actor']}"
    told = [f"{what} ({row['source']}) at the door {row['door']}"]
    if row["reference"]:
        told.append(f"reference {row['reference']}")
    if row["last4"]:
        told.append(f"{row['brand']} {row['bin'][:6]}******{row['last4']}")
    if row["initiation"] != "cardholder":
        told.append(f"started by the merchant ({row['initiation']})")
    if row["channel"] != "ecommerce":
        told.append(f"channel {row['channel']}")
    return f"{', '.join(told)}. It was accepted, {amount} reserved, and {row['processor']} was to be asked.{_allotted(row)}"


def _allotted(row: asyncpg.Record) -> str:
    numbers = row["allotment"] or ()
    parts = [
        f"{format_minor(minor, row['currency'])} of capture {capture}" for capture, minor in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    return f" It returns {' and '.join(parts)}." if parts else ""


def _outcome(row: asyncpg.Record, kind: str, processor: str, currency: str, given_back: int) -> str:
    code, name = row["response_code"], _NAMES.get(kind, kind)
    again = f" (attempt {row['attempt']})" if row["attempt"] > 1 else ""
    match row["result"]:
        case "approved":
            names = [f"{what} {row[column]}" for what, column in (
                ("approval code", "approval_code"), ("scheme reference", "scheme_reference"), ("reference", "processor_reference"),
            ) if row[column]]
            more = f"; {', '.join(names)}" if names else ""
            text = f"{processor} approved {format_minor(row['minor'], currency)}{again}: response code {code}, {meaning_of(code).meaning}{more}."
        case "declined":
            advice = f"; advice {row['advice']}: {ADVICE.get(row['advice'], 'not in the table')}" if row["advice"] else ""
            theirs = f"; {processor} calls it {row['scheme_reference']}" if row["scheme_reference"] else ""
            text = f"{processor} declined the {name}{again}: response code {code}, {meaning_of(code).meaning}{advice}{theirs}."
        case "unknown" if code == Silence.PENDING and kind == Kind.REFUND:
            text = f"{processor} has taken the refund{again}, which is not final yet: it is owed to the payer until it is."
        case "unknown":
            text = f"What became of the {name} is unknown{again}: {WHY_SILENT.get(code, code)}. Its amount stays reserved."
        case "reversed" if given_back:
            text = (f"The {name} had been paid, and its business day was over: {format_minor(given_back, currency)} went back by a refund"
                    f"{again}.")
        case "reversed":
            text = f"The {name} was reversed{again}: nothing is held at the issuer."
        case "challenge":
            text = f"The payer was asked to authenticate{again}."
        case _:
            text = f"{processor} was not asked ({code}){again}: it is certain that nothing happened."
    if row["digest"] is None:
        return f"{text} Its batch is missing from the chain!"
    link = Link(row["lane"], row["number"], 0, row["answered_at"], 0, row["digest"])
    return f"{text} Receipt {receipt_text(link)}."


def _fact(row: asyncpg.Record, currency: str) -> str:
    what = row["noticed"].replace("_", " ").capitalize()
    amount = f", {format_minor(row['minor'], currency)}" if row["minor"] else ""
    if row["noticed"] in DEBTS:
        return f"Of what left the store: {what[0].lower()}{what[1:]}{amount} (identity {row['identity']})."
    capture = f", capture {row['capture_id']}" if row["capture_id"] else ""
    return f"A fact from outside: {what}{amount}{capture} (identity {row['identity']})."


def _standing(life: Life, currency: str) -> Iterator[Sentence]:
    row = life.standing
    if row is None:
        return
    open_ = row["authorized"] - row["captured"] - row["voided"] - row["expired"] - row["unsecured"]
    names = ("authorized", "captured", "voided", "expired", "unsecured", "refunded", "disputed", "charged_back")
    amounts = [(name.replace("_", " "), row[name]) for name in names] + [("still open", open_)]
    told = ", ".join(f"{name} {format_minor(minor, currency)}" for name, minor in amounts if minor)
    yield Sentence(None, "standing", f"It is {row['status']} now{': ' + told if told else ''}.")
    pending = ", ".join(
        f"{name} {format_minor(row[f'pending_{name}'], currency)}"
        for name in ("authorization", "increment", "decrement", "capture", "void", "refund") if row[f"pending_{name}"]
    )
    if pending:
        yield Sentence(None, "standing", f"Reserved for operations without an end: {pending}.")
    if row["expires_at"] is not None and open_ + row["unsecured"] > 0:
        yield Sentence(None, "next", f"What is open is given back at {_instant(row['expires_at'])}, unless it is captured before.")


def _next(life: Life, now: datetime) -> Iterator[Sentence]:
    """What still has to come: operations without an end, and reversals without an acknowledgement."""
    recovered = {row["operation_id"]: row for row in life.jobs if row["queue"] == "recovery"}
    results: dict[int, list[str]] = {}
    for row in life.outcomes:
        results.setdefault(row["operation_id"], []).append(row["result"])
    for row in life.operations:
        kind, seen = _NAMES.get(row["kind"], row["kind"]), results.get(row["operation_id"], [])
        if any(result not in ("unknown", "challenge") for result in seen):
            continue
        if "unknown" in seen:
            job = recovered.get(row["operation_id"])
            yield Sentence(None, "next", f"The {kind} of {row['operation_id']} is in doubt. {WHAT_NEXT[Kind(row['kind'])]}{_tried(job)}")
        elif seen:
            yield Sentence(None, "next", f"The {kind} waits for the payer.{authentication_story.next_of(life.authentications)}")
        elif row["ask_deadline"] <= now:
            yield Sentence(None, "next", (
                f"The {kind} of {row['operation_id']} has no outcome, and the time of whoever asked ran out at {_instant(row['ask_deadline'])} "
                f"(wall time): it counts as unknown. {WHAT_NEXT[Kind(row['kind'])]}"
            ))
        else:
            yield Sentence(None, "next", f"The {kind} is being asked right now; its owner has until {_instant(row['ask_deadline'])} (wall time).")
    for text in dispute_story.next_of(life.disputes):
        yield Sentence(None, "next", text)
    yield from _decided(life.reviews, results, life.operations[0]["currency"])
    yield from _owed(life.reversals, {row["operation_id"] for row in life.reviews})


def _tried(job: asyncpg.Record | None) -> str:
    """How far the end of a doubt has come."""
    if job is None:
        return " Nobody is ending it!"
    times = f" It was tried {'once' if job['tries'] == 1 else str(job['tries']) + ' times'} so far" if job["tries"] else " It was not tried yet"
    met = f" ({job['note']})" if job["note"] else ""
    person = f" From {_instant(job['deadline_at'])} on a person should decide." if job["deadline_at"] else ""
    return f"{times}{met}; the next try is due at {_instant(job['due_at'])}.{person}"


def _decided(reviews: Iterable[asyncpg.Record], results: dict[int, list[str]], currency: str) -> Iterator[Sentence]:
    """What a person said, and whether it was written yet."""
    for row in reviews:
        amount = f" with {format_minor(row['minor'], currency)}" if row["minor"] else ""
        is_written = any(result not in ("unknown", "challenge") for result in results.get(row["operation_id"], []))
        yield Sentence(None, "decision", (
            f"{row['decided_by']} decided at {_instant(row['decided_at'])} (wall time) that {row['operation_id']} was {row['decided']}{amount}: "
            f"{row['reason']}. Evidence: {row['evidence']}.{'' if is_written else ' It is about to be written.'}"
        ))


def _owed(reversals: Iterable[asyncpg.Record], decided: Collection[int]) -> Iterator[Sentence]:
    """What is sent until it is acknowledged, or until a person has ``decided`` about its operation."""
    for row in reversals:
        why = WHY_REVERSED.get(row["why"], row["why"])
        done = "not acknowledged yet; it is sent until it is"
        if row["acknowledged_at"] and row["operation_id"] in decided:
            done = f"no longer sent since {_instant(row['acknowledged_at'])} (wall time), as a person decided"
        elif row["acknowledged_at"]:
            done = f"acknowledged at {_instant(row['acknowledged_at'])} (wall time)"
        yield Sentence(None, "reversal", f"A reversal of {row['operation_id']} is owed to the processor, because {why}: {done}.")


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
