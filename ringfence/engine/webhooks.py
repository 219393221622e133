"""What merchants are told: deliveries made of events, looked at, and asked for again.

A delivery is made once for an event and an endpoint, with the very bytes that every attempt sends.  Whoever makes one wakes the
endpoint's job in the same transaction, so that nothing waits unseen.  Refuses to know how it is sent, and what the bytes say.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.engine import feed
from ringfence.engine.addresses import Rules, problem
from ringfence.engine.directory import Directory
from ringfence.engine.feed import Notifier, Policy
from ringfence.engine.wording import Told, beside, in_words
from ringfence.storage import door_events, jobs
from ringfence.storage import webhooks as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import JobRow
from ringfence.storage.webhooks import AttemptRow, DeliveryKey, DeliveryRow, Place, PolicyRow

QUEUE = "delivery"
"""The queue of endpoints that have something to tell; a job's subject is the endpoint's number."""
NOWHERE = 0
"""The endpoint of what could not be put into words."""
STATES = ("waiting", "delivered", "given_up")
PAGE = 2_000
"""Events that are handed out together: many, because each page waits for its turn between live requests a dozen times."""
MAX_LISTED = 500


# ------------------------------------------------------------------------------------------------- values for operators

class Endpoint(NamedTuple):
    """One address of a merchant at a door, how it is told, and how that went.  Times are business time."""

    merchant_id: int
    endpoint_id: int
    door: str
    url: str
    policy: Policy
    failures: int                       # in a row
    probe_at: datetime | None           # the circuit is open: one attempt, not before
    delivered_at: datetime | None
    failed_at: datetime | None
    last_status: int | None
    last_error: str
    created_at: datetime
    waiting: int
    given_up: int


class Delivery(NamedTuple):
    """One event at one endpoint.  ``tried``: since it was made, or asked for again; ``attempts``: ever.  Times are business time.

    ``url`` is empty where the event could not be put into words; ``next_at`` means something while it waits.
    """

    merchant_id: int
    endpoint_id: int
    payment_id: int
    sequence: int
    event: str
    purpose: str
    content_type: str
    state: str
    tried: int
    attempts: int
    next_at: datetime
    created_at: datetime
    ended_at: datetime | None
    url: str

    @property
    def key(self) -> DeliveryKey:
        """What names it: merchant, endpoint, payment, sequence."""
        return self[:4]


class Shown(NamedTuple):
    """A delivery with its bytes (``None`` once they were erased) and its log."""

    delivery: Delivery
    body: bytes | None
    log: list[AttemptRow]


class One(NamedTuple):
    """One delivery."""

    merchant_id: int
    endpoint_id: int
    payment_id: int
    sequence: int


class Failed(NamedTuple):
    """Everything that was given up, of one merchant (its number) or of all."""

    merchant_id: int | None = None


class Range(NamedTuple):
    """What was made from one instant to another (business time, the second one excluded), delivered or not."""

    since: datetime
    until: datetime
    merchant_id: int | None = None


Selection = One | Failed | Range


class Refused(NamedTuple):
    """A wish that makes no sense, and why; nothing was changed."""

    problem: str


# ------------------------------------------------------------------------------------------------------------- looking

async def endpoints(pool: asyncpg.Pool, merchant: int | None = None) -> list[Endpoint]:
    """The endpoints of one merchant (its number) or of all."""
    found = []
    for row in await rows.endpoints(pool, merchant):
        values = tuple(row)
        found.append(Endpoint(*values[:4], policy_from(PolicyRow(*values[4:9])), *values[9:]))
    return found


async def deliveries(
    pool: asyncpg.Pool, *, merchant: int | None = None, state: str | None = None, since: datetime | None = None,
    until: datetime | None = None, after: Delivery | None = None, limit: int = 100,
) -> list[Delivery]:
    """Deliveries, newest first; the next page begins behind the last one of this (``after``).

    ``merchant`` is its number, ``since`` and ``until`` are when they were made (business time, the second excluded).
    """
    behind = (after.created_at, *after.key) if after else None
    return [Delivery(*row) for row in await rows.deliveries(pool, merchant, state, since, until, behind, min(limit, MAX_LISTED))]


async def delivery(pool: asyncpg.Pool, merchant: int, endpoint: int, payment: int, sequence: int) -> Shown | None:
    """One delivery with its bytes and its log; ``None`` where there is none."""
    row = await rows.delivery(pool, (merchant, endpoint, payment, sequence))
    if row is None:
        return None
    values = tuple(row)
    return Shown(Delivery(*values[:14]), values[14], await rows.attempts(pool, (merchant, endpoint, payment, sequence)))


# -------------------------------------------------------------------------------------------------------- telling again

async def redeliver(
    pool: asyncpg.Pool, now: datetime, selection: Selection, url: str | None = None, *, rules: Rules,
) -> int | Refused:
    """Begin deliveries anew, due at once (``now``: business time), where they are or, as copies, at another address; how many.

    What has no bytes any more is left out, and refused where it is the only one asked for.  A new address is judged like a setting,
    and is told as the endpoint is from which it gets its first copy.
    """
    if isinstance(selection, Range) and selection.until <= selection.since:
        return Refused("the range ends before it begins")
    if url is not None and (why := problem(url, rules)):
        return Refused(f"url {why}")
    async with borrowed(pool) as connection:
        if isinstance(selection, One):
            found = await rows.delivery(connection, tuple(selection))
            if found is None:
                return Refused("there is no such delivery")
            if selection.endpoint_id == NOWHERE:
                return Refused("it was never put into words; replay its event instead")
            if found["body"] is None:
                return Refused("its bytes were erased")
        elsewhere = {} if url is None else await _elsewhere(connection, now, await _chosen(connection, selection), url)
        async with connection.transaction():
            keys = await _chosen(connection, selection)
            if url is None:
                await wake(connection, now, {key[:2] for key in keys})
                return await rows.tell_again(connection, now, keys)
            copies = [(*key, elsewhere[key[:2]]) for key in keys if key[:2] in elsewhere]
            await wake(connection, now, {(copy[0], copy[4]) for copy in copies})
            return await rows.tell_elsewhere(connection, now, copies)


async def _chosen(connection: asyncpg.Connection, selection: Selection) -> list[DeliveryKey]:
    match selection:
        case One():
            return await rows.chosen(connection, tuple(selection), False, None, None)
        case Failed(merchant_id):
            return await rows.chosen(connection, (merchant_id, None, None, None), True, None, None)
        case Range(since, until, merchant_id):
            return await rows.chosen(connection, (merchant_id, None, None, None), False, since, until)


async def _elsewhere(connection: asyncpg.Connection, now: datetime, keys: Iterable[DeliveryKey], url: str) -> dict[tuple[int, int], int]:
    """The endpoint at another address for each that has something to copy; made where it is new."""
    known = await rows.policies(connection, sorted({key[:2] for key in keys}))
    wanted: dict[Place, PolicyRow] = {}
    for (merchant_id, _), (door, policy) in sorted(known.items()):
        wanted.setdefault((merchant_id, door, url), policy)
    there = await _kept(connection, now, wanted, keep_policies=True)
    return {key: there[key[0], door, url] for key, (door, _) in known.items()}


async def replay(
    pool: asyncpg.Pool, now: datetime, directory: Directory, notifiers: Mapping[str, Notifier], since: datetime, until: datetime,
    merchant: int | None = None, event: str | None = None,
) -> int | Refused:
    """Hand events of batches committed in a range (wall time, the end excluded) to the endpoints of today; how many deliveries
    that made: of all events, or of one name.  What an endpoint has been given already it does not get again."""
    if until <= since:
        return Refused("the range ends before it begins")
    made, behind = 0, 0
    async with borrowed(pool) as connection:
        while True:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                events, reached = await feed.committed(connection, since, until, behind, PAGE)
            if reached == behind:
                break
            behind = reached
            told = await in_words(
                [one for one in events if merchant in (None, one.merchant_id) and event in (None, one.event)], directory, notifiers)
            placed = await placed_at(connection, now, told)
            async with connection.transaction():
                made += await handed_out(connection, now, placed)
        seen = 0
        while page := await door_events.written(connection, since, until, merchant, seen, PAGE):
            seen += len(page)
            wanted = [one for one in page if event in (None, one.type)]
            placed = await placed_at(connection, now, beside(wanted, directory, notifiers))
            async with connection.transaction():
                made += await handed_out(connection, now, placed)
        return made


# ------------------------------------------------------------------------------------------------------ making deliveries

async def placed_at(connection: asyncpg.Connection, now: datetime, told: Sequence[Told]) -> list[tuple[Told, int]]:
    """Each with its endpoint's number.  Endpoints that are new are made, and those that are told otherwise now are changed."""
    places = [(one.merchant_id, one.door, one.url) for one in told]
    policies = {place: one.policy for place, one in zip(places, told, strict=True) if one.url}
    numbers = await _kept(connection, now, {place: _row(policy) for place, policy in policies.items()})
    return [(one, numbers.get(place, NOWHERE)) for place, one in zip(places, told, strict=True)]


