"""Payment links as an installation serves them: the desk, and the ways by which messages leave, from the configuration."""
from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, time
from typing import NamedTuple
from zoneinfo import ZoneInfo

import asyncpg

from ringfence.api.aps.door import DOOR, order_key
from ringfence.api.aps.links import payment_of
from ringfence.background import mail, sms
from ringfence.background.messages import Post
from ringfence.config import Config, base_url
from ringfence.core.plan import reference_of
from ringfence.engine import links
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.keys import Keyring
from ringfence.engine.link_addresses import Addresses
from ringfence.engine.links import EMAIL, SMS, Desk, Link, Opened, Why
from ringfence.engine.plan_terms import Invoice, NoInvoice, PlanRow
from ringfence.engine.return_address import may_return
from ringfence.engine.sessions import IN_HAND, PAYMENT, Asked, Cashier, Session, Sessions, Taken
from ringfence.engine.sessions import PATH as PAGES
from ringfence.web.links import Begin, Look, Tried

INBOX = "/sandbox/inbox"

#: What stands with a plan that waits until somebody has mended what its invoice was refused for; other refusals are said by their name.
NO_INVOICE: dict[Why, str] = {
    Why.MEDIUM_OFF: "e-mail is switched off for links (link_email), or this installation has no mail server",
    Why.REFERENCE_USED: "another order or link has its reference already",
    Why.TERMS_MISSING: "the merchant requires terms and conditions and link_terms_url is not set",
    Why.NO_RECIPIENT: "the plan has no e-mail address",
}


class CardPage(NamedTuple):
    """A page that takes a card for a link.  ``given``: the payment as the door ``door`` asks for it, without a card.

    ``minor`` units of ``currency``; ``return_url`` "" where the service says itself how it ended; ``payment_options``: brands, none for all;
    ``remembers``: the payer may keep the card; ``seconds`` of business time from now.
    """

    merchant_id: int
    door: str
    reference: str
    given: dict[str, str]
    language: str
    minor: int
    currency: str
    description: str
    return_url: str
    payment_options: tuple[str, ...]
    remembers: bool
    seconds: int
    payment_link_id: int


OpenPage = Callable[[CardPage], Awaitable[str | None]]
"""Opens the page and says its path; ``None`` where something else was tried under this reference, so that there is none."""


def begin_on(open_page: OpenPage, desk: Desk, directory: Directory) -> Begin:
    """How a link that is in its payer's hands becomes a card page: for as long as they are alone with it, of our own store's amounts."""
    async def begin(opened: Opened) -> str | None:
        link = opened.link
        terms, merchant = link.terms, directory.by_id(link.merchant_id)
        if merchant is None:
            return None
        settings, asked = merchant.settings, terms.payment_option
        return await open_page(CardPage(
            link.merchant_id, DOOR, link.reference, payment_of(link, merchant), terms.language, terms.minor, terms.currency, terms.description,
            terms.return_url, (asked,) if asked else tuple(sorted(settings.payment_options)), settings.service_tokenization,
            max(1, int((opened.until - desk.now()).total_seconds())), link.link_id))

    return begin


def page_on(sessions: Sessions) -> OpenPage:
    """Card pages of links are hosted pages like any other."""
    async def open_page(page: CardPage) -> str | None:
        asked = Asked(
            page.given, page.language, page.minor, page.currency, page.description, page.return_url, remember=None if page.remembers else False,
            payment_options=page.payment_options)
        opened = await sessions.open(
            page.merchant_id, page.door, page.reference, asked, seconds=page.seconds, payment_link_id=page.payment_link_id)
        return None if isinstance(opened, Taken) else opened.path

    return open_page


def looking(sessions: Sessions, cashier: Cashier, bank: Callable[[int, int], Awaitable[str]], desk: Desk) -> Look:
    """What became of the payment that a link's payer began, who has come back to the link's page.

    ``bank``: merchant and payment -> the page on which its payer is awaited, "" where nobody is.  Only the browser that opened the link is
    told: its bank's page is for nobody else who knows the link.
    """
    async def look(link: Link, holder: str) -> Tried | None:
        session = await sessions.of_reference(link.merchant_id, DOOR, PAYMENT, link.reference)
        if session is None or session.payment_link_id != link.link_id or not await links.is_held_by(desk, link, holder):
            return None
        if session.state in IN_HAND and session.payment_id is not None:
            if page := await bank(session.merchant_id, session.payment_id):
                return Tried(page, at_bank=True)
            await cashier.settle(session, False)
            session = await sessions.at(session.path.removeprefix(PAGES)) or session
        return Tried(session.path if session.state in IN_HAND else "", problem=session.problem if session.state == "open" else "")

    return look


def giving_back(cashier: Cashier, desk: Desk) -> Cashier:
    """The cashier behind card pages of links, too: with the page its payer gives up the link, and others may pay."""
    async def cancel(session: Session) -> bool:
        given_up = await cashier.cancel(session)
        if given_up and session.payment_link_id is not None:
            await links.give_back(desk, session.merchant_id, session.payment_link_id)
        return given_up

    return cashier._replace(cancel=cancel)


def invoice_of(desk: Desk) -> Invoice:
    """How the invoice of a plan's due date is sent: as a link that can be paid from that day on."""
    async def invoice(merchant: Merchant, plan: PlanRow, day: date, number: int) -> str | NoInvoice:
        made = await links.invoice(
            desk, merchant, reference=reference_of(plan.plan_id, day, number), minor=plan.minor, currency=plan.currency, email=plan.email,
            description=plan.description, due_at=datetime.combine(day, time(), ZoneInfo(plan.zone)))
        if not isinstance(made, links.Refused):
            return made.url
        return NoInvoice(f"no invoice could be sent: {NO_INVOICE.get(made.why, made.why)}", made.why is Why.REFERENCE_USED)

    return invoice


async def link_states(desk: Desk, merchant: Merchant, references: Sequence[str]) -> Mapping[str, str]:
    """How the links with these references stand, for whoever shows plans."""
    return {name: link.state for name, link in (await links.by_references(desk, merchant, references)).items()}


def desk_of(
    config: Config, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], datetime], new_id: Callable[[], int],
    nudge: Callable[[], object] = lambda: None, *, take_cards: bool = True,
) -> Desk:
    """The desk of this installation; ``pool`` finds rows by key; without cards it makes no links, for nobody could pay them."""
    def returns(merchant: Merchant, url: str) -> bool:
        return may_return(url, merchant.settings.return_origins, config.is_live)

    return Desk(pool, now, new_id, Addresses(keyring.content_key), reached_at(config), order_key, media_of(config), returns, nudge, take_cards)


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
