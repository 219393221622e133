"""``ringfence jwo receipt``: what a shopper was told a trip cost."""
from __future__ import annotations

import base64
from pathlib import Path

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json
from ringfence.cli.service import admin
from ringfence.config import Config
from ringfence.failures import Exit, Failure


@click.command(epilog="""\b
Examples:
  ringfence jwo receipt 7d1f0c52-6f0e-4a55-9a3e-0d9a4f6a1b20
  ringfence jwo receipt TRIP --store STORE-001 --pdf receipt.pdf
  ringfence jwo receipt TRIP --html receipt.html --language ar
  ringfence jwo receipt TRIP --json | jq -r '.receipts[].url'

\b
A trip has one receipt of what was charged, or that nothing was, and one of each refund.  Files hold the first, or with --number another one.
Exit codes: 0 done · 2 usage · 4 the file cannot be written · 6 database · 9 refused""")
@click.argument("trip")
@click.option("--store", metavar="STORE", help="Needed where several stores have a trip of that name.")
@click.option("--merchant", metavar="ID", help="Whose trip it is.  [default: the first merchant]")
@click.option("--number", metavar="NUMBER", help="Only the receipt of this number.")
@click.option("--language", type=click.Choice(["en", "ar"]), default="en", show_default=True)
@click.option("--pdf", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file as a PDF.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file as a page.")
@data_option
@json_option
def receipt(
    trip: str, store: str | None, merchant: str | None, number: str | None, language: str, pdf: Path | None, html: Path | None, data: str | None,
    as_json: bool,
) -> None:
    """Print the receipts of a trip, or write one to a file."""
    config = configuration(data)
    order = {"merchant": merchant or first(config), "trip": trip, "language": language, "forms": [
        "text", *(["html"] if html else []), *(["pdf"] if pdf else [])]}
    found = admin(config, "POST", "/admin/jwo/receipts", order | ({"store": store} if store else {}))["receipts"]
    if number is not None:
        found = [one for one in found if one["number"] == number]
        if not found:
            raise Failure(Exit.REFUSED, f"The trip has no receipt {number}.")
    if html is not None:
        _save(html, found[0]["html"].encode())
    if pdf is not None:
        _save(pdf, base64.b64decode(found[0]["pdf"]))
    if as_json:
        print_json({"receipts": found})
    elif html is None and pdf is None:
        for one in found:
            click.echo(one["text"])
            click.echo(one["url"])


def first(config: Config) -> str:
    """The first merchant's identifier."""
    return admin(config, "GET", "/admin/merchants")["merchants"][0]["identifier"]


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Failure(Exit.DATA_FOLDER, f"{path} cannot be written: {error.strerror}.") from error
    click.echo(f"{path}: {len(content)} bytes", err=True)
