"""Latencies: a histogram with buckets one percent wide, its percentiles, and its picture in one line of text.

Histograms of several rounds add up; percentiles do not.  Times are milliseconds.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import ceil, floor, log

WIDTH = log(1.01)
SHORTEST_MS = 0.001
BARS = "▁▂▃▄▅▆▇█"


def histogram(samples_ms: Iterable[float]) -> Counter[int]:
    """Counts by bucket; bucket *n* begins at ``SHORTEST_MS * 1.01 ** n``."""
    return Counter(floor(log(sample / SHORTEST_MS) / WIDTH) if sample > SHORTEST_MS else 0 for sample in samples_ms)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The time (ms, within one percent) that *share* of the samples did not exceed; ``None`` without samples.

    The nearest rank: the smallest recorded time with at least that share at or below it, at its bucket's upper edge.
    """
    rank, seen = ceil(share * sum(counts.values())), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return SHORTEST_MS * 1.01 ** (bucket + 1)
    return None


def picture(counts: Mapping[int, int], columns: int = 48) -> tuple[str, float, float]:
    """Bars over a logarithmic axis, and where the axis begins and ends (ms).  A bar that holds anything is visible."""
    if not counts:
        return "", 0.0, 0.0
    first, last = min(counts), max(counts)
    span = max(last - first + 1, columns)
    heights = [0] * columns
    for bucket, count in counts.items():
        heights[(bucket - first) * columns // span] += count
    highest = max(heights)
    bars = "".join(BARS[ceil(height * len(BARS) / highest) - 1] if height else " " for height in heights)
    return bars, SHORTEST_MS * 1.01 ** first, SHORTEST_MS * 1.01 ** (first + span)
