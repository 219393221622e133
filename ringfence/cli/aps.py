"""``ringfence aps``: tools for people who write Amazon Payment Services clients."""
from __future__ import annotations

import sys
from typing import Any

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.printing import print_json
from ringfence.cli.service import admin
from ringfence.failures import Exit, Failure


@click.group(epilog="""\b
Examples:
  ringfence aps explain-signature < request.json""")
def aps() -> None:
    """Tools for Amazon Payment Services clients."""


@aps.command(name="explain-signature", epilog="""\b
Examples:
  ringfence aps explain-signature < request.json
  ringfence aps explain-signature --request-phrase PASSin --response-phrase PASSout --sha-type SHA-512 < request.json

\b
Exit codes: 0 the signature is right · 1 it is wrong, and this says why · 9 the request cannot be read""")
@click.option("--request-phrase", help="Use this phrase instead of the merchant's own.")
@click.option("--response-phrase", default="", help="The response phrase, to recognise its use by mistake.")
@click.option("--sha-type", default="SHA-256", show_default=True, help="With --request-phrase: the SHA type.")
@data_option
@json_option
def explain_signature(request_phrase: str | None, response_phrase: str, sha_type: str, data: str | None, as_json: bool) -> None:
    """Show the canonical string of a request (phrase masked), the expected hash, and what was probably done wrong."""
    from ringfence.api.aps import explain, wire
    from ringfence.api.aps.accounts import Credential
    params = wire.decode(sys.stdin.buffer.read())
    if isinstance(params, wire.WireError):
        raise Failure(Exit.REFUSED, "Standard input is not one JSON object in UTF-8.")
    if request_phrase is not None:
        credential = Credential(params.get("merchant_identifier", ""), params.get("access_code", ""), request_phrase, response_phrase, sha_type)
    else:
        found = _credential(params, data)
        credential = Credential(found["merchant_identifier"], found["access_code"], found["sha_request_phrase"], found["sha_response_phrase"],
                                found["sha_type"])
    explanation = explain.explain(params, credential)
    if as_json:
        print_json({**explanation._asdict(), "lines": list(explanation.lines())})
    else:
        for line in explanation.lines():
            click.echo(line)
    sys.exit(Exit.OK if explanation.right else Exit.CHECK_FAILED)


def _credential(params: dict[str, str], data: str | None) -> Any:
    identifier = params.get("merchant_identifier", "")
    if not identifier.isalnum() or not identifier.isascii():
        raise Failure(Exit.REFUSED, "The request names no merchant_identifier of letters and digits.")
    merchant = admin(configuration(data), "GET", f"/admin/merchants/{identifier}?phrases=true")
    for credential in merchant["credentials"]:
        if credential["access_code"] == params.get("access_code"):
            return credential
    raise Failure(Exit.REFUSED, f"{identifier} has no credential set with the access_code of the request.")
