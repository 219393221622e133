"""What the simulated issuers do about captured money, by the cards of the 07NN family: tables, and one step at a time.

A case is planned when its capture is approved, and goes on by business time and by what the merchant answers; whatever the issuer does it
tells, counting from 1.  Evidence decides where the table does not.  Pure; ``docket`` keeps the cases.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from ringfence.core.commands import Kind
from ringfence.core.dispute import Action, Heard, Phase, Said
from ringfence.core.dispute_reasons import Reason
from ringfence.core.notices import Noticed

DAY = timedelta(days=1)
OPENS_AFTER = 7 * DAY
"""From the capture to the issuer's first word."""
SCHEME_DAYS, MERCHANT_DAYS = 30, 25
"""The scheme waits so long for an answer, and the merchant is given so long: earlier by five days (Visa)."""
DECIDES_AFTER = 3 * DAY
"""From an answer to the issuer's decision."""
COMES_BACK_AFTER = 7 * DAY
"""From provisional credit to pre-arbitration."""
WITHDRAWS_AFTER = 3 * DAY

WINS, LOSES = "winning_evidence", "losing_evidence"
"""Words in a challenge that decide, whatever else is there."""


class Plan(NamedTuple):
    """What a scenario does with a capture (or refund)."""

    opens: Said | Noticed
    reason: Reason = Reason.FRAUD_CARD_ABSENT
    note: str = ""
    share: int = 1                          # of the amount, one in so many, rounded down
    of: tuple[Kind, ...] = (Kind.PURCHASE, Kind.CAPTURE)
    after: timedelta = OPENS_AFTER
    wins: bool | None = None                # a challenge wins, loses, or (None) evidence decides
    comes_back: bool = False                # after a challenge: provisional credit, then pre-arbitration
    withdraws: bool = False                 # the issuer gives it up by itself


#: The 07NN cards.  What is missing here behaves as 0000.
PLANS: dict[str, Plan] = {
    "0700": Plan(Said.REPORTED, note="The cardholder's bank reports fraud."),
    "0701": Plan(Said.TAKEN, note="The cardholder did not take part in the payment."),
    "0702": Plan(Said.TAKEN, Reason.NOT_RECEIVED, "The goods were not received."),
    "0703": Plan(Said.INQUIRED, Reason.GENERAL, "The cardholder does not recognize the payment."),
    "0704": Plan(Said.TAKEN, Reason.NOT_AS_DESCRIBED, "The goods are not as described.", wins=True),
    "0705": Plan(Said.TAKEN, Reason.NOT_AS_DESCRIBED, "The goods are not as described.", wins=False, comes_back=True),
    "0706": Plan(Said.TAKEN, Reason.DUPLICATE, "A part was charged twice.", share=2),
    "0707": Plan(Said.TAKEN, note="The cardholder did not take part in the payment.", wins=True, withdraws=True),
    "0708": Plan(Noticed.REFUND_RETURNED, of=(Kind.REFUND,), after=DAY),
    "0710": Plan(Noticed.CAPTURE_REJECTED, of=(Kind.CAPTURE, Kind.PURCHASE), after=DAY),
}

RAISABLE = tuple(code for code, plan in PLANS.items() if isinstance(plan.opens, Said))
"""What a person may have begin by hand."""

#: What the cards do, for people.
TEXTS: dict[str, str] = {
    "0700": "approved; the captured money is reported as fraud, nothing more",
    "0701": "approved; fraud chargeback (10.4/4837), evidence decides",
    "0702": "approved; chargeback, goods not received (13.1/4853), evidence decides",
    "0703": "approved; inquiry, chargeback if it is unanswered or the answer does not convince",
    "0704": "approved; chargeback, any challenge wins",
    "0705": "approved; chargeback, a challenge brings provisional credit, then pre-arbitration, which is lost",
    "0706": "approved; chargeback of half, duplicate (12.6.1/4834), evidence decides",
    "0707": "approved; chargeback that the issuer gives up by itself",
    "0708": "approved; a refund is accepted, and comes back a day later",
    "0710": "approved; clearing rejects the capture a day later",
}


class Stage(StrEnum):
    """Where the issuer is with a case: what it waits for, or does next."""

    PLANNED = "planned"
    INQUIRED = "inquired"
    TAKEN = "taken"
    TAKEN_AGAIN = "taken_again"
    DECIDES_FOR = "decides_for"             # ... the merchant
    DECIDES_AGAINST = "decides_against"
    GIVES_CREDIT = "gives_credit"
    COMES_BACK = "comes_back"
    COLLECTS = "collects"                   # what was conceded to an inquiry
    SETTLES = "settles"                     # for what was offered
    REJECTS = "rejects"
    CLOSED = "closed"


class Case(NamedTuple):
    """A case as the issuer has it.  ``minor`` is disputed now, ``told`` counts its words, ``round`` the merchant's answers."""

    name: str
    operation: int
    payment: int
    merchant: str
    currency: str
    minor: int
    scenario: str
    stage: Stage
    next_at: datetime | None
    told: int = 0
    round: int = 0


class Word(NamedTuple):
    """What the issuer tells at an instant: a notice of a case, or a fact about the payment."""

    at: datetime
    said: Heard | Noticed
    minor: int
    note: str = ""


