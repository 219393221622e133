"""Disputes: their life as scripts, and by chance."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.dispute import (
    ALLOWED,
    CLOSED,
    Act,
    Action,
    Decision,
    Dispute,
    Heard,
    Phase,
    Refusal,
    Said,
    Sent,
    Silence,
    Status,
    actions,
    decide,
)
from ringfence.core.notices import Noticed

NOW = datetime(2026, 1, 5, tzinfo=UTC)
DUE = NOW + timedelta(days=25)

BOOKED = {Noticed.CHARGEBACK: "chargeback", Noticed.CHARGEBACK_RETURNED: "back", Noticed.DISPUTE_LOST: "lost"}

#: A line is a message, then the status it leads to, what is booked, what is told; or the refusal.
SCRIPTS = {
    "the merchant is silent, and loses": """
        taken 1000              | open  chargeback:1000  +money_taken +action_required
        silence                 | nothing_due
        later 24d
        silence                 | nothing_due
        later 1d
        silence                 | lost  lost:1000  +lost
        silence                 | nothing_due
        lost                    | lost                                  # the provider comes to the same
        challenge               | closed
    """,
    "he accepts": """
        taken 1000              | open
        accept 5                | amount_wrong
        accept                  | accepting  +accept_processing
        accept                  | not_your_turn
        sent 1                  | lost  lost:1000  +lost
        sent 1                  | sent_before
    """,
    "he challenges, and wins": """
        taken 1000              | open
        challenge               | challenging  +challenge_processing
        sent 1                  | under_review  +under_review
        won                     | won  back:1000  +money_returned +won
        won                     | won
        accept                  | closed
    """,
    "the money comes back for the time being": """
        taken 1000              | open
        challenge               | challenging
        sent 1                  | under_review
        returned 1000           | under_review  back:1000  +money_returned
        taken 1000 pre_arbitration | open  chargeback:1000  +money_taken +action_required
        challenge               | challenging
        sent 1                  | sent_before
        sent 2                  | under_review
        lost                    | lost  lost:1000  +lost
    """,
    "what he does not contest is conceded": """
        taken 1000              | open
        challenge 1001          | amount_wrong
        challenge 0             | amount_wrong
        challenge 700           | challenging
        sent 1                  | under_review  lost:300  +under_review
        won                     | won  back:700  +money_returned +won
    """,
    "an inquiry moves no money": """
        inquired 1000           | open  +action_required
        later 25d
        silence                 | under_review  +under_review
        taken 1000              | open  chargeback:1000  +money_taken +action_required
    """,
    "an inquiry that is accepted costs what the issuer then takes": """
        inquired 1000           | open
        accept                  | accepting
        sent 1                  | lost  +lost
        taken 1000              | lost  chargeback:1000 lost:1000  +money_taken
    """,
    "an offer is accepted": """
        inquired 1000           | open
        offer                   | amount_wrong
        offer 400               | offering  +offer_processing
        sent 1                  | offering
        sent 1                  | sent_before
        offer_accepted          | offer_accepted  +offer_accepted
        taken 400               | offer_accepted  chargeback:400 lost:400  +money_taken
    """,
    "an offer is rejected, and the case goes on": """
        inquired 1000           | open
        offer 1                 | offering
        sent 1                  | offering
        offer_rejected          | offer_rejected  +offer_rejected
        accept                  | not_your_turn
        taken 1000              | open  chargeback:1000  +money_taken +action_required
        offer 5                 | not_allowed
    """,
    "the issuer gives it up while the answer is on its way": """
        taken 1000              | open
        challenge               | challenging
        withdrawn               | won  back:1000  +money_returned +won
        sent 1                  | sent_before
    """,
    "a deadline that has passed is one, before the clock's queue comes": """
        taken 1000              | open
        later 25d
        challenge               | too_late
    """,
    "a case that was won is opened again": """
        taken 1000              | open
        challenge               | challenging
        sent 1                  | under_review
        won                     | won
        taken 600 pre_arbitration | open  chargeback:600  +money_taken +action_required
        silence                 | nothing_due
    """,
    "an early fraud report asks nothing of anybody": """
        reported 1000           | reported  +fraud_reported
        accept                  | not_your_turn
        silence                 | nothing_due
        taken 1000              | open  chargeback:1000  +money_taken +action_required
    """,
    "more comes back than this case held": """
        taken 1000              | open
        returned 1200           | open  back:1000  +money_returned +unmatched
    """,
    "in arbitration only the scheme speaks": """
        taken 1000 arbitration  | open
        challenge               | not_allowed
        accept                  | accepting
    """,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_disputes_live_as_their_scripts_say(script):
    """Every line leads where it says, and books and tells what it says."""
    dispute, now = Dispute(1000), NOW
    for line in filter(None, map(str.strip, script.splitlines())):
        said, _, expected = (part.strip() for part in line.partition("#")[0].partition("|"))
        word, *more = said.split()
        if word == "later":
            now += timedelta(days=int(more[0][:-1]))
            continue
        verdict = decide(dispute, message(dispute, word, *more), now)
        if isinstance(verdict, Decision):
            dispute = verdict.dispute
        first, *rest = expected.split()
        assert (verdict.dispute.status if isinstance(verdict, Decision) else verdict) == first, line
        if rest:
            assert isinstance(verdict, Decision)
            booked = [f"{BOOKED[one.noticed]}:{one.minor}" for one in verdict.bookings]
            assert [*booked, *(f"+{event}" for event in verdict.events)] == rest, line


def message(dispute: Dispute, word: str, minor: str = "", phase: str = "chargeback"):
    if word in list(Action):
        return Act(Action(word), int(minor) if minor else None)
    if word == "sent":
        return Sent(int(minor))
    if word == "silence":
        return Silence()
    is_asked = word in (Said.TAKEN, Said.INQUIRED)
    return Heard(dispute.heard + 1, Said(word), int(minor or 0), Phase(phase), DUE if is_asked else None)


def test_every_phase_and_only_open_cases_offer_actions():
    """What is offered is what is allowed, until the very instant of the deadline."""
    for phase in Phase:
        for status in Status:
            dispute = Dispute(1000, phase, status, DUE)
            assert actions(dispute, DUE - timedelta(microseconds=1)) == (ALLOWED[phase] if status is Status.OPEN else ())
            assert actions(dispute, DUE) == ()


def test_notices_wait_for_their_predecessors():
    """One that was applied does nothing, one that is early waits."""
    dispute = Dispute(1000, heard=2)
    assert decide(dispute, Heard(2, Said.WON), NOW) is Refusal.HEARD_BEFORE
    assert decide(dispute, Heard(4, Said.WON), NOW) is Refusal.EARLY


# --- by chance ------------------------------------------------------------------------------------------------------

NOTICES = st.builds(
    lambda said, minor, phase: (said, minor, phase), st.sampled_from(Said), st.integers(1, 2000), st.sampled_from(list(Phase)[1:]))
MERCHANTS = st.one_of(
    st.builds(Act, st.sampled_from(Action), st.one_of(st.none(), st.integers(-1, 2500))), st.builds(Sent, st.integers(0, 4)), st.just(Silence()))


def numbered(told) -> list[Heard]:
    return [Heard(place + 1, said, minor, phase, DUE if said in (Said.TAKEN, Said.INQUIRED) else None)
            for place, (said, minor, phase) in enumerate(told)]


@given(st.lists(NOTICES, max_size=8), st.data())
def test_money_of_a_case_never_comes_out_twice(told, data):
    """Whatever is said by whom and when: what was taken is held, back or lost, and no case that ended holds anything."""
    waiting, dispute, now = numbered(told), Dispute(1000), NOW
    booked = dict.fromkeys(BOOKED, 0)
    for _ in range(25):
        spoken = data.draw(MERCHANTS) if not waiting or data.draw(st.booleans()) else waiting.pop(0)
        now += timedelta(days=data.draw(st.integers(0, 12)))
        verdict = decide(dispute, spoken, now)
        if isinstance(verdict, Refusal):
            assert not isinstance(spoken, Heard), "a fact is never refused in its turn"
            continue
        for one in verdict.bookings:
            assert one.minor > 0
            booked[one.noticed] += one.minor
        dispute = verdict.dispute
        assert dispute.held >= 0 and (not dispute.is_closed or dispute.held == 0)
        assert (dispute.status in CLOSED) == (dispute.closing is not None)
        assert list(booked.values()) == [dispute.taken, dispute.returned, dispute.lost]
        assert verdict.answer == isinstance(spoken, Act)


@given(st.lists(NOTICES, min_size=1, max_size=6), st.data())
def test_the_order_of_arrival_does_not_matter(told, data):
    """Notices that come twice and in any order, the early ones kept until their turn, end where the straight order does."""
    straight = numbered(told)
    expected, money = heard_all(straight)
    shuffled = data.draw(st.permutations(straight + data.draw(st.lists(st.sampled_from(straight), max_size=6))))
    dispute, kept, booked = Dispute(1000), {}, []
    for one in shuffled:
        if decide(dispute, one, NOW) is not Refusal.HEARD_BEFORE:
            kept[one.number] = one
        while isinstance(verdict := decide(dispute, kept.get(dispute.heard + 1, straight[0]), NOW), Decision):
            dispute = verdict.dispute
            booked += verdict.bookings
    assert (dispute, booked) == (expected, money)


def heard_all(notices):
    dispute, booked = Dispute(1000), []
    for one in notices:
        verdict = decide(dispute, one, NOW)
        assert isinstance(verdict, Decision)
        dispute, booked = verdict.dispute, [*booked, *verdict.bookings]
    return dispute, booked
