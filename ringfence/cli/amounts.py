"""Amounts on a command line: as people write them, and as they read them."""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import click

_ZERO = re.compile(r"0+(\.0*)?", re.ASCII)


def typed(text: str, currency: str, option: str = "--amount") -> int:
    """Minor units of what was typed with the currency's decimals; zero may be written in any way.  Raises ``click.UsageError``."""
    from ringfence.core.money import parse
    if _ZERO.fullmatch(text):
        return 0
    try:
        minor = parse(f"{text} {currency}").minor
    except ValueError as error:
        raise click.UsageError(f"{option}: {error}") from error
    if minor < 0:
        raise click.UsageError(f"{option} must not be below zero.")
    return minor


def shown(one: Mapping[str, Any], field: str = "minor") -> str:
    """``12.50 AED``: minor units in an answer's field, with the answer's ``currency``; "" where there are none."""
    from ringfence.core.money import format_minor
    minor = one.get(field)
    return "" if minor is None else format_minor(minor, one["currency"])
