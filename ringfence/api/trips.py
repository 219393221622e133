"""The operator's API: stores, their gates, and the trips through them.  Below ``/admin``, never among what retailers call.

Parses, asks ``engine/gates`` and ``engine/trips``, and writes what they say.  Amounts are minor units of the store's currency.
"""
from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.api.admin import BadInput, Endpoint, merchant_of, only, read_object, text_of
from ringfence.api.describing import OF_MERCHANT, Schema, answers, fields, operator, path, query, rows, text
from ringfence.api.http import error_response, json_response
from ringfence.api.purchases import ITEMS, read_items
from ringfence.core.card import Pan
from ringfence.core.commands import MAX_MINOR
from ringfence.core.currencies import CURRENCIES
from ringfence.core.emv import Presented
from ringfence.core.trip import TripRefusal
from ringfence.engine.clock import parse_instant
from ringfence.engine.connector import Item
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.gates import Coming, Gates, Shut, Why
from ringfence.engine.stores import StoreRow, Stores, TripRow
from ringfence.engine.trips import Trip, Trips

PAGE, FAR = 500, datetime(2100, 1, 1, tzinfo=UTC)
BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
NAME = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)
"""How stores and trips are named at the door."""
COME = ("merchant", "store", "card", "expiry", "presented", "trip", "shopper", "group", "people", "terminal", "hold", "condition", "never_expires")

CardOf = Callable[[str], Pan]
"""A card number, or the four digits of a scenario, as a number.  Raises ``ValueError``."""


class Services(NamedTuple):
    """What the endpoints work with.  ``gates`` and ``trips`` are ``None`` where no service runs; without ``card_of`` no gate is simulated.
    ``left`` is told of a trip whose shopper has left, and with what: as often as somebody says so, and tells nobody twice."""

    stores: Stores
    directory: Directory
    gates: Gates | None = None
    trips: Trips | None = None
    card_of: CardOf | None = None
    left: Callable[[Trip, Sequence[Item]], Awaitable[object]] | None = None


def routes(guard: Callable[[Endpoint], Endpoint], services: Services) -> list[Route]:
    """The routes below ``/admin/jwo``."""
    def guarded(endpoint: Callable[[Services, Request], Awaitable[Response]]) -> Endpoint:
        return guard(lambda request: endpoint(services, request))

    return [
        Route("/admin/jwo/stores", guarded(_stores), methods=["GET", "POST"]),
        Route("/admin/jwo/trips", guarded(_trips), methods=["GET", "POST"]),
        Route("/admin/jwo/trips/reset", guarded(_reset), methods=["POST"]),
        Route("/admin/jwo/trips/{trip}", guarded(_trip)),
        Route("/admin/jwo/trips/{trip}/end", guarded(_end), methods=["POST"]),
        Route("/admin/jwo/trips/{trip}/cancel", guarded(_cancel), methods=["POST"]),
        Route("/admin/jwo/events", guarded(_events)),
    ]


# ---------------------------------------------------------------------------------------------------------- stores

async def _stores(services: Services, request: Request) -> Response:
    if request.method == "POST":
        given = await read_object(request)
        only(given, "merchant", "store", "title", "currency", "hold", "least", "address", "merchant_shown", "terminals")
        merchant, name = _merchant(services, given), _name(given, "store")
        before = await services.stores.find(merchant.merchant_id, name)
        row = _store(given, before or StoreRow(merchant.merchant_id, name, name, "", 2000, 0, (), "", ("GATE0001",)))
        await services.stores.put(row)
        return json_response(_store_json(services, row), 200 if before else 201)
    merchants = services.directory.merchants()
    if (identifier := merchant_of(services.directory, request)) is not None:
        merchants = [one for one in merchants if one.identifier == identifier]
    found = [row for one in merchants for row in await services.stores.of_merchant(one.merchant_id)]
    return json_response({"stores": [_store_json(services, row) for row in found]})


