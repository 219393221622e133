"""Page sessions: who may open one, take one up again, and try: the database decides, whoever asks first."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from ringfence.background.sessions import forget
from ringfence.engine.browser import Goto, Return
from ringfence.engine.sessions import TOKENIZATION, Answer, Asked, Cashier, Session, Sessions, Taken, finishing
from tests.engine.composition import Process, Time, process

pytestmark = pytest.mark.anyio
TEA = Asked({"merchant_reference": "R"}, "en", 1000, "AED", "tea")
MILK = Asked({"merchant_reference": "R"}, "en", 500, "AED", "milk")
SECONDS = 600


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time()) as running:
        yield running


@pytest.fixture
def sessions(one: Process) -> Sessions:
    return Sessions(one.pool, key=b"k" * 32, new_id=one.new_id, now=one.now)


async def opened(sessions: Sessions, asked: Asked = TEA, reference: str = "R", purpose: str = "payment") -> Session:
    session = await sessions.open(1, "aps", reference, asked, seconds=SECONDS, purpose=purpose)
    assert isinstance(session, Session)
    return session


async def again(sessions: Sessions, session: Session) -> Session:
    found = await sessions.at(session.path.removeprefix("/pay/"))
    assert found is not None
    return found


async def test_a_session_is_found_by_its_address_and_says_what_it_is_for(sessions):
    session = await opened(sessions)
    assert await again(sessions, session) == session
    assert (session.asked, session.state, session.attempts, session.is_late) == (TEA, "open", 0, False)


async def test_the_rows_alone_open_no_page(one, sessions):
    """The secret is not in the row, and another key makes another one."""
    session = await opened(sessions)
    row = str(await one.fetch("SELECT * FROM page_sessions"))
    assert session.path.removeprefix("/pay/") not in row
    other = Sessions(one.pool, key=b"x" * 32, new_id=one.new_id, now=one.now)
    taken = await other.of_reference(1, "aps", "payment", "R")
    assert taken is not None and taken.path != session.path
    assert await sessions.at(taken.path.removeprefix("/pay/")) is None


async def test_the_same_is_resumed_and_another_takes_its_place(sessions):
    session = await opened(sessions)
    assert await opened(sessions) == session
    other = await opened(sessions, MILK)
    assert other.path != session.path and await sessions.at(session.path.removeprefix("/pay/")) is None


async def test_references_are_apart_by_merchant_door_and_purpose(sessions):
    paths = {(await opened(sessions)).path, (await opened(sessions, purpose=TOKENIZATION)).path}
    for merchant, door in ((2, "aps"), (1, "ppro")):
        other = await sessions.open(merchant, door, "R", TEA, seconds=SECONDS)
        assert isinstance(other, Session)
        paths.add(other.path)
    assert len(paths) == 4


async def test_one_attempt_at_a_time(sessions):
    session = await opened(sessions)
    began = await asyncio.gather(*(sessions.begin(session, 0, number) for number in range(1, 21)))
    assert began.count(True) == 1
    trying = await again(sessions, session)
    assert (trying.state, trying.attempts) == ("trying", 1)
    assert not await sessions.cancel(session, Answer("00072"))
    assert trying.payment_id and await sessions.fail(session, trying.payment_id, "declined")
    failed = await again(sessions, session)
    assert (failed.state, failed.attempts, failed.problem) == ("open", 1, "declined")
    assert not await sessions.begin(session, 0, 99)             # a form of before
    assert await sessions.begin(session, 1, 100)
    assert not await sessions.finish(session, trying.payment_id, Answer("14000"))      # told late of an attempt that was over
    assert await sessions.finish(session, 100, Answer("14000", {"status": "14"}))
    done = await again(sessions, session)
    assert (done.state, done.answer) == ("done", Answer("14000", {"status": "14"}))
    assert not await sessions.fail(session, 100, "declined") and not await sessions.begin(session, 2, 101)


async def test_an_attempt_that_nobody_was_asked_for_does_not_count(sessions):
    session = await opened(sessions)
    await sessions.begin(session, 0, 7)
    await sessions.fail(session, 7, "unavailable", counts=False)
    free = await again(sessions, session)
    assert (free.state, free.attempts, free.payment_id, free.problem) == ("open", 0, None, "unavailable")


async def test_what_was_tried_is_not_replaced_and_what_is_done_stays(one, sessions):
    session = await opened(sessions)
    await sessions.begin(session, 0, 7)
    assert isinstance(await sessions.open(1, "aps", "R", MILK, seconds=SECONDS), Taken)
    await sessions.fail(session, 7, "declined")
    assert isinstance(await sessions.open(1, "aps", "R", MILK, seconds=SECONDS), Taken)
    await sessions.begin(session, 1, 8)
    await sessions.finish(session, 8, Answer("14000"))
    assert (await opened(sessions)).state == "done"


async def test_a_payer_who_gave_up_or_was_late_may_go_on_with_what_is_counted(one, sessions):
    session = await opened(sessions)
    await sessions.begin(session, 0, 7)
    await sessions.fail(session, 7, "declined")
    assert await sessions.cancel(session, Answer("00072"))
    assert (await again(sessions, session)).answer == Answer("00072")
    resumed = await opened(sessions)
    assert (resumed.path, resumed.state, resumed.attempts, resumed.answer) == (session.path, "open", 1, None)
    one.now.now += timedelta(seconds=SECONDS)
    assert (await again(sessions, session)).is_late and not await sessions.begin(session, 1, 8)
    assert not (await opened(sessions)).is_late and await sessions.begin(session, 1, 8)


async def test_a_card_that_was_kept_makes_room_for_another(sessions):
    session = await opened(sessions, purpose=TOKENIZATION)
    await sessions.begin(session, 0, 7)
    await sessions.finish(session, 7, Answer("18000"))
    assert (await opened(sessions, purpose=TOKENIZATION)).path != session.path


async def test_twenty_who_open_at_once_get_one_page(sessions):
    pages = await asyncio.gather(*(opened(sessions) for _ in range(20)))
    assert len({page.path for page in pages}) == 1


async def test_twenty_who_open_different_things_at_once_leave_one_page(sessions):
    """Whoever comes last has it; nobody is left without an answer."""
    asked = [TEA, MILK] * 10
    pages = await asyncio.gather(*(sessions.open(1, "aps", "R", one, seconds=SECONDS) for one in asked))
    left = await sessions.of_reference(1, "aps", "payment", "R")
    assert left is not None and left.path in {page.path for page in pages if isinstance(page, Session)}


async def test_a_mark_belongs_to_its_session(sessions):
    session, other = await opened(sessions), await opened(sessions, reference="S")
    assert sessions.mark(session) == sessions.mark(await again(sessions, session)) != sessions.mark(other)


async def test_from_the_bank_a_browser_goes_back_to_the_page_it_left(sessions):
    """The attempt is looked at first; a payment of no page goes its own way."""
    settled = []

    async def settle(session: Session, is_stale: bool) -> None:
        settled.append(session.payment_id)

    async def otherwise(merchant_id: int, payment_id: int) -> Return:
        return Return("https://shop.example/", "POST", {}, "en")

    async def never(*_: object) -> None:
        raise AssertionError

    cashier = Cashier(never, never, never, settle, never, never)        # type: ignore[arg-type]
    finish = finishing(sessions, cashier, otherwise)
    session = await opened(sessions)
    await sessions.begin(session, 0, 7)
    await sessions.challenge(session, 7)
    assert (await again(sessions, session)).state == "challenged"
    assert await finish(1, 7) == Goto(session.path) and settled == [7]
    assert await finish(1, 8) == Return("https://shop.example/", "POST", {}, "en")
    assert await finish(2, 7) == Return("https://shop.example/", "POST", {}, "en")


async def test_what_is_long_over_is_forgotten_however_it_stands(one, sessions):
    await one.merchant("One", access_code="One", request="ask-One", response="say-One")
    merchant_id = one.directory.merchants()[0].merchant_id
    for number in range(3):
        session = await sessions.open(merchant_id, "aps", f"R{number}", TEA, seconds=SECONDS)
        assert isinstance(session, Session)
    await sessions.begin(session, 0, 7)
    one.now.now += timedelta(days=31)
    assert await forget(sessions, one.directory, one.now() - timedelta(days=31)) == 0
    assert await forget(sessions, one.directory, one.now() - timedelta(days=30)) == 3
    assert await sessions.of_payment(merchant_id, 7) is None
