"""What Amazon's sessions mean for the payment that they are for, and that others' mean nothing."""
from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ringfence.core.redirection import Stand
from ringfence.engine.redirects import Seen
from ringfence.engine.wallet_guide import AmazonGuide
from ringfence.processors.amazon_pay.wire import Price, Session
from ringfence.storage.redirections import RedirectionRow

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 5, tzinfo=UTC)
ROW = RedirectionRow(1, 7, 7, 0, "AMAZON_PAY", "REDIRECT", "purchase", 1000, "USD", "", "en", "", "s-1", NOW, NOW)
OPEN = Session("s-1", "Open", "", "store", "AuthorizeWithCapture", Price(1000, "USD"), "charge_7", False, "", "")
DONE = OPEN._replace(state="Completed", permission_id="S01-1", charge_id="S01-1-C1")
ABSENT = SimpleNamespace(is_final=True)


class Wallet:
    """Says one session."""

    def __init__(self, said: Any) -> None:
        self.said, self.begun = said, []

    async def session(self, merchant: str, session_id: str, deadline: datetime) -> Any:
        return self.said

    async def begin(self, merchant: str, payload: str, key: str, deadline: datetime) -> Any:
        self.begun.append((merchant, payload, key))
        return self.said

    def button(self, merchant: str, **said: Any) -> Any:
        assert (said["reference"], said["minor"], said["currency"], said["shop"]) == ("charge_7", 1000, "USD", "One & Co")
        return '{"a":1}', "sig", "V2", "SANDBOX-1", "A1", "USD", True, self.script

    script = "https://site.example/amazon/checkout.js"


def guide(said: Any) -> AmazonGuide:
    directory: Any = SimpleNamespace(by_id=lambda number: SimpleNamespace(identifier="one", name="One & Co"))
    accounts: Any = lambda merchant: SimpleNamespace(store_id="store")      # noqa: E731
    return AmazonGuide(
        Wallet(said), accounts, directory, reference_of=lambda row: f"charge_{row.payment_id}", recurrence_of=lambda agreed: agreed,
        wall=lambda: NOW, seconds=2)


@pytest.mark.parametrize(("said", "seen"), [
    (OPEN, Seen(Stand.OPEN)),
    (OPEN._replace(is_ready=True), Seen(Stand.APPROVED)),
    (DONE, Seen(Stand.APPROVED, "S01-1")),
    (OPEN._replace(state="Canceled", reason="BuyerCanceled"), Seen(Stand.CANCELED)),
    (OPEN._replace(state="Canceled", reason="Declined"), Seen(Stand.DECLINED)),
    (OPEN._replace(state="Canceled", reason="AmazonCanceled"), Seen(Stand.CLOSED)),
    (OPEN._replace(state="Canceled", reason="Expired"), Seen(Stand.EXPIRED)),
    # completed sessions show less; ours is known by its name, another's is not believed
    (DONE._replace(reference="", price=None, store_id="", intent=""), Seen(Stand.APPROVED, "S01-1")),
    (DONE._replace(id="s-2", reference="", price=None, store_id="", intent=""), Seen(Stand.FOREIGN)),
    (DONE._replace(price=None, store_id=""), Seen(Stand.APPROVED, "S01-1")),
    # what is not for this payment, this shop or this amount
    (OPEN._replace(is_ready=True, reference="charge_8"), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, reference=""), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, store_id="other"), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, store_id=""), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, price=Price(999, "USD")), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, price=Price(1000, "EUR")), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, price=None), Seen(Stand.FOREIGN)),
    (OPEN._replace(is_ready=True, intent="Authorize"), Seen(Stand.FOREIGN)),
    (OPEN._replace(state="Canceled", reason="BuyerCanceled", reference="charge_8"), Seen(Stand.FOREIGN)),
    # nothing that can be believed
    (SimpleNamespace(is_final=False), Seen(Stand.SILENT)), (ABSENT, Seen(Stand.FOREIGN)),
])
async def test_what_a_session_says(said: Any, seen: Seen):
    assert await guide(said).look(ROW, "s-1") == seen


async def test_a_site_of_our_own_has_its_session_before_its_payer():
    """Always under the same key; Amazon's own makes its session when its script runs."""
    here = guide(OPEN)
    first, again = [await here.hand_over(ROW, "https://x/r", "https://x/c") for _ in range(2)]
    assert first == again and first is not None
    assert (first.entry, first.session, first.payload) == ("https://site.example/amazon/checkout", "s-1", '{"a":1}')
    (key, second) = {one[2] for one in here._wallet.begun}, here._wallet.begun
    assert len(key) == 1 and len(next(iter(key))) == 32 and len(second) == 2
    here._wallet.script = "https://static-na.payments-amazon.com/checkout.js"
    real = await here.hand_over(ROW, "https://x/r", "https://x/c")
    assert real is not None and (real.entry, real.session) == ("", "") and len(second) == 2
