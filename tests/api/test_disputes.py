"""Disputes for operators: what the admin API takes, shows and refuses."""
from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ringfence.api import disputes
from ringfence.api.admin import guard
from ringfence.api.ppro.names import Names
from ringfence.core.dispute import Heard, Said
from ringfence.core.dispute_reasons import Reason
from ringfence.engine.dispute_reading import Cases
from ringfence.engine.disputes import Case, Desk
from ringfence.operators import first_keys
from tests.api.asking import TOKEN, Operator
from tests.engine.composition import DAY, NOW, Process, Shop, process, shop

pytestmark = pytest.mark.anyio
PDF = base64.b64encode(b"%PDF-1.7").decode()


class Desks:
    """A shop's disputes, raised by hand and answered by an operator."""

    def __init__(self, here: Shop) -> None:
        one = here.process
        self.here, self.cases, self.names = here, Cases(one.pool, one.keyring, one.now), Names(one.content_key)
        self.desk = Desk(one.pool, one.keyring, one.now, one.new_id, book=one.engine.notice, send={"scripted": self.send})
        self.begun: list[tuple] = []
        self.operator = Operator(disputes.routes(guard(TOKEN), disputes.Services(
            one.pool, one.directory, self.desk, self.cases, one.now, lambda number: self.names.make("dispute", number),
            lambda name: self.names.read("dispute", name), lambda name: self.names.read("charge", name), first_keys, self.begin, None)))

    async def send(self, answer: object) -> bool:
        return True

    async def begin(self, *what: Any) -> str | None:
        """An issuer that knows one scenario, and takes one case about a capture."""
        if what[0] != "0701":
            raise ValueError("is none")
        self.begun.append(what)
        if len(self.begun) > 1:
            return None
        _, operation, payment, *_, minor = what
        await self.desk.tell(
            self.here.account.merchant_id, Case("scripted", "C-1", payment, operation, minor, Reason.GENERAL, "who?"),
            Heard(1, Said.TAKEN, minor, due_at=NOW + DAY))
        return "C-1"

    async def ask(self, path: str = "", body: Any = None) -> tuple[int, Any]:
        return await self.operator.ask(f"/admin/disputes{path}", *(() if body is None else (body,)))


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def desks(one: Process) -> Desks:
    here = await shop(one)
    await here.purchase("ORDER-1", "1000")
    return Desks(here)


async def test_a_dispute_is_raised_shown_and_answered(desks: Desks):
    """By its id or its name at the other door; the evidence comes back as it was."""
    status, raised = await desks.ask(body={"payment": "ORDER-1", "amount": 600})
    assert (status, raised["case"], raised["dispute"]["minor"], raised["dispute"]["status"]) == (201, "C-1", 600, "open")
    number, name = raised["dispute"]["dispute"], raised["dispute"]["name"]
    assert (await desks.ask("?open=true"))[1]["disputes"] == [raised["dispute"]]
    status, file = await desks.ask(f"/{number}/files", {"name": "a.pdf", "content_type": "application/pdf", "content": PDF})
    assert (status, file["bytes"]) == (201, 8)
    assert (await desks.ask(f"/{name}/files/{file['file']}"))[1] == {"name": "a.pdf", "content_type": "application/pdf", "content": PDF}
    assert (await desks.ask(f"/{name}/messages", {"content": "two\nlines"}))[0] == 201
    status, answered = await desks.ask(f"/{name}/actions", {"action": "challenge", "amount": 500, "message": "so", "by": "Mona"})
    assert (status, answered["status"], answered["minor"], answered["lost"]) == (200, "under_review", 500, 100)
    _, shown = await desks.ask(f"/{number}")
    assert [one["content"] for one in shown["messages"]] == ["two\nlines", "so"]
    assert (shown["answers"][0]["by"], shown["files"][0]["synced"], shown["actions"]) == ("person:Mona", True, [])
    assert [one["what"] for one in shown["bookings"]] == ["chargeback", "dispute_lost"]


@pytest.mark.parametrize(("body", "status", "field"), [
    ({}, 400, "payment"), ({"payment": "NONE"}, 404, "payment"), ({"payment": "ORDER-1", "scenario": "0000"}, 400, "scenario"),
    ({"payment": "ORDER-1", "amount": 1001}, 400, "amount"), ({"payment": "ORDER-1", "amount": True}, 400, "amount"),
    ({"payment": "ORDER-1", "capture": "7"}, 404, "capture"), ({"payment": "ORDER-1", "what": 1}, 400, "what"),
    ({"payment": 5}, 400, "payment"),
])
async def test_what_cannot_be_raised_is_refused_by_field(desks: Desks, body: Any, status: int, field: str):
    """And nothing was asked of the issuer."""
    answered = await desks.ask(body=body)
    assert (answered[0], answered[1]["field"]) == (status, field) and not desks.begun


async def test_what_cannot_be_answered_is_refused(desks: Desks):
    """Ids that are none, fields that are wrong, what is too late."""
    _, raised = await desks.ask(body={"payment": "ORDER-1"})
    number = raised["dispute"]["dispute"]
    assert (await desks.ask(body={"payment": "ORDER-1"}))[0] == 409
    for path in ("/7", "/x", "/" + "9" * 30, f"/{number}/files/7", f"/{number}/files/x"):
        assert (await desks.ask(path))[0] == 404
    for path, body, status, field in (
        ("actions", {"action": "shrug"}, 400, "action"), ("actions", {"action": "challenge", "amount": 5000}, 400, "amount"),
        ("actions", {"action": "challenge", "amount": "5"}, 400, "amount"), ("actions", {"action": "offer", "amount": 5}, 409, "action"),
        ("actions", {"action": "accept", "message": 5}, 400, "message"), ("messages", {"content": " "}, 400, "content"),
        ("files", {"name": "a.pdf", "content_type": "application/pdf", "content": "%"}, 400, "content"),
        ("files", {"name": "a.exe", "content_type": "application/pdf", "content": "TVo="}, 400, "file"), ("files", [], 400, "body"),
    ):
        answered = await desks.ask(f"/{number}/{path}", body)
        assert (answered[0], answered[1]["field"]) == (status, field), (path, body)
    desks.here.process.now.now = NOW + DAY
    assert (await desks.ask(f"/{number}/actions", {"action": "accept"}))[0] == 409
    assert (await desks.ask("/7/actions", {"action": "accept"}))[0] == 404
