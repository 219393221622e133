"""The story of a payment reads like what happened, and says what comes next."""
from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringfence.core.commands import Kind, VoidReason
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Reversed, Silence, Unknown
from ringfence.engine.story import WHAT_NEXT, Story, asked_about, explain
from ringfence.storage.reports import STORY
from tests.engine.counter import Counter, counter, later

pytestmark = pytest.mark.anyio

SILENT = Unknown(Silence.NO_ANSWER)


async def told_of(shop: Counter, name: str, merchant: str | None = None, **more: Any) -> Story | None:
    """The story of a name, as the door of these tests claims it."""
    return await explain(shop.pool, name, merchant, keys=lambda reference: [f"aps:{reference}"], **more)


async def told(shop: Counter, name: str, **more: Any) -> str:
    story = await told_of(shop, name, **more)
    assert story is not None
    return "\n".join(story.sentences)


async def test_a_payment_is_told_in_the_order_of_time(database: str):
    """Request, answer, transfers and event of each operation, then where it stands and when the rest lapses."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.AUTHORIZATION, 1000, reference="order-1")).intent.payment_id
        later(shop, minutes=5)
        await shop.do(Kind.CAPTURE, 400, payment)
        lines = (await told_of(shop, "order-1")).sentences
    assert lines[0] == f"Payment {payment} of One."
    parts = [
        ("2026-03-01 10:00:00 UTC", "Authorization of 10.00 AED asked by test-access (192.0.2.7) at the door aps, reference order-1."),
        ("2026-03-01 10:00:00 UTC", "simulator approved 10.00 AED: response code 00, approved; approval code 123456"),
        ("2026-03-01 10:00:00 UTC", "Posted 10.00 AED: hold.open ← hold.promised (authorize, 2026-03-01)."),
        ("2026-03-01 10:00:00 UTC", "Event 1: authorization_approved."),
        ("2026-03-01 10:05:00 UTC", "Capture of 4.00 AED asked by test-access"),
        ("2026-03-01 10:05:00 UTC", "simulator approved 4.00 AED"),
        ("2026-03-01 10:05:00 UTC", "Posted 4.00 AED: hold.captured ← hold.open (use, 2026-03-01)."),
        ("2026-03-01 10:05:00 UTC", "Posted 4.00 AED: processor.receivable ← merchant.payable (capture, 2026-03-01)."),
        ("2026-03-01 10:05:00 UTC", "Event 2: capture_approved."),
        ("", "It is captured now: authorized 10.00 AED, captured 4.00 AED, still open 6.00 AED."),
        ("", "What is open is given back at 2026-03-08 10:00:00 UTC, unless it is captured before."),
    ]
    assert len(lines) == 1 + len(parts)
    for line, (at, text) in zip(lines[1:], parts, strict=True):
        assert line.startswith(at)
        assert text in line


@pytest.mark.parametrize(("kind", "minor"), [(Kind.CAPTURE, 100), (Kind.VOID, None), (Kind.REFUND, 50), (Kind.INCREMENT, 10), (Kind.DECREMENT, 10)])
async def test_an_unknown_outcome_says_what_happens_next(database: str, kind: Kind, minor: int | None):
    """How a doubt ends depends on the kind of the operation; its amount stays reserved."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.AUTHORIZATION, 1000)).intent.payment_id
        await shop.do(Kind.CAPTURE, 100, payment)
        doubtful = await shop.do(kind, minor, payment, SILENT)
        text = await told(shop, str(payment))
        assert "is unknown: no answer came in time. Its amount stays reserved." in text
        assert "is in doubt. " + WHAT_NEXT[kind] in text
        assert "Reserved for operations without an end" in text
        await shop.again(doubtful, Declined("05"))
        text = await told(shop, str(payment))
        assert "(attempt 2): response code 05, do not honor." in text
        assert "is in doubt" not in text


