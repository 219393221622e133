"""Planted secrets, and a search for them in everything that a run leaves behind.

Card numbers, security codes and the signatures of requests that carried them go through every door, well and badly signed, into
approvals, declines, lost answers and broken databases.  Afterwards none of them stands anywhere: not in the data folder, not in the
process output, not in an answer.
"""
from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from ringfence.core.card import luhn_valid
from ringfence.processors.simulator.scenarios import RANGES, check_digit
from ringfence.storage.postgres import address
from tests.canary import Secrets, find_secrets
from tests.sandbox import CARD, Client, Sandbox, request

CODES = ("739", "862", "417")
LONG_CODE = "8642"
INSTANCE = 7
"""None of the sandbox's published numbers, which stand in ``sandbox.json`` for everybody to see."""
SCENARIOS = ("0000", "0051", "0300", "0304", "0400", "0411", "0501", "0801", "1005")
BRANDS = tuple(brand for brand in RANGES if brand.length == 16)
STRANGERS = tuple(body + check_digit(body) for body in ("453201511283036", "542523343010990", "601100099013942"))
"""Valid numbers of nobody's table: good for a payment, and kept as first and last digits only."""
TABLES = ("operations", "outcomes", "payments", "cards", "transfers")


class Run:
    """One sandbox, what was planted, and every answer it ever gave."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.merchant = sandbox, sandbox.merchant()
        self.numbers = [brand.number(scenario, INSTANCE) for brand in BRANDS for scenario in SCENARIOS[:2]]
        self.numbers += [BRANDS[0].number(scenario, INSTANCE) for scenario in SCENARIOS[2:]]
        self.amex = RANGES[3].number("0000", INSTANCE)
        self.numbers += [self.amex, *STRANGERS]
        self.signatures: set[str] = set()
        self.answers = sandbox.folder / "answers"
        self.codes: list[str] = []
        self._serial = 0

    def body(self, **fields: str) -> bytes:
        """A signed request; where it carries card data its signature is planted too."""
        made = request(self.merchant, **fields)
        if "card_number" in fields or "card_security_code" in fields:
            self.signatures.add(json.loads(made)["signature"])
        return made

    async def post(self, client: Client, body: bytes) -> dict[str, Any]:
        """The answer, kept."""
        answer = await client.post(body)
        self.keep(json.dumps(answer))
        self.codes.append(answer["response_code"])
        return answer

    def keep(self, text: str) -> None:
        """Add to what was answered."""
        with self.answers.open("a") as file:
            file.write(text + "\n")

    def card(self, number: str, **fields: str) -> dict[str, str]:
        """The fields of a payment with that number."""
        self._serial += 1
        code = LONG_CODE if number == self.amex else CODES[self._serial % len(CODES)]
        return {**CARD, "merchant_reference": f"CANARY-{self._serial}", "amount": "1000", "card_number": number, "card_security_code": code, **fields}


async def payments(run: Run, client: Client) -> None:
    """Every card through authorization and purchase, kept as a token where that is possible, and what follows."""
    for number in run.numbers:
        paid = await run.post(client, run.body(**run.card(number, command="PURCHASE", remember_me="YES")))
        if "token_name" in paid:
            again = {"command": "PURCHASE", "token_name": paid["token_name"], "card_security_code": LONG_CODE if number == run.amex else CODES[0]}
            await run.post(client, run.body(**{
                name: value for name, value in run.card(number, **again).items() if name not in ("card_number", "expiry_date", "remember_me")}))
            await run.post(client, run.body(query_command="GET_TOKENS"))
        held = run.card(number, command="AUTHORIZATION")
        if (await run.post(client, run.body(**held)))["response_code"] == "02000":
            for operation in ("CAPTURE", "REFUND"):
                await run.post(client, run.body(command=operation, merchant_reference=held["merchant_reference"], amount="500", currency="AED"))
            await run.post(client, run.body(command="VOID_AUTHORIZATION", merchant_reference=held["merchant_reference"]))
        await run.post(client, run.body(query_command="CHECK_STATUS", merchant_reference=held["merchant_reference"]))


async def services(run: Run, client: Client) -> None:
    """Tokens and card checks."""
    for place, number in enumerate(run.numbers[:4] + run.numbers[-2:]):
        await run.post(client, run.body(service_command="CREATE_TOKEN", merchant_reference=f"TOKEN-{place}", card_number=number,
                                        expiry_date="3512", return_url="https://shop.example/token"))
        await run.post(client, run.body(service_command="VERIFY_CARD", merchant_reference=f"VERIFY-{place}", card_number=number,
                                        expiry_date="3512", currency="AED", card_security_code=CODES[1]))


async def mistakes(run: Run, client: Client) -> None:
    """Card data in requests that are wrong: signatures that the explainer looks into, and values where they do not belong."""
    for number in (*run.numbers[:3], *STRANGERS):
        good = json.loads(run.body(**run.card(number, command="PURCHASE")))
        wrong = [
            good | {"amount": "1001"}, good | {"signature": good["signature"][:-1] + "x"}, good | {"signature": good["signature"].upper()[::-1]},
            good | {"cardNumber": number, "cvv": good["card_security_code"]}, good | {"card_number": f"{number[:4]} {number[4:]}"},
            good | {"card_number": int(number)}, good | {"card_security_code": int(good["card_security_code"]), "amount": 1},
            good | {"card_number": {"number": number}}, good | {"card_number": [number]}, good | {"command": ""}, good | {"access_code": "nobody"},
        ]
        for params in wrong:
            run.signatures.add(good["signature"])
            await run.post(client, json.dumps(params).encode())
        for fields in ({"expiry_date": "9913"}, {"expiry_date": "0101"}, {"currency": "XXX"}, {"amount": "x"}, {"card_security_code": "73"},
                       {"cvv": good["card_security_code"]}, {"colour": number}, {"card_number": number[:-1] + str(9 - int(number[-1]))}):
            await run.post(client, run.body(**run.card(number, command="PURCHASE", **fields)))
        await run.post(client, json.dumps(good).encode()[:-20])
        await run.post(client, json.dumps(good).encode().replace(b":", b"="))


async def page(run: Run, path: str, fields: dict[str, str] | None = None) -> tuple[str, str]:
    """What a browser gets for an address, or for a form posted there: where it was sent on to, and the page; both kept."""
    body = urlencode(fields or {}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", run.sandbox.port)
    lines = (f"{'GET' if fields is None else 'POST'} {path} HTTP/1.1", "host: ringfence", "content-type: application/x-www-form-urlencoded",
             f"content-length: {len(body)}", "connection: close", "", "")
    writer.write("\r\n".join(lines).encode() + body)
    head, _, text = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    run.keep(head + text)
    return next((line[10:].strip() for line in head.splitlines() if line.lower().startswith("location: ")), ""), text


async def pages(run: Run, client: Client) -> None:
    """Cards typed on pages, rightly and wrongly, approved and declined, and posted by shops' own forms; broken tables in between."""
    for place, number in enumerate((*run.numbers[:4], run.amex, STRANGERS[0])):
        code = LONG_CODE if number == run.amex else CODES[place % 3]
        form = {"command": "PURCHASE", "merchant_reference": f"PAGE-{place}", "amount": "1000", "currency": "AED", "customer_email": "a@shop.example",
                "return_url": "https://shop.example/"}
        opened, _ = await page(run, "/FortAPI/paymentPage", json.loads(run.body(**form)))
        typed = {"card_number": f"{number[:4]} {number[4:]}", "expiry_month": "12", "expiry_year": "35", "security_code": code, "card_holder": "A B",
                 "remember": "yes"}
        for wrong in ({"expiry_month": "13"}, {"card_holder": number}, {"security_code": number}, {"expiry_month": number}, {"mark": "x"}, {"attempt": "7"}, {}, {}):
            _, shown = await page(run, opened)
            hidden = dict(re.findall(r'name="(mark|attempt)" value="([^"]*)"', shown))
            if hidden and place == 1 and not wrong:
                async with without_table(run.sandbox, "outcomes"):
                    await page(run, opened, hidden | typed)
            if hidden:
                await page(run, opened, hidden | typed | wrong)
        tokenization = {"service_command": "TOKENIZATION", "merchant_reference": f"PAGE-{place}", "return_url": "https://shop.example/"}
        card = {"card_number": number, "expiry_date": "3512", "card_security_code": code, "card_holder_name": "A B"}
        signed = json.loads(run.body(**tokenization))
        for wrong in ({}, {"card_holder_name": number}, {"submit": number}, {number: code}, {"merchant_reference": number}, {"card_number": f"{number}0"}):
            await page(run, "/FortAPI/paymentPage", signed | card | wrong)


