"""Batch files over APS: ``/FortAPI/upload/`` takes a file in, ``/FortAPI/batchApi/`` tells of it and lets it go.

A file goes through this module in pieces, from the socket to the database, and its results the other way; neither is ever whole anywhere
here.  Whatever an APS answer has no key for (why a file was refused, what a repeated one would move) stands in the header
``Ringfence-Reason``.  Refuses to know in which states files are, and who carries rows out.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ringfence.api.aps import batch_intents, codes, wire
from ringfence.api.aps.answers import format_answer, format_error
from ringfence.api.aps.app import PaymentApi
from ringfence.api.aps.batch_lines import FILE, HEADER, BadFile, Lines
from ringfence.api.aps.batch_rows import INVOICE, Rows, columns_of
from ringfence.api.aps.door import DOOR, Account
from ringfence.api.aps.ladder import ApsRequest
from ringfence.api.aps.multipart import FILE_NAME, BadForm, Event, Field, FileBegins, Form, Part, boundary_of
from ringfence.api.aps.operations import OPERATIONS, Operation
from ringfence.api.http import JSON, read_body
from ringfence.core.money import format_minor
from ringfence.core.refusals import Refusal
from ringfence.engine.batches import CANCELLED, CANCELLING, DONE, INVALID, PROCESSING, VALID, VALIDATING, Batches, Contents, File, Told, Total
from ringfence.engine.lane import CONNECTION_LOST

log = logging.getLogger(__name__)

UPLOAD, BATCH = "/FortAPI/upload", "/FortAPI/batchApi"
LONG_PATHS = (UPLOAD, UPLOAD + "/")
"""Whose bodies may take long to arrive."""
UPLOADED, VALIDATED, ACCEPTED = "50000", "70000", "72147"
VALIDATION_FAILED = "77"
STILL_VALIDATING, STILL_PROCESSING, UNKNOWN_BATCH, TAKEN, PROCESSED = "138", "140", "141", "146", "047"
FORCE = "ringfence-force"
BODY_LIMIT = 65_536
PIECE_ROWS = 20_000

RESULTS = ("Line_Number", "response_code", "response_message", "status", "eci", "fort_id", "merchant_reference", "amount", "card_number",
           "expiry_date", "currency")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a text for a formula: such a text gets an apostrophe in front."""


class Limits(NamedTuple):
    """Octets and rows of one file."""

    octets: int
    rows: int


