"""The load generator counts what it should, sees every fault, and forgets no waiting."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ringfence.bench.latencies import percentile
from ringfence.bench.load import Figures, Load, LoadFailed, card_number
from ringfence.bench.loops import parse
from ringfence.bench.verification import listed

from .conftest import MERCHANTS, Running
from .fake_service import SLOW_S, STALL_S


def measured(running: Running, acknowledged: Path, rate: float | None = None, *, connections: int = 16, seconds: float = 0.6) -> Figures:
    with Load(running.base_url, MERCHANTS, acknowledged) as load:
        assert load.tokens(40, "3012") == 40
        figures, _, _ = load.run(lambda: None, connections=connections, warm_up=0.2, seconds=seconds, stock=500, rate=rate)
    return figures


def test_approved_purchases_are_counted_and_listed(fake: Callable[[str], Running], tmp_path: Path) -> None:
    """Everything approved is in the list, with what the service kept; the window counts a part of it; signatures are checked."""
    running = fake("none")
    figures = measured(running, tmp_path / "acknowledged")
    assert figures.faults == {}
    assert 0 < figures.counted < figures.approved
    assert figures.checked == figures.approved // 100
    assert sum(figures.latencies.values()) == figures.counted
    assert sorted(row[:3] for row in listed(tmp_path / "acknowledged")) == sorted(running.kept())
    assert {row[0] for row in running.kept()} == {merchant.identifier for merchant in MERCHANTS}


@pytest.mark.parametrize(("fault", "seen"), [
    ("declines", "response code 13666"),
    ("mixes", "an answer to another reference"),
    ("unsigned", "an answer whose signature does not match"),
    ("fails", "an answer that is not HTTP 200"),
    ("hangs_up", "a connection that the service closed"),
])
def test_a_wrong_answer_is_a_fault_and_not_acknowledged(fake: Callable[[str], Running], tmp_path: Path, fault: str, seen: str) -> None:
    """Each fault is counted under its own name, and none of those purchases is in the list."""
    figures = measured(fake(fault), tmp_path / "acknowledged")
    assert list(figures.faults) == [seen]
    assert figures.approved == len(list(listed(tmp_path / "acknowledged")))
    assert figures.counted <= figures.approved


def test_a_service_that_closes_every_connection_ends_the_run(fake: Callable[[str], Running], tmp_path: Path) -> None:
    """With no connection left there is nothing to wait for."""
    figures = measured(fake("hangs_up"), tmp_path / "acknowledged", connections=1)
    assert figures.faults == {"a connection that the service closed": 1}
    assert figures.approved == 4


def test_latency_is_the_service_s(fake: Callable[[str], Running], tmp_path: Path) -> None:
    """A service that takes 50 ms for everything shows them in every percentile."""
    figures = measured(fake("slow"), tmp_path / "acknowledged")
    assert (percentile(figures.latencies, 0.01) or 0) >= SLOW_S * 1000
    assert figures.counted <= 16 * (0.6 / SLOW_S + 1)


def test_an_open_loop_counts_from_the_scheduled_moment(fake: Callable[[str], Running], tmp_path: Path) -> None:
    """During a stall of 300 ms purchases go on falling due: all of them are sent, and their waiting shows although one connection waited."""
    running = fake("stalls")
    with Load(running.base_url, MERCHANTS, tmp_path / "acknowledged") as load:
        load.tokens(4, "3012")
        figures, _, _ = load.run(lambda: None, connections=1, warm_up=0.01, seconds=1.0, stock=0, rate=200)
    assert figures.made_on_the_fly
    assert figures.approved == 202
    assert figures.faults == {}
    slow = sum(count for bucket, count in figures.latencies.items() if 0.001 * 1.01 ** bucket > STALL_S * 1000 / 3)
    assert slow >= 200 * STALL_S * 0.6          # a closed loop would have seen a single slow answer


def test_what_is_asked_around_a_run_is_asked_around_it(fake: Callable[[str], Running], tmp_path: Path) -> None:
    """Right before the first purchase nothing was kept; right after the last answer everything was."""
    running = fake("none")
    with Load(running.base_url, MERCHANTS, tmp_path / "acknowledged") as load:
        load.tokens(8, "3012")
        figures, before, after = load.run(lambda: len(running.kept()), connections=4, warm_up=0.1, seconds=0.2, stock=10)
    assert (before, after) == (0, figures.approved)


def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    """No listener, or an address that is not plain http: a sentence, not a traceback."""
    with Load("http://127.0.0.1:1", MERCHANTS, tmp_path / "acknowledged") as load, pytest.raises(LoadFailed, match="cannot be reached"):
        load.tokens(4, "3012")
    with pytest.raises(LoadFailed, match="plain http"):
        Load("https://127.0.0.1:1", MERCHANTS, tmp_path / "acknowledged")


def test_a_refused_token_ends_it(fake: Callable[[str], Running], tmp_path: Path) -> None:
    """A merchant with a wrong phrase gets no token, and the code is said."""
    wrong = [merchant._replace(request_phrase="wrong") for merchant in MERCHANTS]
    with Load(fake("none").base_url, wrong, tmp_path / "acknowledged") as load, pytest.raises(LoadFailed, match="00008"):
        load.tokens(4, "3012")


@pytest.mark.parametrize(("data", "expected"), [
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", (True, b"{}")),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\n{}", (True, b"{}")),
    (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", (False, b"")),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", (False, b"")),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}", None),
    (b"HTTP/1.1 200 OK\r\ncontent-len", None),
    (b"", None),
])
def test_answers_are_cut_out_of_the_stream(data: bytes, expected: tuple[bool, bytes] | None) -> None:
    """Whole answers by their length; parts wait; what has no length is a fault."""
    assert parse(data) == expected


def test_card_numbers_repeat_after_a_thousand() -> None:
    """Three digits name the instance."""
    assert card_number(1000) == card_number(0)
