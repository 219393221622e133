"""Strategies against issuers whose limit nobody knows: by the book's example, as tables, and by chance."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.strategy import MOST, Do, Plan, Step, Strategy, Tried, Why, next_step, simulate, strategy_in

SEARCH = Plan(6410, Strategy.SEARCH)


@pytest.mark.parametrize("plan", [SEARCH._replace(step=300), SEARCH._replace(most=5)], ids=["three dollars near", "five questions"])
def test_the_worked_example(plan: Plan):
    """Hold 20, price 64.10: 42 yes, 53 no, 47 no, 44 yes; 44.00 is captured and 20.10 owed."""
    tale = simulate(plan, 2000, 4450)
    assert [(one.minor, one.is_approved, one.standing) for one in tale.tried] == [
        (6410, False, 2000), (4200, True, 4200), (5300, False, 4200), (4700, False, 4200), (4400, True, 4400)]
    assert (tale.last.do, tale.last.minor, tale.debt) == (Do.CAPTURE, 4400, 2010)


@pytest.mark.parametrize(("strategy", "hold", "limit", "asked", "last", "debt"), [
    (Strategy.WRITE_OFF, 2000, 4450, [6410], Step(Do.CANCEL, 0, Why.DECLINED), 6410),
    (Strategy.TAKE_STANDING, 2000, 4450, [6410], Step(Do.CAPTURE, 2000, Why.DECLINED), 4410),
    (Strategy.SEARCH, 2000, 4450, [6410, 4200, 5300, 4700, 4400, 4500], Step(Do.CAPTURE, 4400, Why.LIMIT_FOUND), 2010),
    (Strategy.TAKE_STANDING, 0, 0, [6410], Step(Do.CANCEL, 0, Why.DECLINED), 6410),
    (Strategy.SEARCH, 2000, 2000, [6410, 4200, 3100, 2500, 2200, 2100], Step(Do.CAPTURE, 2000, Why.LIMIT_FOUND), 4410),
    *((one, 2000, 6410, [6410], Step(Do.CAPTURE, 6410), 0) for one in Strategy),
    *((one, 7000, 7000, [], Step(Do.CAPTURE, 6410), 0) for one in Strategy),
])
def test_how_each_strategy_ends(strategy: Strategy, hold: int, limit: int, asked: list[int], last: Step, debt: int):
    tale = simulate(SEARCH._replace(strategy=strategy), hold, limit)
    assert ([one.minor for one in tale.tried], tale.last, tale.debt) == (asked, last, debt)


def test_a_free_cart_gives_the_hold_back():
    assert simulate(SEARCH._replace(total=0), 2000, 9999).last == Step(Do.CANCEL)


DECLINED = Tried(6410, False, 2000)


@pytest.mark.parametrize(("tried", "has_time", "step"), [
    ([DECLINED._replace(is_hard=True)], True, Step(Do.CAPTURE, 2000, Why.HARD_DECLINE)),
    ([DECLINED], False, Step(Do.CAPTURE, 2000, Why.NO_TIME)),
    ([], False, Step(Do.ADJUST, 6410)),
    ([DECLINED] * MOST, True, Step(Do.CAPTURE, 2000, Why.ASKED_ENOUGH)),
])
def test_what_ends_a_search_early(tried: list[Tried], has_time: bool, step: Step):
    """A decline that forbids to ask again, the trip's end, the number of questions; what stands is taken."""
    assert next_step(SEARCH, 2000, tried, has_time=has_time) == step


def test_a_part_that_the_issuer_promised_is_where_the_search_goes_on():
    """Partly approved: 30.00 stand by now, and 64.10 are too much."""
    assert next_step(SEARCH, 3000, [Tried(6410, False, 3000)]) == Step(Do.ADJUST, 4700)


@pytest.mark.parametrize(("unit", "step", "asked"), [
    (1, 100, [6410, 4205, 5307]), (1000, 100, [6410, 4200, 5300]), (100, 50, [6410, 4200, 5300]), (100, 7, [6410, 4200, 5299]),
])
def test_questions_are_whole_units_of_the_currency(unit: int, step: int, asked: list[int]):
    """Of JPY, of KWD to a tenth, of USD; where the step is finer, whole steps."""
    assert [one.minor for one in simulate(SEARCH._replace(unit=unit, step=step, most=3), 2000, 4999).tried] == asked


@st.composite
def carts(draw: st.DrawFn) -> tuple[Plan, int, int]:
    """A plan, the gate's hold, and the issuer's limit."""
    total = draw(st.integers(1, 10**6))
    hold = draw(st.integers(0, total + 1000))
    return Plan(
        total, draw(st.sampled_from(Strategy)), draw(st.integers(1, 2000)), draw(st.integers(1, 8)), draw(st.sampled_from([1, 100, 1000])),
    ), hold, draw(st.integers(hold, total * 2 + hold))


@given(carts())
def test_no_question_releases_money_or_asks_for_more_than_the_price(cart: tuple[Plan, int, int]):
    """Each is above what stands and at most the price, none is asked twice, and there are no more than allowed."""
    plan, hold, _ = cart
    standing, tale = hold, simulate(*cart)
    for one in tale.tried:
        assert standing < one.minor <= plan.total
        standing = one.standing
    assert len(tale.tried) <= (plan.most if plan.strategy is Strategy.SEARCH else 1)
    assert len({one.minor for one in tale.tried}) == len(tale.tried)


@given(carts())
def test_all_of_the_price_is_captured_or_owed(cart: tuple[Plan, int, int]):
    """Never more than the issuer promises, and what stood is never left, but by who writes everything off."""
    plan, hold, limit = cart
    tale = simulate(*cart)
    captured = tale.last.minor if tale.last.do is Do.CAPTURE else 0
    assert captured + tale.debt == plan.total and captured <= limit
    assert bool(tale.debt) == bool(tale.last.why)
    if plan.strategy is not Strategy.WRITE_OFF or limit >= plan.total:
        assert captured >= min(hold, plan.total)


@given(carts())
def test_a_search_ends_within_one_step_of_the_limit(cart: tuple[Plan, int, int]):
    """Unless it was cut short by the number of questions."""
    plan, hold, limit = cart
    tale = simulate(plan._replace(strategy=Strategy.SEARCH), hold, limit)
    if tale.last.why is not Why.ASKED_ENOUGH:
        assert min(limit, plan.total) - (tale.last.minor if tale.last.do is Do.CAPTURE else 0) <= plan.step


@given(st.integers(0, 10_000), st.integers(1, 12_800), st.integers(0, 30_000))
def test_eight_questions_find_the_limit_of_a_usual_cart(hold: int, more: int, limit: int):
    """A cart of up to 128 units above its hold is searched to the end, to one unit."""
    plan = Plan(hold + more, Strategy.SEARCH)
    assert simulate(plan, hold, max(hold, limit)).last.why is not Why.ASKED_ENOUGH


@pytest.mark.parametrize(("store", "strategy"), [
    ("NORTH-1", Strategy.WRITE_OFF), ("NORTH-7", Strategy.SEARCH), ("SOUTH", Strategy.TAKE_STANDING), ("NORTH", Strategy.TAKE_STANDING),
])
def test_each_store_may_have_its_own_strategy(store: str, strategy: Strategy):
    assert strategy_in(store, [("NORTH-1", "write_off"), ("NORTH-*", "search")], "take_standing") is strategy
