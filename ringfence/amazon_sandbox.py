"""The simulated Amazon Pay as the sandbox serves it: its routes, its merchants, and what it does by itself."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime
from urllib.parse import urlsplit

from ringfence.amazon_site import Site, site
from ringfence.api.wallet_notices import PATH
from ringfence.background.worker import Chore
from ringfence.config import Config
from ringfence.engine.directory import Directory
from ringfence.engine.timeline import Drops
from ringfence.processors.amazon_pay.connections import Connections, Lost, NotSent, origin_of
from ringfence.wallets import Amazon, public_pem

NOTIFICATIONS = PATH
"""Where instant notifications are taken in."""


def site_of(config: Config, amazon: Amazon, now: Callable[[], datetime], token: str) -> Site | None:
    """The site over the sandbox's folder; ``None`` where Amazon's own is asked.  ``token``: an administrator's."""
    if config.is_live or config.amazon_pay_file is not None:
        return None
    return site(config.data / "simulator", now, base_url=amazon.site, seed=config.seed, admin_token=token,
                post=_post_over(amazon.connections))


def _post_over(connections: Connections) -> Callable[[str, Mapping[str, str], bytes, float], Awaitable[int]]:
    """How the site posts notifications: as anything here is asked, so that a sandbox with a certificate of its own believes itself."""
    async def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
        parts = urlsplit(url)
        origin, _ = origin_of(f"{parts.scheme}://{parts.netloc}")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            return (await connections.exchange(origin, f"POST {parts.path} HTTP/1.1\r\n{lines}", body, seconds)).status
        except (NotSent, Lost) as error:
            raise ConnectionError(str(error)) from error

    return post


async def served(
    config: Config, amazon: Amazon, now: Callable[[], datetime], token: Callable[[], str], directory: Directory, ends: AsyncExitStack,
) -> tuple[Site | None, list[Chore]]:
    """The site in this process with its merchants, and what it does by itself; neither where Amazon's own is asked."""
    one = None if config.is_live else site_of(config, amazon, now, token())
    if one is None:
        return None, []
    ends.callback(one.close)
    register = registering(one, amazon, directory)
    await register()
    return one, [chore(one, register, config.sweep_seconds)]


def with_site(drops: Drops, one: Site | None) -> Drops:
    """When the others do something by themselves, together with what the site will change or tell."""
    if one is None:
        return drops

    async def together(until: datetime) -> list[datetime]:
        return sorted([*await drops(until), *await one.due(until)])

    return together


def registering(one: Site, amazon: Amazon, directory: Directory) -> Callable[[], Awaitable[int]]:
    """Makes the directory's merchants known to the site, each once; how many were new to this process."""
    known: set[str] = set()

    async def register() -> int:
        new = [merchant for merchant in directory.merchants() if merchant.identifier not in known]
        for merchant in new:
            account = amazon.accounts(merchant.identifier)
            assert account is not None, "every merchant of a sandbox has one"
            await one.register(
                account.merchant_id, name=merchant.name, public_key_id=account.signer.public_key_id, public_key_pem=public_pem(account),
                store_id=account.store_id, notify_urls=[amazon.site + NOTIFICATIONS], region=account.region)
            known.add(merchant.identifier)
        return len(new)

    return register


def chore(one: Site, register: Callable[[], Awaitable[int]], pause: float) -> Chore:
    """What time changes at the site, and the notifications it sends; by any number of processes, ``pause`` seconds (wall time) apart."""
    async def sweep() -> int:
        return await register() + await one.sweep()

    return Chore("amazon pay site", sweep, pause, alone=False)
