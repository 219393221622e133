"""A payment link: who may do what with it when, by tables and by chance."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.link import (
    ALLOWED,
    HOLD,
    HOUR,
    NOT_ALLOWED,
    PER_HOUR,
    PER_LINK,
    Act,
    Payment,
    Problem,
    Standing,
    State,
    cancelled,
    left_alone,
    may_send,
    opened,
    problem,
    state_at,
)

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
LINK = Standing(NOON + DAY)
SARA, OMAR = b"sara", b"omar"


@pytest.mark.parametrize(("link", "at", "state"), [
    (LINK, NOON, State.OPEN),
    (LINK, NOON + DAY - MINUTE, State.OPEN),
    (LINK, NOON + DAY, State.EXPIRED),
    (LINK._replace(held_until=NOON + HOLD, holder=SARA), NOON, State.OPENED),
    (LINK._replace(held_until=NOON + HOLD, holder=SARA), NOON + HOLD, State.OPEN),
    (LINK._replace(cancelled=True), NOON, State.CANCELLED),
    (LINK._replace(cancelled=True), NOON + DAY, State.CANCELLED),
    (LINK._replace(payment=Payment.DOUBT), NOON + DAY, State.OPENED),
    (LINK._replace(payment=Payment.APPROVED), NOON, State.PAID),
    (LINK._replace(payment=Payment.APPROVED, cancelled=True), NOON + DAY, State.PAID),
])
def test_where_a_link_stands(link, at, state):
    """Money first, then its merchant's word, then the time."""
    assert state_at(link, at) is state


def test_every_state_says_what_it_allows():
    """And why not."""
    assert set(ALLOWED) == set(State) and set(NOT_ALLOWED) == set(State) - {State.OPEN}


def test_whoever_opened_it_may_open_it_again_and_nobody_else():
    """Until it lapses, or its holder gives up."""
    held = opened(LINK, SARA, NOON)
    assert held == LINK._replace(holder=SARA, held_until=NOON + HOLD)
    assert opened(held, OMAR, NOON + MINUTE) is Problem.SOMEONE_IS_PAYING
    assert opened(held, SARA, NOON + MINUTE).held_until == NOON + MINUTE + HOLD
    assert opened(held, OMAR, NOON + HOLD).holder == OMAR
    assert left_alone(held, OMAR) == held
    assert opened(left_alone(held, SARA), OMAR, NOON).holder == OMAR


def test_nobody_holds_a_link_longer_than_it_lives():
    """The page of a payer ends with the link."""
    late = NOON + DAY - MINUTE
    assert opened(LINK, SARA, late).held_until == LINK.expires_at


def test_even_its_holder_waits_while_a_payment_is_in_doubt():
    """Whoever pays again would pay twice."""
    link = LINK._replace(holder=SARA, held_until=NOON + HOLD, payment=Payment.DOUBT)
    assert opened(link, SARA, NOON) is Problem.SOMEONE_IS_PAYING


acts = st.one_of(
    st.tuples(st.just("open"), st.sampled_from([SARA, OMAR])), st.tuples(st.just("leave"), st.sampled_from([SARA, OMAR])),
    st.tuples(st.just("cancel"), st.just(b"")), st.tuples(st.just("payment"), st.sampled_from(list(Payment))),
    st.tuples(st.just("wait"), st.sampled_from([MINUTE, HOLD, DAY])),
)


@given(st.lists(acts, max_size=30))
def test_a_link_by_chance(played):
    """One holder at a time; what ended stays ended; nothing but money changes an ended link."""
    link, now, holder, until = LINK, NOON, b"", NOON
    for what, whose in played:
        before = state_at(link, now)
        if what == "wait":
            now += whose
        elif what == "payment":
            if link.payment is not Payment.APPROVED:        # what was paid once was paid
                link = link._replace(payment=whose)
        elif what == "leave":
            link = left_alone(link, whose)
            holder = b"" if whose == holder else holder
        elif what == "cancel":
            after = cancelled(link, now)
            assert isinstance(after, Problem) == (before is not State.OPEN)
            link = link if isinstance(after, Problem) else after
        else:
            after = opened(link, whose, now)
            if isinstance(after, Problem):
                assert before is not State.OPEN
            else:
                assert before is State.OPEN or (before is State.OPENED and whose == holder)
                assert now < after.held_until <= min(now + HOLD, link.expires_at)
                link, holder, until = after, whose, after.held_until
        state = state_at(link, now)
        if before is State.PAID:
            assert state is State.PAID
        if before is State.CANCELLED and what != "payment":
            assert state is State.CANCELLED
        if before is State.EXPIRED and what != "payment":
            assert state is State.EXPIRED
        if state is State.OPENED and link.payment is Payment.NONE:
            assert holder and now < until
        for act in Act:
            refused = problem(link, act, now)
            assert (refused is None) == (act in ALLOWED[state]) and refused in (None, NOT_ALLOWED.get(state))


def test_a_link_is_no_campaign():
    """So many messages an hour, and so many in all."""
    sent = [NOON] * PER_HOUR
    assert not may_send(sent, NOON, 1) and may_send(sent[1:], NOON, 1) and not may_send(sent[1:], NOON, 2)
    assert may_send(sent, NOON + HOUR, PER_HOUR)
    assert not may_send([NOON - DAY] * PER_LINK, NOON, 1)