def _store(given: dict[str, Any], row: StoreRow) -> StoreRow:
    currency = text_of(given, "currency", row.currency or None)
    if currency not in CURRENCIES:
        raise BadInput("currency", "must be an ISO 4217 code")
    row = row._replace(
        title=text_of(given, "title", row.title), currency=currency, hold=_minor(given, "hold", row.hold, 0),
        least=_minor(given, "least", row.least, 0), address=_texts(given, "address", row.address, 6, 60),
        merchant_shown=text_of(given, "merchant_shown", row.merchant_shown), terminals=_texts(given, "terminals", row.terminals, 50, 8))
    if row.hold and row.least > row.hold:
        raise BadInput("least", "must not be more than hold")
    return row


def _store_json(services: Services, row: StoreRow) -> dict[str, Any]:
    merchant = services.directory.by_id(row.merchant_id)
    return {
        "merchant": merchant.identifier if merchant else None, "store": row.store, "title": row.title, "currency": row.currency,
        "hold": row.hold, "least": row.least, "address": list(row.address), "merchant_shown": row.merchant_shown,
        "terminals": list(row.terminals)}


# ---------------------------------------------------------------------------------------------------------- trips

async def _trips(services: Services, request: Request) -> Response:
    if request.method == "POST":
        return await _open(services, request)
    identifier, store = merchant_of(services.directory, request), request.query_params.get("store", "")
    since, until = _instant(request, "since", BEGINNING), _instant(request, "until", FAR)
    merchants = [one for one in services.directory.merchants() if identifier in (None, one.identifier)]
    after = request.query_params.get("after", "0")
    if not (after.isascii() and after.isdigit() and len(after) < 20):
        raise BadInput("after", "must be the number of a trip")
    found: list[TripRow] = []
    for one in merchants:
        found += await services.stores.trips(one.merchant_id, since, until, store, min(int(after), (1 << 63) - 1), PAGE)
    return json_response({"trips": [await _shown(services, row) for row in sorted(found, key=lambda row: row.number)[:PAGE]]})


async def _open(services: Services, request: Request) -> Response:
    if services.gates is None or services.card_of is None:
        return error_response(409, "gates are simulated by a running sandbox only")
    given = await read_object(request)
    only(given, *COME)
    merchant, pan = _merchant(services, given), None
    if given.get("card") is not None:
        try:
            pan = services.card_of(text_of(given, "card"))
        except ValueError:
            raise BadInput("card", "must be a card number, or the four digits of a scenario") from None
    presented, people = given.get("presented"), given.get("people", 1)
    if presented is not None and presented not in list(Presented):
        raise BadInput("presented", f"must be one of {', '.join(Presented)}")
    if type(people) is not int or not 1 <= people <= 20:
        raise BadInput("people", "must be a whole number from 1 to 20")
    if not isinstance(given.get("never_expires", False), bool):
        raise BadInput("never_expires", "must be true or false")
    expiry = text_of(given, "expiry", "")
    if expiry and not re.fullmatch(r"[0-9]{2}(0[1-9]|1[0-2])", expiry, re.ASCII):
        raise BadInput("expiry", "must be YYMM")
    terminal = text_of(given, "terminal", "")
    if terminal and not re.fullmatch(r"[0-9A-Za-z]{8}", terminal, re.ASCII):
        raise BadInput("terminal", "must be eight letters and digits")
    name = _name(given, "trip") if "trip" in given else _new_name()
    opened = await services.gates.open(Coming(
        merchant, _name(given, "store"), name, pan, expiry, Presented(presented) if presented else None, terminal,
        text_of(given, "shopper", ""), text_of(given, "group", ""), people, _minor(given, "hold", None, 0), _minor(given, "condition", None, 1),
        given.get("never_expires", False)))
    match opened:
        case Shut(why=Why.NO_STORE):
            return error_response(404, "there is no store of that name", "store")
        case Shut(why=Why.NAME_TAKEN):
            return error_response(409, "the store has a trip of that name")
        case Shut(why, code):
            return json_response({"opened": False, "trip": name, "why": why, "code": code})
        case Trip():
            return json_response({"opened": True} | trip_json(services, opened), 201)
        case row:
            return json_response({"opened": True} | _row_json(services, row), 201)


