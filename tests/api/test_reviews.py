"""The review queue over HTTP, where its engine's tests do not reach: a database that is away."""
from __future__ import annotations

import pytest

from ringfence.api import reviews
from ringfence.api.admin import guard
from ringfence.engine.story import asked_about
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import process, shop

pytestmark = pytest.mark.anyio
AWAY = "the database does not answer"


async def test_a_database_that_is_away_is_said_to_be_away(database: str):
    """Neither a crash nor an empty list; afterwards all is there, and nothing was decided."""
    async with process(database) as one:
        await shop(one)
        operator = Operator(reviews.routes(guard(TOKEN), reviews.Services(one.pool, one.directory, one.now, asked_about)))
        order = {"as": "declined", "reason": "never settled", "evidence": "report", "by": "Mona"}
        await one.lose_the_database()
        for path in ("/admin/reviews", "/admin/reviews/17"):
            assert await operator.ask(path) == (503, {"error": AWAY})
        assert await operator.ask("/admin/reviews/17", order) == (503, {"error": f"{AWAY}; whether this was done shows when it is back"})
        one.find_the_database()
        assert await operator.ask("/admin/reviews") == (200, {"reviews": []})
