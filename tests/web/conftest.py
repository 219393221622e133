"""A service, a shop and a browser for the tests that look at pages; see ``payers`` and ``browsers``."""
from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.engine.composition import Process, Time, process
from tests.engine.composition import Shop as Merchant
from tests.engine.composition import shop as merchant_of
from tests.sandbox import Sandbox
from tests.web.browsers import ARGUMENTS, CHROMIUM
from tests.web.payers import EXPECTED, PHONE, Payer
from tests.web.shop import Shop

_orders = (f"B-{number}" for number in itertools.count(1))


@pytest.fixture(scope="module")
async def one(module_database: str) -> AsyncIterator[Process]:
    """A worker process in miniature, for pages without a screen."""
    async with process(module_database, now=Time()) as running:
        yield running


@pytest.fixture(scope="module")
async def here(one: Process) -> Merchant:
    """A merchant of its, with what a shop knows."""
    return await merchant_of(one)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def shop(sandbox: Sandbox) -> Iterator[Shop]:
    here = Shop(f"http://127.0.0.1:{sandbox.port}", sandbox.merchant())
    yield here
    here.close()


@pytest.fixture(scope="module")
def chromium(sandbox: Sandbox, shop: Shop) -> Iterator[Any]:
    """Begun behind the service: what starts that runs loops of its own."""
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def order() -> str:
    """A reference that nothing has yet."""
    return next(_orders)


@pytest.fixture
def payer(chromium: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """``with payer(viewport=…) as one:`` is a person with a browser of their own; nothing may stand on its console but ``expects``."""
    @contextmanager
    def begin(expects: str = "", **options: Any) -> Iterator[Payer]:
        context = chromium.new_context(**{"viewport": PHONE, **options})
        context.set_default_timeout(120_000)
        try:
            one = Payer(context.new_page(), re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-"))
            yield one
            assert [line for line in one.console if not (expects and re.search(EXPECTED[expects], line))] == []
        finally:
            context.close()

    return begin
