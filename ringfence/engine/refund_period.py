"""How long a wallet's payments can be given back: a rule of the payment, whatever door asks.  See ``core.method_rules``."""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ringfence.core.commands import Kind
from ringfence.core.method_rules import may_refund
from ringfence.core.refusals import Refusal
from ringfence.engine.directory import Directory
from ringfence.engine.intents import Intent
from ringfence.engine.reading import Reading, View

CAPTURES = frozenset({Kind.CAPTURE, Kind.PURCHASE})


class RefundPeriod:
    """Asked before an operation on a payment is accepted."""

    def __init__(self, reading: Reading, directory: Directory, now: Callable[[], datetime]) -> None:
        """``now`` is business time."""
        self._reading, self._directory, self._now = reading, directory, now

    async def __call__(self, intent: Intent) -> Refusal | None:
        """Why it is not accepted.  One that was accepted before is not looked at: its repeat is answered as it was."""
        merchant = self._directory.by_id(intent.merchant_id)
        if intent.command.kind is not Kind.REFUND or merchant is None:
            return None
        view = await self._reading.view(intent.merchant_id, intent.payment_id)
        if view is None or (intent.key is not None and any(step.key == intent.key for step in view.steps)):
            return None
        may = may_refund(last_capture(view), merchant.settings.amazon_pay_refund_months, self._now())
        return None if may else Refusal.REFUND_PERIOD_EXPIRED


def last_capture(view: View) -> datetime | None:
    """When something was captured last (business time)."""
    return max((step.answered_at for step in view.steps if step.kind in CAPTURES and step.result == "approved" and step.answered_at), default=None)
