"""What merchants are told of events, in the words of their doors: by the door where the payment began, and by the one where it was acted.

Decides how messages are counted.  Refuses to know the words, and where they go.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.feed import Message, Notifier, Occurred, Policy
from ringfence.storage.door_events import DoorEvent

log = logging.getLogger(__name__)

AT_A_STRETCH = 250
"""Events put into words before others on the loop have their turn."""


class Told(NamedTuple):
    """An event in a door's words, or one message of them.  ``url`` is empty where the words could not be found.

    ``place`` stands in a sequence's place: it counts the messages that the subject's events could be told in, from 1.
    """

    merchant_id: int
    subject: int
    place: int
    event: str
    door: str
    purpose: str
    url: str
    content_type: str
    body: bytes
    policy: Policy


_UNSPOKEN = Policy((), frozenset(), 1, False, 1.0)


async def in_words(events: Sequence[Occurred], directory: Directory, notifiers: Mapping[str, Notifier]) -> list[Told]:
    """``rendered``, a stretch at a time."""
    told: list[Told] = []
    for begin in range(0, len(events), AT_A_STRETCH):
        told += rendered(events[begin:begin + AT_A_STRETCH], directory, notifiers)
        await asyncio.sleep(0)
    return told


def rendered(events: Iterable[Occurred], directory: Directory, notifiers: Mapping[str, Notifier]) -> list[Told]:
    """What merchants shall be told of these events: by the door where the payment began, and by the one where it was acted."""
    told: list[Told] = []
    wants: dict[tuple[int, str], bool] = {}
    for one in events:
        merchant = directory.by_id(one.merchant_id)
        if merchant is None:
            continue
        for door in (one.origin,) if one.door in (None, one.origin) else (one.origin, one.door):
            notifier = notifiers.get(door or "")
            if notifier is None:
                continue
            if (is_wanted := wants.get((one.merchant_id, door or ""))) is None:
                is_wanted = wants[one.merchant_id, door or ""] = notifier.wants(merchant)
            if is_wanted:
                told += _in_words(one, door or "", merchant, notifier)
    return told


def _in_words(one: Occurred, door: str, merchant: Merchant, notifier: Notifier) -> list[Told]:
    try:
        return [_told(one.merchant_id, one.payment_id, place_of(one.sequence, notifier, message.part), one.event, door, message)
                for message in notifier.messages(merchant, one) if message.url]
    except Exception:                   # one event that cannot be told must not stop all that come after it
        log.exception("event %s of payment %d, number %d, cannot be told at the door %s", one.event, one.payment_id, one.sequence, door)
        return [_unspoken(one.merchant_id, one.payment_id, place_of(one.sequence, notifier), one.event, door)]


def place_of(sequence: int, notifier: Notifier, part: int = 0) -> int:
    """Where a message stands among those of its subject."""
    assert 0 <= part < notifier.parts
    return (sequence - 1) * notifier.parts + part + 1


def _told(merchant_id: int, subject: int, place: int, event: str, door: str, message: Message) -> Told:
    return Told(merchant_id, subject, place, event, door, *message[:5])


def _unspoken(merchant_id: int, subject: int, place: int, event: str, door: str) -> Told:
    return Told(merchant_id, subject, place, event, door, "", "", "", b"", _UNSPOKEN)


def beside(events: Iterable[DoorEvent], directory: Directory, notifiers: Mapping[str, Notifier]) -> list[Told]:
    """What merchants shall be told of these.  Each takes the last part of its place, so that what only the door knows of a payment stands
    beside the payment's own events."""
    told: list[Told] = []
    for one in events:
        merchant, notifier = directory.by_id(one.merchant_id), notifiers.get(one.door)
        if merchant is None or notifier is None:
            continue
        place = place_of(one.sequence, notifier, notifier.parts - 1)
        try:
            told += [_told(one.merchant_id, one.subject_id, place, one.type, one.door, message)
                     for message in notifier.beside(merchant, one) if message.url]
        except Exception:
            log.exception("%s of %s %d, number %d, cannot be told", one.type, one.kind, one.subject_id, one.sequence)
            told.append(_unspoken(one.merchant_id, one.subject_id, place, one.type, one.door))
    return told
