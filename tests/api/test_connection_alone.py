"""What one connection sees of the short way: heads that are known, counters, limits, a caller who is gone or slow, and the end of the server."""
from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from ringfence.api import connection
from ringfence.api.connection import Exchange, close_overdue
from ringfence.engine.metrics import CRASHES, REQUEST_SECONDS, REQUESTS_APS, REQUESTS_OTHER
from tests.api.short_way import BODY_LIMIT, HEAD_LIMIT, Served, calling, chunked, keyed, post, serve


@pytest.fixture(scope="module")
def run():
    """Run a coroutine in the loop of production; servers of this module live in it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


# -- what goes which way --

def alone(story: Callable[..., Awaitable[None]], **settings: object) -> Callable[..., None]:
    """A test with a server of its own and nothing else in its loop, whose answers are awaited or come by themselves."""
    @pytest.mark.parametrize("tells", [False, True], ids=["awaited", "told"])
    def test(run, tells: bool) -> None:
        async def play() -> None:
            async with serve(tells=tells, **settings) as served:
                await story(served)
        run(play())
    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


async def _known(served: Served) -> None:
    """From its second request on, a caller is answered without the application; a head split from its body too."""
    async with calling(served) as caller:
        for number in range(5):
            assert (await caller.ask(post(b"ask %d" % number)))[2] == b"ask %d|127.0.0.1|" % number
        head, _, body = post(b"apart").partition(b"\r\n\r\n")
        await caller.say(head + b"\r\n\r\n")
        await served.until(lambda: any(one._held for one in served.connections()))
        assert (await caller.ask(body))[2] == b"apart|127.0.0.1|"
        assert served.long_way == 1
        assert (await caller.ask(post(b"key", b"Idempotency-Key: k")))[2] == b"key|127.0.0.1|k"
        assert (await caller.ask(chunked(b"in", b"pieces")))[2] == b"inpieces|127.0.0.1|"
        assert served.long_way == 3
        assert (await caller.ask(post(b"known still")))[2] == b"known still|127.0.0.1|" and served.long_way == 3


test_a_known_head_is_answered_without_the_application = alone(_known)


async def _keyed(served: Served) -> None:
    """A key may be another one each time; one that is no plain text, or none at all, is the parser's."""
    async with calling(served) as caller:
        for number in range(5):
            assert (await caller.ask(keyed(b"poor" if number == 3 else b"ask", b"key %d" % number)))[::2] == (
                402 if number == 3 else 201, b"%b|127.0.0.1|key %d" % (b"poor" if number == 3 else b"ask", number))
        assert served.long_way == 1 and served.metrics.total(REQUESTS_OTHER) == 4
        assert (await caller.ask(keyed(b"x", b"\xe9")))[2] == "x|127.0.0.1|é".encode()
        assert (await caller.ask(post(b"x", path=b"/keyed")))[2] == b"x|127.0.0.1|"
        assert served.long_way == 3


test_a_head_whose_key_changes_is_known = alone(_keyed)


async def _several(served: Served) -> None:
    """A caller whose heads take turns is known by each of them; beyond so many the one that was learned first is forgotten."""
    async with calling(served) as caller:
        heads = [b"X-Merchant: %d" % number for number in range(connection.HEADS)]
        for _ in range(3):
            for head in heads:
                assert (await caller.ask(keyed(b"ask", b"k", head)))[2] == b"ask|127.0.0.1|k"
        assert served.long_way == len(heads)
        assert (await caller.ask(post(b"other")))[2] == b"other|127.0.0.1|"
        assert (await caller.ask(keyed(b"ask", b"k", heads[-1])))[0] == 201 and served.long_way == len(heads) + 1
        assert (await caller.ask(keyed(b"ask", b"k", heads[0])))[0] == 201 and served.long_way == len(heads) + 2
        assert len(served.connections()[0]._known) == connection.HEADS


