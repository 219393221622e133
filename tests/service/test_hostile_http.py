"""What strangers send: wrong methods, broken heads, bodies without end, bytes that mean nothing.

Every one of them gets its answer or is cut off; none of them makes the service fail, grow or forget.
"""
from __future__ import annotations

import asyncio
import gzip
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import asyncpg
import pytest

from ringfence.api.aps import signature
from ringfence.storage.postgres import address
from tests.faults.processes import processes_of, proportional_bytes
from tests.sandbox import CARD, Client, Sandbox, request

DOOR = "/FortAPI/paymentApi"
LIMIT = 65_536
PATIENCE_SECONDS = 60
MEMORY_BYTES = 300 * 2**20


class Answer(NamedTuple):
    """One HTTP answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def sandbox():
    """A service that gives callers two seconds to say what they want."""
    with Sandbox(workers=2, environment={"RINGFENCE_REQUEST_SECONDS": "2"}, alone=True) as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(sandbox):
    """After every test: no process died, no request crashed, nothing was logged as an error, and payments go on."""
    before = processes_of(sandbox.process.pid)
    yield
    assert processes_of(sandbox.process.pid).workers == before.workers
    (metrics,) = read_all(talk(sandbox.port, head("GET", "/metrics")))
    assert "ringfence_crashes_total 0" in metrics.body.decode()
    assert '"level":"error"' not in sandbox.output.read_text()
    assert asyncio.run(pays(sandbox))


async def pays(sandbox: Sandbox) -> bool:
    client = Client(sandbox.port, sandbox.merchant())
    try:
        answer = await client.purchase(f"P-{asyncio.get_running_loop().time():.6f}", 100)
        return answer["response_code"] == "14000"
    finally:
        await client.close()


def head(method: str, path: str, *headers: str, version: str = "HTTP/1.1", close: bool = True) -> bytes:
    lines = [f"{method} {path} {version}", "host: ringfence", *headers, *(["connection: close"] if close else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def post(body: bytes, *headers: str, close: bool = True, version: str = "HTTP/1.1") -> bytes:
    return head("POST", DOOR, f"content-length: {len(body)}", *headers, close=close, version=version) + body


def talk(port: int, *pieces: bytes, half_close: bool = False) -> bytes:
    """Send, and read until the other side has ended; a reset ends it too."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as line:
        received = b""
        try:
            for piece in pieces:
                line.sendall(piece)
            if half_close:
                line.shutdown(socket.SHUT_WR)
            while piece := line.recv(65_536):
                received += piece
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


def read_all(text: bytes) -> list[Answer]:
    """The answers in what was received, interim ones (1xx) included."""
    answers = []
    while text:
        top, _, text = text.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        status = re.fullmatch(r"HTTP/1\.1 (\d{3})(?: .*)?", first)
        assert status, first
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", 0)) if "chunked" not in headers.get("transfer-encoding", "") else len(text)
        answers.append(Answer(int(status[1]), headers, text[:length]))
        text = text[length:]
    return answers


# ---------------------------------------------------------------------------------------------------------- methods and paths

@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_the_door_takes_nothing_but_post(sandbox, method):
    """Another method is answered 405, and which one is possible."""
    (answer,) = read_all(talk(sandbox.port, head(method, DOOR)))
    assert (answer.status, answer.headers["allow"]) == (405, "post")


PATHS = [
    "/", "/FortAPI", f"{DOOR}/", f"{DOOR}/x", "/fortapi/paymentapi", "//FortAPI/paymentApi", "/FortAPI/../FortAPI/paymentApi", "/%00", "/%ff%fe",
    "/..%2f..%2fetc%2fpasswd", "/admin", "/admin/", "/static/../ringfence/config.py", "/" + "a" * 8_000, "/;x=1", "/?" + "x" * 8_000,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:30])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_there_is_nothing_at_unknown_paths(sandbox, path, method):
    """404 as JSON, whatever the path looks like."""
    (answer,) = read_all(talk(sandbox.port, head(method, path, "content-length: 0")))
    assert answer.status == 404 and json.loads(answer.body)["error"]


