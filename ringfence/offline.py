"""The admin application without a service: the same answers from the same code, on a database that nobody serves.

Builds what the admin endpoints need and nothing that takes payments, answers one request, and goes.
"""
from __future__ import annotations

import json
import secrets
from collections.abc import Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from starlette.applications import Starlette

from ringfence.config import Config
from ringfence.disputing import disputes_of, operators_of
from ringfence.engine import addresses
from ringfence.engine.directory import Directory
from ringfence.engine.numbering import Counted, Numbering
from ringfence.failures import Exit, Failure
from ringfence.linking import desk_of
from ringfence.opening import clock_of, open_keyring
from ringfence.operators import admin_of, rules_of
from ringfence.storage import database
from ringfence.storage.migrations import MigrationError, status
from ringfence.visiting import operators_of_trips

TOKEN = secrets.token_hex(16)


async def nobody_else() -> None:
    """Without a service no other process has to hear of a change."""


async def answer(config: Config, database_url: str, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and decoded JSON of one admin request."""
    async with AsyncExitStack() as ends:
        try:
            pool = await ends.enter_async_context(database.pool(database_url, 2, application_name="ringfence command"))
            async with pool.acquire() as connection:
                missing = [one for one in await status(connection) if one.applied_at is None]
        except (MigrationError, database.DatabaseUnavailable, database.DatabaseUnsuitable, OSError) as error:
            raise Failure(Exit.DATABASE, str(error)) from error
        if missing:
            raise Failure(Exit.DATABASE, f"The database lacks {len(missing)} migrations of this program; run: ringfence migrate")
        keyring = await open_keyring(config, pool)
        clock = clock_of(config)
        directory = Directory(pool, keyring, clock.now, judge=addresses.judge(rules_of(config)))
        await directory.load()
        new_id = await _numbers(config, pool, ends) if method == "POST" else _none
        routes = admin_of(
            config, TOKEN, pool, keyring, clock, directory, nobody_else, ends, links=desk_of(config, pool, keyring, clock.now, new_id),
            disputes=operators_of(
                config, pool, keyring.content_key, clock.now, directory, disputes_of(config, pool, keyring.content_key, clock.now, new_id),
                ends.callback),
            visits=operators_of_trips(config, pool, keyring, directory, clock.now, None))
        return await _asked(Starlette(routes=routes), method, path, body)


async def _numbers(config: Config, pool: asyncpg.Pool, ends: AsyncExitStack) -> Callable[[], int]:
    """New ids, for a request that may make something."""
    numbering = Counted(pool, config.seed) if config.frozen_at else Numbering(pool)
    await numbering.take()
    ends.push_async_callback(numbering.give_back)
    return numbering.next


def _none() -> int:
    raise AssertionError("what only looks makes nothing")


async def _asked(app: Starlette, method: str, path: str, body: object) -> tuple[int, Any]:
    """One request through an ASGI application."""
    parts = urlsplit(path)
    sent: list[MutableMapping[str, Any]] = []
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": parts.path, "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(), "root_path": "", "scheme": "http", "server": None, "client": None,
        "headers": [(b"authorization", b"Bearer " + TOKEN.encode())],
    }

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"" if body is None else json.dumps(body).encode(), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    text = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(text or b"null")
