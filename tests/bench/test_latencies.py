"""Percentiles from a histogram are within one percent of those from the samples."""
from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.bench.latencies import BARS, histogram, percentile, picture

SAMPLES = st.lists(st.floats(0.002, 100_000), min_size=1, max_size=200)


@given(SAMPLES, st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_within_one_percent(samples: list[float], share: float) -> None:
    """The nearest rank, never below the sample and at most one percent above."""
    exact = sorted(samples)[ceil(share * len(samples)) - 1]
    assert exact * 0.9999 <= (percentile(histogram(samples), share) or 0) <= exact * 1.0101


@given(SAMPLES, SAMPLES)
def test_histograms_add_up(some: list[float], more: list[float]) -> None:
    """Two rounds together are the histogram of all their samples."""
    assert histogram(some) + histogram(more) == histogram(some + more)


def test_without_samples_there_is_no_percentile() -> None:
    """Nothing measured is not zero milliseconds."""
    assert percentile({}, 0.99) is None


@pytest.mark.parametrize(("samples", "share", "expected"), [
    ([1.0] * 99 + [500.0], 0.99, 1.0),
    ([1.0] * 98 + [500.0] * 2, 0.99, 500.0),
    ([1.0, 2.0, 3.0], 0.5, 2.0),
])
def test_percentiles_of_a_few(samples: list[float], share: float, expected: float) -> None:
    """One slow answer in a hundred is not the 99th percentile, two are."""
    assert percentile(histogram(samples), share) == pytest.approx(expected, rel=0.01)


@given(SAMPLES)
def test_every_sample_is_visible(samples: list[float]) -> None:
    """The picture has its columns, its highest bar is full, and its axis holds all samples."""
    bars, first, last = picture(histogram(samples), columns=30)
    assert len(bars) == 30
    assert BARS[-1] in bars
    assert first <= min(samples) * 1.0001
    assert last >= max(samples) * 0.9999
    assert set(bars) <= set(BARS) | {" "}
