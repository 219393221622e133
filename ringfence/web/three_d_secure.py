"""The pages of a 3-D Secure challenge: what the payer's browser sees between the shop and the shop.

``GET /3ds/ADDRESS`` shows the issuer's page (the simulator's: ours), ``POST`` there is what the payer does on it, and ``/3ds/return/ADDRESS`` is
where the issuer sends the browser back to.  What a browser brings there proves nothing and is not read beyond its shape: the result message is
looked at instead, and as long as that is not there the page waits, and looks again without any script.  The address is a secret of 128 bits
and the only key: there is no cookie whose holder could be used by others.  Every page may be asked for again at any time; it shows where things
stand, and at their end leaves for the shop with the same signed answer.
"""
from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.core.authentication import VERSIONS
from ringfence.engine.authenticating import PAGE, Address, read_address
from ringfence.engine.authentication import AccessControl, Screen
from ringfence.engine.browser import Return
from ringfence.engine.challenges import Challenges, Stands
from ringfence.engine.return_address import origin_of
from ringfence.engine.sessions import Ending, Finish
from ringfence.web import pages, small_forms

log = logging.getLogger(__name__)

LOOK_SECONDS = 3
"""Between two looks of a page that waits (wall time)."""
FORM_BYTES, CRES_BYTES = 16_384, 12_288
ACTIONS = frozenset({"approve", "reject", "nothing", "cancel", "code", "method"})

Finishes = Mapping[str, Finish]
"""By door: where the browser goes behind a challenge."""


class Desk(NamedTuple):
    """What the pages need.  ``door_of``: merchant and payment -> the door it came by; ``framers``: ... -> origins whose pages may frame ours;
    ``may_leave``: merchant and address -> whether it may be left for as the merchant's settings are now; ``now`` is business time."""

    challenges: Challenges
    access_control: AccessControl
    finish: Finishes
    door_of: Callable[[int, int], Awaitable[str]]
    framers: Callable[[int, int], Awaitable[tuple[str, ...]]]
    may_leave: Callable[[int, str], bool]
    now: Callable[[], datetime]


def routes(desk: Desk) -> list[Route]:
    """``/3ds/…``."""
    async def shown(request: Request) -> Response:
        return await _seen(desk, request, _show)

    async def done(request: Request) -> Response:
        return await _seen(desk, request, _act)

    async def came_back(request: Request) -> Response:
        return await _seen(desk, request, _return)

    return [
        Route(PAGE + "return/{address}", came_back, methods=["GET", "POST"]),
        Route(PAGE + "{address}", shown, methods=["GET"]),
        Route(PAGE + "{address}", done, methods=["POST"]),
    ]


class _Visit(NamedTuple):
    """One request for a challenge that is there."""

    address: Address
    payment_id: int
    acs_id: str
    leave_url: str
    language: str
    framed_by: tuple[str, ...]

    @property
    def here(self) -> str:
        return f"{PAGE}{self.address}"

    @property
    def back(self) -> str:
        return f"{PAGE}return/{self.address}"


async def _seen(desk: Desk, request: Request, what: Callable[[Desk, _Visit, dict[str, str]], Awaitable[Response]]) -> Response:
    """Find the challenge of the address, read the form, and answer; who knows no address learns nothing."""
    address = read_address(request.path_params["address"])
    row = None if address is None else await desk.challenges.find(address)
    if address is None or row is None:
        return pages.message("gone_title", "en", status=404, said="gone_said")
    form = await small_forms.read(request, FORM_BYTES) if request.method == "POST" else {}
    if form is None:
        return pages.message("bad_form_title", "en", status=400, said="bad_form_said")
    framed_by = ("'self'", *await desk.framers(row.merchant_id, row.payment_id)) if row.payment_id else ("'self'",)
    screen = await desk.access_control.look(row.acs_id, desk.now()) if row.acs_id else None
    visit = _Visit(address, row.payment_id, row.acs_id, row.leave_url, screen.language if screen else "en", framed_by)
    return await what(desk, visit, form)


