"""What JSON values may be: the words in which the tables of ``fields`` describe requests and answers.

A kind reads a decoded JSON value into what the door works with, noting every problem with the path of the field, and describes itself for
machines (JSON Schema 2020-12, as OpenAPI 3.1 uses it): one table serves both, so that they cannot disagree.  Refuses to know any field.

An absent field and a null are the same: what need not be there may be null.  A field that nobody knows is passed over.  A text holds no NUL,
which no database keeps (what is sealed may).
"""
from __future__ import annotations

import logging
import re
from calendar import monthrange
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

log = logging.getLogger(__name__)

REQUIRED = "required"
LONGEST = 512
"""Characters of a text whose table says nothing else."""
MISSING: Any = object()


class Problem(NamedTuple):
    """What is wrong with a field.  ``status``: 400 for its form, 422 for a well-formed value that makes no sense."""

    path: str
    problem: str
    status: int = 400


Problems = list[Problem]


class Kind(Protocol):
    """What a value may be."""

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        """The value as the door works with it; what is wrong is added to ``problems``."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the value."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of ``least`` to ``longest`` characters; ``pattern`` (whole), or one of ``words``; ``misspelt`` maps old spellings to words."""

    longest: int = LONGEST
    least: int = 0
    pattern: str = ""
    words: tuple[str, ...] = ()
    misspelt: Mapping[str, str] = field(default_factory=dict)
    secret: bool = False
    called: str = ""                        # what it must be, where the pattern does not speak for itself
    usual: tuple[str, ...] = ()             # what it mostly is, of what it may be: whoever is quicker with these looks for them first

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not str:
            problems.append(Problem(path, "must be a text"))
            return None
        if self.words:
            value = self.misspelt.get(value, value)
            if value not in self.words:
                problems.append(Problem(path, f"must be one of {', '.join(self.words)}"))
        elif not self.least <= len(value) <= self.longest:
            problems.append(Problem(path, f"must have {self.least} to {self.longest} characters"))
        elif "\0" in value:
            problems.append(Problem(path, "must not hold NUL"))
        elif self.pattern and _compiled(self.pattern).fullmatch(value) is None:
            problems.append(Problem(path, f"must be {self.called}" if self.called else f"must match {self.pattern}"))
        return value

    def schema(self) -> dict[str, Any]:
        if self.words:
            return {"type": "string", "enum": [*self.words, *self.misspelt]}
        # ECMA-262 anchors by hand; no NUL where nothing else is said
        told: dict[str, Any] = {"type": "string", "maxLength": self.longest, "pattern": f"^(?:{self.pattern})$" if self.pattern else "^[^\\u0000]*$"}
        if self.least:
            told["minLength"] = self.least
        if self.secret:
            told["writeOnly"] = True
        return told


_patterns: dict[str, re.Pattern[str]] = {}


def _compiled(pattern: str) -> re.Pattern[str]:
    found = _patterns.get(pattern)
    if found is None:
        found = _patterns[pattern] = re.compile(pattern, re.ASCII)
    return found


