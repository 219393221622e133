"""Connections to a provider: what a server may do to them, on real sockets."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ringfence.processors.amazon_pay.connections import MAX_ANSWER, Connections, Lost, NotSent, Origin, origin_of

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Some: Thing\r\n\r\nok"
HEAD = "POST /v2/charges HTTP/1.1\r\naccept: application/json\r\n"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[Origin]:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield Origin("http", "127.0.0.1", listening.sockets[0].getsockname()[1])
    finally:
        listening.close()


def saying(*answers: bytes) -> tuple[Serve, list[bytes]]:
    """A server that gives these answers to the requests of each connection, then closes it; and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            asked.append(head + await reader.readexactly(length))
            writer.write(answer)
            await writer.drain()

    return serve, asked


async def test_a_request_goes_out_and_its_answer_comes_back():
    """Host and length are added, names of headers come back in small letters."""
    serve, asked = saying(OK)
    lines = Connections()
    async with server(serve) as origin:
        answer = await lines.exchange(origin, HEAD, b'{"a":1}', 5.0)
    assert (answer.status, answer.body, answer.headers["x-some"]) == (200, b"ok", "Thing")
    assert asked == [
        f'POST /v2/charges HTTP/1.1\r\nhost: {origin.netloc}\r\ncontent-length: 7\r\naccept: application/json\r\n\r\n{{"a":1}}'.encode()]
    await lines.close()


async def test_a_connection_is_kept_and_one_that_was_closed_is_not_used():
    """Two requests over one connection; after the server has closed it, a new one is made."""
    serve, asked = saying(OK, OK)
    made = 0

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal made
        made += 1
        await serve(reader, writer)

    lines = Connections()
    async with server(counted) as origin:
        for _ in range(2):
            await lines.exchange(origin, HEAD, b"", 5.0)
        while lines._idle[origin] and lines._idle[origin][0][1].is_open:
            await asyncio.sleep(0)                      # until its end has arrived
        for _ in range(2):
            await lines.exchange(origin, HEAD, b"", 5.0)
    assert (len(asked), made) == (4, 2)
    await lines.close()


@pytest.mark.parametrize("answer", [
    b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + b"x" * (MAX_ANSWER + 70_000),
])
async def test_what_is_no_answer_was_perhaps_carried_out(answer: bytes):
    """It was sent: nobody may say that nothing happened."""
    serve, _ = saying(answer)
    lines = Connections()
    async with server(serve) as origin:
        with pytest.raises(Lost):
            await lines.exchange(origin, HEAD, b"", 5.0)
    await lines.close()


@pytest.mark.parametrize(("answer", "body"), [
    (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"),
])
async def test_every_way_to_end_an_answer(answer: bytes, body: bytes):
    """By length, by chunks, by the end of the connection; interim answers are passed over."""
    serve, _ = saying(answer)
    lines = Connections()
    async with server(serve) as origin:
        assert (await lines.exchange(origin, HEAD, b"", 5.0)).body == body
    await lines.close()


async def test_silence_ends_in_time():
    """And counts as sent."""
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    lines = Connections()
    async with server(silent) as origin:
        with pytest.raises(Lost, match=r"0\.1 seconds"):
            await lines.exchange(origin, HEAD, b"", 0.1)
    await lines.close()


async def test_where_nobody_listens_nothing_was_sent():
    """That is certain."""
    serve, _ = saying(OK)
    async with server(serve) as origin:
        pass
    with pytest.raises(NotSent):
        await Connections().exchange(origin, HEAD, b"", 5.0)


@pytest.mark.parametrize(("url", "origin", "path"), [
    ("https://pay-api.amazon.com", Origin("https", "pay-api.amazon.com", 443), ""),
    ("http://127.0.0.1:8132/some/", Origin("http", "127.0.0.1", 8132), "/some"),
])
def test_where_a_base_url_leads(url: str, origin: Origin, path: str):
    """Scheme, host and port, and the path in front of every other."""
    assert origin_of(url) == (origin, path)
    assert origin.netloc in url


@pytest.mark.parametrize("url", ["", "pay.example", "ftp://x", "https://", "https://u@x", "https://x?a", "https://x#a"])
def test_what_is_no_base_url(url: str):
    """Is refused."""
    with pytest.raises(ValueError, match=r"base URL|port"):
        origin_of(url)
