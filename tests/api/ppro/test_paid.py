"""Most charges are told by a template: in the very bytes in which a repeat is told, which is made from what was stored."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.ppro.charges import first_step, paid_by
from ringfence.api.ppro.instruments import kept_of
from ringfence.api.ppro.names import Names
from ringfence.api.ppro.rendering import Facts, Renderer
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined
from ringfence.engine.intents import CardInHand, Intent, Result

RENDERER = Renderer(Names(b"k" * 32))
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ECHOES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({"paymentMethod": st.sampled_from(("CARD", "MOCK", "AMAZON_PAY"))}, optional={
    "paymentMedium": st.sampled_from(("ECOMMERCE", "MOTO")), "scheduleType": TEXTS, "initiator": TEXTS, "paymentDescriptor": TEXTS,
    "consumer": st.dictionaries(st.sampled_from(("country", "name", "email")), TEXTS), "order": st.dictionaries(TEXTS, TEXTS, max_size=2),
    "labels": st.dictionaries(TEXTS, TEXTS, max_size=2), "autoCapture": st.booleans(), "instrumentId": TEXTS, "instrumentUpdated": st.just(True),
    "agreementId": TEXTS, "initialTransactionLinkReference": TEXTS, "webhooksUrl": TEXTS})
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))   # noqa: DTZ001


def intent_of(payment_id: int, kind: Kind, minor: int, echo: dict[str, Any], reference: str | None) -> Intent:
    details = msgspec.json.encode(echo)[:-1] + kept_of({"id": "instr", "type": "RAW_CARD"}, CardInHand(None, "3012", holder="Jane")) + b"}"
    return Intent(1, "m", payment_id, Command(kind, minor, "AED", payment_id), "ppro", "ppro:m", "api", b"", reference, None, False, details)


@given(
    st.integers(1, 2**63 - 1), st.sampled_from((Kind.PURCHASE, Kind.AUTHORIZATION)), st.integers(1, 10**12), ECHOES, st.none() | TEXTS, TEXTS, MOMENTS,
    st.integers(0, 5000))
def test_a_charge_is_told_as_its_repeat_will_be(
    payment_id: int, kind: Kind, minor: int, echo: dict[str, Any], reference: str | None, scheme_reference: str, asked_at: datetime, took_ms: int,
):
    intent = intent_of(payment_id, kind, minor, echo, reference)
    done = Result(outcome=Approved(minor, "123456", scheme_reference, "ref"), at=asked_at + timedelta(milliseconds=took_ms), asked_at=asked_at)
    paid, first = paid_by(intent, done), first_step(intent, done)
    assert paid is not None and first is not None
    assert RENDERER.paid(paid, Facts(echo, reference)) == msgspec.json.encode(RENDERER.as_begun(1, first))


def test_what_was_not_approved_whole_is_told_in_full():
    """A decline; half of it; and what another process committed."""
    intent, now = intent_of(1, Kind.PURCHASE, 100, {"paymentMethod": "CARD"}, None), datetime(2026, 1, 5, tzinfo=UTC)
    for done in (
        Result(outcome=Declined("51"), at=now, asked_at=now), Result(outcome=Approved(50, "123456", "s", "ref"), at=now, asked_at=now),
        Result(outcome=Approved(100, "123456", "s", "ref"), at=now),
    ):
        assert paid_by(intent, done) is None
