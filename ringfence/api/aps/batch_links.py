"""Rows of payment links: each makes its link by the door's own function, once however often it is carried out."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ringfence.api.aps.batch_intents import Links
from ringfence.api.aps.batch_rows import INVOICE
from ringfence.api.aps.door import Account, Service
from ringfence.api.aps.ladder import WireError, unsigned
from ringfence.api.aps.links import payment_link
from ringfence.api.aps.operations import OPERATIONS
from ringfence.engine import links

OPERATION = OPERATIONS["service_command", INVOICE]


def links_of_rows(service: Service) -> Links:
    """What makes the links of a file; a link says in whose row it was made, so that a row that was made knows its own."""
    async def made(account: Account, given: Mapping[str, str], row: str) -> str:
        params = {name: value for name, value in given.items() if name != "command"}        # which in files is the column of every operation
        request = unsigned({**params, OPERATION.key: OPERATION.name}, account.settings, service.now())
        if isinstance(request, WireError):
            return request.code
        reply = await payment_link(service, replace(account, actor=row), request)
        if reply.code == request.operation.success or service.links is None:
            return reply.code
        there = await links.by_reference(service.links, account.merchant, request.reference)
        return request.operation.success if there is not None and there.created_by == row else reply.code

    return made