@pytest.mark.parametrize(("outcome", "sentence"), [
    (Declined("51", "02"), "simulator declined the authorization: response code 51, insufficient funds; advice 02: try again later, after 72 hours."),
    (NotAsked("deadline"), "simulator was not asked (deadline): it is certain that nothing happened."),
    (Reversed(), "The authorization was reversed: nothing is held at the issuer."),
    (Challenge("https://acs.example", "c"), "The authorization waits for the payer."),
    (Unknown(Silence.OWNER_GONE), "is unknown: the process that asked died before it wrote the answer."),
])
async def test_every_outcome_has_its_sentence(database: str, outcome: object, sentence: str):
    """What a code means stands beside the code."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.AUTHORIZATION, 1000, 0, outcome)).intent.payment_id
        assert sentence in await told(shop, str(payment))


async def test_an_intent_without_outcome_is_being_asked_and_then_in_doubt(database: str):
    """Until its deadline the owner may answer; afterwards nobody knows, though nobody wrote it down yet."""
    async with counter(database) as shop:
        payment = (await shop.ask(Kind.PURCHASE, 1000)).intent.payment_id
        assert "is being asked right now" in await told(shop, str(payment))
        text = await told(shop, str(payment), now=datetime.now(UTC) + timedelta(minutes=1))
        assert "it counts as unknown" in text
        assert WHAT_NEXT[Kind.PURCHASE] in text


async def test_a_partial_approval_nobody_wants_tells_of_its_reversal(database: str):
    """The part is given back in the same commit, and the processor is owed a reversal."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.PURCHASE, 1000, 0, Approved(400))).intent.payment_id
        text = await told(shop, str(payment))
        assert "a part is not wanted: not acknowledged yet" in text
        await shop.pool.execute("UPDATE reversals SET acknowledged_at = now()")
        assert "a part is not wanted: acknowledged at" in await told(shop, str(payment))


async def test_expiry_refunds_and_facts_are_told(database: str):
    """A hold that lapsed, what a refund returned of which capture, and what an issuer took."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.AUTHORIZATION, 1000)).intent.payment_id
        capture = (await shop.do(Kind.CAPTURE, 400, payment)).operation.id
        await shop.do(Kind.REFUND, 300, payment)
        await shop.fact(payment, Notice(Noticed.CHARGEBACK, "case-9", 200, capture))
        later(shop, days=8)
        await shop.do(Kind.VOID, None, payment, reason=VoidReason.EXPIRED)
        text = await told(shop, str(payment))
    assert f"It returns 3.00 AED of capture {capture}." in text
    assert "The hold was past its instant: giving back 6.00 AED was asked by test-access" in text
    assert "Posted 6.00 AED: hold.expired ← hold.open (expire, 2026-03-09)." in text
    assert f"A fact from outside: Chargeback, 2.00 AED, capture {capture} (identity case-9)." in text
    assert "Posted 2.00 AED: dispute.open ← processor.receivable" in text
    assert "It is captured now: authorized 10.00 AED, captured 4.00 AED, expired 6.00 AED, refunded 3.00 AED, disputed 2.00 AED." in text


async def test_a_payment_is_found_by_its_id_an_operations_id_or_a_reference(database: str):
    """A reference used by two merchants means two payments, unless one merchant is named; nobody else's is shown."""
    async with counter(database) as shop:
        one = await shop.do(Kind.PURCHASE, 1000, reference="same")
        two = await shop.do(Kind.PURCHASE, 2000, reference="same", merchant_id=2)
        refund = await shop.do(Kind.REFUND, 500, one.intent.payment_id)
        for name in (str(one.intent.payment_id), str(refund.operation.id)):
            (chapter,) = (await told_of(shop, name)).chapters
            assert chapter.payment_id == one.intent.payment_id
        assert [chapter.merchant for chapter in (await told_of(shop, "same")).chapters] == ["One", "Two"]
        (chapter,) = (await told_of(shop, "same", "Two")).chapters
        assert chapter.payment_id == two.intent.payment_id
        assert await told_of(shop, str(one.intent.payment_id), "Two") is None
        for nothing in ("", "nobody", "0", "-1", "9" * 19, "9" * 40, "٣"):
            assert await told_of(shop, nothing) is None


