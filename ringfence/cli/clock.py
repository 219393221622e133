"""``ringfence clock``: show, advance, freeze, resume."""
from __future__ import annotations

from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs
from ringfence.config import Config
from ringfence.failures import Exit, Failure


@click.group(epilog="""\b
Examples:
  ringfence clock show
  ringfence clock advance 46h      holds, tokens and schedules that are due by then fire
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
  ringfence clock advance 7d12h
  ringfence clock advance --to 2027-01-01T00:00:00Z""")
@click.argument("by", required=False, metavar="[DURATION]")
@click.option("--to", metavar="INSTANT", help="Advance to this instant (ISO 8601 with its offset) instead.")
@data_option
@json_option
def advance(by: str | None, to: str | None, data: str | None, as_json: bool) -> None:
    """Move the clock forward by DURATION, such as 46h, 7d or 1d12h30m.  It never goes back."""
    from ringfence.engine.clock import parse_duration, parse_instant
    if (by is None) == (to is None):
        raise click.UsageError("Give a DURATION such as 46h, or --to INSTANT.")
    duration = parse_duration(by) if by is not None else None
    instant = parse_instant(to) if to is not None else None
    if duration is None and instant is None:
        raise click.UsageError(f"{by or to!r} is neither a duration such as 46h or 7d12h nor an instant such as 2027-01-01T00:00:00Z.")
    _turn(configuration(data), as_json, lambda opened: opened.advance(duration) if duration is not None else opened.advance_to(instant))


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


def _turn(config: Config, as_json: bool, turn: Any) -> None:
    """The clock is a file that all processes share, so it is turned there, whether a service runs or not."""
    from ringfence.engine.clock import Clock, ClockError
    if config.is_live:
        raise Failure(Exit.REFUSED, "The clock of live mode is the wall clock; it cannot be moved.")
    if not config.data.is_dir():
        raise Failure(Exit.NOT_RUNNING, f"There is no data folder {config.data}. Start the service once: ringfence up --data {config.data}")
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
    if as_json:
        print_json({"now": reading.now, "wall": reading.wall, "ahead_seconds": reading.ahead.total_seconds(), "frozen": reading.frozen})
    else:
        print_pairs([("business time", reading.now.isoformat(timespec="seconds")), ("wall time", reading.wall.isoformat(timespec="seconds")),
                     ("ahead by", str(reading.ahead).partition(".")[0]), ("frozen", "yes" if reading.frozen else "no")])
