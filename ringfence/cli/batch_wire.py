"""A batch file over the APS API, as a merchant's server would send it: in pieces, and its results in pieces.

Knows signatures and addresses, and nothing of what it shows to whom.
"""
from __future__ import annotations

import http.client
import json
import secrets
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ringfence.api.aps.signature import sign

PIECE = 262_144
SECONDS = 600


class Shop(NamedTuple):
    """Whose files they are, and where.  Prints without phrases."""

    base_url: str
    merchant_identifier: str
    access_code: str
    request_phrase: str
    sha_type: str
    authority: Path | None = None

    def __repr__(self) -> str:
        return f"Shop({self.base_url!r}, {self.merchant_identifier!r})"


class Answer(NamedTuple):
    """What was answered: an APS answer, and the reason beside it ("" for none)."""

    fields: dict[str, Any]
    reason: str

    @property
    def code(self) -> str:
        """Five digits."""
        return str(self.fields.get("response_code", ""))


def upload(shop: Shop, reference: str, file: Path, sent: Callable[[int], object] = lambda octets: None) -> Answer:
    """Hand a file in; ``sent`` is told how many octets of it have left."""
    fields = _signed(shop, "UPLOAD_BATCH_FILE", reference)
    boundary = secrets.token_hex(16)
    head = "".join(f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head += f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{file_name(file)}"\r\ncontent-type: text/csv\r\n\r\n'
    tail = f"\r\n--{boundary}--\r\n"
    length = len(head) + file.stat().st_size + len(tail)

    def body() -> Iterator[bytes]:
        yield head.encode()
        done = 0
        with file.open("rb") as content:
            while piece := content.read(PIECE):
                yield piece
                done += len(piece)
                sent(done)
        yield tail.encode()

    connection = _connection(shop)
    try:
        connection.request("POST", "/FortAPI/upload/", body(), {
            "content-type": f"multipart/form-data; boundary={boundary}", "content-length": str(length)})
        return _answer(connection.getresponse())
    finally:
        connection.close()


def ask(shop: Shop, command: str, reference: str, *, force: str = "") -> Answer | None:
    """GET_BATCH_RESULTS or PROCESS_BATCH; ``None`` where the answer is the results."""
    connection = _connection(shop)
    try:
        response = _asked(connection, shop, command, reference, force)
        return None if response.getheader("content-type", "").startswith("text/csv") else _answer(response)
    finally:
        connection.close()


def results(shop: Shop, reference: str) -> Iterator[bytes]:
    """The results, in pieces as they come."""
    connection = _connection(shop)
    try:
        response = _asked(connection, shop, "GET_BATCH_RESULTS", reference, "")
        while piece := response.read1(PIECE):
            yield piece
    finally:
        connection.close()


def file_name(file: Path) -> str:
    """A name that is taken, as near to the file's own as it goes."""
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in ".-!@#$%^&()_+, ") else "_" for sign in file.name)[-50:]


def _signed(shop: Shop, command: str, reference: str) -> dict[str, str]:
    fields = {"service_command": command, "access_code": shop.access_code, "merchant_identifier": shop.merchant_identifier,
              "language": "en", "batch_reference": reference}
    return fields | {"signature": sign(fields, shop.request_phrase, shop.sha_type)}


def _asked(connection: http.client.HTTPConnection, shop: Shop, command: str, reference: str, force: str) -> http.client.HTTPResponse:
    headers = {"content-type": "application/json"} | ({"ringfence-force": force} if force else {})
    connection.request("POST", "/FortAPI/batchApi/", json.dumps(_signed(shop, command, reference)), headers)
    return connection.getresponse()


def _answer(response: http.client.HTTPResponse) -> Answer:
    body = response.read()
    try:
        fields = json.loads(body)
    except ValueError:
        fields = {"response_message": f"HTTP {response.status}"}
    return Answer(fields, response.getheader("ringfence-reason", ""))


def _connection(shop: Shop) -> http.client.HTTPConnection:
    address = urlsplit(shop.base_url)
    assert address.hostname is not None
    if address.scheme == "https":
        context = ssl.create_default_context(cafile=str(shop.authority) if shop.authority else None)
        return http.client.HTTPSConnection(address.hostname, address.port, timeout=SECONDS, context=context)
    return http.client.HTTPConnection(address.hostname, address.port, timeout=SECONDS)
