"""The same run twice: a frozen clock, a seed and one worker make two fresh folders tell one story, byte for byte."""
from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import pytest

from ringfence.failures import Exit
from ringfence.processors.simulator import read_book
from ringfence.storage.postgres import address
from tests.sandbox import CARD, Client, Sandbox

TIME = "2027-03-01T09:00:00Z"
FROZEN = ("--frozen-at", TIME)
#: Silence shall cost no more than this: it is waited for in wall time.
QUICK = {"RINGFENCE_ANSWER_SECONDS": "0.2"}

#: What is compared, without what is keyed (every folder has keys of its own) and without instants of wall time.
DUMPED = {
    "operations": "to_jsonb(o) - 'content' - 'ask_deadline' FROM operations o ORDER BY operation_id",
    "outcomes": "to_jsonb(o) FROM outcomes o ORDER BY operation_id, attempt",
    "payments": "to_jsonb(p) - 'last_content' FROM payments p ORDER BY payment_id",
    "transfers": "to_jsonb(t) FROM transfers t ORDER BY operation_id, leg",
    "balances": "to_jsonb(b) FROM balances b ORDER BY merchant_id, currency, account, lane",
    "events": "to_jsonb(e) FROM events e ORDER BY payment_id, sequence",
    "notices": "to_jsonb(n) FROM notices n ORDER BY operation_id",
    "batches": "to_jsonb(b) - 'digest' - 'committed_at' FROM batches b ORDER BY batch_id",
    "tokens": "to_jsonb(t) FROM tokens t ORDER BY token_name",
    "sdk_tokens": "to_jsonb(s) FROM sdk_tokens s ORDER BY sdk_token",
    "cards": "jsonb_build_object('card', card_id, 'last4', last4, 'first', first_reference, 'blocked', blocked) FROM cards ORDER BY card_id",
    "jobs": "jsonb_build_object('queue', queue, 'of', subject, 'due', due_at, 'tries', tries, 'note', note) FROM jobs ORDER BY queue, subject",
    "reversals": "jsonb_build_object('of', operation_id, 'why', why, 'done', acknowledged_at IS NOT NULL) FROM reversals ORDER BY operation_id",
}


