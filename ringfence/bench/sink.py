"""A merchant who listens: a receiver process for the webhooks of a service under load, and what it received.

It answers 200 at once and counts by event.  The lag of a payment's first event is from the making of its id to its arrival here, so
it holds the whole payment.  Refuses to look into a body.
"""
from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvloop

from ringfence.bench import latencies
from ringfence.bench.service import RINGFENCE, Service, ServiceFailed
from ringfence.core.ids import made_at

SETTING = "feedback_url"
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Figures(NamedTuple):
    """What arrived: requests, different events, and the lag of first events (milliseconds; ``None`` without any)."""

    received: int
    distinct: int
    lag_p50_ms: float | None
    lag_p99_ms: float | None


# -- this side: whoever measures --

class Sink:
    """The process.  Use as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "ringfence.bench.sink"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{self._hear()['port']}/feedback"

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def figures(self) -> Figures:
        """What arrived since it began."""
        assert self._process.stdin
        try:
            self._process.stdin.write(b"figures\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ServiceFailed("The receiver of webhooks ended early.") from None
        return Figures(**self._hear())

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise ServiceFailed("The receiver of webhooks ended early.")
        heard: dict[str, Any] = json.loads(line)
        return heard


@contextmanager
def receiving(service: Service) -> Iterator[Sink]:
    """A receiver that the service's merchants are told at; afterwards they have the address from before."""
    names = [merchant.identifier for merchant in service.merchants]
    with Sink() as sink:
        before = {name: _shown(service, name)["settings"][SETTING] for name in names}
        try:
            for name in names:
                _set(service, name, sink.url)
            yield sink
        finally:
            for name, url in before.items():
                _set(service, name, url)


def _shown(service: Service, name: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(_run(service, "show", name, "--json"))
    return shown


def _set(service: Service, name: str, url: str) -> None:
    _run(service, "set", name, f"{SETTING}={url}", "--json")


def _run(service: Service, *words: str) -> str:
    done = subprocess.run([*RINGFENCE, "merchant", *words, "--data", str(service.data)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise ServiceFailed(f"ringfence merchant {words[0]} ended with {done.returncode}: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.stdout


# -- the other side: the process --

class Heard:
    """Arrivals: how often each event came, and when first ones did."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.lags: Counter[int] = Counter()

    def note(self, event: str, at: float) -> None:
        """An event (``payment-sequence``) arrived at this wall time (seconds)."""
        self.events[event] += 1
        payment, _, sequence = event.partition("-")
        if sequence == "1" and self.events[event] == 1:
            self.lags += latencies.histogram([max(0.0, (at - made_at(int(payment)).timestamp()) * 1000)])

    def figures(self) -> Figures:
        """All of it."""
        return Figures(self.events.total(), len(self.events), latencies.percentile(self.lags, 0.5), latencies.percentile(self.lags, 0.99))


class Receiving(asyncio.Protocol):
    """One connection: every request with a length is answered once it is complete."""

    def __init__(self, heard: Heard) -> None:
        self._heard, self._held = heard, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport         # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._held += data
        while (end := self._held.find(b"\r\n\r\n")) >= 0:
            headers = dict(line.split(b": ", 1) for line in self._held[:end].lower().split(b"\r\n")[1:])
            whole = end + 4 + int(headers[b"content-length"])
            if len(self._held) < whole:
                return
            self._held = self._held[whole:]
            self._heard.note(headers[b"ringfence-event"].decode("ascii"), time.time())
            self._transport.write(_ANSWER)


async def serve() -> None:
    """Says its port, then its figures for every line it hears; ends with its standard input."""
    heard, loop = Heard(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiving(heard), "127.0.0.1", 0)
    words = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    _say({"port": server.sockets[0].getsockname()[1]})
    while await words.readline():
        _say(heard.figures()._asdict())
    server.close()


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(serve())
