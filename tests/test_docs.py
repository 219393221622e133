"""The manual says what the program does: its examples run, its tables equal the code, its links lead somewhere."""
from __future__ import annotations

import asyncio
import json
import re
import shlex
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from starlette.requests import Request
from starlette.routing import Route

import ringfence
from docs import tables
from ringfence.api import openapi
from ringfence.api.aps import operations, wire
from ringfence.api.aps import pages as aps_pages
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.batch import BatchApi
from ringfence.api.http import service_routes
from ringfence.api.jwo import checkout, payments
from ringfence.api.ppro import readable
from ringfence.cli import cli
from ringfence.config import VARIABLES, Config, read
from ringfence.core.card import luhn_valid
from ringfence.core.proof import parse_receipt
from ringfence.engine import key_sources, metrics, settings
from ringfence.engine.clock import WallClock
from ringfence.engine.seeding import FIRST
from ringfence.operators import admin_of
from ringfence.processors.simulator.scenarios import scenario_code
from ringfence.web import hosted, static_files
from tests.sandbox import Client, Sandbox

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
README = (ROOT / "README.md").read_text("utf-8")

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def readme_body() -> dict[str, Any]:
    """The body of README's ``curl``."""
    [line] = [line for line in README.splitlines() if line.startswith("curl ")]
    words = shlex.split(line)
    return json.loads(words[words.index("-d") + 1])


def shell_lines(page: Path) -> Iterator[list[str]]:
    """The words of every ``ringfence`` command in a page's shell examples."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                del words[0]
            if words and words[0] in ("ringfence", ".venv/bin/ringfence"):
                end = next((place for place, word in enumerate(words) if word in ("<", ">", "|", ";")), len(words))
                yield words[1:end]


COMMANDS = [(name, words) for name, page in zip(NAMES, PAGES, strict=True) for words in shell_lines(page)]


# ---------------------------------------------------------------------------------------------------------- the first screen

def test_the_first_payment_is_accepted_as_it_is_printed():
    """The wire reads README's body as a purchase of the first seeded merchant, signature included."""
    params = wire.decode(json.dumps(readme_body()).encode())
    credential = Credential(FIRST.identifier, FIRST.access_code, FIRST.request_phrase, FIRST.response_phrase, FIRST.algorithm)
    read = wire.parse(params, credential, Settings(sandbox=True), datetime(2026, 11, 21, tzinfo=UTC))
    assert isinstance(read, wire.ApsRequest), read
    assert (read.operation.name, read.amount, read.currency) == ("PURCHASE", 1000, "AED")
    assert scenario_code(readme_body()["card_number"]) == "0000"


def test_the_first_screen_works_on_a_fresh_sandbox():
    """What README promises of its commands, in its order."""
    async def post_twice(sandbox: Sandbox) -> list[str]:
        client = Client(sandbox.port, sandbox.merchant())
        try:
            return [(await client.post(json.dumps(readme_body()).encode()))["response_code"] for _ in range(2)]
        finally:
            await client.close()

    with Sandbox(workers=1) as sandbox:
        assert asyncio.run(post_twice(sandbox)) == ["14000", "13007"]
        first_screen = [words for words in shell_lines(ROOT / "README.md") if words[0] in ("pay", "explain", "clock", "proof")]
        assert [words[0] for words in first_screen] == ["pay", "explain", "clock", "proof"]
        for words in first_screen:
            done = sandbox.command(*words)
            assert done.returncode == 0, (words, done.stdout, done.stderr)


def test_the_readme_names_every_operation():
    """Nothing that is served is left out, nothing else is promised."""
    named = set(re.findall(r"`([A-Z0-9_]{6,})`", README.partition("## What works today")[2].partition("**Later")[0]))
    assert named == {row.name for row in operations.KNOWN.values()}


# ---------------------------------------------------------------------------------------------------------- tables

@pytest.mark.parametrize("path", sorted({*tables.pages()}), ids=lambda path: path.name)
def test_what_is_written_from_the_code_equals_it(path):
    """``python -m docs.tables`` would change nothing."""
    assert path.read_text("utf-8") == tables.pages()[path], "run: python -m docs.tables"


def test_every_table_stands_in_the_manual():
    """A table that no page shows is not part of it."""
    shown = re.findall(r"<!-- table: ([a-z-]+) -->", "".join(page.read_text("utf-8") for page in PAGES))
    assert sorted(shown) == sorted(tables.TABLES)


def test_every_command_has_its_section():
    """Walked from the command line itself."""
    def walk(command: click.Command, words: tuple[str, ...]) -> Iterator[str]:
        yield " ".join(words)
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                yield from walk(inner, (*words, name))

    headings = re.findall(r"^#+ (ringfence.*)$", (ROOT / "docs/cli.md").read_text("utf-8"), re.MULTILINE)
    assert headings == list(walk(cli, ("ringfence",)))


def test_the_ladder_shows_every_code_that_the_wire_can_say():
    """Taken from the source of the wire and of its look at cards."""
    folder = Path(wire.__file__).parent
    said = set(re.findall(r'"(00\d{3})"', (folder / "wire.py").read_text("utf-8")))
    said |= {f"00{message}" for message in re.findall(r'return "(\d{3})"', (folder / "cards.py").read_text("utf-8"))}
    assert said <= {code for _, code in tables.LADDER}


# ---------------------------------------------------------------------------------------------------------- examples

@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_an_example_is_a_command(page, words):
    """Every command in a shell example exists, with the options it is shown with."""
    command: click.Command = cli
    rest, context = list(words), click.Context(cli, info_name="ringfence")
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest.pop(0))
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=found.name)
    command.make_parser(context).parse_args(rest)


