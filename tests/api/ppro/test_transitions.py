"""Every row of section 10.1, as a merchant's receiver sees it: what the charge was, what is told, and what it is then.

A status ending in _PROCESSING that nobody can see between two commits has no row of its own; where the outcome is unknown it can be seen.
"""
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from ringfence.core.dispute import Said
from ringfence.core.outcomes import Approved, Declined, Outcome, Silence, Unknown
from ringfence.core.redirection import Stand
from ringfence.engine.redirects import Seen
from tests.api.ppro.hooking import Hooked, hooked
from tests.api.ppro.test_disputes import Issuer
from tests.api.ppro.test_redirection import made as sent_away
from tests.api.ppro.test_redirection import returns
from tests.api.ppro.test_three_d_secure import challenged, page
from tests.engine.composition import AUTHENTICATED, REJECTED
from tests.engine.recovering import able, claim_due, end_doubts

pytestmark = pytest.mark.anyio
SILENT, PENDING = Unknown(Silence.NO_ANSWER), Unknown(Silence.PENDING)
Course = Callable[[Hooked], Awaitable[Any]]


@pytest.fixture(scope="module")
async def here(module_database: str) -> AsyncIterator[Hooked]:
    async with hooked(module_database) as one:
        one.process.processor.capabilities = able(inquiry=True)
        yield one


# ---------------------------------------------------------------------------------------------------------------- courses

def paid(auto: bool = True, said: Outcome | None = None) -> Course:
    async def course(here: Hooked) -> None:
        if said is not None:
            here.process.processor.say(said)
        await here.client.charge(1000, autoCapture=auto)

    return course


def answered_later(end: Any, auto: bool = True) -> Course:
    async def course(here: Hooked) -> None:
        here.process.processor.say(PENDING)
        here.process.processor.find(end)
        await here.client.charge(1000, autoCapture=auto)
        await end_doubts(here.process)

    return course


async def never_answered(here: Hooked) -> None:
    here.process.processor.capabilities = able(inquiry=False)
    here.process.processor.say(SILENT)
    await here.client.charge(1000)
    await end_doubts(here.process)
    here.process.processor.capabilities = able(inquiry=True)


def authenticated(result: Any = AUTHENTICATED, auto: bool = True, said: Outcome | None = None) -> Course:
    """A cardholder who proves himself at his issuer, or does not."""
    async def course(here: Hooked) -> None:
        acs = f"t-{here.process.new_id()}"
        made = await challenged(here.process, here.client, acs, autoCapture=auto)
        if said is not None:
            here.process.processor.say(said)
        if said == PENDING:
            here.process.processor.find(APPROVES)
        here.process.issuers.results[acs] = result
        address = page(made)
        await here.process.challenges.carry_on(address.merchant_id, address.authentication_id)
        await end_doubts(here.process)

    return course


async def came_back_from_the_wallet(here: Hooked) -> None:
    made = await sent_away(here.client)
    await returns(here.process, made, Seen(Stand.APPROVED, "S01-1"), made["id"])


async def canceled_at_the_wallet(here: Hooked) -> None:
    made = await sent_away(here.client)
    await returns(here.process, made, Seen(Stand.CANCELED), made["id"])


async def vanished(here: Hooked) -> None:
    await sent_away(here.client)
    here.process.now.now += timedelta(hours=24)
    for job in await claim_due(here.process, "redirection"):
        await here.process.redirects.attempt(job)


async def given_up(here: Hooked) -> None:
    made = await sent_away(here.client)
    answered = await here.client.post(f"/payment-charges/{made['id']}/discards", {})
    assert answered.body["status"] == "DISCARDED"


async def given_up_too_late(here: Hooked) -> None:
    made = await here.client.charge(1000)
    answered = await here.client.post(f"/payment-charges/{made['id']}/discards", {})
    assert answered.body["status"] == "FAILED"


