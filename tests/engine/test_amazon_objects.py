"""Where Amazon's objects are remembered: in rows, by the same rules as the dictionary of the processor's own tests."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from ringfence.engine.amazon_objects import StoredObjects
from ringfence.processors.amazon_pay.objects import CANCEL, CAPTURE, CHARGE, SESSION, Objects, ObjectsUnavailable, Thing
from tests.engine.composition import Process, Shop
from tests.processors.amazon_pay.bench import MemoryObjects

pytestmark = pytest.mark.anyio

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["rows", "dictionary"])
async def objects(request: pytest.FixtureRequest, here: Shop, one: Process) -> AsyncIterator[Objects]:
    if request.param == "dictionary":
        yield MemoryObjects()
        return
    yield StoredObjects(one.pool, lambda name: here.account.merchant_id if name == "shop" else None)


def thing(key: str, kind: str = SESSION, operation: int = 7, **fields: object) -> Thing:
    return Thing("shop", key, 7, operation, kind, 1000, **{"begun_at": AT, **fields})       # type: ignore[arg-type]


async def test_a_message_is_stored_once(objects: Objects):
    """Whoever comes again gets what is stored, with what is known of it."""
    assert await objects.begin(thing("7-1", session_id="s1")) == thing("7-1", session_id="s1")
    await objects.know(thing("7-1", charge_id="c1", permission_id="p1", state="Authorized"))
    again = await objects.begin(thing("7-1", session_id="s1"))
    assert (again.session_id, again.charge_id, again.permission_id, again.state) == ("s1", "c1", "p1", "Authorized")
    await objects.know(thing("7-1", undone=True))
    await objects.know(thing("7-1"))
    assert (await objects.begin(thing("7-1"))).undone, "undone stays"
    assert [one.key for one in await objects.of_payment("shop", 7)] == ["7-1"]
    for name in ("s1", "c1", "p1"):
        assert [one.key for one in await objects.named("shop", name)] == ["7-1"]
    assert await objects.named("shop", "nothing") == []


async def test_a_session_belongs_to_one_payment(objects: Objects):
    """The second message about it is answered with the first one's row."""
    await objects.begin(thing("7-1", session_id="s1"))
    assert (await objects.begin(thing("9-1", operation=9, session_id="s1"))).key == "7-1"
    await objects.release(thing("7-1"))
    assert (await objects.begin(thing("9-1", operation=9, session_id="s1"))).key == "9-1"


async def test_a_charge_is_taken_by_one_message(objects: Objects):
    """Of ten at the same moment one has it; released, it is free again; and a charge that does not hold is nobody's."""
    await objects.begin(thing("7-1", session_id="s1", holds=True))
    assert await objects.take(thing("8-1", CAPTURE, 8)) is None, "its charge is not known yet"
    await objects.know(thing("7-1", charge_id="c1", permission_id="p1", state="Authorized"))
    taken = await asyncio.gather(*(objects.take(thing(f"{n}-1", CAPTURE, n)) for n in range(10, 20)))
    [got] = [one for one in taken if one]
    assert (got.charge_id, got.permission_id, got.kind) == ("c1", "p1", CAPTURE)
    assert await objects.take(thing(got.key, CAPTURE, got.operation_id)) == got, "the same one when it is asked again"
    assert await objects.take(thing("30-1", CANCEL, 30)) is None
    await objects.release(got)
    cancel = await objects.take(thing("30-1", CANCEL, 30))
    assert cancel is not None and cancel.charge_id == "c1"
    await objects.begin(thing("31-1", CHARGE, 31, charge_id="c2", permission_id="p1"))
    assert await objects.take(thing("32-1", CAPTURE, 32)) is None


async def test_what_cannot_be_stored_says_so(here: Shop, one: Process):
    """Nothing is asked then."""
    objects = StoredObjects(one.pool, lambda name: None)
    with pytest.raises(ObjectsUnavailable):
        await objects.begin(thing("7-1"))
    objects = StoredObjects(one.pool, lambda name: here.account.merchant_id)
    await one.lose_the_database()
    with pytest.raises(ObjectsUnavailable):
        await objects.of_payment("shop", 7)
    one.find_the_database()
