"""Rows of payment links: they make their links together, as the door's own request would have, each once however often it is carried out."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ringfence.api.aps.batch_intents import Links
from ringfence.api.aps.batch_rows import INVOICE
from ringfence.api.aps.door import Account, Service
from ringfence.api.aps.ladder import ApsRequest, WireError, unsigned
from ringfence.api.aps.links import order_of, payment_link, refused
from ringfence.api.aps.operations import OPERATIONS
from ringfence.engine import links
from ringfence.engine.links import Refused, Why

OPERATION = OPERATIONS["service_command", INVOICE]


def links_of_rows(service: Service) -> Links:
    """What makes the links of a file; a link says in whose row it was made, so that a row that was made knows its own."""
    async def made(account: Account, rows: Sequence[tuple[Mapping[str, str], str]]) -> list[str]:
        told: dict[int, str] = {}
        new: dict[int, tuple[Account, ApsRequest]] = {}
        for place, (given, row) in enumerate(rows):
            params = {name: value for name, value in given.items() if name != "command"}    # which in files is the column of every operation
            request = unsigned({**params, OPERATION.key: OPERATION.name}, account.settings, service.now())
            by_row = replace(account, actor=row)
            if isinstance(request, WireError):
                told[place] = request.code
            elif "payment_link_id" in request.given:                # one that is there is sent anew
                told[place] = (await payment_link(service, by_row, request)).code
            else:
                new[place] = by_row, request
        if new:
            told.update(zip(new, await _together(service, list(new.values())), strict=True))
        return [told[place] for place in range(len(rows))]

    return made


async def _together(service: Service, asked: Sequence[tuple[Account, ApsRequest]]) -> list[str]:
    """Codes of rows that make links, which are stored in one commit."""
    assert service.links is not None
    merchant = asked[0][0].merchant
    made = await links.create_many(service.links, merchant, [order_of(by_row, request) for by_row, request in asked])
    used = [request.reference for (_, request), one in zip(asked, made, strict=True)
            if isinstance(one, Refused) and one.why is Why.REFERENCE_USED]
    there = await links.by_references(service.links, merchant, used) if used else {}
    codes = []
    for (by_row, request), one in zip(asked, made, strict=True):
        own = there.get(request.reference)
        is_ours = isinstance(one, Refused) and one.why is Why.REFERENCE_USED and own is not None and own.created_by == by_row.actor
        codes.append(refused(request, one).code if isinstance(one, Refused) and not is_ours else request.operation.success)
    return codes
