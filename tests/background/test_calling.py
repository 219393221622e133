"""Calling: the address that is called is the one that was judged, and everything has an end."""
from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringfence.background import calling
from ringfence.background.calling import Answered, Caller, CallFailed
from ringfence.engine.addresses import Rules, rules_for
from tests.background.receiver import OK, Receiver, receiving

pytestmark = pytest.mark.anyio
SANDBOX = rules_for(False)
NO_LOOPBACK = SANDBOX._replace(loopback=False)
SECONDS = 60.0
"""For a call that ends by itself: more than any machine takes."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


class Names:
    """A resolver that says what the test wrote down, question by question."""

    def __init__(self, *answers: list[str] | OSError) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


async def post(url: str, rules: Rules = SANDBOX, *, seconds: float = SECONDS, body: bytes = b"told", **options) -> Answered:
    caller = Caller(rules, **options)
    try:
        return await caller.post(url, {"content-type": "text/plain"}, body, seconds)
    finally:
        await caller.close()


async def failure(url: str, rules: Rules = SANDBOX, **options) -> CallFailed:
    with pytest.raises(CallFailed) as caught:
        await post(url, rules, **options)
    return caught.value


async def test_an_answer_comes_with_its_status_and_the_address_that_was_called(receiver: Receiver):
    """The host is the URL's, also when the name was resolved."""
    said = await post(f"http://shop.example:{receiver.port}/a?b=c", resolve=Names(["127.0.0.1"]))
    assert said == Answered(200, b"OK", "127.0.0.1")
    assert receiver.heard[0].line == "POST /a?b=c HTTP/1.1" and receiver.heard[0].headers["host"] == f"shop.example:{receiver.port}"
    assert receiver.heard[0].body == b"told"


async def test_a_name_is_resolved_once_and_what_was_judged_is_called(receiver: Receiver):
    """A resolver that would say something else the second time is not asked a second time."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    assert (await post(f"http://shop.example:{receiver.port}/", resolve=names)).address == "127.0.0.1" and names.asked == 1


async def test_every_new_connection_asks_again(receiver: Receiver):
    """And what the name means now may be forbidden now."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    receiver.reply = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    caller = Caller(SANDBOX, resolve=names)
    url = f"http://shop.example:{receiver.port}/"
    await caller.post(url, {}, b"", SECONDS)
    with pytest.raises(CallFailed) as caught:
        await caller.post(url, {}, b"", SECONDS)
    assert caught.value.reason == "shop.example is 10.0.0.1, which is not a public address, and in none of RINGFENCE_WEBHOOK_NETWORKS." and len(receiver.heard) == 1


