"""Batch files, from the upload to the last line of their results: every row once, whoever dies when."""
from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from msgspec.structs import replace

from ringfence.api.aps.batch import Limits
from ringfence.background import abandoned
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.engine import batch_carrier, batches
from ringfence.engine.intents import Ended
from tests.engine.batching import HEADER, clerk, paid_once, purchase
from tests.engine.composition import approve
from tests.engine.recovering import try_due

pytestmark = pytest.mark.anyio


async def operations(one) -> int:
    return await one.value("SELECT count(*) FROM operations WHERE source = 'batch'")


async def test_rows_of_every_kind(one, here):
    """Purchases, captures, voids and refunds of one file, each told with its code; the sums come to the totals, and the proof agrees."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        await here.authorize("hold", "5000")
        await here.authorize("other", "700")
        fort_id = (await here.purchase("old", "900"))["fort_id"]
        rows = [
            purchase("a", token), purchase("b", token, 2500, "KWD"), "CAPTURE,hold,2000,AED,,,,,", f"REFUND,,400,AED,,,,{fort_id},RF-1",
            "VOID_AUTHORIZATION,other,,,,,,,", purchase("c", "nobody"), "CAPTURE,none,1,AED,,,,,", purchase("old", token),
        ]
        await desk.let_go(here, "M-1", rows)
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-1"))[0] == "71140"
        await desk.work()
        told = await desk.results(here, "M-1")
        assert {line: row["response_code"] for line, row in told.items()} == {
            2: "14000", 3: "14000", 4: "04000", 5: "06000", 6: "08000", 7: "13044", 8: "05036", 9: "13007"}
        assert told[3] | {"fort_id": ""} == {
            "Line_Number": "3", "response_code": "14000", "response_message": "Success", "status": "14", "eci": "RECURRING", "fort_id": "",
            "merchant_reference": "b", "amount": "2500", "card_number": "400000******0004", "expiry_date": "3512", "currency": "KWD"}
        assert told[5]["fort_id"] == fort_id and told[5]["merchant_reference"] == "old"
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        assert file.agrees and file.state == "done"
        assert {(one.kind, one.currency, one.ended): (one.rows, one.minor) for one in file.sums}["purchase", "AED", "refused"] == (2, 2000)
    assert (await here.status("a"))["transaction_code"] == "14000"
    await one.prove()


async def test_what_is_echoed_of_a_row_is_what_stands_in_it(one, here):
    """Whether every cell is filled or some are not, and whatever a cell holds that JSON writes in another way."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        header = "command,merchant_reference,amount,currency,customer_email,eci,token_name,language,order_description"
        said = {"a": ("RECURRING", "ar", "plain"), "b": ("", "", ""), "c": ("RECURRING", "en", "Größe 5' x 3'"), "d": ("RECURRING", "en", "")}
        await desk.let_go(here, "M-1", [
            f"PURCHASE,{name},1000,AED,a@shop.example,{eci},{token},{language},{text}" for name, (eci, language, text) in said.items()], header)
        await desk.work()
        found = {row["reference"]: json.loads(row["details"]) for row in await one.fetch(
            "SELECT reference, details FROM operations WHERE source = 'batch'")}
        for name, (_, language, text) in said.items():
            card = found[name].pop("card")
            assert card["card_number"] == "400000******0004" and card["payment_option"] == "VISA"
            assert found[name] == {
                "merchant_identifier": here.account.identifier, "access_code": found[name]["access_code"],
                "command": "PURCHASE", "merchant_reference": name, "amount": "1000", "currency": "AED", "customer_email": "a@shop.example",
                "eci": "RECURRING", "token_name": token, "language": language or "en", **({"order_description": text} if text else {})}
    await one.prove()


async def test_rows_of_one_order_run_in_the_order_of_the_file(one, here):
    """A purchase and its refunds, a capture and its refund, by either name: each finds what the row before it did."""
    async with clerk(one, chunk=2) as desk:
        token = await paid_once(here, "gold")
        fort_id = (await here.authorize("hold", "5000"))["fort_id"]
        rows = ["CAPTURE,hold,3000,AED,,,,,", purchase("a", token), "REFUND,a,600,AED,,,,,", "REFUND,a,600,AED,,,,,", "REFUND,a,400,AED,,,,,",
                f"REFUND,,3000,AED,,,,{fort_id},", "REFUND,hold,1,AED,,,,,", purchase("b", token)]
        await desk.let_go(here, "M-1", rows)
        await desk.work()
        told = await desk.results(here, "M-1")
        assert [told[line]["response_code"] for line in range(2, 10)] == [
            "04000", "14000", "06000", "07048", "06000", "06000", "07048", "14000"]
    await one.prove()


