"""``ringfence clock``: show, advance, freeze, resume."""
from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, running
from ringfence.config import Config
from ringfence.failures import Exit, Failure

if TYPE_CHECKING:
    from ringfence.engine.clock import Clock


@click.group(epilog="""\b
Examples:
  ringfence clock show
  ringfence clock advance 46h      says what is due by then, and fires it in order
  ringfence clock freeze
  ringfence clock resume""")
def clock() -> None:
    """Show, advance and freeze the sandbox's clock (business time)."""


@clock.command(epilog="""\b
Examples:
  ringfence clock show --json""")
@data_option
@json_option
def show(data: str | None, as_json: bool) -> None:
    """Show business time and how far it is ahead of the wall clock."""
    _turn(configuration(data), as_json, lambda opened: None)


@clock.command(epilog="""\b
Examples:
  ringfence clock advance 46h
  ringfence clock advance 7d12h --dry-run          only say what would fire
  ringfence clock advance --to 2027-01-01T00:00:00Z

\b
Exit codes: 0 moved · 9 refused, or somebody else is moving it""")
@click.argument("by", required=False, metavar="[DURATION]")
@click.option("--to", metavar="INSTANT", help="Advance to this instant (ISO 8601 with its offset) instead.")
@click.option("--dry-run", is_flag=True, help="Say what would fire, and move nothing.")
@data_option
@json_option
def advance(by: str | None, to: str | None, dry_run: bool, data: str | None, as_json: bool) -> None:
    """Move the clock forward by DURATION, such as 46h, 7d or 1d12h30m.  It never goes back.

    Says what will fire, then stops at each due instant on the way until it is done.  Without a running service the clock moves at
    once, and what is due fires at the next start.
    """
    from ringfence.engine.clock import parse_duration, parse_instant
    if (by is None) == (to is None):
        raise click.UsageError("Give a DURATION such as 46h, or --to INSTANT.")
    duration = parse_duration(by) if by is not None else None
    instant = parse_instant(to) if to is not None else None
    if duration is None and instant is None:
        raise click.UsageError(f"{by or to!r} is neither a duration such as 46h or 7d12h nor an instant such as 2027-01-01T00:00:00Z.")
    config = configuration(data)
    _movable(config)
    service = running(config)
    due = _due(config, by, to, needed=dry_run or service is not None)
    if not as_json and due is not None:
        _print_due(due["due"], "will fire" if due["due"] else "Nothing becomes due on the way.")
    if dry_run:
        if as_json:
            print_json(due)
        return
    if service is not None:
        with _watched(config, shown=not as_json):
            moved = admin(config, "POST", "/admin/clock", {"advance": by} if by is not None else {"to": to})
    else:
        moved = _turned(config, lambda opened: opened.advance(duration) if duration is not None else opened.advance_to(instant))
    if as_json:
        print_json(moved | ({"due": due["due"]} if due else {}))
    else:
        _print_moved(moved, at_once=service is None)


@clock.command(epilog="""\b
Examples:
  ringfence clock freeze""")
@data_option
@json_option
def freeze(data: str | None, as_json: bool) -> None:
    """Stop the clock; it can still be advanced."""
    _turn(configuration(data), as_json, lambda opened: opened.freeze())


@clock.command(epilog="""\b
Examples:
  ringfence clock resume""")
@data_option
@json_option
def resume(data: str | None, as_json: bool) -> None:
    """Let the clock run on from where it stands."""
    _turn(configuration(data), as_json, lambda opened: opened.resume())


def _movable(config: Config) -> None:
    if config.is_live:
        raise Failure(Exit.REFUSED, "The clock of live mode is the wall clock; it cannot be moved.")
    if not config.data.is_dir():
        raise Failure(Exit.NOT_RUNNING, f"There is no data folder {config.data}. Start the service once: ringfence up --data {config.data}")


def _due(config: Config, by: str | None, to: str | None, *, needed: bool) -> Any:
    """What becomes due on the way, as the service or its database says; ``None`` where neither can be asked."""
    from urllib.parse import quote
    try:
        return admin(config, "GET", "/admin/clock/due?" + (f"by={quote(by)}" if by is not None else f"to={quote(to or '')}"))
    except Failure:
        if needed:
            raise
        return None


def _turned(config: Config, turn: Callable[[Clock], object]) -> dict[str, Any]:
    """The clock is a file that all processes share; here it is turned directly, whether a service runs or not."""
    from ringfence.engine.clock import Clock, ClockError
    _movable(config)
    try:
        opened = Clock(config.data / "clock")
    except OSError as error:
        raise Failure(Exit.DATA_FOLDER, f"The clock {config.data / 'clock'} cannot be used: {error.strerror}.") from error
    try:
        turn(opened)
        reading = opened.show()
    except ClockError as error:
        raise Failure(Exit.REFUSED, f"{error}.".capitalize()) from error
    finally:
        opened.close()
    return {"now": reading.now, "wall": reading.wall, "ahead_seconds": reading.ahead.total_seconds(), "frozen": reading.frozen}


@contextmanager
def _watched(config: Config, *, shown: bool) -> Iterator[None]:
    """Whoever sits at a terminal sees business time go by meanwhile: what is due on the way may take minutes."""
    from rich.console import Console

    from ringfence.engine.clock import Clock
    console, done = Console(stderr=True), threading.Event()
    if not shown or not console.is_terminal:
        yield
        return
    with closing(Clock(config.data / "clock")) as opened, console.status("moving the clock") as status:
        def follow() -> None:
            while not done.wait(0.25):
                status.update(f"business time {opened.now():%Y-%m-%d %H:%M:%S}")

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _turn(config: Config, as_json: bool, turn: Callable[[Clock], object]) -> None:
    shown = _turned(config, turn)
    if as_json:
        print_json(shown)
    else:
        _print_clock(shown)


def _print_clock(shown: dict[str, Any]) -> None:
    now, wall = (_instant(shown[name]).isoformat(timespec="seconds") for name in ("now", "wall"))
    print_pairs([("business time", now), ("wall time", wall), ("ahead by", str(timedelta(seconds=int(shown["ahead_seconds"])))),
                 ("frozen", "yes" if shown["frozen"] else "no")])


def _print_moved(moved: dict[str, Any], *, at_once: bool) -> None:
    _print_clock(moved)
    if at_once:
        click.echo("No service runs: what is due fires at its next start.")
        return
    if moved["fired"]:
        _print_due(moved["fired"], f"fired, in {moved['steps']} steps")
    if not moved["settled"]:
        click.echo("Not all of it was done in time; it goes on in the background.")


def _print_due(due: list[dict[str, Any]], title: str) -> None:
    if not due:
        click.echo(title)
        return
    print_table((title, "count", "first", "last"), [
        (one["what"], f"{one['count']:,}", *(_instant(one[name]).isoformat(timespec="seconds") for name in ("first", "last")))
        for one in due], right=("count",))


def _instant(value: datetime | str) -> datetime:
    """From a clock, or from JSON."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)
