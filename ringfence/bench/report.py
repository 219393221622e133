"""The report: what a run of the benchmark found, for people and for machines."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ringfence.bench.latencies import percentile, picture
from ringfence.bench.load import Figures
from ringfence.bench.processor_time import Used

NAMED = 20


class Round(NamedTuple):
    """The service between two runs of pgbench.  ``figures`` are the load's, ``used`` the processor time of the whole run."""

    figures: Figures
    used: Used
    tps: tuple[float, float] | None     # pgbench before and after
    charges: Figures | None = None      # of the PPRO door, right before or after
    charges_used: Used | None = None


class Report(NamedTuple):
    """A whole run.  ``disk`` is a histogram of durable writes (ms); ``faults`` are sentences about what must not be."""

    rounds: Sequence[Round]
    half_load: Figures
    half_rate: float                    # purchases a second, as scheduled
    disk: Mapping[int, int]
    acknowledged: int
    faults: Sequence[str]               # of the verification

    def as_json(self) -> dict[str, Any]:
        """The figures by name.  Times are milliseconds (``cpu_us_per_purchase``: microseconds); medians over the rounds, but for ``ppro_ratio``,
        which is that of all rounds together: the doors take turns in going first.

        ``errors`` counts answers that were not as they must be, and faults found afterwards; ``failures`` says what they are.
        """
        rows = [row(one) for one in self.rounds]
        failures = self._failures()
        return {
            "ratio": middle(rows, "ratio", 3),
            "purchases_per_s": middle(rows, "purchases_per_s", 1),
            "charges_per_s": middle(rows, "charges_per_s", 1),
            "ppro_ratio": together(rows),
            "cpu_us_per_charge": middle(rows, "cpu_us_per_charge", 1),
            "pgbench_tps": middle(rows, "pgbench_tps", 1),
            "p50_ms": middle(rows, "p50_ms", 3),
            "p99_ms": middle(rows, "p99_ms", 3),
            "half_load_p50_ms": rounded(percentile(self.half_load.latencies, 0.50), 3),
            "half_load_p99_ms": rounded(percentile(self.half_load.latencies, 0.99), 3),
            "half_load_per_s": rounded(self.half_rate, 1),
            "fdatasync_p99_ms": rounded(percentile(self.disk, 0.99), 3),
            "cpu_us_per_purchase": middle(rows, "cpu_us_per_purchase", 1),
            "cpu_us": {name: middle([one["cpu_us"] for one in rows], name, 1) for name in ("python", "postgres", "load")},
            "rounds": rows,
            "acknowledged": self.acknowledged,
            "signatures_checked": sum(one.figures.checked for one in self.rounds) + self.half_load.checked,
            "charges_checked": sum(one.charges.checked for one in self.rounds if one.charges),
            "errors": sum(count for _, count in failures),
            "failures": [what if count == 1 else f"{what} ({count} times)" for what, count in failures],
            "verified": not self.faults and self.acknowledged > 0,
        }

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong: no false answer, nothing missing, nothing double, and something measured."""
        return not self._failures() and self.acknowledged > 0

    def _failures(self) -> list[tuple[str, int]]:
        answers: Counter[str] = Counter()
        for figures in [*(one.figures for one in self.rounds), *(one.charges for one in self.rounds if one.charges), self.half_load]:
            answers.update(figures.faults)
        return [*answers.most_common(NAMED), *((fault, 1) for fault in self.faults)]


def row(one: Round) -> dict[str, Any]:
    """The figures of one round by name."""
    figures, done = one.figures, max(one.figures.approved, 1)
    tps = mean(one.tps) if one.tps else None
    rate = figures.counted / figures.seconds
    postgres, charges = one.used.postgres_s, one.charges
    charged = charges.counted / charges.seconds if charges else None
    spent = one.charges_used.python_s + one.charges_used.postgres_s if one.charges_used and one.charges_used.postgres_s is not None else None
    return {
        "purchases_per_s": rounded(rate, 1),
        "pgbench_tps": rounded(tps, 1),
        "ratio": rounded(rate / tps if tps else None, 3),
        "p50_ms": rounded(percentile(figures.latencies, 0.50), 3),
        "p99_ms": rounded(percentile(figures.latencies, 0.99), 3),
        "cpu_us_per_purchase": rounded((one.used.python_s + postgres) * 1e6 / done if postgres is not None else None, 1),
        "cpu_us": {"python": rounded(one.used.python_s * 1e6 / done, 1),
                   "postgres": rounded(postgres * 1e6 / done if postgres is not None else None, 1),
                   "load": rounded(figures.processor_s * 1e6 / done, 1)},
        "charges_per_s": rounded(charged, 1),
        "ppro_ratio": rounded(charged / rate if charged is not None and rate else None, 3),
        "cpu_us_per_charge": rounded(spent * 1e6 / max(charges.approved, 1) if charges and spent is not None else None, 1),
        "errors": sum(figures.faults.values()) + (sum(charges.faults.values()) if charges else 0),
    }


def rounded(value: float | None, digits: int) -> float | None:
    """*value* to so many digits; ``None`` stays ``None``."""
    return None if value is None else round(value, digits)


def middle(rows: Sequence[Mapping[str, Any]], name: str, digits: int) -> float | None:
    """The median of one figure over the rounds that have it."""
    values = [one[name] for one in rows if one[name] is not None]
    return rounded(median(values), digits) if values else None


def together(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Charges for each purchase, over all rounds that have both."""
    both = [(one["charges_per_s"], one["purchases_per_s"]) for one in rows if one["charges_per_s"] is not None and one["purchases_per_s"]]
    return rounded(sum(charges for charges, _ in both) / sum(purchases for _, purchases in both), 3) if both else None


