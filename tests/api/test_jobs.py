"""Jobs that were set aside, over HTTP: listed, and tried again."""
from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ringfence.api import jobs, openapi
from ringfence.api.admin import guard
from ringfence.storage import jobs as rows
from ringfence.storage.jobs import JobRow
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import NOW, Process, Time, process, shop
from tests.service.test_described import differences

pytestmark = pytest.mark.anyio


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database, now=Time()) as running:
        yield running


async def set_aside(one: Process, identifier: str, queue: str, subject: int) -> None:
    """As the background does it once a job has failed too often."""
    merchant = one.directory.merchant(identifier)
    assert merchant is not None
    await rows.wake(one.pool, [JobRow(merchant.merchant_id, queue, subject, 0, NOW)])
    (job,) = await rows.claim(one.pool, queue, now=NOW, holder="x", lease=10.0, per_merchant=1, limit=1, after=merchant.merchant_id - 1)
    assert await rows.failed(one.pool, job, None, "failed: QueryCanceledError")


async def test_what_was_set_aside_is_listed_and_tried_again(one: Process):
    """One, a queue's, a merchant's, or all; what is wrong is named."""
    looks: list[None] = []
    operator = Operator(jobs.routes(guard(TOKEN), jobs.Services(one.pool, one.directory, one.now, lambda: looks.append(None))))
    for name in ("North", "South"):
        await shop(one, name)
        for subject in (1, 2):
            await set_aside(one, name, "plan", subject)
    await set_aside(one, "South", "report", 3)

    async def listed(query: str = "") -> list[tuple[str, str, str]]:
        status, body = await operator.ask(f"/admin/jobs{query}")
        [content] = openapi.document()["paths"]["/admin/jobs"]["get"]["responses"]["200"]["content"].values()
        assert status == 200 and list(differences(body, content["schema"])) == []
        return [(each["merchant"], each["queue"], each["subject"]) for each in body["jobs"]]

    async def retried(**given: Any) -> int:
        status, body = await operator.ask("/admin/jobs/retry", given)
        assert status == 200
        return body["jobs"]

    assert len(await listed()) == 5 and await listed("?merchant=North") == [("North", "plan", "1"), ("North", "plan", "2")]
    assert await retried(queue="plan", merchant="North", subject="2") == 1 and await retried(queue="report") == 1
    assert await listed() == [("North", "plan", "1"), ("South", "plan", "1"), ("South", "plan", "2")]
    assert await retried(merchant="South") == 2 and await retried() == 1 and await retried() == 0 and await listed() == []
    assert len(looks) == 5
    due = await one.fetch("SELECT due_at, failures FROM jobs")
    assert {tuple(row) for row in due} == {(NOW, 0)}
    for wrong, field in (({"queue": "tea"}, "queue"), ({"subject": "1e3"}, "subject"), ({"subject": "9" * 30}, "subject"),
                         ({"merchant": "Nobody"}, "merchant"), ({"colour": "red"}, "colour"), ([], "body")):
        status, answer = await operator.ask("/admin/jobs/retry", wrong)
        assert (status, answer["field"]) == (400, field)