def operated(*done: tuple[str, int], auto: bool = False, said: Outcome | None = None, end: Any = None) -> Course:
    """Operations on a charge, the last one answered so."""
    async def course(here: Hooked) -> None:
        made = await here.client.charge(1000, autoCapture=auto)
        for place, (kind, minor) in enumerate(done, 1):
            if said is not None and place == len(done):
                here.process.processor.say(said)
                here.process.processor.find(*([end] if end is not None else []))
            await here.client.operate(made, kind, minor)
        if end is not None:
            await end_doubts(here.process)

    return course


APPROVES = lambda message: Approved(message.minor)  # noqa: E731
DECLINED = Declined("05")
PROCESSING, PENDING_PAYER, ASYNC = "AUTHORIZATION_PROCESSING", "AUTHENTICATION_PENDING", "AUTHORIZATION_ASYNC"
#: what it was             what is told                       what it is then       by
ROWS: list[tuple[str, str, str, Course]] = [
    ("",                    "CREATED",                         PROCESSING,           paid()),
    (PROCESSING,            "AUTHENTICATION_PENDING",          PENDING_PAYER,        authenticated()),
    (PROCESSING,            "PROVIDER_CONFIRMATION_PENDING",   ASYNC,                answered_later(APPROVES)),
    (PROCESSING,            "AUTHORIZATION_SUCCEEDED",         "CAPTURE_PENDING",    paid(auto=False)),
    (PROCESSING,            "AUTHORIZATION_SUCCEEDED",         "CAPTURE_PROCESSING", paid()),
    (PROCESSING,            "AUTHORIZATION_FAILED",            "FAILED",             paid(said=DECLINED)),
    (PENDING_PAYER,         "PROVIDER_CONFIRMATION_PENDING",   ASYNC,                authenticated(said=PENDING)),
    (PENDING_PAYER,         "AUTHORIZATION_SUCCEEDED",         "CAPTURE_PENDING",    authenticated(auto=False)),
    (PENDING_PAYER,         "AUTHORIZATION_SUCCEEDED",         "CAPTURE_PROCESSING", came_back_from_the_wallet),
    (PENDING_PAYER,         "AUTHORIZATION_FAILED",            "FAILED",             authenticated(REJECTED)),
    (PENDING_PAYER,         "AUTHORIZATION_FAILED",            "FAILED",             canceled_at_the_wallet),
    (PENDING_PAYER,         "AUTHORIZATION_FAILED",            "FAILED",             authenticated(said=DECLINED)),
    (PENDING_PAYER,         "DISCARDED",                       "DISCARDED",          vanished),
    (PENDING_PAYER,         "DISCARDED",                       "DISCARDED",          given_up),
    (ASYNC,                 "AUTHORIZATION_SUCCEEDED",         "CAPTURE_PENDING",    answered_later(APPROVES, auto=False)),
    (ASYNC,                 "AUTHORIZATION_SUCCEEDED",         "CAPTURE_PROCESSING", answered_later(APPROVES)),
    (ASYNC,                 "AUTHORIZATION_FAILED",            "FAILED",             answered_later(DECLINED)),
    (ASYNC,                 "DISCARDED",                       "DISCARDED",          never_answered),
    ("CAPTURE_PROCESSING",  "CAPTURE_SUCCEEDED",               "CAPTURED",           paid()),
    ("CAPTURE_PENDING",     "CAPTURE_SUCCEEDED",               "CAPTURED",           operated(("captures", 1000))),
    ("CAPTURE_PENDING",     "CAPTURE_SUCCEEDED",               "CAPTURE_PENDING",    operated(("captures", 400))),
    ("CAPTURE_PENDING",     "CAPTURE_FAILED",                  "CAPTURE_PENDING",    operated(("captures", 400), said=DECLINED)),
    ("CAPTURE_PENDING",     "VOID_SUCCEEDED",                  "VOIDED",             operated(("voids", 1000))),
    ("CAPTURE_PENDING",     "VOID_SUCCEEDED",                  "CAPTURED",           operated(("captures", 400), ("voids", 600))),
    ("CAPTURE_PENDING",     "VOID_SUCCEEDED",                  "CAPTURE_PENDING",    operated(("voids", 400))),
    ("CAPTURE_PENDING",     "VOID_FAILED",                     "CAPTURE_PENDING",    operated(("voids", 400), said=DECLINED)),
    ("CAPTURED",            "REFUND_PENDING",                  "CAPTURED",           operated(("refunds", 400), auto=True, said=PENDING, end=APPROVES)),
    ("CAPTURED",            "REFUND_SUCCEEDED",                "REFUNDED",           operated(("refunds", 1000), auto=True)),
    ("CAPTURED",            "REFUND_SUCCEEDED",                "CAPTURED",           operated(("refunds", 400), auto=True)),
    ("CAPTURED",            "REFUND_FAILED",                   "CAPTURED",           operated(("refunds", 400), auto=True, said=DECLINED)),
    ("CAPTURED",            "DISCARD_FAILED",                  "CAPTURED",           given_up_too_late),
    # and what the choices of that section add
    ("CAPTURE_PENDING",     "REFUND_SUCCEEDED",                "CAPTURE_PENDING",    operated(("captures", 400), ("refunds", 400))),
]


