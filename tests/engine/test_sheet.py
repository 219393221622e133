"""Purchases of one sort as columns: what is decided, asked, stored and chained is what each of them would have by itself."""
from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed_to

from ringfence.core.card import Pan
from ringfence.core.chain import GENESIS
from ringfence.core.commands import MAX_MINOR, Command, Initiation, Kind
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.core.payment import Answer, Decision, Payment, decide
from ringfence.core.recovery import PLAN
from ringfence.engine.asking import ask
from ringfence.engine.intent_lane import IntentBatch
from ringfence.engine.intents import CardInHand, Ended, Intent, Reserved
from ringfence.engine.outcome_batch import OutcomeBatch
from ringfence.engine.sheet import Sheet, may_be_of_one_sort, may_begin
from ringfence.engine.vault import StoredCard, Token
from ringfence.engine.whole import WholeBatch, whole_of
from ringfence.storage import alike
from ringfence.storage.alike import NotAlike
from ringfence.storage.database import connect
from tests.storage.storing import stored

NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
DEADLINE = datetime(2100, 1, 1, tzinfo=UTC)         # does not lie behind the transaction's beginning
BATCH_ID, KEY = 77, b"k" * 32


def card(number: int) -> CardInHand:
    stored = StoredCard(1, 500 + number, "VISA", "400000", "0004", None, f"first-{number}", "")
    token = Token(1, f"TOKEN{number}", stored, f"30{number % 12 + 1:02}", "A PAYER", True, number + 1, NOW)
    return CardInHand(None, token.expiry, stored=stored, token=token, holder=token.holder)


def sheet(minors: list[int], currency: str = "AED", **shared: object) -> Sheet:
    """Rows of these amounts, paid with three cards in turn."""
    many = range(len(minors))
    cards = [card(number % 3) for number in many]
    model = Intent(
        1, "shop", 1_001, Command(Kind.PURCHASE, minors[0], currency, 1_001), "aps", "access:a", "batch", b"content-0", "o-0", "aps:o-0", False,
        b'{"a":0}', "simulator", cards[0], None, Initiation.RECURRING, "recurring")
    return Sheet(
        changed_to(model, **shared), [2 + number for number in many], [1_001 + number for number in many], minors,
        [f"o-{number}" for number in many], [f"aps:o-{number}" for number in many], [b"content-%d" % number for number in many],
        [b'{"a":%d}' % number for number in many], cards, ["400000******0004"] * len(minors), [one.expiry for one in cards])


amounts = st.lists(st.one_of(st.integers(1, 20_000), st.integers(1, MAX_MINOR)), min_size=1, max_size=12)
any_amounts = st.lists(st.integers(-2, MAX_MINOR + 2) | st.sampled_from([0, 1, MAX_MINOR, MAX_MINOR + 1]), min_size=1, max_size=8)


@given(any_amounts, st.sampled_from(["AED", "KWD", "JPY"]))
def test_all_may_begin_where_each_may(minors: list[int], currency: str):
    """Least and largest amount speak for those between."""
    rows = sheet(minors, currency)
    each = [decide(Payment(number, currency), rows.intent(place).command, NOW) for place, number in enumerate(rows.ids)]
    assert may_begin(rows, NOW) == all(type(one) is Decision for one in each)


@given(amounts, st.booleans())
def test_what_is_asked_of_all_is_what_is_asked_of_each(minors: list[int], magic: bool):
    """Every field of every message, and what is each row's own of what is stored."""
    rows = sheet(minors, magic=magic)
    pans = [Pan.trusted(f"400000990000{number:04}") for number in range(len(minors))]
    reserved = [rows.reserved(place, DEADLINE, NOW) for place in range(len(minors))]
    assert rows.messages(pans, DEADLINE, NOW) == [ask(one, NOW, pan) for one, pan in zip(reserved, pans, strict=True)]
    assert list(rows.rows()) == [
        (row.payment_id, row.minor, row.reference, row.key, row.content, row.details, row.card_id, row.token_name, row.token_version)
        for row in (one.row for one in reserved)]


@given(amounts, st.data())
def test_what_decide_says_of_the_first_holds_for_all(minors: list[int], data: st.DataObject):
    """Approvals of all that was asked: statuses, amounts, transfers and events of each are those of the first, with its own amount."""
    rows = sheet(minors)

    def said(place: int) -> Decision:
        held = rows.reserved(place, DEADLINE, NOW)
        verdict = decide(held.held.payment, Answer(held.operation, Approved(minors[place], f"{place:06}", f"s{place}", f"p{place}")), NOW)
        assert type(verdict) is Decision
        return verdict

    first, place = said(0), data.draw(st.integers(0, len(minors) - 1))
    other, minor = said(place), minors[place]
    assert other.transfers == tuple(one._replace(minor=minor) for one in first.transfers) and other.events == first.events
    assert other.payment._replace(id=0, authorized=0, captured=0, captures=()) == first.payment._replace(
        id=0, authorized=0, captured=0, captures=())
    assert (other.payment.authorized, other.payment.captured, other.payment.refundable, other.reverse) == (minor, minor, minor, False)


@pytest.mark.parametrize("other", [
    Declined("51"), Unknown(Silence.NO_ANSWER), Approved(999, "a", "s", "p"), Approved(1_001, "a", "s", "p", "10"),
    Approved(1_001, "a", "s", "p", "00", "M")])
