"""Answers: the bytes that an APS client gets back, signed with the response phrase.

Decides which keys an answer holds: what the request said (see ``wire.echo``), the result, the code with its text, nothing empty, all
texts, and no key that the clients' models do not know.  Refuses to know how the result came about.
"""
from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ringfence.api.aps import signature
from ringfence.api.aps.accounts import Credential
from ringfence.api.aps.codes import text_of
from ringfence.api.aps.wire import ApsRequest, WireError

_ENCODER = msgspec.json.Encoder()


def answer(request: ApsRequest, result: Mapping[str, object], code: str) -> dict[str, object]:
    """The unsigned answer: echo, then ``result``, then ``response_code`` (five digits), its text and its status.

    Values of ``result`` are texts (``data`` of GET_TOKENS is a list of objects of texts); empty ones, and keys that this operation's
    answers do not hold, are left out.
    """
    operation = request.operation
    body: dict[str, object] = dict(request.echo)
    if operation.variants:
        body["eci"] = request.eci                   # returned even where the request left it to the default
    known = operation.answers
    for name, value in result.items():
        if value and name in known:
            body[name] = value
    body["response_code"] = code
    body["response_message"] = text_of(code[2:], request.language)
    body["status"] = code[:2]
    return body


def format_answer(request: ApsRequest, result: Mapping[str, object], code: str, credential: Credential) -> bytes:
    """The signed JSON of ``answer``.  Values are never null, and never anything but texts in an answer about money."""
    return _signed(answer(request, result, code), credential)


def format_error(error: WireError, credential: Credential | None) -> bytes:
    """The JSON of a refusal: what the request said and the code, no ``fort_id``; unsigned while no phrase is known."""
    body: dict[str, object] = dict(error.echo)
    body["response_code"] = error.code
    body["response_message"] = text_of(error.code[2:], error.language, error.named)
    body["status"] = error.code[:2]
    return _ENCODER.encode(body) if credential is None else _signed(body, credential)


def _signed(body: dict[str, object], credential: Credential) -> bytes:
    pairs = signature.join(body) if "data" in body else signature.join_texts(body)
    body["signature"] = signature.digest(pairs, credential.response_phrase, credential.sha_type)
    return _ENCODER.encode(body)
