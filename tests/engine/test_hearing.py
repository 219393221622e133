"""Payments whose callers are called: what they hear, and that one of them never keeps the others from hearing."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from msgspec.structs import replace

from ringfence.core.commands import Command, Initiation, Kind
from ringfence.core.outcomes import Approved, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import Intent, Result
from ringfence.engine.lane import CommitUncertain, NotCommitted
from tests.engine.composition import Process, process, shop

pytestmark = pytest.mark.anyio


class AnswersAtOnce:
    """A processor that waits for nobody, but for amounts that are even."""

    def answer_at_once(self, messages: list[Any]) -> list[Approved | None]:
        return [Approved(message.minor, "ATONCE") if message.minor % 2 else None for message in messages]


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        await shop(running)
        running.engine._at_once[running.processor.name] = AnswersAtOnce()   # type: ignore[assignment]
        yield running


def intent(one: Process, minor: int, key: str | None = None) -> Intent:
    number = one.new_id()
    merchant = one.directory.merchants()[0]
    return Intent(
        merchant.merchant_id, merchant.identifier, number, Command(Kind.PURCHASE, minor, "AED", number), "aps", "test", "192.0.2.7",
        b"content", key=key, details=b"{}", processor=one.processor.name)


class Caller:
    """Who is called: ``heard`` becomes what he was told, in the end."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.heard: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def hear(self, result: Result | Awaitable[Result]) -> None:
        self.told.append(result)
        if isinstance(result, Result):
            self.heard.set_result(result)
        else:
            asyncio.ensure_future(result).add_done_callback(
                lambda done: self.heard.set_exception(error) if (error := done.exception()) else self.heard.set_result(done.result()))


async def begun(one: Process, wanted: Intent) -> Caller:
    caller = Caller()
    assert one.engine.begin(wanted, caller.hear)
    assert caller.told == [], "nobody is called before there is anything to say"
    await asyncio.wait([caller.heard])
    assert len(caller.told) == 1
    return caller


async def test_what_is_answered_at_once_is_heard_at_once(one: Process):
    """With nothing to await, when it is stored; its order number is used from then on."""
    wanted = intent(one, 1001, "aps:HEARD-1")
    caller = await begun(one, wanted)
    (result,) = caller.told
    assert isinstance(result, Result) and isinstance(result.outcome, Approved) and result.receipt
    assert await one.value("SELECT captured FROM payments WHERE payment_id = $1", wanted.payment_id) == 1001
    (again,) = (await begun(one, intent(one, 1001, "aps:HEARD-1"))).told
    assert isinstance(again, Result) and again.refusal is Refusal.KEY_USED


async def test_where_something_is_left_to_do_it_is_awaited(one: Process):
    """A processor that must be asked."""
    caller = await begun(one, intent(one, 1000))
    assert not isinstance(caller.told[0], Result)
    assert isinstance(caller.heard.result().outcome, Approved) and len(one.processor.asked) == 1


async def test_what_must_be_looked_at_before_is_not_begun(one: Process):
    """A payment that its merchant starts, one that nobody is asked for, and an operation on a payment: nothing is stored."""
    caller, wanted = Caller(), intent(one, 1001)
    for other in (replace(wanted, initiation=Initiation.RECURRING), replace(wanted, never_asked="x"), replace(wanted, original=object())):
        assert not one.engine.begin(other, caller.hear)
    await one.engine.idle()
    assert caller.told == [] and await one.value("SELECT count(*) FROM operations") == 0


@pytest.mark.parametrize(("error", "heard"), [
    (NotCommitted(), Result(refusal=Refusal.SERVICE_UNAVAILABLE)), (CommitUncertain(), Result(outcome=Unknown(Silence.OWNER_GONE))),
    (ZeroDivisionError(), None)])
async def test_a_failed_commit_is_heard_as_it_is_awaited(one: Process, monkeypatch: pytest.MonkeyPatch, error: Exception, heard: Result | None):
    async def commit(intents: object) -> Any:
        raise error

    monkeypatch.setattr(one.engine._intents, "_commit", commit)
    caller = await begun(one, intent(one, 1001))
    if heard is None:
        assert caller.heard.exception() is error
    else:
        assert caller.heard.result() == heard


async def test_one_who_breaks_when_he_is_called_keeps_nobody_from_hearing(one: Process, caplog: pytest.LogCaptureFixture):
    """It is logged; the others of the batch hear, and the next batch is carried out."""
    def breaks(result: object) -> None:
        raise ZeroDivisionError

    callers = [Caller() for _ in range(4)]
    for place, caller in enumerate(callers):
        assert one.engine.begin(intent(one, 1001 + 2 * place), breaks if place == 1 else caller.hear)
    await asyncio.wait([caller.heard for place, caller in enumerate(callers) if place != 1])
    assert "nobody could be told of payment" in caplog.text
    assert isinstance((await begun(one, intent(one, 1009))).told[0], Result)
    assert await one.value("SELECT count(*) FROM payments WHERE status = 'captured'") == 5


async def test_a_thousand_callers_hear_of_their_own(one: Process):
    """At once or in the end, each of his own payment."""
    wanted = [intent(one, 1000 + place) for place in range(1000)]
    callers = [Caller() for _ in wanted]
    for each, caller in zip(wanted, callers, strict=True):
        assert one.engine.begin(each, caller.hear)
    await asyncio.wait([caller.heard for caller in callers])
    for each, caller in zip(wanted, callers, strict=True):
        result = caller.heard.result()
        assert (result.operation.id, result.outcome.minor) == (each.payment_id, each.command.minor)
        assert isinstance(caller.told[0], Result) is bool(each.command.minor and each.command.minor % 2)