INT32, INT64 = (-2**31, 2**31 - 1), (-2**63, 2**63 - 1)


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer.  Outside of ``low`` to ``high`` it is well-formed and makes no sense (422); a text that matches ``digits`` will do too."""

    low: int = INT64[0]
    high: int = INT64[1]
    digits: str = ""

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if self.digits and type(value) is str and _compiled(self.digits).fullmatch(value) is not None:
            value = int(value)
        if type(value) is not int:
            problems.append(Problem(path, "must be an integer"))
            return None
        if not self.low <= value <= self.high:
            problems.append(Problem(path, f"must be {self.low} to {self.high}", 422))
        return value

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [number, {"type": "string", "pattern": f"^(?:{self.digits})$"}]} if self.digits else number


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not bool:
            problems.append(Problem(path, "must be true or false"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_FIRST, _LAST = datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999998, tzinfo=UTC)
"""A microsecond inside the calendar: its very ends are what the database calls infinity, and come back as something else."""
_DAY = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant (RFC 3339); read as ``datetime`` in UTC, to the microsecond.

    A leap second is the moment before it; what the calendar of ``datetime`` does not reach is its first or last moment.
    """

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        found = _MOMENT.fullmatch(value) if type(value) is str else None
        try:
            if found is None:
                raise ValueError
            day, minute, second, fraction, zone = found.groups()
            if second == "60":
                second, fraction = "59", ".999999"
            if day.startswith("0000"):
                day = f"0001-{day[5:]}" if _is_day(day) else ""
            read = datetime.fromisoformat(f"{day}T{minute}:{second}{((fraction or '.') + '000000')[:7]}{zone.upper()}")
        except ValueError:
            problems.append(Problem(path, "must be an instant such as 2026-01-05T10:11:12.345Z"))
            return None
        try:
            return max(_FIRST, min(read.astimezone(UTC), _LAST))
        except OverflowError:
            return _FIRST if read.year == 1 else _LAST

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day (RFC 3339, full-date), as it was written."""

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not str or not _is_day(value):
            problems.append(Problem(path, "must be a day such as 1990-12-31"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


def _is_day(value: str) -> bool:
    found = _DAY.fullmatch(value)
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    return 1 <= month <= 12 and 1 <= day <= monthrange(year or 2000, month)[1]        # of the year 0, too, which is a leap year


@dataclass(frozen=True, slots=True)
class Map:
    """An object of texts: at most ``most`` entries, keys and values of limited length."""

    most: int = 50
    longest_key: int = 50
    longest: int = 200

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not dict:
            problems.append(Problem(path, "must be an object of texts"))
            return None
        if len(value) > self.most:
            problems.append(Problem(path, f"must have at most {self.most} entries"))
            return None
        for key, one in value.items():
            if len(key) > self.longest_key or "\0" in key:
                problems.append(Problem(path, f"keys must have at most {self.longest_key} characters"))
            elif type(one) is not str or len(one) > self.longest or "\0" in one:
                problems.append(Problem(f"{path}.{key}", f"must be a text of at most {self.longest} characters"))
        return value

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object", "maxProperties": self.most, "propertyNames": {"maxLength": self.longest_key, "pattern": "^[^\\u0000]*$"},
            "additionalProperties": {"type": "string", "maxLength": self.longest, "pattern": "^[^\\u0000]*$"}}


@dataclass(frozen=True, slots=True)
class Listed:
    """A list of at most ``most`` values of one kind."""

    of: Kind
    most: int = 100

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not list:
            problems.append(Problem(path, "must be a list"))
            return None
        if len(value) > self.most:
            problems.append(Problem(path, f"must have at most {self.most} entries"))
            return None
        return [self.of.read(one, f"{path}[{place}]", problems) for place, one in enumerate(value)]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.of.schema(), "maxItems": self.most}

    def parts(self) -> Iterator[Any]:
        """The kinds it consists of."""
        yield self.of


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The same, or null: of what need not be there."""
    if type(schema.get("type")) is not str:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]} | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


class Row(NamedTuple):
    """One field of an object.  ``aliases`` are other names that are read too; the first one that is there counts, the own name first."""

    kind: Kind
    required: bool = False
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Object:
    """An object with these fields; read as a new dictionary of what is known and there.  ``name`` is its name for machines.

    ``judge(read, path, problems)`` looks at the whole, once every field is right by itself; ``also`` is that in words of the schema.
    """

    name: str
    rows: Mapping[str, Row]
    judge: Callable[[dict[str, Any], str, Problems], None] | None = None
    also: Mapping[str, Any] = field(default_factory=dict)

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not dict:
            problems.append(Problem(path or "body", "must be an object"))
            return None
        before, found = len(problems), {}
        for name, (kind, required, aliases) in self.rows.items():
            one = value.get(name)
            if one is None and aliases:
                one, alias = next(((value[alias], alias) for alias in aliases if value.get(alias) is not None), (None, ""))
                if one is not None:
                    log.info("a caller says %s for %s", alias, name)
            if one is None:
                if required:
                    problems.append(Problem(f"{path}.{name}" if path else name, REQUIRED))
            else:
                found[name] = kind.read(one, f"{path}.{name}" if path else name, problems)
        if self.judge is not None and len(problems) == before:
            self.judge(found, path, problems)
        return found

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self) -> dict[str, Any]:
        """The schema itself, for ``components``."""
        return {"type": "object", **members(self.rows), **self.also}

    def parts(self) -> Iterator[Any]:
        """The kinds it consists of."""
        yield from (row.kind for row in self.rows.values())


