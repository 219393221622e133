"""Messages about payment links: each is a job, sent until it is sent, given up or needless.

The sandbox's inbox takes a message in the commit that ends its job, so exactly once.  A mail server or an SMS provider is asked outside of any
commit: should this process die, or the database go away, between its yes and our commit, the message goes out again, under the same
``Message-ID`` or identity.  That is as far as SMTP goes.  A link that can be paid no more is not sent.  Nobody's whole address is logged.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.background.worker import Queue
from ringfence.core.link import State
from ringfence.engine import letters, links
from ringfence.engine.directory import Directory
from ringfence.engine.letters import Letter, masked
from ringfence.engine.links import EMAIL, QUEUE, Desk
from ringfence.storage import jobs
from ringfence.storage import links as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.jobs import Job
from ringfence.storage.links import Arrived, Message

log = logging.getLogger(__name__)

PAUSES = (10, 30, 60, 300, 900)
"""Seconds of business time before the next try; the last one repeats."""
AT_ONCE, PER_MERCHANT = 8, 4
LEASE_SECONDS = 30.0


class NotSent(Exception):
    """A medium did not take a message; ``reason`` names nobody, ``for_good``: asking again is no use."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.for_good = reason, for_good


class Parcel(NamedTuple):
    """What a medium is given.  ``identity`` is the same at every try of the same message."""

    identity: str
    recipient: str
    letter: Letter
    asked_at: datetime


Send = Callable[[Parcel], Awaitable[None]]
"""Sends, or raises ``NotSent``."""


class Post(NamedTuple):
    """How messages leave.  ``senders`` by medium; a medium without one goes to the inbox only.

    ``has_inbox``: this is a sandbox.  ``inbox_url``: where a person reads what arrived there.
    """

    senders: Mapping[str, Send]
    has_inbox: bool
    inbox_url: Callable[[], str]


def queue(pool: asyncpg.Pool, desk: Desk, directory: Directory, post: Post) -> Queue:
    """Every message in its time."""
    async def run(job: Job) -> None:
        message = await rows.message(pool, job.merchant_id, job.subject)
        if message is None or message.state != "waiting":
            await jobs.done(pool, job)
            return
        await _Delivery(pool, desk, post, job, message).run(directory)

    return Queue(QUEUE, run, AT_ONCE, PER_MERCHANT, LEASE_SECONDS)


class _Delivery:
    """One try of one message."""

    def __init__(self, pool: asyncpg.Pool, desk: Desk, post: Post, job: Job, message: Message) -> None:
        self._pool, self._desk, self._post, self._job, self._message = pool, desk, post, job, message

    async def run(self, directory: Directory) -> None:
        """Send it, put it off, or end it."""
        message, now = self._message, self._desk.now()
        merchant = directory.by_id(message.merchant_id)
        link = await links.by_number(self._desk, message.merchant_id, message.link_id)
        if merchant is None or link is None or link.state not in (State.OPEN, State.OPENED):
            await self._end("needless", "" if link is None else f"the link is {link.state}")
            return
        if message.deadline_at <= now:
            await self._end("failed", "nobody took it in time")
            return
        compose = letters.by_email if message.medium == EMAIL else letters.by_sms
        letter = compose(link, merchant.name)
        try:
            send = self._post.senders.get(message.medium)
            if send is None and not self._post.has_inbox:
                raise NotSent("nothing is configured that sends it")
            if send is not None:
                await send(Parcel(str(message.message_id), message.recipient, letter, message.asked_at))
        except NotSent as failed:
            await self._failed(failed, now)
            return
        await self._end("sent", "", letter, merchant.identifier)

    async def _failed(self, failed: NotSent, now: datetime) -> None:
        message, pause = self._message, PAUSES[min(self._job.tries, len(PAUSES)) - 1]
        log.warning("message %d (%s to %s) was not sent: %s", message.message_id, message.medium, masked(message.recipient), failed.reason)
        if failed.for_good:
            await self._end("failed", failed.reason)
            return
        async with borrowed(self._pool) as connection, connection.transaction():
            await rows.noted(connection, message.merchant_id, message.message_id, failed.reason)
            await jobs.later(connection, self._job, min(now + timedelta(seconds=pause), max(now, message.deadline_at)), failed.reason)

    async def _end(self, state: str, note: str, letter: Letter | None = None, merchant: str = "") -> None:
        """The message's end, its job's, and the copy in the inbox: one commit, by whoever holds the job."""
        message, arrives = self._message, letter is not None and self._post.has_inbox
        async with borrowed(self._pool) as connection, connection.transaction():
            if not await jobs.done(connection, self._job):
                return                              # another has it in hand by now, and ends it
            now = self._desk.now()
            await rows.ended(connection, message.merchant_id, message.message_id, state, note, now)
            if arrives and letter is not None:
                await rows.put(connection, Arrived(
                    message.merchant_id, merchant, message.message_id, message.medium, message.recipient, letter.sender, letter.subject,
                    letter.text, letter.html, now))
        if arrives:
            log.info("message %d (%s to %s) is in the inbox: %s/%d", message.message_id, message.medium, masked(message.recipient),
                     self._post.inbox_url(), message.message_id)
        elif state != "needless":
            log.info("message %d (%s to %s): %s%s", message.message_id, message.medium, masked(message.recipient), state, note and f", {note}")
