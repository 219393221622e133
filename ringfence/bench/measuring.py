"""What every benchmark of the command line needs: a folder on a disk, steps to show, and a way to say what came of it."""
from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ringfence.failures import Exit, Failure
from ringfence.storage.database import DatabaseUnavailable, DatabaseUnsuitable
from ringfence.storage.postgres import PostgresError

FOLDERS = ("/var/tmp", ".")             # not /tmp, which may be memory: what is measured is a disk

Step = Callable[[str, float], None]
"""Says what happens now, and how many seconds it should take."""


class CannotMeasure(Exception):
    """There is nothing to measure; the message is a sentence."""


class Bench(NamedTuple):
    """Where and how something is measured.  Whatever enters ``stack`` ends with the measurement."""

    folder: Path
    step: Step
    stack: ExitStack


class Measured(Protocol):
    """What came of it."""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""

    def as_json(self) -> dict[str, Any]:
        """For machines."""


@contextmanager
def measuring(console: Console, as_json: bool, nothing: Mapping[str, Any], why_name: str = "faults") -> Iterator[Bench]:
    """A folder on a disk, and steps.  Where nothing can be measured the command fails; machines are told ``nothing`` and why."""
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringfence-bench-", dir=disk_folder())))
            step = stack.enter_context(steps(console, quiet=as_json))
            step("Starting", 2)
            yield Bench(folder, step, stack)
    except (CannotMeasure, PostgresError, DatabaseUnavailable, DatabaseUnsuitable, OSError) as why:
        if as_json:
            click.echo(json.dumps({**nothing, why_name: [str(why)]}))
        raise Failure(Exit.CHECK_FAILED, str(why)) from why


def tell(measured: Measured, show: Callable[[Any, Console], None], console: Console, as_json: bool) -> None:
    """One JSON object, or tables; the command fails where anything was wrong."""
    if as_json:
        click.echo(json.dumps(measured.as_json(), indent=2))
    else:
        show(measured, console)
    if not measured.passed:
        click.get_current_context().exit(Exit.CHECK_FAILED)


def disk_folder() -> str:
    """Where temporary data goes: on a disk, and not into anybody's project unless there is no other place."""
    return next((folder for folder in FOLDERS if os.access(folder, os.W_OK)), tempfile.gettempdir())


@contextmanager
def steps(console: Console, quiet: bool) -> Iterator[Step]:
    """A function that shows what happens now and how far it should be; silent when *quiet*.

    The bar moves by the clock twice a second, so that drawing it costs the measured machine nothing that could be seen.
    """
    if quiet:
        yield lambda name, seconds: None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=console, auto_refresh=False, transient=True) as bars:
        task = bars.add_task("", total=1.0)
        began, lasting, ended = [time.monotonic()], [1.0], threading.Event()

        def step(name: str, seconds: float) -> None:
            began[0], lasting[0] = time.monotonic(), max(seconds, 0.1)
            bars.reset(task, description=name, total=lasting[0])
            bars.refresh()

        def draw() -> None:
            while not ended.wait(0.5):
                bars.update(task, completed=min(time.monotonic() - began[0], lasting[0]))
                bars.refresh()

        drawing = threading.Thread(target=draw, daemon=True)
        drawing.start()
        try:
            yield step
        finally:
            ended.set()
            drawing.join()
