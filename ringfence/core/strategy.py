"""Strategies: what is done when the issuer will not promise the price of a cart that has left the store.

Three of them.  *write_off*: give the hold back, all of it is owed.  *take_standing*: capture what the issuer holds, the rest is owed.
*search*: look between what stands and the price for the largest amount that the issuer promises, then capture that.  A search asks the
price first, then the middle, in whole units of the currency, upwards after an approval and downwards after a decline; it ends within one
step of the issuer's limit, after so many questions, at a decline that forbids further ones, or when the trip's time runs out.  It never
asks for less than stands, because that would release money, and never for more than the price.

Pure: says the next step, and refuses to know who takes it.  Source: Just Walk Out payments, strategies for declined adjustments.
"""
from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class Strategy(StrEnum):
    """What a merchant does with what was not approved."""

    WRITE_OFF = "write_off"
    TAKE_STANDING = "take_standing"
    SEARCH = "search"


class Do(StrEnum):
    """What a step is."""

    ADJUST = "adjust"           # ask the issuer for this much in all
    CAPTURE = "capture"         # take this much, the rest of the hold is given back
    CANCEL = "cancel"           # give the hold back


class Why(StrEnum):
    """Why what is left is owed."""

    NONE = ""                           # nothing is
    DECLINED = "declined"               # the price was, and nothing else was asked for
    HARD_DECLINE = "hard_decline"       # and the issuer forbade to ask again
    LIMIT_FOUND = "limit_found"         # the issuer's limit is known to one step
    ASKED_ENOUGH = "asked_enough"       # as often as one may ask
    NO_TIME = "no_time"                 # the trip ends too soon
    EXPIRED = "expired"                 # it has ended
    NOT_CAPTURED = "not_captured"       # it stood, and could not be captured


MOST = 8
"""So many questions: some acquirers take at most ten increments for a payment, and networks charge for asking on after declines."""


class Plan(NamedTuple):
    """``total``: the price of the cart, in minor units.  ``step``: how near a search comes, in minor units.  ``most``: questions, the one for
    the price included.  ``unit``: minor units of one whole unit of the currency (100 for USD, 1 for JPY)."""

    total: int
    strategy: Strategy
    step: int = 100
    most: int = MOST
    unit: int = 100


class Tried(NamedTuple):
    """A question that was answered: ``minor`` units in all were asked for, ``standing`` is what stood then; ``is_hard``: ask no more."""

    minor: int
    is_approved: bool
    standing: int
    is_hard: bool = False


class Step(NamedTuple):
    """What is done next; ``why`` says what ended the questions, of a last step that leaves something owed."""

    do: Do
    minor: int = 0
    why: Why = Why.NONE


def next_step(plan: Plan, standing: int, tried: Sequence[Tried], *, has_time: bool = True) -> Step:
    """What is done next, where ``standing`` minor units are promised now and ``tried`` was asked before.

    ``has_time``: the trip does not end soon.  The price itself is asked for however little time is left.
    """
    assert plan.total >= 0 and plan.step > 0 and plan.unit > 0 and plan.most > 0
    if plan.total <= standing:
        return Step(Do.CAPTURE, plan.total) if plan.total else Step(Do.CANCEL)
    if not tried:
        return Step(Do.ADJUST, plan.total)
    if plan.strategy is not Strategy.SEARCH:
        return _last(plan, standing, Why.HARD_DECLINE if tried[-1].is_hard else Why.DECLINED)
    if tried[-1].is_hard:
        return _last(plan, standing, Why.HARD_DECLINE)
    too_much = min((one.minor for one in tried if not one.is_approved), default=plan.total)
    if too_much - standing <= plan.step:
        return _last(plan, standing, Why.LIMIT_FOUND)
    if len(tried) >= plan.most:
        return _last(plan, standing, Why.ASKED_ENOUGH)
    if not has_time:
        return _last(plan, standing, Why.NO_TIME)
    return Step(Do.ADJUST, _between(standing, too_much, min(plan.step, plan.unit)))


def _between(standing: int, too_much: int, grain: int) -> int:
    """The middle in whole grains; where that is no more than stands, the next grain above it, which is below ``too_much``."""
    middle = (standing + too_much) // 2 // grain * grain
    return middle if middle > standing else (standing // grain + 1) * grain


def _last(plan: Plan, standing: int, why: Why) -> Step:
    if plan.strategy is Strategy.WRITE_OFF or not standing:
        return Step(Do.CANCEL, why=why)
    return Step(Do.CAPTURE, standing, why)


def strategy_in(store: str, rules: Sequence[tuple[str, str]], otherwise: str) -> Strategy:
    """What a merchant does in a store: the first rule that fits counts (a pattern's last * is for whatever follows)."""
    for pattern, word in rules:
        if store == pattern or (pattern.endswith("*") and store.startswith(pattern[:-1])):
            return Strategy(word)
    return Strategy(otherwise)


class Tale(NamedTuple):
    """How a strategy would run: the questions, the last step, what is owed (minor units)."""

    tried: tuple[Tried, ...]
    last: Step
    debt: int


def simulate(plan: Plan, hold: int, limit: int) -> Tale:
    """A dry run against an issuer that holds ``hold`` and promises up to ``limit`` minor units in all."""
    tried: list[Tried] = []
    standing = hold
    while (step := next_step(plan, standing, tried)).do is Do.ADJUST:
        is_approved = step.minor <= limit
        standing = step.minor if is_approved else standing
        tried.append(Tried(step.minor, is_approved, standing))
    return Tale(tuple(tried), step, plan.total - (step.minor if step.do is Do.CAPTURE else 0))
