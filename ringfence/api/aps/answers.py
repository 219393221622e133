"""Answers: the bytes that an APS client gets back, signed with the response phrase.

Decides which keys an answer holds: what the request said (see ``ladder.echo``), the result, the code with its text, nothing empty, all
texts, and no key that the clients' models do not know.  Refuses to know how the result came about.
"""
from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import msgspec

from ringfence.api.aps import signature
from ringfence.api.aps.accounts import Credential
from ringfence.api.aps.codes import text_of
from ringfence.api.aps.wire import ApsRequest, WireError

_ENCODER = msgspec.json.Encoder()


def answer(request: ApsRequest, result: Mapping[str, object], code: str) -> dict[str, object]:
    """The unsigned answer: echo, then ``result``, then ``response_code`` (five digits), its text and its status.

    Values of ``result`` are texts (``data`` of GET_TOKENS is a list of objects of texts); empty ones take the echo's with them, and keys
    that this operation's answers do not hold are left out.
    """
    operation = request.operation
    body: dict[str, object] = request.echo.copy()
    if operation.variants:
        body["eci"] = request.eci                   # returned even where the request left it to the default
    known = operation.answers
    if known.issuperset(result) and all(result.values()):
        body |= result
    else:
        body |= {name: value for name, value in result.items() if name in known}
        body = {name: value for name, value in body.items() if value}
    body |= _verdict(code, request.language)
    return body


@cache
def _verdict(code: str, language: str) -> dict[str, str]:
    """What every answer says last: ``response_code``, its text, its status."""
    return {"response_code": code, "response_message": text_of(code[2:], language), "status": code[:2]}


def format_answer(request: ApsRequest, result: Mapping[str, object], code: str, credential: Credential) -> bytes:
    """The signed JSON of ``answer``.  Values are never null, and never anything but texts in an answer about money."""
    body = answer(request, result, code)
    if "data" in body:
        return _signed(body, signature.join(body), credential)
    spelling = signature.spelling(tuple(body))
    return _signed(body, spelling.pairs(spelling.values(body)), credential)


def format_error(error: WireError, credential: Credential | None) -> bytes:
    """The JSON of a refusal; unsigned while no phrase is known."""
    body = refusal(error)
    return _ENCODER.encode(body) if credential is None else _signed(body, signature.join(body), credential)


def refusal(error: WireError) -> dict[str, object]:
    """The unsigned answer to a refused request: what it said and the code, no ``fort_id``."""
    return {
        **error.echo, "response_code": error.code, "response_message": text_of(error.code[2:], error.language, error.named),
        "status": error.code[:2],
    }


def fields_of(body: dict[str, object], credential: Credential) -> dict[str, str]:
    """A signed answer as the fields of a form."""
    fields = {name: str(value) for name, value in body.items()}
    return fields | {"signature": signature.sign(fields, credential.response_phrase, credential.sha_type)}


def _signed(body: dict[str, object], pairs: str, credential: Credential) -> bytes:
    body["signature"] = signature.digest(pairs, credential.response_phrase, credential.sha_type)
    return _ENCODER.encode(body)
