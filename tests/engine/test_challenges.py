"""Challenges on the real database: a payment waits for its payer, and goes on or ends exactly once."""
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from ringfence.background import abandoned
from ringfence.core.authentication import Status
from ringfence.core.outcomes import Approved, Declined, Silence, Unknown
from ringfence.engine.authenticating import read_address
from ringfence.engine.challenges import Stands
from ringfence.engine.intents import Ended as Finished
from ringfence.engine.story import explain
from ringfence.processors.authenticator import Said
from ringfence.storage import authentications, jobs
from tests.engine.composition import AUTHENTICATED, CARD, FOREIGN, REJECTED, Process, Shop, doors, process, shop
from tests.engine.recovering import claim_due, end_doubts, recovers

pytestmark = pytest.mark.anyio
SECONDS = timedelta(seconds=1)
MINUTES = timedelta(minutes=1)
UNAVAILABLE = Said(Status.UNAVAILABLE, "22", "07", "", "ds-0", "2.2.0")


@pytest.fixture
async def other(database: str, one: Process) -> AsyncIterator[Process]:
    """Another worker; issuers, processor and the box of codes are those of the first."""
    async with process(database, 2, now=one.now) as running:
        running.processor, running.issuers, running.code_box = one.processor, one.issuers, one.code_box
        running.engine._processors = one.engine._processors
        recovers(running)
        doors(running)
        yield running


class Asked:
    """A payment whose payer is challenged."""

    def __init__(self, here: Shop, answer: dict) -> None:
        self.here, self.answer, self.reference = here, answer, answer["merchant_reference"]
        self.address = read_address(answer["3ds_url"].rpartition("/")[2])
        assert self.address is not None
        self.name = self.address.merchant_id, self.address.authentication_id

    async def code(self) -> str:
        return (await self.here.status(self.reference))["transaction_code"]

    async def row(self, process: Process) -> authentications.AuthenticationRow:
        found = await authentications.load(process.pool, *self.name)
        assert found is not None
        return found


async def challenged(here: Shop, reference: str = "C-1", command: str = "PURCHASE", **fields: str) -> Asked:
    here.process.issuers.challenge(reference)
    answer = await here.pay(command, reference, **fields)
    assert answer["response_code"] == "20064"
    return Asked(here, answer)


async def look(process: Process) -> int:
    """One look at every challenge that is due."""
    due = await claim_due(process, "challenge")
    for job in due:
        await process.challenges.attempt(job)
    return len(due)


async def sweep(process: Process) -> int:
    """The sweep of abandoned operations, as if everybody's time were over."""
    await process.pool.execute("UPDATE operations SET ask_deadline = now() - interval '1 minute' WHERE ask_deadline > now() - interval '1 minute'")
    await process.pool.execute("UPDATE sweeps SET done_until = '2020-01-01' WHERE job = 'abandoned'")
    return await abandoned.sweep(process.pool, process.directory, process.engine)


# -- at once

async def test_whoever_is_authenticated_at_once_pays_with_the_proof(one: Process, here: Shop):
    """The issuer is asked with ECI, cryptogram, directory id and version; the authentication is used by this payment."""
    one.issuers.say(AUTHENTICATED)
    answer = await here.purchase("F-1")
    assert answer["response_code"] == "14000"
    (asked,) = one.processor.asked
    assert (asked.evidence.status, *asked.evidence[1:]) == ("Y", "05", AUTHENTICATED.cavv, "ds-1", "2.2.0")
    assert (one.issuers.asked[0].minor, one.issuers.asked[0].currency, one.issuers.asked[0].pan.reveal()) == (1000, "AED", CARD["card_number"])
    (row,) = await authentications.of_payment(one.pool, here.account.merchant_id, int(answer["fort_id"]))
    assert row.used_by == row.payment_id == int(answer["fort_id"])
    await one.prove()


