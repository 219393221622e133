"""The tally: what many runs add up to, and which kills the next one needs.

A JSON file with a line for each run; the sums are made from the runs, so that nothing can disagree.  Decides the share of each kind
of kill, and which are chosen; refuses to know how anybody dies.
"""
from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ringfence.engine.points import NAMES

GROUP, WORKER, SUPERVISOR, SEPARATE, CHANCE = "group", "worker", "supervisor", "separate", "chance"

#: Of a thousand kills.  What chance chooses is counted as what it chose.
SHARES: dict[str, int] = {GROUP: 300, WORKER: 300, **dict.fromkeys(NAMES, 40), CHANCE: 40}

MOST = 100
"""Kills in one run: a book that grows for hours judges slowly."""

_SUMS = ("kills", "database_kills", "acknowledged", "lost", "duplicated", "unresolved", "differences")


class TallyUnreadable(Exception):
    """The file is no tally; the message is a sentence."""


class Tally:
    """All runs of one file.  ``runs`` are reports as ``report.Report.as_json`` makes them."""

    def __init__(self, path: Path) -> None:
        """Read the file, or begin it.  Raises ``TallyUnreadable``."""
        self.path = path
        self.runs: list[dict[str, Any]] = []
        if not path.parent.is_dir():
            raise TallyUnreadable(f"There is no folder {path.parent} for the tally.")
        if path.exists():
            try:
                runs = json.loads(path.read_text("utf-8"))["runs"]
                for run in runs:
                    Counter(run["kinds"])
                    if not all(isinstance(run[name], int) for name in ("seed", *_SUMS)) or not all(type(n) is int for n in run["kinds"].values()):
                        raise TypeError
            except (OSError, ValueError, KeyError, TypeError) as why:
                raise TallyUnreadable(f"{path} is not a tally of earlier runs.") from why
            self.runs = runs

    def run_of(self, seed: int, version: str) -> dict[str, Any] | None:
        """The run that this seed had with this version already."""
        return next((run for run in self.runs if (run["seed"], run["version"]) == (seed, version)), None)

    @property
    def kinds(self) -> Counter[str]:
        """How many of each kind there were."""
        return sum((Counter(run["kinds"]) for run in self.runs), Counter())

    def add(self, run: Mapping[str, Any]) -> None:
        """Append a run and write the file anew, whole or not at all."""
        self.runs.append(dict(run))
        beside = self.path.with_name(self.path.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump({"total": self.total(), "runs": self.runs}, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def total(self) -> dict[str, Any]:
        """The sums over all runs, and the worst times."""
        return {
            "runs": len(self.runs), **{name: sum(run[name] for run in self.runs) for name in _SUMS},
            "kinds": dict(sorted(self.kinds.items())),
            "hits": {name: self.kinds[name] for name in NAMES},
            "proof_ok": all(run["proof_ok"] for run in self.runs),
            "longest_away_s": max((run["longest_away_s"] for run in self.runs), default=0.0),
            "first_success_after_database_s": max((run["first_success_after_database_s"] for run in self.runs), default=0.0),
        }


def choose(count: int, had: Mapping[str, int], chance: random.Random) -> list[str]:
    """The kinds of the next *count* kills, in random order: always what is furthest behind its share of all there will be.

    Kinds without a share (what chance chose beside them) count as chance's.
    """
    have = {kind: had.get(kind, 0) for kind in SHARES}
    have[CHANCE] += sum(number for kind, number in had.items() if kind not in SHARES)
    whole = sum(have.values()) + count
    chosen = []
    kinds = list(SHARES)
    for _ in range(count):
        chance.shuffle(kinds)           # of several that are equally far behind, any
        kind = max(kinds, key=lambda kind: SHARES[kind] * whole / 1000 - have[kind])
        have[kind] += 1
        chosen.append(kind)
    chance.shuffle(chosen)
    return chosen


def scattered(kinds: Sequence[str], extra: str, count: int, chance: random.Random) -> list[str]:
    """*kinds* with *count* times *extra* at random places between them."""
    whole = list(kinds)
    for _ in range(count):
        whole.insert(chance.randint(0, len(whole)), extra)
    return whole
