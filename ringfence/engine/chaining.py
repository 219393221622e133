"""The digest of a batch: see ``core.chain`` for what it covers and why."""
from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from ringfence.core.chain import Row

_ENCODE = msgspec.msgpack.Encoder().encode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def digest(
    key: bytes, previous: bytes, lane: int, number: int, batch_id: int, committed_at: datetime,
    outcomes: Sequence[Row], operations: Sequence[Row], transfers: Sequence[Row], notices: Sequence[Row] = (),
) -> bytes:
    """The digest of one batch, HMAC-SHA-256 over MessagePack, which writes such rows in one way only.

    In the rows a date is its ordinal day number (``date.toordinal``), an allotment the text of its numbers joined by
    commas (``None`` where there is none), an instant is never there but ``committed_at``, as microseconds since 1970.
    """
    micros = (committed_at - _EPOCH) // timedelta(microseconds=1)
    said = _ENCODE((lane, number, batch_id, micros, outcomes, operations, transfers, notices))
    return hmac.digest(key, previous + said, hashlib.sha256)