test_heads_that_take_turns_are_known = alone(_several)


async def _changing(served: Served) -> None:
    """Heads that never repeat are answered the long way for ever, and are not looked at any more after a while."""
    async with calling(served) as caller:
        for number in range(connection.LESSONS + 5):
            assert (await caller.ask(post(b"ask", b"X-Trace: %d" % number)))[0] == 200
        assert served.long_way == connection.LESSONS + 5
        assert served.connections()[0]._lessons == 0


test_heads_that_never_repeat = alone(_changing)


async def _ipv6(served: Served) -> None:
    """The door is told where the request came from, both ways."""
    async with calling(served, "::1") as caller:
        assert (await caller.ask(post(b"a")))[2] == b"a|::1|"
        assert (await caller.ask(post(b"b")))[2] == b"b|::1|"
        assert served.long_way == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_reaches_the_door(run):
    """The door is told where the request came from, both ways."""
    alone(_ipv6, host="::1")(run, tells=False)


async def _counted(served: Served) -> None:
    """Both ways count the same: requests, times, crashes."""
    async with calling(served) as caller:
        for body in (b"a", b"b", b"later c"):
            await caller.ask(post(body))
        await caller.ask(post(b"d", path=b"/cold"))
        await served.until(lambda: served.metrics.total(REQUESTS_APS) == 3)
        assert served.metrics.total(REQUESTS_OTHER) == 1 and sum(served.metrics.histogram(REQUEST_SECONDS)[0]) == 3
        assert served.server.server_state.total_requests == 4


test_requests_are_counted_on_either_way = alone(_counted)


# -- what breaks --

@pytest.mark.parametrize("tells", [False, True], ids=["awaited", "told"])
def test_an_exception_is_500_logged_and_counted(run, tells, caplog):
    """As uvicorn does; the connection ends, the server lives, and what was queued behind is not answered."""
    async def story(served: Served) -> None:
        async with calling(served) as caller:
            await caller.taught()
            await caller.say(post(b"crash") + post(b"behind"))
            status, head, body = await caller.answer()
            assert (status, body) == (500, b"Internal Server Error") and b"connection: close\r\n" in head
            assert await caller.ended() == b""
        assert served.asked == [b"first", b"crash"] and served.metrics.total(CRASHES) == 1
        assert served.metrics.total(REQUESTS_APS) == 1
        async with calling(served) as caller:
            await caller.taught()

    alone(story)(run, tells)
    assert "RuntimeError: crash" in caplog.text and "Exception in ASGI application" in caplog.text


async def _too_large(served: Served) -> None:
    """A known head with a body over the limit is 413 like any other; a body of exactly the limit is answered."""
    async with calling(served) as caller:
        await caller.taught()
        assert (await caller.ask(post(b"x" * BODY_LIMIT)))[0] == 200
        assert served.long_way == 1
        status, head, _ = await caller.ask(post(b"x" * (BODY_LIMIT + 1)))
        assert status == 413 and b"connection: close\r\n" in head
        assert await caller.ended() == b""


test_a_body_over_the_limit_is_413 = alone(_too_large)


async def _head(served: Served) -> None:
    """A head over the limit is 431 also on a connection that knows one."""
    async with calling(served) as caller:
        await caller.taught()
        assert (await caller.ask(post(b"a")))[2] == b"a|127.0.0.1|"
        assert (await caller.ask(post(b"b", b"X-Much: " + b"y" * HEAD_LIMIT)))[0] == 431
        assert await caller.ended() == b"" and served.asked == [b"first", b"a"]


test_a_head_over_the_limit_is_431 = alone(_head)


