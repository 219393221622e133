"""The operator's API: access keys of the door of stores, what they may do, and keys that are lent for a while."""
from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, access_key_json, made, only, read_object, text_of
from ringfence.api.describing import Schema, answers, fields, operator, path, text
from ringfence.api.http import error_response, json_response
from ringfence.engine.credentials import Allowed, Credential, NewCredential, faults_of
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.keys import Keyring
from ringfence.engine.session_tokens import LONGEST, SHORTEST, USUAL, lend, new_access_key

DOOR = "jwo"
_WORDS = ("operations", "stores", "regions")
_NOT_THERE = "there is no such merchant with an access key of that id in force"


class Services(NamedTuple):
    """What the endpoints work with; ``everywhere`` as in ``api.admin.Services``."""

    directory: Directory
    keyring: Keyring
    everywhere: Callable[[], Awaitable[None]]


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/merchants/{identifier}/access-keys``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    one = "/admin/merchants/{identifier}/access-keys/{access_key_id}"
    return [
        Route("/admin/merchants/{identifier}/access-keys", guarded(_keys), methods=["GET", "POST"]),
        Route(one, guarded(_key), methods=["PATCH", "DELETE"]),
        Route(f"{one}/session", guarded(_session), methods=["POST"]),
    ]


async def _keys(services: Services, request: Request) -> Response:
    identifier = request.path_params["identifier"]
    merchant = services.directory.merchant(identifier)
    if merchant is None:
        return error_response(404, "there is no merchant of that identifier")
    if request.method != "POST":
        return json_response({"access_keys": [access_key_json(one) for one in _of(merchant)]})
    given = await read_object(request)
    only(given, "access_key_id", "secret_access_key", "connector_secret", *_WORDS)
    fresh = new_access_key(_allowed(given, Allowed()))
    wanted = NewCredential(
        DOOR, text_of(given, "access_key_id", fresh.public_name), text_of(given, "secret_access_key", fresh.request_phrase),
        text_of(given, "connector_secret", fresh.response_phrase), allowed=fresh.allowed)
    changed = await services.directory.add_credential(identifier, wanted)
    return await made(services.everywhere, changed, 201, lambda merchant: access_key_json(_named(merchant, wanted.public_name), phrases=True))


async def _key(services: Services, request: Request) -> Response:
    found = _found(services, request)
    if found is None:
        return error_response(404, _NOT_THERE)
    identifier, name = found.identifier, found.public_name
    if request.method == "DELETE":
        changed = await services.directory.switch_off(identifier, name)
        return await made(services.everywhere, changed, 200, lambda merchant: {"access_keys": [access_key_json(one) for one in _of(merchant)]})
    given = await read_object(request)
    only(given, *_WORDS)
    allowed = await services.directory.allow(identifier, name, _allowed(given, found.allowed))
    return await made(services.everywhere, allowed, 200, lambda merchant: access_key_json(_named(merchant, name)))


async def _session(services: Services, request: Request) -> Response:
    """A temporary key, as AssumeRole lends one."""
    found = _found(services, request)
    if found is None:
        return error_response(404, _NOT_THERE)
    given = await read_object(request)
    only(given, "seconds", "operations", "stores")
    seconds, least, most = given.get("seconds", int(USUAL.total_seconds())), int(SHORTEST.total_seconds()), int(LONGEST.total_seconds())
    if type(seconds) is not int or not least <= seconds <= most:
        raise BadInput("seconds", f"must be {least} to {most}")
    allowed = _allowed(given, Allowed())
    for wrong in faults_of(allowed):
        raise BadInput(wrong.key, wrong.problem)
    session, token = lend(services.keyring, found, datetime.now(UTC), timedelta(seconds=seconds), allowed)
    return json_response({"access_key_id": session.access_key_id, "secret_access_key": session.secret, "session_token": token,
                          "expiration": session.until}, 201)


def _of(merchant: Merchant) -> list[Credential]:
    return [one for one in merchant.credentials if one.door == DOOR]


def _named(merchant: Merchant, name: str) -> Credential:
    return next(one for one in _of(merchant) if one.public_name == name)


def _found(services: Services, request: Request) -> Credential | None:
    merchant = services.directory.merchant(request.path_params["identifier"])
    return next((one for one in (_of(merchant) if merchant else ()) if one.public_name == request.path_params["access_key_id"]), None)


def _allowed(given: dict[str, Any], before: Allowed) -> Allowed:
    """What a key may do, where something is said of it; lists of texts."""
    for name in _WORDS:
        value = given.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BadInput(name, "must be a list of texts")
    return before._replace(**{name: frozenset(given[name]) for name in _WORDS if name in given})


# ---------------------------------------------------------------------------------------------------------- described

_TEXTS = {"type": "array", "items": {"type": "string"}}
_MAY: dict[str, Any] = {
    "operations": {**_TEXTS, "description": "what it may do; none: everything"}, "stores": {**_TEXTS, "description": "where; none: everywhere"},
    "regions": {**_TEXTS, "description": "for which regions it may sign; none: for all that are taken"},
}
_SECRETS = {"secret_access_key": text("signs requests"), "connector_secret": text("signs what Ringfence sends to the retailer")}
_KEY = fields({"access_key_id": text("its name"), **_SECRETS, **_MAY}, ("access_key_id", *_MAY),
              description="Secrets only right after they were made.")
_KEYS = fields({"access_keys": {"type": "array", "items": _KEY}}, ("access_keys",))
_AT = (path("identifier", "the merchant's identifier"), path("access_key_id", "the key's name"))

DESCRIBED: dict[str, Schema] = {
    "/admin/merchants/{identifier}/access-keys": {
        "get": operator("The access keys of a merchant that are in force", answers("the keys", _KEYS, "401", "404"), parameters=_AT[:1]),
        "post": operator("Give a merchant another access key, of at most five in force", answers(
            "the key, with its secrets", _KEY, "400", "401", "404", status="201"), parameters=_AT[:1], body=fields({
                "access_key_id": text("random where it is left out"), "secret_access_key": text("random where it is left out"),
                "connector_secret": text("random where it is left out"), **_MAY}, additionalProperties=False)),
    },
    "/admin/merchants/{identifier}/access-keys/{access_key_id}": {
        "patch": operator("Change what a key may do", answers("the key", _KEY, "400", "401", "404"), parameters=_AT,
                          body=fields(_MAY, additionalProperties=False)),
        "delete": operator("Switch a key off, for good", answers("the keys that are left", _KEYS, "401", "404"), parameters=_AT),
    },
    "/admin/merchants/{identifier}/access-keys/{access_key_id}/session": {"post": operator(
        "Lend a temporary key with a session token, as AssumeRole of AWS STS does", answers("the key and its token", fields({
            "access_key_id": text("of the temporary key"), "secret_access_key": text("signs requests"),
            "session_token": text("for X-Amz-Security-Token"), "expiration": text("wall time", format="date-time"),
        }, ("access_key_id", "secret_access_key", "session_token", "expiration")), "400", "401", "404", status="201"), parameters=_AT, body=fields({
            "seconds": {"type": "integer", "minimum": 900, "maximum": 43_200, "default": 3_600},
            "operations": _MAY["operations"], "stores": _MAY["stores"]}, additionalProperties=False))},
}