@pytest.mark.parametrize(("said", "mode", "code", "asks"), [
    (REJECTED, "flexible", "10030", 0),
    (Said(Status.REJECTED, "11"), "flexible", "10030", 0),
    (UNAVAILABLE, "flexible", "14000", 1),
    (UNAVAILABLE, "required", "10030", 0),
    (Said(Status.ERROR), "flexible", "14000", 1),
    (Said(Status.ERROR), "required", "10030", 0),
    (Said(Status.INFORMATIONAL, eci="07"), "flexible", "14000", 1),
    (Said(Status.INFORMATIONAL, eci="07"), "required", "10030", 0),
    (Said(Status.ATTEMPTED, eci="06", cavv=AUTHENTICATED.cavv), "required", "14000", 1),
])
async def test_what_needs_no_payer_follows_the_table(one: Process, said: Said, mode: str, code: str, asks: int):
    """N and R never pay; what says nothing about the person pays where the merchant bears it."""
    here = await shop(one, three_d_secure=mode)
    one.issuers.say(said)
    assert (await here.purchase("T-1"))["response_code"] == code
    assert len(one.processor.asked) == asks
    assert (await here.status("T-1"))["transaction_code"] == code
    await one.prove()


async def test_who_takes_no_part_pays_unless_the_merchant_insists(one: Process):
    """flexible asks nobody; required does not ask for the money either."""
    flexible, required = await shop(one), await shop(one, "Strict", three_d_secure="required")
    assert (await flexible.purchase("N-1"))["response_code"] == "14000"
    assert (await required.purchase("N-2"))["response_code"] == "10030"
    assert (await required.purchase("N-3", check_3ds="NO"))["response_code"] == "14000"
    assert one.issuers.asked == []


@pytest.mark.parametrize(("said", "is_believed"), [
    (AUTHENTICATED._replace(version="2.1.0"), True), (AUTHENTICATED._replace(version="1.0.2"), False),
    (Said(Status.INFORMATIONAL, eci="07", version="2.1.0"), False), (Said(Status.INFORMATIONAL, eci="07", version="2.2.0"), True),
])
async def test_an_answer_in_a_version_that_nobody_speaks_is_no_answer(one: Process, said: Said, is_believed: bool):
    """Of a Y in such a version nothing is taken along: an insisting merchant is refused, another one bears the risk."""
    strict, easy = await shop(one, "Strict", three_d_secure="required"), await shop(one)
    one.issuers.say(said, said)
    proven = is_believed and said.status == "Y"
    assert (await strict.purchase("O-1"))["response_code"] == ("14000" if proven else "10030")
    assert (await easy.purchase("O-1"))["response_code"] == "14000"
    evidence = one.processor.asked[-1].evidence
    assert (evidence.version if evidence else "") == (said.version if is_believed else "")
    assert (evidence.cavv if evidence else "") == (said.cavv if is_believed else "")


async def test_access_control_that_breaks_its_contract_is_an_error(one: Process, here: Shop):
    """Nobody's exception ends a payment."""
    async def breaks(request):
        raise RuntimeError("broken")

    one.issuers.say(breaks)
    assert (await here.purchase("B-1"))["response_code"] == "14000"
    assert one.processor.asked[0].evidence is None


# -- the challenge

async def test_a_challenged_payment_waits_and_holds_nothing(one: Process, here: Shop):
    """20064, nothing asked, nothing that follows is allowed (662), nothing in doubt, and the proof agrees."""
    asked = await challenged(here)
    assert asked.answer["3ds_url"].startswith("https://pay.example/3ds/") and len(asked.answer["3ds_url"]) <= 300
    assert "authorization_code" not in asked.answer
    assert await asked.code() == "20064"
    assert one.processor.asked == []
    for what in (here.capture("C-1", 1), here.refund("C-1", 1), here.void("C-1")):
        assert (await what)["response_code"][2:] == "662"
    assert (await here.purchase("C-1"))["response_code"] == "13007"
    assert await sweep(one) == 0
    assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'recovery'") == 0
    assert await one.fetch("SELECT status, authorized, unknown, pending_authorization FROM payments") == [("challenged", 0, 0, 1000)]
    await one.prove()


