"""The command line: ``ringfence``.

One table of commands; each is imported when it is called, so that ``--help`` is quick.  Commands parse, call, and print: tables
for people, ``--json`` for machines, and exit codes that mean something (``ringfence.failures.Exit``).
"""
from __future__ import annotations

import importlib
import sys
from typing import NamedTuple

import click

from ringfence import __version__
from ringfence.failures import Exit, Failure


class Entry(NamedTuple):
    """Where a command lives, and the line that ``ringfence --help`` shows for it."""

    module: str
    attribute: str
    line: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("ringfence.cli.up", "up", "Serve, in the foreground."),
    "worker": Entry("ringfence.cli.worker", "worker", "Do what is due later, beside the service."),
    "pay": Entry("ringfence.cli.pay", "pay", "Make a payment against the running sandbox."),
    "card": Entry("ringfence.cli.card", "card", "Check a card, and see which cards were presented again."),
    "batch": Entry("ringfence.cli.batch", "batch", "Hand in batch files, watch them, read their results."),
    "merchant": Entry("ringfence.cli.merchant", "merchant", "Create, list, show and set merchants."),
    "plan": Entry("ringfence.cli.plan", "plan", "Make and keep plans: payments that repeat."),
    "clock": Entry("ringfence.cli.clock", "clock", "Show, advance and freeze the sandbox's clock."),
    "trigger": Entry("ringfence.cli.trigger", "trigger", "Make an event happen in the sandbox."),
    "listen": Entry("ringfence.cli.listen", "listen", "Show events as they happen, and forward them."),
    "webhooks": Entry("ringfence.cli.webhooks", "webhooks", "Look at webhooks, and deliver them again."),
    "explain": Entry("ringfence.cli.explain", "explain", "Tell a payment's story in sentences."),
    "review": Entry("ringfence.cli.review", "review", "Look at unknown outcomes, and decide how they end."),
    "dispute": Entry("ringfence.cli.dispute", "dispute", "Look at disputes, and answer them."),
    "jwo": Entry("ringfence.cli.jwo", "jwo", "Look after stores, gates and trips."),
    "proof": Entry("ringfence.cli.proof", "proof", "Prove that no money appeared or vanished."),
    "simulator": Entry("ringfence.cli.simulator", "simulator", "Look at the issuer simulator's book and accounts."),
    "link": Entry("ringfence.cli.link", "link", "Make payment links, and look after them."),
    "inbox": Entry("ringfence.cli.inbox", "inbox", "Read what payers were sent in the sandbox."),
    "aps": Entry("ringfence.cli.aps", "aps", "Tools for Amazon Payment Services clients."),
    "report": Entry("ringfence.cli.report", "report", "Have reports of operations made, and download them."),
    "retention": Entry("ringfence.cli.retention", "retention", "Show and erase what is kept too long."),
    "jobs": Entry("ringfence.cli.jobs", "jobs", "Look at jobs that were set aside, and try them again."),
    "migrate": Entry("ringfence.cli.migrate", "migrate", "Bring the database to this program's schema."),
    "vault": Entry("ringfence.cli.vault", "vault", "Change the vault's master key."),
    "bench": Entry("ringfence.bench.command", "bench_command", "Measure durable payments a second beside pgbench."),
    "torture": Entry("ringfence.torture.command", "torture", "Kill a service again and again, and judge what is left."),
    "doctor": Entry("ringfence.cli.doctor", "doctor", "Check this machine and this installation."),
}


class LateGroup(click.Group):
    """A group that imports a command only when it runs or shows its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        entry = COMMANDS.get(cmd_name)
        return entry and getattr(importlib.import_module(entry.module), entry.attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Names and lines, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.line) for name, entry in COMMANDS.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest name for one that does not exist."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches
            near = get_close_matches(args[0], COMMANDS, 1)
            ctx.fail(f"There is no command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=LateGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog="""\b
Examples:
  ringfence up --data ./data --port 8080     serve the sandbox
  ringfence pay --amount 10.00 --currency AED
  ringfence clock advance 46h
  ringfence proof

\b
Exit codes: 0 done · 1 a check failed · 2 usage · 3 configuration · 4 data folder · 5 port · 6 database · 7 master key ·
8 the service is not running · 9 refused""")
@click.version_option(__version__, prog_name="ringfence")
def cli() -> None:
    """Ringfence: a payment service you run yourself."""


def main() -> None:
    """The entry point.  What cannot go on is one sentence on standard error and an exit code."""
    if any("\udc80" <= sign <= "\udcff" for word in sys.argv for sign in word):         # what Python makes of bytes that are no UTF-8
        click.echo("ringfence: the command line is not UTF-8.", err=True)
        sys.exit(Exit.USAGE)
    try:
        cli(prog_name="ringfence")
    except Failure as failure:
        click.echo(f"ringfence: {failure.sentence}", err=True)
        sys.exit(failure.code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(Exit.OK)
