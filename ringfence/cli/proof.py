"""``ringfence proof``."""
from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json, print_table
from ringfence.cli.service import database_of
from ringfence.config import Config
from ringfence.failures import Exit, Failure

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command(epilog="""\b
Examples:
  ringfence proof
  ringfence proof --merchant RingfenceOne --at 2026-11-21T12:00:00Z
  ringfence proof --full --json
  ringfence proof --json > heads.json; …; ringfence proof --since heads.json
  ringfence proof --acknowledged seen.jsonl        one {"merchant", "reference", "code", "amount", "currency"} a line
  ringfence proof --receipt 0.17.9f2c44d01e8a7b63  the Ringfence-Receipt header of an answer

\b
Exit codes: 0 everything agrees · 1 a check failed · 6 database · 7 master key · 9 cannot be proved as asked""")
@click.option("--merchant", metavar="ID", help="Only the books of this merchant.")
@click.option("--at", metavar="INSTANT", help="As of a past instant (ISO 8601 with its offset); the answer for it never changes.")
@click.option("--full", is_flag=True, help="Trust no earlier proof: recompute the chain from its first batch.")
@click.option("--since", type=FILE, help="A proof's JSON saved earlier: its heads must still be there.")
@click.option("--acknowledged", type=FILE, help="JSON lines of operations that clients saw acknowledged.")
@click.option("--receipt", metavar="TEXT", help="Check one receipt, and nothing else.")
@data_option
@json_option
def proof(merchant: str | None, at: str | None, full: bool, since: Path | None, acknowledged: Path | None, receipt: str | None,
          data: str | None, as_json: bool) -> None:
    """Prove that no money and no promise appeared or vanished, per merchant and currency."""
    from ringfence.engine.clock import parse_instant
    instant = parse_instant(at) if at else None
    if at and instant is None:
        raise click.UsageError(f"--at {at!r} is not an instant such as 2026-11-21T12:00:00Z.")
    heads = _heads(since) if since else ()
    config = configuration(data)
    with database_of(config) as url, acknowledged.open("rb") if acknowledged else nullcontext() as lines:
        result = asyncio.run(_run(config, url, merchant, instant, full, heads, lines, receipt))
    if as_json:
        print_json(result)
    else:
        _print(result)
    sys.exit(Exit.OK if result["ok"] else Exit.CHECK_FAILED)


async def _run(
    config: Config, url: str, merchant: str | None, at: Any, full: bool, since: Any, acknowledged: Any, receipt: str | None,
) -> dict[str, Any]:
    from ringfence.engine.chain_check import check_receipt
    from ringfence.engine.proof import CannotProve, prove
    from ringfence.opening import open_keyring
    from ringfence.operators import balances_of, books_of
    from ringfence.storage import database
    try:
        async with AsyncExitStack() as ends:
            pool = await ends.enter_async_context(database.pool(url, 2, application_name="ringfence proof"))
            key = (await open_keyring(config, pool)).chain_key
            if receipt is not None:
                wrong = await check_receipt(pool, key, receipt)
                return {"ok": wrong is None, "receipt": receipt} | ({"problem": wrong} if wrong else {})
            books, balances = ({}, {}) if config.is_live else (books_of(config), balances_of(config))
            done = await prove(
                pool, chain_key=key, merchant=merchant, at=at, full=full, since=since, acknowledged=acknowledged, books=books, balances=balances)
            return done.as_json()
    except (CannotProve, ValueError) as error:
        raise Failure(Exit.REFUSED, str(error)) from error
    except (database.DatabaseUnavailable, database.DatabaseUnsuitable, OSError) as error:
        raise Failure(Exit.DATABASE, f"The database cannot be read: {error}") from error


def _heads(path: Path) -> Any:
    from ringfence.core.proof import heads_of
    try:
        return heads_of(json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(Exit.REFUSED, f"{path} is not the JSON of an earlier proof.") from error


def _print(result: dict[str, Any]) -> None:
    if "receipt" in result:
        click.echo(f"Receipt {result['receipt']}: {result.get('problem', 'the batch stands as it was committed')}")
        return
    names = sorted({name for book in result["merchants"] for name in book["checks"]}, key=lambda name: int(name[1:]))
    print_table(("merchant", "currency", *names, "exceptions"), [
        (book["merchant"], book["currency"], *("ok" if book["checks"][name]["ok"] else "WRONG" for name in names), book["exception_count"])
        for book in result["merchants"]], right=("exceptions",))
    for book in result["merchants"]:
        for name, check in book["checks"].items():
            for example in check.get("examples", ()):
                click.echo(f"{name} {book['merchant']} {book['currency']}: {json.dumps(example)}")
        for exception in book["exceptions"]:
            click.echo(f"   see {book['merchant']} {book['currency']}: {json.dumps(exception)}")
    chain = result["chain"]
    click.echo(f"\nchain: {'ok' if chain['ok'] else 'BROKEN'}, {len(result['heads'])} lanes")
    for problem in chain.get("problems", ()):
        click.echo(f"chain: {json.dumps(problem)}")
    if result["acknowledged"]:
        seen = result["acknowledged"]
        click.echo(f"acknowledged: {seen['lines']} operations, {seen['count']} missing, different or double")
        for fault in seen["faults"]:
            click.echo(f"acknowledged: {fault}")
    click.echo("Everything agrees." if result["ok"] else "Something is wrong; see above.")