async def test_the_payer_comes_back_and_the_payment_is_made(one: Process, here: Shop):
    """With the proof, and with the security code that waited; one event is told, and a second return does nothing."""
    asked = await challenged(here, command="AUTHORIZATION")
    assert (await one.challenges.carry_on(*asked.name)).stands is Stands.WAITING
    one.issuers.results["C-1"] = AUTHENTICATED
    progress = await one.challenges.carry_on(*asked.name)
    assert progress.stands is Stands.ENDED and isinstance(progress.result.outcome, Approved)
    (message,) = one.processor.asked
    assert (message.evidence.cavv, message.security_code.reveal(), message.key) == (
        AUTHENTICATED.cavv, CARD["card_security_code"], f"{asked.answer['fort_id']}-1")
    assert await asked.code() == "02000"
    assert (await one.challenges.carry_on(*asked.name)) == (Stands.ENDED, None)
    assert [row[0] for row in await one.fetch("SELECT event FROM events")] == ["authorization_challenged", "authorization_approved"]
    assert [tuple(row) for row in await one.fetch("SELECT attempt, result FROM outcomes ORDER BY attempt")] == [(0, "challenge"), (1, "approved")]
    assert (await here.capture("C-1", 1000))["response_code"] == "04000"
    row = await asked.row(one)
    assert (row.used_by, row.status) == (int(asked.answer["fort_id"]), "Y")
    await one.prove()


@pytest.mark.parametrize(("said", "code", "why"), [
    (REJECTED, "10030", "authentication_failed"),
    (Said(Status.REJECTED, "11"), "10030", "authentication_failed"),
    (Said(Status.FAILED, "01", cancelled="01"), "00072", "authentication_cancelled"),
    (Said(Status.FAILED, "14", cancelled="04"), "10778", "authentication_timeout"),
    (Said(Status.FAILED, "14", cancelled="05"), "10778", "authentication_timeout"),
])
async def test_a_challenge_that_does_not_end_well_ends_the_payment(one: Process, here: Shop, said: Said, code: str, why: str):
    """Nobody is asked for the money, and the order says why."""
    asked = await challenged(here)
    one.issuers.results["C-1"] = said
    await one.challenges.carry_on(*asked.name)
    assert await asked.code() == code
    assert one.processor.asked == []
    assert [tuple(row) for row in await one.fetch("SELECT event FROM events")] == [("purchase_challenged",), ("purchase_not_asked",)]
    assert await one.value("SELECT response_code FROM outcomes WHERE attempt = 1") == why
    assert (await here.refund("C-1", 1))["response_code"] == "07662"
    await one.prove()


async def test_a_result_that_could_not_be_had_follows_the_merchants_mode(one: Process):
    """U behind a challenge: at the merchant's risk, or not at all."""
    for name, mode, code in (("Easy", "flexible", "14000"), ("Strict", "required", "10030")):
        here = await shop(one, name, three_d_secure=mode)
        asked = await challenged(here, name)
        one.issuers.results[name] = UNAVAILABLE
        await one.challenges.carry_on(*asked.name)
        assert await asked.code() == code


