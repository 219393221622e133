"""Control: how a person or a test changes the issuer's behaviour from outside, in every worker process at once.

What is set stands beside the accounts; a stamp in a small shared page of memory changes with every change, so that a worker sees at the
price of one comparison that it has to look again.
"""
from __future__ import annotations

import mmap
import os
from datetime import datetime
from pathlib import Path

from ringfence.core.card import Pan
from ringfence.core.commands import Kind
from ringfence.processors.simulator import docket
from ringfence.processors.simulator.accounts import SQL, Accounts
from ringfence.processors.simulator.cases import RAISABLE, planned
from ringfence.processors.simulator.issuer import Seal
from ringfence.processors.simulator.scenarios import scenario_code, scenario_named

_SIZE = 64


class Page:
    """The shared page: one 64-bit stamp."""

    __slots__ = ("_map", "_words")

    def __init__(self, folder: Path) -> None:
        file = os.open(folder / "control", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(file, _SIZE)
            self._map = mmap.mmap(file, _SIZE)
        finally:
            os.close(file)
        self._words = memoryview(self._map).cast("Q")

    @property
    def words(self) -> memoryview:
        """The page as words; the first one is the stamp."""
        return self._words

    def touch(self) -> None:
        """Another stamp.  Each is written once only, so none can look like no change; it decides nothing else."""
        self._words[0] = int.from_bytes(os.urandom(8), "big") or 1

    def close(self) -> None:
        """Unmap the page."""
        self._words.release()
        self._map.close()


class Control:
    """Sets and shows the issuer's state.  Usable beside a running service, from any process that knows folder and seed."""

    def __init__(self, folder: Path, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._accounts, self._page, self._seal = Accounts(folder), Page(folder), Seal(seed)

    def accounts(self) -> list[dict[str, object]]:
        """Every account with state: account, card (masked), currency, scenario, balance, posted, held and available, in minor units.
        ``balance`` and ``available`` are ``None`` without limit.
        """
        rows = self._accounts.connection.execute(SQL["list_accounts"])
        return [
            {
                "account": account, "card": card, "currency": currency, "scenario": scenario, "balance": balance, "posted": posted,
                "held": held, "available": None if balance is None else balance - posted - held,
            }
            for account, card, currency, scenario, balance, posted, held in rows
        ]

    def settings(self) -> dict[str, object]:
        """``offline``, ``latency`` (seconds), and ``overrides``: account -> scenario."""
        now = self._accounts.settings()
        return {
            "offline": now.get("offline") == "1", "latency": float(now.get("latency", "0")), "overrides": self._accounts.overrides(),
        }

    def reset(self) -> None:
        """Forget balances, holds, counters, tombstones, overrides, cases, latency and outage.  The book keeps what happened."""
        with self._accounts.change() as change:
            for table in ("accounts", "holds", "counters", "tombstones", "overrides", "settings", "cases", "words"):
                change.run(f"clear_{table}")
            change.run("set", "age", os.urandom(8).hex())
        self._page.touch()

    def set_balance(self, card: Pan, currency: str, minor: int) -> None:
        """What the account has available from now on, before its open holds.  Minor units; opens the account."""
        if minor < 0:
            raise ValueError("a balance is not negative")
        account, code = self._seal.account(card.reveal()), scenario_code(card.reveal())
        with self._accounts.change() as change:
            change.open(account, currency, card.masked, code, scenario_named(code))
            change.run("set_balance", minor, account, currency)
            if scenario_named(code).ten_majors < 0:     # a card without limit gets one: it behaves as a real account
                change.run("set_override", account, card.masked, "1000")
        self._page.touch()

    def set_scenario(self, card: Pan, code: str | None) -> None:
        """The behaviour of one card from now on, as four digits of scenario; ``None``: what its number says."""
        if code is not None and not (len(code) == 4 and code.isascii() and code.isdigit()):
            raise ValueError("a scenario has four digits")
        account = self._seal.account(card.reveal())
        with self._accounts.change() as change:
            if code is None:
                change.run("drop_override", account)
            else:
                change.run("set_override", account, card.masked, code)
        self._page.touch()

    def raise_case(
        self, scenario: str, operation: int, payment: int, merchant: str, currency: str, minor: int, at: datetime
    ) -> str | None:
        """Have the issuer begin a case about a capture as that scenario does, now; its name, or ``None`` where the capture has one.

        ``at`` is business time.  Raises ``ValueError`` for a scenario that begins none with a capture.
        """
        if scenario not in RAISABLE:
            raise ValueError(f"a scenario that begins a case is one of {', '.join(RAISABLE)}")
        case = planned(scenario, Kind.CAPTURE, operation, payment, merchant, currency, minor, at)
        if case is None:
            raise ValueError("there is nothing to dispute")
        # Seconds are what the file knows; a case begins no later than it was raised.
        return case.name if docket.raised(self._accounts, case._replace(next_at=at)) else None

    def offline(self) -> None:
        """Nothing reaches the issuer from now on."""
        self._set("offline", "1")

    def online(self) -> None:
        """The issuer is back."""
        self._set("offline", "0")

    def set_latency(self, seconds: float) -> None:
        """How long every answer takes."""
        if not 0 <= seconds <= 3600:
            raise ValueError("a latency is between 0 and 3600 seconds")
        self._set("latency", repr(float(seconds)))

    def close(self) -> None:
        """Release file and page."""
        self._accounts.close()
        self._page.close()

    def _set(self, name: str, value: str) -> None:
        with self._accounts.change() as change:
            change.run("set", name, value)
        self._page.touch()
