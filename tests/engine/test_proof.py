"""The proof: honest books pass, and whatever is changed behind the engine's back fails exactly where it should.

One honest history is written by the engine's own lanes; every test then gets it back as it was, breaks one thing as somebody
with all rights in the database could, and looks at which checks notice.
"""
from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import asyncpg
import pytest

from ringfence.core.commands import Kind, VoidReason
from ringfence.core.notices import Notice, Noticed
from ringfence.core.outcomes import Approved, Challenge, Declined, Reversed, Silence, Unknown
from ringfence.core.proof import heads_of
from ringfence.engine.chain_check import check_receipt
from ringfence.engine.proof import CannotProve, Proof, prove
from ringfence.storage.database import Connection
from tests.engine.counter import KEY, counter, later

pytestmark = pytest.mark.anyio

TABLES = ("operations", "outcomes", "payments", "transfers", "balances", "events", "notices", "batches", "proved", "reversals", "jobs", "transfer_kinds")
SILENT = Unknown(Silence.NO_ANSWER)


class History(NamedTuple):
    """The honest database, and the ids of what stands in it."""

    dsn: str
    ids: dict[str, int]


async def _write(dsn: str) -> dict[str, int]:
    ids: dict[str, int] = {}
    async with counter(dsn) as shop:
        async def begin(name: str, kind: Kind, minor: int, outcome: object = None, **more: object) -> int:
            ids[name] = (await shop.do(kind, minor, 0, outcome, reference=name, **more)).intent.payment_id
            return ids[name]

        held = await begin("held", Kind.AUTHORIZATION, 1000)
        ids["held.capture"] = (await shop.do(Kind.CAPTURE, 400, held)).operation.id
        await shop.do(Kind.CAPTURE, 300, held)
        ids["held.refund"] = (await shop.do(Kind.REFUND, 150, held)).operation.id
        await shop.do(Kind.VOID, None, held)
        first, second = [await shop.ask(Kind.PURCHASE, 500, reference=name) for name in ("bought", "bought-too")]
        await shop.answer((first, Approved(500)), (second, Approved(500)), lane=1)
        ids["bought"], ids["bought-too"] = first.intent.payment_id, second.intent.payment_id
        await shop.do(Kind.REFUND, 200, ids["bought"])
        await begin("declined", Kind.AUTHORIZATION, 700, Declined("51"))
        await begin("doubtful", Kind.AUTHORIZATION, 2000, SILENT)
        moved = await begin("moved", Kind.AUTHORIZATION, 1000)
        await shop.do(Kind.INCREMENT, 500, moved)
        await shop.do(Kind.DECREMENT, 100, moved)
        lost = await shop.do(Kind.CAPTURE, 600, moved, SILENT)
        await shop.again(lost, Approved(600), lane=1)
        returned = await shop.do(Kind.PURCHASE, 300, 0, SILENT, reference="returned")
        ids["returned"] = returned.intent.payment_id
        await shop.again(returned, Reversed(returned=300))
        await begin("not-wanted", Kind.PURCHASE, 1000, Approved(400))
        await begin("kept-part", Kind.AUTHORIZATION, 1000, Approved(400), accepts_partial=True)
        await begin("challenged", Kind.AUTHORIZATION, 1000, Challenge("https://acs.example", "c1"))
        two = await begin("of-two", Kind.PURCHASE, 500, merchant_id=2)
        await begin("dinars", Kind.PURCHASE, 1500, merchant_id=2, currency="KWD")
        await shop.do(Kind.REFUND, 400, two)
        ids["two.fact"] = (await shop.standing(two)).payment.captures[0].id
        await shop.fact(two, Notice(Noticed.CHARGEBACK, "case-1", 300, two))
        ids["asked"] = (await shop.ask(Kind.CAPTURE, 100, ids["kept-part"])).operation.id
        later(shop, days=8)
        expiring = await begin("expired", Kind.AUTHORIZATION, 900)
        later(shop, days=8)
        await shop.do(Kind.VOID, None, expiring, reason=VoidReason.EXPIRED)
        await shop.pool.execute("CREATE SCHEMA saved")
        for table in TABLES:
            await shop.pool.execute(f"CREATE TABLE saved.{table} AS TABLE {table}")
    return ids