async def test_the_story_for_machines_holds_the_same_sentences(database: str):
    """JSON of texts and instants; ids are texts, because they have more digits than some readers keep."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.PURCHASE, 1000, reference="order-2")).intent.payment_id
        story = await told_of(shop, "order-2")
    (chapter,) = story.as_json()["payments"]
    assert chapter["payment"] == str(payment)
    assert {one["what"] for one in chapter["story"]} == {"asked", "outcome", "posted", "event", "standing"}
    assert [one["text"] for one in chapter["story"]] == [line.partition("  ")[2] or line for line in story.sentences[1:]]


async def test_a_card_shows_only_its_first_and_last_digits(database: str):
    """The story knows the card record, and tells what every receipt may tell."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.PURCHASE, 1000)).intent.payment_id
        names = [row[0] for row in await shop.pool.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'cards' AND is_nullable = 'NO'")]
        known = {"merchant_id": "1", "card_id": "77", "brand": "'VISA'", "bin": "'41111111'", "last4": "'1111'", "created_at": "now()"}
        values = [known.get(name, "''") for name in names]
        await shop.pool.execute(f"INSERT INTO cards ({', '.join(names)}) VALUES ({', '.join(values)})")
        await shop.pool.execute("UPDATE operations SET card_id = 77")
        text = await told(shop, str(payment))
    assert "VISA 411111******1111" in text
    assert "4111111" not in text


@pytest.mark.new_database
async def test_a_payment_is_found_by_indexes_only(database: str):
    """However a name is meant: operations are the largest table, and a typing mistake must not read all of it."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.PURCHASE, 1000, reference="same")).intent.payment_id
        async with shop.pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL enable_seqscan = off")
            [(plan,)] = await connection.fetch(
                "EXPLAIN (FORMAT JSON) " + STORY.named, "same", ["aps:same"], None, payment, *asked_about(payment))
    found = {node["Relation Name"]: node for node in every(json.loads(plan)[0]["Plan"]) if "Relation Name" in node}
    read = [node for node in every(json.loads(plan)[0]["Plan"]) if node.get("Relation Name") == "operations"]
    assert "operations" in found
    assert {node["Node Type"] for node in read} <= {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
    indexes = {node["Index Name"] for node in every(json.loads(plan)[0]["Plan"]) if "Index Name" in node}
    assert indexes >= {"operations_key", "operations_reference", "operations_pkey", "operations_deadline"}


def every(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(found for child in node.get("Plans", ()) for found in every(child))]


async def test_a_doubt_tells_how_far_its_end_has_come_and_what_a_person_decided(database: str):
    """Tries, what the last one met, the next one, the deadline; then the decision with its reason and evidence."""
    async with counter(database) as shop:
        payment = (await shop.do(Kind.AUTHORIZATION, 1000)).intent.payment_id
        doubtful = (await shop.do(Kind.CAPTURE, 100, payment, SILENT)).operation.id
        at = datetime(2026, 3, 1, 10, tzinfo=UTC)
        await shop.pool.execute("DELETE FROM jobs")
        assert "Nobody is ending it!" in await told(shop, str(payment))
        await shop.pool.execute(
            "INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at, deadline_at, tries, note)"
            " VALUES (1, 'recovery', $1, $2, $3, $4, 3, 'no answer')", doubtful, payment, at + timedelta(minutes=5), at + timedelta(days=1))
        assert (
            "It was tried 3 times so far (no answer); the next try is due at 2026-03-01 10:05:00 UTC."
            " From 2026-03-02 10:00:00 UTC on a person should decide."
        ) in await told(shop, str(payment))
        await shop.pool.execute(
            "INSERT INTO reviews VALUES (1, $1, $2, 'approved', 100, 'the bank says so', 'letter 7', 'Mona', $3)", doubtful, payment, at)
        assert (
            f"Mona decided at 2026-03-01 10:00:00 UTC (wall time) that {doubtful} was approved with 1.00 AED: the bank says so."
            " Evidence: letter 7. It is about to be written."
        ) in await told(shop, str(payment))


async def test_a_reversal_that_a_person_ended_was_not_acknowledged(database: str):
    """Nobody at the processor said a word; it is no longer sent because somebody decided."""
    async with counter(database) as shop:
        doubtful = (await shop.do(Kind.PURCHASE, 1000, outcome=SILENT)).operation.id
        at = datetime(2026, 3, 1, 10, tzinfo=UTC)
        await shop.pool.execute(
            "INSERT INTO reversals (merchant_id, payment_id, operation_id, attempt, why, due_at, acknowledged_at)"
            " VALUES (1, $1, $1, 1, 'unknown', $2, $2) ON CONFLICT (merchant_id, payment_id, operation_id, attempt) DO UPDATE"
            " SET acknowledged_at = excluded.acknowledged_at", doubtful, at)
        await shop.pool.execute(
            "INSERT INTO reviews VALUES (1, $1, $1, 'declined', 0, 'the bank says so', 'letter 7', 'Mona', $2)", doubtful, at)
        text = await told(shop, str(doubtful))
    assert "no longer sent since 2026-03-01 10:00:00 UTC (wall time), as a person decided" in text


async def test_a_purchase_that_was_given_back_by_a_refund_says_so(database: str):
    """Its business day was over: it had been paid, and went back in another message; the owed reversal tells why it was decided."""
    async with counter(database) as shop:
        doubtful = await shop.do(Kind.PURCHASE, 1000, outcome=SILENT)
        await shop.pool.execute(
            "INSERT INTO reversals (merchant_id, payment_id, operation_id, attempt, why, due_at) VALUES (1, $1, $1, 1, 'unknown', $2)"
            " ON CONFLICT DO NOTHING", doubtful.operation.id, shop.now)
        await shop.again(doubtful, Reversed(returned=1000))
        text = await told(shop, str(doubtful.operation.id))
    assert "The purchase had been paid, and its business day was over: 10.00 AED went back by a refund (attempt 2)." in text
    assert "is owed to the processor, because nobody could say what had become of it: acknowledged at" in text