@pytest.mark.new_database
async def test_a_wave_of_few_rows_is_looked_at_in_few_pages(one, here, monkeypatch):
    """Ten rows of one order in a longer file: whether each has ended is asked of the pages that it stands in, not of the file."""
    looked, sums = [], batches.rows.sums

    async def counted(connection, merchant_id, batch_id, first, last):
        looked.append(first)
        return await sums(connection, merchant_id, batch_id, first, last)

    monkeypatch.setattr(batches, "PAGE", 4)
    monkeypatch.setattr(batches.rows, "sums", counted)
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        rows = [*(purchase(f"o-{number}", token) for number in range(24)), *(f"REFUND,o-0,{100 + number},AED,,,,," for number in range(9)),
                "REFUND,o-23,1000,AED,,,,,", "REFUND,o-0,1000,AED,,,,,"]
        await desk.let_go(here, "M-1", rows)
        await desk.work()
        told = await desk.results(here, "M-1")
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        assert file.waves == 11 and file.agrees
        assert [told[line]["response_code"] for line in range(26, 37)] == [*["06000"] * 10, "07048"]
        pages = list(range(2, file.last_line + 1, 4))
        # The first wave, then each of ten waves in a page or two, at last the sums of all.
        assert looked[:len(pages)] == pages and sorted(looked[-len(pages):]) == pages
        assert looked[len(pages):-len(pages)] == [26, 34, 26, 26, 26, 30, 30, 30, 30, 34]
    await one.prove()


async def test_a_row_on_a_sheet_is_the_intent_it_is_by_itself(one, here):
    """Whatever its cells hold; and what is of another sort, or no purchase, is left to go its own way."""
    async with clerk(one) as desk:
        token, other = await paid_once(here, "gold"), await paid_once(here, "silver")
        header = "command,merchant_reference,amount,currency,customer_email,eci,token_name,language,order_description"
        await desk.handed_in(here, "M-1", [
            f"PURCHASE,b,1000,AED,a@shop.example,RECURRING,{token},en,plain", f"PURCHASE,a,7,AED,b@shop.example,,{other},,Größe 5' x 3'",
            f"PURCHASE,d,9,KWD,b@shop.example,RECURRING,{other},ar,other", "PURCHASE,e,9,AED,b@shop.example,RECURRING,nobody,ar,other",
            "CAPTURE,b,500,AED,,,,en,", f'PURCHASE,c,31,AED,a@shop.example,RECURRING,{token},en,"a b"'], header)
        door, file = desk.carrier._doors["aps"], await desk.desk.named(here.account.merchant_id, "M-1")
        lines = [batches.Line(*row) for row in await one.pool.fetch(
            "SELECT line, kind, reference, fort_id, minor, currency, cells FROM batch_rows ORDER BY line")]
        sheet, others = await door.alike(file, lines)
        assert sheet.references == ["a", "b", "c"] and sheet.lines == [3, 2, 7] and {line.line for line in others} == {4, 5, 6}
        alone = await door.prepare(file, [lines[1], lines[0], lines[5]], {}, False)
        for place, prepared in enumerate(alone):
            mine = sheet.intent(place)
            assert replace(mine, payment_id=1, command=mine.command._replace(operation_id=1)) == replace(
                prepared.intent, payment_id=1, command=prepared.intent.command._replace(operation_id=1))
            assert (sheet.masked[place], sheet.expiries[place]) == (prepared.card_number, prepared.expiry_date)
        assert sheet.ids == sorted(sheet.ids)