@pytest.mark.parametrize("path", [
    "/admin/proof", "/admin/clock", "/admin/merchants", "/admin/merchants/RingfenceOne", "/admin/payments/1", "/admin/simulator",
])
@pytest.mark.parametrize("token", ["", "Bearer", "Bearer x", "Basic YTpi", "Bearer \xff\xfe", "bearer " + "A" * 9_000])
def test_the_operators_routes_are_closed_without_the_token(sandbox, path, token):
    """401, and nothing said."""
    (answer,) = read_all(talk(sandbox.port, head("GET", path, f"authorization: {token}")))
    assert (answer.status, set(json.loads(answer.body))) == (401, {"error"})


# ---------------------------------------------------------------------------------------------------------- sizes

@pytest.mark.parametrize("framing", ["content-length", "chunked"])
@pytest.mark.parametrize("size", [LIMIT + 1, 1_000_000, 6_000_000])
def test_a_body_over_the_limit_is_413(sandbox, framing, size):
    """However it is announced; the caller can read the answer although it was still sending."""
    body = b" " * size
    sent = post(body) if framing == "content-length" else head("POST", DOOR, "transfer-encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body)
    (answer,) = read_all(talk(sandbox.port, sent))
    assert answer.status == 413


def test_a_body_at_the_limit_is_read(sandbox):
    """65,536 bytes are still a request."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    (answer,) = read_all(talk(sandbox.port, post(body.ljust(LIMIT))))
    assert (answer.status, json.loads(answer.body)["response_code"]) == (200, "12036")


def test_an_announced_terabyte_is_refused_without_reading_it(sandbox):
    """The answer comes although hardly anything was sent."""
    (answer,) = read_all(talk(sandbox.port, head("POST", DOOR, "content-length: 1099511627776") + b" " * 100_000))
    assert answer.status == 413


@pytest.mark.parametrize("lines", [
    ["x: " + "a" * 100_000], [f"x-{number}: {'b' * 100}" for number in range(2_000)], ["cookie: " + "c" * 70_000],
], ids=["one long", "many", "cookie"])
def test_a_head_over_the_limit_is_431(sandbox, lines):
    """Counted as it comes, however it is made up."""
    answers = read_all(talk(sandbox.port, head("POST", DOOR, *lines, "content-length: 0")))
    assert [answer.status for answer in answers] == [431]


def test_a_head_that_never_ends_is_cut_off(sandbox):
    """Ten megabytes of header are not kept."""
    received = talk(sandbox.port, b"POST / HTTP/1.1\r\n", *[b"x: %s\r\n" % (b"y" * 65_000)] * 160)
    assert received == b"" or read_all(received)[0].status == 431


# ---------------------------------------------------------------------------------------------------------- framing

def broken(*lines: str, body: bytes = b"") -> bytes:
    return ("\r\n".join([f"POST {DOOR} HTTP/1.1", "host: ringfence", *lines]) + "\r\n\r\n").encode("latin-1") + body


BROKEN = {
    "negative length": broken("content-length: -1"),
    "length in words": broken("content-length: ten"),
    "length beyond 64 bits": broken("content-length: 99999999999999999999999"),
    "two lengths": broken("content-length: 2", "content-length: 3", body=b"{}x"),
    "length and chunks": broken("content-length: 2", "transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "chunk size in words": broken("transfer-encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    "chunk longer than said": broken("transfer-encoding: chunked", body=b"1\r\n{}{}{}\r\n0\r\n\r\n"),
    "unknown transfer coding": broken("transfer-encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "a space before the colon": broken("content-length : 2", body=b"{}"),
    "a control character in a header": broken("x: a\x01b", "content-length: 2", body=b"{}"),
    "version nine": head("POST", DOOR, version="HTTP/9.9"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no method": b" / HTTP/1.1\r\n\r\n",
    "unknown method": head("PAY", DOOR),
    "zeros": bytes(4_096),
    "garbage": bytes(range(256)) * 16,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "PostgreSQL": b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_http_is_400_and_the_end_of_the_connection(sandbox, name):
    """Nothing is guessed: two readings of one request are how requests are smuggled."""
    received = talk(sandbox.port, BROKEN[name])
    assert not received or [answer.status for answer in read_all(received)] == [400], received


def test_chunks_of_any_size_make_one_body(sandbox):
    """A body in single bytes, sent piece by piece."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    pieces = [b"1\r\n%c\r\n" % byte for byte in body]
    (answer,) = read_all(talk(sandbox.port, head("POST", DOOR, "transfer-encoding: chunked"), *pieces, b"0\r\n\r\n"))
    assert json.loads(answer.body)["response_code"] == "12036"


def test_http_1_0_is_served_and_closed(sandbox):
    """Without keep-alive the answer is the end."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    (answer,) = read_all(talk(sandbox.port, post(body, version="HTTP/1.0", close=False)))
    assert answer.status == 200 and json.loads(answer.body)["response_code"] == "12036"


def test_a_caller_that_waits_for_permission_gets_it(sandbox):
    """``Expect: 100-continue``: the interim answer, then the real one."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    whole = post(body, "expect: 100-continue")
    first, second = read_all(talk(sandbox.port, whole[:-len(body)], body))
    assert (first.status, second.status) == (100, 200)


def test_pipelined_requests_are_answered_in_order(sandbox):
    """Three hundred at once on one connection."""
    bodies = [request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference=f"PIPE-{number}") for number in range(300)]
    answers = read_all(talk(sandbox.port, b"".join(post(body, close=body is bodies[-1]) for body in bodies)))
    assert [json.loads(answer.body)["merchant_reference"] for answer in answers] == [f"PIPE-{number}" for number in range(300)]


