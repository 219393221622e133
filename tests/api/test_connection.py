"""The short way and uvicorn's give the same bytes in the same order, whatever arrives and however it is cut; and both end well.

A real server on a socket, in the loop of the test.  ``Short`` is the server as it is; ``long way`` is the same one that learns no heads.
"""
from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import accumulate, pairwise

import pytest
import uvicorn
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api import connection
from ringfence.api.connection import Exchange, close_overdue, connection_class
from ringfence.api.http import Door, Prepared, read_body, root
from ringfence.engine.metrics import CRASHES, REQUEST_SECONDS, REQUESTS_APS, REQUESTS_OTHER, Metrics
from ringfence.worker import Server

TURNS = 12                                      # of the loop: more than any answer takes that waits for nothing
BODY_LIMIT = 4_096
HEAD_LIMIT = 2_048
KEY = b"x-key"


def head_of_keyed(answer: bytes, status: int) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\nx-own: yes\r\n" % ({201: b"201 Created", 402: b"402 Payment Required"}[status], len(answer))


class Recorded:
    """A transport that remembers what was written while it was open: what a caller sees who is quick enough to read it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport, self.written = transport, b""

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self.written += data
        self._transport.write(data)


class Served:
    """A server with one door that says what it was asked, and what the test can see of it."""

    def __init__(self) -> None:
        self.metrics = Metrics(1)
        self.held: dict[bytes, asyncio.Event] = {}
        self.asked: list[bytes] = []
        self.long_way = 0                       # requests that came through the ASGI application
        self.port = 0
        self.taken = asyncio.Event()            # set whenever a connection got bytes, or ended

    async def handle(self, body: bytes, source_ip: str, idempotency_key: str) -> tuple[bytes, str]:
        """``crash`` raises, ``hold`` waits for the test, ``large`` answers much; the rest comes back."""
        self.asked.append(body)
        if body.startswith(b"crash"):
            raise RuntimeError("crash")
        if body in self.held:
            await self.held[body].wait()
        elif body.startswith(b"later"):
            await asyncio.sleep(0)
        if body.startswith(b"large"):
            return b"x" * 1_000_000, ""
        return b"%b|%b|%b" % (body, source_ip.encode(), idempotency_key.encode()), "7:abc" if body.startswith(b"receipt") else ""

    async def keyed(self, body: bytes, source_ip: str, key: str) -> tuple[bytes, int]:
        """A door with keys and statuses of its own; ``later`` waits for a turn."""
        if body.startswith(b"later"):
            await asyncio.sleep(0)
        return b"%b|%b|%b" % (body, source_ip.encode(), key.encode()), 402 if body.startswith(b"poor") else 201

    async def application(self, scope, receive, send) -> None:
        """The same door the long way."""
        key = next((value.decode("latin-1") for name, value in scope["headers"] if name == KEY), "")
        answer, status = await self.keyed(await read_body(scope, receive, 10 * BODY_LIMIT), scope["client"][0], key)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"%d" % len(answer)), (b"x-own", b"yes")]})
        await send({"type": "http.response.body", "body": answer})

    def hold(self, body: bytes) -> asyncio.Event:
        self.held[body] = asyncio.Event()
        return self.held[body]

    def connections(self) -> list:
        return list(self.server.server_state.connections)

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for something that the server does on its own; the loop turns meanwhile."""
        async with asyncio.timeout(60):
            while not true():
                await asyncio.sleep(0)


@asynccontextmanager
async def serve(*, keep_alive: float = 60, drain: int = 10, host: str = "127.0.0.1", learns: bool = True) -> AsyncIterator[Served]:
    """Run a server; at the end it is shut down as in production."""
    served = Served()
    counters = served.metrics.row(0)

    async def cold(request: Request) -> Response:
        return Response(b"cold:" + await request.body())

    doors = {"/door": Door(served.handle, BODY_LIMIT)}
    application = root(doors, [Route("/cold", cold, methods=["GET", "POST"])], counters, {"/keyed": served.application})
    prepared = Prepared(served.keyed, head_of_keyed, BODY_LIMIT, REQUESTS_OTHER, REQUEST_SECONDS, KEY)

    async def counted(scope, receive, send) -> None:
        served.long_way += 1
        await application(scope, receive, send)

    class Watched(connection_class(HEAD_LIMIT, doors, counters, learn={"/keyed": lambda headers: prepared})):
        got = 0

        def connection_made(self, transport) -> None:
            super().connection_made(Recorded(transport))
            if not learns:
                self._lessons = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.got += len(data)
            served.taken.set()

        def connection_lost(self, exc) -> None:
            super().connection_lost(exc)
            served.taken.set()

    listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    served.port = listener.getsockname()[1]
    started = asyncio.Event()

    async def on_started() -> None:
        started.set()

    served.server = Server(uvicorn.Config(
        counted, http=Watched, ws="none", lifespan="off", interface="asgi3", log_config=None, access_log=False, server_header=False,
        date_header=False, proxy_headers=False, timeout_keep_alive=keep_alive, timeout_graceful_shutdown=drain), on_started)
    serving = asyncio.create_task(served.server.serve([listener]))
    await started.wait()
    try:
        yield served
    finally:
        served.server.stop()
        await serving