async def test_twenty_returns_at_two_workers_ask_once(one: Process, other: Process, here: Shop):
    """Exactly one carries on; all the others are told that somebody does, or that it has ended."""
    asked = await challenged(here)
    one.issuers.results["C-1"] = AUTHENTICATED
    held = one.processor.hold()
    returns = [asyncio.create_task((one if n % 2 else other).challenges.carry_on(*asked.name)) for n in range(20)]
    await held.arrived.wait()
    await asyncio.wait(returns, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    held.release()
    found = await asyncio.gather(*returns)
    assert len(one.processor.asked) == 1
    assert sum(progress.result is not None for progress in found) == 1
    assert {progress.stands for progress in found} <= {Stands.ENDED, Stands.ENDING}
    assert await asked.code() == "14000"
    await one.prove()


async def test_a_payer_who_never_comes_back_is_looked_after(one: Process, here: Shop):
    """The result is there without a browser: the job finds it and carries on."""
    asked = await challenged(here)
    assert await look(one) == 0
    one.now.now += 31 * SECONDS
    assert await look(one) == 1
    assert await asked.code() == "20064"
    one.issuers.results["C-1"] = AUTHENTICATED
    one.now.now += 31 * SECONDS
    assert await look(one) == 1
    assert await asked.code() == "14000"
    one.now.now += 31 * SECONDS
    assert await look(one) == 0


async def test_a_challenge_without_a_result_times_out(one: Process, here: Shop):
    """After ten minutes, and never before."""
    asked = await challenged(here)
    one.now.now += 10 * MINUTES - SECONDS
    await look(one)
    assert await asked.code() == "20064"
    one.now.now += SECONDS
    assert await look(one) == 1
    assert await asked.code() == "10778"
    one.issuers.results["C-1"] = AUTHENTICATED      # it comes, too late
    assert (await one.challenges.carry_on(*asked.name)) == (Stands.ENDED, None)
    assert one.processor.asked == []
    await one.prove()


# -- the security code

async def test_a_payment_whose_security_code_is_gone_is_not_asked_for(one: Process, here: Shop):
    """Never without the code that was given."""
    asked = await challenged(here)
    await one.code_box.take(here.account.merchant_id, f"challenge:{asked.answer['fort_id']}")
    one.issuers.results["C-1"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    assert (await asked.code(), one.processor.asked) == ("10778", [])
    assert await one.value("SELECT response_code FROM outcomes WHERE attempt = 1") == "security_code_gone"


async def test_a_payment_without_a_security_code_needs_none_later(one: Process, here: Shop):
    """With a token, and no code in the request."""
    await here.token("T-1")
    asked = await challenged(here, token_name="T-1")
    one.issuers.results["C-1"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    assert await asked.code() == "14000"
    assert one.processor.asked[0].security_code is None


async def test_a_card_that_is_not_kept_whole_is_to_be_entered_again(one: Process, here: Shop):
    """The sandbox keeps only its own numbers: behind a challenge there is nothing to ask for."""
    asked = await challenged(here, card_number=FOREIGN)
    one.issuers.results["C-1"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    assert (await asked.code(), one.processor.asked) == ("10778", [])


async def test_where_no_code_can_be_put_away_there_is_no_challenge(one: Process, here: Shop):
    """It would end in vain."""
    async def full(merchant_id, attempt, code):
        return False

    one.code_box.put = full
    one.issuers.challenge()
    assert (await here.purchase("C-1"))["response_code"] == "10778"


# -- kills

async def test_an_owner_killed_behind_its_claim_leaves_a_doubt_that_recovery_ends(one: Process, other: Process, here: Shop):
    """The claim gave the operation an owner; when that one's time is over, the operation is unknown, and reversed."""
    asked = await challenged(here)
    one.issuers.results["C-1"] = AUTHENTICATED
    held = one.processor.hold()
    dying = asyncio.create_task(one.challenges.carry_on(*asked.name))
    await held.arrived.wait()
    dying.cancel()
    await asyncio.wait([dying])
    assert (await other.challenges.carry_on(*asked.name)).stands is Stands.ENDING
    assert await asked.code() == "20064"
    assert await sweep(other) == 1
    assert await asked.code() == "15777"
    assert await end_doubts(other) >= 1
    assert await asked.code() == "13666"
    assert [message.key for message in one.processor.reversals] == [f"{asked.answer['fort_id']}-1"]
    await one.prove()


async def test_an_owner_that_stalled_behind_its_claim_comes_too_late(one: Process, other: Process, here: Shop):
    """Its approval is never told as one, and is undone."""
    asked = await challenged(here)
    one.issuers.results["C-1"] = AUTHENTICATED
    held = one.processor.hold()
    stalled = asyncio.create_task(one.challenges.carry_on(*asked.name))
    await held.arrived.wait()
    assert await sweep(other) == 1
    held.release()
    progress = await stalled
    assert progress.result.outcome == Unknown(Silence.SUPERSEDED)
    await end_doubts(other)
    assert await asked.code() == "13666"
    await one.prove()


async def test_an_owner_that_stalled_before_its_challenge_was_stored(one: Process, other: Process, here: Shop):
    """The sweep was quicker: nobody is sent to a page, and the payment ends reversed."""
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request):
        waiting.set()
        await go_on.wait()
        return Said(Status.CHALLENGE, acs_id="late")

    one.issuers.say(slow)
    stalled = asyncio.create_task(here.purchase("S-1"))
    await waiting.wait()
    assert await sweep(other) == 1
    go_on.set()
    answer = await stalled
    assert (answer["response_code"], "3ds_url" in answer) == ("15777", False)
    await end_doubts(other)
    assert (await here.status("S-1"))["transaction_code"] == "13666"
    one.now.now += MINUTES
    await look(other)
    assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'challenge'") == 0
    await one.prove()


async def test_a_sweep_that_comes_behind_the_challenge_writes_nothing(one: Process, other: Process, here: Shop):
    """It read that there was no outcome; when it writes there is one."""
    asked = await challenged(here)
    reserved = await recovers_desk(other).first(*asked.name[:1], int(asked.answer["fort_id"]))
    begins = reserved._replace(held=reserved.held._replace(payment=reserved.held.payment._replace(status="created")))
    result = await other.engine.finish(Finished(begins, Unknown(Silence.OWNER_GONE)))
    assert result.outcome == Unknown(Silence.SUPERSEDED)
    assert await asked.code() == "20064"


def recovers_desk(process: Process):
    return recovers(process)._desk


async def test_a_claim_whose_answer_was_lost_is_ours_all_the_same(one: Process, here: Shop):
    """Who claimed is stored: whoever finds his own name goes on."""
    asked = await challenged(here)
    row = await asked.row(one)
    ending = authentications.Ending("Y", "", "", "05", "c", "d", one.now(), one.now())
    deadline = datetime.now(UTC) + MINUTES
    assert await authentications.claim(one.pool, row, "me", deadline, ending, uses=True) == deadline
    assert await authentications.claim(one.pool, row, "you", deadline, ending, uses=True) is None
    assert await authentications.claimed(one.pool, row, "me") == deadline
    assert await authentications.claimed(one.pool, row, "you") is None


# -- a soft decline

@pytest.mark.parametrize(("card", "code"), [("4000009900000004", "1A"), ("5555009900000000", "65")])
async def test_a_soft_decline_is_challenged_once_and_asked_again_under_another_key(one: Process, here: Shop, card: str, code: str):
    """1A, of Mastercard 65: a challenge is mandated, then the same payment is asked for anew; what follows cites the second message."""
    one.issuers.say(UNAVAILABLE, Said(Status.CHALLENGE, ds_id="ds-2", version="2.2.0", acs_id="soft"))
    one.processor.say(Declined(code))
    asked = Asked(here, await here.authorize("D-1", card_number=card))
    assert [request.indicator for request in one.issuers.asked] == ["01", "04"]
    assert await sweep(one) == 0
    one.issuers.results["soft"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    assert await asked.code() == "02000"
    fort_id = asked.answer["fort_id"]
    assert [(message.key, message.evidence.cavv) for message in one.processor.asked] == [(f"{fort_id}-1", ""), (f"{fort_id}-2", AUTHENTICATED.cavv)]
    await here.capture("D-1", 100)
    assert one.processor.asked[-1].original.key == f"{fort_id}-2"
    await one.prove()


async def test_a_second_soft_decline_stands(one: Process, here: Shop):
    """One challenge, one more question."""
    one.issuers.say(UNAVAILABLE, Said(Status.CHALLENGE, acs_id="soft"))
    one.processor.say(Declined("1A"), Declined("1A"))
    asked = Asked(here, await here.purchase("D-1"))
    one.issuers.results["soft"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    assert await asked.code() == "13666"
    assert len(one.processor.asked) == 2


async def test_a_mandated_authentication_that_needs_no_payer_goes_on_at_once(one: Process, here: Shop):
    """It is stored first: what is asked then is another message, and whoever has to undo it must know."""
    one.issuers.say(UNAVAILABLE, AUTHENTICATED)
    one.processor.say(Declined("1A"), Unknown(Silence.NO_ANSWER))
    answer = await here.purchase("D-1")
    assert answer["response_code"] == "15777"
    await end_doubts(one)
    assert [message.key for message in one.processor.reversals] == [f"{answer['fort_id']}-2"]
    assert (await here.status("D-1"))["transaction_code"] == "13666"
    await one.prove()


@pytest.mark.parametrize("second", [REJECTED, UNAVAILABLE, Said(Status.ERROR)])
async def test_a_soft_decline_stands_where_no_challenge_comes(one: Process, here: Shop, second: Said):
    """The issuer's word is the answer."""
    one.issuers.say(UNAVAILABLE, second)
    one.processor.say(Declined("1A"))
    answer = await here.purchase("D-1")
    assert (answer["response_code"], answer["acquirer_response_code"]) == ("13666", "1A")
    assert len(one.processor.asked) == 1


async def test_65_of_another_scheme_is_a_plain_decline(one: Process, here: Shop):
    """There it means that the card was used too often."""
    one.issuers.say(UNAVAILABLE)
    one.processor.say(Declined("65"))
    assert (await here.purchase("D-1"))["response_code"] == "13666"
    assert len(one.issuers.asked) == 1


# -- unknown behind a challenge

async def test_silence_behind_a_challenge_is_a_doubt_like_any_other(one: Process, here: Shop):
    """15777, then reversed; and a late approval finds it."""
    asked = await challenged(here)
    one.issuers.results["C-1"] = AUTHENTICATED
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await one.challenges.carry_on(*asked.name)
    assert await asked.code() == "15777"
    await one.prove()
    await end_doubts(one)
    assert await asked.code() == "13666"
    await one.prove()


async def test_the_job_goes_with_a_payment_that_somebody_carries_on(one: Process, here: Shop):
    """Nothing is left to look after, and the clock has no reason to stop there."""
    asked = await challenged(here)
    one.issuers.results["C-1"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    assert await jobs.claim_one(one.pool, "challenge", *asked.name, holder="t", lease=1) is None


# -- what is told of it

async def test_the_story_of_a_challenge(one: Process, here: Shop):
    """Who was asked, what for, until when he is waited for, and how it ended; nothing that could be used."""
    asked = await challenged(here)

    async def told() -> str:
        story = await explain(one.pool, "C-1", keys=lambda reference: [f"aps:{reference}"])
        return "\n".join(story.sentences)

    waiting = await told()
    assert "3-D Secure (flexible) was asked: C, the payer must act on the issuer's page." in waiting
    assert "The purchase waits for the payer. It is given up at 2026-01-05 07:19:19 UTC." in waiting
    one.issuers.results["C-1"] = AUTHENTICATED
    await one.challenges.carry_on(*asked.name)
    ended = await told()
    assert "The challenge ended: Y, the payer was authenticated, ECI 05." in ended
    for secret in (AUTHENTICATED.cavv, asked.address.secret):
        assert secret not in waiting + ended
