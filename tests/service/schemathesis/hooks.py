"""What schemathesis loads: 1.0 is an integer for JSON Schema, and none for this door, which takes no number with a point; and of the names in
paths one in two is that of an object that is there (``known``), so that what is behind a 404 is asked too."""
from __future__ import annotations

import json
import os
import re
from typing import Any
from zlib import crc32

import schemathesis

KNOWN: dict[str, list[str]] = json.loads(os.environ.get("RINGFENCE_TEST_KNOWN", "{}"))


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """The same, 1.0 written as 1."""
    return _whole(body)


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same, or all names those of one object and what belongs to it: which of both the generated names decide."""
    if not path_parameters:
        return path_parameters
    chance = crc32(repr(sorted(path_parameters.items())).encode())
    if chance % 2:
        return path_parameters
    of_kind = context.operation.path.rpartition("/{id}")[0].rpartition("/")[2]
    found = dict(path_parameters)
    for name in path_parameters:
        if names := KNOWN.get(of_kind if name == "id" else name):
            step = 2 if name == "chargeId" and "id" in path_parameters else 1           # every other charge has operations
            found[name] = names[chance // 2 % (len(names) // step) * step]
    return found


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """The same, or with the name of a charge or a dispute that is there."""
    known = {name: names for name, names in KNOWN.items() if query and _is_name(query.get(name))}
    chance = crc32(repr(sorted((query or {}).items(), key=str)).encode())
    return query if not known or chance % 2 else {**query, **{name: names[chance // 2 % len(names)] for name, names in known.items()}}


def _is_name(value: Any) -> bool:
    """Whether it could be a name, where the description says what names look like: what is wrong on purpose stays wrong."""
    return isinstance(value, str) and re.fullmatch("[a-z]+_[A-Za-z0-9]{21}", value) is not None


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value
