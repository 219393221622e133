"""A whole run against a fake service: the order of the runs, the figures, and that every fault fails it."""
from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ringfence.bench import command, disk
from ringfence.bench.bench import BenchFailed, Plan, run
from ringfence.bench.command import announce, arrived, bench_command
from ringfence.bench.load import Figures
from ringfence.bench.measuring import disk_folder, steps
from ringfence.bench.processor_time import Used
from ringfence.bench.report import Report, Round, row, show
from ringfence.bench.service import Service, ServiceFailed, read, running, started
from ringfence.bench.sink import Figures as Arrived
from ringfence.failures import Failure

from .conftest import MERCHANTS, Running

KEYS = {"ratio", "purchases_per_s", "pgbench_tps", "p50_ms", "p99_ms", "half_load_p50_ms", "half_load_p99_ms", "fdatasync_p99_ms",
        "cpu_us_per_purchase", "rounds", "errors", "verified"}
PLAN = Plan(rounds=2, seconds=0.3, warm_up=0.1, connections=8, tokens=8, disk_seconds=0.05)


class Yardstick:
    """Stands in for pgbench; remembers how many purchases were kept when it ran."""

    def __init__(self, running: Running) -> None:
        self.running, self.seen = running, []

    def run(self, seconds: float) -> float:
        self.seen.append(len(self.running.kept()))
        return 100.0 * len(self.seen)


def whole_run(fake: Running, database: str, folder: Path, faults: list[str] | None = None) -> tuple[Report, Yardstick, list[str]]:
    yardstick, told = Yardstick(fake), []

    @contextmanager
    def neighbour() -> Iterator[Yardstick]:
        yield yardstick

    service = Service(fake.base_url, MERCHANTS, fake.pid, folder, database)
    report = run(PLAN, service, neighbour(), folder / "acknowledged", lambda name, seconds: told.append(name), (lambda: faults or [],))
    return report, yardstick, told


def test_rounds_stand_between_two_runs_of_pgbench(fake: Callable[[str], Running], database: str, tmp_path: Path) -> None:
    """pgbench, purchases, pgbench, purchases, pgbench, half load; each ratio has its two neighbours, and the report every figure."""
    report, yardstick, told = whole_run(fake("none"), database, tmp_path)
    assert [name.split(",")[0] for name in told[1:-1]] == ["pgbench", "Purchases", "pgbench", "Purchases", "pgbench", "Half load"]
    assert [one.tps for one in report.rounds] == [(100.0, 200.0), (200.0, 300.0)]
    first = report.rounds[0].figures.approved
    assert yardstick.seen == [0, first, first + report.rounds[1].figures.approved]
    found = json.loads(json.dumps(report.as_json()))
    assert found.keys() >= KEYS
    assert all(found[name] > 0 for name in KEYS - {"rounds", "errors", "verified"})
    assert (found["errors"], found["verified"], report.passed) == (0, True, True)
    assert found["acknowledged"] == len((tmp_path / "acknowledged").read_text().splitlines())
    assert found["rounds"][0]["ratio"] == pytest.approx(found["rounds"][0]["purchases_per_s"] / 150, rel=0.01)
    assert report.half_rate == pytest.approx(found["purchases_per_s"] / 2, rel=0.01)


@pytest.mark.parametrize(("fault", "faults"), [("declines", []), ("unsigned", []), ("none", ["Missing: Shop1 one."])])
def test_one_fault_fails_the_whole_run(fake: Callable[[str], Running], database: str, tmp_path: Path, fault: str, faults: list[str]) -> None:
    """A wrong answer or a payment that is not there: errors are counted and told, and the run has not passed."""
    report, _, _ = whole_run(fake(fault), database, tmp_path, faults)
    found = report.as_json()
    assert not report.passed
    assert found["errors"] >= 1
    assert found["failures"]
    assert found["verified"] == (not faults)


def test_too_few_merchants_or_no_approval_measure_nothing(fake: Callable[[str], Running], database: str, tmp_path: Path) -> None:
    """Four merchants are needed."""
    service = Service(fake("none").base_url, MERCHANTS[:3], os.getpid(), tmp_path, database)
    with pytest.raises(BenchFailed, match="needs 4 merchants"):
        run(PLAN, service, contextmanager(lambda: iter([None]))(), tmp_path / "acknowledged", lambda name, seconds: None)


