"""What a merchant is told of a consumer who is sent away (PPRO Global API, section 15.8), row by row."""
from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from ringfence.core.redirection import Stand
from ringfence.engine.redirects import Seen
from tests.api.ppro.hooking import Hooked, hooked
from tests.api.ppro.test_redirection import amazon
from tests.engine.recovering import claim_due

pytestmark = pytest.mark.anyio
CREATED, PENDING = "CHARGE_CREATED", "CHARGE_AUTHENTICATION_PENDING"


@pytest.fixture(scope="module")
async def here(module_database: str) -> AsyncIterator[Hooked]:
    async with hooked(module_database) as one:
        yield one


async def away(here: Hooked, **fields: Any) -> dict[str, Any]:
    """A charge whose consumer is sent away, after both events of its beginning."""
    made = (await here.client.post("/payment-charges", amazon(**fields))).body
    created, pending = await here.told()
    assert [created["type"], pending["type"]] == [f"PAYMENT_{CREATED}", f"PAYMENT_{PENDING}"]
    assert created["data"]["paymentChargeStatus"] == "AUTHORIZATION_PROCESSING" and created["data"]["paymentMethod"] == "AMAZON_PAY"
    assert pending["data"]["paymentChargeStatus"] == "AUTHENTICATION_PENDING"
    assert pending["data"]["authenticationMethods"] == made["authenticationMethods"]
    return made


async def back(here: Hooked, made: dict[str, Any], stand: Stand) -> list[dict[str, Any]]:
    """The consumer comes back with a session that stands so; what is told of it."""
    session = f"s-{made['id']}"
    here.process.wallet.sessions[session] = Seen(stand)
    row = await here.process.redirects.find(made["authenticationMethods"][0]["details"]["requestUrl"].rpartition("/")[2])
    assert row is not None
    await here.process.redirects.came_back(row, session)
    return [one["data"] for one in await here.told()]


def shown(told: list[dict[str, Any]]) -> list[tuple[str, str, bool | None]]:
    return [(one["type"].removeprefix("PAYMENT_CHARGE_"), one["paymentChargeStatus"], one.get("isMultiStep")) for one in told]


@pytest.mark.parametrize(("auto", "types"), [
    (True, [("AUTHORIZATION_SUCCEEDED", "CAPTURE_PROCESSING", False), ("CAPTURE_SUCCEEDED", "CAPTURED", None)]),
    (False, [("AUTHORIZATION_SUCCEEDED", "CAPTURE_PENDING", True)]),
])
async def test_approved(here: Hooked, auto: bool, types: list[Any]):
    made = await away(here, autoCapture=auto)
    assert shown(await back(here, made, Stand.APPROVED)) == types


@pytest.mark.parametrize(("stand", "code"), [(Stand.CANCELED, "CANCELED_BY_CONSUMER"), (Stand.DECLINED, "GENERIC_DECLINE")])
async def test_cancelled_or_declined(here: Hooked, stand: Stand, code: str):
    made = await away(here)
    (failed,) = await back(here, made, stand)
    assert shown([failed]) == [("AUTHORIZATION_FAILED", "FAILED", None)]
    assert (failed["failure"]["failureType"], failed["failure"]["failureCode"]) == ("PROVIDER_DECLINE", code)
    assert failed["authorizationId"] == made["authorizations"][0]["id"]


async def test_vanished(here: Hooked):
    made = await away(here)
    here.process.now.now += timedelta(hours=24)
    for job in await claim_due(here.process, "redirection"):
        await here.process.redirects.attempt(job)
    (discarded,) = [one["data"] for one in await here.told()]
    assert shown([discarded]) == [("DISCARDED", "DISCARDED", None)]
    assert discarded["discardType"] == "AUTHENTICATION_TIMEOUT" and discarded["authorizationId"] == made["authorizations"][0]["id"]
    assert discarded["amount"] == {"value": 1000, "currency": "USD"}


async def test_given_up_by_the_merchant(here: Hooked):
    made = await away(here)
    await here.client.post(f"/payment-charges/{made['id']}/discards", {"merchantDiscardReference": "d-1"})
    (discarded,) = [one["data"] for one in await here.told()]
    assert shown([discarded]) == [("DISCARDED", "DISCARDED", None)] and discarded["discardType"] == "MERCHANT_INITIATED_DISCARD"