def test_only_what_was_approved_whole_and_alike_goes_together(other: object):
    """A decline, silence, a part, another answer of the issuer: each goes its own way."""
    said = [Approved(1_000, "a", "s", "p"), other, Approved(1_002, "b", "t", "q")]
    rows = sheet([1_000, 1_001, 1_002])
    assert whole_of(rows, said) == [0, 2]
    assert [rows.only([0, 2]).intent(place) for place in (0, 1)] == [rows.intent(0), rows.intent(2)]
    with pytest.raises(NotAlike):
        whole_batch(rows, said)


@pytest.mark.parametrize("changed", [
    {"initiation": Initiation.CARDHOLDER}, {"key": None}, {"card": None}, {"never_asked": "why"}, {"resubmitted": True},
    {"card": changed_to(card(1), keep_as="NEW")}, {"card": changed_to(card(1), token=None)},
    {"card": changed_to(card(1), token=replace(card(1).token, in_flow=True))},      # type: ignore[type-var]
    {"command": Command(Kind.AUTHORIZATION, 1_000, "AED", 1_001)},
])
def test_a_sheet_is_of_what_the_merchant_begins(changed: dict[str, object]):
    """With a card whose holder paid before, and nothing to be done beside."""
    assert may_be_of_one_sort(sheet([1_000]).model)
    assert not may_be_of_one_sort(changed_to(sheet([1_000]).model, **changed))


class _Lane:
    """A lane whose chain begins."""

    number = 3

    def next_link(self, batch_id: int) -> tuple[bytes, int, datetime]:
        return GENESIS, 1, NOW


def whole_batch(rows: Sheet, said: list) -> WholeBatch:
    return WholeBatch(_Lane(), rows, said, DEADLINE, NOW, NOW, BATCH_ID, KEY, lambda name, at: date(2026, 1, 5), PLAN, None)  # type: ignore[arg-type]


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    made = await connect(database, application_name="test", by_key=True)
    await made.executemany(
        "INSERT INTO tokens (merchant_id, token_name, card_id, expiry, holder, active, version, created_at) VALUES (1, $1, $2, '', '', true, $3, now())",
        [(one.token.name, one.stored.card_id, one.token.version) for one in map(card, range(3))])      # type: ignore[union-attr]
    yield made
    await made.close()


@pytest.mark.anyio
@pytest.mark.parametrize("currency", ["AED", "KWD"])
async def test_every_stored_row_is_the_one_that_each_would_store(connection: asyncpg.Connection, currency: str):
    """The same rows both ways: one by one, and as a sheet; every column of every table, balances, and the digest of the chain."""
    rows = sheet([100, 7, 7, MAX_MINOR, 1, 2_500, 31, 32, 33, 100], currency)
    places = range(len(rows.ids))
    said = [Approved(minor, f"{place:06}", f"{place:015}", f"{place:08}0000") for place, minor in enumerate(rows.minors)]

    async def one_by_one() -> None:
        batch = IntentBatch([rows.intent(place) for place in places], NOW, DEADLINE - datetime.now(UTC))
        replies = await batch.commit(connection)
        assert all(type(one) is Reserved for one in replies)
        await connection.execute("UPDATE operations SET ask_deadline = $1", DEADLINE)       # that of a try, to the microsecond
        ended = [Ended(one, outcome) for one, outcome in zip(replies, said, strict=True)]   # type: ignore[arg-type]
        outcomes = OutcomeBatch(
            _Lane(), ended, NOW, BATCH_ID, KEY, lambda name, at: date(2026, 1, 5), PLAN, lambda: 9)     # type: ignore[arg-type]
        await outcomes.commit(connection)

    async def as_a_sheet() -> None:
        await alike.claim_sheet(connection, rows.reserved(0, DEADLINE, NOW).row, list(rows.rows()), NOW, DEADLINE)
        await whole_batch(rows, said).commit(connection)

    plain = await stored(connection, one_by_one)
    assert len(plain["operations"]) == len(plain["payments"]) == 10 and len(plain["transfers"]) == 20 and len(plain["batches"]) == 1
    assert await stored(connection, as_a_sheet) == plain


@pytest.mark.anyio
@pytest.mark.parametrize("why", ["a key that is taken", "a token that changed", "a token that is gone"])
async def test_nothing_is_stored_where_one_is_turned_down(connection: asyncpg.Connection, why: str):
    """The caller takes his transaction back, and asks row by row."""
    rows = sheet([100, 200, 300])
    if why == "a key that is taken":
        await alike.claim_sheet(connection, rows.reserved(0, DEADLINE, NOW).row, list(rows.only([1]).rows()), NOW, DEADLINE)
        rows = rows._replace(ids=[one + 100 for one in rows.ids])
    elif why == "a token that changed":
        await connection.execute("UPDATE tokens SET version = version + 1 WHERE token_name = 'TOKEN2'")
    else:
        await connection.execute("UPDATE tokens SET active = false WHERE token_name = 'TOKEN2'")
    with pytest.raises(NotAlike):
        async with connection.transaction():
            await alike.claim_sheet(connection, rows.reserved(0, DEADLINE, NOW).row, list(rows.rows()), NOW, DEADLINE)
    assert await connection.fetchval("SELECT count(*) FROM operations") == (why == "a key that is taken")


def test_deadlines_are_those_of_the_try():
    """What is asked carries the deadline that was stored."""
    rows = sheet([5])
    late = NOW + timedelta(seconds=30)
    assert rows.messages([None], late, NOW)[0].deadline == late == rows.reserved(0, late, NOW).deadline
