"""Metrics: every process adds to its own row, whoever is asked shows the sums."""
from __future__ import annotations

import os
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Outcome, Reversed, Silence, Unknown
from ringfence.core.payment import Operation
from ringfence.engine import metrics
from ringfence.engine.counting import CountedOutcomes
from ringfence.engine.intents import Ended, Result
from ringfence.engine.metrics import BOUNDS, COUNTERS, Metrics, exposition
from ringfence.storage import timeline


def test_a_forked_process_counts_into_the_same_table():
    """And a process that follows it goes on where it stopped."""
    table = Metrics(2)
    table.row(0).add(metrics.APPROVED, 2)
    child = os.fork()
    if child == 0:
        table.row(1).add(metrics.APPROVED, 3)
        os._exit(0)
    os.waitpid(child, 0)
    table.row(1).add(metrics.APPROVED)
    assert table.total(metrics.APPROVED) == 6


def test_durations_fall_into_their_buckets():
    """A bound itself is below; what is above every bound is kept too."""
    table = Metrics(1)
    for seconds in (0.0001, BOUNDS[0], BOUNDS[1], 100.0):
        table.row(0).observe(metrics.REQUEST_SECONDS, seconds)
    counts, micros = table.histogram(metrics.REQUEST_SECONDS)
    assert (counts[0], counts[1], counts[-1], sum(counts)) == (2, 1, 1, 4)
    assert micros == 100 + 500 + 1000 + 100_000_000


def test_the_text_is_what_prometheus_reads():
    """Each name is described once, buckets are cumulated, and the last one is the count."""
    from prometheus_client.parser import text_string_to_metric_families
    table = Metrics(3)
    table.row(2).add(metrics.REFUSED, 7)
    table.row(1).observe(metrics.INTENT_SECONDS, 0.003)
    families = {family.name: family for family in text_string_to_metric_families(exposition(table))}
    assert len({metric.name for metric in COUNTERS} | {metric.name for metric in metrics.HISTOGRAMS}) == len(families)
    assert [s.value for s in families["ringfence_operations"].samples if s.labels == {"result": "refused"}] == [7]
    count = [s for s in families["ringfence_commit_seconds"].samples if s.name.endswith("_bucket") and s.labels == {"lane": "intents", "le": "+Inf"}]
    assert [s.value for s in count] == [1]


def test_the_oldest_directory_of_all_processes_is_told():
    """One process that has not looked yet is enough to be waited for."""
    table = Metrics(3)
    table.row(0).note_directory(5)
    assert table.directory_version(2) == 0
    table.row(1).note_directory(4)
    assert table.directory_version(2) == 4


def test_a_job_is_counted_by_its_queue_and_by_how_it_went():
    """Each queue has two counters of its own."""
    table = Metrics(1)
    for queue, (done, failed) in metrics.JOBS.items():
        table.row(0).count_job(queue, True)
        table.row(0).count_job(queue, False)
        table.row(0).count_job(queue, False)
        assert (table.total(done), table.total(failed)) == (1, 2), queue
    assert len({place for places in metrics.JOBS.values() for place in places}) == 2 * len(metrics.JOBS)


@pytest.mark.anyio
async def test_a_doubt_that_ends_is_counted_by_how():
    """What was never in doubt is not, nor is what stays unknown or was another's."""
    answers: list[tuple[bool, Outcome, Outcome]] = [
        # in doubt  what was found out             what was committed
        (True,      Reversed(),                    Reversed()),
        (True,      Approved(100),                 Approved(100)),
        (True,      Approved(100),                 Unknown(Silence.SUPERSEDED)),
        (True,      Unknown(Silence.NO_ANSWER),    Unknown(Silence.NO_ANSWER)),
        (False,     Approved(100),                 Approved(100)),
        (False,     Declined("05"),                Declined("05")),
        (True,      Declined("05"),                Declined("05")),
    ]

    async def commit(batch: Sequence[Ended]) -> list[Result]:
        return [Result(outcome=committed) for _, _, committed in answers]

    table = Metrics(1)
    reserved = [SimpleNamespace(operation=Operation(1, Kind.PURCHASE, 100, unknown=unknown)) for unknown, _, _ in answers]
    messages = [Ended(one, outcome) for one, (_, outcome, _) in zip(reserved, answers, strict=True)]     # type: ignore[arg-type]
    await CountedOutcomes(commit, table.row(0)).commit(messages)
    assert [table.total(one) for one in (metrics.DOUBT_APPROVED, metrics.DOUBT_DECLINED, metrics.DOUBT_REVERSED)] == [1, 1, 1]
    assert table.total(metrics.APPROVED) == 2


def test_every_kind_of_job_is_counted_and_moved_by_the_clock():
    """A queue without a counter breaks behind every job; one that the timeline does not know is passed over when business time is moved."""
    timed = {name for source in timeline.SOURCES for name in source.of if source.next == timeline.SQL.next_job}
    assert timed == set(metrics.QUEUES)
