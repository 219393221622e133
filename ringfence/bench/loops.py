"""Loops: how purchases are sent over kept connections, and what is counted.

A closed loop sends the next purchase when the last one is answered; it finds the most that the service can do.  An open loop
sends on a schedule, whatever the answers do, and counts from the scheduled moment, so that waiting is never left out.

As cheap as it can be, because it shares the machine with what it measures: two system calls and a few lines a request, straight
on epoll, and of HTTP/1.1 only what these answers use (a status line, a content length).
"""
from __future__ import annotations

import select
import socket
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable

from ringfence.bench.purchases import Order

CHECKED = 100                           # one answer in so many is checked thoroughly: its signature, or its parts
GRACE_S = 30.0                          # how long after the end we wait for answers under way
LOOK_S = 0.05                           # how long we wait at most before we look at the time

now = time.perf_counter


class Connection:
    """One kept connection with at most one purchase under way; ``asked`` is when that purchase was, or should have been, sent."""

    __slots__ = ("asked", "order", "part", "receive", "send", "socket")

    def __init__(self, host: str, port: int) -> None:
        """Connects; raises ``OSError`` where nothing listens."""
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Waiting is epoll's business: we read only what is there, and what we send always fits into an idle connection.
        self.socket.settimeout(None)
        self.send, self.receive = self.socket.sendall, self.socket.recv
        self.order: Order | None = None
        self.asked = 0.0
        self.part = b""


def parse(data: bytes) -> tuple[bool, bytes] | None:
    """Whether an answer is HTTP 200, and its body; ``None`` while some of it is still to come."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = data.find(b"content-length: ", 0, end)
    if at < 0:
        at = data[:end].lower().find(b"content-length: ")
    if at < 0:
        return False, b""               # an answer without a length is none that the service gives
    if len(data) - end - 4 < int(data[at + 16:data.find(b"\r\n", at)]):
        return None
    return data.startswith(b"HTTP/1.1 200"), data[end + 4:]


class Loop(ABC):
    """What both loops share: the stock of purchases, the connections, and the count.

    *stock* holds purchases made beforehand, and *make* makes more when it is used up.
    """

    def __init__(self, stock: list[Order], make: Callable[[], Order], warm_up: float, seconds: float) -> None:
        self.stock, self.make = stock, make
        self.warm_up, self.seconds = warm_up, seconds
        self.connections: dict[int, Connection] = {}
        self.poll = select.epoll()
        self.begin = self.end = 0.0     # of the window
        self.under_way = 0
        self.answers = 0
        self.counted = 0                # approved inside the window
        self.checked = 0                # signatures
        self.approved: list[bytes] = []
        self.took: list[float] = []     # seconds, of what the window counts
        self.faults: Counter[str] = Counter()

    def connect(self, connections: Iterable[Connection]) -> None:
        """Takes the connections to send over."""
        for connection in connections:
            self.connections[connection.socket.fileno()] = connection
            self.poll.register(connection.socket.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Sends until the window ends, then waits for what is under way; what never comes is a fault."""
        self.begin = now() + self.warm_up
        self.end = self.begin + self.seconds
        latest = self.end + GRACE_S
        self.start()
        while self.connections and (self.under_way or self.more()):
            for number, _ in self.poll.poll(self.wait(), len(self.connections)):
                self.hear(number)
            if self.under_way and now() > latest:
                self.faults["no answer at all"] += self.under_way
                break
        for connection in self.connections.values():
            connection.socket.close()
        self.poll.close()

    @abstractmethod
    def start(self) -> None:
        """Sends the first purchases."""

    @abstractmethod
    def more(self) -> bool:
        """Whether there is more to send; called once a turn, and may send it."""

    @abstractmethod
    def wait(self) -> float:
        """How long (seconds) to wait for answers before ``more`` is asked again."""

    @abstractmethod
    def free(self, connection: Connection, at: float) -> None:
        """*connection* has got its answer, at *at*."""

    @abstractmethod
    def counts(self, asked: float, at: float) -> tuple[bool, bool]:
        """Whether a purchase asked and answered then counts for the rate, and whether it counts for the latency."""

    def gone(self, connection: Connection) -> None:
        """A connection that the service closed is not used again; only a loop that keeps idle ones has to forget it."""
        return

    def send(self, connection: Connection, asked: float) -> None:
        """Sends the next purchase."""
        connection.order = order = self.stock.pop() if self.stock else self.make()
        connection.asked = asked
        self.under_way += 1
        try:
            connection.send(order.request)
        except OSError:
            self.lost(connection)

    def hear(self, number: int) -> None:
        """Something came in on a connection: an answer, part of one, or its end."""
        connection = self.connections.get(number)
        if connection is None:          # lost a moment ago, in the same turn
            return
        try:
            data = connection.receive(65536)
        except OSError:
            data = b""
        if not data:
            self.lost(connection)
            return
        if connection.part:
            data = connection.part + data
        answer = parse(data)
        if answer is None:
            connection.part = data
            return
        connection.part = b""
        self.answered(connection, *answer)

    def answered(self, connection: Connection, well: bool, body: bytes) -> None:
        """Judges an answer and lets the connection go on."""
        at, order = now(), connection.order
        if order is None:
            self.faults["an answer that nobody asked for"] += 1
            return
        connection.order = None
        self.under_way -= 1
        self.answers += 1
        thoroughly = self.answers % CHECKED == 0
        wrong = order.judge(order, body, thoroughly) if well else "an answer that is not HTTP 200"
        if wrong is None:
            self.approved.append(order.line)
            self.checked += thoroughly
            rate, latency = self.counts(connection.asked, at)
            self.counted += rate
            if latency:
                self.took.append(at - connection.asked)
        else:
            self.faults[wrong] += 1
        self.free(connection, at)

    def lost(self, connection: Connection) -> None:
        """The other side closed a connection: a fault, whatever was under way."""
        self.faults["a connection that the service closed"] += 1
        number = connection.socket.fileno()
        self.poll.unregister(number)
        del self.connections[number]
        connection.socket.close()
        if connection.order is not None:
            connection.order = None
            self.under_way -= 1
        self.gone(connection)