async def _gone(served: Served) -> None:
    """A caller that hangs up is still carried out, counted, and forgotten; nobody is answered."""
    go = served.hold(b"held")
    async with calling(served) as caller:
        await caller.taught()
        await caller.say(post(b"held"))
        await served.until(lambda: b"held" in served.asked)
        caller.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.writer.transport.abort()         # a reset: a caller that merely sends no more still hears the answer
    await served.until(lambda: not served.connections())
    assert len(served.server.server_state.tasks) == 1
    go.set()
    await served.until(lambda: not served.server.server_state.tasks)
    assert served.asked == [b"first", b"held"] and served.metrics.total(REQUESTS_APS) == 2


test_a_caller_that_goes_away_in_the_middle = alone(_gone)


async def _half(served: Served) -> None:
    """A caller that sends no more still hears what it asked, both ways; then the connection ends."""
    for known in (False, True):
        go = served.hold(b"held")
        async with calling(served) as caller:
            if known:
                await caller.taught()
            await caller.say(post(b"held"))
            caller.writer.write_eof()
            await served.until(lambda times=1 + known: served.asked.count(b"held") == times)
            go.set()
            assert (await caller.answer())[2] == b"held|127.0.0.1|"
            assert await caller.ended() == b""
    assert served.long_way == 2


test_a_caller_that_sends_no_more_hears_the_answer = alone(_half)


async def _slow(served: Served) -> None:
    """A known head whose body never comes is overdue like any unfinished request; a request that is being answered is not."""
    go = served.hold(b"held")
    async with calling(served) as slow, calling(served) as busy:
        await slow.taught()
        await busy.taught()
        await slow.say(post(b"0123456789")[:-3])
        await busy.say(post(b"held"))
        await served.until(lambda: any(one._held for one in served.connections()) and b"held" in served.asked)
        now = asyncio.get_running_loop().time()
        assert close_overdue(served.connections(), now + 5, 10) == 0
        assert close_overdue(served.connections(), now + 20, 10) == 1
        assert await slow.ended() == b""
        go.set()
        assert (await busy.answer())[2] == b"held|127.0.0.1|"


test_a_body_that_does_not_come_is_overdue = alone(_slow)


# -- order, pressure, time --

async def _order(served: Served) -> None:
    """Answers leave in the order of the requests, though a later one was ready first; one that is held holds the rest."""
    go = served.hold(b"held")
    async with calling(served) as caller:
        await caller.taught()
        await caller.say(post(b"held") + b"".join(post(b"%d" % number) for number in range(50)) + post(b"c", path=b"/cold") + post(b"end"))
        await served.until(lambda: b"held" in served.asked)
        go.set()
        answers = [(await caller.answer())[2] for _ in range(53)]
    assert answers == [b"held|127.0.0.1|", *(b"%d|127.0.0.1|" % number for number in range(50)), b"cold:c", b"end|127.0.0.1|"]


test_answers_leave_in_order = alone(_order)


async def _pressure(served: Served) -> None:
    """While a queue stands, nothing more is read: a caller that only sends is soon not read from, and loses nothing."""
    go = served.hold(b"held")
    async with calling(served) as caller:
        await caller.taught()
        await caller.say(post(b"held") + post(b"queued"))
        await served.until(lambda: served.connections()[0].flow.read_paused)
        await caller.say(post(b"more"))
        got = served.connections()[0].got
        for _ in range(100):
            await asyncio.sleep(0)
        assert served.connections()[0].got == got and len(served.connections()[0].pipeline) == 1
        go.set()
        assert [(await caller.answer())[2] for _ in range(3)] == [b"held|127.0.0.1|", b"queued|127.0.0.1|", b"more|127.0.0.1|"]
        assert not served.connections()[0].flow.read_paused


test_nothing_is_read_while_answers_wait = alone(_pressure)


async def _unread(served: Served) -> None:
    """Answers that nobody reads stop the next one until there is room; then all of them arrive."""
    async with calling(served) as caller:
        await caller.taught()
        caller.reader._transport.pause_reading()
        await caller.say(post(b"large") * 20 + post(b"end"))
        await served.until(lambda: served.connections()[0].flow.write_paused)
        assert b"end" not in served.asked
        caller.reader._transport.resume_reading()
        for _ in range(20):
            assert len((await caller.answer())[2]) == 1_000_000
        assert (await caller.answer())[2] == b"end|127.0.0.1|"


