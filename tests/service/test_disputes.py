"""Disputes from outside: a card that is disputed, the command line, the other door, and the clock."""
from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringfence.failures import Exit
from ringfence.processors.simulator.scenarios import VISA
from tests.sandbox import Client, Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


async def _purchase(sandbox: Sandbox, reference: str, **fields: str) -> str:
    client = Client(sandbox.port, sandbox.merchant(0))
    answer = await client.purchase(reference, 1000, **fields)
    await client.close()
    return answer["response_code"]


def purchase(sandbox: Sandbox, reference: str, scenario: str = "0000") -> None:
    assert asyncio.run(_purchase(sandbox, reference, card_number=VISA.number(scenario))) == "14000"


def listed(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    return {one["reference"]: one for one in sandbox.json("dispute", "list")["disputes"]}


def test_disputed_cards_live_by_the_clock(sandbox: Sandbox, tmp_path: Path):
    """Raised after a week; one is won by evidence, one lost by silence, an inquiry settled; the proof agrees."""
    for scenario in ("0701", "0702", "0703"):
        purchase(sandbox, f"D-{scenario}", scenario)
    assert sandbox.json("dispute", "list")["disputes"] == []
    assert sandbox.json("clock", "advance", "7d")["settled"]
    found = listed(sandbox)
    assert {reference: (one["phase"], one["status"]) for reference, one in found.items()} == {
        "D-0701": ("chargeback", "open"), "D-0702": ("chargeback", "open"), "D-0703": ("inquiry", "open")}
    won = found["D-0701"]["dispute"]
    receipt = tmp_path / "receipt.pdf"
    receipt.write_bytes(b"%PDF-1.7 signed")
    assert sandbox.command("dispute", "file", won, str(receipt)).returncode == Exit.OK
    assert "under review" in sandbox.command("dispute", "challenge", won, "--message", "signed", "--by", "Mona").stdout
    sandbox.command("dispute", "offer", found["D-0703"]["dispute"], "--amount", "5.00")
    assert sandbox.json("clock", "advance", "25d")["settled"]
    found = listed(sandbox)
    assert {reference: (one["status"], one["closing"]) for reference, one in found.items()} == {
        "D-0701": ("won", "decided"), "D-0702": ("lost", "silence"), "D-0703": ("offer_accepted", "settled")}
    told = sandbox.command("dispute", "show", won).stdout
    assert "receipt.pdf (15 bytes, sent)" in told and "chargeback returned 10.00 AED" in told
    assert "it was lost, because nobody answered in time" in sandbox.command("explain", "D-0702").stdout
    assert sandbox.command("dispute", "accept", won).returncode == Exit.REFUSED
    assert sandbox.json("proof", "--full")["ok"]


def test_a_dispute_is_raised_by_hand_and_seen_at_the_other_door(sandbox: Sandbox):
    """At once, and once for a capture; under its name there, with the key of that door."""
    purchase(sandbox, "HAND-1")
    raised = sandbox.json("dispute", "raise", "HAND-1", "--scenario", "0704", "--amount", "4.00", "--currency", "AED")["dispute"]
    assert (raised["status"], raised["minor"], raised["due_at"] is not None) == ("open", 400, True)
    assert sandbox.command("dispute", "raise", "HAND-1").returncode == Exit.REFUSED
    ppro = sandbox.description["merchants"][0]["ppro"]
    request = urllib.request.Request(f"http://127.0.0.1:{sandbox.port}/v1/disputes/{raised['name']}", headers={
        "Authorization": f"Bearer {ppro['api_key']}", "Merchant-Id": ppro["merchant_id"]})
    with urllib.request.urlopen(request) as answer:
        told = json.load(answer)
    assert (told["status"], told["amount"], told["merchantPaymentChargeReference"]) == ("OPEN", {"value": 400, "currency": "AED"}, "HAND-1")
    assert "Task exception" not in sandbox.output.read_text()
