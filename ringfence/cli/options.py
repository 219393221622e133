"""Options that most commands share, and how they become a configuration."""
from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from ringfence.config import Config, read
from ringfence.failures import Exit, Failure

Function = TypeVar("Function", bound=Callable[..., Any])


def data_option(function: Function) -> Function:
    """``--data DIR``."""
    return click.option("--data", metavar="DIR", help="Data folder.  [default: $RINGFENCE_DATA, else ./data]")(function)


def json_option(function: Function) -> Function:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, for machines.")(function)


def configuration(data: str | None = None, **options: str | None) -> Config:
    """The configuration with the options of a command line; they are named like fields of ``Config``.  Raises ``Failure``."""
    given = {f"RINGFENCE_{name.upper()}": text for name, text in {"data": data, **options}.items() if text is not None}
    config = read(os.environ, given)
    if isinstance(config, Config):
        return config
    lines = "\n".join(f"  - {_named(error.name, given)} {error.problem}" for error in config)
    raise Failure(Exit.CONFIGURATION, f"The configuration cannot be used:\n{lines}")


def _named(variable: str, given: dict[str, str]) -> str:
    """How the person wrote it: as an option or as a variable."""
    return "--" + variable.removeprefix("RINGFENCE_").lower().replace("_", "-") if variable in given else variable
