"""The code box: what is put is taken once, by whoever asks first, within 15 minutes; everything else is nothing."""
from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.code_keeper import CALLERS, CodeKeeper
from ringfence.core.card import SecurityCode
from ringfence.engine.code_box import (
    ATTEMPT_BYTES,
    CAPACITY,
    HEAD,
    PUT,
    SOCKET,
    TAKE,
    WAITS_SECONDS,
    CodeBox,
    LocalCodeBox,
    SocketCodeBox,
)
from tests.engine.code_keeping import Loop, Time, kept

pytestmark = pytest.mark.anyio

CODE, LONG = SecurityCode("739"), SecurityCode("8642")


def told(code: SecurityCode | None) -> str | None:
    return None if code is None else code.reveal()


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def loop(short_folder: Path, now: Time) -> Iterator[Loop]:
    with kept(short_folder, now=now) as running:
        yield running


@pytest.fixture(params=["socket", "local"])
def box(request: pytest.FixtureRequest, loop: Loop, short_folder: Path, now: Time) -> CodeBox:
    return SocketCodeBox(short_folder, seconds=30) if request.param == "socket" else LocalCodeBox(now=now)


async def test_a_code_is_taken_once(box: CodeBox):
    """Whoever asks first has it; nobody has it again."""
    assert await box.put(1, "3ds:17", CODE)
    assert told(await box.take(1, "3ds:17")) == "739"
    assert await box.take(1, "3ds:17") is None


async def test_fifty_who_ask_at_once_get_one_code(box: CodeBox):
    assert await box.put(1, "3ds:17", LONG)
    taken = await asyncio.gather(*(box.take(1, "3ds:17") for _ in range(50)))
    assert sorted(filter(None, map(told, taken))) == ["8642"]


async def test_codes_are_kept_apart_by_merchant_and_attempt(box: CodeBox):
    """The same words of another merchant, or other words of the same, mean another code."""
    for merchant, attempt, code in ((1, "a", "111"), (2, "a", "222"), (1, "b", "3333")):
        assert await box.put(merchant, attempt, SecurityCode(code))
    assert [told(await box.take(*key)) for key in ((2, "a"), (2, "b"), (1, "b"), (1, "a"))] == ["222", None, "3333", "111"]


async def test_a_code_entered_again_takes_the_place_of_the_first(box: CodeBox):
    assert await box.put(1, "a", CODE) and await box.put(1, "a", LONG)
    assert [told(await box.take(1, "a")), told(await box.take(1, "a"))] == ["8642", None]


@pytest.mark.parametrize(("seconds", "found"), [(WAITS_SECONDS - 0.1, "739"), (WAITS_SECONDS, None)])
async def test_a_code_waits_fifteen_minutes(box: CodeBox, now: Time, seconds: float, found: str | None):
    assert await box.put(1, "a", CODE)
    now.at += seconds
    assert told(await box.take(1, "a")) == found


async def test_an_attempt_may_be_two_hundred_bytes(box: CodeBox):
    """Two attempts that differ only behind that would be one."""
    assert await box.put(1, "x" * ATTEMPT_BYTES, CODE)
    assert not await box.put(1, "x" * (ATTEMPT_BYTES + 1), CODE)
    assert await box.take(1, "é" * ATTEMPT_BYTES) is None
    assert told(await box.take(1, "x" * ATTEMPT_BYTES)) == "739"


async def test_nothing_shows_a_code(box: CodeBox, loop: Loop):
    await box.put(1, "a", CODE)
    assert not any("739" in f"{one!r} {one}".replace(f"{id(one):x}", "") for one in (box, loop.keeper, CODE))


def test_the_keeper_forgets_without_being_asked(loop: Loop, now: Time, short_folder: Path):
    """The supervisor's loop is told when to look, and finds the code gone."""
    assert asyncio.run(SocketCodeBox(short_folder, seconds=30).put(1, "a", CODE))
    assert 0 < (loop.keeper.due_seconds() or 0) <= WAITS_SECONDS
    assert repr(loop.keeper) == "CodeKeeper(1 codes)"
    now.at += WAITS_SECONDS
    loop.keeper.serve()
    assert repr(loop.keeper) == "CodeKeeper(0 codes)"


