"""How commands print: JSON for machines, tables for people."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec


def print_json(content: Any) -> None:
    """One JSON text on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(content), indent=2).decode())


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, right: Sequence[str] = (), whole: Sequence[str] = (),
) -> None:
    """A table; the columns named in ``right`` hold numbers, those in ``whole`` what people copy, which is never parted."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    lines = [[str(cell) for cell in row] for row in rows]
    for place, column in enumerate(columns):
        longest = max((len(line[place]) for line in lines), default=0) if column in whole else None
        table.add_column(column, justify="right" if column in right else "left", overflow="fold", min_width=longest)
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def print_pairs(pairs: Iterable[tuple[str, object]], *, title: str | None = None) -> None:
    """Names and values, one line each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(str(value)))
    Console().print(table)
