"""How one value of a request is read: texts, amounts, instants, objects, lists (Just Walk Out payments, sections 3, 4 and 9).

A field that is ``null`` is missing; one that no table knows is passed over.  Refuses to know which fields a request has, what they mean, and in
which words a door refuses them.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from ringfence.api.jwo import money
from ringfence.api.jwo.decoding import Number
from ringfence.api.jwo.money import Amount, BadAmount

LONGEST = 255
REQUIRED = "is required"


class Wrong(NamedTuple):
    """A field and what is wrong with it; the field is "" for the whole body."""

    field: str
    problem: str


class Kind(Protocol):
    """How one value is read.  The path is for whoever is told that it is wrong."""

    def read(self, value: Any, path: str) -> Any:
        """The value, or ``Wrong``."""

    def schema(self) -> dict[str, Any]:
        """The same for machines (JSON Schema)."""


class Word:
    """A text of a certain form."""

    def __init__(self, pattern: str, longest: int = LONGEST, *, least: int = 1) -> None:
        self._pattern, self._longest, self._least = pattern, longest, least
        self._match = re.compile(pattern, re.ASCII).fullmatch

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not str:
            return Wrong(path, "must be a text")
        if not self._least <= len(value) <= self._longest:
            return Wrong(path, f"must have {self._least} to {self._longest} characters")
        return value if not value or self._match(value) else Wrong(path, f"must be of the form {self._pattern}")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": self._least, "maxLength": self._longest, "pattern": f"^(?:{self._pattern})$"}


class Said:
    """A text for people: whatever can be printed."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not str:
            return Wrong(path, "must be a text")
        if not value.strip() or len(value) > self._longest:
            return Wrong(path, f"must have 1 to {self._longest} characters")
        if any(sign < " " or sign == "\x7f" or "\ud800" <= sign <= "\udfff" for sign in value):
            return Wrong(path, "must be printable")
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "maxLength": self._longest, "pattern": r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"}


class OneOf:
    """One of some words."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def read(self, value: Any, path: str) -> Any:
        return value if type(value) is str and value in self._words else Wrong(path, f"must be one of {', '.join(self._words)}")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self._words)}


class Paid:
    """An amount as payments and feedback write it, of at least so many minor units."""

    def __init__(self, least: int = 1) -> None:
        self._least = least

    def read(self, value: Any, path: str) -> Any:
        return _amount(money.read_payment(value, self._least), path)

    def schema(self) -> dict[str, Any]:
        bound = {"exclusiveMinimum": 0} if self._least else {"minimum": 0}
        return _object({"amount": {"type": "number", **bound}, "code": _CODE}, ("amount", "code"))


class Priced:
    """An amount as a cart writes it."""

    def read(self, value: Any, path: str) -> Any:
        return _amount(money.read_checkout(value), path)

    def schema(self) -> dict[str, Any]:
        return _object({
            "amount": {"type": "string", "pattern": r"^(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,2})?$"}, "currencyCode": _CODE,
        }, ("amount", "currencyCode"))


class Quantity:
    """How many, as a text with at most two decimals; read as hundredths."""

    _match = re.compile(r"(0|[1-9][0-9]{0,5})(?:\.([0-9]{1,2}))?", re.ASCII).fullmatch

    def read(self, value: Any, path: str) -> Any:
        found = self._match(value) if type(value) is str else None
        hundredths = int(found[1] + (found[2] or "").ljust(2, "0")) if found else 0
        return hundredths if hundredths else Wrong(path, "must be more than zero, a number in a text with at most two decimals")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(?=.*[1-9])(?:0|[1-9][0-9]{0,5})(?:\.[0-9]{1,2})?$"}


#: How much a number that stands for an instant is divided by, by its unit; "either" tells by its size.
UNITS = {"either": None, "seconds": 1, "milliseconds": 1_000}


class Instant:
    """A number of seconds or milliseconds since 1970; where it may be either, milliseconds from 10^11 on."""

    _match = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,12})?(?:[eE]\+?[0-9]{1,2})?", re.ASCII).fullmatch
    _millis, _latest = 10 ** 11, datetime(2100, 1, 1, tzinfo=UTC).timestamp()

    def __init__(self, unit: str) -> None:
        self._divisor, self._unit = UNITS[unit], "seconds or milliseconds" if unit == "either" else unit

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not Number or not self._match(value):
            return Wrong(path, f"must be a number of {self._unit} since 1970")
        number = Decimal(value)
        seconds = number / (self._divisor or (1_000 if number >= self._millis else 1))
        if seconds > self._latest:
            return Wrong(path, "is too late")
        whole = int(seconds)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=int((seconds - whole) * 1_000_000))

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": 0}


class Row(NamedTuple):
    """One field."""

    kind: Kind
    required: bool = True


class Object:
    """An object with these fields."""

    def __init__(self, **rows: Row | Kind) -> None:
        self._rows = {name: row if isinstance(row, Row) else Row(row) for name, row in rows.items()}

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not dict:
            return Wrong(path, "must be an object")
        read: dict[str, Any] = {}
        for name, row in self._rows.items():
            where, given = f"{path}.{name}" if path else name, value.get(name)
            if given is None:
                if row.required:
                    return Wrong(where, REQUIRED)
                continue
            one = read[name] = row.kind.read(given, where)
            if type(one) is Wrong:
                return one
        return read

    def schema(self) -> dict[str, Any]:
        return _object({name: row.kind.schema() for name, row in self._rows.items()}, tuple(name for name, row in self._rows.items() if row.required))


class Listed:
    """A list; ``least`` and ``most`` of its length."""

    def __init__(self, kind: Kind, most: int, least: int = 0) -> None:
        self._kind, self._most, self._least = kind, most, least

    def read(self, value: Any, path: str) -> Any:
        if type(value) is not list:
            return Wrong(path, "must be a list")
        if len(value) > self._most:
            return Wrong(path, f"has more than {self._most} entries")
        read = []
        for place, one in enumerate(value):
            read.append(self._kind.read(one, f"{path}[{place}]"))
            if type(read[-1]) is Wrong:
                return read[-1]
        return read

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self._kind.schema(), "maxItems": self._most, **({"minItems": self._least} if self._least else {})}


def _amount(read: Amount | BadAmount, path: str) -> Amount | Wrong:
    if type(read) is BadAmount:
        return Wrong(f"{path}.{read.member}" if read.member else path, read.problem)
    return read


def _object(properties: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


_CODE = {"type": "string", "pattern": "^[A-Z]{3}$"}
