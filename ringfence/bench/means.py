"""What several measurements need beside a service: cards that may be charged again, scales, and a way to kill workers."""
from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from ringfence.bench.expiry import answered
from ringfence.bench.load import TOKENS_AT_ONCE, LoadFailed, card_number
from ringfence.bench.load import Shop as Buying
from ringfence.bench.processor_time import processes, tree
from ringfence.bench.purchases import signed
from ringfence.bench.service import Service

CURRENCY = "AED"
WEIGH_SECONDS = 0.5


def paid_once(service: Service, count: int) -> list[str]:
    """Cards that their holders paid with once, without which nothing recurs; each has its token from that payment.  Raises ``LoadFailed``."""
    merchant, expiry = service.merchants[0], f"{time.gmtime().tm_year % 100 + 3:02}12"

    def several(numbers: range) -> list[str]:
        connection, made = Buying(service.base_url, [merchant]).connect(), []
        for number in numbers:
            body = answered(connection, signed(merchant, urlsplit(service.base_url).netloc, {
                "command": "PURCHASE", "merchant_reference": f"FIRST-{number}", "amount": "100", "currency": CURRENCY, "customer_ip": "203.0.113.7",
                "customer_email": "payer@shop.example", "card_number": card_number(number), "expiry_date": expiry, "card_security_code": "123"}))
            fields = json.loads(body or b"{}")
            if fields.get("response_code") != "14000":
                raise LoadFailed(f"A first payment was refused: {fields}")
            made.append(fields["token_name"])
        connection.socket.close()
        return made

    with ThreadPoolExecutor(TOKENS_AT_ONCE) as together:
        return [name for names in together.map(several, [range(start, count, TOKENS_AT_ONCE) for start in range(TOKENS_AT_ONCE)]) for name in names]


def kill_worker(service: Service) -> int:
    """Kill the worker process that has worked most, without warning; how many that were."""
    table = processes()
    workers = [number for number, one in table.items() if one.parent == service.pid and _is_worker(number)]
    if workers:
        os.kill(max(workers, key=lambda number: table[number].used_s), signal.SIGKILL)
    return min(1, len(workers))


def _is_worker(number: int) -> bool:
    try:
        return b"postgres" not in Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return False


class Scales(threading.Thread):
    """Weighs the service without its database, until the block ends: the greatest sum of proportional set sizes, in bytes."""

    def __init__(self, service: Service, postmaster: int | None) -> None:
        super().__init__(daemon=True)
        self._service, self._postmaster, self._ended, self.peak = service, postmaster, threading.Event(), 0

    def __enter__(self) -> Scales:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """The thread.  Weighs at once, and once more at the end: what it weighs may be over in less than a pause."""
        while True:
            table, has_ended = processes(), self._ended.is_set()
            database = tree(table, self._postmaster) if self._postmaster else set()
            self.peak = max(self.peak, sum(_sizes(tree(table, self._service.pid) - database)))
            if has_ended:
                break
            self._ended.wait(WEIGH_SECONDS)


def _sizes(numbers: set[int]) -> Iterator[int]:
    """Proportional set sizes, proc(5) smaps_rollup."""
    for number in numbers:
        try:
            for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    yield int(line.split()[1]) * 1024
        except OSError:
            continue
