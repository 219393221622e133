"""Plans: what the ladder decides by a request's shape, kept for the next request of that shape.

A client sends the same parameters in the same order all day long.  Its *shape* is the names in that order, the operation, the ``eci``
and the account's settings.  From the shape alone follow the operation and the way to pay, that nothing is extra and nothing missing, and
that no switch is off; a plan holds that, with one pattern for all values.  What a plan admits, the whole ladder would accept.  Decides
nothing else: it never says what is wrong, and whatever it does not admit climbs the ladder (see ``wire``).

No plan holds a value.  Only accepted requests leave one, so that all its names are known ones, and there is an end to them.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hmac import compare_digest

from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.ambiguity import LENGTHENING, LONG
from ringfence.api.aps.fields import FIELDS, LOOSE
from ringfence.api.aps.ladder import AGREEMENT
from ringfence.api.aps.operations import REPORTING, Operation, Variant
from ringfence.api.aps.signature import Spelling, digest, spelling

MOST = 512
"""Plans that are kept.  Further shapes climb the ladder: a client that varies its names costs others nothing but the shortcut."""


Shape = tuple[tuple[str, ...], str | None, str | None, Settings]
"""What a plan is kept by: the names as sent, the two values that decide between rules, operation and ``eci``, the account's switches."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to read the requests of one shape.

    ``fits`` is true for values, joined by newlines, that keep their rules.  ``searched``: a second reading of the pairs must be searched
    for (see ``ambiguity``).  ``repeated_whole``: the answer repeats every parameter as it came.
    """

    operation: Operation
    variant: Variant | None
    spelling: Spelling
    fits: Callable[[str], object]
    searched: bool
    repeated_whole: bool

    def pairs(self, params: Mapping[str, str], credential: Credential) -> str | None:
        """The pairs that the signature covers in the plain reading, where it does and every value keeps its rule; else ``None``."""
        values = self.spelling.values(params)
        pairs = self.spelling.pairs(values)
        expected = digest(pairs, credential.request_phrase, credential.sha_type)
        if compare_digest(expected.encode(), params["signature"].encode()) and self.fits("\n".join(values)):
            return pairs
        return None


PLANS: dict[Shape, Plan] = {}


def shape_of(params: Mapping[str, str], settings: Settings) -> Shape:
    """The shape of any request, however wrong."""
    operation = params.get("command") or params.get("service_command") or params.get("query_command")
    return tuple(params), operation, params.get("eci"), settings


def remember(shape: Shape, params: Mapping[str, str], operation: Operation, variant: Variant | None) -> None:
    """Keep a plan for the shape of an accepted request.

    Not where a parameter was sent empty: it counts as not sent, which the names do not tell.  Nor where the account restricts addresses
    or payment options, or where a repeated payment's agreement is told: values decide there.
    """
    settings = shape[-1]
    restricted = settings.sources is not None or settings.payment_options is not None
    if restricted or not AGREEMENT.isdisjoint(params) or "" in params.values() or len(PLANS) >= MOST:
        return
    names = sorted(params.keys() - {"signature"})
    PLANS[shape] = Plan(
        operation, variant, spelling(tuple(names)), re.compile(_rules(names, operation)).fullmatch,
        searched=not (LOOSE | LONG).isdisjoint(names),
        repeated_whole="card_number" not in names and operation.echoes.issuperset(names),
    )


def _rules(names: list[str], operation: Operation) -> str:
    """The pattern of the values of ``names``, joined by newlines.

    No rule matches a newline (see ``Field.rule``), so there are as many as between the values only where no value holds one, and then
    each rule meets its own value.  Nor does any but the loose match an equals sign, so that one of the long names appears in the pairs
    only where a value ends with the part that the next name lacks: that is left to the ladder.
    """
    rules = []
    for name, following in zip(names, [*names[1:], ""], strict=True):
        rule = re.escape(operation.name) if name == operation.key else FIELDS[name].rule
        if name == "response_format" and operation.endpoint != REPORTING:
            rule = "JSON"
        rules.append(rule + "".join(f"(?<!{re.escape(ending)})" for ending in LENGTHENING.get(following, ())))
    return "\n".join(rules)
