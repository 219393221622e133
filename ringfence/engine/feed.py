"""The feed: every event once, in the order of the chain's links, a payment's events by their sequence.

Why nothing is skipped and nothing comes twice:

1. Every event but those of an intent's commit belongs to one batch, which is one link (lane, number) of the chain.
2. A lane's numbers have no gap and are committed one after the other on one connection, so the links of a lane that a snapshot
   sees are always a prefix, whatever the order in which different lanes become visible.
3. A cursor names the last link of every lane that was handed out, so what is behind it is exactly what was not, and a lane that
   it does not name is new and begins with its first link.
4. A page is a cut of the lanes behind the cursor, read in one snapshot; which links it takes is a matter of taste, because the
   next page begins where its lanes were cut.
5. An event's sequence was given under its payment's lock, so whoever sees it sees its predecessor too, if need be beyond the cut.
6. The cut is closed: a predecessor beyond it raises that lane's cut until none is missing, which ends because the snapshot does.
7. An event of an intent's commit (batch 0) has no place of its own and is handed out with its successor, which is handed out
   once, so it is too.
8. So every page holds, of each payment, the sequences that follow those of the pages before.

Decides which events make a page.  Refuses to know who is told of them, and how.
"""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from ringfence.storage import feed as rows
from ringfence.storage.door_events import DoorEvent
from ringfence.storage.feed import EventKey, LinkRow, Occurred

if TYPE_CHECKING:
    from ringfence.engine.directory import Merchant

PER_LANE = 64
"""Links of one lane that a page looks at."""

Cursor = Mapping[int, int]
"""Lane -> number of its last batch that was handed out.  As text: ``0.17-3.4``, and ``begin`` for none."""

BEGINNING = "begin"
_CURSOR = re.compile(r"\d{1,9}\.\d{1,18}(-\d{1,9}\.\d{1,18}){0,2047}", re.ASCII)


class Policy(NamedTuple):
    """How one address wants to be told.

    ``schedule``: seconds from one attempt to the next, so one attempt more than it has entries.  ``accepts``: statuses that
    count as received beside 2xx.  ``at_once``: attempts in flight.  ``in_order``: an event waits until the one before it is
    delivered or given up.  ``seconds``: one attempt.
    """

    schedule: tuple[int, ...]
    accepts: frozenset[int]
    at_once: int
    in_order: bool
    seconds: float


class Message(NamedTuple):
    """What a merchant is told of one event: the bytes, and where they go.  ``url`` is empty where it has no address for it.

    ``part``: which of the messages it is that an event may be told in, from 0.
    """

    purpose: str
    url: str
    content_type: str
    body: bytes
    policy: Policy
    part: int = 0


def without_headers(merchant: Merchant, body: bytes) -> dict[str, str]:
    """The signature stands in the body."""
    return {}


def without_words(merchant: Merchant, event: DoorEvent) -> list[Message]:
    """The door knows of nothing but payments."""
    return []


class Notifier(NamedTuple):
    """A door's words for events.  All but ``headers`` are pure; no two messages of an event are the same part."""

    wants: Callable[[Merchant], bool]           # whether the merchant has any address at this door
    messages: Callable[[Merchant, Occurred], list[Message]]
    beside: Callable[[Merchant, DoorEvent], list[Message]] = without_words    # of what is no event of a payment
    headers: Callable[[Merchant, bytes], Mapping[str, str]] = without_headers   # made at the moment of sending, over the very bytes
    parts: int = 1                              # into so many messages an event may be told at most


async def heads(connection: asyncpg.Connection) -> dict[int, int]:
    """The cursor of now: the last link of every lane."""
    return await rows.heads(connection)


async def read(connection: asyncpg.Connection, cursor: Cursor, limit: int) -> tuple[list[Occurred], dict[int, int]]:
    """The next events behind a cursor, in order, and the cursor behind them.

    About *limit* of them: a batch is never parted, and an event's predecessors come along.  Batches may tell of nothing: the end
    is where the cursor stands still, not where a page is empty.  Reads in one snapshot: in the transaction that the connection is
    in, which must be of repeatable read, else in one of its own.
    """
    if connection.is_in_transaction():
        return await _read(connection, cursor, limit)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await _read(connection, cursor, limit)