async def handed_out(connection: asyncpg.Connection, now: datetime, placed: Sequence[tuple[Told, int]]) -> int:
    """Within a transaction: store deliveries, due at once, and wake their endpoints' jobs; how many were new."""
    await wake(connection, now, {(one.merchant_id, number) for one, number in placed if number != NOWHERE})
    return await rows.keep_deliveries(connection, [_delivery(one, number, now) for one, number in placed]) if placed else 0


async def endpoint_at(connection: asyncpg.Connection, now: datetime, place: Place, policy: Policy) -> int:
    """The number of an endpoint (merchant, door, URL), made where it is new and changed where it is told otherwise now; not within a
    transaction."""
    return (await _kept(connection, now, {place: _row(policy)}))[place]


async def endpoints_at(connection: asyncpg.Connection, now: datetime, wanted: Mapping[Place, Policy]) -> dict[Place, int]:
    """The same for many."""
    return await _kept(connection, now, {place: _row(policy) for place, policy in wanted.items()})


def message(
    now: datetime, merchant_id: int, endpoint: int, subject: int, sequence: int, event: str, purpose: str, body: bytes,
) -> DeliveryRow:
    """A JSON message about something that is no payment, due at once.

    It stands among deliveries with ``subject`` in a payment's place, which therefore must be no payment's id; of one subject, messages
    follow each other by their sequence.
    """
    return DeliveryRow(merchant_id, endpoint, subject, sequence, event, purpose, "application/json", body, "waiting", 0, 0, now, now, None)


