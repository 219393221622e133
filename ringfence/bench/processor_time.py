"""Processor time: what the service and PostgreSQL have used, read from /proc.

Counts whole process trees, so that it misses no worker and no backend; a child that ended counts through the parent that
waited for it.  Knows Linux only.
"""
from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


class Used(NamedTuple):
    """Seconds of processor time, user and system.  ``None`` for PostgreSQL on another machine."""

    python_s: float
    postgres_s: float | None

    def since(self, earlier: Used) -> Used:
        """What was used between *earlier* and now."""
        ours = None if self.postgres_s is None or earlier.postgres_s is None else self.postgres_s - earlier.postgres_s
        return Used(self.python_s - earlier.python_s, ours)


class Process(NamedTuple):
    """One row of the process table: its parent, and seconds used by itself and by children it waited for."""

    parent: int
    used_s: float


def processes(proc: Path = Path("/proc")) -> dict[int, Process]:
    """The process table by process id."""
    table = {}
    for entry in proc.iterdir():
        if entry.name.isdecimal():
            try:
                stat = (entry / "stat").read_text()
            except OSError:                             # ended while we looked
                continue
            fields = stat.rpartition(")")[2].split()    # the name before it may hold spaces and brackets
            # proc(5): ppid is field 4; utime, stime, cutime and cstime are fields 14 to 17; the list begins with field 3
            table[int(entry.name)] = Process(int(fields[1]), sum(map(int, fields[11:15])) / TICKS)
    return table


def tree(table: Mapping[int, Process], root: int) -> set[int]:
    """*root* and all that descend from it."""
    children: dict[int, list[int]] = {}
    for number, process in table.items():
        children.setdefault(process.parent, []).append(number)
    found, waiting = set(), [root] if root in table else []
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += children.get(number, [])
    return found


def used(service: int, postmaster: int | None) -> Used:
    """What the service's tree (without PostgreSQL, which may run below it) and PostgreSQL's tree have used so far."""
    table = processes()
    database = tree(table, postmaster) if postmaster else set()
    python = tree(table, service) - database
    return Used(sum(table[number].used_s for number in python),
                sum(table[number].used_s for number in database) if database else None)


def parent_of_backend(backend: int) -> int | None:
    """The postmaster above a backend's process id, or ``None`` where no such PostgreSQL process runs on this machine."""
    try:
        if not Path(f"/proc/{backend}/comm").read_text().startswith("postgres"):
            return None
        return int(Path(f"/proc/{backend}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None