@pytest.fixture(scope="module")
def history(module_database: str) -> History:
    return History(module_database, asyncio.run(_write(module_database)))


class Ledger:
    """The history as it was, ready to be broken."""

    def __init__(self, pool: asyncpg.Pool, ids: dict[str, int]) -> None:
        self.pool, self.ids = pool, ids

    async def do(self, statement: str) -> None:
        """Change something as a superuser; names of the history in braces are its ids."""
        for name, number in self.ids.items():
            statement = statement.replace("{" + name + "}", str(number))
        await self.pool.execute(statement)

    async def prove(self, **more: object) -> Proof:
        return await prove(self.pool, chain_key=KEY, **{"full": True} | more)


@pytest.fixture(scope="module")
async def pool(history: History) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(history.dsn, min_size=1, max_size=3, connection_class=Connection, server_settings={"timezone": "UTC"}) as pool:
        yield pool


@pytest.fixture
async def ledger(pool: asyncpg.Pool, history: History) -> Ledger:
    for table in TABLES:
        await pool.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved.{table}")
    return Ledger(pool, history.ids)


def failed(proof: Proof) -> set[str]:
    """Every check that failed, of any merchant, and "chain"."""
    names = {name for book in proof.books for name, check in book.checks.items() if not check.ok}
    return names if proof.chain.ok else names | {"chain"}


def exceptions(proof: Proof, what: str) -> list[dict]:
    return [one for book in proof.books for one in book.exceptions if one["what"] == what]


async def test_an_honest_history_passes_and_says_what_a_person_should_see(ledger: Ledger):
    """Every check passes; the operation in doubt and the capture that gave back too much are listed as exceptions."""
    proof = await ledger.prove()
    assert failed(proof) == set()
    assert proof.ok
    assert [(book.merchant, book.currency) for book in proof.books] == [("One", "AED"), ("Two", "AED"), ("Two", "KWD")]
    assert [one["payment"] for one in exceptions(proof, "unknown")] == [str(ledger.ids["doubtful"])]
    assert {one["payment"] for one in exceptions(proof, "over_returned")} == {str(ledger.ids["of-two"])}
    assert [(one["account"], one["minor"]) for one in exceptions(proof, "clearing")] == [("dispute.open", 300)]
    two = next(book for book in proof.books if (book.merchant, book.currency) == ("Two", "AED"))
    assert two.accounts == {
        "dispute.open": 300, "hold.captured": 500, "hold.promised": -500, "merchant.payable": -100, "processor.receivable": -200,
    }
    said = json.loads(json.dumps(proof.as_json()))
    assert said["ok"] is True
    assert said["merchants"][0]["checks"]["P1"] == {"ok": True}


