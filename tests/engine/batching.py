"""Batch files on the processes of ``composition``: the door that takes them in, and the hands that carry their rows out."""
from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from ringfence.api.aps.batch import BatchApi, Limits
from ringfence.api.aps.batch_intents import batch_door
from ringfence.api.aps.batch_links import links_of_rows
from ringfence.engine.batch_carrier import Carrier
from ringfence.engine.batches import Batches
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.lane import Lane
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.storage import database
from tests.engine.composition import INTENT_LANES, OUTCOME_LANES, Process, Shop, Wire

HEADER = "command,merchant_reference,amount,currency,customer_email,eci,token_name,fort_id,maintenance_reference"
PIECE = 37
"""Octets in which bodies arrive: no boundary of theirs is one of the file's."""


class Clerk:
    """What one process needs for batch files; ``wire`` and ``outcome_wire`` are its lanes' connections."""

    def __init__(self, one: Process, *, chunk: int, most: int, ask_seconds: float, limits: Limits, links: bool, hands: int) -> None:
        self.process = one
        self.wire, self.outcome_wire = Wire(one._dsn, "batch intents"), Wire(one._dsn, "batch outcomes")
        self.lanes = Lane(self.wire.connect, numbers=INTENT_LANES), Lane(self.outcome_wire.connect, numbers=OUTCOME_LANES)
        outcomes = OutcomeLane(
            self.lanes[1], now=one.now, new_id=one._source.next, chain_key=one.chain_key, value_date=lambda name, at: at.date(), in_bulk=True)
        engine = Engine(
            intents=IntentLane(self.lanes[0], now=one.now, ask_seconds=ask_seconds), outcomes=outcomes,
            processors={one.processor.name: one.processor}, vault=one.vault, pool=one.pool, new_id=one.new_id, now=one.now)
        doors = {"aps": batch_door(
            one.api._service, lambda file: one.api.account_named(file.merchant, file.access), links_of_rows(one.api._service) if links else None)}
        self.desk = Batches(lambda: database.connect(one._dsn, application_name="files"), one.pool, now=one.now, new_id=one.new_id, doors=doors)
        self.carrier = Carrier(
            self.lanes[0], outcomes.commit, outcomes.commit_whole, engine, one.engine, one.pool, doors, now=one.now, ask_seconds=ask_seconds, chunk=chunk, most=most,
            hands=hands, is_stopping=lambda: self.is_stopping)
        self.is_stopping = False
        self.app = Starlette(routes=BatchApi(one.api, self.desk, one.api._service.content_key, limits, links=links).routes())

    async def post(
        self, path: str, body: bytes, headers: dict[str, str], piece: int = PIECE, *, hangs_up: bool = False,
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body of an answer 200; or of nothing, where the caller hangs up behind the body as if there were more of it."""
        pieces = [body[start:start + piece] for start in range(0, len(body), piece)] or [b""]
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces) or hangs_up} if pieces else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app({
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "server": None, "client": ("192.0.2.7", 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }, receive, send)
        assert sent[0]["status"] == (499 if hangs_up else 200), sent
        return ({name.decode(): value.decode() for name, value in sent[0]["headers"]},
                b"".join(message.get("body", b"") for message in sent))

    async def upload(self, shop: Shop, reference: str, content: bytes | str, *, file_name: str = "rows.csv", slash: str = "/",
                     first: str = "fields", hangs_up: bool = False, **headers: str) -> tuple[str, str, dict[str, Any]]:
        """Code, reason and answer."""
        fields = shop.signed({"service_command": "UPLOAD_BATCH_FILE", "batch_reference": reference})
        parts = [f'--b0undary\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
        file = (f'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: text/csv\r\n\r\n'.encode()
                + (content.encode() if isinstance(content, str) else content) + b"\r\n")
        body = b"".join([*parts, file] if first == "fields" else [file, *parts]) + b"--b0undary--\r\n"
        told, answer = await self.post(
            "/FortAPI/upload" + slash, body[:-20] if hangs_up else body, {"content-type": "multipart/form-data; boundary=b0undary", **headers},
            hangs_up=hangs_up)
        if hangs_up:
            return "", "", {}
        said = json.loads(answer)
        return said["response_code"], told.get("ringfence-reason", ""), said

    async def ask(self, shop: Shop, command: str, reference: str, **headers: str) -> tuple[str, str]:
        """Code and reason; or "csv" and the results."""
        body = json.dumps(shop.signed({"service_command": command, "batch_reference": reference})).encode()
        told, answer = await self.post("/FortAPI/batchApi/", body, {"content-type": "application/json", **headers})
        if told["content-type"].startswith("text/csv"):
            return "csv", answer.decode()
        return json.loads(answer)["response_code"], told.get("ringfence-reason", "")

    async def handed_in(self, shop: Shop, reference: str, rows: Iterable[str], header: str = HEADER) -> None:
        """A valid file that waits to be let go."""
        code, reason, _ = await self.upload(shop, reference, "\n".join([header, *rows]) + "\n")
        assert code == "50000", reason
        await self.desk.look()
        state, reason = await self.ask(shop, "GET_BATCH_RESULTS", reference)
        assert (state, reason) == ("70000", "")

    async def let_go(self, shop: Shop, reference: str, rows: Iterable[str], header: str = HEADER) -> None:
        """A file whose rows may be carried out."""
        await self.handed_in(shop, reference, rows, header)
        assert (await self.ask(shop, "PROCESS_BATCH", reference))[0] == "72147"

    async def work(self) -> None:
        """Carry out whatever is there, wave by wave, until nothing moves."""
        while await self.carrier.run() + await self.desk.look():
            pass

    async def results(self, shop: Shop, reference: str) -> dict[int, dict[str, str]]:
        """What became of every line."""
        code, text = await self.ask(shop, "GET_BATCH_RESULTS", reference)
        assert code == "csv", code
        found = {int(row["Line_Number"]): row for row in csv.DictReader(text.splitlines())}
        assert len(found) == len(text.splitlines()) - 1
        return found


@asynccontextmanager
async def clerk(
    one: Process, *, chunk: int = 100, ask_seconds: float = 30.0, limits: Limits = Limits(10_000_000, 1_000_000),  # noqa: B008
    links: bool = False, hands: int = 1, most: int = 0,
) -> AsyncIterator[Clerk]:
    """A clerk of that process, for as long as the block runs; ``links``: one that makes payment links from files."""
    made = Clerk(one, chunk=chunk, most=most, ask_seconds=ask_seconds, limits=limits, links=links, hands=hands)
    try:
        yield made
    finally:
        for lane in made.lanes:
            await lane.close()
        await asyncio.sleep(0)


async def paid_once(shop: Shop, name: str) -> str:
    """A token whose cardholder has paid with it."""
    assert (await shop.purchase(f"first-{name}", "100", token_name=name, card_number="4000009900000004", remember_me="YES"))["response_code"] == "14000"
    return name


def purchase(reference: str, token: str, minor: int = 1000, currency: str = "AED") -> str:
    """A row."""
    return f"PURCHASE,{reference},{minor},{currency},a@shop.example,RECURRING,{token},,"
