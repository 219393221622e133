"""A shop, its payers' browsers and the simulated issuers behind one worker process: what the tests of 3-D Secure pages share."""
from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette

from ringfence.api.aps.returning import Returning
from ringfence.engine.return_address import may_return, origin_of
from ringfence.processors.simulator import SimulatedAccessControl, Simulator
from ringfence.web import three_d_secure
from tests.engine.composition import Process, Script, Shop, Time, doors, process
from tests.web import asking
from tests.web.asking import Answer

RETURN = "https://shop.example/back?order=1"
FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


class Bank:
    """The process with real issuers, and what a browser does there."""

    def __init__(self, one: Process, access_control: SimulatedAccessControl) -> None:
        self.process, self.access_control = one, access_control
        self.returning = returning = Returning(one.reading, one.directory, is_live=False)

        async def door_of(merchant_id: int, payment_id: int) -> str:
            view = await one.reading.view(merchant_id, payment_id)
            return view.first.door if view else ""

        async def framers(merchant_id: int, payment_id: int) -> tuple[str, ...]:
            origin = origin_of(await returning.address(merchant_id, payment_id))
            return (origin,) if origin else ()

        def may_leave(merchant_id: int, url: str) -> bool:
            return may_return(url, one.directory.by_id(merchant_id).settings.return_origins, False)

        self.desk = three_d_secure.Desk(one.challenges, access_control, {"aps": returning.way}, door_of, framers, may_leave, one.now)
        self.app = Starlette(routes=three_d_secure.routes(self.desk))

    async def get(self, path: str) -> Answer:
        return await asking.get(self.app, path)

    async def post(self, path: str, **fields: str) -> Answer:
        return await asking.post(self.app, path, fields)

    async def decide(self, url: str, action: str, code: str = "") -> dict[str, str]:
        """The payer acts on the issuer's page, and the browser goes back and on: the fields that the shop gets."""
        page = path_of(url)
        over = await self.post(page, action=action, **({"code": code} if code else {}))
        assert 'data-page="challenge-over"' in over.text, over.text
        return fields_of(await self.post(back_of(page), **fields_of(over)))


def path_of(url: str) -> str:
    return url.removeprefix("https://pay.example")


def back_of(page: str) -> str:
    return page.replace("/3ds/", "/3ds/return/")


def fields_of(answer: Answer) -> dict[str, str]:
    """The hidden fields of a page."""
    unescaped = {"&amp;": "&", "&#34;": '"', "&#39;": "'", "&lt;": "<", "&gt;": ">"}
    found = dict(FIELD.findall(answer.text))
    for written, meant in unescaped.items():
        found = {name: value.replace(written, meant) for name, value in found.items()}
    return found


@asynccontextmanager
async def bank(database: str, folder: Path, place: int = 1) -> AsyncIterator[tuple[Bank, Simulator]]:
    """A process whose processor and access control are the simulator's."""
    now = Time(datetime.now(UTC))
    async with process(database, place, now=now, recovers=True) as one:
        simulator, access_control = Simulator(folder, seed=1, worker=place, t1_seconds=0.3), SimulatedAccessControl(folder, seed=1)
        one.engine._processors = {Script.name: simulator}
        one.issuers = access_control
        doors(one, 30.0)
        try:
            yield Bank(one, access_control), simulator
        finally:
            await one.engine.idle()
            await access_control.close()
            await simulator.close()


async def asked(here: Shop, reference: str, card: str, command: str = "PURCHASE", **fields: str) -> dict[str, str]:
    """A payment with a card of the simulator's, with an address to come back to."""
    return await here.pay(command, reference, card_number=card, return_url=RETURN, **fields)
