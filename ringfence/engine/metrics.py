"""What the service counts: one table of numbers in memory that all its processes share.

Each process adds to a row of its own, so no addition needs a lock; whoever is asked sums the rows.  A process that is restarted
goes on in the row of its predecessor, so that counters never fall.  Refuses to know who reads them, and how they are written.
"""
from __future__ import annotations

import mmap
from bisect import bisect_left
from typing import NamedTuple


class Metric(NamedTuple):
    """One counter: its name and labels in Prometheus form, and what it says."""

    name: str
    help: str
    labels: tuple[tuple[str, str], ...] = ()


_REQUESTS = "Requests answered, by door."
_SECONDS = "Time from a complete request head to the answer handed over, by door."
_OPERATIONS = "Operations that ended, by result; unknown ones may end later and count again."
_BATCHES = "Committed batches."
_ROWS = "Messages in committed batches."

_JOBS = "Jobs that were run, by queue; a failed one comes again."
_DELIVERIES = "Attempts to deliver a webhook, by result."
_DOUBTS = "Unknown outcomes that ended, by how."

QUEUES = ("recovery", "reversal", "challenge", "redirection", "delivery", "plan", "message", "report", "dispute", "dispute_report", "agreement",
          "store_order", "collect", "debt", "purchase", "hold rest")
"""Kinds of jobs: every queue of the worker is counted, and a new one is named here (a test looks)."""

#: The counters, in the order of their columns.  The constants below are their places.
COUNTERS: tuple[Metric, ...] = (
    Metric("ringfence_requests_total", _REQUESTS, (("door", "aps"),)),
    Metric("ringfence_requests_total", _REQUESTS, (("door", "ppro"),)),
    Metric("ringfence_requests_total", _REQUESTS, (("door", "jwo"),)),
    Metric("ringfence_requests_total", _REQUESTS, (("door", "other"),)),
    Metric("ringfence_operations_total", _OPERATIONS, (("result", "approved"),)),
    Metric("ringfence_operations_total", _OPERATIONS, (("result", "declined"),)),
    Metric("ringfence_operations_total", _OPERATIONS, (("result", "unknown"),)),
    Metric("ringfence_operations_total", _OPERATIONS, (("result", "refused"),)),
    Metric("ringfence_operations_total", _OPERATIONS, (("result", "other"),)),
    Metric("ringfence_batches_total", _BATCHES, (("lane", "intents"),)),
    Metric("ringfence_batches_total", _BATCHES, (("lane", "outcomes"),)),
    Metric("ringfence_batched_messages_total", _ROWS, (("lane", "intents"),)),
    Metric("ringfence_batched_messages_total", _ROWS, (("lane", "outcomes"),)),
    Metric("ringfence_crashes_total", "Requests that ended in an exception: bugs, or lost infrastructure."),
    Metric("ringfence_worker_restarts_total", "Workers that died and were replaced."),
    Metric("ringfence_database_restarts_total", "Times the private PostgreSQL died and was started again."),
    *(Metric("ringfence_jobs_total", _JOBS, (("queue", queue), ("result", result))) for queue in QUEUES for result in ("done", "failed")),
    Metric("ringfence_jobs_set_aside_total", "Jobs that failed so often that they wait for somebody: ringfence jobs list."),
    Metric("ringfence_deliveries_total", _DELIVERIES, (("result", "delivered"),)),
    Metric("ringfence_deliveries_total", _DELIVERIES, (("result", "failed"),)),
    Metric("ringfence_doubts_ended_total", _DOUBTS, (("how", "approved"),)),
    Metric("ringfence_doubts_ended_total", _DOUBTS, (("how", "declined"),)),
    Metric("ringfence_doubts_ended_total", _DOUBTS, (("how", "reversed"),)),
)
(REQUESTS_APS, REQUESTS_PPRO, REQUESTS_JWO, REQUESTS_OTHER, APPROVED, DECLINED, UNKNOWN, REFUSED, OTHER, INTENT_BATCHES, OUTCOME_BATCHES,
 INTENT_MESSAGES, OUTCOME_MESSAGES, CRASHES, WORKER_RESTARTS, DATABASE_RESTARTS, *_QUEUES, SET_ASIDE, DELIVERED, NOT_DELIVERED,
 DOUBT_APPROVED, DOUBT_DECLINED, DOUBT_REVERSED) = range(len(COUNTERS))