@dataclass(frozen=True, slots=True)
class Anything:
    """An object of any members, sealed and told as they are."""

    name: str
    rows: Mapping[str, Row] = field(default_factory=dict)

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not dict:
            problems.append(Problem(path, "must be an object"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self) -> dict[str, Any]:
        """The schema itself, for ``components``."""
        return {"type": "object", "additionalProperties": True}

    def parts(self) -> Iterator[Any]:
        """Nothing that is known."""
        return iter(())


def members(rows: Mapping[str, Row]) -> dict[str, Any]:
    """``properties`` and ``required`` of an object with these fields."""
    properties = {name: row.kind.schema() if row.required and not row.aliases else nullable(row.kind.schema()) for name, row in rows.items()}
    for row in rows.values():
        properties |= {alias: nullable(row.kind.schema()) | {"deprecated": True} for alias in row.aliases}
    required = [name for name, row in rows.items() if row.required and not row.aliases]
    return {"properties": properties, **({"required": required} if required else {})}


@dataclass(frozen=True, slots=True)
class Tagged:
    """``{"type": …, MEMBER: {…}}``: what MEMBER holds depends on the type.  What stands ``beside`` is for the types in ``beside_of`` alone."""

    name: str
    member: str
    of: Mapping[str, Object | Anything]
    beside: Mapping[str, Row] = field(default_factory=dict)
    optional: bool = False
    beside_of: tuple[str, ...] = ()

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not dict:
            problems.append(Problem(path or "body", "must be an object"))
            return None
        where, tag = f"{path}." if path else "", value.get("type")
        if type(tag) is not str or tag not in self.of:
            said = REQUIRED if tag is None else f"must be one of {', '.join(self.of)}"
            problems.append(Problem(f"{where}type", said))
            return None
        found: dict[str, Any] = {"type": tag}
        kind, one = self.of[tag], value.get(self.member)
        if one is None and (self.optional or _may_be_empty(kind)):
            one = {}
        if one is None:
            problems.append(Problem(f"{where}{self.member}", REQUIRED))
        else:
            found[self.member] = kind.read(one, f"{where}{self.member}", problems)
        for name, row in self.beside.items():
            if (other := value.get(name)) is None:
                continue
            if tag in self.beside_of:
                found[name] = row.kind.read(other, f"{where}{name}", problems)
            else:
                problems.append(Problem(f"{where}{name}", f"is for {' and '.join(self.beside_of)} only"))
        return found

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self) -> dict[str, Any]:
        """The schema itself, for ``components``."""
        return {"oneOf": [self._one(tag, kind) for tag, kind in self.of.items()]}

    def parts(self) -> Iterator[Any]:
        """The kinds it consists of."""
        yield from self.of.values()
        yield from (row.kind for row in self.beside.values())

    def _one(self, tag: str, kind: Object | Anything) -> dict[str, Any]:
        needed = not _may_be_empty(kind)
        member = kind.schema() if needed else nullable(kind.schema())
        beside = {name: nullable(row.kind.schema()) if tag in self.beside_of else {"type": "null"} for name, row in self.beside.items()}
        return {"type": "object", "properties": {"type": {"const": tag}, self.member: member, **beside},
                "required": ["type", self.member] if needed else ["type"]}


def _may_be_empty(kind: Object | Anything) -> bool:
    """Whether an object without any member will do."""
    problems: Problems = []
    kind.read({}, "", problems)
    return not problems