async def _trip(services: Services, request: Request) -> Response:
    row = await _found(services, request)
    return row if isinstance(row, Response) else json_response(await _shown(services, row))


async def _reset(services: Services, request: Request) -> Response:
    """Trips that never expire begin anew: at once where a service runs, else when one is asked for them."""
    given = await read_object(request)
    only(given, "merchant", "store", "trip")
    merchants, done = services.directory.merchants(), []
    if "merchant" in given:
        merchants = [_merchant(services, given)]
    for merchant in merchants:
        trips = await services.stores.trips(merchant.merchant_id, BEGINNING, FAR, text_of(given, "store", ""), most=10_000)
        for row in trips:
            if row.never_expires and given.get("trip", row.name) == row.name:
                row = await services.stores.wait(row)
                if services.trips is not None:
                    await services.trips.find(merchant.merchant_id, row.store, row.name)
                done.append(await _shown(services, await services.stores.again(row)))
    if "trip" in given and not done:
        return error_response(404, "there is no trip of that name that never expires", "trip")
    return json_response({"trips": done})


async def _end(services: Services, request: Request) -> Response:
    """The shopper leaves.  What that sets off is handed in."""
    items = await read_items(request)
    row = await _found(services, request)
    if isinstance(row, Response):
        return row
    trip = await services.stores.leave(row)
    if services.left is not None:
        await services.left(trip, items)
    return json_response(trip_json(services, trip))


async def _cancel(services: Services, request: Request) -> Response:
    if services.trips is None:
        return error_response(409, "only a running service can give a hold back")
    row = await _found(services, request)
    if isinstance(row, Response):
        return row
    trip = await services.trips.begun(row)
    refused = TripRefusal.UNKNOWN if trip is None else await services.trips.cancel(trip, "operator")
    if refused is not None:
        return error_response(409, f"the trip's payment does not take it: {refused}")
    return json_response(await _shown(services, row))


async def _events(services: Services, request: Request) -> Response:
    """What was told of trips: alarms, ends, refused captures."""
    identifier, since, number = merchant_of(services.directory, request), _instant(request, "since", BEGINNING), 0
    if "trip" in request.query_params:
        row = await _named(services, request.query_params["trip"], request)
        if isinstance(row, Response):
            return row
        number, identifier = row.number, _identifier(services, row.merchant_id)
    told = []
    for one in services.directory.merchants():
        if identifier in (None, one.identifier):
            for event in await services.stores.happened(one.merchant_id, since, number, PAGE):
                told.append({
                    "id": f"{event.number}-{event.sequence}", "merchant": one.identifier, "type": event.type, "occurred_at": event.at,
                    "data": msgspec.Raw(event.data)})
    return json_response({"events": sorted(told, key=lambda one: one["occurred_at"])[:PAGE]})


# ---------------------------------------------------------------------------------------------------------- words

async def _shown(services: Services, row: TripRow) -> dict[str, Any]:
    return trip_json(services, await services.stores.stand(row))


def trip_json(services: Services, trip: Trip) -> dict[str, Any]:
    """A trip for operators."""
    payment, read = trip.payment, trip.read
    return _row_json(services, trip.row) | {
        "state": "refused" if trip.row.refused else trip.state, "preauth": trip.preauth, "authorized": trip.standing, "adjusted": trip.adjusted,
        "adjusting": trip.adjusting, "captured": trip.captured, "refunded": payment.refunded if payment else 0,
        "card": {"brand": read.brand, "tail": read.tail, "entry_mode": read.entry_mode, "is_wallet": read.is_wallet} if read.tail else None,
    }