@asynccontextmanager
async def without_table(sandbox: Sandbox, name: str) -> AsyncIterator[None]:
    """A database in which a table is missing: what the program never expects."""
    connection = await asyncpg.connect(address(sandbox.data))
    try:
        await connection.execute(f"ALTER TABLE {name} RENAME TO {name}_away")
        yield
        await connection.execute(f"ALTER TABLE {name}_away RENAME TO {name}")
    finally:
        await connection.close()


async def breakdowns(run: Run, client: Client) -> None:
    """Payments and card checks while something inside is broken, with tracebacks in the log."""
    for table in TABLES:
        async with without_table(run.sandbox, table):
            for number in (run.numbers[0], run.numbers[1], STRANGERS[0]):
                await run.post(client, run.body(**run.card(number, command="PURCHASE", remember_me="YES")))
                await run.post(client, run.body(service_command="VERIFY_CARD", merchant_reference=f"BROKEN-{table}-{number[-6:]}",
                                                card_number=number, expiry_date="3512", currency="AED"))


async def looking(run: Run, client: Client) -> None:
    """Everything an operator can see."""
    described = run.sandbox.description
    for path in ("/metrics", "/healthz", "/readyz", "/admin/proof?full=1", "/admin/merchants", "/admin/simulator", "/admin/clock",
                 *(f"/admin/payments/CANARY-{number}" for number in range(1, 60)), "/admin/payments/VERIFY-0"):
        reader, writer = await asyncio.open_connection("127.0.0.1", run.sandbox.port)
        lines = (f"GET {path} HTTP/1.1", "host: ringfence", f"authorization: Bearer {described['admin']}", "connection: close", "", "")
        writer.write("\r\n".join(lines).encode())
        run.keep((await reader.read()).decode())
        writer.close()


