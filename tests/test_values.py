"""Values that are given all their fields at once are given all of them: ``tuple.__new__`` counts nothing."""
from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import ringfence

ROOT = Path(ringfence.__file__).parent


def made_at_once(tree: ast.Module) -> dict[str, str]:
    """Names of the module that stand for ``partial(tuple.__new__, Kind)``, and the kind's."""
    found: dict[str, str] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        names = [one.id for target in node.targets for one in (target.elts if isinstance(target, ast.Tuple) else [target]) if isinstance(one, ast.Name)]
        value = node.value
        if isinstance(value, ast.GeneratorExp) and ast.unparse(value.elt) == "partial(tuple.__new__, kind)":
            found |= dict(zip(names, map(ast.unparse, value.generators[0].iter.elts), strict=True))     # type: ignore[attr-defined]
        else:
            made = value.elts if isinstance(value, ast.Tuple) else [value]
            for name, one in zip(names, made, strict=False):
                if isinstance(one, ast.Call) and ast.unparse(one).startswith("partial(tuple.__new__, "):
                    found[name] = ast.unparse(one.args[1])
    return found


def calls() -> Iterator[tuple[str, str, int, int]]:
    """Where such a value is made, of which kind, of how many fields, and how many the kind has."""
    for path in sorted(ROOT.rglob("*.py")):
        text = path.read_text("utf-8")
        if "tuple.__new__" not in text:
            continue
        tree = ast.parse(text)
        kinds = made_at_once(tree)
        module = importlib.import_module(".".join(path.relative_to(ROOT.parent).with_suffix("").parts))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds and isinstance(node.args[0], ast.Tuple):
                fields = node.args[0].elts
                if not any(isinstance(one, ast.Starred) for one in fields):
                    kind = kinds[node.func.id]
                    yield f"{path.name}:{node.lineno}", kind, len(fields), len(getattr(module, kind)._fields)


def test_no_field_is_forgotten():
    """A value that is too short tells of it only where its last fields are read."""
    found = list(calls())
    assert len(found) > 10
    assert [one for one in found if one[2] != one[3]] == []