async def test_who_asks_for_the_same_name_at_once_asks_once(receiver: Receiver):
    """A name server that is slow is not asked ten times by ten attempts."""
    release = asyncio.Event()
    asked = 0

    async def slow(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        await release.wait()
        return ["127.0.0.1"]

    caller = Caller(SANDBOX, resolve=slow)
    posts = [asyncio.ensure_future(caller.post(f"http://shop.example:{receiver.port}/", {}, b"", SECONDS)) for _ in range(5)]
    await asyncio.sleep(0)
    release.set()
    assert {said.status for said in await asyncio.gather(*posts)} == {200} and asked == 1
    await caller.close()


async def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    """A connection has its own limit inside that of the attempt."""
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(calling, "CONNECT_SECONDS", 0.05)
    failed = await failure("http://shop.example/", resolve=silent)
    assert failed.reason == "No connection within 0.05 seconds." and failed.address == ""


FORBIDDEN = {
    "10.1.2.3": "not a public address", "172.16.0.1": "not a public address", "192.168.0.1": "not a public address", "169.254.169.254": "not a public address",
    "100.64.0.1": "not a public address", "0.0.0.0": "not a public address", "255.255.255.255": "not a public address", "224.0.0.1": "not a public address",
    "168.63.129.16": "not a public address", "127.0.0.1": "this machine", "::1": "this machine", "::ffff:127.0.0.1": "this machine",
    "::ffff:10.0.0.1": "not a public address", "64:ff9b::7f00:1": "stands for another", "64:ff9b:1::a00:1": "stands for another",
    "2002:a00:1::": "stands for another", "::a00:1": "stands for another", "fe80::1%lo": "not a public address", "fd00:ec2::254": "not a public address",
    "ff02::1": "not a public address",
}


@pytest.mark.parametrize("address", FORBIDDEN)
async def test_a_name_that_leads_inside_is_not_called(address: str):
    """Private, loopback, link-local, shared, mapped, translated, multicast and metadata addresses; also hidden behind a good one."""
    for found in ([address], ["93.184.215.14", address]):
        failed = await failure("http://shop.example/", NO_LOOPBACK, resolve=Names(found))
        assert FORBIDDEN[address] in failed.reason and failed.address == address


@pytest.mark.parametrize(("url", "why"), [
    ("http://10.0.0.1/", "names 10.0.0.1"), ("http://u:p@shop.example/", "user name"), ("ftp://shop.example/", "must begin with"),
    ("http://2130706433/", "by a number"), ("http://[::ffff:10.0.0.1]/", "not a public address"), ("http:///", "names no host"),
])
async def test_an_address_that_cannot_be_is_not_even_resolved(url: str, why: str):
    """It is judged again at every attempt: rules may have changed since it was given."""
    names = Names()
    assert why in (await failure(url, resolve=names)).reason and names.asked == 0


async def test_ports_are_those_of_the_rules(receiver: Receiver):
    """Live: 443, and what was allowed beside it."""
    live = rules_for(True, ports=[8443])
    for url in ("https://shop.example:8080/", "http://shop.example/"):
        assert "must " in (await failure(url, live, resolve=Names())).reason
    failed = await failure("https://shop.example:8443/", live, resolve=Names(OSError(-2, "Name or service not known")))
    assert failed.reason == "The name shop.example cannot be resolved: Name or service not known." and failed.address == ""


async def test_a_network_may_be_allowed(receiver: Receiver):
    """An installation's own receivers."""
    rules = NO_LOOPBACK._replace(networks=(ipaddress.ip_network("127.0.0.0/8"),))
    assert (await post(receiver.url, rules)).status == 200


async def test_real_names_are_resolved(receiver: Receiver):
    """By the machine; of several addresses the first one that takes a connection is called."""
    assert (await post(f"http://localhost:{receiver.port}/")).status == 200
    with pytest.raises(socket.gaierror):
        await calling.resolved("no-such-host.invalid", 80)


async def test_a_connection_is_used_again_and_never_by_two(receiver: Receiver):
    """One after the other over one connection; side by side over as many."""
    caller = Caller(SANDBOX)
    for _ in range(5):
        await caller.post(receiver.url, {}, b"", SECONDS)
    assert receiver.connections == 1
    await asyncio.gather(*(caller.post(receiver.url, {}, b"", SECONDS) for _ in range(3)))
    assert receiver.connections == 3
    await caller.close()


async def test_a_kept_connection_that_breaks_is_a_failed_attempt(receiver: Receiver):
    """Nobody knows whether the request arrived: it is not sent again behind anybody's back."""
    async def hang_up(one: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    receiver.replies = [OK, hang_up]
    caller = Caller(SANDBOX)
    await caller.post(receiver.url, {}, b"one", SECONDS)
    with pytest.raises(CallFailed, match="without an answer"):
        await caller.post(receiver.url, {}, b"two", SECONDS)
    assert [one.body for one in receiver.heard] == [b"one", b"two"]
    await caller.close()


async def test_a_kept_connection_that_the_receiver_closed_is_not_used(receiver: Receiver):
    """A new one is made."""
    caller = Caller(SANDBOX)
    await caller.post(receiver.url, {}, b"", SECONDS)
    receiver.hang_up()
    while any(line.is_idle for lines in caller._kept.values() for _, line in lines):
        await asyncio.sleep(0)
    assert (await caller.post(receiver.url, {}, b"", SECONDS)).status == 200 and receiver.connections == 2
    await caller.close()


ANSWERS: dict[str, tuple[bytes, tuple[int, bytes]]] = {
    "a length": (b"HTTP/1.1 201 Made\r\ncontent-length: 3\r\n\r\nabc", (201, b"abc")),
    "chunks": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", (200, b"abcde")),
    "no body": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
    "a redirect": (b"HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n", (302, b"")),
    "a word before": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx", (200, b"x")),
    "an error": (b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy", (503, b"busy")),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_every_form_of_an_answer_is_understood(receiver: Receiver, what: str):
    """And the connection can be used again afterwards."""
    receiver.reply, expected = ANSWERS[what]
    caller = Caller(SANDBOX)
    for _ in range(2):
        said = await caller.post(receiver.url, {}, b"", SECONDS)
        assert (said.status, said.body) == expected
    assert receiver.connections == 1
    await caller.close()


async def test_a_second_answer_to_one_request_ends_the_connection(receiver: Receiver):
    """It is not taken for the answer to the next."""
    receiver.replies = [OK + b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"]
    caller = Caller(SANDBOX)
    assert [(await caller.post(receiver.url, {}, b"", SECONDS)).status for _ in range(2)] == [200, 200] and receiver.connections == 2
    await caller.close()


async def test_an_answer_without_a_length_ends_with_its_connection(receiver: Receiver):
    """As HTTP/1.0 servers do."""
    async def old(one: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        await writer.drain()
        writer.close()

    receiver.reply = old
    said = await post(receiver.url)
    assert (said.status, said.body) == (200, b"all of it")


def in_pieces(*pieces: bytes, closes: bool = False) -> Callable:
    async def reply(one: Receiver, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if closes:
            writer.close()
    return reply


def for_ever(begin: bytes, piece: bytes) -> Callable:
    async def reply(one: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while not writer.transport.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
    return reply


BROKEN = {
    "nothing and then the end": (in_pieces(closes=True), "without an answer"),
    "half a head": (in_pieces(b"HTTP/1.1 200 OK\r\ncont", closes=True), "in the middle"),
    "less than it said": (in_pieces(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", closes=True), "in the middle"),
    "a broken chunk": (in_pieces(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), "not an HTTP answer"),
    "chunks without an end": (in_pieces(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", closes=True), "in the middle"),
    "something else": (in_pieces(b"220 mail.shop.example ESMTP\r\n"), "not an HTTP answer"),
    "a head without an end": (for_ever(b"HTTP/1.1 200 OK\r\n", b"x-filler: " + b"y" * 500 + b"\r\n"), "head of more than 16 KB"),
    "words before without an end": (for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 20), "head of more than 16 KB"),
    "another protocol": (in_pieces(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nxx"), ""),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_an_answer_that_is_none_is_a_failed_attempt(receiver: Receiver, what: str):
    """It ends, and says why."""
    receiver.reply, why = BROKEN[what]
    failed = await failure(receiver.url)
    assert why in failed.reason and failed.address == "127.0.0.1" and "within" not in failed.reason


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"])
async def test_of_an_endless_body_64_kilobytes_are_read(receiver: Receiver, begin: bytes):
    """The status counts; the connection is closed."""
    receiver.reply = for_ever(begin, b"z" * 1000)
    said = await post(receiver.url)
    assert said.status == 200 and said.body == b"z" * 65_536


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begin", [CHUNKED + b"0\r\nx-trailer: ", CHUNKED + b"3\r\nabc\r\n3; extension=", CHUNKED + b"0" * 15])
async def test_of_what_is_no_body_behind_a_head_not_much_is_read_either(receiver: Receiver, begin: bytes):
    """Trailers and extensions of chunks, which a parser would gather for as long as an attempt may take."""
    sent = 0

    async def flood(one: Receiver, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(begin)
        while not writer.transport.is_closing():
            writer.write(b"0" * 4_096)
            sent += 4_096
            await writer.drain()
            await asyncio.sleep(0)

    receiver.reply = flood
    failed = await failure(receiver.url)
    assert "within" not in failed.reason and failed.address == "127.0.0.1"
    assert sent < 64 * calling.MAX_BODY


async def test_what_follows_an_answer_and_is_none_ends_the_connection(receiver: Receiver):
    """Whoever says too much once is not asked over the same connection again."""
    receiver.replies = [OK + b"and more"]
    caller = Caller(SANDBOX)
    assert [(await caller.post(receiver.url, {}, b"", SECONDS)).status for _ in range(2)] == [200, 200] and receiver.connections == 2
    await caller.close()


@pytest.mark.parametrize("reply", [for_ever(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b""), for_ever(b"", b"")])
async def test_an_attempt_has_so_much_time_and_no_more(receiver: Receiver, reply: Callable):
    """For an answer that never comes, and for one that never ends."""
    receiver.reply = reply
    failed = await failure(receiver.url, seconds=1.5)
    assert failed.reason == "No answer from 127.0.0.1 within 1.5 seconds." and failed.address == "127.0.0.1"


async def test_a_slow_drip_does_not_make_time(receiver: Receiver):
    """The limit is for the whole answer, not for its pieces."""
    async def drip(one: Receiver, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while not writer.transport.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.005)

    receiver.reply = drip
    assert "within 1.5 seconds" in (await failure(receiver.url, seconds=1.5)).reason


async def test_nobody_at_home():
    """A refused connection says so."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))                     # so that nobody else listens there
        failed = await failure(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
    assert failed.reason.startswith("No connection to 127.0.0.1: ") and failed.address == "127.0.0.1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of shop.example, and a client's that trusts it."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


async def test_tls_wants_the_name_of_the_url(certificate: tuple[ssl.SSLContext, ssl.SSLContext]):
    """Although an address was called; another name, and a certificate of nobody's authority, are refused."""
    server, trust = certificate
    async with receiving(server) as receiver:
        url = f"https://shop.example:{receiver.port}/"
        assert (await post(url, trust=trust, resolve=Names(["127.0.0.1"]))).status == 200
        other = await failure(f"https://other.example:{receiver.port}/", trust=trust, resolve=Names(["127.0.0.1"]))
        assert other.reason.startswith("No TLS with 127.0.0.1: ") and "other.example" in other.reason
        assert "No TLS with 127.0.0.1: " in (await failure(url, resolve=Names(["127.0.0.1"]))).reason
        assert len(receiver.heard) == 1