test_answers_that_nobody_reads_wait = alone(_unread)


KEPT = 2.0
"""Seconds: longer than a crowded machine lets a caller stand between two requests."""


async def _idle(served: Served) -> None:
    """Idle from its last answer on, not from its first; one under way is never idle."""
    loop = asyncio.get_running_loop()
    go = served.hold(b"held")
    async with calling(served) as caller, calling(served) as busy:
        await busy.taught()
        await caller.taught()
        await busy.say(post(b"held"))
        first = loop.time()
        while loop.time() < first + 1.5 * KEPT:
            assert (await caller.ask(post(b"again")))[0] == 200
            await asyncio.sleep(KEPT / 50)
        last = loop.time()
        assert await caller.ended() == b""
        assert loop.time() - last >= 0.9 * KEPT
        assert len(served.connections()) == 1
        go.set()
        assert (await busy.answer())[2] == b"held|127.0.0.1|"
        assert await busy.ended() == b""


test_an_idle_connection_is_closed_after_its_time = alone(_idle, keep_alive=KEPT)


async def _secret(served: Served) -> None:
    """When the answer has left, the connection holds no body any more: it may stay idle for long."""
    async with calling(served) as caller:
        await caller.taught()
        await caller.ask(post(b"4000009900000004"))
        one = served.connections()[0]
        assert isinstance(one.cycle, Exchange) and one.cycle.body == b"" and not one._held and not one._unread


test_an_idle_connection_remembers_no_body = alone(_secret)


# -- the end of the service --

@pytest.mark.parametrize("tells", [False, True], ids=["awaited", "told"])
def test_what_is_under_way_at_the_end_is_answered_and_nothing_after_it(run, tells):
    """An idle connection is closed at once; an answer in flight leaves with ``connection: close``; a body half arrived may still come."""
    async def story() -> None:
        async with serve(tells=tells) as served, calling(served) as idle, calling(served) as busy, calling(served) as half, calling(served) as queued:
            go = served.hold(b"held")
            for caller in (idle, busy, half, queued):
                await caller.taught()
            await busy.say(post(b"held"))
            await queued.say(post(b"held") + post(b"queued"))
            await half.say(post(b"half a body")[:-4])
            await served.until(lambda: served.asked.count(b"held") == 2 and any(one._held for one in served.connections()))
            served.server.stop()
            assert await idle.ended() == b""
            status, head, body = await half.ask(b"body")
            assert (status, body) == (200, b"half a body|127.0.0.1|") and b"connection: close\r\n" in head
            go.set()
            status, head, body = await busy.answer()
            assert (status, body) == (200, b"held|127.0.0.1|") and b"connection: close\r\n" in head
            assert [(await queued.answer())[2] for _ in range(2)] == [b"held|127.0.0.1|", b"queued|127.0.0.1|"]
            for caller in (busy, half, queued):
                assert await caller.ended() == b""

    run(story())


@pytest.mark.parametrize("tells", [False, True], ids=["awaited", "told"])
def test_what_takes_too_long_at_the_end_is_cut_off(run, tells, caplog):
    """After the time to drain the task is cancelled, and the caller is told that something broke."""
    async def story() -> None:
        async with serve(drain=1, tells=tells) as served, calling(served) as caller:
            served.hold(b"for ever")
            await caller.taught()
            await caller.say(post(b"for ever"))
            await served.until(lambda: b"for ever" in served.asked)
            served.server.stop()
            assert (await caller.answer())[0] == 500
            assert await caller.ended() == b""
            await served.until(lambda: not served.server.server_state.tasks)
            assert served.metrics.total(CRASHES) == 0

    run(story())
    assert "CancelledError" in caplog.text