def test_a_caller_that_only_listens_any_more_gets_its_answer(sandbox):
    """Half-closed: the request is complete, so it is answered, and the connection ends with it."""
    body = request(sandbox.merchant(), **{**CARD, "command": "PURCHASE", "merchant_reference": "HALF-1", "amount": "100"})
    (answer,) = read_all(talk(sandbox.port, post(body, close=False), half_close=True))
    assert json.loads(answer.body)["response_code"] == "14000"


@pytest.mark.parametrize("said", [b"", b"POST", post(b"x" * 100)[:-50], head("POST", DOOR, "transfer-encoding: chunked") + b"5\r\nab"],
                         ids=["nothing", "half a word", "half a body", "half a chunk"])
def test_a_caller_that_hangs_up_early_is_forgotten(sandbox, said):
    """No answer is possible, and none is tried."""
    assert talk(sandbox.port, said, half_close=True) == b""


def test_a_complete_payment_in_an_incomplete_body_is_not_made(sandbox):
    """A JSON object is there, but the caller had announced more: what it meant is not known, so nothing happens."""
    body = request(sandbox.merchant(), **{**CARD, "command": "PURCHASE", "merchant_reference": "CUT-1", "amount": "100"})
    with socket.create_connection(("127.0.0.1", sandbox.port), PATIENCE_SECONDS) as line:
        line.sendall(head("POST", DOOR, f"content-length: {len(body) + 1}", "expect: 100-continue", close=False))
        assert line.recv(100).startswith(b"HTTP/1.1 100 ")      # somebody reads the body
        line.sendall(body)
        for _ in range(20):                                     # and has read it by the time both workers answered a few others
            assert asyncio.run(pays(sandbox))
        line.shutdown(socket.SHUT_WR)
        assert line.recv(100) == b""
    asked = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="CUT-1")
    (answer,) = read_all(talk(sandbox.port, post(asked)))
    assert json.loads(answer.body)["response_code"] == "12036"


# ---------------------------------------------------------------------------------------------------------- a caller already known

