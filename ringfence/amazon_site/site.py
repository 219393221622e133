"""The site: what a composition takes of it.

``site(...)`` gives its routes and what the background calls; ``register`` makes a merchant known.  Several processes may serve one folder at once.
It knows nothing of engine, database or settings: time, addresses and the administrator's token are handed in.
"""
from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from starlette.routing import BaseRoute

from ringfence.amazon_site import account, admin, api, checkout, pages, passing, sending, verifying
from ringfence.amazon_site.book import Book, Change
from ringfence.amazon_site.desk import Desk
from ringfence.amazon_site.limits import LEDGERS
from ringfence.amazon_site.sending import Post


class Site(NamedTuple):
    """One process's part of the site.

    ``routes`` of Starlette, all below ``/v2``, ``/sandbox/v2``, ``/live/v2`` and ``/amazon/``.  ``sweep()`` brings everything up to now and sends
    the notifications that are due: any number of processes may, as often as they like.  ``due(until)`` says when there will be something to
    sweep, up to an instant.  ``register(…)``: see ``register``.  ``close()`` at the end.
    """

    routes: list[BaseRoute]
    sweep: Callable[[], Awaitable[int]]
    due: Callable[[datetime], Awaitable[list[datetime]]]
    register: Callable[..., Awaitable[None]]
    close: Callable[[], None]


def site(
    folder: Path, now: Callable[[], datetime], *, base_url: str, seed: int = 0, admin_token: str = "", post: Post = sending.posted,
    nudge: Callable[[], object] = lambda: None, wall: Callable[[], float] = time.time,
) -> Site:
    """The site over a folder, which is made where it is missing.

    ``now``: business time; ``base_url``: where browsers and merchants reach it, without a slash at its end; ``seed`` decides every identifier;
    ``post`` sends a notification; ``nudge`` is called when one waits; ``wall``: wall time in Unix seconds, for signatures, sign-ins and leases.
    """
    desk = Desk(Book(folder, seed), base_url.rstrip("/"), now, wall, admin_token, nudge)

    async def sweep() -> int:
        return await sending.sweep(desk, post)

    async def due(until: datetime) -> list[datetime]:
        return await desk.book.work(lambda change: passing.instants(change, passing.seconds(until)))

    async def register_merchant(merchant_id: str, **said: object) -> None:
        await desk.book.work(lambda change: register(change, merchant_id, **said))      # type: ignore[arg-type]

    routes = [*api.routes(desk), *checkout.routes(desk), *account.routes(desk), *admin.routes(desk), *pages.files()]
    return Site(routes, sweep, due, register_merchant, desk.book.close)


def register(
    change: Change, merchant_id: str, *, name: str, public_key_id: str, public_key_pem: str, store_id: str, notify_urls: Sequence[str] = (),
    region: str = "na",
) -> None:
    """Make a merchant known, or known anew: the same identifier takes the new name, store, region and addresses, and one more public key.

    Raises ``ValueError`` for a key that is no RSA key, and for another region than na, eu or jp.
    """
    verifying.public_key(public_key_pem)
    if region not in LEDGERS:
        raise ValueError(f"the region must be one of {', '.join(LEDGERS)}")
    urls = msgspec.json.encode(list(notify_urls)).decode()
    change.run("put_merchant", merchant_id, name, store_id, region, urls)
    change.run("put_key", public_key_id, merchant_id, public_key_pem)