def figures(counted: int = 100, faults: dict[str, int] | None = None) -> Figures:
    return Figures(counted=counted, seconds=2.0, approved=200, checked=2, faults=faults or {}, latencies={700: counted}, processor_s=0.004,
                   made_on_the_fly=False)


def report(**changed: object) -> Report:
    rounds = [Round(figures(counted), Used(0.01, 0.02), (20.0, 30.0)) for counted in (100, 400, 200)]
    return Report(**{"rounds": rounds, "half_load": figures(), "half_rate": 50.0, "disk": Counter({500: 3}), "acknowledged": 800, "faults": [],
                     **changed})  # type: ignore[arg-type]


def test_figures_are_medians_over_the_rounds() -> None:
    """Rates of 50, 200 and 100 a second beside 25 of pgbench; 150 µs a purchase of everything but the load."""
    found = report().as_json()
    assert (found["purchases_per_s"], found["pgbench_tps"], found["ratio"]) == (100.0, 25.0, 4.0)
    assert found["cpu_us_per_purchase"] == 150.0
    assert found["cpu_us"] == {"python": 50.0, "postgres": 100.0, "load": 20.0}


def test_charges_for_a_purchase_are_those_of_all_rounds_together() -> None:
    """The doors take turns in going first, so that no single round is fair; a round without charges does not count."""
    rounds = [Round(figures(counted), Used(0.01, 0.02), None, charged and figures(charged), charged and Used(0.01, 0.02))
              for counted, charged in ((100, 50), (200, 220), (900, None))]
    found = report(rounds=rounds).as_json()
    assert ([one["ppro_ratio"] for one in found["rounds"]], found["ppro_ratio"]) == ([0.5, 1.1, None], 0.9)
    assert report().as_json()["ppro_ratio"] is None


def test_a_database_elsewhere_or_no_pgbench_leave_figures_open() -> None:
    """What was not measured is null, not zero."""
    found = report(rounds=[Round(figures(), Used(0.01, None), None)]).as_json()
    assert (found["ratio"], found["pgbench_tps"], found["cpu_us_per_purchase"], found["cpu_us"]["postgres"]) == (None, None, None, None)
    assert row(Round(figures(), Used(0.01, None), None))["cpu_us"]["python"] == 50.0


@given(st.lists(st.dictionaries(st.sampled_from(["response code 13666", "no answer at all"]), st.integers(1, 9)), min_size=1, max_size=4),
       st.lists(st.just("Missing: Shop1 one."), max_size=2))
def test_errors_are_all_that_went_wrong(answers: list[dict[str, int]], faults: list[str]) -> None:
    """Every wrong answer and every fault counts once; none means passed."""
    one = report(rounds=[Round(figures(faults=some), Used(0, 0), (1.0, 1.0)) for some in answers], faults=faults)
    expected = sum(sum(some.values()) for some in answers) + len(faults)
    assert one.as_json()["errors"] == expected
    assert one.passed == (expected == 0)


def test_people_see_rounds_pictures_and_what_was_wrong() -> None:
    """The table has a row a round and the medians; a failure is told in red words, a pass in one sentence."""
    for faults, words in (([], "there exactly once"), (["Missing: Shop1 one."], "Missing: Shop1 one.")):
        printed = StringIO()
        show(report(faults=faults), Console(file=printed, width=160))
        assert words in printed.getvalue()
        assert "median" in printed.getvalue()
        assert "fdatasync, same minute" in printed.getvalue()


def test_the_machine_s_form_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output holds the object and nothing else."""
    announce(report(), Console(file=StringIO()), as_json=True)
    assert json.loads(capsys.readouterr().out).keys() >= KEYS


class Merchants:
    """Stands in for the receiver: so many different events at each look."""

    def __init__(self, *distinct: int) -> None:
        self.looks = [Arrived(2 * count, count, 12.5, 80.0) for count in distinct]

    def figures(self) -> Arrived:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def test_what_merchants_are_told_is_waited_for_and_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all purchases are known to them, or nothing new comes; it is part of both forms of the report."""
    monkeypatch.setattr(command, "WEBHOOK_SECONDS", 0.3)
    told = arrived(Merchants(3, 7, 10), 10, lambda name, seconds: None)
    assert told.distinct == 10
    assert arrived(Merchants(3, 4), 10, lambda name, seconds: None).distinct == 4
    announce(report(), Console(file=StringIO()), as_json=True, told=told)
    assert json.loads(capsys.readouterr().out)["webhooks"] == {"received": 20, "distinct": 10, "lag_p50_ms": 12.5, "lag_p99_ms": 80.0}
    printed = StringIO()
    announce(report(), Console(file=printed, width=160), as_json=False, told=told)
    assert "webhooks: 20 received, 10 different ones" in printed.getvalue()


