"""How commands print: JSON for machines, tables for people.

An id or an address is never broken into pieces: in a narrow terminal only columns of long words fold, elsewhere nothing does.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from rich.table import Table


def print_json(content: Any) -> None:
    """One JSON text on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, right: Sequence[str] = (),
                folds: Sequence[str] = ()) -> None:
    """A table; the columns named in ``right`` hold numbers, those in ``folds`` (else the last one) long words."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    written = [[str(cell) for cell in row] for row in rows]
    for place, column in enumerate(columns):
        whole = None if column in (folds or columns[-1:]) else max(map(cell_len, (column, *(row[place] for row in written))))
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", min_width=whole)
    for row in written:
        table.add_row(*map(Text, row))
    _print(table)


def print_pairs(pairs: Iterable[tuple[str, object]], *, title: str | None = None) -> None:
    """Names and values, one line each."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(str(value)))
    _print(table)


def _print(table: Table) -> None:
    """As wide as the terminal, or as the table needs; what reads a pipe or a file gets each row on one line."""
    from rich.console import Console
    from rich.measure import Measurement
    console = Console()
    least, most = Measurement.get(console, console.options.update(max_width=1_000_000), table)
    Console(width=max(console.width, least if console.is_terminal else most)).print(table)
