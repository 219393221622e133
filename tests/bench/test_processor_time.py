"""Processor time is counted over whole process trees, children that ended included."""
from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from ringfence.bench.processor_time import Process, Used, parent_of_backend, processes, tree, used

TABLE = {1: Process(0, 5), 10: Process(1, 1), 11: Process(10, 2), 12: Process(11, 4), 20: Process(10, 8), 21: Process(20, 16), 30: Process(1, 32)}


def test_a_tree_is_all_that_descends() -> None:
    """Children and grandchildren, not siblings; a process that is gone has no tree."""
    assert tree(TABLE, 10) == {10, 11, 12, 20, 21}
    assert tree(TABLE, 20) == {20, 21}
    assert tree(TABLE, 99) == set()


def test_a_process_and_its_ended_children_count() -> None:
    """A child that burned a fifth of a second and was waited for is in its parent's tree, and what is excluded is not."""
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    before = used(os.getpid(), None)
    subprocess.run([sys.executable, "-c", burn], check=True)
    spent = used(os.getpid(), None).since(before)
    assert spent.python_s >= 0.1
    assert spent.postgres_s is None


def test_the_database_below_the_service_counts_for_itself() -> None:
    """A child named as the postmaster is taken out of the service's tree."""
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout
    child.stdout.readline()
    together, apart = used(os.getpid(), None), used(os.getpid(), child.pid)
    child.communicate(b"\n")
    assert apart.postgres_s is not None
    assert apart.postgres_s >= 0.1
    assert together.python_s - apart.python_s >= 0.05


def test_the_process_table_knows_us() -> None:
    """Our own row names our parent and what we used so far."""
    time.process_time()
    mine = processes()[os.getpid()]
    assert mine.parent == os.getppid()
    assert mine.used_s >= time.process_time() * 0.5


def test_names_with_brackets_are_read(tmp_path: Path) -> None:
    """The name of a process may hold spaces and closing brackets."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) b) c) S 3 " + " ".join(["0"] * 9) + " 100 50 25 25 0 0\n")
    (tmp_path / "version").mkdir()
    table = processes(tmp_path)
    assert table.keys() == {7}
    assert table[7] == Process(3, 200 / os.sysconf("SC_CLK_TCK"))


def test_a_backend_that_is_not_here_has_no_parent() -> None:
    """Neither a number that is no process nor one of another program."""
    assert parent_of_backend(2 ** 30) is None
    assert parent_of_backend(os.getpid()) is None


def test_unknown_stays_unknown() -> None:
    """A database elsewhere costs an unknown amount, not zero."""
    assert Used(2, None).since(Used(1, None)) == Used(1, None)
