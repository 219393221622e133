"""The receiver of webhooks: it counts what arrives, and merchants have their own address afterwards."""
from __future__ import annotations

import http.client
import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ringfence.bench import sink
from ringfence.bench.service import Service, ServiceFailed
from ringfence.bench.sink import Heard, Sink, receiving
from ringfence.core.ids import first_id_at, made_at
from tests.bench.conftest import MERCHANTS
from tests.engine.composition import NOW


def test_it_counts_requests_and_different_events():
    """Over connections that are kept, as the service sends them."""
    with Sink() as one:
        address = urlsplit(one.url)
        connection = http.client.HTTPConnection(address.hostname, address.port)
        for event in ("7-1", "7-2", "7-1"):
            connection.request("POST", address.path, b"told", {"ringfence-event": event})
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
        connection.close()
        assert one.figures()[:2] == (3, 2)


def test_the_lag_is_that_of_first_events():
    """From the making of the payment's id; a second arrival of the same event does not count."""
    payment, heard = first_id_at(NOW), Heard()
    made = made_at(payment).timestamp()
    heard.note(f"{payment}-1", made + 0.1)
    heard.note(f"{payment}-2", made + 60)
    heard.note(f"{payment}-1", made + 60)
    figures = heard.figures()
    assert figures.received == 3 and figures.lag_p50_ms == pytest.approx(100, rel=0.02) == figures.lag_p99_ms


def test_merchants_get_their_address_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Also when the measurement breaks."""
    addresses = {merchant.identifier: f"http://{merchant.identifier}.example/" for merchant in MERCHANTS}
    before = dict(addresses)

    def cli(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        what, name = command[len(sink.RINGFENCE) + 1:][:2]
        if what == "set":
            addresses[name] = command[len(sink.RINGFENCE) + 3].removeprefix("feedback_url=")
        return subprocess.CompletedProcess(command, 0, json.dumps({"settings": {"feedback_url": addresses[name]}}), "")

    monkeypatch.setattr(sink.subprocess, "run", cli)
    with pytest.raises(ZeroDivisionError), receiving(Service("http://127.0.0.1:1", MERCHANTS, 1, tmp_path, "")) as one:
        assert set(addresses.values()) == {one.url}
        raise ZeroDivisionError
    assert addresses == before


def test_a_service_that_refuses_is_named():
    """With what it said."""
    with pytest.raises(ServiceFailed, match="ringfence merchant show ended with"), \
            receiving(Service("http://127.0.0.1:1", MERCHANTS, 1, Path("/nonexistent"), "")):
        raise AssertionError("nothing can be received")