async def committed(
    connection: asyncpg.Connection, since: datetime, until: datetime, behind: int, limit: int,
) -> tuple[list[Occurred], int]:
    """Events of batches committed between two instants (wall time), behind a batch id (0: from the first), and the id behind them.

    The same id comes back where there are no more.  A page is not closed: only its own events are in order.
    """
    links = await rows.links_committed(connection, since, until, behind, PER_LANE)
    links = links[:_cut(links, limit)]
    taken = {link.batch_id: link for link in links}
    found = {row[:3]: row for row in await rows.events(connection, list(taken))}
    missing = _missing(found, set())
    while missing:
        single = [place[:3] for place in await rows.places(connection, missing) if place.batch_id == 0]
        found |= {row[:3]: row for row in await rows.events(connection, [], single)}
        missing = [(merchant, payment, sequence - 1) for merchant, payment, sequence in single
                   if sequence > 1 and (merchant, payment, sequence - 1) not in found]
    return _ordered(found, taken), links[-1].batch_id if links else behind


async def _read(connection: asyncpg.Connection, cursor: Cursor, limit: int) -> tuple[list[Occurred], dict[int, int]]:
    links = await rows.links(connection, cursor, PER_LANE)
    fresh, single = links[:_cut(links, limit)], list[EventKey]()
    reached, taken = dict(cursor), dict[int, LinkRow]()
    found, before = dict[EventKey, Occurred](), set[EventKey]()     # before: handed out with an earlier page
    while fresh or single:
        for link in fresh:
            taken[link.batch_id] = link
            reached[link.lane] = max(link.number, reached.get(link.lane, 0))
        found |= {row[:3]: row for row in await rows.events(connection, [link.batch_id for link in fresh], single)}
        missing = _missing(found, before)
        places = await rows.places(connection, missing) if missing else []
        single = [place[:3] for place in places if place.batch_id == 0]
        raised: dict[int, int] = {}
        for _, _, _, batch_id, lane, number in places:
            if batch_id and lane is not None and number > reached.get(lane, 0):
                raised[lane] = max(number, raised.get(lane, 0))
        before.update(missing)
        before.difference_update(single)        # those belong to the page, and so may their own predecessors
        parts = [(lane, reached.get(lane, 0), number) for lane, number in sorted(raised.items())]
        fresh = await rows.links_between(connection, parts) if parts else []
    return _ordered(found, taken), reached


def _cut(links: Sequence[LinkRow], limit: int) -> int:
    """How many of the links make about *limit* events, and at least one."""
    count = 0
    for place, link in enumerate(links):
        count += max(link.rows, 1)
        if count > limit and place:
            return place
    return len(links)


def _missing(found: Mapping[EventKey, Occurred], known: set[EventKey]) -> list[EventKey]:
    """Predecessors of the events found that are neither found nor known."""
    before = ((merchant, payment, sequence - 1) for merchant, payment, sequence in found if sequence > 1)
    return [key for key in before if key not in found and key not in known]


def _ordered(found: Mapping[EventKey, Occurred], taken: Mapping[int, LinkRow]) -> list[Occurred]:
    """In the order of their links; where that order and a payment's sequence disagree, its events change places."""
    def link_of(key: EventKey) -> LinkRow:
        while not (batch_id := found[key].batch_id):
            key = key[0], key[1], key[2] + 1    # batch 0: with its successor
        return taken[batch_id]

    standing = []
    for key in found:
        link = link_of(key)
        standing.append((link.committed_at, link.lane, link.number, *key))
    standing.sort()
    of_payment: dict[tuple[int, int], list[EventKey]] = defaultdict(list)
    for place in standing:
        of_payment[place[3], place[4]].append(place[3:])
    in_turn = {payment: iter(sorted(keys)) for payment, keys in of_payment.items()}
    return [found[next(in_turn[place[3], place[4]])] for place in standing]


def cursor_text(cursor: Cursor) -> str:
    """The cursor as a client keeps it."""
    return "-".join(f"{lane}.{number}" for lane, number in sorted(cursor.items())) or BEGINNING


def parse_cursor(text: str) -> dict[int, int] | None:
    """The cursor that a client sends back; ``None`` for a text that is none."""
    if text == BEGINNING:
        return {}
    if not _CURSOR.fullmatch(text):
        return None
    parts: Iterable[list[str]] = [part.split(".") for part in text.split("-")]
    cursor = {int(lane): int(number) for lane, number in parts}
    return cursor if cursor_text(cursor) == text else None
