"""A merchant's receiver of webhooks, in a thread of the test, that can go away and come back at its address."""
from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.sandbox import free_port

SECONDS = 60
"""How long a test waits for a message before it calls it missing."""


class Received(NamedTuple):
    """A message as it came; names of headers in small letters."""

    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers every POST with ``status``, and keeps what came."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[Received] = []
        self._came = threading.Condition()
        self._port = free_port()        # stays its own while it is away
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._port}/hook"

    def __enter__(self) -> Receiver:
        receiver = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with receiver._came:
                    receiver.received.append(Received({name.lower(): value for name, value in self.headers.items()}, body))
                    receiver._came.notify_all()
                self.send_response(receiver.status)
                self.send_header("location", "http://127.0.0.1:9/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Answering)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def wait_for(self, count: int) -> list[Received]:
        """The first *count* messages, once they have come."""
        until = time.monotonic() + SECONDS
        with self._came:
            while len(self.received) < count:
                assert self._came.wait(until - time.monotonic()), f"{len(self.received)} of {count} messages came"
            return self.received[:count]
