"""The proof by chance: whatever the engine writes is proved.

All examples are played on one database, so that the books grow and every proof covers those before it; a smaller example
would cost as much as a larger one, so none is shrunk.
"""
from __future__ import annotations

import asyncio
import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ringfence.core.commands import Kind, VoidReason
from ringfence.core.notices import DEBTS, Notice, Noticed
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed, Silence, Unknown
from ringfence.core.payment import FIRST
from ringfence.engine.intents import Reserved
from ringfence.engine.proof import Proof, prove
from tests.engine.counter import KEY, counter, later

SILENT = Unknown(Silence.NO_ANSWER)
FACTS = [one for one in Noticed if one not in DEBTS]
"""A debt is noticed by its register alone, in the same commit."""

STEPS = st.lists(
    st.tuples(st.sampled_from(list(Kind)), st.integers(1, 1000), st.integers(0, 5), st.integers(0, 7), st.integers(0, 1)),
    min_size=5, max_size=25,
)


async def _play(dsn: str, steps: list) -> Proof:
    """Any commands with any answers: what the engine accepts it writes, what it refuses it does not."""
    async with counter(dsn) as shop:
        doubtful: list[Reserved] = []
        for kind, minor, which, answer, lane in steps:
            payments = list(shop.payments)
            later(shop, hours=30)
            if answer == 7 and payments:
                notice = FACTS[minor % len(FACTS)]
                if (await shop.pool.fetchval("SELECT count(*) FROM payments WHERE payment_id = $1", payments[which % len(payments)])):
                    await shop.fact(payments[which % len(payments)], Notice(notice, f"fact-{shop.new_id()}", minor))
                continue
            if answer == 6 and doubtful:
                reserved = doubtful.pop()
                await shop.again(reserved, Approved(reserved.operation.minor) if minor % 2 else Declined("05"), lane=lane)
                continue
            if kind not in FIRST and not payments:
                continue
            reserved = await shop.ask(
                kind, minor, 0 if kind in FIRST else payments[which % len(payments)], merchant_id=1 + minor % 2, accepts_partial=minor % 3 == 0,
                currency="AED" if minor % 5 else "JPY", reason=VoidReason.EXPIRED if kind is Kind.VOID and minor % 2 else VoidReason.REQUESTED,
            )
            if isinstance(reserved, Reserved) and answer != 5:
                whole = Approved(reserved.operation.minor)
                part = Approved(max(1, reserved.operation.minor // 2))
                outcome = (whole, whole, part, Declined("05"), SILENT)[answer % 5]
                if outcome is whole and minor % 11 == 0:
                    outcome = NotAsked("deadline")
                (result,) = await shop.answer((reserved, outcome), lane=lane)
                if isinstance(result.outcome, Unknown):
                    doubtful.append(reserved)
        for reserved in doubtful[::2]:
            ending = Reversed() if reserved.operation.kind in (*FIRST, Kind.INCREMENT) else Declined("05")
            await shop.again(reserved, ending)
        return await prove(shop.pool, chain_key=KEY, full=True)


@settings(
    max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_any_history_that_the_engine_writes_is_proved(module_database: str, steps: list):
    """Random commands, answers, silences, recoveries and facts: the proof always passes, and misses nothing in doubt."""
    proof = asyncio.run(_play(module_database, steps))
    assert proof.ok, json.dumps(proof.as_json())
