"""Ambiguity: whether the text under a signature can be read as another request.

The pairs are hashed without separators, so ``return_url=https://shop.example/?`` followed by ``token_name=T`` and a ``return_url`` that
ends in ``?token_name=T`` have one signature: whoever saw the first could send the second.  This module looks for a second reading:
known, distinct names of one operation in sorted order, the mandatory ones among them, every value valid.  Where there is one, neither
request is accepted, hence no two accepted requests ever share a signature.  It judges texts only; dates, check digits and accounts
could narrow the readings further and are left out on purpose.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from ringfence.api.aps.fields import CHECKS, FIELDS, LOOSE
from ringfence.api.aps.operations import KNOWN, Operation
from ringfence.api.aps.signature import underscore_first

_NAMES = frozenset().union(*(row.accepts for row in KNOWN.values())) - {"signature"}

#: Names that end with another name: at their equals sign either could have been meant.
LONG = frozenset(long for long in _NAMES if any(long != short and long.endswith(short) for short in _NAMES))
#: By name, what the value before it must not end with: the two would read as one of the long names.
LENGTHENING = {name: sorted(long.removesuffix(name) for long in LONG - {name} if long.endswith(name)) for name in _NAMES}
_LONG_KEYS = tuple(f"{name}=" for name in sorted(LONG))
_OTHER_LOOSE = LOOSE - {"return_url"}
_OPERATION_PAIRS = tuple((f"{row.key}={row.name}", row) for row in KNOWN.values())

#: Names by their last three letters: few end alike.
_BY_TAIL: dict[str, list[str]] = {}
for _name in sorted(_NAMES):
    _BY_TAIL.setdefault(_name[-3:], []).append(_name)

_BEYOND = len(_NAMES)
_LONGEST_NAME = max(map(len, _NAMES))


class Order:
    """One accepted order of names: ``rank`` by name."""

    def __init__(self, names: list[str]) -> None:
        self.rank = {name: rank for rank, name in enumerate(names)}

    @cache  # noqa: B019  (two orders, a dozen sets, for the life of the process)
    def limits(self, mandatory: frozenset[str]) -> dict[str, int]:
        """For each name the rank of the first mandatory name after it, which no reading may step over; for "" the very first."""
        wanted = sorted(self.rank[name] for name in mandatory)
        return {
            name: next((rank for rank in wanted if rank > own), _BEYOND)
            for name, own in [("", -1), *self.rank.items()]
        }


_BYTES = Order(sorted(_NAMES))
_UNDERSCORES = Order(sorted(_NAMES, key=lambda name: underscore_first((name, ""))))


class Key(NamedTuple):
    """One place where a known name stands before an equals sign, the ``nth`` of the pairs: ``pairs[start:equals] == name``."""

    start: int
    equals: int
    name: str
    nth: int


def second_reading(pairs: str, given: Mapping[str, str]) -> str | None:
    """The name of the parameter of ``given`` that another valid request would read differently, or ``None``.

    ``pairs`` is the text that the request's signature covers, ``given`` the valid request it was read as.

    Where no value may hold an equals sign and no name that ends with another occurs, every equals sign closes the one name
    that fits, so there is nothing to search: that is nearly every payment, and most others carry a plain return address.
    """
    if _nothing_to_search(pairs, given):
        return None
    for marker, operation in _OPERATION_PAIRS:
        if marker in pairs:
            for reading in _other_readings(pairs, given, operation):
                return _first_difference(pairs, given, reading)
    return None


def _nothing_to_search(pairs: str, given: Mapping[str, str]) -> bool:
    for key in _LONG_KEYS:
        if key in pairs:
            return False
    return LOOSE.isdisjoint(given) or (_OTHER_LOOSE.isdisjoint(given) and _plain_address(pairs, given))


def _differs(reading: Mapping[str, str], given: Mapping[str, str], operation: Operation) -> bool:
    """Whether a reading means something else than the request; the fields that a client may leave unsigned need not be in it."""
    meant = {name: value for name, value in given.items() if name != "signature" and (name in reading or name not in operation.unsigned)}
    return meant != {name: value for name, value in reading.items() if value}


def _plain_address(pairs: str, given: Mapping[str, str]) -> bool:
    """Whether the return address, the one value here that may hold an equals sign, can neither be cut nor grow.

    It cannot be cut where no known name ends before an equals sign inside it.  It cannot grow where the parameter after it, up to the
    first character of its value, would not be part of an address: what begins an address begins a longer one (see ``fields.URL``).
    """
    address = given["return_url"]
    equals = address.find("=")
    while equals >= 0:
        if any(address.endswith(name, 0, equals) for name in _BY_TAIL.get(address[max(0, equals - 3):equals], ())):
            return False
        equals = address.find("=", equals + 1)
    after = pairs.index(f"return_url={address}") + len("return_url=") + len(address)
    close = pairs.find("=", after)
    return close < 0 or (pairs[after:close] in given and not CHECKS["return_url"](address + pairs[after:close + 2]))


def _first_difference(pairs: str, given: Mapping[str, str], reading: Mapping[str, str]) -> str:
    """The first signed parameter of the request that the other reading has not, or has otherwise."""
    differing = [name for name, value in sorted(given.items()) if reading.get(name) != value and f"{name}={value}" in pairs]
    return differing[0] if differing else next((name for name in sorted(reading) if name not in given), min(reading))


def _other_readings(pairs: str, given: Mapping[str, str], operation: Operation) -> Iterator[dict[str, str]]:
    """Readings of the pairs as that operation that are not the request: none, or at least one."""
    keys = _keys(pairs, operation)
    base = frozenset(operation.mandatory) - operation.unsigned
    orders = [_BYTES]
    names = {key.name for key in keys}
    if sorted(names) != sorted(names, key=_UNDERSCORES.rank.__getitem__):
        orders.append(_UNDERSCORES)
    for order in orders:
        # Without the rules of the variants first: nearly always that leaves the request itself and nothing else.
        if any(_differs(reading, given, operation) for reading in _paths(pairs, keys, operation, base, order)):
            for mandatory in _mandatory_sets(operation, base):
                for reading in _paths(pairs, keys, operation, mandatory, order):
                    if _differs(reading, given, operation):
                        yield reading


def _mandatory_sets(operation: Operation, base: frozenset[str]) -> Iterator[frozenset[str]]:
    """Every alternative set of mandatory names of an operation."""
    if operation.one_of:
        yield from (base | {name} for name in operation.one_of)
    elif operation.variants:
        for variant in operation.variants:
            yield base.union(variant.mandatory, () if variant.eci == "ECOMMERCE" else ("eci",))
    else:
        yield base


def _keys(pairs: str, operation: Operation) -> list[Key]:
    """Every place where a name of the operation could stand, from left to right."""
    found, previous, nth = [], -1, 0
    equals = pairs.find("=")
    while equals >= 0:
        for name in _BY_TAIL.get(pairs[equals - 3:equals], ()):
            if name in operation.accepts and pairs.endswith(name, previous + 1, equals):
                found.append(Key(equals - len(name), equals, name, nth))
        previous, nth, equals = equals, nth + 1, pairs.find("=", equals + 1)
    return found


def _paths(pairs: str, keys: list[Key], operation: Operation, mandatory: frozenset[str], order: Order) -> Iterator[dict[str, str]]:
    """At most two ways from the first character to the last: sorted names, valid values, no mandatory name left out."""
    rank, limits = order.rank, order.limits(mandatory)

    def valid(name: str, value: str) -> object:
        if not value:
            return name not in mandatory
        return value == operation.name if name == operation.key else CHECKS[name](value)

    # From the right: what may follow each key, so that walking from the left never meets a dead end.
    follows: list[list[int]] = [[] for _ in keys]
    last = pairs.count("=") - 1
    for i in range(len(keys) - 1, -1, -1):
        _, equals, name, nth = keys[i]
        own, limit, longest = rank[name], limits[name], FIELDS[name].longest
        reach = last if name in LOOSE else nth + 1      # a value without an equals sign ends before the next name
        for j in range(i + 1, len(keys)):
            start, _, following, following_nth = keys[j]
            if following_nth > reach or start - equals - 1 > longest + _LONGEST_NAME:
                break
            if follows[j] and own < rank[following] <= limit and start > equals and valid(name, pairs[equals + 1:start]):
                follows[i].append(j)
        if limit == _BEYOND and (nth == last or name in LOOSE) and valid(name, pairs[equals + 1:]):
            follows[i].append(len(keys))                # the end

    found = 0
    unfinished: list[tuple[int, ...]] = [
        (i,) for i, key in enumerate(keys) if key.start == 0 and follows[i] and rank[key.name] <= limits[""]
    ]
    while unfinished and found < 2:
        path = unfinished.pop()
        if path[-1] < len(keys):
            unfinished.extend((*path, j) for j in follows[path[-1]])
            continue
        found += 1
        ends = [*(keys[i].start for i in path[1:-1]), len(pairs)]
        yield {keys[i].name: pairs[keys[i].equals + 1:end] for i, end in zip(path[:-1], ends, strict=True)}