def test_durable_writes_are_timed_and_leave_nothing(tmp_path: Path) -> None:
    """One time for each write, above zero; the file is gone."""
    took = disk.durable_writes(tmp_path, 0.05, pause_s=0)
    assert took
    assert all(milliseconds > 0 for milliseconds in took)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_for_people() -> None:
    """Machines get no bars."""
    printed = StringIO()
    with steps(Console(file=printed), quiet=True) as step:
        step("Starting", 1)
    assert printed.getvalue() == ""


def test_a_folder_for_temporary_data_exists() -> None:
    """It can be written to."""
    assert os.access(disk_folder(), os.W_OK)


def test_the_command_line_explains_itself_and_refuses_contradictions(tmp_path: Path) -> None:
    """Help has examples and exit codes; a data folder and a running service at once are a wrong command line (2)."""
    runner = CliRunner()
    helped = runner.invoke(bench_command, ["--help"])
    assert helped.exit_code == 0
    assert "ringfence bench --json" in helped.output
    sandbox = tmp_path / "sandbox.json"
    sandbox.write_text("{}")
    assert runner.invoke(bench_command, ["--data", str(tmp_path), "--sandbox", str(sandbox)]).exit_code == 2
    assert runner.invoke(bench_command, ["--rounds", "0"]).exit_code == 2
    assert runner.invoke(bench_command, ["--seconds", "nan"]).exit_code == 2


def test_a_service_that_does_not_run_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    """Exit code 1; machines get it as JSON."""
    sandbox = tmp_path / "sandbox.json"
    sandbox.write_text("{}")
    ended = CliRunner().invoke(bench_command, ["--json", "--sandbox", str(sandbox)])
    assert isinstance(ended.exception, Failure)
    assert (ended.exception.code, ended.exception.sentence.count("\n")) == (1, 0)
    assert json.loads(ended.stdout)["failures"][0].startswith("No service runs on")


def test_a_running_service_is_read_from_its_folder(tmp_path: Path) -> None:
    """Its sandbox file, the process that holds its lock, and the address of its database."""
    (tmp_path / "lock").write_text(f"{os.getpid()}\n")
    (tmp_path / "postgres.password").write_text("secret\n")
    (tmp_path / "postgres.socket").write_text("/tmp/sockets\n")
    sandbox = tmp_path / "sandbox.json"
    merchant = dict(zip(("merchant_identifier", "access_code", "sha_request_phrase", "sha_response_phrase", "sha_type"), MERCHANTS[0][:5], strict=True))
    sandbox.write_text(json.dumps({"base_url": "http://127.0.0.1:8080", "admin": "token", "merchants": [{"aps": merchant}], "test_cards": []}))
    service = running(sandbox)
    assert (service.base_url, service.merchants, service.pid) == ("http://127.0.0.1:8080", MERCHANTS[:1], os.getpid())
    assert service.dsn.endswith("?host=/tmp/sockets")
    assert "secret" not in f"{service!r} {service}"


@pytest.mark.parametrize("written", ["", "[]", "{}", '{"base_url": "x", "merchants": [{}]}'])
def test_a_strange_sandbox_file_is_named(tmp_path: Path, written: str) -> None:
    """Whatever it lacks, the message names the file."""
    (tmp_path / "sandbox.json").write_text(written)
    with pytest.raises(ServiceFailed, match=r"sandbox\.json does not describe"):
        read(tmp_path / "sandbox.json", 1)


def test_a_service_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is in the message, not in a file one has to find."""
    monkeypatch.setattr("ringfence.bench.service.RINGFENCE", ("/bin/sh", "-c", "echo the disk is full; exit 3"))
    with pytest.raises(ServiceFailed, match="the disk is full"), started(tmp_path / "data", 2):
        pass


def test_the_command_is_a_group_for_more_to_come() -> None:
    """Further benchmarks join it as commands of their own."""
    assert isinstance(bench_command, click.Group)
