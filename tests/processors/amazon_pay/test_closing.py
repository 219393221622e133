"""A permission is closed when its agreement is revoked; what is closed already is as good.  Its buyer is told by his e-mail address."""
from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from ringfence.processors.amazon_pay.client import Failed, Said, Trouble
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.processor import HasAccounts, KnowsPayers

pytestmark = pytest.mark.anyio
ACCOUNT, PERMISSION = object(), "S01-1234567-1234567"


class _Client:
    """Answers with what the test wrote down."""

    def __init__(self, answer: Said | Failed) -> None:
        self.answer, self.sent = answer, []     # type: ignore[var-annotated]

    async def send(self, account: Any, method: str, path: str, body: Any, deadline: datetime, key: str = "") -> Said | Failed:
        self.sent.append((account, method, path, body))
        assert deadline > datetime.now(UTC)
        return self.answer

    async def get(self, account: Any, path: str, deadline: datetime) -> Said | Failed:
        return await self.send(account, "GET", path, None, deadline)


@pytest.mark.parametrize(("answer", "is_known"), [
    (Said(200, {"chargePermissionId": PERMISSION}), True), (Said(422, {}, "InvalidChargePermissionStatus"), True),
    (Said(404, {}, "ResourceNotFound"), False), (Failed(Trouble.NO_ANSWER), False),
])
async def test_a_permission_is_closed(answer: Said | Failed, is_known: bool):
    client = _Client(answer)
    wallet = AmazonPay(client, lambda merchant: ACCOUNT, SimpleNamespace())     # type: ignore[arg-type,return-value]
    assert isinstance(wallet, HasAccounts) and await wallet.close_account("M", PERMISSION) is is_known
    [(account, method, path, body)] = client.sent
    assert (account, method, path) == (ACCOUNT, "DELETE", f"/chargePermissions/{PERMISSION}/close")
    assert body["cancelPendingCharges"] is False


@pytest.mark.parametrize("account", ["", "nothing", "S01-1234567-1234567/../x"])
async def test_what_is_no_permission_is_not_asked_about(account: str):
    client = _Client(Said(200, {}))
    wallet = AmazonPay(client, lambda merchant: ACCOUNT, SimpleNamespace())     # type: ignore[arg-type,return-value]
    assert not await wallet.close_account("M", account) and not await wallet.payer_email("M", account) and not client.sent


@pytest.mark.parametrize(("answer", "email"), [
    (Said(200, {"chargePermissionId": PERMISSION, "buyer": {"name": "J", "email": "j@mail.example"}}), "j@mail.example"),
    (Said(200, {"buyer": {"email": None}}), ""), (Said(200, {"buyer": None}), ""), (Said(200, {"buyer": {"email": "j@mail.example\n"}}), ""),
    (Said(200, {"buyer": {"email": f"j@{'m' * 253}"}}), ""), (Said(404, {}, "ResourceNotFound"), ""), (Failed(Trouble.NO_ANSWER), ""),
])
async def test_a_buyer_is_told_by_his_address(answer: Said | Failed, email: str):
    """What is none is not passed on."""
    client = _Client(answer)
    wallet = AmazonPay(client, lambda merchant: ACCOUNT, SimpleNamespace())     # type: ignore[arg-type,return-value]
    assert isinstance(wallet, KnowsPayers) and await wallet.payer_email("M", PERMISSION) == email
    assert client.sent == [(ACCOUNT, "GET", f"/chargePermissions/{PERMISSION}", None)]