async def test_what_ended_whole_is_not_counted_again(one, here, monkeypatch):
    """Of three stretches one holds a decline: only that one is asked about row by row, and the sums come to the totals."""
    looked, sums = [], batches.rows.sums

    async def counted(connection, merchant_id, batch_id, first, last):
        looked.append((first, last))
        return await sums(connection, merchant_id, batch_id, first, last)

    monkeypatch.setattr(batches.rows, "sums", counted)

    def mostly(message):
        return Declined("51") if message.minor == 666 else approve(message)

    async with clerk(one, chunk=4) as desk:
        token = await paid_once(here, "gold")
        one.processor.say(*[mostly] * 12)
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token, 666 if number == 5 else 100 + number) for number in range(12)])
        await desk.work()
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        assert await one.value("SELECT array_agg(ARRAY[first_line, last_line, rows, minor] ORDER BY first_line) FROM batch_whole") == [
            [2, 5, 4, 406], [10, 13, 4, 438]]
        assert looked == [(6, 9)] and file.agrees and await desk.desk.progress(file) == (11, 1, 0)
        assert {(sum.ended, sum.rows, sum.minor) for sum in file.sums} == {("approved", 11, 1161), ("declined", 1, 666)}
        told = await desk.results(here, "M-1")
        assert [row["response_code"] for row in told.values()] == [*["14000"] * 5, told[7]["response_code"], *["14000"] * 6]
        assert told[7]["status"] == "13" and list(told) == list(range(2, 14))
        assert [row["merchant_reference"] for row in told.values()] == [f"o-{number}" for number in range(12)]
        assert {row["fort_id"] for row in told.values()} == {
            str(row[0]) for row in await one.pool.fetch("SELECT payment_id FROM operations WHERE source = 'batch'")}
    await one.prove()


@pytest.mark.parametrize(("quick", "slow", "sizes"), [(1.0, 2.0, [4, 8, 16, 16, 6]), (0.0, 2.0, [4] * 12 + [2]), (1.0, 0.0, [4] * 12 + [2])])
async def test_commits_grow_where_answers_take_no_time(one, here, monkeypatch, quick, slow, sizes):
    """Up to what they may; where asking takes its time they stay small, so that every answer is in time."""
    monkeypatch.setattr(batch_carrier, "QUICK", quick)
    monkeypatch.setattr(batch_carrier, "SLOW", slow)
    async with clerk(one, chunk=4, most=16) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(50)])
        await desk.work()
        assert await one.value("SELECT array_agg(rows ORDER BY first_line) FROM batch_whole") == sizes
    await one.prove()


@pytest.mark.parametrize("failure", [RuntimeError("poison"), None])
async def test_rows_that_cannot_end_together_end_one_by_one(one, here, failure):
    """Where their commit raises, or some attempt has its outcome already: each is told as it ended, once."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        whole = desk.carrier._whole

        async def refused(sheet, outcomes, *more):
            if failure is not None:
                raise failure
            # Somebody ends one of them first: what its owner heard is late then.
            await desk.carrier._outcomes([Ended(sheet.reserved(1, *more[:2]), Unknown(Silence.OWNER_GONE))])
            await whole(sheet, outcomes, *more)

        desk.carrier._whole = refused
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(5)])
        await desk.carrier.run()
        assert await one.value("SELECT count(*) FROM batch_whole") == 0
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        if failure is not None:
            await desk.work()
            assert await desk.desk.progress(file) == (5, 0, 0)
            assert {row["response_code"] for row in (await desk.results(here, "M-1")).values()} == {"14000"}
        else:
            await desk.desk.look()
            assert await desk.desk.progress(file) == (4, 0, 1)
            assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-1"))[0] == "71140"     # one is unknown
    await one.prove()


async def test_a_reference_is_used_once(one, here):
    """For a batch, and in a file; the second upload changes nothing."""
    async with clerk(one) as desk:
        await desk.handed_in(here, "M-1", [purchase("a", "gold")])
        assert (await desk.upload(here, "M-1", HEADER + "\n" + purchase("b", "gold")))[0] == "51146"
        assert (await desk.upload(here, "M-2", "\n".join([HEADER, purchase("a", "gold"), purchase("b", "gold"), purchase("a", "gold")])))[0] == "50000"
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-2"))[0] == "71138"
        assert (await desk.ask(here, "PROCESS_BATCH", "M-2"))[0] == "73138"
        await desk.desk.look()
        assert await desk.ask(here, "GET_BATCH_RESULTS", "M-2") == ("77136", "1 rows are wrong: line 4, merchant_reference: Duplicate order number")
        assert (await desk.ask(here, "PROCESS_BATCH", "M-2"))[0] == "73136"
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-3"))[0] == "71141"
        assert (await desk.ask(here, "PROCESS_BATCH", "M-3"))[0] == "73141"


async def test_the_same_content_is_not_carried_out_twice_by_mistake(one, here):
    """Not within thirty days, whichever of two files was looked through first; unless forced, and then no order is paid twice."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        await here.authorize("hold", "5000")
        rows = [purchase("a", token), "CAPTURE,hold,2000,AED,,,,,"]
        await desk.handed_in(here, "M-1", rows)
        await desk.handed_in(here, "M-2", rows)         # neither is processed yet
        assert (await desk.ask(here, "PROCESS_BATCH", "M-1"))[0] == "72147"
        await desk.work()
        assert (await desk.ask(here, "PROCESS_BATCH", "M-1"))[0] == "73047"
        code, reason = await desk.ask(here, "PROCESS_BATCH", "M-2")
        assert code == "73146" and "processed as M-1; it would newly move 1 capture 20.00 AED" in reason
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-2"))[0] == "77146"
        number = str((await desk.desk.named(here.account.merchant_id, "M-2")).batch_id)
        assert (await desk.ask(here, "PROCESS_BATCH", "M-2", **{"ringfence-force": "1"}))[0] == "73146"
        assert (await desk.ask(here, "PROCESS_BATCH", "M-2", **{"ringfence-force": number}))[0] == "72147"
        await desk.work()
        told = await desk.results(here, "M-2")
        assert [told[2]["response_code"], told[3]["response_code"]] == ["13007", "04000"]
        one.now.now += timedelta(days=31)
        await desk.handed_in(here, "M-3", rows)
    await one.prove()


