"""What clients saw acknowledged, against what is there: nothing may be missing, differ, or be there twice.

A list of JSON lines, one per acknowledged operation: ``merchant`` (wire name), ``reference`` (the door's own), ``amount`` (minor
units, a number or its digits), ``currency``; ``operation`` (default PURCHASE; APS's command or the core's kind), ``door``
(default aps); ``code`` (an APS response code: one that ends in 000 is an approval) or ``result`` (approved).  A line that
acknowledges no approval is passed over: a decline or an unknown promises nothing.  It knows nothing of the ledger.
"""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import asyncpg

from ringfence.core.commands import MAX_MINOR, Kind
from ringfence.core.payment import FIRST
from ringfence.storage.reports import WITNESS

CHUNK = 50_000
LISTED = 100

_KINDS = {kind.value.upper(): kind for kind in Kind} | {"VOID_AUTHORIZATION": Kind.VOID}


class Line(NamedTuple):
    """One operation that a client saw approved."""

    merchant: str
    door: str
    reference: str
    kind: Kind
    minor: int
    currency: str


class Acknowledged(NamedTuple):
    """The result: how many lines counted, and the first of all ``count`` faults, one sentence each."""

    lines: int
    faults: tuple[str, ...]
    count: int

    @property
    def ok(self) -> bool:
        """Whether everything acknowledged is there exactly once."""
        return not self.count

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {"ok": self.ok, "lines": self.lines, "count": self.count, "faults": list(self.faults)}


def read_line(text: str | bytes) -> Line | None:
    """One line of the list; ``None`` where it acknowledges no approval.  Raises ``ValueError`` for what is not such a line."""
    try:
        row = json.loads(text)
        result = row.get("result")
        if (result != "approved") if result is not None else not str(row["code"]).endswith("000"):
            return None
        minor = int(row["amount"])
        if not 1 <= minor <= MAX_MINOR:
            raise ValueError("amount")
        kind = _KINDS[str(row.get("operation", "PURCHASE")).upper()]
        texts = [row["merchant"], row.get("door", "aps"), row["reference"], row["currency"]]
        if not all(isinstance(one, str) and "\0" not in one for one in texts):
            raise TypeError
        return Line(texts[0], texts[1], texts[2], kind, minor, texts[3])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not a line of acknowledged operations: {str(text)[:200]}") from error


async def check_acknowledged(connection: asyncpg.Connection, lines: Iterable[str | bytes]) -> Acknowledged:
    """Compare the list with the database, inside the caller's snapshot.  Raises ``ValueError`` for a line that cannot be read."""
    counted, faults, count = 0, [], 0
    wanted = (line for text in lines if text.strip() and (line := read_line(text)) is not None)
    while chunk := Counter(islice(wanted, CHUNK)):
        counted += chunk.total()
        for fault in await _faults(connection, chunk):
            count += 1
            if count <= LISTED:
                faults.append(fault)
    return Acknowledged(counted, tuple(faults), count)


async def _faults(connection: asyncpg.Connection, lines: Counter[Line]) -> Iterator[str]:
    asked = list(lines)
    rows = await connection.fetch(WITNESS.acknowledged, list(range(len(asked))), *(list(column) for column in zip(*asked, strict=True)))
    found = {row["place"]: row for row in rows}
    return (
        f"{line.merchant} {line.reference}: {line.kind} of {line.minor} {line.currency} {fault}"
        for place, line in enumerate(asked) if (fault := _fault(line, lines[line], found.get(place)))
    )


def _fault(line: Line, times: int, row: asyncpg.Record | None) -> str | None:
    """What is wrong with one acknowledged operation, seen ``times`` times.

    A reference begins one payment; captures and refunds may be many, and some of them unseen by the client.
    """
    if row is None:
        return "is missing"
    if row["exact"] < times:
        if not row["exact"]:
            return f"differs: {row['minor']} {row['currency']} is there"
        return f"was acknowledged {times} times, and is there {row['exact']} times"
    if line.kind in FIRST and row["found"] > 1:
        return f"is there {row['found']} times"
    return None