class Teller:
    """Sends one request after the other to a sandbox, and keeps what it is told."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.answers = sandbox, list[Any]()
        self.cards = {card["scenario"]: card["number"] for card in sandbox.description["test_cards"]}
        self.tokens: list[str] = []

    async def ask(self, merchant: int = 0, **fields: str) -> dict[str, str]:
        client = Client(self.sandbox.port, self.sandbox.merchant(merchant))
        try:
            answer = await client.ask(**fields)
        finally:
            await client.close()
        answer.pop("signature")
        self.answers.append(answer)
        return answer

    def pay(self, command: str, reference: str, scenario: str = "0000", amount: int = 1000, **more: str) -> None:
        fields = {**CARD, "card_number": self.cards[scenario], "command": command, "merchant_reference": reference, "amount": str(amount)}
        answer = asyncio.run(self.ask(**{**fields, **more}))
        if "token_name" in answer:
            self.tokens.append(answer["token_name"])

    def pay_with_token(self, reference: str) -> None:
        fields = {name: value for name, value in CARD.items() if name not in ("card_number", "expiry_date", "card_security_code", "remember_me")}
        asyncio.run(self.ask(**fields, command="PURCHASE", merchant_reference=reference, amount="700", token_name=self.tokens[0]))

    def change(self, command: str, reference: str, amount: int = 0) -> None:
        money = {"amount": str(amount), "currency": "AED"} if amount else {}
        asyncio.run(self.ask(command=command, merchant_reference=reference, **money))

    def look(self, reference: str) -> None:
        asyncio.run(self.ask(query_command="CHECK_STATUS", merchant_reference=reference))

    def device(self, name: str) -> None:
        asyncio.run(self.ask(service_command="SDK_TOKEN", device_id=name))

    def advance(self, by: str) -> None:
        moved = self.sandbox.json("clock", "advance", by)
        assert moved["settled"], moved
        self.answers.append({name: moved[name] for name in ("now", "due", "fired", "steps", "frozen")})


def auth(reference: str, scenario: str = "0000", **more: Any) -> Callable[[Teller], None]:
    return lambda teller: teller.pay("AUTHORIZATION", reference, scenario, **more)


def buy(reference: str, scenario: str = "0000", **more: Any) -> Callable[[Teller], None]:
    return lambda teller: teller.pay("PURCHASE", reference, scenario, **more)


def change(command: str, reference: str, amount: int = 0) -> Callable[[Teller], None]:
    return lambda teller: teller.change(command, reference, amount)


def look(reference: str) -> Callable[[Teller], None]:
    return lambda teller: teller.look(reference)


def device(name: str) -> Callable[[Teller], None]:
    return lambda teller: teller.device(name)


def advance(by: str) -> Callable[[Teller], None]:
    return lambda teller: teller.advance(by)


#: Forty requests and two advances: approvals, partial ones, declines, silence, holds that are dropped and holds that expire, what follows them,
#: and what is refused.
SCRIPT: tuple[Callable[[Teller], None], ...] = (
    auth("A-1"), auth("A-2", amount=2500), auth("A-3", "0510"), auth("A-4"), buy("P-1"), buy("P-2", amount=990), buy("P-3", "0051"),
    auth("A-5", "0010"), auth("A-6", "0010", amount=3000), buy("P-4", "0300"), look("P-4"), buy("P-4", "0300"), auth("A-7", "0300"), look("A-7"),
    change("CAPTURE", "A-1", 1000), change("CAPTURE", "A-2", 1000), change("CAPTURE", "A-2", 9000), change("REFUND", "P-1", 400),
    change("REFUND", "P-1", 400), change("REFUND", "P-1", 400), change("VOID_AUTHORIZATION", "A-4"), change("CAPTURE", "A-4", 100),
    buy("T-1", remember_me="YES"), lambda teller: teller.pay_with_token("T-2"), buy("P-1"), look("NOBODY"),
    advance("26h"),
    look("A-3"), change("CAPTURE", "A-3", 500), look("P-4"), look("A-7"), auth("A-8"), auth("A-9", "0510"), buy("P-5", "0005"), auth("A-10"),
    change("CAPTURE", "A-10", 10), device("phone"), device("watch"),
    advance("8d"), device("phone"),
    look("A-2"), look("A-8"), look("A-9"), change("CAPTURE", "A-8", 1), change("REFUND", "P-2", 990), buy("P-6"), look("P-6"),
)
MIDDLE = next(place for place, step in enumerate(SCRIPT) if step.__qualname__.startswith("device"))
"""Between the two advances; behind a request that leaves nothing but a name, before another one of its kind."""


def told(sandbox: Sandbox, steps: Iterable[Callable[[Teller], None]]) -> Teller:
    teller = Teller(sandbox)
    for step in steps:
        step(teller)
    return teller


def dump(sandbox: Sandbox) -> dict[str, list[str]]:
    """Everything that the folder knows and the machine did not choose, table by table; and the issuer's book."""
    async def read() -> dict[str, list[str]]:
        connection = await asyncpg.connect(address(sandbox.data))
        try:
            return {table: [row[0] for row in await connection.fetch(f"SELECT {what}")] for table, what in DUMPED.items()}
        finally:
            await connection.close()
    found = asyncio.run(read())
    found["book"] = sorted(
        json.dumps([str(getattr(line, name)) for name in line.__struct_fields__ if name != "wall"])
        for line in read_book(sandbox.data / "simulator"))
    return found


class Run(NamedTuple):
    """The script on a folder: what was answered, what is stored, and what a start at another instant says after all."""

    answers: list[Any]
    stored: dict[str, list[str]]
    refused: subprocess.CompletedProcess[str] | None = None


def run(*, restart: bool = False, other: str = "") -> Run:
    """Play the script on a fresh folder; then try to start at the *other* instant."""
    with Sandbox(workers=1, environment=QUICK, arguments=FROZEN, from_nothing=not restart, alone=True) as sandbox:
        first = told(sandbox, SCRIPT[:MIDDLE + 1])
        if restart:
            sandbox.kill()
            sandbox.start()
        rest = Teller(sandbox)
        rest.tokens = first.tokens
        for step in SCRIPT[MIDDLE + 1:]:
            step(rest)
        assert sandbox.json("proof", "--full")["ok"]
        return Run(first.answers + rest.answers, dump(sandbox), stopped_and_started(sandbox, other) if other else None)


