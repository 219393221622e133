"""The simulator's control as the admin API offers it: one JSON order at a time, checked, then carried out.

Orders: ``{"reset": true}`` · ``{"online": false}`` · ``{"latency_seconds": 1.5}`` · ``{"balance": {"card", "currency", "minor"}}`` ·
``{"scenario": {"card", "code"}}`` (``null`` gives the card its own behaviour back).
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringfence.api.admin import SimulatorDesk
from ringfence.core.card import Pan, luhn_valid
from ringfence.core.commands import MAX_MINOR
from ringfence.core.money import CURRENCIES
from ringfence.processors.simulator import Control, test_cards

ORDERS = ("reset", "online", "latency_seconds", "balance", "scenario")


def desk(folder: Path, seed: int, at_end: Callable[[Callable[[], None]], object]) -> SimulatorDesk:
    """The desk over the simulator's folder; its files are opened when first used, and closed by what ``at_end`` is given."""
    opened: list[Control] = []

    def control() -> Control:
        if not opened:
            opened.append(Control(folder, seed=seed))
            at_end(opened[0].close)
        return opened[0]

    async def show() -> object:
        # On the loop's own thread: the accounts are a SQLite connection, which belongs to the thread that opened it.
        return {"accounts": control().accounts(), **control().settings(), "test_cards": test_cards()}

    async def obey(order: dict[str, Any]) -> object:
        carry_out(control(), order)
        await asyncio.sleep(0)
        return await show()

    return SimulatorDesk(show, obey)


def carry_out(control: Control, order: dict[str, Any]) -> None:
    """Carry out one order.  Raises ``ValueError(field, problem)`` for one that cannot be understood."""
    if len(order) != 1 or (name := next(iter(order))) not in ORDERS:
        raise ValueError("body", f"must name one of {', '.join(ORDERS)}")
    value = order[name]
    if name == "reset":
        _must(value is True, name, "must be true")
        control.reset()
    elif name == "online":
        _must(isinstance(value, bool), name, "must be true or false")
        control.online() if value else control.offline()
    elif name == "latency_seconds":
        _must(type(value) in (int, float) and 0 <= value <= 3_600, name, "must be a number of seconds from 0 to 3600")
        control.set_latency(float(value))
    elif name == "balance":
        _must(isinstance(value, dict) and value.keys() == {"card", "currency", "minor"}, name, "must have card, currency and minor")
        _must(value["currency"] in CURRENCIES, "balance.currency", "must be an ISO 4217 code")
        _must(type(value["minor"]) is int and 0 <= value["minor"] <= MAX_MINOR, "balance.minor", f"must be 0 to {MAX_MINOR}")
        control.set_balance(_card(value["card"], "balance.card"), value["currency"], value["minor"])
    else:
        _must(isinstance(value, dict) and value.keys() == {"card", "code"}, name, "must have card and code")
        code = value["code"]
        _must(code is None or (isinstance(code, str) and len(code) == 4 and code.isascii() and code.isdigit()),
              "scenario.code", "must be four digits, or null")
        control.set_scenario(_card(value["card"], "scenario.card"), code)


def _card(number: object, field: str) -> Pan:
    if not isinstance(number, str):
        raise ValueError(field, "must be a card number as text")
    digits = number.replace(" ", "")
    _must(12 <= len(digits) <= 19 and digits.isascii() and digits.isdigit() and luhn_valid(digits), field, "is not a card number")
    return Pan(digits)


def _must(holds: bool, field: str, problem: str) -> None:
    if not holds:
        raise ValueError(field, problem)