def planned(scenario: str, kind: Kind, operation: int, payment: int, merchant: str, currency: str, minor: int, at: datetime) -> Case | None:
    """The case that follows from what was approved at ``at``; ``None`` where none does."""
    plan = PLANS.get(scenario)
    if plan is None or kind not in plan.of or minor // plan.share <= 0:
        return None
    return Case(
        f"case-{operation}", operation, payment, merchant, currency, minor // plan.share, scenario, Stage.PLANNED, at + plan.after)


def step(case: Case) -> tuple[Case, list[Word]]:
    """What the issuer does by itself at ``case.next_at``."""
    assert case.next_at is not None
    return _STEPS[case.stage](case, PLANS[case.scenario], case.next_at)


def answered(case: Case, round: int, action: Action, minor: int, message: str, files: int, at: datetime) -> Case:
    """The case after the merchant's answer of that round; the same where it has heard it before, or does not wait for one."""
    if round <= case.round:
        return case
    case = case._replace(round=round)
    if case.stage not in (Stage.INQUIRED, Stage.TAKEN, Stage.TAKEN_AGAIN):
        return case                         # it was late
    if action is Action.ACCEPT:
        return _then(case, Stage.COLLECTS, at + DAY) if case.stage is Stage.INQUIRED else _closed(case)
    if action is Action.OFFER:
        return _then(case._replace(minor=minor), Stage.SETTLES, at + DAY) if 2 * minor >= case.minor else _then(
            case, Stage.REJECTS, at + DAY)
    plan = PLANS[case.scenario]
    convinces = convincing(message, files) if plan.wins is None else plan.wins
    if case.stage is not Stage.INQUIRED:
        case = case._replace(minor=minor)   # the rest is conceded
    if plan.comes_back and case.stage is Stage.TAKEN:
        return _then(case, Stage.GIVES_CREDIT, at + DECIDES_AFTER)
    return _then(case, Stage.DECIDES_FOR if convinces else Stage.DECIDES_AGAINST, at + DECIDES_AFTER)


def convincing(message: str, files: int) -> bool:
    """Whether evidence decides for the merchant: its words do, else whether there is any file."""
    return LOSES not in message and (WINS in message or files > 0)


# --- the steps ------------------------------------------------------------------------------------------------------


def _open(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    if isinstance(plan.opens, Noticed):
        return _closed(case), [Word(at, plan.opens, case.minor)]
    if plan.opens is Said.REPORTED:
        return _said(_closed(case), at, Said.REPORTED, note=plan.note)
    if plan.opens is Said.INQUIRED:
        return _said(_then(case, Stage.INQUIRED, at + SCHEME_DAYS * DAY), at, Said.INQUIRED, due=True, note=plan.note)
    return _take(case, plan, at)


def _take(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    waits = WITHDRAWS_AFTER if plan.withdraws else SCHEME_DAYS * DAY
    return _said(_then(case, Stage.TAKEN, at + waits), at, Said.TAKEN, due=True, note=plan.note)


def _unanswered(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    if plan.withdraws and case.stage is Stage.TAKEN:
        return _said(_closed(case), at, Said.WITHDRAWN, note="The cardholder recognizes the payment after all.")
    return _said(_closed(case), at, Said.LOST, note="No answer came in time.")


def _decide_for(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    return _said(_closed(case), at, Said.WON, note="The evidence convinces.")


def _decide_against(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    if plan.opens is Said.INQUIRED and not _has_taken(case):
        return _take(case, plan, at)
    return _said(_closed(case), at, Said.LOST, note="The evidence does not convince.")


def _has_taken(case: Case) -> bool:
    return case.told > 1                    # behind the inquiry that was challenged


def _give_credit(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    return _said(_then(case, Stage.COMES_BACK, at + COMES_BACK_AFTER), at, Said.RETURNED)


def _come_back(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    return _said(
        _then(case, Stage.TAKEN_AGAIN, at + SCHEME_DAYS * DAY), at, Said.TAKEN, Phase.PRE_ARBITRATION, due=True,
        note="The issuer rejects the evidence.")


def _collect(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    return _said(_closed(case), at, Said.TAKEN)


def _settle(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    case, first = _said(case, at, Said.OFFER_ACCEPTED, note="The offer is accepted.")
    case, second = _said(_closed(case), at, Said.TAKEN)
    return case, first + second


def _reject(case: Case, plan: Plan, at: datetime) -> tuple[Case, list[Word]]:
    return _said(_then(case, Stage.INQUIRED, at + DECIDES_AFTER), at, Said.OFFER_REJECTED, note="The offer is too low.")


_STEPS: dict[Stage, Callable[[Case, Plan, datetime], tuple[Case, list[Word]]]] = {
    Stage.PLANNED: _open, Stage.INQUIRED: _take, Stage.TAKEN: _unanswered, Stage.TAKEN_AGAIN: _unanswered,
    Stage.DECIDES_FOR: _decide_for, Stage.DECIDES_AGAINST: _decide_against, Stage.GIVES_CREDIT: _give_credit,
    Stage.COMES_BACK: _come_back, Stage.COLLECTS: _collect, Stage.SETTLES: _settle, Stage.REJECTS: _reject,
}


def _then(case: Case, stage: Stage, at: datetime) -> Case:
    return case._replace(stage=stage, next_at=at)


def _closed(case: Case) -> Case:
    return case._replace(stage=Stage.CLOSED, next_at=None)


def _said(
    case: Case, at: datetime, said: Said, phase: Phase = Phase.CHARGEBACK, *, due: bool = False, note: str = ""
) -> tuple[Case, list[Word]]:
    case = case._replace(told=case.told + 1)
    heard = Heard(case.told, said, case.minor, Phase.INQUIRY if said is Said.INQUIRED else phase, at + MERCHANT_DAYS * DAY if due else None)
    return case, [Word(at, heard, case.minor, note)]
