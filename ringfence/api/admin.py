"""The operator's API: proof, merchants, payments and the simulator, as JSON behind one bearer token.

Parses, calls the engine, and writes what it says.  Every wrong input is answered 400 with the field's name.  Other parts of the same
API stand in modules of their own beside this one; all of them are guarded, and read what they are sent, by the functions here.
"""
from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import string
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.http import error_response, json_response, read_body
from ringfence.engine.clock import parse_instant
from ringfence.engine.credentials import EVERYTHING
from ringfence.engine.directory import Credential, Directory, Merchant, NewCredential, Rejected
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.session_tokens import new_access_key
from ringfence.engine.settings import as_texts

log = logging.getLogger(__name__)

BODY_LIMIT = 65_536

Endpoint = Callable[[Request], Awaitable[Response]]


class BadInput(Exception):
    """A request that cannot be understood; becomes a 400 that names the field."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field)
        self.field, self.problem = field, problem


class Services(NamedTuple):
    """What the endpoints work with, handed down by ``main``.

    ``prove(merchant, at, full)`` and ``explain(name, merchant)`` return what can be written as JSON, ``None`` where nothing has
    that name; ``prove`` raises ``ValueError`` for an instant that cannot be proved.  ``everywhere`` returns once every process works
    with the directory as it is here, or after a while.  ``simulator`` is ``None`` in live mode.
    """

    is_live: bool
    directory: Directory
    everywhere: Callable[[], Awaitable[None]]
    prove: Callable[[str | None, datetime | None, bool], Awaitable[object]]
    explain: Callable[[str, str | None], Awaitable[object | None]]
    simulator: SimulatorDesk | None


class SimulatorDesk(NamedTuple):
    """The simulator's control, as plain functions: ``show()`` and ``control(order)``; the latter raises ``ValueError(field, problem)``."""

    show: Callable[[], Awaitable[object]]
    control: Callable[[dict[str, Any]], Awaitable[object]]


def guard(token: str) -> Callable[[Endpoint], Endpoint]:
    """What every endpoint of operators is wrapped in: asks for the bearer token, and answers ``BadInput`` with 400, a lost database or
    an end of the service that does not wait any longer with 503."""
    expected = b"Bearer " + token.encode("ascii")

    def guarded(endpoint: Endpoint) -> Endpoint:
        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode("utf-8")
            if not hmac.compare_digest(given, expected):
                return json_response({"error": "the admin token is missing or wrong"}, 401, {"www-authenticate": "Bearer"})
            try:
                return await endpoint(request)
            except BadInput as bad:
                return error_response(400, bad.problem, bad.field)
            except CONNECTION_LOST as lost:
                log.warning("%s %s waits for the database: %s", request.method, request.url.path, lost)
                return error_response(503, "the database does not answer" + _left_open(request))
            except asyncio.CancelledError:                  # uvicorn, behind RINGFENCE_DRAIN_SECONDS
                return error_response(503, "the service stops" + _left_open(request))
        return answer

    return guarded


def _left_open(request: Request) -> str:
    return "" if request.method in ("GET", "HEAD") else "; whether this was done shows when it is back"


def admin_routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes of this module below ``/admin``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    return [
        Route("/admin/proof", guarded(_proof)),
        Route("/admin/merchants", guarded(_merchants), methods=["GET", "POST"]),
        Route("/admin/merchants/{identifier}", guarded(_merchant), methods=["GET", "PATCH"]),
        Route("/admin/merchants/{identifier}/credentials", guarded(_credentials), methods=["POST"]),
        Route("/admin/merchants/{identifier}/webhook-secret", guarded(_webhook_secret), methods=["POST"]),
        Route("/admin/payments/{name}", guarded(_payment)),
        Route("/admin/simulator", guarded(_simulator), methods=["GET", "POST"]),
    ]


# ---------------------------------------------------------------------------------------------------------- reading input