class BatchApi:
    """The two addresses, in one process."""

    def __init__(self, api: PaymentApi, desk: Batches, content_key: bytes, limits: Limits, *, links: bool = False) -> None:
        """``links``: whether files of payment links are taken; the door's ``batch_door`` then has been given who makes them."""
        self._api, self._desk, self._content_key, self._limits = api, desk, content_key, limits
        self._links = OPERATIONS.get(("service_command", INVOICE)) if links else None

    def routes(self) -> list[Route]:
        """With and without the final slash."""
        return [
            *(Route(path, self._upload, methods=["POST"]) for path in (UPLOAD, UPLOAD + "/")),
            *(Route(path, self._batch, methods=["POST"]) for path in (BATCH, BATCH + "/")),
        ]

    # -- handing a file in

    async def _upload(self, request: Request) -> Response:
        boundary = boundary_of(request.headers.get("content-type", ""))
        if boundary is None or request.headers.get("content-encoding", "identity") != "identity":
            return _json(format_error(wire.error({}, "00073"), None), "a multipart/form-data body is needed, not packed")
        events = _events(request, Form(boundary))
        try:
            fields: dict[str, str] = {}
            async for event in events:
                if isinstance(event, Field):
                    fields[event.name] = event.value
                elif isinstance(event, FileBegins):
                    return await self._hand_in(request, fields, event, events)
            return self._without_file(request, fields)
        except BadForm as bad:
            return _json(format_error(wire.error({}, "00073"), None), str(bad))
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            await events.aclose()

    def _without_file(self, request: Request, fields: dict[str, str]) -> Response:
        admitted = self._admit(request, fields, "UPLOAD_BATCH_FILE")
        if isinstance(admitted, bytes):
            return _json(admitted)
        return _json(format_error(wire.error(fields, "00001", "file"), admitted[0].credential))

    async def _hand_in(self, request: Request, fields: dict[str, str], begins: FileBegins, events: AsyncIterator[Event]) -> Response:
        admitted = self._admit(request, fields, "UPLOAD_BATCH_FILE")
        if isinstance(admitted, bytes):
            return _json(admitted, "" if "signature" in fields else "the fields of the form come before its file")
        account, asked = admitted
        if begins.name != "file" or not FILE_NAME.fullmatch(begins.file_name):
            return _json(format_error(wire.error(fields, "00002", "file"), account.credential), "the file, or its name, is not one that is taken")
        merchant, reference = account.merchant, asked.given["batch_reference"]
        if await self._desk.is_taken(merchant.merchant_id, reference):
            return self._answer(account, asked, asked.operation.failure + TAKEN)
        batch_id = self._desk.new_id()
        arriving = _Arriving(account, f"{merchant.merchant_id}\t{batch_id}\t", blake2b(key=self._content_key, digest_size=16), self._limits,
                             self._links, self._desk.now)
        try:
            file = await self._desk.hand_in(
                merchant.merchant_id, merchant.identifier, batch_id, reference, DOOR, account.credential.access_code, asked.language,
                begins.file_name, arriving.rows(events), arriving.contents)
        except BadFile as bad:
            return self._answer(account, asked, asked.operation.failure + bad.message, reason=str(bad))
        except CONNECTION_LOST:
            log.warning("an upload lost the database")
            return self._answer(account, asked, asked.operation.failure + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE))
        if file is None:
            return self._answer(account, asked, asked.operation.failure + TAKEN)
        return self._answer(account, asked, UPLOADED, file)

    # -- telling of it, and letting it go

    async def _batch(self, request: Request) -> Response:
        params = wire.decode(await read_body(request.scope, request.receive, BODY_LIMIT))
        if isinstance(params, wire.WireError):
            return _json(format_error(params, None))
        admitted = self._admit(request, params, "GET_BATCH_RESULTS", "PROCESS_BATCH")
        if isinstance(admitted, bytes):
            return _json(admitted)
        account, asked = admitted
        try:
            number = asked.given.get("batch_id")
            file = await self._desk.named(account.merchant.merchant_id, asked.given["batch_reference"], None if number is None else int(number))
            if file is None:
                return self._answer(account, asked, asked.operation.failure + UNKNOWN_BATCH)
            if asked.operation.name == "PROCESS_BATCH":
                return await self._process(account, asked, file, request.headers.get(FORCE, ""))
            return await self._results(account, asked, file)
        except CONNECTION_LOST:
            log.warning("the database is away")
            return self._answer(account, asked, asked.operation.failure + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE))

    async def _results(self, account: Account, asked: ApsRequest, file: File) -> Response:
        if file.state in (DONE, CANCELLED):
            return StreamingResponse(csv_of(self._desk, file), media_type="text/csv; charset=utf-8")
        code = {
            VALIDATING: asked.operation.failure + STILL_VALIDATING, PROCESSING: asked.operation.failure + STILL_PROCESSING,
            CANCELLING: asked.operation.failure + STILL_PROCESSING, INVALID: VALIDATION_FAILED + file.message, VALID: VALIDATED,
        }[file.state]
        if file.state == VALID and file.repeats is not None:
            code = VALIDATION_FAILED + TAKEN
        return self._answer(account, asked, code, file, reason=await self._reason(file))

    async def _process(self, account: Account, asked: ApsRequest, file: File, force: str) -> Response:
        failure = asked.operation.failure
        if file.state == VALID:
            before = file
            file = await self._desk.process(file, force=force == str(file.batch_id))
            if file.state == PROCESSING and before.state == VALID:
                return self._answer(account, asked, ACCEPTED, file)
        code = {
            VALIDATING: STILL_VALIDATING, PROCESSING: STILL_PROCESSING, CANCELLING: STILL_PROCESSING, INVALID: file.message, VALID: TAKEN,
        }.get(file.state, PROCESSED)
        return self._answer(account, asked, failure + code, file, reason=await self._reason(file))

    async def _reason(self, file: File) -> str:
        """Why a file is not let go, in a sentence."""
        if file.state == VALID and file.repeats is not None:
            earlier = await self._desk.numbered(file.repeats)
            name = earlier.reference if earlier else str(file.repeats)
            return (f"the same content was processed as {name}; it would newly move {money(file.new_totals or ())}; "
                    f"send Ringfence-Force: {file.batch_id} with PROCESS_BATCH to do so")
        if file.state != INVALID:
            return ""
        first = await self._desk.faults(file, 3)
        told = "; ".join(f"line {line}{', ' + column if column else ''}: {codes.text_of(message, 'en')}" for line, column, message in first)
        return f"{file.faults} rows are wrong: {told}" + (" ..." if file.faults > len(first) else "")

    # -- both

    def _admit(self, request: Request, params: dict[str, str], *served: str) -> tuple[Account, ApsRequest] | bytes:
        admitted = self._api.admit(params, request.client.host if request.client else "")
        if isinstance(admitted, bytes) or admitted[1].operation.name in served:
            return admitted
        return format_error(wire.error(params, "00034"), admitted[0].credential)

    def _answer(self, account: Account, asked: ApsRequest, code: str, file: File | None = None, *, reason: str = "") -> Response:
        fields: dict[str, object] = {}
        if file is not None:
            fields = {"batch_id": str(file.batch_id)}
            if code == VALIDATED:
                fields["transactions_count"] = str(file.rows)
        return _json(format_answer(asked, fields, code, account.credential), reason)