async def test_killed_twice_in_the_middle_every_row_is_carried_out_once(one, two, here):
    """Once between intents and answers, once between answers and outcomes: what was under way ends by recovery, and the results wait."""
    rows = [purchase(f"o-{number}", "gold") for number in range(40)]
    async with clerk(one, chunk=8) as desk, clerk(two, chunk=8) as other:
        await paid_once(here, "gold")
        await two.directory.refresh()
        await desk.let_go(here, "M-1", rows)
        held = one.processor.hold()
        dying = asyncio.create_task(desk.carrier.run())
        await held.arrived.wait()
        dying.cancel()                                      # its intents are stored; nobody hears an answer
        await asyncio.wait([dying])
        desk.outcome_wire.away, asked = True, len(one.processor.asked)
        dying = asyncio.create_task(desk.carrier.run())
        while len(one.processor.asked) < asked + 8:
            await asyncio.sleep(0.01)
        dying.cancel()                                      # answers came; their outcomes were never stored
        await asyncio.wait([dying])
        await other.carrier.run()
        await other.desk.look()
        assert (await other.ask(here, "GET_BATCH_RESULTS", "M-1"))[0] == "71140"
        assert await operations(one) == 40
        await one.value("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE source = 'batch'")       # time passes
        await one.value("DELETE FROM sweeps")
        await abandoned.sweep(two.pool, two.directory, two.engine)
        for _ in range(100):
            one.now.now += timedelta(seconds=10)
            await try_due(two)
            if await other.desk.look():
                break
        told = await other.results(here, "M-1")
        file = await other.desk.named(here.account.merchant_id, "M-1")
        assert file.agrees and len(told) == 40
        assert {row["response_code"] for row in told.values()} == {"14000", "13666"}
        assert sum(row["response_code"] == "14000" for row in told.values()) == 24
    assert await operations(one) == 40
    assert await one.value("SELECT count(DISTINCT reference) FROM operations WHERE source = 'batch'") == 40
    await one.prove()


@pytest.mark.parametrize("when", ["before", "after", "silently"])
async def test_a_lost_answer_takes_no_line_twice(one, here, when):
    """The commit that takes lines loses its connection, on either side of the server's work."""
    async with clerk(one, chunk=5) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(12)])
        desk.wire.cut("COMMIT", when)
        await desk.work()
        assert {row["response_code"] for row in (await desk.results(here, "M-1")).values()} == {"14000"}
    assert await operations(one) == 12 and len(one.processor.asked) == 13
    await one.prove()