def _row_json(services: Services, row: TripRow) -> dict[str, Any]:
    return {
        "trip": row.name, "number": str(row.number), "merchant": _identifier(services, row.merchant_id), "store": row.store, "state": "open",
        "refused": row.refused or None, "payment": str(row.payment_id) if row.payment_id else None, "started_at": row.started_at,
        "expires_at": None if row.never_expires else row.expires_at, "ended_at": row.ended_at, "currency": row.currency,
        "shopper": row.shopper, "group": row.company, "people": row.people}


def _identifier(services: Services, merchant_id: int) -> str | None:
    merchant = services.directory.by_id(merchant_id)
    return merchant.identifier if merchant else None


def _new_name() -> str:
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{'89ab'[int(text[16], 16) % 4]}{text[17:20]}-{text[20:]}"


# ---------------------------------------------------------------------------------------------------------- reading input

async def _found(services: Services, request: Request) -> TripRow | Response:
    return await _named(services, request.path_params["trip"], request)


async def _named(services: Services, name: str, request: Request) -> TripRow | Response:
    identifier, store = merchant_of(services.directory, request), request.query_params.get("store")
    found = [
        row for one in services.directory.merchants() if identifier in (None, one.identifier) and NAME.fullmatch(name)
        for row in await services.stores.named(one.merchant_id, name) if store in (None, row.store)]
    if len(found) > 1 and identifier is None:       # what every merchant of a sandbox has is the first one's
        found = [row for row in found if row.merchant_id == min(row.merchant_id for row in found)]
    if len(found) != 1:
        return error_response(404, "there is no trip of that name" if not found else "several trips have that name; name the store", "trip")
    return found[0]


def _merchant(services: Services, given: dict[str, Any]) -> Merchant:
    if "merchant" not in given and (every := services.directory.merchants()):
        return every[0]
    merchant = services.directory.merchant(text_of(given, "merchant"))
    if merchant is None:
        raise BadInput("merchant", "there is no merchant of that identifier")
    return merchant


def _name(given: dict[str, Any], field: str) -> str:
    name = text_of(given, field)
    if not NAME.fullmatch(name):
        raise BadInput(field, "must be 1 to 255 letters, digits, _ and -")
    return name


def _minor(given: dict[str, Any], field: str, default: int | None, least: int) -> Any:
    value = given.get(field, default)
    if value is not None and (type(value) is not int or not least <= value <= MAX_MINOR):
        raise BadInput(field, f"must be {least} to {MAX_MINOR} minor units")
    return value


def _texts(given: dict[str, Any], field: str, default: Any, most: int, longest: int) -> tuple[str, ...]:
    value = given.get(field, list(default))
    if not isinstance(value, list) or len(value) > most or not all(
        isinstance(one, str) and one.isprintable() and 0 < len(one) <= longest for one in value
    ):
        raise BadInput(field, f"must be at most {most} printable texts of at most {longest} characters")
    return tuple(value)


def _instant(request: Request, field: str, default: datetime) -> datetime:
    given = request.query_params.get(field)
    at = default if given is None else parse_instant(given)
    if at is None:
        raise BadInput(field, "must be an ISO 8601 instant with its offset, such as 2026-11-21T12:00:00Z")
    return at


# ---------------------------------------------------------------------------------------------------------- described for machines

_N: Schema = {"type": ["string", "null"]}
_MINOR: Schema = {"type": "integer", "description": "minor units"}
_MINOR_N: Schema = {"type": ["integer", "null"], "description": "minor units"}
_LINES: Schema = {"type": "array", "items": {"type": "string"}}
STORE: dict[str, Schema] = {
    "merchant": _N, "store": text("as retailers name it"), "title": text("for people and receipts"), "currency": text("ISO 4217"),
    "hold": _MINOR | {"description": "what the gate holds, minor units; 0: nothing before an adjust"},
    "least": _MINOR | {"description": "a partial approval below it is given back, and the gate stays shut"}, "address": _LINES,
    "merchant_shown": text("the merchant's number on receipts"), "terminals": _LINES}