def test_a_code_that_is_gone_leaves_no_digit(loop: Loop, short_folder: Path):
    """Neither its place nor the line it came over holds it any longer."""
    box = SocketCodeBox(short_folder, seconds=30)

    def lies_there() -> bool:
        return loop.keeper._memory.find(b"8642") >= 0

    assert asyncio.run(box.put(1, "a", LONG)) and lies_there()
    asyncio.run(box.take(1, "a"))
    assert asyncio.run(box.take(1, "a")) is None        # by now the line of the first is closed
    assert not lies_there()


async def test_a_full_box_takes_no_more_and_loses_nothing(short_folder: Path):
    """One merchant cannot fill it for the others; whoever is turned away is told so."""
    with kept(short_folder, capacity=4, per_merchant=3):
        box = SocketCodeBox(short_folder, seconds=30)
        assert [await box.put(1, str(number), CODE) for number in range(4)] == [True, True, True, False]
        assert [await box.put(2, str(number), CODE) for number in range(2)] == [True, False]
        assert [told(await box.take(1, str(number))) for number in range(4)] == ["739", "739", "739", None]
        assert await box.put(1, "again", CODE)


async def test_a_full_local_box_takes_no_more(now: Time):
    box = LocalCodeBox(now=now)
    for number in range(CAPACITY):
        assert await box.put(1, str(number), CODE)
    assert not await box.put(1, "one more", CODE)
    now.at += WAITS_SECONDS
    assert await box.put(1, "one more", CODE)


# -- away, slow, hostile

async def test_where_no_service_runs_there_is_nothing(short_folder: Path):
    """Neither socket, nor folder, nor anybody behind the socket: no exception either way."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(short_folder / SOCKET))
    listener.close()
    for folder in (short_folder, short_folder / "none", short_folder / SOCKET):
        box = SocketCodeBox(folder)
        assert (await box.put(1, "a", CODE), await box.take(1, "a")) == (False, None)


async def test_a_box_that_does_not_answer_is_away(loop: Loop, short_folder: Path):
    """The caller waits for as long as it said and no longer."""
    loop.halted.set()
    box, began = SocketCodeBox(short_folder, seconds=0.05), time.monotonic()
    await box.put(1, "wake", CODE)                      # the loop may still be in its last turn
    assert (await box.put(1, "a", CODE), await box.take(1, "a")) == (False, None)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("answer", [b"", b"\3", b"\0", b"\x03abc", b"\3\xff\xff\xff", b"\x04123", b"\x05123456", b"\x02999999999"])
async def test_an_answer_that_is_none_is_nothing(short_folder: Path, answer: bytes):
    """Somebody else's socket in the place of ours: no code, no exception."""
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()
    server = await asyncio.start_unix_server(serve, str(short_folder / SOCKET))
    box = SocketCodeBox(short_folder, seconds=30)
    assert await box.take(1, "a") is None
    assert not await box.put(1, "a", CODE)
    server.close()


@pytest.mark.parametrize("frame", [
    b"X" + HEAD.pack(TAKE, 1, 1, 0)[1:] + b"a", HEAD.pack(PUT, 1, 255, 3) + b"a" * 249, HEAD.pack(PUT, 1, 1, 200) + b"a",
    HEAD.pack(TAKE, 1, 1, 0) + b"a and more", HEAD.pack(PUT, 1, 1, 3)[:3], bytes(300), b"",
])
async def test_whoever_talks_nonsense_is_hung_up_on(loop: Loop, short_folder: Path, frame: bytes):
    """No answer, and the next caller is served."""
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(short_folder / SOCKET))
    line.sendall(frame)
    line.shutdown(socket.SHUT_WR)
    line.settimeout(30)
    with contextlib.suppress(ConnectionResetError):     # with bytes unread the kernel says it so
        assert line.recv(16) == b""
    line.close()
    assert await SocketCodeBox(short_folder, seconds=30).put(1, "a", CODE)


async def test_a_code_of_no_length_is_not_kept(loop: Loop, short_folder: Path):
    for digits in (b"", b"12"):
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(short_folder / SOCKET))
        line.sendall(HEAD.pack(PUT, 1, 1, len(digits)) + b"a" + digits)
        assert line.recv(16) == b"\0"
        line.close()