async def test_cancel_stops_at_a_row(one, here):
    """What is under way ends, nothing further begins, and the results say which is which."""
    async with clerk(one, chunk=3) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(9)])
        held = one.processor.hold()
        running = asyncio.create_task(desk.carrier.run())
        await held.arrived.wait()
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        assert (await desk.desk.cancel(file)).state == "cancelling"
        await desk.desk.look()
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-1"))[0] == "71140"
        held.release()
        await running
        await desk.desk.look()
        codes = [row["response_code"] for row in (await desk.results(here, "M-1")).values()]
        assert codes == ["14000"] * 3 + ["13119"] * 6
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        assert file.state == "cancelled" and file.agrees
        assert (await desk.ask(here, "PROCESS_BATCH", "M-1"))[0] == "73047"
    await one.prove()


async def test_declines_doubts_and_what_waits_for_them(one, here):
    """An unknown row is told of once it has ended; the row behind it on its order waits, and finds the truth."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        one.processor.say(Declined("51"), Unknown(Silence.NO_ANSWER), approve)
        await desk.let_go(here, "M-1", [purchase("a", token), purchase("b", token), purchase("c", token), "REFUND,b,10,AED,,,,,"])
        await desk.work()
        assert (await desk.ask(here, "GET_BATCH_RESULTS", "M-1"))[0] == "71140"
        one.now.now += timedelta(seconds=10)
        await try_due(one)
        await desk.work()
        told = await desk.results(here, "M-1")
        assert [told[line]["response_code"] for line in range(2, 6)] == ["13029", "13666", "14000", "07662"]
    await one.prove()


async def test_a_token_that_changed_meanwhile_is_read_again(one, two, here):
    """Switched off at another worker: its rows are refused, and no other row."""
    async with clerk(one) as desk:
        await paid_once(here, "gold")
        await paid_once(here, "silver")
        for name in ("gold", "silver"):
            await here.ask(command="PURCHASE", merchant_reference=f"warm-{name}", amount="1", currency="AED", eci="RECURRING",
                           customer_email="a@shop.example", token_name=name)
        await two.directory.refresh()
        await here.at(two).ask(service_command="UPDATE_TOKEN", merchant_reference="off", token_name="gold", token_status="INACTIVE")
        await desk.let_go(here, "M-1", [purchase("a", "gold"), purchase("b", "silver")])
        await desk.work()
        told = await desk.results(here, "M-1")
        assert [told[2]["response_code"], told[3]["response_code"]] == ["13044", "14000"]
    await one.prove()


async def test_one_file_is_in_every_hand(one, here):
    """While a chunk waits for the issuer, the other hand carries out all that is left."""
    async with clerk(one, chunk=3, hands=2) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(12)])
        held, before = one.processor.hold(), len(one.processor.asked)
        running = asyncio.create_task(desk.carrier.run())
        await held.arrived.wait()
        while await one.value("SELECT count(*) FROM outcomes WHERE response_code = '00'") < 1 + 9:
            await asyncio.sleep(0.01)
        assert len(one.processor.asked) - before == 12 and not running.done()
        held.release()
        await running
        await desk.work()
        assert {row["response_code"] for row in (await desk.results(here, "M-1")).values()} == {"14000"}
    await one.prove()


async def test_several_merchants_take_turns(one, here):
    """A long file does not hold up a short one of somebody else."""
    there = await one.merchant("Second", access_code="codeSecond", request="ask-2", response="say-2")
    async with clerk(one, chunk=2) as desk:
        token = await paid_once(here, "gold")
        other = await paid_once(there, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(20)])
        await desk.let_go(there, "M-1", [purchase(f"o-{number}", other) for number in range(4)])
        one.processor.asked.clear()
        await desk.work()
        merchants = [message.merchant for message in one.processor.asked]
        assert merchants.index("Second") == 2 and merchants[:8].count("Second") == 4
    await one.prove()


BAD = {
    "utf-16": (HEADER.encode("utf-16"), "51144", "UTF-16"),
    "gzip": (b"\x1f\x8b\x08\x00rest of it", "51144", "packed"),
    "zip": (b"PK\x03\x04rest of it", "51144", "packed"),
    "a NUL": ((HEADER + "\n" + purchase("a\0", "gold")).encode(), "51144", "line 2: a NUL"),
    "Latin-1": ((HEADER + "\n" + purchase("a", "gold")).encode() + "\né".encode("latin-1"), "51144", "line 3: not UTF-8"),
    "an open quote": ((HEADER + '\n"' + purchase("a", "gold")).encode(), "51144", "line 2"),
    "nothing": (b"", "51142", "empty"),
    "a header alone": (HEADER.encode(), "51144", "no rows"),
    "a card": (b"command,card_number\nPURCHASE,4005550000000001\n", "51142", "card numbers"),
    "a code": (b"command,CVV2\nPURCHASE,123\n", "51142", "card numbers"),
    "a stranger": (b"command,shoe_size\nPURCHASE,42\n", "51142", "column 2"),
    "a name twice": (b"command,amount,amount\n", "51142", "twice"),
    "a million columns": (b"command" + b",amount" * 1_000_000 + b"\n", "51142", "longer than"),
    "a giant cell": (HEADER.encode() + b"\n" + b"x" * 400_000, "51144", "longer than"),
    "links": (b"command,merchant_reference\nPAYMENT_LINK,L-1\n", "51144", "payment links"),
    "too many rows": ("\n".join([HEADER, *(purchase(f"o-{n}", "gold") for n in range(11))]).encode(), "51144", "more than 10 rows"),
    "too large": (HEADER.encode() + b"\n" * 900_000, "51144", "larger than"),
}


@pytest.mark.parametrize("what", BAD)
async def test_files_from_hostile_hands(one, here, what):
    """Each is refused by what it is, and nothing of it is kept; the name stays free."""
    content, code, reason = BAD[what]
    async with clerk(one, limits=Limits(800_000, 10)) as desk:
        told = await desk.upload(here, "M-1", content)
        assert told[0] == code and reason in told[1], told[:2]
        assert await one.value("SELECT count(*) FROM batch_rows") + await one.value("SELECT count(*) FROM batch_files") == 0
        await desk.handed_in(here, "M-1", [purchase("a", "gold")])


async def test_bodies_that_are_no_such_form(one, here):
    """A file before its fields, packed bodies, other types, names that are not taken, and a caller who hangs up."""
    async with clerk(one) as desk:
        content = HEADER + "\n" + purchase("a", "gold")
        assert (await desk.upload(here, "M-1", content, slash=""))[0] == "50000"
        code, reason, said = await desk.upload(here, "M-2", content, first="file")
        assert code == "00001" and "before its file" in reason and "batch_id" not in said
        assert (await desk.upload(here, "M-2", content, **{"content-encoding": "gzip"}))[0] == "00073"
        assert (await desk.upload(here, "M-2", content, file_name="no/way"))[0] == "00002"
        told, _ = await desk.post("/FortAPI/upload/", b"{}", {"content-type": "application/json"})
        assert "multipart" in told["ringfence-reason"]
        fields = here.signed({"service_command": "UPLOAD_BATCH_FILE", "batch_reference": "M-2"})
        parts = "".join(f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
        _, answer = await desk.post("/FortAPI/upload/", (parts + "--x--\r\n").encode(), {"content-type": "multipart/form-data; boundary=x"})
        assert b'"00001"' in answer and b"file" in answer
        assert await one.value("SELECT count(*) FROM batch_files") == 1


async def test_rows_are_forgotten_ninety_days_behind_their_end(one, here):
    """First what was handed in, then which operations that were; what it came to stays."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(3)])
        await desk.work()
        one.now.now += timedelta(days=89)
        assert await desk.desk.forget() == 0 and await one.value("SELECT count(*) FROM batch_taken") == 1
        one.now.now += timedelta(days=2)
        assert await desk.desk.forget() == 3
        assert await desk.desk.forget() == 0 and await one.value("SELECT count(*) FROM batch_taken") == 0
        assert (await desk.desk.named(here.account.merchant_id, "M-1")).sums[0].rows == 3


