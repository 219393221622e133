"""The mock method: answers by amount, later where its caller wants so, and the same to every process."""
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.core.commands import Kind
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.processors.mock import WORDS, Mock
from ringfence.processors.processor import Ask

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)


def message(minor: int = 1000, key: str = "1-1", kind: Kind = Kind.PURCHASE, account: str = "", at: datetime = NOW) -> Ask:
    return Ask(key, kind, minor, "USD", "Shop1", 1, 1, at, NOW + timedelta(days=1000), account=account)


@pytest.mark.parametrize(("minor", "code"), [
    (299_999, ""), (300_000, "05"), (300_001, "05"), (300_002, "51"), (399_902, "51"), (400_000, "05"), (400_001, ""), (1, "")])
async def test_the_amount_decides(tmp_path: Path, minor: int, code: str):
    said = await Mock(tmp_path).ask(message(minor))
    assert said == Declined(code, provider_code=WORDS[code]) if code else isinstance(said, Approved) and said.minor == minor


async def test_a_late_answer_comes_when_it_is_due(tmp_path: Path):
    """By business time; whoever asks, and in whichever process."""
    here, there = Mock(tmp_path), Mock(tmp_path)
    late = message(account="providerConfirmation=true;providerConfirmationDelay=30s")
    assert await here.ask(late) == Unknown(Silence.PENDING, within=30.0)
    assert await there.inquire(late._replace(at=NOW + timedelta(seconds=29), account="")) == Unknown(Silence.PENDING, within=1.0)
    assert isinstance(await there.inquire(late._replace(at=NOW + timedelta(seconds=30), account="")), Approved)
    assert isinstance(await here.ask(late._replace(at=NOW + timedelta(seconds=31))), Approved)


async def test_what_was_said_once_is_said_again(tmp_path: Path):
    """And what it never heard of it does not know."""
    mock = Mock(tmp_path)
    first = await mock.ask(message(1000))
    assert await mock.ask(message(1000)) == first == await mock.inquire(message(1000))
    assert await mock.inquire(message(key="2-1")) == Unknown(Silence.NO_ANSWER)


async def test_its_book_counts_what_was_approved_and_stands(tmp_path: Path):
    """By business day."""
    mock = Mock(tmp_path)
    await mock.ask(message(1000, "1-1"))
    await mock.ask(message(500, "2-1"))
    await mock.ask(message(300_001, "3-1"))
    await mock.ask(message(70, "4-1", Kind.REFUND))
    assert await mock.reverse(message(500, "2-1"))
    assert await mock.totals(NOW.date()) == {("Shop1", "USD", "purchase"): (1, 1000), ("Shop1", "USD", "refund"): (1, 70)}
    assert await mock.totals(NOW.date() + timedelta(days=1)) == {}