async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body."""
    body = await read_body(request.scope, request.receive, BODY_LIMIT)
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        raise BadInput("body", "must be a JSON object") from None
    if not isinstance(decoded, dict):
        raise BadInput("body", "must be a JSON object")
    return decoded


def only(given: dict[str, Any], *allowed: str) -> None:
    """Refuses what is not among the names; a typing mistake must not be passed over."""
    for name in given:
        if name not in allowed:
            raise BadInput(name, f"is not known here; there are {', '.join(allowed)}")


def text_of(given: dict[str, Any], name: str, default: str | None = None) -> str:
    """A printable text; missing only where there is a default."""
    value = given.get(name, default)
    if value is None:
        raise BadInput(name, "is missing")
    if not isinstance(value, str) or "\0" in value or not value.isprintable():
        raise BadInput(name, "must be a printable text")
    return value


def flag_of(request: Request, name: str) -> bool:
    """A yes or no of the query; no where it is not there, yes where it has no value."""
    value = request.query_params.get(name, "false").lower()
    if value not in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
        raise BadInput(name, "must be true or false")
    return value in ("", "1", "true", "yes", "on")


def merchant_of(directory: Directory, request: Request) -> str | None:
    """The identifier of the merchant that the query names; ``None`` where it says nothing of one, which an empty name is not."""
    identifier = request.query_params.get("merchant")
    if identifier is not None and directory.merchant(identifier) is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    return identifier


# ---------------------------------------------------------------------------------------------------------- endpoints

async def _proof(services: Services, request: Request) -> Response:
    at = None
    if text := request.query_params.get("at"):
        at = parse_instant(text)
        if at is None:
            raise BadInput("at", "must be an ISO 8601 instant with its offset, such as 2026-11-21T12:00:00Z")
    full, merchant = flag_of(request, "full"), merchant_of(services.directory, request)
    try:
        return json_response(await services.prove(merchant, at, full))
    except ValueError as refused:
        raise BadInput("at", str(refused)) from refused


async def _merchants(services: Services, request: Request) -> Response:
    if request.method != "POST":
        return json_response({"merchants": [shown(one) for one in services.directory.merchants()]})
    given = await read_object(request)
    only(given, "identifier", "name", "settings", "access_code", "sha_request_phrase", "sha_response_phrase", "sha_type")
    identifier = text_of(given, "identifier")
    credentials = [_aps_credential(given), new_ppro_credential(is_live=services.is_live), new_access_key(EVERYTHING)]
    made = await services.directory.create(identifier, text_of(given, "name", identifier), credentials, settings=_settings(given))
    return await _made(services, made, 201)


async def _merchant(services: Services, request: Request) -> Response:
    identifier = request.path_params["identifier"]
    if request.method != "PATCH":
        merchant = services.directory.merchant(identifier)
        if merchant is None:
            return error_response(404, "there is no merchant of that identifier")
        if (phrases := flag_of(request, "phrases")) and services.is_live:
            return error_response(403, "phrases are shown in the sandbox only")
        return json_response(shown(merchant, phrases=phrases))
    given = await read_object(request)
    only(given, "settings", "name", "active")
    active = given.get("active")
    if active is not None and not isinstance(active, bool):
        raise BadInput("active", "must be true or false")
    name = text_of(given, "name") if "name" in given else None
    if not identifier.isprintable():                        # no database could even be asked for it
        return await _made(services, None, 404)
    changed = await services.directory.change(identifier, _settings(given), name=name, active=active)
    return await _made(services, changed, 200, phrases=False)


async def _credentials(services: Services, request: Request) -> Response:
    given = await read_object(request)
    door = text_of(given, "door", "aps")
    if door == "ppro":
        only(given, "door")
        wanted = new_ppro_credential(is_live=services.is_live)
    elif door == "aps":
        only(given, "door", "access_code", "sha_request_phrase", "sha_response_phrase", "sha_type")
        wanted = _aps_credential(given)
    else:
        raise BadInput("door", "must be aps or ppro")
    made = await services.directory.add_credential(request.path_params["identifier"], wanted)
    return await _made(services, made, 201)


KEEP_SECONDS, KEEP_AT_MOST = 86_400, 30 * 86_400
"""How long a replaced webhook secret signs beside the new one, unless somebody says otherwise; and at most."""


async def _webhook_secret(services: Services, request: Request) -> Response:
    """Another secret for a credential of the PPRO door, shown this once."""
    given = await read_object(request)
    only(given, "merchant_id", "keep_seconds")
    keep = given.get("keep_seconds", KEEP_SECONDS)
    if type(keep) is not int or not 0 <= keep <= KEEP_AT_MOST:
        raise BadInput("keep_seconds", f"must be 0 to {KEEP_AT_MOST} seconds")
    merchant = services.directory.merchant(request.path_params["identifier"])
    names = [one.public_name for one in merchant.credentials if one.door == "ppro"] if merchant else []
    name = text_of(given, "merchant_id", names[0] if names else "merch_")
    if merchant is None or name not in names:
        return error_response(404, "there is no such merchant with a credential of the PPRO door")
    fresh, wall = f"whsec_{secrets.token_urlsafe(32)}", datetime.now(UTC)
    changed = await services.directory.replace_secret(merchant.identifier, name, fresh, wall, timedelta(seconds=keep))
    if not isinstance(changed, Merchant):
        return await _made(services, changed, 200)
    await services.everywhere()
    return json_response({"merchant_id": name, "webhook_secret": fresh, "earlier_until": wall + timedelta(seconds=keep) if keep else None})


async def _payment(services: Services, request: Request) -> Response:
    name = request.path_params["name"]
    if not re.fullmatch(r"[ -~]{1,100}", name, re.ASCII):
        raise BadInput("name", "must be an id or a reference of at most 100 characters")
    story = await services.explain(name, merchant_of(services.directory, request))
    return error_response(404, "no payment has that id or reference") if story is None else json_response(story)


async def _simulator(services: Services, request: Request) -> Response:
    desk = services.simulator
    if desk is None:
        return error_response(404, "live mode has no simulator")
    if request.method != "POST":
        return json_response(await desk.show())
    order = await read_object(request)
    try:
        return json_response(await desk.control(order))
    except ValueError as refused:
        field, problem = refused.args if len(refused.args) == 2 else ("body", str(refused))
        raise BadInput(field, problem) from refused


# ---------------------------------------------------------------------------------------------------------- merchants as JSON

def shown(merchant: Merchant, *, phrases: bool = False) -> dict[str, Any]:
    """A merchant for operators; phrases only where they are asked for and just made, or in the sandbox."""
    return {
        "identifier": merchant.identifier, "name": merchant.name, "active": merchant.active, "settings": as_texts(merchant.settings),
        "credentials": [credential_json(one) if phrases else {"access_code": one.public_name, "sha_type": one.algorithm}
                        for one in merchant.credentials if one.door == "aps"],
        "ppro": [ppro_json(one) if phrases else {"merchant_id": one.public_name} for one in merchant.credentials if one.door == "ppro"],
        "jwo": [access_key_json(one, phrases=phrases) for one in merchant.credentials if one.door == "jwo"],
    }


def access_key_json(credential: Credential, *, phrases: bool = False) -> dict[str, Any]:
    """An access key of the door of stores, and what it may do."""
    secrets = {"secret_access_key": credential.request_phrase, "connector_secret": credential.response_phrase} if phrases else {}
    return {"access_key_id": credential.public_name} | secrets | credential.allowed.as_json()


def ppro_json(credential: Credential) -> dict[str, str]:
    """The same for the PPRO door."""
    return {
        "api_key": credential.request_phrase, "merchant_id": credential.public_name, "webhook_secret": credential.response_phrase,
    }


def credential_json(credential: Credential) -> dict[str, str]:
    """An APS credential set with everything a client needs."""
    return {
        "merchant_identifier": credential.identifier, "access_code": credential.public_name,
        "sha_request_phrase": credential.request_phrase, "sha_response_phrase": credential.response_phrase,
        "sha_type": credential.algorithm,
    }


async def _made(services: Services, merchant: Merchant | Rejected | None, status: int, *, phrases: bool = True) -> Response:
    return await made(services.everywhere, merchant, status, lambda merchant: shown(merchant, phrases=phrases))


async def made(
    everywhere: Callable[[], Awaitable[None]], merchant: Merchant | Rejected | None, status: int, show: Callable[[Merchant], object],
) -> Response:
    """What became of a change of the directory, once every process works with it."""
    if merchant is None:
        return error_response(404, "there is no merchant of that identifier")
    if isinstance(merchant, Rejected):
        first = merchant.errors[0]
        return json_response({"error": first.problem, "field": first.key,
                              "errors": [{"field": error.key, "error": error.problem} for error in merchant.errors]}, 400)
    await everywhere()
    return json_response(show(merchant), status)


def _settings(given: dict[str, Any]) -> dict[str, str]:
    settings = given.get("settings", {})
    if not isinstance(settings, dict):
        raise BadInput("settings", "must be an object of texts")
    for key, value in settings.items():
        if not isinstance(value, str):
            raise BadInput(key, "must be a text")
    return settings


def _aps_credential(given: dict[str, Any]) -> NewCredential:
    return NewCredential(
        "aps", text_of(given, "access_code", secrets.token_hex(10)), text_of(given, "sha_request_phrase", secrets.token_urlsafe(24)),
        text_of(given, "sha_response_phrase", secrets.token_urlsafe(24)), text_of(given, "sha_type", "SHA-256"))


def new_ppro_credential(*, is_live: bool) -> NewCredential:
    """A fresh merchant id, API key and webhook secret."""
    signs = string.ascii_letters + string.digits
    merchant_id = "".join(secrets.choice(signs) for _ in range(21))
    environment = "live" if is_live else "sandbox"
    return NewCredential("ppro", f"merch_{merchant_id}", f"key_{environment}_{secrets.token_urlsafe(32)}", f"whsec_{secrets.token_urlsafe(32)}")
