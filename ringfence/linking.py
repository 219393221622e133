"""Payment links as an installation serves them: the desk, and the ways by which messages leave, from the configuration."""
from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

import asyncpg

from ringfence.api.aps.door import order_key
from ringfence.background import mail, sms
from ringfence.background.messages import Post
from ringfence.config import Config, base_url
from ringfence.engine.directory import Merchant
from ringfence.engine.keys import Keyring
from ringfence.engine.link_addresses import Addresses
from ringfence.engine.links import EMAIL, SMS, Desk
from ringfence.engine.return_address import may_return

INBOX = "/sandbox/inbox"


def desk_of(
    config: Config, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], datetime], new_id: Callable[[], int],
    nudge: Callable[[], object] = lambda: None,
) -> Desk:
    """The desk of this installation; ``pool`` finds rows by key."""
    def returns(merchant: Merchant, url: str) -> bool:
        return may_return(url, getattr(merchant.settings, "return_origins", ()), config.is_live)

    return Desk(pool, now, new_id, Addresses(keyring.content_key), reached_at(config), order_key, media_of(config), returns, nudge)


def post_of(config: Config) -> Post:
    """How messages leave this installation: by a server and a provider where there are any, in a sandbox to its inbox too."""
    senders = {}
    if config.smtp_host:
        senders[EMAIL] = mail.smtp(mail.Server(
            config.smtp_host, config.smtp_port, config.smtp_security, config.smtp_user, config.smtp_password, config.smtp_from, config.smtp_seconds))
    if config.sms_url:
        senders[SMS] = sms.http(sms.Provider(
            config.sms_url, config.sms_type, config.sms_body, config.sms_authorization, config.smtp_seconds))
    reached = reached_at(config)
    return Post(senders, not config.is_live, lambda: reached() + INBOX)


def media_of(config: Config) -> frozenset[str]:
    """What this installation can send; a sandbox can send everything to its inbox."""
    ways = ((EMAIL, config.smtp_host), (SMS, config.sms_url))
    return frozenset(medium for medium, way in ways if way or not config.is_live)


def reached_at(config: Config) -> Callable[[], str]:
    """How payers reach the service.  Where the port was left to chance, the sandbox's own description says it."""
    known: list[str] = [base_url(config, config.port)] if config.base_url or config.port else []

    def address() -> str:
        if not known:
            known.append(json.loads((config.data / "sandbox.json").read_text("utf-8"))["base_url"])
        return known[0]

    return address
