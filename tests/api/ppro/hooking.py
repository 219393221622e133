"""A merchant who is told of everything: a process in miniature with its follower and its deliveries, and a receiver that looks at signatures."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from ringfence.api.ppro import signatures
from ringfence.api.ppro.notifications import Wording, notifier
from ringfence.background import deliveries
from ringfence.background.follower import Follower
from ringfence.engine.addresses import rules_for
from ringfence.engine.authenticating import secrets_under
from ringfence.global_api import methods
from ringfence.operators import door_headers
from ringfence.storage import jobs
from tests.api.ppro.asking import Client
from tests.background.receiver import Received, Receiver, receiving
from tests.engine.composition import BASE_URL, Process, process, shop

RULES = rules_for(False)
CREATED, AUTHORIZED, CAPTURED = "CHARGE_CREATED", "CHARGE_AUTHORIZATION_SUCCEEDED", "CHARGE_CAPTURE_SUCCEEDED"
EVER = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
ENVELOPE = {"specversion": "1.0.2", "source": "https://www.ppro.com", "datacontenttype": "application/json"}


class Hooked:
    """The whole of it.  ``wall`` is the moment at which deliveries are signed."""

    def __init__(self, one: Process, client: Client, receiver: Receiver) -> None:
        self.process, self.client, self.receiver = one, client, receiver
        self.wall = datetime(2026, 11, 21, 12, tzinfo=UTC)
        words = Wording(client.service.names, methods(BASE_URL, secrets_under(one.content_key), one.redirects.url))
        self.notifiers = {"ppro": notifier(words, lambda: self.wall)}
        self.follower = Follower(one.pool, one.directory, self.notifiers, one.now, lambda queue: None)
        self._seen = 0

    async def tell(self) -> None:
        """All that is to be told now."""
        await self.follower.run()
        queue = deliveries.queue(self.process.pool, RULES, now=self.process.now, headers=door_headers(self.process.directory, self.notifiers))
        while found := await jobs.claim(
                self.process.pool, "delivery", now=self.process.now(), holder="test", lease=10.0, per_merchant=8, limit=1, after=-1):
            await queue.run(found[0])

    async def told(self) -> list[dict[str, Any]]:
        """What came since the last look, every one with an envelope that strict clients take."""
        await self.tell()
        fresh, self._seen = self.receiver.heard[self._seen:], len(self.receiver.heard)
        return [self.read(one) for one in fresh]

    async def types(self) -> list[str]:
        """Types since the last look, without what all have in common, in the order in which they came."""
        return [one["type"].removeprefix("PAYMENT_") for one in await self.told()]

    def read(self, heard: Received) -> dict[str, Any]:
        """The event of a request whose signatures are good."""
        secret = f"whsec_{self.client.identifier}"
        assert heard.headers["content-type"] == "application/json"
        assert signatures.is_good_legacy(heard.headers["webhook-signature"], heard.body, [secret])
        assert signatures.is_good(heard.headers["ppro-signature"], heard.body, [secret], int(self.wall.timestamp()))
        event = json.loads(heard.body)
        if not event["type"].startswith("DISPUTE"):
            assert {name: event[name] for name in ENVELOPE} == ENVELOPE and len(event["id"]) == 21 and event["id"].isalnum()
            assert event["data"]["type"] == event["type"] and event["data"]["merchantId"] == f"merch_{self.client.identifier:0<21}"
        assert event.keys() == {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data"}
        assert msgspec.convert(event["time"], datetime) <= self.process.now()
        return event

    async def set(self, **settings: str) -> None:
        await self.process.directory.change(self.client.identifier, settings)


@asynccontextmanager
async def hooked(database: str, **settings: str) -> AsyncIterator[Hooked]:
    """With the account's address set, and settings as given."""
    async with process(database, recovers=True, ask_seconds=5.0) as one, receiving() as receiver:
        here = await shop(one, **{"ppro_webhook_url": receiver.url, **settings})
        yield Hooked(one, Client(one, here.identifier), receiver)
