"""Where Amazon Pay's processor remembers its objects: rows of PostgreSQL, merchants by number."""
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg

from ringfence.engine.lane import CONNECTION_LOST
from ringfence.processors.amazon_pay.objects import ObjectsUnavailable, Thing
from ringfence.storage import amazon_objects as rows
from ringfence.storage.amazon_objects import ObjectRow


class StoredObjects:
    """See ``Objects``.  ``numbers``: a merchant's number by its identifier."""

    def __init__(self, pool: asyncpg.Pool, numbers: Callable[[str], int | None]) -> None:
        self._pool, self._numbers = pool, numbers

    async def begin(self, thing: Thing) -> Thing:
        """See ``Objects``."""
        try:
            return _thing(thing.merchant, await rows.begin(self._pool, self._row(thing)))
        except CONNECTION_LOST as lost:
            raise ObjectsUnavailable(str(lost)) from lost

    async def know(self, thing: Thing) -> None:
        """See ``Objects``."""
        try:
            await rows.know(self._pool, self._row(thing))
        except CONNECTION_LOST as lost:
            raise ObjectsUnavailable(str(lost)) from lost

    async def take(self, thing: Thing) -> Thing | None:
        """See ``Objects``."""
        try:
            found = await rows.take(self._pool, self._row(thing))
        except CONNECTION_LOST as lost:
            raise ObjectsUnavailable(str(lost)) from lost
        return None if found is None else _thing(thing.merchant, found)

    async def release(self, thing: Thing) -> None:
        """See ``Objects``."""
        try:
            await rows.release(self._pool, self._number(thing.merchant), thing.key)
        except CONNECTION_LOST as lost:
            raise ObjectsUnavailable(str(lost)) from lost

    async def of_payment(self, merchant: str, payment_id: int) -> list[Thing]:
        """See ``Objects``."""
        try:
            return [_thing(merchant, row) for row in await rows.of_payment(self._pool, self._number(merchant), payment_id)]
        except CONNECTION_LOST as lost:
            raise ObjectsUnavailable(str(lost)) from lost

    async def named(self, merchant: str, object_id: str) -> list[Thing]:
        """See ``Objects``."""
        try:
            return [_thing(merchant, row) for row in await rows.named(self._pool, self._number(merchant), object_id)]
        except CONNECTION_LOST as lost:
            raise ObjectsUnavailable(str(lost)) from lost

    def _number(self, merchant: str) -> int:
        number = self._numbers(merchant)
        if number is None:
            raise ObjectsUnavailable(f"no merchant is called {merchant}")
        return number

    def _row(self, thing: Thing) -> ObjectRow:
        return ObjectRow(self._number(thing.merchant), *thing[1:-1], thing.begun_at or datetime.now(UTC))


def _thing(merchant: str, row: ObjectRow) -> Thing:
    return Thing(merchant, *row[1:])