def show(report: Report, console: Console) -> None:
    """The report for people: a table of rounds, the picture of the latencies, and what was wrong."""
    found = report.as_json()
    table = Table(title="Rounds", title_justify="left")
    for heading in ("round", "purchases/s", "charges/s", "of purchases",
                    "pgbench tps", "ratio", "p50 ms", "p99 ms", "µs Python", "µs PostgreSQL", "µs load", "errors"):
        table.add_column(heading, justify="right")
    for number, one in enumerate([*found["rounds"], found], start=1):
        last = number > len(found["rounds"])
        table.add_row("median" if last else str(number),
                      *(shown(one[name]) for name in ("purchases_per_s", "charges_per_s", "ppro_ratio", "pgbench_tps", "ratio", "p50_ms", "p99_ms")),
                      *(shown(one["cpu_us"][name]) for name in ("python", "postgres", "load")), str(one["errors"]), style="bold" if last else None)
    console.print(table)
    full: Counter[int] = Counter()
    for round_ in report.rounds:
        full.update(round_.figures.latencies)
    for name, counts in (("full load", full), (f"half load, {found['half_load_per_s']:,.0f}/s", report.half_load.latencies),
                         ("fdatasync, same minute", report.disk)):
        bars, first, last_ms = picture(counts)
        middle_ms, tail_ms = percentile(counts, 0.5), percentile(counts, 0.99)
        console.print(f"{name:>24}  {shown(first)} ms │{bars}│ {shown(last_ms)} ms   p50 {shown(middle_ms)}   p99 {shown(tail_ms)}",
                      highlight=False, soft_wrap=True)
    console.print(f"{shown(found['ppro_ratio'])} charges at the PPRO door for each purchase, {found['charges_checked']:,} checked part by part.",
                  highlight=False)
    console.print(f"{shown(found['ratio'])} purchases for each transaction of pgbench; {found['acknowledged']:,} payments acknowledged, "
                  f"{found['signatures_checked']:,} signatures checked.", highlight=False)
    for failure in found["failures"]:
        console.print(f"[bold red]Wrong:[/] {failure}", highlight=False)
    if report.passed:
        console.print("[green]Every acknowledged payment is there exactly once, and the proof passes.[/]")


def shown(value: float | None) -> str:
    """A figure with the digits that matter; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"
