"""A payer's whole way at the simulated Amazon Pay, as ``redirects`` sees it: sent there, approved, completed; with and without a charge."""
from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringfence.core.redirection import Recurrence, Stand
from ringfence.engine.redirects import Handover, Seen
from ringfence.engine.wallet_guide import AmazonGuide
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.wallet import Recurrence as AmazonRecurrence
from ringfence.processors.amazon_pay.wallet import Wallet
from ringfence.storage.redirections import RedirectionRow, written
from tests.processors.amazon_pay.bench import MERCHANT, World
from tests.processors.amazon_pay.bench import world as on_bench

pytestmark = pytest.mark.anyio
MONTHLY, VARIABLE = Recurrence("Month", 1, 9_000), Recurrence()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with on_bench(tmp_path) as one:
        yield one


def guide_of(world: World) -> AmazonGuide:
    accounts: Any = lambda merchant: world.account      # noqa: E731
    directory: Any = SimpleNamespace(by_id=lambda number: SimpleNamespace(identifier=MERCHANT, name="Dates & Coffee"))
    return AmazonGuide(
        Wallet(Client(world.network, world.wall), accounts), accounts, directory, reference_of=lambda row: f"agr_{row.subject}",
        recurrence_of=lambda agreed: AmazonRecurrence(*agreed), wall=world.wall, seconds=4)


def row_of(world: World, kind: str, minor: int, agreed: Recurrence | None) -> RedirectionRow:
    now = world.wall()
    return RedirectionRow(
        1, 77, 77 if kind else 0, 77 if agreed else 0, "AMAZON_PAY", "REDIRECT", kind, minor, "USD", written(agreed), "en", "", "", now, now)


def fields(handover: Handover, **changes: str) -> dict[str, str]:
    """What the page's form brings."""
    return {
        "payloadJSON": handover.payload, "signature": handover.signature, "algorithm": handover.algorithm,
        "publicKeyId": handover.public_key_id, "merchantId": handover.merchant_id, "checkoutSessionId": handover.session, **changes}


@pytest.mark.parametrize(("minor", "agreed"), [(9_000, MONTHLY), (0, VARIABLE)])
async def test_a_payer_agrees_without_a_charge(world: World, minor: int, agreed: Recurrence):
    """Completed once more it is the same; the account is the permission that later charges are made on."""
    guide, row = guide_of(world), row_of(world, "", minor, agreed)
    handover = await guide.hand_over(row, "https://pay.example/wallet/return/x", "https://pay.example/wallet/cancel/x")
    assert handover is not None and handover.session
    assert await guide.look(row, handover.session) == Seen(Stand.OPEN)
    session = await world.here.browser().approve(fields(handover))
    assert session == handover.session, "the button found the session that was there"
    assert await guide.look(row, session) == Seen(Stand.APPROVED)
    seen = await guide.agree(row, session)
    assert seen.stand is Stand.APPROVED and seen.account.startswith("S01-")
    assert await guide.agree(row._replace(session=session), session) == seen
    assert await guide.look(row._replace(session=session), session) == seen
    assert await guide.look(row._replace(subject=78), session) == Seen(Stand.FOREIGN)


@pytest.mark.parametrize("agreed", [None, MONTHLY])
async def test_a_payer_approves_a_charge(world: World, agreed: Recurrence | None):
    """Also one that he agrees to later ones with; without our name for its session the site makes another, which is as good."""
    guide, row = guide_of(world), row_of(world, "purchase", 1_000, agreed)
    handover = await guide.hand_over(row, "https://pay.example/wallet/return/x", "https://pay.example/wallet/cancel/x")
    assert handover is not None
    session = await world.here.browser().approve(fields(handover, checkoutSessionId=""))
    assert session != handover.session
    assert await guide.look(row, session) == Seen(Stand.APPROVED) and await guide.look(row, handover.session) == Seen(Stand.OPEN)
    assert await guide.look(row._replace(minor=999), session) == Seen(Stand.FOREIGN)
    assert await guide.look(row._replace(kind="authorization"), session) == Seen(Stand.FOREIGN)


async def test_a_button_that_names_anothers_session_gets_its_own(world: World):
    """Only what was made of the very same payload is found."""
    guide, row = guide_of(world), row_of(world, "purchase", 1_000, None)
    first = await guide.hand_over(row, "https://pay.example/wallet/return/x", "https://pay.example/wallet/cancel/x")
    other = await guide.hand_over(row._replace(subject=78, payment_id=78), "https://pay.example/r", "https://pay.example/c")
    assert first is not None and other is not None and first.session != other.session
    session = await world.here.browser().approve(fields(other, checkoutSessionId=first.session))
    assert session not in (first.session, other.session)