async def hand_in_many(connection: asyncpg.Connection, now: datetime, messages: Sequence[DeliveryRow]) -> None:
    """Within a transaction: messages on their way.  One that its endpoint has already changes nothing."""
    await wake(connection, now, {(one.merchant_id, one.endpoint_id) for one in messages})
    await rows.keep_deliveries(connection, messages)


async def _kept(
    connection: asyncpg.Connection, now: datetime, wanted: Mapping[Place, PolicyRow], *, keep_policies: bool = False,
) -> dict[Place, int]:
    known = await rows.endpoints_at(connection, sorted(wanted)) if wanted else {}
    numbers = {place: number for place, (number, _) in known.items()}
    changed = sorted(
        place for place, policy in wanted.items()
        if place not in known or (not keep_policies and policy_from(known[place][1]) != policy_from(policy)))
    if changed:
        async with connection.transaction():        # of its own: it waits for nobody who waits for more than this
            await rows.lock_endpoints(connection)
            for place in changed:
                numbers[place] = await rows.keep_endpoint(connection, place, wanted[place], now)
    return numbers


async def wake(connection: asyncpg.Connection, now: datetime, endpoints: Iterable[tuple[int, int]]) -> None:
    """Have whoever drains endpoints (merchant, number) look at them now."""
    await jobs.wake(connection, [JobRow(merchant_id, QUEUE, number, 0, now) for merchant_id, number in sorted(endpoints)])


def _delivery(one: Told, number: int, now: datetime) -> DeliveryRow:
    state, ended_at = ("given_up", now) if number == NOWHERE else ("waiting", None)
    return DeliveryRow(one.merchant_id, number, one.subject, one.place, one.event, one.purpose, one.content_type, one.body, state,
                       0, 0, now, now, ended_at)


def _row(policy: Policy) -> PolicyRow:
    return PolicyRow(list(policy.schedule), sorted(policy.accepts), policy.at_once, policy.in_order, policy.seconds)


def policy_from(row: PolicyRow) -> Policy:
    """A stored policy as a value; the seconds are stored with seven digits."""
    return Policy(tuple(row.schedule), frozenset(row.accepts), row.at_once, row.in_order, round(row.seconds, 4))
