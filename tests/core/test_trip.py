"""A trip's states, what each of them takes, and when its alarms are due."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.standing import Payment, Status
from ringfence.core.trip import ALARM_HOURS, HOURS, REFUSED, Asked, State, TripRefusal, alarm_at, state_of

STATE, EXPIRED = TripRefusal.STATE, TripRefusal.EXPIRED
START = datetime(2026, 1, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

#: The table of the protocol: state, then what it says to adjust, capture, cancel, refund and data.
TABLE = [
    (State.HELD,               None,    None,    None,  STATE, STATE),
    (State.ADJUST_PENDING,     None,    STATE,   None,  STATE, STATE),
    (State.ADJUSTED,           None,    None,    None,  STATE, STATE),
    (State.CAPTURED,           STATE,   STATE,   STATE, None,  None),
    (State.PARTIALLY_REFUNDED, STATE,   STATE,   STATE, None,  None),
    (State.REFUNDED,           STATE,   STATE,   STATE, STATE, None),
    (State.CANCELLED,          STATE,   STATE,   None,  STATE, STATE),
    (State.EXPIRED,            EXPIRED, EXPIRED, None,  STATE, STATE),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_what_a_state_takes(row):
    state, *answers = row
    assert [REFUSED.get((state, asked)) for asked in Asked] == answers


def test_every_state_has_its_row():
    assert {row[0] for row in TABLE} == set(State)


HELD = Payment(1, "USD", Status.AUTHORIZED, authorized=2000)
CAPTURED = Payment(1, "USD", Status.CAPTURED, authorized=2000, captured=1500, voided=500)
NOTHING = {"is_captured": False, "is_voided": False, "is_adjusting": False, "is_adjusted": False, "is_over": False}


@pytest.mark.parametrize(("payment", "facts", "state"), [
    (None, {}, State.HELD),
    (None, {"is_voided": True}, State.CANCELLED),
    (None, {"is_over": True}, State.EXPIRED),
    (HELD, {}, State.HELD),
    (HELD, {"is_adjusting": True}, State.ADJUST_PENDING),
    (HELD, {"is_adjusted": True}, State.ADJUSTED),
    (HELD, {"is_adjusted": True, "is_adjusting": True}, State.ADJUST_PENDING),
    (HELD, {"is_over": True, "is_adjusted": True}, State.EXPIRED),
    (HELD, {"is_captured": True}, State.CAPTURED),
    (HELD, {"is_voided": True}, State.CANCELLED),
    (HELD._replace(status=Status.VOIDED, voided=2000), {"is_over": True}, State.CANCELLED),
    (HELD._replace(status=Status.VOIDED, expired=2000), {"is_over": True}, State.EXPIRED),
    (CAPTURED, {"is_captured": True, "is_over": True}, State.CAPTURED),
    (CAPTURED._replace(refunded=1), {"is_captured": True}, State.PARTIALLY_REFUNDED),
    (CAPTURED._replace(refunded=1500), {"is_captured": True}, State.REFUNDED),
])
def test_where_a_trip_stands(payment, facts, state):
    assert state_of(payment, **(NOTHING | facts)) is state


def test_alarms_of_a_usual_life():
    assert [alarm_at(START, START + HOURS * HOUR, raised) for raised in range(5)] == [
        *(START + hours * HOUR for hours in ALARM_HOURS), START + HOURS * HOUR, None]


@given(hours=st.integers(1, 168))
def test_alarms_come_in_order_and_before_the_end(hours):
    end = START + hours * HOUR
    due = [alarm_at(START, end, raised) for raised in range(4)]
    assert due == sorted(due)
    assert due[0] > START and due[-1] == end
