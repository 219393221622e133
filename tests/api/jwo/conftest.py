"""One retailer's client at the door of stores, for all tests of a module; business time stands still."""
from __future__ import annotations

import pytest

from tests.api.jwo.asking import Client
from tests.engine.composition import Process, Shop


@pytest.fixture
def client(one: Process, here: Shop) -> Client:
    return Client(one, here.identifier)