TRIP: Schema = fields({
    "opened": {"type": "boolean"}, "trip": text("its name: shoppingTripId"), "number": text("its number"), "merchant": _N, "store": text("its store"),
    "state": text("where its payment stands"), "refused": _N, "payment": _N, "started_at": text("business time", format="date-time"),
    "expires_at": _N, "ended_at": _N, "currency": text("ISO 4217"), "shopper": text("who came"), "group": text("with whom"),
    "people": {"type": "integer"}, "preauth": _MINOR, "authorized": _MINOR, "adjusted": _MINOR_N, "adjusting": _MINOR_N, "captured": _MINOR_N,
    "refunded": _MINOR, "card": {"type": ["object", "null"]}, "why": text("why the gate stayed shut"), "code": text("DE 39")}, ("trip",))
_COMING: Schema = fields({
    **{name: text("see docs/trips.md") for name in ("merchant", "store", "card", "expiry", "trip", "shopper", "group", "terminal")},
    "presented": {"type": "string", "enum": list(Presented)}, "people": {"type": "integer"}, "hold": _MINOR, "condition": _MINOR,
    "never_expires": {"type": "boolean"}}, ("store",))
_OF_STORE = query("store", "only of this store")
_TRIPS = fields({"trips": {"type": "array", "items": TRIP}}, ("trips",))
_ONE = (path("trip", "its name"), OF_MERCHANT, _OF_STORE)

DESCRIBED: dict[str, Schema] = {
    "/admin/jwo/stores": {
        "get": operator("Stores", answers("the stores", fields({"stores": rows(STORE)}, ("stores",)), "400", "401"), parameters=(OF_MERCHANT,)),
        "post": operator("Make or change a store", answers("changed", fields(STORE), "400", "401") | answers("made", fields(STORE), status="201"),
                         body=fields(STORE, ("store",)))},
    "/admin/jwo/trips": {
        "get": operator("Trips, oldest first", answers("the trips", _TRIPS, "400", "401"), parameters=(
            OF_MERCHANT, _OF_STORE, query("since", "ISO 8601"), query("until", "ISO 8601"), query("after", "behind the trip of this number"))),
        "post": operator("Have somebody come to a gate (sandbox)", answers("the gate stayed shut", TRIP, "400", "401", "404", "409")
                         | answers("the gate opened", TRIP, status="201"), body=_COMING)},
    "/admin/jwo/trips/reset": {"post": operator(
        "Have trips that never expire begin anew", answers("those trips", _TRIPS, "400", "401", "404"),
        body=fields({"merchant": text("its identifier"), "store": text("its name"), "trip": text("only this one")}))},
    "/admin/jwo/trips/{trip}": {"get": operator("A trip", answers("the trip", TRIP, "400", "401", "404"), parameters=_ONE)},
    "/admin/jwo/trips/{trip}/end": {"post": operator("The shopper leaves, and with what; the retailer is told of it",
        answers("the trip", TRIP, "400", "401", "404"), parameters=_ONE, body=ITEMS)},
    "/admin/jwo/trips/{trip}/cancel": {"post": operator(
        "Give back what is held", answers("the trip", TRIP, "400", "401", "404", "409"), parameters=_ONE)},
    "/admin/jwo/events": {"get": operator(
        "What was told of trips: alarms, ends, refused captures", answers("the events", fields({"events": rows({
            "id": text("trip and sequence"), "merchant": text("its identifier"), "type": text("what happened"),
            "occurred_at": text("business time", format="date-time"), "data": {"type": "object"}})}, ("events",)), "400", "401", "404"),
        parameters=(OF_MERCHANT, query("since", "ISO 8601"), query("trip", "only of this trip"), _OF_STORE))},
}
