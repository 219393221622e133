"""Imports point down: measured from the source, also inside functions and relative ones.

    config  main  cli  …            whatever stands directly below the package builds the rest, and nobody below knows it
    api     web   background        (api and web know only engine and core)
    engine
    storage | processors
    core                            the standard library only: no clock, chance, file, network or log

    amazon_site                     an application of its own: it knows money, and nobody knows it

Rooms on one floor do not know each other: neither do the doors inside ``api``, nor the processors.
"""
from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ringfence

ROOT = Path(ringfence.__file__).parent

#: Which floors a floor may know, itself apart.
MAY_KNOW = {
    "core":       set(),
    "storage":    {"core"},
    "processors": {"core"},
    "engine":     {"core", "storage", "processors"},
    "background": {"core", "storage", "engine"},
    "api":        {"core", "engine"},
    "web":        {"core", "engine"},
    "amazon_site": {"core"},
}

#: What the simulated Amazon Pay site may know of the core: what it must judge for itself it is not told.
SITE_KNOWS = {"ringfence.core.money", "ringfence.core.currencies"}

#: Where the packages below a floor are rooms of their own.
ROOMS = {"api", "processors"}

#: What lets the world in: clocks, chance, files, processes, the network, logs.
WORLD = set("""
    asyncio builtins calendar concurrent fcntl glob http importlib io logging mmap multiprocessing os pathlib platform
    random secrets select selectors shutil signal smtplib socket socketserver sqlite3 ssl subprocess sys syslog tempfile
    threading time urllib uuid warnings
""".split())

#: ... and what a module that is welcome for its values could let in.
CALLS_OF_THE_WORLD = {"now", "utcnow", "today"}
NAMES_OF_THE_WORLD = {"open", "print", "input", "exec", "eval", "__import__"}

VAGUE = re.compile(r"(^|_)(utils?|helpers?|managers?|data|infos?|common|misc)($|_)")