@contextmanager
def known(sandbox: Sandbox) -> Iterator[socket.socket]:
    """A kept connection that was served well twice, with the same head both times."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    with socket.create_connection(("127.0.0.1", sandbox.port), PATIENCE_SECONDS) as line:
        for _ in range(2):
            line.sendall(post(body, close=False))
            assert json.loads(one_answer(line).body)["response_code"] == "12036"
        yield line


def one_answer(line: socket.socket) -> Answer:
    """The next answer on a kept connection, and not a byte more."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = line.recv(1)
        assert piece, received
        received += piece
    length = int(re.search(rb"content-length: (\d+)", received)[1])
    while length:
        piece = line.recv(length)
        assert piece, received
        received, length = received + piece, length - len(piece)
    return read_all(received)[0]


def rest_of(line: socket.socket) -> list[Answer]:
    """What still comes until the other side has ended."""
    received = b""
    try:
        while piece := line.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return read_all(received)


def as_before(length: str, body: bytes) -> bytes:
    """The head of a known caller with another text for the length."""
    return head("POST", DOOR, f"content-length: {length}", close=False) + body


NO_LENGTHS = ["-1", "+2", "ten", "0x2", "2e0", "2 2", "2,2", "2;2", "", "\xb2", "99999999999999999999999", "2\r\ncontent-length: 3",
              "2\r\ntransfer-encoding: chunked"]


@pytest.mark.parametrize("length", NO_LENGTHS)
def test_a_known_caller_is_read_as_strictly_as_a_new_one(sandbox, length):
    """A length that is none, or a second one, is 400 and the end, on the first request as on the third."""
    new = [answer.status for answer in read_all(talk(sandbox.port, as_before(length, b"{}")))]
    with known(sandbox) as line:
        line.sendall(as_before(length, b"{}"))
        line.shutdown(socket.SHUT_WR)
        assert [answer.status for answer in rest_of(line)] == new
    assert new in ([], [400])


@pytest.mark.parametrize("name", BROKEN)
def test_nonsense_after_good_requests_ends_the_connection(sandbox, name):
    """Nothing is guessed later either, and nothing that came before is answered twice."""
    with known(sandbox) as line:
        line.sendall(BROKEN[name])
        line.shutdown(socket.SHUT_WR)
        assert [answer.status for answer in rest_of(line)] in ([], [400])


def test_a_known_caller_may_change_everything(sandbox):
    """Another head, chunks, another path, the old head again: each is answered as what it is, in order."""
    asked = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    paid = request(sandbox.merchant(), **{**CARD, "command": "PURCHASE", "merchant_reference": "KNOWN-1", "amount": "100"})
    chunked = head("POST", DOOR, "transfer-encoding: chunked", close=False) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(asked), asked)
    with known(sandbox) as line:
        line.sendall(b"".join([
            post(asked, "x: 1", close=False), post(paid, close=False), chunked, head("GET", "/healthz", close=False), post(paid, close=False),
            post(b"", close=False), post(asked),
        ]))
        answers = rest_of(line)
    assert [answer.status for answer in answers] == [200] * 7
    assert [json.loads(answer.body).get("response_code") for answer in answers] == [
        "12036", "14000", "12036", None, "13007", "00073", "12036"]


