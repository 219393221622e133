"""``ringfence merchant``: create, list, show, set."""
from __future__ import annotations

from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_pairs, print_table
from ringfence.cli.service import admin, segment


@click.group(epilog="""\b
Examples:
  ringfence merchant create CycHZxVj --name "Dates & Coffee"
  ringfence merchant list
  ringfence merchant show CycHZxVj
  ringfence merchant set CycHZxVj hold_days=5 channel_moto=off""")
def merchant() -> None:
    """Create, list, show and set merchants."""


@merchant.command(epilog="""\b
Examples:
  ringfence merchant create CycHZxVj
  ringfence merchant create CycHZxVj --access-code zx0IPmPy5jp1vAz8Kpg7 --request-phrase PASSin --response-phrase PASSout
  ringfence merchant create CycHZxVj --set currencies=SAR,AED --set hold_days=5 --json""")
@click.argument("identifier")
@click.option("--name", help="What people call it.  [default: the identifier]")
@click.option("--access-code", help="Its APS access code.  [default: a random one]")
@click.option("--request-phrase", help="Signs requests.  [default: a random one]")
@click.option("--response-phrase", help="Signs answers.  [default: a random one]")
@click.option("--sha-type", default="SHA-256", show_default=True, help="SHA-256, SHA-512, HMAC-256 or HMAC-512.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting; may be given several times.")
@data_option
@json_option
def create(identifier: str, name: str | None, access_code: str | None, request_phrase: str | None, response_phrase: str | None, sha_type: str,
           settings: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Make a merchant with its first credentials at each door, and print them: phrases, keys and secrets are not shown again in live mode."""
    given = {"identifier": identifier, "name": name, "access_code": access_code, "sha_request_phrase": request_phrase,
             "sha_response_phrase": response_phrase, "sha_type": sha_type}
    body = {key: value for key, value in given.items() if value is not None} | {"settings": _settings(settings)}
    made = admin(configuration(data), "POST", "/admin/merchants", body)
    if as_json:
        print_json(made)
    else:
        print_pairs([("name", made["name"]), *made["credentials"][0].items()], title=f"Made {identifier}")
        print_pairs(made["ppro"][0].items(), title="\nat the PPRO door")
        print_pairs(access_key_pairs(made["jwo"][0]), title="\nat the door of stores")


@merchant.command(name="list", epilog="""\b
Examples:
  ringfence merchant list
  ringfence merchant list --json | jq '.merchants[].identifier'""")
@data_option
@json_option
def list_(data: str | None, as_json: bool) -> None:
    """List the merchants with their access codes."""
    answer = admin(configuration(data), "GET", "/admin/merchants")
    if as_json:
        print_json(answer)
        return
    print_table(("identifier", "name", "active", "access codes"), [
        (one["identifier"], one["name"], "yes" if one["active"] else "no", ", ".join(credential["access_code"] for credential in one["credentials"]))
        for one in answer["merchants"]])


@merchant.command(epilog="""\b
Examples:
  ringfence merchant show RingfenceOne
  ringfence merchant show RingfenceOne --phrases     sandbox only""")
@click.argument("identifier")
@click.option("--phrases", is_flag=True, help="Show phrases, keys and secrets too (sandbox only).")
@data_option
@json_option
def show(identifier: str, phrases: bool, data: str | None, as_json: bool) -> None:
    """Show one merchant: every setting, and its credential sets."""
    one = admin(configuration(data), "GET", f"/admin/merchants/{segment(identifier)}" + ("?phrases=true" if phrases else ""))
    if as_json:
        print_json(one)
    else:
        _print(one)


@merchant.command(name="set", epilog="""\b
Examples:
  ringfence merchant set RingfenceOne hold_days=5 verify_minor=100
  ringfence merchant set RingfenceOne currencies=SAR,AED source_ips=192.0.2.0/24
  ringfence merchant set RingfenceOne feedback_url.moto=https://shop.example/feedback
  ringfence merchant set RingfenceOne --inactive
  ringfence merchant settings                          what can be set""")
@click.argument("identifier")
@click.argument("changes", nargs=-1, metavar="KEY=VALUE...")
@click.option("--name", help="Another name.")
@click.option("--active/--inactive", default=None, help="Whether it may trade.")
@data_option
@json_option
def set_(identifier: str, changes: tuple[str, ...], name: str | None, active: bool | None, data: str | None, as_json: bool) -> None:
    """Change settings of a merchant, all or none; every worker works with them when this returns."""
    body: dict[str, Any] = {"settings": _settings(changes)}
    if name is not None:
        body["name"] = name
    if active is not None:
        body["active"] = active
    one = admin(configuration(data), "PATCH", f"/admin/merchants/{segment(identifier)}", body)
    if as_json:
        print_json(one)
    else:
        _print(one)


@merchant.command(epilog="""\b
Examples:
  ringfence merchant settings""")
@json_option
def settings(as_json: bool) -> None:
    """List every setting: its default, what is allowed, what it means."""
    from ringfence.engine.settings import CHANNELS, DEFAULTS, ROWS, as_texts
    defaults = as_texts(DEFAULTS)
    rows = [(name, defaults[name], row.metadata["rule"].allowed, row.metadata["meaning"], row.metadata["per_channel"]) for name, row in ROWS.items()]
    if as_json:
        print_json([{"key": name, "default": default, "allowed": allowed, "meaning": meaning, "per_channel": per_channel}
                    for name, default, allowed, meaning, per_channel in rows])
        return
    print_table(("key", "default", "allowed", "meaning"), [
        (name + (".CHANNEL" if per_channel else ""), default, allowed, meaning) for name, default, allowed, meaning, per_channel in rows],
        folds=("allowed", "meaning"))
    click.echo(f"\n.CHANNEL may be left out, or be one of {', '.join(CHANNELS)}.")


def _settings(pairs: tuple[str, ...]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise click.UsageError(f"{pair!r} is not KEY=VALUE.")
        settings[key] = value
    return settings


def access_key_pairs(key: dict[str, Any]) -> list[tuple[str, str]]:
    """An access key for people; what it may do is everything where nothing is said."""
    return [(name, value if isinstance(value, str) else ", ".join(value) or "all") for name, value in key.items()]


def _print(one: dict[str, Any]) -> None:
    print_pairs([("identifier", one["identifier"]), ("name", one["name"]), ("active", "yes" if one["active"] else "no")])
    for credential in one["credentials"]:
        print_pairs([(key, value) for key, value in credential.items() if key != "merchant_identifier"], title="\ncredential set")
    for credential in one["ppro"]:
        print_pairs(credential.items(), title="\nat the PPRO door")
    for key in one["jwo"]:
        print_pairs(access_key_pairs(key), title="\nat the door of stores")
    print_table(("setting", "value"), one["settings"].items(), title="\nsettings")