class Import(NamedTuple):
    """One imported module, with where it was imported."""

    module: str
    where: str


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the package."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(source: str, name: str, is_package: bool) -> Iterator[Import]:
    """Every module that *source* imports, wherever in it; ``from package import name`` counts as both, in full names."""
    for node in ast.walk(ast.parse(source)):
        where = f"{name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if is_package else name.split(".")[:-1]
                above = package[:len(package) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield Import(base, where)
            yield from (Import(f"{base}.{alias.name}", where) for alias in node.names)


def imports_of(name: str, path: Path) -> Iterator[Import]:
    yield from imports(path.read_text(), name, path.name == "__init__.py")


def refused(name: str, found: Import) -> bool:
    """Whether the module called *name* may not import what it does."""
    floor, room = [*name.split(".")[1:], "", ""][:2]
    root, *rest = found.module.split(".")
    if floor not in MAY_KNOW or root != "ringfence" or not rest:
        return False
    if rest[0] != floor:
        return rest[0] not in MAY_KNOW[floor]
    is_room = floor in ROOMS and len(rest) > 1 and (ROOT / floor / rest[1]).is_dir()
    return is_room and (ROOT / floor / room).is_dir() and bool(room) and rest[1] != room


def floor_of(name: str) -> str:
    return [*name.split("."), ""][1]


@pytest.mark.parametrize("floor", MAY_KNOW)
def test_imports_point_down(floor):
    """A module knows its own floor and those below it, and no other room."""
    up = [
        f"{found.where} imports {found.module}"
        for name, path in modules() if floor_of(name) == floor
        for found in imports_of(name, path) if refused(name, found)
    ]
    assert not up, "\n".join(up)


def test_the_amazon_site_knows_only_money():
    """It judges the adapter, and so shares nothing with it."""
    found = {
        found.module for name, path in modules() if floor_of(name) == "amazon_site"
        for found in imports_of(name, path) if found.module.startswith("ringfence.core.")
    }
    assert {module for module in found if module not in SITE_KNOWS and module.rpartition(".")[0] not in SITE_KNOWS} == set()


def test_every_folder_is_a_floor_or_builds_them():
    """What stands beside the floors is imported by none of them."""
    floors = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert set(MAY_KNOW) - floors <= {"web"}
    beside = {name.split(".")[1] for name, _ in modules() if "." in name} - set(MAY_KNOW)
    known = {
        found.module.split(".")[1]
        for name, path in modules() if floor_of(name) in MAY_KNOW
        for found in imports_of(name, path) if found.module.startswith("ringfence.")
    }
    assert not known & beside


def test_the_core_imports_only_the_standard_library_and_nothing_of_the_world():
    """No clock, chance, file, network or log: all that the core knows it is told."""
    found = [
        f"{found.where} imports {found.module}"
        for name, path in modules() if floor_of(name) == "core"
        for found in imports_of(name, path)
        if (root := found.module.split(".")[0]) != "ringfence" and (root in WORLD or root not in sys.stdlib_module_names)
    ]
    assert not found, "\n".join(found)


def test_the_core_asks_no_clock_and_opens_nothing():
    """``datetime`` is welcome as a value; asking it for the time is not."""
    found = [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, path in modules() if floor_of(name) == "core"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and (
            (isinstance(node.func, ast.Attribute) and node.func.attr in CALLS_OF_THE_WORLD)
            or (isinstance(node.func, ast.Name) and node.func.id in NAMES_OF_THE_WORLD)
        )
    ]
    assert not found, "\n".join(found)


def test_modules_are_named_after_what_they_hold():
    """No drawer for everything."""
    assert not [name for name, _ in modules() if any(VAGUE.search(part) for part in name.split("."))]


READ = {
    # source                                                   in module                  that is a package   imports
    "import ringfence.engine.engine":                          ("ringfence.core.money",   False, "ringfence.engine.engine"),
    "def f():\n    from ringfence.storage import rows":        ("ringfence.core.money",   False, "ringfence.storage.rows"),
    "from ..engine import engine":                             ("ringfence.core.money",   False, "ringfence.engine"),
    "from .. import engine":                                   ("ringfence.core.money",   False, "ringfence.engine"),
    "from ..engine.engine import Engine":                      ("ringfence.core",         True,  "ringfence.engine.engine"),
    "if True:\n    from ringfence import config":              ("ringfence.api.aps.wire", False, "ringfence.config"),
    "from ..ppro.wire import parse":                           ("ringfence.api.aps.wire", False, "ringfence.api.ppro.wire"),
}


@pytest.mark.parametrize("source", READ)
def test_an_import_is_seen_however_it_is_written(source):
    """Absolute or relative, at the top or inside a function."""
    name, is_package, module = READ[source]
    assert module in {found.module for found in imports(source, name, is_package)}


JUDGED = {
    # who                              what                              refused
    ("ringfence.core.money",           "ringfence.storage.payments"):    True,
    ("ringfence.storage.payments",     "ringfence.core.payment"):        False,
    ("ringfence.storage.payments",     "ringfence.processors.processor"): True,
    ("ringfence.processors.processor", "ringfence.engine.engine"):       True,
    ("ringfence.engine.engine",        "ringfence.storage.payments"):    False,
    ("ringfence.engine.engine",        "ringfence.api.aps"):             True,
    ("ringfence.engine.engine",        "ringfence.config"):              True,
    ("ringfence.api.aps.wire",         "ringfence.storage.payments"):    True,
    ("ringfence.api.aps.wire",         "ringfence.api.http"):            False,
    ("ringfence.api.aps.wire",         "ringfence.background.worker"):   True,
    ("ringfence.background.worker",    "ringfence.api.http"):            True,
    ("ringfence.background.worker",    "ringfence.storage.payments"):    False,
    ("ringfence.main",                 "ringfence.api.aps"):             False,
    ("ringfence.amazon_site.site",     "ringfence.core.money"):          False,
    ("ringfence.amazon_site.site",     "ringfence.processors.processor"): True,
    ("ringfence.processors.processor", "ringfence.amazon_site"):         True,
}


@pytest.mark.parametrize(("name", "module"), JUDGED)
def test_the_rule_is_the_one_we_mean(name, module):
    """The table of floors, put to the question."""
    assert refused(name, Import(module, name)) is JUDGED[name, module]