def test_a_known_caller_may_send_a_byte_at_a_time(sandbox):
    """Head and body in pieces of one byte, and the next request in the same packet as the last byte."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    whole = post(body, close=False)
    with known(sandbox) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whole[:-1]:
            line.sendall(bytes([byte]))
        line.sendall(whole[-1:] + post(body))
        assert [json.loads(answer.body)["response_code"] for answer in rest_of(line)] == ["12036"] * 2


def test_a_known_caller_has_the_same_limits(sandbox):
    """A body over the limit is 413, whether it comes or is only announced."""
    for length, body in ((LIMIT + 1, b" " * (LIMIT + 1)), (99_999_999, b" " * 100_000)):
        with known(sandbox) as line:
            line.sendall(as_before(str(length), body))
            assert one_answer(line).status == 413


def test_a_known_caller_that_stops_halfway_gets_nothing(sandbox):
    """Cut off by its own end, or by the time for a request; what it sent of a payment is not made."""
    cuts = {f"KNOWN-CUT-{cut}": cut for cut in (1, 40, 200, 480)}
    with ExitStack() as lines:
        stopped = []
        for reference, cut in cuts.items():
            body = request(sandbox.merchant(), **{**CARD, "command": "PURCHASE", "merchant_reference": reference, "amount": "100"})
            for ends in (True, False):
                stopped.append(line := lines.enter_context(known(sandbox)))
                line.sendall(post(body, close=False)[:-cut])
                if ends:
                    line.shutdown(socket.SHUT_WR)
        assert [rest_of(line) for line in stopped] == [[]] * len(stopped)
    for reference in cuts:
        (answer,) = read_all(talk(sandbox.port, post(request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference=reference))))
        assert json.loads(answer.body)["response_code"] == "12036"


def test_a_known_caller_that_only_listens_any_more_gets_all_its_answers(sandbox):
    """Three requests and the end of what it has to say, in one packet."""
    body = request(sandbox.merchant(), query_command="CHECK_STATUS", merchant_reference="NOWHERE")
    with known(sandbox) as line:
        line.sendall(post(body, close=False) * 3)
        line.shutdown(socket.SHUT_WR)
        assert [json.loads(answer.body)["response_code"] for answer in rest_of(line)] == ["12036"] * 3


# ---------------------------------------------------------------------------------------------------------- time

def test_callers_that_never_finish_are_cut_off(sandbox):
    """Within the time for a request, wherever they stopped: before the first byte, inside a line, head, body or chunk."""
    said = [
        b"", b"POST /FortAPI", head("POST", DOOR, "content-length: 10")[:-2], head("POST", DOOR, "content-length: 10") + b"{",
        head("POST", DOOR, "transfer-encoding: chunked") + b"5\r\n{",
    ]
    lines = [socket.create_connection(("127.0.0.1", sandbox.port), PATIENCE_SECONDS) for _ in said]
    for line, text in zip(lines, said, strict=True):
        line.sendall(text)
    assert [line.recv(1_000) for line in lines] == [b""] * len(lines)
    for line in lines:
        line.close()


def test_a_crowd_of_idle_connections_keeps_nobody_out(sandbox):
    """Four hundred connections that say nothing, or half a request each, beside payments."""
    lines = [socket.create_connection(("127.0.0.1", sandbox.port), PATIENCE_SECONDS) for _ in range(400)]
    for number, line in enumerate(lines):
        if number % 2:
            line.sendall(post(b"x" * 100)[:-50])
    try:
        assert all(asyncio.run(pays(sandbox)) for _ in range(20))
    finally:
        for line in lines:
            line.close()


def test_a_client_of_another_protocol_version_is_not_served(sandbox):
    """TLS to a port that speaks plain HTTP fails at the client, at once."""
    with socket.create_connection(("127.0.0.1", sandbox.port), PATIENCE_SECONDS) as line, pytest.raises(ssl.SSLError):
        ssl._create_unverified_context().wrap_socket(line)


# ---------------------------------------------------------------------------------------------------------- bodies

def signed(merchant: dict[str, str], **fields: str) -> dict[str, str]:
    return json.loads(request(merchant, **fields))


def _status(merchant: dict[str, str], **more: str) -> dict[str, str]:
    return signed(merchant, query_command="CHECK_STATUS", merchant_reference="BAD-1", **more)


def _purchase(merchant: dict[str, str], **more: str) -> dict[str, str]:
    return signed(merchant, **{**CARD, "command": "PURCHASE", "merchant_reference": "BAD-2", "amount": "100", **more})


def _raw_amount(literal: str) -> Callable[[dict[str, str]], bytes]:
    """A purchase whose amount stands as this JSON text, and is signed so."""
    def made(merchant: dict[str, str]) -> bytes:
        return json.dumps(_purchase(merchant, amount=literal)).replace(f'"amount": "{literal}"', f'"amount": {literal}').encode()
    return made


def _dumped(params: dict[str, object]) -> bytes:
    return json.dumps(params).encode()


#: Body -> response code, and whether there is a phrase to sign the answer with.
BODIES: dict[str, tuple[Callable[[dict[str, str]], bytes], str, bool]] = {
    "nothing": (lambda m: b"", "00073", False),
    "white space": (lambda m: b" \r\n\t", "00073", False),
    "not JSON": (lambda m: b"<xml/>", "00073", False),
    "a list": (lambda m: b"[]", "00073", False),
    "a text": (lambda m: b'"x"', "00073", False),
    "a number": (lambda m: b"1", "00073", False),
    "null": (lambda m: b"null", "00073", False),
    "cut off": (lambda m: _dumped(_status(m))[:-1], "00073", False),
    "two objects": (lambda m: _dumped(_status(m)) * 2, "00073", False),
    "a comma too many": (lambda m: _dumped(_status(m))[:-1] + b",}", "00073", False),
    "single quotes": (lambda m: _dumped(_status(m)).replace(b'"', b"'"), "00073", False),
    "a byte order mark": (lambda m: b"\xef\xbb\xbf" + _dumped(_status(m)), "00073", False),
    "UTF-16": (lambda m: json.dumps(_status(m)).encode("utf-16"), "00073", False),
    "broken UTF-8": (lambda m: _dumped(_status(m)).replace(b"BAD-1", b"BAD\xff\xfe"), "00073", False),
    "gzip": (lambda m: gzip.compress(_dumped(_status(m))), "00073", False),
    "binary": (lambda m: bytes(range(256)), "00073", False),
    "zeros": (lambda m: bytes(1_000), "00073", False),
    "deep lists": (lambda m: b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", "00073", False),
    "deep objects": (lambda m: b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "00073", False),
    "not a number": (lambda m: b'{"amount":NaN}', "00073", False),
    "no merchant": (lambda m: b"{}", "00001", False),
    "a merchant that is a list": (lambda m: b'{"merchant_identifier":["a"]}', "00009", False),
    "a merchant that is a number without end": (lambda m: b'{"merchant_identifier":1e999}', "00009", False),
    "a merchant of many digits": (lambda m: b'{"merchant_identifier":' + b"9" * 4_000 + b"}", "00009", False),
    "an unknown merchant": (lambda m: _dumped(_status(m) | {"merchant_identifier": "Nobody"}), "00009", False),
    "a merchant with a zero byte": (lambda m: _dumped(_status(m) | {"merchant_identifier": "a\0b"}), "00009", False),
    "no access code": (lambda m: _dumped(_status(m) | {"access_code": ""}), "00001", False),
    "an unknown access code": (lambda m: _dumped(_status(m) | {"access_code": "zz\0"}), "00010", False),
    "no operation": (lambda m: _dumped(signed(m, merchant_reference="BAD-1")), "00001", True),
    "an unknown operation": (lambda m: _dumped(signed(m, command="GIVE_ME_MONEY")), "00004", True),
    "an operation that is an object": (lambda m: _dumped(_status(m) | {"query_command": {"a": 1}}), "00004", True),
    "no signature": (lambda m: _dumped({**_status(m), "signature": ""}), "00001", True),
    "a wrong signature": (lambda m: _dumped(_status(m) | {"signature": "0" * 64}), "00008", True),
    "a signature that is a number": (lambda m: _dumped(_status(m) | {"signature": 0}), "00008", True),
    "a signature with strange letters": (lambda m: _dumped(_status(m) | {"signature": "é" * 64}), "00008", True),
    "an unknown parameter": (lambda m: _dumped(_status(m, colour="red")), "00027", True),
    "a zero byte in a name": (lambda m: _dumped(_status(m, **{"a\0b": "1"})), "00027", True),
    "a zero byte in a value": (lambda m: _dumped(_status(m) | signed(m, query_command="CHECK_STATUS", merchant_reference="a\0b")), "00002", True),
    "a reference that is too long": (lambda m: _dumped(signed(m, query_command="CHECK_STATUS", merchant_reference="x" * 41)), "00032", True),
    "an amount without end": (_raw_amount("1e999"), "00002", True),
    "a negative amount": (_raw_amount("-100"), "00002", True),
    "an amount of nothing": (_raw_amount("0"), "00005", True),
    "an amount of 4,000 digits": (_raw_amount("9" * 4_000), "00032", True),
    "an amount of 5,000 digits": (_raw_amount("9" * 5_000), "00073", False),
    "a currency that is none": (lambda m: _dumped(_purchase(m, currency="XXX")), "00013", True),
    "an expiry in month 13": (lambda m: _dumped(_purchase(m, expiry_date="3513")), "00100", True),
    "no card": (lambda m: _dumped(_purchase(m, card_number="")), "00001", True),
    "a card number that fails Luhn": (lambda m: _dumped(_purchase(m, card_number="4000009900000005")), "00016", True),
    "the merchant twice, the last unknown": (
        lambda m: _dumped(_status(m))[:-1] + b',"merchant_identifier":"Nobody"}', "00009", False),
    "the reference twice, the first signed": (
        lambda m: _dumped(_status(m))[:-1] + b',"merchant_reference":"BAD-3"}', "00008", True),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_the_errors_own_answer(sandbox, name):
    """HTTP 200 with the code of the validation ladder, signed wherever a phrase is known, and nothing is stored."""
    make, code, has_phrase = BODIES[name]
    merchant = sandbox.merchant()
    before = asyncio.run(stored(sandbox))
    (answer,) = read_all(talk(sandbox.port, post(make(merchant), "content-type: application/json")))
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    said = json.loads(answer.body)
    assert (said["response_code"], said["status"]) == (code, code[:2]), said
    assert ("signature" in said) == has_phrase
    if has_phrase:
        assert said["signature"] == signature.sign(
            {key: value for key, value in said.items() if key != "signature"}, merchant["sha_response_phrase"], merchant["sha_type"])
    assert not {CARD["card_number"], merchant["sha_request_phrase"], merchant["sha_response_phrase"]} & set(re.findall(r"\w+", answer.body.decode()))
    assert asyncio.run(stored(sandbox)) == before


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/json", "text/plain", "multipart/form-data", ""])
def test_a_form_is_not_a_json_object(sandbox, content_type):
    """A form-encoded body gets 00073 with HTTP 200, whatever it says it is."""
    body = "&".join(f"{name}={value}" for name, value in _status(sandbox.merchant()).items()).encode()
    (answer,) = read_all(talk(sandbox.port, post(body, f"content-type: {content_type}")))
    assert (answer.status, json.loads(answer.body)["response_code"]) == (200, "00073")


def test_the_content_type_does_not_matter_for_json(sandbox):
    """Clients that forget it are served; one that says gzip and sends JSON too."""
    for extra in ("", "text/plain", "application/json; charset=utf-16"):
        (answer,) = read_all(talk(sandbox.port, post(_dumped(_status(sandbox.merchant())), f"content-type: {extra}", "content-encoding: gzip")))
        assert json.loads(answer.body)["response_code"] == "12036"


async def stored(sandbox: Sandbox) -> tuple[int, int, int]:
    """How many operations, outcomes and cards there are."""
    connection = await asyncpg.connect(address(sandbox.data))
    try:
        return tuple([await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("operations", "outcomes", "cards")])
    finally:
        await connection.close()


def test_after_all_of_it_the_memory_is_what_it_was(sandbox):
    """Large bodies and heads were not kept."""
    for _ in range(30):
        talk(sandbox.port, post(b" " * 4_000_000))
    assert proportional_bytes(processes_of(sandbox.process.pid).all) <= MEMORY_BYTES
