"""The short way and uvicorn's give the same bytes in the same order, whatever arrives and however it is cut; and both end well.

A real server on a socket, in the loop of the test.  ``Short`` is the server as it is; ``long way`` is the same one that learns no heads.
"""
from __future__ import annotations

import asyncio
import random
from itertools import accumulate

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.short_way import BODY_LIMIT, LAST, chunked, cut, dialogue, keyed, post, serve


@pytest.fixture(scope="module")
def run():
    """Run a coroutine in the loop of production; servers of this module live in it."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run


@pytest.fixture(scope="module", params=[False, True], ids=["awaited", "told"])
def both(run, request):
    """The server as it is, whose door's answers are awaited or come by themselves, and the one that goes the long way."""
    async def enter():
        short, long = serve(tells=request.param), serve(learns=False)
        return short, long, await short.__aenter__(), await long.__aenter__()

    short, long, *servers = run(enter())
    yield servers
    run(short.__aexit__(None, None, None))
    run(long.__aexit__(None, None, None))


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
