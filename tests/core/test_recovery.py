"""How doubts end, as a table: every kind, with everything a processor may be able to do, in every state."""
from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from ringfence.core.commands import Kind
from ringfence.core.recovery import LAST_ATTEMPT, PLAN, REVERSIBLE, Plan, Step, attempt_of, choices, next_step, pause

# What is done at tries 1, 2, 3 and 50: i inquire, v reverse, p repeat, t return by a refund, w review.
# Columns: no reversal was decided | one was decided, the same day | one was decided, and the cut-over is past.
TABLE = """
                                   open   left   past
authorization,increment  ------    vvvv   vvvv   vvvv
authorization,increment  inquiry   iivv   vvvv   vvvv
authorization,increment  dedup     vvvv   vvvv   vvvv
authorization,increment  both      iivv   vvvv   vvvv
purchase                 ------    vvvv   vvvv   vvvv
purchase                 inquiry   iivv   vvvv   vvvv
purchase                 dedup     vvvv   vvvv   vvvv
purchase                 both      iivv   vvvv   tttt
capture,void,decrement   ------    pppp   pppp   pppp
capture,void,decrement   inquiry   pppp   pppp   pppp
capture,void,decrement   dedup     pppp   pppp   pppp
capture,void,decrement   both      pppp   pppp   pppp
refund                   ------    wwww   wwww   wwww
refund                   inquiry   iiii   iiii   iiii
refund                   dedup     pppp   pppp   pppp
refund                   both      iipp   iipp   iipp
"""
STEPS = {"i": Step.INQUIRE, "v": Step.REVERSE, "p": Step.REPEAT, "t": Step.RETURN, "w": Step.REVIEW}
ABLE = {"------": (False, False), "inquiry": (True, False), "dedup": (False, True), "both": (True, True)}
STATES = {"open": (False, False), "left": (True, False), "past": (True, True)}
TRIES = (1, 2, 3, 50)


def rows() -> list[tuple[Kind, str, str, str]]:
    header, *lines = [line.split() for line in TABLE.strip("\n").splitlines()]
    return [
        (Kind(kind), able, state, steps)
        for kinds, able, *said in lines for kind in kinds.split(",") for state, steps in zip(header, said, strict=True)
    ]


@pytest.mark.parametrize(("kind", "able", "state", "expected"), rows(), ids=lambda value: str(value))
def test_the_table_of_steps(kind: Kind, able: str, state: str, expected: str):
    """What is said next depends on the kind, on what the processor can do, and on what was decided."""
    inquiry, deduplicates = ABLE[able]
    reversal_left, past_cut_over = STATES[state]
    assert "".join(
        next(letter for letter, step in STEPS.items() if step is next_step(
            kind, tries=tries, inquiry=inquiry, deduplicates=deduplicates, reversal_left=reversal_left, past_cut_over=past_cut_over,
            plan=PLAN))
        for tries in TRIES) == expected


@pytest.mark.parametrize("kind", Kind)
def test_what_the_other_side_has_is_only_asked_about(kind: Kind):
    """It is neither undone nor sent again, however often it was asked in vain; unless nobody can be asked, or a reversal has left."""
    for tries in TRIES:
        said = {"tries": tries, "deduplicates": True, "past_cut_over": False, "plan": PLAN, "pending": True}
        assert next_step(kind, inquiry=True, reversal_left=False, **said) is Step.INQUIRE
        for inquiry, left in ((False, False), (True, True)):
            assert next_step(kind, inquiry=inquiry, reversal_left=left, **said) is next_step(
                kind, inquiry=inquiry, reversal_left=left, **(said | {"pending": False}))


def test_the_table_has_every_kind_and_every_processor():
    """No kind and no capability is left to chance."""
    assert {(kind, able) for kind, able, *_ in rows()} == set(itertools.product(Kind, ABLE))


def test_what_must_come_about_is_never_undone_and_what_may_is_never_sent_again():
    """Whatever the state: a capture, void, decrement or refund is never reversed, an authorization or purchase never repeated."""
    for kind, inquiry, deduplicates, left, past, tries in itertools.product(Kind, *[(False, True)] * 4, range(1, 20)):
        step = next_step(
            kind, tries=tries, inquiry=inquiry, deduplicates=deduplicates, reversal_left=left, past_cut_over=past, plan=PLAN)
        assert step not in ((Step.REPEAT, Step.REVIEW) if kind in REVERSIBLE else (Step.REVERSE, Step.RETURN))
        if step in (Step.INQUIRE, Step.RETURN):
            assert inquiry
        if step is Step.RETURN or (step is Step.REPEAT and kind is Kind.REFUND):
            assert deduplicates, "a refund that could pay twice is never sent twice"


def test_pauses_follow_the_plan_and_the_last_one_repeats():
    """A tenth more or less, and never further apart than the plan's last pause says."""
    for subject, tries in itertools.product((1, 77, 9_000_000_000_000), range(30)):
        planned = PLAN.pauses[min(tries, len(PLAN.pauses) - 1)]
        assert 0.9 * planned <= pause(PLAN, tries, subject).total_seconds() <= 1.1 * planned


def test_pauses_spread_and_are_the_same_every_time():
    """Jitter without chance: what failed together comes back apart, and a second run finds the same instants."""
    spread = [pause(PLAN, 4, subject) for subject in range(1000)]
    assert spread == [pause(PLAN, 4, subject) for subject in range(1000)]
    assert len(set(spread)) > 990
    assert max(spread) - min(spread) > timedelta(seconds=5)
    assert pause(Plan(pauses=(3,)), 0, 1) != pause(Plan(pauses=(3,)), 1, 1)


@pytest.mark.parametrize(("kind", "left", "expected"), [
    (Kind.AUTHORIZATION, False, {"approved", "declined", "reversed"}),
    (Kind.AUTHORIZATION, True, {"declined", "reversed"}),
    (Kind.PURCHASE, True, {"declined", "reversed"}),
    (Kind.INCREMENT, False, {"approved", "declined", "reversed"}),
    (Kind.CAPTURE, False, {"approved", "declined"}),
    (Kind.VOID, False, {"approved", "declined"}),
    (Kind.DECREMENT, False, {"approved", "declined"}),
    (Kind.REFUND, False, {"approved", "declined"}),
])
def test_what_a_person_may_decide(kind: Kind, left: bool, expected: set[str]):
    """Nothing is approved behind a reversal, and nothing is called reversed that cannot be."""
    assert choices(kind, left) == expected


def test_attempts_stay_within_what_is_stored():
    """Also of an operation that is tried for years."""
    assert [attempt_of(tries) for tries in (1, 2, LAST_ATTEMPT - 1, LAST_ATTEMPT, 10 ** 9)] == [2, 3, *[LAST_ATTEMPT] * 3]
