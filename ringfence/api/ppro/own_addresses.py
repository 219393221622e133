"""``webhooksUrl``: the address that a charge or an agreement wants to be told at, instead of the account's (PPRO Global API, section 7.6).

It is judged where it is given, and again at every call.  Refuses to know what is told.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringfence.api.ppro import answers
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import Caller, Service
from ringfence.api.ppro.kinds import Problem

FIELD = "webhooksUrl"


async def taken(service: Service, caller: Caller, asked: Mapping[str, Any]) -> Answer | None:
    """Before anything happens: ``None`` where there is no such address or it may be called, else the answer that says why not.

    The first one of a merchant is noted in its settings, so that events are looked at although the account has no address.
    """
    url = asked.get(FIELD)
    if url is None:
        return None
    if why := service.not_to_be_called(url):
        return answers.invalid([Problem(FIELD, why, 422)])         # what may be called depends on the installation
    merchant = caller.merchant
    if not merchant.settings.ppro_charge_webhooks:
        await service.directory.change(merchant.identifier, {"ppro_charge_webhooks": "on"})
    return None