#: What somebody changes in the database, the checks that notice, and the table that the chain can name.
BROKEN: dict[str, tuple[str, str, str | None]] = {
    "an outcome's amount": ("UPDATE outcomes SET minor = 499 WHERE payment_id = {bought-too}", "P8 chain", None),
    "an outcome's approval code": ("UPDATE outcomes SET approval_code = '654321' WHERE operation_id = {held.capture}", "chain", None),
    "an outcome turned from declined to unknown": (
        "UPDATE outcomes SET result = 'unknown' WHERE payment_id = {declined}", "P4 P6 P8 chain", None),
    "an outcome removed": ("DELETE FROM outcomes WHERE payment_id = {declined}", "P3 P4 chain", "outcomes"),
    "an outcome inserted": (
        "INSERT INTO outcomes SELECT merchant_id, payment_id, operation_id, 2, result, minor, response_code, advice, approval_code, "
        "scheme_reference, processor_reference, security_code_result, eci, answered_at, batch_id FROM outcomes WHERE payment_id = {declined}",
        "P8 chain", "outcomes"),
    "an outcome moved to another batch": (
        "UPDATE outcomes SET batch_id = (SELECT max(batch_id) FROM batches) WHERE payment_id = {bought}", "P8 chain", "outcomes"),
    "an ended operation's amount": ("UPDATE operations SET minor = 400 WHERE operation_id = {bought-too}", "P8 chain", None),
    "an ended operation's actor": ("UPDATE operations SET actor = 'somebody' WHERE operation_id = {bought-too}", "chain", None),
    "an ended operation's allotment": (
        "UPDATE operations SET allotment[2] = 149 WHERE operation_id = {held.refund}", "P5 P8 chain", None),
    "an ended operation removed": ("DELETE FROM operations WHERE operation_id = {declined}", "P8 chain", "operations"),
    "an open operation's amount": ("UPDATE operations SET minor = 99 WHERE operation_id = {asked}", "P4", None),
    "an open operation removed": ("DELETE FROM operations WHERE operation_id = {asked}", "P4", None),
    "money that left": (
        "UPDATE transfers SET minor = minor + 1 WHERE payment_id = {bought-too} AND kind = 20", "P2 P5 P7 P8 chain", None),
    "a promise that grew": (
        "UPDATE transfers SET minor = minor + 1 WHERE operation_id = {held} AND kind = 1", "P3 P7 P8 chain", None),
    "a transfer of another kind": (
        "UPDATE transfers SET kind = 26 WHERE operation_id = {held.refund}", "P3 P7 P8 chain", None),
    "a transfer of no kind": (
        "UPDATE transfers SET kind = 99 WHERE operation_id = {held.refund}", "P3 P7 P8 chain", None),
    "a transfer's day": ("UPDATE transfers SET value_date = value_date - 1 WHERE operation_id = {held.refund}", "chain", None),
    "transfers removed": (
        "DELETE FROM transfers WHERE payment_id = {bought-too}", "P3 P5 P7 P8 chain", None),
    "a transfer inserted": (
        "INSERT INTO transfers SELECT merchant_id, payment_id, operation_id, 10000, 1, 5, currency, value_date, batch_id "
        "FROM transfers WHERE operation_id = {held} AND leg = 0", "P3 P7 P8 chain", "transfers"),
    "a transfer of a batch that is not there": (
        "UPDATE transfers SET batch_id = batch_id + 1 WHERE operation_id = {held.refund}", "P8 chain", "transfers"),
    "two payments' transfers swapped between merchants": (
        "WITH a AS (UPDATE transfers SET merchant_id = 2 WHERE payment_id = {bought-too} RETURNING 1) "
        "UPDATE transfers SET merchant_id = 1 WHERE payment_id = {of-two} AND leg < 2 AND kind IN (5, 20)",
        "P3 P5 P8 chain", "transfers"),
    "a doubt forgotten": ("DELETE FROM transfers WHERE payment_id = {doubtful}", "P6 P7 P8 chain", None),
    "a doubt that nobody will end": ("DELETE FROM jobs WHERE payment_id = {doubtful}", "P6", None),
    "less returned than was paid": (
        "UPDATE transfers SET minor = 299 WHERE payment_id = {returned} AND kind = 28", "P7 P8 chain", None),
    "more returned than was asked for": (
        "UPDATE transfers SET minor = 301 WHERE payment_id = {returned} AND kind IN (27, 28)", "P8 chain", None),
    "a return of what was not bought": (
        "UPDATE operations SET kind = 'authorization' WHERE operation_id = {returned}", "P8 chain", None),
    "a fact's amount": ("UPDATE notices SET minor = 299 WHERE payment_id = {of-two}", "chain", None),
    "a fact removed": ("DELETE FROM notices WHERE payment_id = {of-two}", "P4 P5 P8 chain", "transfers"),
    "a balance": ("UPDATE balances SET balance = balance + 1 WHERE account = 'merchant.payable' AND merchant_id = 1 AND lane = 1", "P7", None),
    "a balance removed": ("DELETE FROM balances WHERE account = 'doubt.authorization'", "P7", None),
    "a stored amount": ("UPDATE payments SET captured = captured + 1 WHERE payment_id = {held}", "P3", None),
    "a stored status": ("UPDATE payments SET status = 'voided' WHERE payment_id = {held}", "P3", None),
    "a stored reservation": ("UPDATE payments SET pending_refund = 7 WHERE payment_id = {held}", "P4", None),
    "a stored doubt": ("UPDATE payments SET unknown = 0 WHERE payment_id = {doubtful}", "P4", None),
    "a stored capture": ("UPDATE payments SET captures[3] = 0 WHERE payment_id = {held}", "P5", None),
    "a payment removed": ("DELETE FROM payments WHERE payment_id = {declined}", "P3", None),
    "a payment nobody asked for": (
        "INSERT INTO payments SELECT merchant_id, 42, currency, status, purchase, authorized, captured, voided, expired, unsecured, "
        "refunded, disputed, charged_back, pending_authorization, pending_increment, pending_decrement, pending_capture, pending_void, "
        "pending_refund, unknown, expires_at, captures, sequence, changed_at, last_content, last_asked_at "
        "FROM payments WHERE payment_id = {declined}", "P3", None),
    "a batch's digest": ("UPDATE batches SET digest = sha256('x') WHERE lane = 1 AND number = 3", "chain", None),
    "a batch's instant": ("UPDATE batches SET committed_at = committed_at + '1 microsecond' WHERE lane = 1 AND number = 3", "chain", None),
    "a batch's count": ("UPDATE batches SET rows = 7 WHERE lane = 1 AND number = 3", "chain", "outcomes"),
    "a batch removed": ("DELETE FROM batches WHERE lane = 1 AND number = 3", "chain", "batches"),
    "batches renumbered": ("UPDATE batches SET number = number + 100 WHERE lane = 1 AND number >= 3", "chain", "batches"),
    "the table of kinds": ("UPDATE transfer_kinds SET debit = 'bank' WHERE name = 'merchant_fee'", "P8", None),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_is_changed_fails_exactly_where_it_should(ledger: Ledger, what: str):
    """One change behind the engine's back, the checks that notice it and no others; the chain names the table where it can."""
    statement, expected, table = BROKEN[what]
    await ledger.do(statement)
    proof = await ledger.prove()
    assert failed(proof) == set(expected.split())
    assert not proof.ok
    if "chain" in expected:
        tables = {problem.table for problem in proof.chain.problems}
        assert table in tables
        assert all(problem.number for problem in proof.chain.problems if problem.lane)


async def test_a_broken_batch_is_named_by_lane_and_number(ledger: Ledger):
    """The chain points at the batch that holds the edited row, and at no other."""
    await ledger.do("UPDATE outcomes SET approval_code = '654321' WHERE payment_id = {bought}  AND operation_id = {bought}")
    (problem,) = (await ledger.prove()).chain.problems
    assert (problem.lane, problem.number) == (2, 1)


async def test_every_column_that_the_chain_covers_is_covered(ledger: Ledger):
    """An edit of any covered column of an ended payment is noticed by the chain."""
    from ringfence.core.chain import COVERED
    key = {"merchant_id", "payment_id", "operation_id", "attempt", "leg", "identity"}
    edits = {"text": "{0} || '!'", "bytea": "sha256('x')", "date": "{0} + 1", "ARRAY": "ARRAY[1, 2]::bigint[]"}
    where = {"operations": "operation_id = {bought}", "outcomes": "operation_id = {bought}", "transfers": "operation_id = {bought} AND leg = 0",
             "notices": "payment_id = {of-two}"}
    for table, columns in COVERED.items():
        types = dict(await ledger.pool.fetch(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1 AND table_schema = 'public'", table))
        for column in (one for one in columns if one not in key):
            edit = edits.get(types[column], "coalesce({0}, 0) + 1").format(f"coalesce({column}, '')" if types[column] == "text" else column)
            await ledger.do(f"UPDATE {table} SET {column} = {edit} WHERE {where[table]}")
            assert not (await ledger.prove()).chain.ok, f"{table}.{column}"
            await ledger.do(f"TRUNCATE {table}; INSERT INTO {table} SELECT * FROM saved.{table}")


async def test_the_incremental_proof_begins_where_the_last_one_ended(ledger: Ledger):
    """The second run recomputes nothing; an old edit is then seen by the full proof only, a new one by both."""
    first = await ledger.prove(full=False)
    assert first.chain.checked > 20
    assert (await ledger.prove(full=False)).chain.checked == 0
    await ledger.do("UPDATE outcomes SET approval_code = '654321' WHERE operation_id = {held.capture}")
    assert failed(await ledger.prove(full=False)) == set()
    assert failed(await ledger.prove(full=True)) == {"chain"}


async def test_a_lane_with_a_broken_batch_keeps_its_mark(ledger: Ledger):
    """What was found broken is found again by the next incremental proof."""
    await ledger.do("UPDATE outcomes SET approval_code = '654321' WHERE operation_id = {held.capture}")
    for _ in range(2):
        assert failed(await ledger.prove(full=False)) == {"chain"}


async def test_marks_cannot_be_forged(ledger: Ledger):
    """A mark set by somebody without the key is no mark: it is reported, and the lane is checked from its beginning."""
    await ledger.do("INSERT INTO proved SELECT lane, max(number), sha256('x'), now() FROM batches GROUP BY lane")
    proof = await ledger.prove(full=False)
    assert failed(proof) == {"chain"}
    assert proof.chain.checked > 20


CUT = """
WITH gone AS (DELETE FROM batches WHERE lane = 2 AND number = (SELECT max(number) FROM batches WHERE lane = 2) RETURNING batch_id),
     o AS (DELETE FROM outcomes WHERE batch_id IN (SELECT batch_id FROM gone)),
     t AS (DELETE FROM transfers WHERE batch_id IN (SELECT batch_id FROM gone) RETURNING *)
UPDATE balances b SET balance = balance - d.minor
FROM (SELECT merchant_id, currency, account, sum(minor) AS minor FROM (
        SELECT t.merchant_id, t.currency, k.debit AS account, t.minor FROM t JOIN transfer_kinds k USING (kind)
        UNION ALL SELECT t.merchant_id, t.currency, k.credit, -t.minor FROM t JOIN transfer_kinds k USING (kind)) x
      GROUP BY merchant_id, currency, account) d
WHERE b.merchant_id = d.merchant_id AND b.currency = d.currency AND b.account = d.account AND b.lane = 2
"""
FORGET = """UPDATE payments SET captured = 0, unknown = 1, pending_capture = 600, captures = '{}', status = 'authorized'
WHERE payment_id = {moved};
INSERT INTO jobs (merchant_id, queue, subject, payment_id, due_at)
SELECT merchant_id, 'recovery', operation_id, payment_id, now() FROM operations WHERE payment_id = {moved} AND kind = 'capture'"""


async def test_a_cut_tail_shows_only_against_heads_or_marks_from_before(ledger: Ledger):
    """The last batch of a lane is removed with all it did: consistent in itself, and yet gone."""
    heads = heads_of(json.loads(json.dumps((await prove(ledger.pool, chain_key=KEY, full=True)).as_json())))
    await ledger.do(CUT)
    await ledger.do(FORGET)
    incremental = await ledger.prove(full=False)
    assert failed(incremental) == {"chain"}
    assert (incremental.chain.problems[0].lane, incremental.chain.problems[0].table) == (2, "batches")
    await ledger.do("DELETE FROM proved")
    assert failed(await ledger.prove()) == set()
    cut = await ledger.prove(since=heads)
    assert failed(cut) == {"chain"}
    assert "cut off" in cut.chain.problems[0].problem


@pytest.mark.parametrize("saved", [
    None, 7, {}, {"heads": [{}]}, [{"lane": "1", "number": 1, "digest": "00"}], [{"lane": 1, "number": 1, "digest": "x"}],
])
async def test_what_are_no_heads_is_refused(saved: object):
    """A file that holds no heads is an error, not an empty list that proves nothing."""
    with pytest.raises(ValueError, match="no saved heads"):
        heads_of(saved)


async def test_a_receipt_names_a_batch_that_is_still_as_it_was(ledger: Ledger):
    """A receipt from an answer can be checked; one that is made up, altered, or of an edited batch cannot."""
    lane, number, digest = await ledger.pool.fetchrow("SELECT lane, number, digest FROM batches WHERE lane = 1 AND number = 4")
    receipt = f"{lane}.{number}.{digest[:8].hex()}"
    assert await check_receipt(ledger.pool, KEY, receipt) is None
    assert "has no batch 4000" in await check_receipt(ledger.pool, KEY, f"1.4000.{digest[:8].hex()}")
    assert "another digest" in await check_receipt(ledger.pool, KEY, f"1.5.{digest[:8].hex()}")
    assert "not a receipt" in await check_receipt(ledger.pool, KEY, "1.4")
    await ledger.do("UPDATE outcomes SET approval_code = 'x' FROM batches b WHERE b.batch_id = outcomes.batch_id AND lane = 1 AND number = 4")
    assert "not as it was committed" in await check_receipt(ledger.pool, KEY, receipt)


async def test_the_wrong_key_proves_nothing(ledger: Ledger):
    """Without the key that the database never saw every link is wrong."""
    proof = await prove(ledger.pool, chain_key=b"another key", full=True)
    assert proof.chain.count == proof.chain.checked > 20


async def test_one_merchant_can_be_proved_alone(ledger: Ledger):
    """Another merchant's broken books do not show in mine; the chain is everybody's."""
    await ledger.do("UPDATE payments SET captured = captured + 1 WHERE payment_id = {held}")
    assert failed(await ledger.prove(merchant="Two")) == set()
    assert failed(await ledger.prove(merchant="One")) == {"P3"}
    with pytest.raises(CannotProve, match="no merchant Three"):
        await ledger.prove(merchant="Three")


# --- past instants ----------------------------------------------------------------------------------------------------


async def test_the_answer_for_a_past_instant_never_changes(history: History, ledger: Ledger):
    """What happens afterwards, even to the same payments, changes nothing in it."""
    instants = [row[0] for row in await ledger.pool.fetch("SELECT committed_at FROM batches ORDER BY committed_at")]
    asked = [instants[3], instants[len(instants) // 2], instants[-1]]
    before = [(await ledger.prove(at=at)).as_json() for at in asked]
    assert all(one["ok"] for one in before)
    async with counter(history.dsn) as shop:
        shop.payments[ledger.ids["kept-part"]] = (1, "AED")
        shop.payments[ledger.ids["bought-too"]] = (1, "AED")
        await shop.do(Kind.PURCHASE, 900)
        await shop.do(Kind.REFUND, 100, ledger.ids["bought-too"])
        await shop.fact(ledger.ids["bought-too"], Notice(Noticed.CHARGEBACK, "case-2", 450))
    after = [(await ledger.prove(at=at)).as_json() for at in asked]
    assert after == before


async def test_a_past_instant_shows_the_books_of_then(ledger: Ledger):
    """After the first batch there is one promise and nothing else."""
    at = await ledger.pool.fetchval("SELECT committed_at FROM batches WHERE lane = 1 AND number = 1")
    proof = await ledger.prove(at=at)
    assert [(book.merchant, book.accounts) for book in proof.books] == [("One", {"hold.open": 1000, "hold.promised": -1000})]
    assert proof.books[0].checks["P7"].note


async def test_an_instant_in_the_future_is_refused(ledger: Ledger):
    """Nobody can prove what has not happened."""
    with pytest.raises(CannotProve, match="in the future"):
        await ledger.prove(at=datetime.now(UTC) + timedelta(hours=1))


async def test_an_open_transaction_older_than_the_instant_refuses_it(ledger: Ledger):
    """What it commits could still belong before the instant."""
    async with ledger.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT 1")
        with pytest.raises(CannotProve, match="transaction open since"):
            await ledger.prove(at=datetime.now(UTC))
    assert (await ledger.prove(at=datetime.now(UTC) - timedelta(seconds=2))).ok


# --- the outside witness ----------------------------------------------------------------------------------------------

DAY = date(2026, 3, 1)


def _book(changes: dict[tuple[str, str, str], tuple[int, int]]):
    """The processor's book of the history, with changes to its first day."""
    honest = {
        DAY: {("One", "AED", "authorization"): (3, 2400), ("One", "AED", "capture"): (3, 1300), ("One", "AED", "refund"): (3, 650),
              ("One", "AED", "void"): (1, 300), ("One", "AED", "purchase"): (3, 1300), ("One", "AED", "increment"): (1, 500),
              ("One", "AED", "decrement"): (1, 100), ("Two", "AED", "purchase"): (1, 500), ("Two", "AED", "refund"): (1, 400),
              ("Two", "KWD", "purchase"): (1, 1500)},
        date(2026, 3, 9): {("One", "AED", "authorization"): (1, 900)},
        date(2026, 3, 17): {("One", "AED", "void"): (1, 900)},
    }

    async def totals(day: date):
        return honest.get(day, {}) | (changes if day == DAY else {})
    return {"simulator": totals}


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, set()),
    ({("One", "AED", "authorization"): (4, 4400)}, set()),          # the one in doubt was approved over there
    ({("One", "AED", "authorization"): (4, 5401)}, {"P9"}),         # more than those without an end explain
    ({("One", "AED", "purchase"): (5, 2500)}, {"P9"}),              # approved there, and nobody here knows
    ({("One", "AED", "refund"): (1, 150)}, {"P9"}),                 # approved here, and never there
    ({("Two", "KWD", "purchase"): (1, 1501)}, {"P9"}),
])
async def test_the_processors_own_book_must_agree(ledger: Ledger, changes: dict, expected: set):
    """P9 compares by business day and kind; an operation in doubt may or may not be in the other book."""
    proof = await ledger.prove(books=_book(changes))
    assert failed(proof) == expected


async def test_an_operation_that_crossed_the_cut_over_is_no_difference(ledger: Ledger):
    """Asked before the cut-over and answered after it, it counts to neighbouring days on the two sides."""
    shifted = _book({("Two", "KWD", "purchase"): (0, 0)})["simulator"]

    async def totals(day: date):
        return await shifted(day) | ({("Two", "KWD", "purchase"): (1, 1500)} if day == DAY - timedelta(days=1) else {})
    assert failed(await ledger.prove(books={"simulator": totals})) == set()


# --- what clients saw -------------------------------------------------------------------------------------------------


def _line(reference: str, amount: int | str, **more: object) -> str:
    return json.dumps({"merchant": "One", "reference": reference, "code": "14000", "amount": amount, "currency": "AED"} | more)


@pytest.mark.parametrize(("line", "fault"), [
    (_line("bought", 500), None),
    (_line("bought", "500", operation="PURCHASE"), None),
    (_line("held", 1000, operation="AUTHORIZATION", code="02000"), None),
    (_line("declined", 700, operation="AUTHORIZATION", code="13051"), None),
    (_line("bought", 501), "differs: 500 AED"),
    (_line("bought", 500, currency="USD"), "differs: 500 AED"),
    (_line("bought", 500, merchant="Two"), "is missing"),
    (_line("nobody", 500), "is missing"),
    (_line("doubtful", 2000, operation="AUTHORIZATION"), "is missing"),
    (_line("bought", 500, operation="AUTHORIZATION"), "is missing"),
])
async def test_what_a_client_saw_acknowledged_must_be_there(ledger: Ledger, line: str, fault: str | None):
    """An approval that is missing or differs is named; declines and unknowns promise nothing."""
    proof = await ledger.prove(acknowledged=[line])
    assert proof.acknowledged.ok == (fault is None) == proof.ok
    assert fault is None or fault in proof.acknowledged.faults[0]


async def test_what_is_there_twice_is_named(ledger: Ledger):
    """A reference begins one payment; two approved ones are a double charge."""
    await ledger.do("UPDATE operations SET reference = 'bought' WHERE reference = 'bought-too'")
    proof = await ledger.prove(acknowledged=[_line("bought", 500)])
    assert "is there 2 times" in proof.acknowledged.faults[0]


@pytest.mark.parametrize("line", ["x", "[]", "{}", '{"code": "14000"}', _line("bought", 0), _line("bought", 5, operation="DANCE")])
async def test_a_line_that_cannot_be_read_is_no_proof(ledger: Ledger, line: str):
    """It is refused, rather than passed over."""
    with pytest.raises(ValueError, match="not a line"):
        await ledger.prove(acknowledged=[line])