@pytest.mark.parametrize(("was", "event", "then", "course"), ROWS, ids=[" ".join(filter(None, row[:3])) for row in ROWS])
async def test_a_row(here: Hooked, was: str, event: str, then: str, course: Course):
    """Each event says the status of its time, and the last one is what the charge says itself."""
    here.process.processor.forget()
    await course(here)
    told = [(one["type"].removeprefix("PAYMENT_CHARGE_"), one["data"]["paymentChargeStatus"], one["data"]) for one in await here.told()]
    statuses = ["", *(status for _, status, _ in told)]
    assert (was, event, then) in [(before, name, status) for before, (name, status, _) in zip(statuses, told, strict=False)], told
    assert all(data["isMultiStep"] is (status == "CAPTURE_PENDING") for name, status, data in told if name == "AUTHORIZATION_SUCCEEDED")
    charge = (await here.client.get(f"/payment-charges/{told[-1][2]['paymentChargeId']}")).body
    assert charge["status"] == statuses[-1]


@pytest.mark.parametrize(("kind", "meanwhile"), [("captures", "CAPTURE_PROCESSING"), ("voids", "CAPTURE_PENDING")])
async def test_what_can_be_seen_on_the_way(here: Hooked, kind: str, meanwhile: str):
    """An operation whose outcome nobody knows; a void leaves the charge where it can still be captured."""
    made = await here.client.charge(1000, autoCapture=False)
    here.process.processor.say(PENDING)
    here.process.processor.find(APPROVES)
    assert (await here.client.post(f"/payment-charges/{made['id']}/{kind}", {"amount": 1000})).status == 504
    assert (await here.client.read(made))["status"] == meanwhile
    await end_doubts(here.process)
    assert (await here.client.read(made))["status"] == {"captures": "CAPTURED", "voids": "VOIDED"}[kind]
    await here.told()


@pytest.mark.parametrize(("end", "last"), [(Said.WON, "DISPUTE_WON"), (Said.LOST, "DISPUTE_LOST")])
async def test_a_chargeback(here: Hooked, end: Said, last: str):
    """Section 15.8, its last row: the charge stays CAPTURED."""
    made = await here.client.charge(2599)
    issuer = Issuer(here.client)
    name = await issuer.says(made, Said.TAKEN)
    begun = [one["type"] for one in await here.told() if not one["type"].startswith("PAYMENT_CHARGE")]
    assert sorted(begun) == ["CHARGEBACK_SUCCEEDED", "DISPUTE_ACTION_REQUIRED"]
    done = await here.client.post(f"/disputes/{name}/actions", {"type": "CHALLENGE", "message": "It was delivered."})
    assert done.status == 202
    await issuer.says(made, end)
    assert [one["type"] for one in await here.told()] == ["DISPUTE_CHALLENGE_PROCESSING", "DISPUTE_UNDER_REVIEW", last]
    assert (await here.client.read(made))["status"] == "CAPTURED"


async def test_the_books_agree(here: Hooked):
    """With everything that happened here."""
    await here.process.prove()
