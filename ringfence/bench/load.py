"""The load: a process of its own that makes tokens and sends purchases.

Decides nothing: it is told over its standard input, one JSON object a line, and answers over its standard output.  The phrases travel
that way too, so that no command line shows them.

| told | answers |
|---|---|
| ``hello``: base_url, merchants | ``hello`` |
| ``tokens``: how many altogether, expiry (YYMM) | ``tokens`` made |
| ``instruments``: the same, of the PPRO door | ``instruments`` made |
| ``closed``: connections, warm_up, seconds, stock, door | ``ready``; after ``go``: ``over``, then the figures |
| ``open``: the same and rate | the same |

Between ``go`` and ``over`` lies the run and nothing else, so that whoever listens can read processor times around it.
"""
from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ringfence.bench import charges, latencies
from ringfence.bench.loops import ClosedLoop, Connection, Loop, OpenLoop, parse
from ringfence.bench.measuring import CannotMeasure
from ringfence.bench.purchases import LARGEST, SMALLEST, Merchant, Order, signed, template

TOKENS_AT_ONCE = 16
MOST_STOCK = 200_000                    # purchases made beforehand; about a kilobyte each


class LoadFailed(CannotMeasure):
    """The load could not be sent; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run gave.  Times are seconds; ``latencies`` is a histogram (``ringfence.bench.latencies``)."""

    counted: int                        # approved inside the window
    seconds: float                      # the window
    approved: int                       # altogether, warm-up and last answers included
    checked: int                        # signatures
    faults: dict[str, int]
    latencies: dict[int, int]
    processor_s: float                  # of the load itself
    made_on_the_fly: bool               # the stock did not last


# -- this side: whoever wants purchases sent --