#: The counters of a queue: its jobs that were done, and those that failed.
JOBS = dict(zip(QUEUES, zip(_QUEUES[::2], _QUEUES[1::2], strict=True), strict=True))

#: Upper bounds of the latency histograms, in seconds.
BOUNDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192)

#: The histograms; each has a column per bound, one for what is above, and one for the sum in microseconds.
HISTOGRAMS: tuple[Metric, ...] = (
    Metric("ringfence_request_seconds", _SECONDS, (("door", "aps"),)),
    Metric("ringfence_request_seconds", _SECONDS, (("door", "ppro"),)),
    Metric("ringfence_request_seconds", _SECONDS, (("door", "jwo"),)),
    Metric("ringfence_commit_seconds", "Time a batch took to commit.", (("lane", "intents"),)),
    Metric("ringfence_commit_seconds", "Time a batch took to commit.", (("lane", "outcomes"),)),
)
REQUEST_SECONDS, PPRO_SECONDS, JWO_SECONDS, INTENT_SECONDS, OUTCOME_SECONDS = range(len(HISTOGRAMS))

_PER_HISTOGRAM = len(BOUNDS) + 2
_DIRECTORY = len(COUNTERS) + len(HISTOGRAMS) * _PER_HISTOGRAM
_COLUMNS = _DIRECTORY + 1


class Metrics:
    """The table.  Made once, before the workers are forked; ``processes`` is how many rows it has."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._numbers = memoryview(mmap.mmap(-1, processes * _COLUMNS * 8)).cast("q")

    def row(self, process: int) -> Counters:
        """What one process adds to."""
        return Counters(self._numbers[process * _COLUMNS:(process + 1) * _COLUMNS])

    def total(self, counter: int) -> int:
        """The sum of one counter over all processes."""
        return sum(self._numbers[counter::_COLUMNS])

    def directory_version(self, processes: int) -> int:
        """The oldest version of the directory that any of the first so many processes still works with."""
        return min(self._numbers[_DIRECTORY:processes * _COLUMNS:_COLUMNS])

    def histogram(self, histogram: int) -> tuple[list[int], int]:
        """Counts per bucket (the last is above every bound; not cumulated), and the sum in microseconds; over all processes."""
        first = len(COUNTERS) + histogram * _PER_HISTOGRAM
        columns = [self.total(first + place) for place in range(_PER_HISTOGRAM)]
        return columns[:-1], columns[-1]


class Counters:
    """One process's row.  Adding costs a fraction of a microsecond."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: memoryview) -> None:
        self._numbers = numbers

    def add(self, counter: int, count: int = 1) -> None:
        """Count."""
        self._numbers[counter] += count

    def count_job(self, queue: str, done: bool) -> None:
        """A job of a queue was run; ``done``: it did not fail."""
        self.add(JOBS[queue][0 if done else 1])

    def note_directory(self, version: int) -> None:
        """The version of the directory that this process works with from now on."""
        self._numbers[_DIRECTORY] = version

    def observe(self, histogram: int, seconds: float) -> None:
        """Note one duration."""
        first = len(COUNTERS) + histogram * _PER_HISTOGRAM
        numbers = self._numbers
        numbers[first + bisect_left(BOUNDS, seconds)] += 1
        numbers[first + _PER_HISTOGRAM - 1] += int(seconds * 1e6)


def exposition(metrics: Metrics) -> str:
    """The table in Prometheus' text form (version 0.0.4)."""
    lines: list[str] = []
    described: set[str] = set()

    def describe(metric: Metric, kind: str) -> None:
        if metric.name not in described:
            described.add(metric.name)
            lines.extend((f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {kind}"))

    def sample(name: str, labels: tuple[tuple[str, str], ...], value: object) -> None:
        inside = ",".join(f'{label}="{text}"' for label, text in labels)
        lines.append(f"{name}{{{inside}}} {value}" if inside else f"{name} {value}")

    for place, metric in enumerate(COUNTERS):
        describe(metric, "counter")
        sample(metric.name, metric.labels, metrics.total(place))
    for place, metric in enumerate(HISTOGRAMS):
        describe(metric, "histogram")
        counts, micros = metrics.histogram(place)
        below = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
            below += count
            sample(f"{metric.name}_bucket", (*metric.labels, ("le", bound)), below)
        sample(f"{metric.name}_sum", metric.labels, micros / 1e6)
        sample(f"{metric.name}_count", metric.labels, below)
    return "\n".join(lines) + "\n"