async def test_wrong_rows_are_told_by_line_and_column_and_none_is_kept(one, here):
    """What is wrong is kept, the rows are not; nothing can be let go."""
    async with clerk(one) as desk:
        rows = [purchase("a", "gold"), purchase("b", "gold", 0), purchase("c", "gold", 5, "XXY"), "CAPTURE,,5,AED,,,,,", "REFUND,a,x,AED,,,,,", "a,b"]
        assert (await desk.upload(here, "M-1", "\n".join([HEADER, *rows])))[0] == "50000"
        code, reason = await desk.ask(here, "GET_BATCH_RESULTS", "M-1")
        assert code == "77136" and reason.startswith("5 rows are wrong: line 3, amount: Invalid amount; line 4, currency: Invalid currency")
        file = await desk.desk.named(here.account.merchant_id, "M-1")
        assert await desk.desk.faults(file) == [
            (3, "amount", "005"), (4, "currency", "013"), (5, "merchant_reference", "001"), (6, "amount", "002"), (7, "", "073")]
        assert await one.value("SELECT count(*) FROM batch_rows") == 0
        assert (await desk.ask(here, "PROCESS_BATCH", "M-1"))[0] == "73136"


async def test_only_its_own_merchant_sees_a_batch(one, here):
    """For everybody else there is none of that name."""
    there = await one.merchant("Second", access_code="codeSecond", request="ask-2", response="say-2")
    async with clerk(one) as desk:
        await desk.handed_in(here, "M-1", [purchase("a", "gold")])
        assert (await desk.ask(there, "GET_BATCH_RESULTS", "M-1"))[0] == "71141"
        assert (await desk.ask(there, "PROCESS_BATCH", "M-1"))[0] == "73141"


