"""What a wallet can do that is no payment: the button that begins a session, reading one, agreeing to later charges, and ending that.

For whoever sends a payer to Amazon and takes him back.  Whether a payment follows, and what it is called elsewhere, is not known here.
"""
from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from ringfence.core.commands import Kind
from ringfence.processors.amazon_pay.accounts import LEDGER_CURRENCIES, SCRIPTS, Account, Accounts, Environment
from ringfence.processors.amazon_pay.client import Client, Failed, Said
from ringfence.processors.amazon_pay.wire import Permission, Session, is_id, permission_of, price, session_of

NAME_CHARACTERS, REFERENCE_CHARACTERS, REASON_CHARACTERS = 50, 256, 255


class Recurrence(NamedTuple):
    """How often a permission is to be charged, as the buyer is told.  ``unit``: Year, Month, Week, Day or Variable; ``minor``: ``None`` where the
    amount varies."""

    unit: str = "Variable"
    value: int = 0
    minor: int | None = None


class Button(NamedTuple):
    """What the page that hands the payer over needs.  ``payload`` must reach the browser character for character."""

    payload: str
    signature: str
    algorithm: str
    public_key_id: str
    merchant_id: str
    ledger_currency: str
    sandbox: bool
    script: str


class Absent(NamedTuple):
    """Nothing could be read or done; ``reason`` is Amazon's code, or why there was no answer."""

    reason: str
    is_final: bool                  # Amazon said so: asking again changes nothing


class Wallet:
    """The accounts' wallet side."""

    def __init__(self, client: Client, accounts: Accounts) -> None:
        self._client, self._accounts = client, accounts

    def button(
        self, merchant: str, *, result_url: str, cancel_url: str, reference: str, shop: str, minor: int, currency: str,
        kind: Kind | None = Kind.PURCHASE, recurrence: Recurrence | None = None, can_wait: bool = False,
    ) -> Button | None:
        """The button of one payment, everything sealed in it; ``None`` where the merchant has no account.

        ``kind`` ``None``: nothing is charged now, the payer only agrees.  ``can_wait``: an authorization may be decided later.
        """
        account = self._accounts(merchant)
        if account is None:
            return None
        intent = {Kind.AUTHORIZATION: "Authorize", Kind.PURCHASE: "AuthorizeWithCapture", None: "Confirm"}[kind]
        fields: dict[str, Any] = {
            "webCheckoutDetails": {"checkoutResultReturnUrl": result_url, "checkoutCancelUrl": cancel_url, "checkoutMode": "ProcessOrder"},
            "storeId": account.store_id, "scopes": ["name", "email"], "chargePermissionType": "Recurring" if recurrence else "OneTime",
            "paymentDetails": {
                "paymentIntent": intent, "chargeAmount": price(minor, currency),
                "canHandlePendingAuthorization": can_wait and kind is Kind.AUTHORIZATION},
            "merchantMetadata": {"merchantReferenceId": reference[:REFERENCE_CHARACTERS], "merchantStoreName": shop[:NAME_CHARACTERS]},
        }
        if recurrence is not None:
            fields["recurringMetadata"] = {
                "frequency": {"unit": recurrence.unit, "value": str(recurrence.value)},
                "amount": price(recurrence.minor, currency) if recurrence.minor is not None else None}
        payload = msgspec.json.encode(fields).decode()
        return Button(
            payload, account.signer.button(payload), str(account.signer.algorithm), account.signer.public_key_id, account.merchant_id,
            currency if currency in LEDGER_CURRENCIES[account.region] else LEDGER_CURRENCIES[account.region][0],
            account.environment is Environment.SANDBOX, _script(account))

    async def begin(self, merchant: str, payload: str, key: str, deadline: datetime) -> Session | Absent:
        """Make the session of a button's payload before its payer comes; under the same ``key`` (32 characters at most) it is the same one."""
        account = self._accounts(merchant)
        if account is None:
            return Absent("no_account", True)
        said = await self._client.send(account, "POST", "/checkoutSessions", msgspec.json.decode(payload), deadline, key)
        return session_of(said.object) or Absent("not_believable", False) if type(said) is Said and said.is_good else _absent(said)

    async def session(self, merchant: str, session_id: str, deadline: datetime) -> Session | Absent:
        """A checkout session as it stands."""
        said = await self._get(merchant, "checkoutSessions", session_id, deadline)
        return said if isinstance(said, Absent) else session_of(said.object) or Absent("not_believable", False)

    async def permission(self, merchant: str, permission_id: str, deadline: datetime) -> Permission | Absent:
        """A charge permission as it stands."""
        said = await self._get(merchant, "chargePermissions", permission_id, deadline)
        return said if isinstance(said, Absent) else permission_of(said.object) or Absent("not_believable", False)

    async def agree(self, merchant: str, session_id: str, minor: int, currency: str, deadline: datetime) -> Session | Absent:
        """Complete a session that charges nothing; completed already, it is the same.  The session then names its permission."""
        found = await self.session(merchant, session_id, deadline)
        if isinstance(found, Absent) or found.state != "Open":
            return found
        account = self._accounts(merchant)
        assert account is not None, "its session was just read"
        if found.intent != "Confirm" or found.store_id not in ("", account.store_id):
            return Absent("session_differs", True)
        body = {"chargeAmount": price(minor, currency)}
        said = await self._client.send(account, "POST", f"/checkoutSessions/{session_id}/complete", body, deadline)
        if type(said) is Said and said.is_good:
            return session_of(said.object) or Absent("not_believable", False)
        return await self.session(merchant, session_id, deadline)      # whatever was said: it is completed, canceled, or still open

    async def close_permission(self, merchant: str, permission_id: str, reason: str, deadline: datetime) -> Permission | Absent:
        """End a permission; charges that are authorized stay capturable.  Closed already, it is the same."""
        account = self._accounts(merchant)
        if account is None or not is_id(permission_id):
            return Absent("no_account" if account is None else "ResourceNotFound", True)
        body = {"closureReason": reason[:REASON_CHARACTERS], "cancelPendingCharges": False}
        said = await self._client.send(account, "DELETE", f"/chargePermissions/{permission_id}/close", body, deadline)
        if type(said) is Said and said.is_good:
            return permission_of(said.object) or Absent("not_believable", False)
        found = await self.permission(merchant, permission_id, deadline)
        if isinstance(found, Absent) or found.state == "Closed":
            return found
        return _absent(said)

    async def _get(self, merchant: str, what: str, name: str, deadline: datetime) -> Said | Absent:
        account = self._accounts(merchant)
        if account is None or not is_id(name):
            return Absent("no_account" if account is None else "ResourceNotFound", True)
        said = await self._client.get(account, f"/{what}/{name}", deadline)
        return said if type(said) is Said and said.is_good else _absent(said)


def _absent(said: Said | Failed) -> Absent:
    if type(said) is Failed:
        return Absent(str(said.trouble), False)
    return Absent(said.reason or str(said.status), said.reason in ("ResourceNotFound", "InvalidChargePermissionStatus"))


def _script(account: Account) -> str:
    return account.base_url.rstrip("/") + "/amazon/checkout.js" if account.base_url else SCRIPTS[account.region]