class Load:
    """The process, started and told what to do.  Use as a context manager."""

    def __init__(self, base_url: str, merchants: list[Merchant], acknowledged: Path) -> None:
        """Every approved purchase is appended to *acknowledged*, one JSON object a line."""
        self.process = subprocess.Popen([sys.executable, "-m", "ringfence.bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._tell("hello", base_url=base_url, merchants=[merchant._asdict() for merchant in merchants], acknowledged=str(acknowledged))
            self._hear("hello")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process, which does so when it is told nothing more."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def tokens(self, count: int, expiry: str) -> int:
        """Makes *count* tokens, evenly over the merchants."""
        self._tell("tokens", count=count, expiry=expiry)
        return int(self._hear("tokens")["count"])

    def instruments(self, count: int, expiry: str) -> int:
        """Makes *count* instruments of the PPRO door, evenly over the merchants."""
        self._tell("instruments", count=count, expiry=expiry)
        return int(self._hear("instruments")["count"])

    def run(self, around: Callable[[], Any], *, connections: int, warm_up: float, seconds: float, stock: int,
            rate: float | None = None, door: str = "aps") -> tuple[Figures, Any, Any]:
        """One run at a door, a closed loop or an open one at *rate*; and what *around* gave right before and right after it."""
        self._tell("open" if rate else "closed", connections=connections, warm_up=warm_up, seconds=seconds, stock=min(stock, MOST_STOCK), rate=rate,
                   door=door)
        self._hear("ready")
        before = around()
        self._tell("go")
        self._hear("over")
        after = around()
        return msgspec.convert(self._hear("figures"), Figures, strict=False), before, after

    def _tell(self, what: str, **rest: Any) -> None:
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps({"what": what, **rest}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise LoadFailed("The load generator ended early.") from None

    def _hear(self, what: str) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        heard = json.loads(line) if line else {"what": "failed", "why": "The load generator ended early."}
        if heard.pop("what") != what:
            raise LoadFailed(heard["why"])
        return heard


# -- the other side: the process --

class Shop:
    """The merchants' side of the wire: where the service is, and what can be bought with which tokens."""

    def __init__(self, base_url: str, merchants: list[Merchant]) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise LoadFailed(f"The benchmark speaks plain http, and the service is at {base_url}.")
        self.host, self.port = parts.hostname, parts.port or 80
        self.name = parts.netloc
        self.merchants = merchants
        self.makers: dict[str, list[Callable[[str, str], Order]]] = {"aps": [], "ppro": []}       # by door
        self.names = self._references()

    def order(self, door: str) -> Order:
        """A purchase or charge with any of the tokens or instruments, of any amount, with a reference that was never used."""
        return random.choice(self.makers[door])(next(self.names), str(random.randint(SMALLEST, LARGEST)))

    def connect(self) -> Connection:
        """A connection; raises ``LoadFailed`` where nothing listens."""
        try:
            return Connection(self.host, self.port)
        except OSError as why:
            raise LoadFailed(f"The service at {self.name} cannot be reached: {why.strerror or why}.") from why

    def make_tokens(self, count: int, expiry: str) -> None:
        """Card tokens over the API, shared out evenly; raises ``LoadFailed`` where one is refused."""
        self.makers["aps"] = self._together(count, partial(self._make_tokens, expiry))

    def make_instruments(self, count: int, expiry: str) -> None:
        """Stored cards at the PPRO door, shared out evenly; raises ``LoadFailed`` where one is refused."""
        self.makers["ppro"] = self._together(count, partial(self._make_instruments, expiry))

    def _together(self, count: int, make: Callable[[list[tuple[Merchant, str]]], list[Callable[[str, str], Order]]]) -> list[
            Callable[[str, str], Order]]:
        wanted = [(merchant, card_number(number)) for number in range(-(-count // len(self.merchants))) for merchant in self.merchants][:count]
        pieces = [piece for start in range(TOKENS_AT_ONCE) if (piece := wanted[start::TOKENS_AT_ONCE])]
        with ThreadPoolExecutor(TOKENS_AT_ONCE) as together:
            return [maker for made in together.map(make, pieces) for maker in made]

    def _make_instruments(self, expiry: str, wanted: list[tuple[Merchant, str]]) -> list[Callable[[str, str], Order]]:
        connection, makers = self.connect(), []
        for merchant, number in wanted:
            well, body = answer_to(connection, charges.instrument(merchant, self.name, number, expiry))
            if not well:
                raise LoadFailed(f"An instrument was refused: {body[:200].decode('utf-8', 'replace')}")
            makers.append(charges.template(merchant, json.loads(body)["id"], self.name))
        connection.socket.close()
        return makers

    def _make_tokens(self, expiry: str, wanted: list[tuple[Merchant, str]]) -> list[Callable[[str, str], Order]]:
        connection, makers = self.connect(), []
        for merchant, number in wanted:
            answer = answer_to(connection, signed(merchant, self.name, {
                "service_command": "CREATE_TOKEN", "merchant_reference": os.urandom(8).hex(), "card_number": number, "expiry_date": expiry,
                "return_url": "https://shop.example/return"}))
            fields = json.loads(answer[1]) if answer[0] else {}
            if fields.get("response_code") != "52062":
                raise LoadFailed(f"A token was refused: {fields.get('response_code')} {fields.get('response_message')}")
            makers.append(template(merchant, fields["token_name"], self.name))
        connection.socket.close()
        return makers

    @staticmethod
    def _references() -> Iterator[str]:
        while True:
            several = os.urandom(8 * 1024).hex()
            for start in range(0, len(several), 16):
                yield several[start:start + 16]


def answer_to(connection: Connection, request: bytes) -> tuple[bool, bytes]:
    """Sends a request and waits for its answer: whether it is HTTP 200, and its body."""
    connection.send(request)
    received = b""
    while (answer := parse(received)) is None:
        more = connection.receive(65536)
        if not more:
            raise LoadFailed("The service closed the connection while tokens were made.")
        received += more
    return answer


def card_number(instance: int) -> str:
    """A test card that the sandbox's issuer always approves: prefix, scenario 0000, three digits of instance, Luhn digit."""
    digits = f"400000990000{instance % 1000:03}"
    doubled = sum(sum(divmod(int(digit) * 2, 10)) for digit in digits[::-2]) + sum(int(digit) for digit in digits[-2::-2])
    return f"{digits}{-doubled % 10}"


def perform(shop: Shop, told: dict[str, Any], acknowledged: Path, hear: Callable[[], dict[str, Any]], say: Callable[..., None]) -> None:
    """One run: connections and stock first, then the word to go, then nothing but the run."""
    make = partial(shop.order, told["door"])
    stock = [make() for _ in range(told["stock"])]
    loop: Loop = (OpenLoop(stock, make, told["warm_up"], told["seconds"], told["rate"]) if told["rate"]
                  else ClosedLoop(stock, make, told["warm_up"], told["seconds"]))
    loop.connect(shop.connect() for _ in range(told["connections"]))
    gc.collect()
    gc.freeze()
    gc.disable()
    say("ready")
    hear()
    began = time.process_time()
    loop.run()
    processor = time.process_time() - began
    say("over")
    gc.enable()
    with acknowledged.open("ab") as file:
        file.writelines(loop.approved)
    say("figures", **asdict(Figures(
        counted=loop.counted, seconds=loop.seconds, approved=len(loop.approved), checked=loop.checked, faults=dict(loop.faults),
        latencies=dict(latencies.histogram(took * 1000 for took in loop.took)), processor_s=processor, made_on_the_fly=not stock)))


def main() -> None:
    """Hears and obeys until standard input ends."""
    def say(what: str, **rest: Any) -> None:
        sys.stdout.write(json.dumps({"what": what, **rest}) + "\n")
        sys.stdout.flush()

    def hear() -> dict[str, Any]:
        line = sys.stdin.readline()
        if not line:
            raise SystemExit(0)                         # whoever told us is gone
        told: dict[str, Any] = json.loads(line)
        return told

    hello = hear()
    acknowledged = Path(hello["acknowledged"])
    try:
        shop = Shop(hello["base_url"], [Merchant(**merchant) for merchant in hello["merchants"]])
        say("hello")
        while True:
            told = hear()
            if told["what"] == "tokens":
                shop.make_tokens(told["count"], told["expiry"])
                say("tokens", count=len(shop.makers["aps"]))
            elif told["what"] == "instruments":
                shop.make_instruments(told["count"], told["expiry"])
                say("instruments", count=len(shop.makers["ppro"]))
            else:
                perform(shop, told, acknowledged, hear, say)
    except LoadFailed as why:
        say("failed", why=str(why))


if __name__ == "__main__":
    main()