def test_a_setting_in_an_example_can_be_set():
    """``KEY=VALUE`` behind ``merchant set`` and ``--set`` is a change that the table takes."""
    changes = [word for _, words in COMMANDS if words[:1] == ["merchant"] for word in words if re.fullmatch(r"[a-z_.]+=.*", word)]
    assert changes
    for change in changes:
        key, _, value = change.partition("=")
        assert isinstance(settings.changed(settings.DEFAULTS, {key: value}), settings.Settings), change


@every_page
def test_names_of_variables_and_metrics_exist(page):
    """What a page calls a variable or a metric is one."""
    text = page.read_text("utf-8")
    variables = {one.name for one in VARIABLES} | {name.replace("_KEY", "_KEY_NEXT") for name in key_sources.VARIABLES} | {"RINGFENCE_"}
    assert set(re.findall(r"RINGFENCE_[A-Z_]*", text)) <= variables
    counted = {one.name for one in (*metrics.COUNTERS, *metrics.HISTOGRAMS)}
    assert set(re.findall(r"\bringfence_[a-z_]+", text)) <= counted


@every_page
def test_card_numbers_are_test_cards(page):
    """A number in the manual has its check digit, and is one of the sandbox's own."""
    for number in re.findall(r"(?<![\d.])\d{14,16}(?![\d.])", page.read_text("utf-8")):
        assert luhn_valid(number), number
        assert scenario_code(number), number


@every_page
def test_receipts_look_like_receipts(page):
    """A receipt in an example has the form that ``proof --receipt`` reads."""
    for receipt in re.findall(r"--receipt ([\w.]+)", page.read_text("utf-8")):
        assert receipt == "TEXT" or parse_receipt(receipt), receipt


# ---------------------------------------------------------------------------------------------------------- HTTP

def test_the_description_has_every_endpoint():
    """Paths and methods of the description are those of the routes, and of the door; files are also taken without the final slash."""
    nothing: Any = None
    config = read({})
    assert isinstance(config, Config)
    keyring: Any = SimpleNamespace(content_key=bytes(32))
    operators = admin_of(config, "token", nothing, keyring, WallClock(), nothing, nothing, AsyncExitStack(), links=nothing, disputes=nothing,
                         visits=nothing)
    pages = hosted.routes(hosted.Hosted(nothing, {}, {aps_pages.PATH: nothing}, nothing, nothing, 0.0))
    served = [*operators, *openapi.routes(), *service_routes(ready=nothing, metrics=nothing), *pages, *static_files.routes(),
              *readable.routes((), "", "", "")]
    endpoints = {(route.path, method.lower()) for route in served if isinstance(route, Route) for method in route.methods or () if method != "HEAD"}
    described = {(path, method) for path, methods in openapi.document()["paths"].items() for method in methods}
    files = {(route.path, "post") for route in BatchApi(nothing, nothing, b"", nothing).routes() if route.path.endswith("/")}
    doors = {("/FortAPI/paymentApi", "post"), ("/FortAPI/reportingApi", "post")}
    doors |= {(one.path, "post") for one in (*payments.ENDPOINTS, *checkout.ENDPOINTS)}
    assert described == endpoints | doors | files and len(files) == 2


def test_the_description_refers_to_nothing_that_is_not_there():
    """Every ``$ref`` has its schema, and every schema is referred to."""
    document = openapi.document()
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    used = {name for row in operations.KNOWN.values() for name in row.accepts}
    assert referred <= document["components"]["schemas"].keys()
    assert {name for name in document["components"]["schemas"] if not name.startswith("aps.")} | {f"aps.{name}" for name in used} - {
        f"aps.{key}" for key in operations.KEYS} <= referred


def test_the_first_payment_fits_its_description():
    """README's body has what the schema of a purchase asks for, written as it asks."""
    schemas = openapi.document()["components"]["schemas"]
    purchase, body = schemas["Aps_PURCHASE"], readme_body()
    assert set(purchase["required"]) <= body.keys() <= purchase["properties"].keys()
    for name, value in body.items():
        rule = schemas.get(f"aps.{name}", {})
        if name != "command":
            assert value in rule.get("enum", [value]) and re.fullmatch(rule.get("pattern", ".*"), value), name


def test_the_description_is_served():
    """``/openapi.json`` answers with the document."""
    [route] = openapi.routes()
    answer = asyncio.run(route.endpoint(Request({"type": "http"})))
    assert json.loads(answer.body) == openapi.document()


# ---------------------------------------------------------------------------------------------------------- form

@every_page
def test_links_lead_somewhere(page):
    """A link inside the manual names a file that is there and, behind ``#``, a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_file(), target
        assert file.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@every_page
def test_pages_name_no_machine(page):
    """No path of the machine that the manual was written on."""
    assert not re.findall(r"(?<![\w.])/(?:work|root|home|tmp|Users)/", page.read_text("utf-8"))


def test_the_index_leads_to_every_page():
    """Nothing in the manual is left to be found by chance."""
    linked = set(re.findall(r"\]\(([^)#\s]+)", (ROOT / "docs/index.md").read_text("utf-8")))
    written = {str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "index.md"}
    assert written <= linked


def test_the_changelog_knows_this_version():
    """The newest heading is the version of the program."""
    [newest, *_] = re.findall(r"^## (\S+?),? ", (ROOT / "CHANGELOG.md").read_text("utf-8") + "\n", re.MULTILINE)
    assert newest.rstrip(",") == ringfence.__version__
