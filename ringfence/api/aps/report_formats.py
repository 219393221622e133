"""How reports are written: JSON and XML with the signature at the end, and CSV; row by row, however many there are.

The signature covers the rows as any other nested value.  Its text is sorted by name, so that the pairs before ``data``, the rows, and the
pairs behind can be hashed as they pass by.  An empty cell is left out of JSON and XML, as every empty value; XML calls a column that
begins with a digit ``_NAME``, and says nothing that it cannot say.  Refuses to know what a row means.
"""
from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from xml.sax.saxutils import escape

import msgspec

from ringfence.api.aps import signature, xml
from ringfence.api.aps.accounts import Credential

Pages = AsyncIterator[list[list[str]]]
ROWS, COUNT = "data", "data_count"
CONTENT_TYPES = {"JSON": "application/json", "XML": "application/xml", "CSV": "text/csv; charset=utf-8"}

_ENCODE = msgspec.json.Encoder().encode


def whole(body: dict[str, object], credential: Credential | None, form: str) -> bytes:
    """An answer without rows; unsigned while no phrase is known."""
    if form == "XML":
        body = xml.sayable(body)
    if credential is not None:
        body = body | {"signature": signature.sign(body, credential.response_phrase, credential.sha_type)}
    return xml.document("".join(xml.elements(body))) if form == "XML" else _ENCODE(body)


async def streamed(
    body: dict[str, object], columns: Sequence[str], pages: Pages, credential: Credential | None, form: str,
) -> AsyncIterator[bytes]:
    """An answer with the rows of all pages, at least one of them; ``body`` holds everything but rows and signature."""
    row = _xml_row if form == "XML" else _json_row
    if form == "XML":
        body = xml.sayable(body)
        columns = [f"_{name}" if name[0].isdigit() else name for name in columns]
    running = None if credential is None else signature.Running(credential.response_phrase, credential.sha_type)

    def cover(pairs: str) -> None:
        if running is not None:
            running.update(pairs)

    cover(signature.join({name: value for name, value in body.items() if name < ROWS}) + f"{ROWS}=[")
    yield (f"{xml.BEGIN}{''.join(xml.elements(body))}<{ROWS}_list>" if form == "XML" else
           f'{_ENCODE(body)[:-1].decode()},"{ROWS}":[').encode()
    between = ""
    async for page in pages:
        covered, written = [], []
        for cells in page:
            one = {name: cell for name, cell in zip(columns, cells, strict=True) if cell and (form != "XML" or xml.can_say(cell))}
            covered.append(signature.text(one))
            written.append(row(one))
        cover(between + ", ".join(covered))
        yield (("," if between and form != "XML" else "") + ("" if form == "XML" else ",").join(written)).encode()
        between = ", "
    cover("]" + signature.join({name: value for name, value in body.items() if name > ROWS}))
    signed = running.finish() if running is not None else ""
    if form == "XML":
        yield f"</{ROWS}_list>{xml.element('signature', signed) if signed else ''}{xml.END}".encode()
    else:
        yield (f'],"signature":"{signed}"}}' if signed else "]}").encode()


def _json_row(cells: dict[str, str]) -> str:
    return _ENCODE(cells).decode()


def _xml_row(cells: dict[str, str]) -> str:
    return f"<{ROWS}>{''.join([f'<{name}>{escape(cell)}</{name}>' for name, cell in cells.items()])}</{ROWS}>"


def unsigned(form: str, reference: str, count: int, columns: Sequence[str], pages: Pages) -> AsyncIterator[bytes]:
    """The same for operators: ``merchant_reference``, ``data_count`` and the rows; with ``CSV`` only these."""
    if form == "CSV":
        return csv_lines(columns, pages)
    body: dict[str, object] = {"merchant_reference": reference, COUNT: str(count)}
    return streamed(body, columns, pages, None, form) if count else _one(whole(body, None, form))


async def _one(part: bytes) -> AsyncIterator[bytes]:
    yield part


# ---------------------------------------------------------------------------------------------------------- CSV

_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
"""What spreadsheets take for the beginning of a formula, in half and full width."""


def harmless(cell: str) -> str:
    """The cell, behind an apostrophe where a spreadsheet would compute it."""
    return f"'{cell}" if cell.startswith(_FORMULAS) else cell


async def csv_lines(columns: Sequence[str], pages: Pages) -> AsyncIterator[bytes]:
    """A line of names, and one for each row (RFC 4180, UTF-8)."""
    yield _csv([columns], str)
    async for page in pages:
        yield _csv(page, harmless)


def _csv(rows: Sequence[Sequence[str]], cell: Callable[[str], str]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerows([[cell(text) for text in row] for row in rows])
    return written.getvalue().encode()