def stopped_and_started(sandbox: Sandbox, instant: str) -> subprocess.CompletedProcess[str]:
    """Stop the service, and start it as one that begins at the instant."""
    sandbox.stop()
    return sandbox.command("up", "--port", "0", "--workers", "1", "--frozen-at", instant)


@pytest.fixture(scope="module")
def once() -> Run:
    return run(other="2027-03-02T00:00:00Z")


def test_two_fresh_folders_tell_one_story(once: Run):
    """Every answer, and every row of operations, ledger, events, tokens and of the issuer's book."""
    again = run()
    assert len(SCRIPT) >= 42
    for mine, others in zip(once.answers, again.answers, strict=True):
        assert mine == others
    for table, rows in once.stored.items():
        assert rows == again.stored[table], table
        assert rows or table == "jobs", f"the script stores nothing in {table}"


@pytest.mark.wide
def test_a_restart_in_the_middle_changes_nothing(once: Run):
    """Killed and started again: time stands where it stood, and ids go on behind the highest."""
    again = run(restart=True)
    assert again.answers == once.answers
    for table, rows in once.stored.items():
        assert rows == again.stored[table], table


def test_the_script_meets_what_it_is_about(once: Run):
    """Doubts that end by reversal, dropped holds, expiries: else equal dumps would say little."""
    stored = {table: [json.loads(row) for row in rows] for table, rows in once.stored.items()}
    events = {row["event"] for row in stored["events"]}
    assert {"purchase_unknown", "purchase_reversed", "authorization_reversed", "hold_dropped", "authorization_expired", "capture_approved",
            "refund_approved", "void_approved", "purchase_declined"} <= events
    assert all(row["done"] for row in stored["reversals"])
    assert stored["payments"][0]["changed_at"].startswith("2027-03-01T09:00:00")


@pytest.fixture(scope="module")
def running() -> Run:
    """The first request on two folders whose clocks run; and an attempt to have one of them stand."""
    with Sandbox(workers=1) as one, Sandbox(workers=1) as other:
        answers = [told(sandbox, [auth("A-1")]).answers[0] for sandbox in (one, other)]
        refused = stopped_and_started(one, TIME)
        assert one.json("clock", "show")["ahead_seconds"] == 0
        return Run(answers, {}, refused)


def test_without_a_frozen_clock_ids_are_made_by_time(running: Run):
    """A seed alone fixes what the issuer says, not what things are called."""
    one, other = running.answers
    assert one["response_code"] == other["response_code"] == "02000"
    assert one["fort_id"] != other["fort_id"]


def test_a_folder_that_lived_otherwise_is_refused(running: Run, once: Run):
    """It ran before, or began at another instant: said in a sentence, with an exit code of its own; nothing is moved."""
    for refused, sentence in ((running.refused, "runs already"), (once.refused, "began at 2027-03-01T09:00:00Z")):
        assert refused is not None and refused.returncode == Exit.CONFIGURATION
        assert sentence in refused.stderr and "Traceback" not in refused.stderr


WRONG = [
    (("--workers", "2", *FROZEN), "worker"), (("--workers", "1", "--frozen-at", "yesterday"), "frozen-at"),
    (("--workers", "1", "--frozen-at", "2027-03-01T09:00:00"), "frozen-at"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG, ids=lambda value: str(value)[:40])
def test_an_instant_or_a_number_of_workers_that_makes_no_sense_is_refused(words: tuple[str, ...], sentence: str, tmp_path: Path):
    """Before anything is made."""
    sandbox = Sandbox(from_nothing=True)
    try:
        refused = sandbox.command("up", "--port", "0", *words)
        assert refused.returncode == Exit.CONFIGURATION and sentence in refused.stderr.lower().replace("_", "-")
        assert not (sandbox.data / "clock").exists()
    finally:
        sandbox.remove()
