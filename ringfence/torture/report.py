"""The report of a run: figures by name for machines, a table for people, and whether all is well."""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ringfence import __version__
from ringfence.engine.points import NAMES
from ringfence.torture.judge import Findings
from ringfence.torture.tally import GROUP

NAMED = 20
"""So many faults of a kind are told in words; all are counted."""


class Struck(NamedTuple):
    """One kill that counted.  ``away`` is how many seconds later a request left that succeeded; ``back``: for a database, seconds
    from its first accepted connection to the first success."""

    kind: str
    in_flight: int
    away: float
    back: float = 0.0


class Report(NamedTuple):
    """A whole run."""

    seed: int
    wanted: tuple[int, int]         # kills of the service, kills of the database
    seconds: float
    struck: Sequence[Struck]
    databases: Sequence[Struck]
    missed: Mapping[str, int]       # kinds that nobody died of in time, or too few were in flight
    sent: int
    unanswered: int
    acknowledged: int
    codes: Mapping[str, int]
    findings: Findings
    open_orders: Sequence[str]      # orders of which CHECK_STATUS says 15777 after the end
    surprises: Mapping[str, int]    # answers that nothing explains
    deliveries: int
    received: int
    delivery_faults: Sequence[str]
    settled_seconds: float
    proof_ok: bool
    proof: Any

    @property
    def kinds(self) -> Counter[str]:
        """How many kills of each kind counted."""
        return Counter(one.kind for one in self.struck)

    @property
    def faults(self) -> dict[str, Sequence[str]]:
        """Everything that is wrong, by what it is."""
        found = self.findings
        short = [name for name, have, want in (("kills", len(self.struck), self.wanted[0]), ("database kills", len(self.databases), self.wanted[1]))
                 if have < want]
        return {
            "lost": found.lost, "duplicated": found.duplicated, "unresolved": (*found.unresolved, *self.open_orders),
            "differences": found.differences, "deliveries": self.delivery_faults,
            "surprises": [f"{what}, {times} times" for what, times in self.surprises.items()],
            "proof": [] if self.proof_ok else [str(self.proof)[:2000]],
            "incomplete": [f"not all {name} that were asked for counted" for name in short],
        }

    @property
    def passed(self) -> bool:
        """Whether nothing is lost, duplicated, unresolved or different, the proof passes, and every kill took place."""
        return not any(self.faults.values())

    def as_json(self) -> dict[str, Any]:
        """The figures by name; times in seconds.  ``faults`` tells the first of each kind in words."""
        kinds, faults = self.kinds, self.faults
        return {
            "passed": self.passed, "seed": self.seed, "version": __version__, "kills": len(self.struck), "database_kills": len(self.databases),
            "seconds": round(self.seconds, 1), "sent": self.sent, "unanswered": self.unanswered, "acknowledged": self.acknowledged,
            **{name: len(faults[name]) for name in ("lost", "duplicated", "unresolved", "differences")},
            "surprises": sum(self.surprises.values()), "proof_ok": self.proof_ok,
            "longest_away_s": round(max((one.away for one in (*self.struck, *self.databases)), default=0.0), 3),
            "longest_group_away_s": round(max((one.away for one in self.struck if one.kind == GROUP), default=0.0), 3),
            "first_success_after_database_s": round(max((one.back for one in self.databases), default=0.0), 3),
            "kinds": dict(sorted(kinds.items())), "hits": {name: kinds[name] for name in NAMES}, "missed": dict(self.missed),
            "fewest_in_flight": min((one.in_flight for one in (*self.struck, *self.databases)), default=None),
            "deliveries": self.deliveries, "received": self.received, "delivery_faults": len(self.delivery_faults),
            "settled_s": round(self.settled_seconds, 1), "codes": dict(sorted(self.codes.items())),
            "faults": {name: list(said[:NAMED]) for name, said in faults.items() if said},
        }


def show(report: Report, console: Console) -> None:
    """The report for people."""
    found = report.as_json()
    table = Table(title="Kills that counted", title_justify="left")
    for heading in ("what died", "times", "longest away, s"):
        table.add_column(heading, justify="left" if heading == "what died" else "right")
    for kind, times in sorted(report.kinds.items()):
        table.add_row(kind, str(times), f"{max(one.away for one in report.struck if one.kind == kind):.2f}")
    if report.databases:
        table.add_row("database", str(len(report.databases)), f"{max(one.away for one in report.databases):.2f}")
    console.print(table)
    lines = (
        f"{report.acknowledged:,} operations acknowledged, {report.unanswered:,} requests without an answer.",
        f"{found['lost']} lost, {found['duplicated']} duplicated, {found['unresolved']} unresolved, {found['differences']} different at the issuer.",
        f"{report.deliveries:,} deliveries, {report.received:,} calls received.",
        f"First success at most {found['first_success_after_database_s']} s after the database accepted connections again.",
        f"The proof {'passes' if report.proof_ok else 'fails'}.",
    )
    for line in lines:
        console.print(line, highlight=False)
    for name, sentences in report.faults.items():
        for sentence in sentences[:NAMED]:
            console.print(f"[bold red]{name}:[/] {sentence}", highlight=False, soft_wrap=True)
    if report.passed:
        console.print("[green]Nothing is lost.[/]")