def commands(run: Run) -> None:
    """The command line, with card data in its input."""
    wrong = json.loads(run.body(**run.card(run.numbers[0], command="PURCHASE")))
    for words, said in (
        (("simulator", "book", "--json"), None), (("simulator", "accounts", "--json"), None), (("explain", "CANARY-1", "--json"), None),
        (("aps", "explain-signature"), json.dumps(wrong | {"amount": "1"})),
        (("aps", "explain-signature"), json.dumps(wrong | {"cardNumber": run.numbers[2], "cvv": CODES[0]})),
        (("pay", "--card", run.numbers[1], "--json"), None),
    ):
        done: subprocess.CompletedProcess[str] = run.sandbox.command(*words, input=said)
        run.keep(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def leavings():
    """Everything that a run left behind: its folder, and what was planted."""
    sandbox = Sandbox(workers=2, environment={"RINGFENCE_ANSWER_SECONDS": "0.1", "RINGFENCE_LOG_LEVEL": "DEBUG"})

    async def play(run: Run) -> None:
        client = Client(sandbox.port, run.merchant)
        for act in (payments, services, mistakes, pages, breakdowns, looking):
            await act(run, client)
        await client.close()
        connection = await asyncpg.connect(address(sandbox.data))
        await connection.execute("CHECKPOINT")          # memory is searched too, once it is on the disk
        await connection.close()

    with sandbox:
        run = Run(sandbox)
        asyncio.run(play(run))
        commands(run)
        assert sandbox.stop() == 0
        yield run


def test_the_run_was_worth_searching(leavings):
    """Payments were approved, declined, unknown and refused, exceptions logged, signatures explained."""
    assert all(luhn_valid(number) for number in leavings.numbers)
    codes = set(leavings.codes)
    assert {"14000", "13029", "15777", "02000", "04000", "06000", "80000", "52062", "00008", "00073", "00016", "00027"} <= codes, codes
    log = leavings.sandbox.output.read_text()
    assert '"traceback"' in log and "does not exist" in log and "diagnosis:" in log
    answers = leavings.answers.read_text()
    assert 'value="18000"' in answers and answers.count('value="14000"') >= 4 and 'class="summary"' in answers and 'aria-invalid="true"' in answers
    masked = [f"{number[:6]}******{number[-4:]}" for number in leavings.numbers]
    assert sum(shown in answers for shown in masked) > len(masked) // 2


def test_no_secret_stands_anywhere(leavings):
    """Database files, write-ahead log, the simulator's books, logs, process output, answers: clean."""
    secrets = Secrets(frozenset(leavings.numbers), frozenset((*CODES, LONG_CODE)), frozenset(leavings.signatures))
    places: list[Path] = [leavings.sandbox.folder]
    assert any(path.stat().st_size > 1_000_000 for path in (leavings.sandbox.data / "postgres").rglob("*") if path.is_file())
    assert find_secrets(places, secrets) == []


def test_what_is_planted_there_is_found(leavings):
    """The same search finds a number and a signature that are put beside the rest."""
    planted = leavings.sandbox.data / "simulator" / "planted"
    signature = next(iter(leavings.signatures))
    planted.write_text(f"{leavings.numbers[0]}\0{signature}")
    secrets = Secrets(frozenset(leavings.numbers), frozenset(CODES), frozenset(leavings.signatures))
    found = find_secrets([leavings.sandbox.data / "simulator"], secrets)
    planted.unlink()
    assert {path for path, _ in found} == {planted} and len(found) >= 2