class _Arriving:
    """A file on its way in: what is read of it, and what goes on to the database."""

    def __init__(
        self, account: Account, prefix: str, digest: blake2b, limits: Limits, links: Operation | None, now: Callable[[], datetime],
    ) -> None:
        self._account, self._prefix, self._digest, self._limits, self._links, self._now = account, prefix, digest, limits, links, now
        self._lines, self._rows, self._octets = Lines(), None, 0

    async def rows(self, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """Its rows in the form of COPY.  Raises ``BadFile``."""
        async for event in events:
            if isinstance(event, Part):
                self._octets += len(event.octets)
                if self._octets > self._limits.octets:
                    raise BadFile(FILE, 0, f"larger than {self._limits.octets} octets")
                self._digest.update(event.octets)
                if kept := self._kept(self._lines.read + 1, self._lines.feed(event.octets)):
                    yield kept
                await asyncio.sleep(0)
            elif isinstance(event, Field | FileBegins):
                raise BadForm("the file is the last part of the form")
        if kept := self._kept(self._lines.read + 1, self._lines.close()):
            yield kept
        if self._rows is None or not (self._rows.count or self._rows.wrong):
            raise BadFile(FILE if self._rows else HEADER, 0, "the file has no rows" if self._rows else "the file is empty")

    def _kept(self, line: int, rows: list[list[str]]) -> bytes:
        if self._rows is None:
            if not rows:
                return b""
            self._rows = Rows(columns_of(rows[0], self._links), self._account.settings, self._prefix, self._links, now=self._now)
            line, rows = line + 1, rows[1:]
        kept = self._rows.take(line, rows)
        if self._rows.count + self._rows.wrong > self._limits.rows:
            raise BadFile(FILE, 0, f"more than {self._limits.rows} rows")
        return "".join(kept).encode() if not self._rows.wrong else b""

    def contents(self) -> Contents:
        """What it was, once it has ended."""
        rows = self._rows
        assert rows is not None, "a file without a header was refused"
        return Contents(
            rows.columns.names, rows.count + rows.wrong, self._lines.read, self._octets, self._digest.digest(),
            [Total(kind, currency, many, minor) for (kind, currency), (many, minor) in sorted(rows.totals.items())],
            rows.wrong, [tuple(fault) for fault in rows.faults])


async def _events(request: Request, form: Form) -> AsyncIterator[Event]:
    async for piece in request.stream():
        for event in form.feed(piece):
            yield event
    form.close()


async def csv_of(desk: Batches, file: File) -> AsyncIterator[bytes]:
    """The results of a batch, page by page."""
    yield (",".join(RESULTS) + "\n").encode()
    said: dict[_Sort, str] = {}
    async for page in desk.told(file):
        yield _lines(page, said, file.language).encode()


_Sort = tuple[str, str | None, str | None, str | None, bool, bool]
"""What rows that became of the same share: kind, code, result, answer, whether they have an operation, whether the answer was whole."""


def _lines(page: Sequence[Told], said: dict[_Sort, str], language: str) -> str:
    """Lines of the results; ``said`` keeps what is said of rows of one sort."""
    lines: list[str] = []
    last: tuple = ()
    middle = ""
    for told in page:
        line, kind, minor, currency, reference, fort_id, payment_id, operation_id, code, card_number, expiry_date, result, answered, answer = told
        sort = kind, code, result, answer, operation_id is None, answered == minor
        if sort != last:                    # compared by identity for the most part, which hashing is not
            last, middle = sort, said.get(sort, "") or said.setdefault(sort, _middle(told, language))
        lines.append(
            f'"{line}",{middle},"{payment_id or fort_id or ""}","{text(reference) if reference else ""}","{minor or ""}",'
            f'"{card_number or ""}","{expiry_date or ""}","{currency}"\n')
    return "".join(lines)


def _middle(told: Told, language: str) -> str:
    """What is said of every row of a sort."""
    code = batch_intents.code_of(told)
    return f'"{code}","{text(codes.text_of(code[2:], language))}","{code[:2]}","{"RECURRING" if told.kind == "purchase" else ""}"'


def text(cell: str) -> str:
    """A text inside quotes, which no spreadsheet takes for a formula."""
    if cell.startswith(FORMULA):
        cell = "'" + cell
    return cell.replace('"', '""') if '"' in cell else cell


def money(totals: Iterable[Total]) -> str:
    """Totals for people."""
    return ", ".join(f"{one.rows} {one.kind}" + (f" {format_minor(one.minor, one.currency)}" if one.minor else "") for one in totals) or "nothing"


def _json(body: bytes, reason: str = "") -> Response:
    headers = {"ringfence-reason": reason.encode("ascii", "replace").decode()[:1_000]} if reason else None
    return Response(body, 200, headers, JSON.decode())
