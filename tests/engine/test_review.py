"""The review: what waits for a person, and what that person may decide."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine import review
from ringfence.engine.review import Refused, Why, decide, listed, shown
from tests.engine.counter import Counter, counter

pytestmark = pytest.mark.anyio
SILENT = Unknown(Silence.NO_ANSWER)
DAY = timedelta(days=1)


@pytest.fixture
async def shop(database: str) -> AsyncIterator[Counter]:
    async with counter(database) as made:
        yield made


async def doubt(shop: Counter, kind: Kind = Kind.PURCHASE, minor: int = 1000, payment: int = 0, **more: Any) -> str:
    """An operation in doubt, with the job that its outcome made; its id."""
    return str((await shop.do(kind, minor, payment, SILENT, **more)).operation.id)


async def ruled(shop: Counter, operation: str, as_: str = "declined", minor: int | None = None, **changed: str) -> review.Row | Refused:
    texts = {"reason": "never settled", "evidence": "report of the 20th", "by": "Mona"} | changed
    return await decide(shop.pool, shop.now, operation, as_, minor, **texts)


async def operations(shop: Counter, now: datetime, merchant: str | None = None, **more: bool) -> list[str]:
    return [str(row.operation_id) for row in await listed(shop.pool, now, merchant, **more)]


async def test_a_doubt_is_listed_from_its_deadline_on_and_the_oldest_first(shop: Counter):
    """Before it only where all are asked for; nothing has to happen at the deadline."""
    first, second = await doubt(shop), await doubt(shop, merchant_id=2)
    assert await operations(shop, shop.now + DAY - timedelta(seconds=1)) == []
    assert await operations(shop, shop.now + DAY) == [first, second]
    assert await operations(shop, shop.now + DAY, "Two") == [second]
    assert await operations(shop, shop.now, every=True) == [first, second]


async def test_what_is_listed_says_what_it_is_about(shop: Counter):
    """Kind, amount, age and what the last try met."""
    operation = await doubt(shop)
    await shop.pool.execute("UPDATE jobs SET tries = 7, note = 'the issuer is silent'")
    [row] = await listed(shop.pool, shop.now + DAY)
    assert (row.merchant, row.kind, row.minor, row.currency, row.tries, row.note) == ("One", "purchase", 1000, "AED", 7, "the issuer is silent")
    assert (row.asked_at, row.deadline_at, str(row.operation_id)) == (shop.now, shop.now + DAY, operation)


async def test_one_is_shown_with_its_evidence(shop: Counter):
    """What was heard, what may be decided, and the payment's story."""
    operation = await doubt(shop)
    await shop.pool.execute("DELETE FROM reversals")
    found = await shown(shop.pool, operation)
    assert found is not None
    assert [(one.attempt, one.result, one.code) for one in found.attempts] == [(1, "unknown", "no_answer")]
    assert found.choices == ("approved", "declined", "reversed")
    assert any("is in doubt" in sentence for sentence in found.story)
    for nothing in ("1", "0", "nonsense", "9" * 40):
        assert await shown(shop.pool, nothing) is None


async def test_what_has_ended_is_shown_with_its_end_and_cannot_be_decided(shop: Counter):
    """Found by its id although nothing is left to do; what is being asked right now is not in doubt either."""
    asked = await shop.do(Kind.PURCHASE, 1000, outcome=Declined("05"))
    found = await shown(shop.pool, str(asked.operation.id))
    assert found is not None
    assert (found.row.ended, found.row.tries, found.choices) == ("declined", None, ())
    refused = await ruled(shop, str(asked.operation.id))
    assert isinstance(refused, Refused)
    assert refused.why is Why.ENDED
    assert await shop.pool.fetchval("SELECT count(*) FROM reviews") == 0


async def test_a_decision_is_written_once_and_wakes_whoever_commits_it(shop: Counter):
    """In one transaction; the second one is refused, and says what the first was."""
    operation = await doubt(shop)
    await shop.pool.execute("UPDATE jobs SET due_at = $1", shop.now + 9 * DAY)
    decided = await ruled(shop, operation)
    assert not isinstance(decided, Refused)
    row = await shop.pool.fetchrow("SELECT decided, minor, reason, evidence, decided_by FROM reviews")
    assert tuple(row) == ("declined", 0, "never settled", "report of the 20th", "Mona")
    assert tuple(await shop.pool.fetchrow("SELECT due_at, nudges FROM jobs WHERE queue = 'recovery'")) == (shop.now, 1)
    again = await ruled(shop, operation, "reversed")
    assert isinstance(again, Refused)
    assert (again.why, again.problem) == (Why.ENDED, "somebody has decided already: declined")
    assert [row.decided for row in await listed(shop.pool, shop.now, every=True)] == ["declined"]


async def test_what_is_decided_stands_in_the_story(shop: Counter):
    """Who, why, on what evidence."""
    operation = await doubt(shop)
    await ruled(shop, operation)
    found = await shown(shop.pool, operation)
    assert found is not None
    assert any("Mona decided at" in one and "never settled. Evidence: report of the 20th." in one for one in found.story)


async def test_nothing_is_approved_once_a_reversal_was_decided(shop: Counter):
    """It may arrive at any time."""
    operation = await doubt(shop)
    await shop.pool.execute("DELETE FROM reversals")
    await shop.pool.execute(
        "INSERT INTO reversals (merchant_id, payment_id, operation_id, attempt, why, due_at) VALUES (1, $1, $1, 1, 'unknown', $2)",
        int(operation), shop.now)
    refused = await ruled(shop, operation, "approved")
    assert isinstance(refused, Refused)
    assert (refused.why, refused.field) == (Why.WRONG, "as")
    assert "a reversal was decided" in refused.problem
    assert not isinstance(await ruled(shop, operation, "reversed"), Refused)


REFUSED = {
    # what is decided                       field        a part of the sentence
    "reversed":                             ("as",       "approved or declined"),
    "approved with less":                   ("amount",   "must be 400"),
    "declined with an amount":              ("amount",   "belongs to an approval"),
    "without a reason":                     ("reason",   "must say something"),
    "without evidence":                     ("evidence", "must say something"),
    "by nobody":                            ("by",       "must say something"),
    "with a novel":                         ("reason",   "at most"),
}
DECISIONS: dict[str, dict[str, Any]] = {
    "reversed": {"as_": "reversed"}, "approved with less": {"as_": "approved", "minor": 300}, "declined with an amount": {"minor": 400},
    "without a reason": {"reason": " "}, "without evidence": {"evidence": ""}, "by nobody": {"by": ""}, "with a novel": {"reason": "x" * 1_001},
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_decision_that_makes_no_sense_changes_nothing(shop: Counter, case: str):
    """The refusal names the field; here a capture, which nothing can reverse."""
    payment = (await shop.do(Kind.AUTHORIZATION, 1000)).intent.payment_id
    operation = await doubt(shop, Kind.CAPTURE, 400, payment)
    refused = await ruled(shop, operation, **DECISIONS[case])
    assert isinstance(refused, Refused)
    assert (refused.why, refused.field) == (Why.WRONG, REFUSED[case][0])
    assert REFUSED[case][1] in refused.problem
    assert await shop.pool.fetchval("SELECT count(*) FROM reviews") == 0


@pytest.mark.parametrize("operation", ["17", "nonsense"])
async def test_an_operation_that_is_not_there_is_not_decided(shop: Counter, operation: str):
    """Whatever the id looks like."""
    refused = await ruled(shop, operation)
    assert isinstance(refused, Refused)
    assert refused.why is Why.NOT_THERE