@pytest.fixture(scope="module")
def run():
    """Run a coroutine in the loop of production; servers of this module live in it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture(scope="module")
def both(run):
    """The server as it is, and the one that goes the long way."""
    async def enter():
        short, long = serve(), serve(learns=False)
        return short, long, await short.__aenter__(), await long.__aenter__()

    short, long, *servers = run(enter())
    yield servers
    run(short.__aexit__(None, None, None))
    run(long.__aexit__(None, None, None))


def post(body: bytes, *more: bytes, path: bytes = b"/door") -> bytes:
    """A request; the head is always the same but for the length, unless there is more."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (path, len(body))
    return head + b"".join(line + b"\r\n" for line in more) + b"\r\n" + body


def chunked(*parts: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return b"POST /door HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def keyed(body: bytes, key: bytes, *more: bytes) -> bytes:
    """A request whose key is another one each time."""
    return post(body, b"X-Key: " + key, *more, path=b"/keyed")


LAST = post(b"last", b"Connection: close")


class Caller:
    """One connection to the server."""

    def __init__(self, served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served, self.reader, self.writer = served, reader, writer
        self.sent = 0

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent += len(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes, bytes]:
        """Status, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        return int(head.split()[1]), head, await self.reader.readexactly(length)

    async def ask(self, data: bytes) -> tuple[int, bytes, bytes]:
        await self.say(data)
        return await self.answer()

    async def taught(self) -> Caller:
        """The server knows the head of ``post`` after this."""
        assert (await self.ask(post(b"first")))[0] == 200
        return self

    async def ended(self) -> bytes:
        """Whatever still comes until the server hangs up."""
        async with asyncio.timeout(60):
            return await self.reader.read()


@asynccontextmanager
async def calling(served: Served, host: str = "127.0.0.1") -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(host, served.port, limit=2**24)
    try:
        yield Caller(served, reader, writer)
    finally:
        writer.close()


async def dialogue(served: Served, pieces: list[bytes]) -> bytes:
    """All that the server answers to these pieces, each of which it reads by itself and answers as far as it can."""
    async with calling(served) as caller:
        name = caller.writer.get_extra_info("sockname")
        await served.until(lambda: any(one.client == name for one in served.connections()))
        at_server = next(one for one in served.connections() if one.client == name)
        for piece in pieces:
            if at_server.transport.is_closing():
                break
            await caller.say(piece)
            while at_server.got < caller.sent and not at_server.transport.is_closing():
                served.taken.clear()
                async with asyncio.timeout(60):
                    await served.taken.wait()
            await turns(TURNS)
        await turns(TURNS * 20)                 # a whole queue
        return at_server.transport.written


async def turns(count: int) -> None:
    """Let the loop turn so often: for what needs nothing but that."""
    for _ in range(count):
        await asyncio.sleep(0)


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(set(at)), len(stream)]
    return [stream[first:last] for first, last in pairwise(places) if first < last]


# -- the same answers as the long way --

TEACH = post(b"teach")
KINDS = [
    post(b"one"), post(b"receipt two"), chunked(b"th", b"ree"), post(b"later four"), b"GET /cold HTTP/1.1\r\nHost: x\r\n\r\n", post(b""),
    post(b"five", b"Idempotency-Key: k5"), post(b"later six"),
    b"GET /door HTTP/1.1\r\nHost: x\r\n\r\n", post(b"seven"), post(b"eight", path=b"/cold"), LAST,
]
MIX = b"".join(KINDS)


def seams(requests: list[bytes]) -> list[int]:
    """Where one request ends and the next begins: the places at which the short way can be entered."""
    return list(accumulate(map(len, requests)))[:-1]


def test_a_stream_of_many_kinds_is_answered_in_order_wherever_it_is_cut_in_two(both, run):
    """Pipelined requests of both ways, cut at every byte."""
    short, long = both

    async def every_byte() -> None:
        expected = await dialogue(long, [TEACH, MIX])
        assert expected.count(b"HTTP/1.1 200 ") == 12 and expected.count(b"HTTP/1.1 405 ") == 1
        assert b"five|127.0.0.1|k5" in expected and b"ringfence-receipt: 7:abc\r\n" in expected and b"cold:eight" in expected
        for at in range(len(MIX)):
            assert await dialogue(short, [TEACH, *cut(MIX, [at])]) == expected, at
        assert await dialogue(short, [TEACH, *(MIX[at:at + 1] for at in range(len(MIX)))]) == expected

    run(every_byte())


def test_a_thousand_random_cuts_change_nothing(both, run):
    """Each piece is a read of its own; half of the cuts lie between two requests, where the short way begins."""
    short, long = both
    chance = random.Random(7)

    async def thousand() -> None:
        expected = await dialogue(long, [TEACH, MIX])
        before = short.long_way
        for _ in range(1_000):
            anywhere, between = chance.randint(0, 8), chance.randint(0, 8)
            pieces = cut(MIX, chance.sample(range(len(MIX)), anywhere) + chance.sample(seams(KINDS), between))
            assert await dialogue(short, [TEACH, *pieces]) == expected, pieces
        assert short.long_way - before < 11_000, "of 13,000 requests, 6,000 of them of the kind that can be known"

    run(thousand())


BODIES = st.one_of(st.binary(max_size=40), st.sampled_from([b"later x", b"receipt y", b"z" * BODY_LIMIT, b"\r\n\r\n", LAST]))
KEYS = st.sampled_from([b"k1", b"another key", b"", b"k" * 200, b"\xe9", b"9", b" spaced ", b"\ttab", b"a\tb"])
REQUESTS = st.one_of(
    st.builds(keyed, BODIES, KEYS), st.builds(keyed, st.sampled_from([b"poor", b"later on", b""]), KEYS, st.sampled_from([b"X-More: 1", b"Accept: */*"])),
    BODIES.map(post), BODIES.map(post), BODIES.map(lambda body: post(body, b"X-More: 1")), BODIES.map(lambda body: post(body, path=b"/cold")),
    BODIES.map(chunked), BODIES.map(lambda body: post(body, b"Idempotency-Key: key")), BODIES.map(lambda body: b"\r\n" + post(body)),
    BODIES.map(lambda body: post(body, b"Connection: Upgrade", b"Upgrade: h2c")), BODIES.map(lambda body: post(body, b"Expect: 100-continue")),
    st.sampled_from([
        post(b"crash"), LAST, post(b"old").replace(b"HTTP/1.1", b"HTTP/1.0"), post(b"w" * (BODY_LIMIT + 1)), b"nonsense\r\n\r\n",
        post(b"abc").replace(b": 3", b": +3"), post(b"abc").replace(b": 3", b": 3 "), post(b"abc", b"Content-Length: 3"),
        post(b"abc", path=b"/door?x=1"), b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", post(b"abc", path=b"/nowhere"),
        post(b"abc").replace(b"x\r\n", b"x\n"),
    ]),
)


@settings(deadline=None, max_examples=200)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=8), chance=st.randoms(use_true_random=False), cuts=st.integers(0, 6))
def test_any_requests_however_cut_get_the_bytes_of_the_long_way(both, run, requests, chance, cuts):
    """Good, bad and odd ones after each other on one connection that knows a head."""
    stream = b"".join([*requests, LAST])
    places = [chance.randrange(len(stream)) for _ in range(cuts)] + [seam for seam in seams([*requests, LAST]) if chance.random() < 0.5]
    pieces = [TEACH if chance.random() < 0.5 else keyed(b"teach", b"k0"), *cut(stream, places)]

    async def compare() -> None:
        short, long = both
        assert await dialogue(short, pieces) == await dialogue(long, pieces)

    run(compare())


# -- what goes which way --

def alone(story: Callable[..., Awaitable[None]], **settings: object) -> Callable[..., None]:
    """A test with a server of its own and nothing else in its loop."""
    def test(run) -> None:
        async def play() -> None:
            async with serve(**settings) as served:
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
    alone(_ipv6, host="::1")(run)


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

def test_an_exception_is_500_logged_and_counted(run, caplog):
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

    alone(story)(run)
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

def test_what_is_under_way_at_the_end_is_answered_and_nothing_after_it(run):
    """An idle connection is closed at once; an answer in flight leaves with ``connection: close``; a body half arrived may still come."""
    async def story() -> None:
        async with serve() as served, calling(served) as idle, calling(served) as busy, calling(served) as half, calling(served) as queued:
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


def test_what_takes_too_long_at_the_end_is_cut_off(run, caplog):
    """After the time to drain the task is cancelled, and the caller is told that something broke."""
    async def story() -> None:
        async with serve(drain=1) as served, calling(served) as caller:
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