async def test_those_who_say_nothing_do_not_keep_others_out(loop: Loop, short_folder: Path, now: Time):
    """Every place is taken by a silent caller; after a second they are hung up on, and the one who waits is served."""
    silent = [socket.socket(socket.AF_UNIX) for _ in range(CALLERS)]
    for line in silent:
        line.connect(str(short_folder / SOCKET))
    waiting = asyncio.create_task(SocketCodeBox(short_folder, seconds=30).put(1, "a", CODE))
    while len(loop.keeper._callers) < CALLERS:
        await asyncio.sleep(0)
    now.at += 1.0
    assert await waiting
    for line in silent:
        line.close()


async def test_only_the_services_own_user_is_answered(short_folder: Path):
    """The kernel says who asks; another user is sent away even where the socket's mode would let it in."""
    with kept(short_folder, user=os.geteuid() + 1):
        box = SocketCodeBox(short_folder, seconds=30)
        assert (await box.put(1, "a", CODE), await box.take(1, "a")) == (False, None)


async def test_another_user_is_sent_away(loop: Loop, short_folder: Path):
    """By the mode of the socket; and with that opened, by what the kernel says (only root can become somebody else to try it)."""
    assert await SocketCodeBox(short_folder, seconds=30).put(1, "a", CODE)
    assert stat.S_IMODE((short_folder / SOCKET).stat().st_mode) == 0o600
    if os.geteuid() != 0:
        return
    os.chmod(short_folder, 0o755)
    script = f"""
import os, socket, sys
os.setgid(65534); os.setuid(65534)
line = socket.socket(socket.AF_UNIX)
try:
    line.connect({str(short_folder / SOCKET)!r})
    line.sendall({HEAD.pack(TAKE, 1, 1, 0) + b"a"!r})
    print(line.recv(16))
except PermissionError:
    print("mode")
except ConnectionError:
    print(b"")
"""
    def heard() -> str:
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()

    assert heard() == "mode"
    os.chmod(short_folder / SOCKET, 0o666)
    assert await asyncio.to_thread(heard) == "b''"
    assert told(await SocketCodeBox(short_folder, seconds=30).take(1, "a")) == "739"


async def test_a_data_folder_may_be_deep(short_folder: Path):
    """Longer than a socket's address may be."""
    deep = short_folder / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with kept(deep):
        box = SocketCodeBox(deep, seconds=30)
        assert await box.put(1, "a", CODE)
        assert told(await box.take(1, "a")) == "739"


# -- processes

def test_what_one_process_puts_another_takes(loop: Loop, short_folder: Path):
    """As two workers do; and never both."""
    script = f"""
import asyncio, sys
from pathlib import Path
from ringfence.core.card import SecurityCode
from ringfence.engine.code_box import SocketCodeBox
box = SocketCodeBox(Path({str(short_folder)!r}), seconds=30)
async def run():
    if sys.argv[1] == "put":
        return await box.put(7, "3ds:1", SecurityCode("739"))
    code = await box.take(7, "3ds:1")
    return code and code.reveal()
print(asyncio.run(run()))
"""
    def worker(what: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", script, what], stdout=subprocess.PIPE, text=True)

    assert worker("put").communicate()[0].strip() == "True"
    takers = [worker("take") for _ in range(2)]
    assert sorted(taker.communicate()[0].strip() for taker in takers) == ["739", "None"]


def test_a_forked_process_gets_no_codes(short_folder: Path):
    """Neither the memory they lie in nor the lines; a core dump of the supervisor does not hold the memory either."""
    keeper = CodeKeeper(short_folder)
    keeper._memory[:4] = b"\x03739"
    child = os.fork()
    if child == 0:
        keeper.leave()
        with open("/proc/self/maps", "rb") as maps:
            os._exit(_mapped(maps.read(), keeper))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with open("/proc/self/smaps", "rb") as maps:
        text = maps.read()
    assert _mapped(text, keeper)
    block = text[text.index(f"{_address(keeper):x}-".encode()):]
    flags = block[block.index(b"VmFlags"):].split(b"\n")[0].split()
    assert {b"dd", b"dc"} <= set(flags), "do not dump, do not copy on fork (proc(5))"
    keeper.close()
    assert not (short_folder / SOCKET).exists()


def _address(keeper: CodeKeeper) -> int:
    import ctypes
    return ctypes.addressof(ctypes.c_char.from_buffer(keeper._memory))


def _mapped(maps: bytes, keeper: CodeKeeper) -> bool:
    return f"{_address(keeper):x}-".encode() in maps
