"""Webhooks of instruments: made, changed and deleted (PPRO Global API, sections 12 and 15.5), told in the commit of the change.

Of a card what any answer shows is told; of accounts and wallets, whose details are kept sealed, no details.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from ringfence.api.ppro.answers import moment
from ringfence.api.ppro.door import DOOR, Caller, Service
from ringfence.api.ppro.notifications import wants
from ringfence.engine.door_events import tell
from ringfence.engine.vault import Also

PREFIX = "instr"
CREATED, UPDATED, DELETED = "CREATED", "DETAILS_UPDATED", "DELETED"
_STAMPS = {UPDATED: "updateTimestamp", DELETED: "deleteTimestamp"}


def telling(service: Service, caller: Caller, what: str, number: int, kind: str, details: Mapping[str, Any]) -> Also | None:
    """What tells of it, within the transaction of the change; ``None`` where nobody is told."""
    merchant, now = caller.merchant, service.now()
    if not wants(merchant):
        return None
    name = service.names.make(PREFIX, number)
    data: dict[str, Any] = {"paymentInstrumentId": name, "details": {"id": name, "type": kind, "details": details}}
    if what in _STAMPS:
        data[_STAMPS[what]] = moment(now)

    async def also(connection: asyncpg.Connection) -> None:
        await tell(connection, merchant.merchant_id, DOOR, PREFIX, number, f"PAYMENT_INSTRUMENT_{what}", data, "", now)

    return also