async def test_a_row_that_cannot_be_stored_is_refused_alone(one, here, monkeypatch):
    """Whatever is wrong with it: the rows around it are carried out."""
    real = batch_carrier.IntentBatch

    class Poisoned(real):
        def __init__(self, intents, *rest, **how):
            if any(intent.reference == "poison" for intent in intents):
                raise ValueError("poison")
            super().__init__(intents, *rest, **how)

    whole = batch_carrier.alike.claim_sheet

    async def poisoned(connection, model, own, *rest):
        if any(row[2] == "poison" for row in own):
            raise ValueError("poison")
        await whole(connection, model, own, *rest)

    monkeypatch.setattr(batch_carrier, "IntentBatch", Poisoned)
    monkeypatch.setattr(batch_carrier.alike, "claim_sheet", poisoned)
    async with clerk(one, chunk=64) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase("poison" if number == 5 else f"o-{number}", token) for number in range(12)])
        await desk.work()
        codes = [row["response_code"] for row in (await desk.results(here, "M-1")).values()]
        assert codes == ["14000"] * 5 + ["13006"] + ["14000"] * 6
    await one.prove()


async def test_a_lost_database_loses_no_row(one, here):
    """It goes away while rows are taken, and while their outcomes are stored; when it is back, what was not taken is."""
    async with clerk(one, chunk=4) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase(f"o-{number}", token) for number in range(10)])
        desk.wire.away = True
        assert await desk.carrier.run() == 0
        desk.wire.away = False
        await desk.work()
        assert {row["response_code"] for row in (await desk.results(here, "M-1")).values()} == {"14000"}
    await one.prove()


async def test_results_are_safe_in_a_spreadsheet(one, here):
    """A reference that begins like a formula has an apostrophe in front; every value is quoted."""
    async with clerk(one) as desk:
        token = await paid_once(here, "gold")
        await desk.let_go(here, "M-1", [purchase("-2", token)])
        await desk.work()
        _, text = await desk.ask(here, "GET_BATCH_RESULTS", "M-1")
        assert text.splitlines()[1].split(",")[6] == '"\'-2"'
        assert all(cell.startswith('"') and cell.endswith('"') for cell in text.splitlines()[1].split(","))


async def test_a_caller_who_hangs_up_leaves_nothing(one, here):
    """Half a file is none; its name stays free."""
    async with clerk(one) as desk:
        content = "\n".join([HEADER, *(purchase(f"o-{number}", "gold") for number in range(50))])
        await desk.upload(here, "M-1", content, hangs_up=True)
        assert await one.value("SELECT count(*) FROM batch_rows") + await one.value("SELECT count(*) FROM batch_files") == 0
        await desk.handed_in(here, "M-1", [purchase("a", "gold")])
