"""Amazon Pay as a payer's other side: what its checkout sessions say, put into the words of ``redirects``.

A session counts for a payment only where it shows that payment's reference, the merchant's store, the amount and what was to be done with it.
Refuses to know what follows.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Protocol

from ringfence.core.commands import Kind
from ringfence.core.redirection import Recurrence, Stand
from ringfence.engine.directory import Directory
from ringfence.engine.redirects import Handover, Seen
from ringfence.processors.amazon_pay.accounts import Account
from ringfence.processors.amazon_pay.wire import Price, Session
from ringfence.storage.redirections import RedirectionRow

INTENTS = {"authorization": "Authorize", "purchase": "AuthorizeWithCapture", "": "Confirm"}
#: Why a session was canceled.
CANCELED = {"BuyerCanceled": Stand.CANCELED, "Declined": Stand.DECLINED, "Expired": Stand.EXPIRED}
LEAST = 1
"""Minor units that stand in a session which charges nothing and whose amounts vary: Amazon wants some above zero in every one."""
ENTRY = "/amazon/checkout"
"""Where a site of our own takes what a button brings, beside its script."""


class Wallet(Protocol):
    """What is needed of the wallet's side of the accounts.  What is no ``Session`` has ``is_final``: asking again changes nothing."""

    def button(
        self, merchant: str, *, result_url: str, cancel_url: str, reference: str, shop: str, minor: int, currency: str, kind: Kind | None,
        recurrence: Any, can_wait: bool,
    ) -> Any:
        """The button of one payment, everything sealed in it; ``None`` where the merchant has no account."""

    async def begin(self, merchant: str, payload: str, key: str, deadline: datetime) -> Any:
        """Make the session of a payload before its payer comes; the same under the same key."""

    async def session(self, merchant: str, session_id: str, deadline: datetime) -> Any:
        """A checkout session as it stands."""

    async def agree(self, merchant: str, session_id: str, minor: int, currency: str, deadline: datetime) -> Any:
        """Complete a session that charges nothing."""


class AmazonGuide:
    """See ``Guide``."""

    def __init__(
        self, wallet: Wallet, accounts: Callable[[str], Account | None], directory: Directory, *, reference_of: Callable[[RedirectionRow], str],
        recurrence_of: Callable[[Recurrence], Any], wall: Callable[[], datetime], seconds: float,
    ) -> None:
        """``reference_of``: what a payment or an agreement is called over there; ``recurrence_of``: what is agreed to, in the wallet's words;
        ``seconds`` bounds each question (wall time)."""
        self._wallet, self._accounts, self._directory = wallet, accounts, directory
        self._reference_of, self._recurrence_of, self._wall, self._seconds = reference_of, recurrence_of, wall, timedelta(seconds=seconds)

    def knows(self, merchant_id: int) -> bool:
        """See ``Guide``."""
        merchant = self._directory.by_id(merchant_id)
        return merchant is not None and self._accounts(merchant.identifier) is not None

    async def look(self, row: RedirectionRow, session: str) -> Seen:
        """See ``Guide``."""
        merchant = self._merchant(row)
        return self._seen(row, await self._wallet.session(merchant, session, self._wall() + self._seconds))

    async def agree(self, row: RedirectionRow, session: str) -> Seen:
        """See ``Guide``."""
        said = await self._wallet.agree(self._merchant(row), session, row.minor or LEAST, row.currency, self._wall() + self._seconds)
        return self._seen(row._replace(session=session), said)

    async def hand_over(self, row: RedirectionRow, result_url: str, cancel_url: str) -> Handover | None:
        """See ``Guide``."""
        merchant = self._directory.by_id(row.merchant_id)
        if merchant is None:
            return None
        button = self._wallet.button(
            merchant.identifier, result_url=result_url, cancel_url=cancel_url, reference=self._reference_of(row), shop=merchant.name,
            minor=row.minor or LEAST, currency=row.currency, kind=Kind(row.kind) if row.kind else None,
            recurrence=None if row.agreed is None else self._recurrence_of(row.agreed), can_wait=True)
        if button is None:
            return None
        payload, signature, algorithm, public_key_id, merchant_id, currency, sandbox, script = button
        entry = script.removesuffix(".js") if script.endswith(f"{ENTRY}.js") else ""
        session = ""
        if entry:           # a site of our own finds the session that was made before; Amazon's script makes one of its own
            key = sha256(f"{merchant.identifier}\0session\0{row.subject}".encode()).hexdigest()[:32]
            begun = await self._wallet.begin(merchant.identifier, payload, key, self._wall() + self._seconds)
            session = begun.id if isinstance(begun, Session) else ""
        return Handover(payload, signature, algorithm, public_key_id, merchant_id, currency, sandbox, script, entry, session)

    def _merchant(self, row: RedirectionRow) -> str:
        merchant = self._directory.by_id(row.merchant_id)
        return merchant.identifier if merchant is not None else ""

    def _seen(self, row: RedirectionRow, found: Any) -> Seen:
        if not isinstance(found, Session):
            return Seen(Stand.FOREIGN if found.is_final else Stand.SILENT)
        account = self._accounts(self._merchant(row))
        if account is None or not self._is_of(row, found, account):
            return Seen(Stand.FOREIGN)
        if found.state == "Canceled":
            return Seen(CANCELED.get(found.reason, Stand.CLOSED))
        if found.state == "Completed":
            return Seen(Stand.APPROVED, found.permission_id)
        return Seen(Stand.APPROVED if found.is_ready else Stand.OPEN)

    def _is_of(self, row: RedirectionRow, found: Session, account: Account) -> bool:
        """Whether a session is for this payment.  One that is completed may show less of itself, and no payment can be completed with another
        one's (``amazon_objects``)."""
        is_done = found.state == "Completed"
        if is_done and not found.reference:
            return found.id == row.session
        if found.reference != self._reference_of(row) or (found.store_id != account.store_id and not (is_done and not found.store_id)):
            return False
        if is_done and found.price is None:
            return True
        return found.intent == INTENTS[row.kind] and (not row.kind or found.price == Price(row.minor, row.currency))