class ClosedLoop(Loop):
    """Every connection always has one purchase under way."""

    def start(self) -> None:
        at = now()
        for connection in list(self.connections.values()):
            self.send(connection, at)

    def more(self) -> bool:
        return False                    # answers make room for more, nothing else does

    def wait(self) -> float:
        return LOOK_S

    def free(self, connection: Connection, at: float) -> None:
        if at < self.end:
            self.send(connection, now())

    def counts(self, asked: float, at: float) -> tuple[bool, bool]:
        inside = self.begin <= at < self.end
        return inside, inside


class OpenLoop(Loop):
    """Purchases leave at *rate* a second, evenly spaced; one that finds no free connection waits, and its time runs."""

    def __init__(self, stock: list[Order], make: Callable[[], Order], warm_up: float, seconds: float, rate: float) -> None:
        super().__init__(stock, make, warm_up, seconds)
        self.every = 1 / rate
        self.left = max(round((warm_up + seconds) * rate), 1)
        self.idle: deque[Connection] = deque()      # the one that rested longest goes first, so that none is closed for idleness
        self.waiting: deque[float] = deque()        # scheduled moments

    def start(self) -> None:
        self.idle.extend(self.connections.values())
        self.next = now()

    def more(self) -> bool:
        return bool(self.left or self.waiting)

    def wait(self) -> float:
        """Sends what is due, so that the wait is only for what comes next."""
        at = now()
        while self.left and self.next <= at:
            self.waiting.append(self.next)
            self.next += self.every
            self.left -= 1
        while self.waiting and self.idle:
            self.send(self.idle.popleft(), self.waiting.popleft())
        return max(self.next - now(), 0.0) if self.left else LOOK_S

    def free(self, connection: Connection, at: float) -> None:
        if self.waiting:
            self.send(connection, self.waiting.popleft())
        else:
            self.idle.append(connection)

    def counts(self, asked: float, at: float) -> tuple[bool, bool]:
        return self.begin <= at < self.end, asked >= self.begin

    def gone(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)