async def _show(desk: Desk, visit: _Visit, form: dict[str, str]) -> Response:
    """The issuer's page, or what became of the payment meanwhile."""
    row = await desk.challenges.find(visit.address)
    if row is None or row.claim is not None or row.ended_at is not None:
        return await _return(desk, visit, form)
    screen = await desk.access_control.look(visit.acs_id, desk.now())
    if screen is None:
        return await _return(desk, visit, form)
    return _over(visit, screen) if screen.kind == "done" else _page(visit, screen)


async def _act(desk: Desk, visit: _Visit, form: dict[str, str]) -> Response:
    """What the payer did on the issuer's page."""
    action = form.get("action", "")
    if action not in ACTIONS:
        return await _show(desk, visit, form)
    screen = await desk.access_control.act(visit.acs_id, action, form.get("code", "")[:32], desk.now())
    if screen is None:
        return await _return(desk, visit, form)
    return _over(visit, screen) if screen.kind == "done" else _page(visit, screen, nothing=action == "nothing")


async def _return(desk: Desk, visit: _Visit, form: dict[str, str]) -> Response:
    """The browser came back from the issuer, or asks how it stands: go on as far as possible, then on to the shop, or wait."""
    if (cres := form.get("cres")) is not None and read_cres(cres) is None:
        log.info("a browser came back from a challenge with something else than a result")
    progress = await desk.challenges.carry_on(visit.address.merchant_id, visit.address.authentication_id)
    if progress.stands is not Stands.ENDED:
        return pages.render("challenge_waits", visit.language, framed_by=visit.framed_by, back=visit.back, seconds=LOOK_SECONDS)
    if not visit.payment_id:
        return await _leave_ahead(desk, visit)
    door = await desk.door_of(visit.address.merchant_id, visit.payment_id)
    finish = desk.finish.get(door)
    way = await finish(visit.address.merchant_id, visit.payment_id) if finish else None
    if way is None:
        return pages.message("bank_ended_title", visit.language, said="bank_ended_said", framed_by=visit.framed_by)
    if isinstance(way, Ending):
        return pages.message(f"ended_{way.how}", visit.language, said=f"ended_{way.how}_said", framed_by=visit.framed_by)
    return pages.go(way, framed_by=visit.framed_by)


async def _leave_ahead(desk: Desk, visit: _Visit) -> Response:
    """Behind an authentication that was made ahead of its payment: the result goes to the merchant's address, who asks us for the truth.

    The address was judged when it was given; a list that was narrowed since counts.
    """
    if not desk.may_leave(visit.address.merchant_id, visit.leave_url):
        log.warning(
            "a payer of merchant %d is not sent to %s: its return_origins name it no more", visit.address.merchant_id, origin_of(visit.leave_url))
        return pages.message("bank_over_title", visit.language, said="bank_not_back_said", framed_by=visit.framed_by)
    row = await desk.challenges.find(visit.address)
    status, version = (row.status, row.version) if row is not None else ("N", "")
    number = str(visit.address.authentication_id)
    fields = {"threeds_id": number, "cres": write_cres(number, status, version or VERSIONS[0])}
    return pages.go(Return(visit.leave_url, "POST", fields, visit.language), framed_by=visit.framed_by)


def _page(visit: _Visit, screen: Screen, *, nothing: bool = False) -> Response:
    return pages.render(
        "challenge", visit.language, framed_by=visit.framed_by, screen=screen, here=visit.here, back=visit.back, seconds=LOOK_SECONDS,
        nothing=nothing)


def _over(visit: _Visit, screen: Screen) -> Response:
    return pages.render(
        "challenge_over", visit.language, framed_by=visit.framed_by, back=visit.back, carried=screen.status,
        cres=write_cres(screen.reference, screen.status, screen.version))


def write_cres(reference: str, status: str, version: str = VERSIONS[0]) -> str:
    """The message that a browser carries back: base64url of JSON without padding (EMV 3-D Secure 2.2, table B.4)."""
    said = {"messageType": "CRes", "messageVersion": version, "threeDSServerTransID": reference, "transStatus": "Y" if status == "Y" else "N"}
    return base64.urlsafe_b64encode(msgspec.json.encode(said)).decode().rstrip("=")


def read_cres(text: str) -> Mapping[str, str] | None:
    """What a browser brought, for the log at most; ``None`` for what is no such message."""
    if len(text) > CRES_BYTES:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=dict[str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
