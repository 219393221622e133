"""The processors on the bench.  A new processor joins with one more line in ``BENCHES``.

A dialogue says what it ``needs`` of a processor, by ``@needs`` or by its parameters.  What a processor has no way to do stands in ``LACKS``, with the
reason; its dialogues that need it are left out (deselected, and so counted), and the bench is asked whether that is true.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ringfence.core.commands import Kind
from ringfence.processors.simulator import Simulator, standing
from tests.processors.conformance.amazon import amazon_pay
from tests.processors.conformance.dialogue import CAPABILITIES, Bench, Moved
from tests.processors.conformance.mocked import mock

T1 = 0.15

CARDS = {
    "approve": "4000009900000004", "insufficient": "4000009900510002", "partial": "4000009900100002", "silent": "4000009903000001",
    "slow": "4000009903020009", "stolen": "4000009900430003", "garbled": "4000009904000000",
}


@asynccontextmanager
async def _simulator(folder: Path, inquiry: bool) -> AsyncIterator[Bench]:
    simulator = Simulator(folder, seed=7, worker=0, t1_seconds=T1, inquiry=inquiry)

    def stands(payment: int) -> Moved:
        now = standing(folder).get(payment)
        return {"held": now.held, "captured": now.captured, "refunded": now.refunded} if now else {"held": 0, "captured": 0, "refunded": 0}

    try:
        yield Bench(simulator, CARDS, stands, T1)
    finally:
        await simulator.close()


BENCHES: dict[str, Callable[[Path], AbstractAsyncContextManager[Bench]]] = {
    "simulator": lambda folder: _simulator(folder, False),
    "simulator with inquiry": lambda folder: _simulator(folder, True),
    "mock": mock,
    "amazon_pay": amazon_pay,
}

NEEDS = frozenset({*CAPABILITIES, "partial", "silent", "slow", "garbled", "book"})
"""What a dialogue may need: a capability, a behaviour of the other side, a book of a day."""

_NO_NETWORK = "it is a file on this machine: no answer gets lost, late or mutilated"
_ALL_OR_NOTHING = "it approves all or nothing"

#: By bench: what cannot be had of it, and why.
LACKS: Mapping[str, Mapping[str, str]] = {
    "simulator": {"inquiry": "this one is without; what follows from that is tested, and the next one has it"},
    "simulator with inquiry": {},
    "mock": {
        "silent": _NO_NETWORK, "slow": _NO_NETWORK, "garbled": _NO_NETWORK, "partial_approval": _ALL_OR_NOTHING, "partial": _ALL_OR_NOTHING,
        "increments": "its API has none",
    },
    "amazon_pay": {
        "partial_approval": _ALL_OR_NOTHING, "partial": _ALL_OR_NOTHING, "increments": "Amazon cannot raise an authorization",
        "book": "Amazon shows no book of a day; the proof compares the site's balances instead",
    },
}


def needs(*what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Says what a dialogue needs of a processor."""
    assert NEEDS.issuperset(what), what

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.needs = frozenset(what)        # type: ignore[attr-defined]
        return function

    return mark


def _inside(value: object) -> Iterator[object]:
    """A parameter, and what is in it."""
    yield value
    if isinstance(value, list | tuple):
        for one in value:
            yield from _inside(one)


def needs_of(item: pytest.Function) -> set[str]:
    """What a dialogue with these parameters needs."""
    found = set(getattr(item.function, "needs", ()))
    for name, value in item.callspec.params.items():
        for one in _inside(value) if name != "bench" else ():
            if one is Kind.INCREMENT:
                found.add("increments")
            elif isinstance(one, str) and one in NEEDS:
                found.add(one)
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a processor has no way to do."""
    def makes_sense(item: pytest.Item) -> bool:
        if item.path.parent != Path(__file__).parent or not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            return True
        return not needs_of(item) & LACKS.get(item.callspec.params.get("bench"), {}).keys()

    left_out = [item for item in items if not makes_sense(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if makes_sense(item)]


@pytest.fixture(params=BENCHES)
async def bench(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: object) -> AsyncIterator[Bench]:
    """One processor, ready; and as able as ``LACKS`` says."""
    async with BENCHES[request.param](tmp_path) as made:
        assert {need for need in NEEDS - {"book"} if not made.is_able(need)} == LACKS[request.param].keys() - {"book"}
        yield made
