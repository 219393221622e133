"""``ringfence jwo key``: add, list, set, off, session."""
from __future__ import annotations

from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment
from ringfence.config import Config

_WORDS = ("operations", "stores", "regions")


@click.group(epilog="""\b
Examples:
  ringfence jwo key list
  ringfence jwo key add --operation adjust --operation capture --operation cancel --store STORE-001
  ringfence jwo key session AKIARINGFENCESANDBOX
  ringfence jwo key off AKIARINGFENCESANDBOX""")
def key() -> None:
    """Keep the access keys that sign requests to the door of stores."""


_merchant = click.option("--merchant", metavar="ID", help="Whose.  [default: the first merchant]")
_operation = click.option("--operation", "operations", multiple=True, metavar="NAME", help="What it may do; again for more.  [default: everything]")
_store = click.option("--store", "stores", multiple=True, metavar="STORE", help="Where; again for more.  [default: everywhere]")
_region = click.option("--region", "regions", multiple=True, metavar="REGION", help="For which it may sign.  [default: all that are taken]")


@key.command(epilog="""\b
Examples:
  ringfence jwo key add
  ringfence jwo key add --merchant RingfenceTwo --operation refund --store STORE-001 --json""")
@_operation
@_store
@_region
@_merchant
@data_option
@json_option
def add(
    operations: tuple[str, ...], stores: tuple[str, ...], regions: tuple[str, ...], merchant: str | None, data: str | None, as_json: bool,
) -> None:
    """Make an access key, and print its secrets: they are not shown again in live mode."""
    config = configuration(data)
    made = admin(config, "POST", _path(config, merchant), _given(operations, stores, regions))
    print_json(made) if as_json else _say(made)


@key.command(name="list")
@_merchant
@data_option
@json_option
def list_(merchant: str | None, data: str | None, as_json: bool) -> None:
    """List the keys that are in force, and what they may do."""
    config = configuration(data)
    answer = admin(config, "GET", _path(config, merchant))
    print_json(answer) if as_json else _table(answer)


@key.command(name="set", epilog="""\b
Examples:
  ringfence jwo key set AKIARINGFENCESANDBOX --operation refund --store STORE-001
  ringfence jwo key set AKIARINGFENCESANDBOX --all-operations --all-stores""")
@click.argument("access_key_id")
@_operation
@_store
@_region
@click.option("--all-operations", is_flag=True, help="It may do everything.")
@click.option("--all-stores", is_flag=True, help="It may do so everywhere.")
@click.option("--all-regions", is_flag=True, help="It may sign for all that are taken.")
@_merchant
@data_option
@json_option
def set_(
    access_key_id: str, operations: tuple[str, ...], stores: tuple[str, ...], regions: tuple[str, ...], all_operations: bool, all_stores: bool,
    all_regions: bool, merchant: str | None, data: str | None, as_json: bool,
) -> None:
    """Change what a key may do; what is not named stays."""
    config = configuration(data)
    body = _given(operations, stores, regions) | {
        name: [] for name, is_all in zip(_WORDS, (all_operations, all_stores, all_regions), strict=True) if is_all}
    changed = admin(config, "PATCH", _path(config, merchant, access_key_id), body)
    print_json(changed) if as_json else _say(changed)


@key.command(epilog="""\b
Examples:
  ringfence jwo key off AKIARINGFENCESANDBOX""")
@click.argument("access_key_id")
@_merchant
@data_option
@json_option
def off(access_key_id: str, merchant: str | None, data: str | None, as_json: bool) -> None:
    """Switch a key off, and with it every session it lent.  It stays off."""
    config = configuration(data)
    left = admin(config, "DELETE", _path(config, merchant, access_key_id))
    print_json(left) if as_json else click.echo(f"{access_key_id} is off; {len(left['access_keys'])} are left.")


@key.command(epilog="""\b
Examples:
  ringfence jwo key session AKIARINGFENCESANDBOX
  eval "$(ringfence jwo key session AKIARINGFENCESANDBOX --export)" """)
@click.argument("access_key_id")
@click.option("--seconds", type=click.IntRange(900, 43_200), default=3_600, show_default=True, help="How long it is good.")
@_operation
@_store
@click.option("--export", is_flag=True, help="As lines for a shell, by the names that AWS's tools read.")
@_merchant
@data_option
@json_option
def session(
    access_key_id: str, seconds: int, operations: tuple[str, ...], stores: tuple[str, ...], export: bool, merchant: str | None,
    data: str | None, as_json: bool,
) -> None:
    """Lend a temporary key with a session token, as AWS STS does."""
    config = configuration(data)
    lent = admin(config, "POST", _path(config, merchant, access_key_id) + "/session", {"seconds": seconds} | _given(operations, stores, ()))
    if as_json:
        print_json(lent)
    elif export:
        for name in ("access_key_id", "secret_access_key", "session_token"):
            click.echo(f"export AWS_{name.upper()}='{lent[name]}'")
    else:
        print_pairs(lent.items())


def _path(config: Config, merchant: str | None, access_key_id: str | None = None) -> str:
    """Below ``/admin``; of the first merchant where none is named."""
    if merchant is None:
        known = admin(config, "GET", "/admin/merchants")["merchants"]
        merchant = known[0]["identifier"] if known else "-"
    return f"/admin/merchants/{segment(merchant)}/access-keys" + (f"/{segment(access_key_id)}" if access_key_id is not None else "")


def _given(operations: tuple[str, ...], stores: tuple[str, ...], regions: tuple[str, ...]) -> dict[str, Any]:
    return {name: list(value) for name, value in zip(_WORDS, (operations, stores, regions), strict=True) if value}


def _say(one: dict[str, Any]) -> None:
    print_pairs([(name, value if isinstance(value, str) else ", ".join(value) or "all") for name, value in one.items()])


def _table(answer: dict[str, Any]) -> None:
    print_table(("access key", *_WORDS), [
        (one["access_key_id"], *(", ".join(one[name]) or "all" for name in _WORDS)) for one in answer["access_keys"]])
