"""Payment links: made, changed, sent again, opened by a payer, taken back, looked at.

Every change is one transaction under the link's own row, decided by ``core.link`` from what is stored and from what became of the order's
payments; messages are asked for in the same commit.  Whether a link is paid is read from its payments and never told by anybody.  Refuses to
know protocols, pages, and how a message travels.
"""
from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.core import link as core
from ringfence.core.card import unlike_a_card
from ringfence.core.commands import MAX_MINOR
from ringfence.core.link import Act, Payment, Problem, Standing, State
from ringfence.engine.directory import Merchant
from ringfence.engine.link_addresses import Addresses
from ringfence.engine.link_values import Link, Opened, Order, Refused, Why
from ringfence.engine.settings import PAYMENT_OPTIONS
from ringfence.storage import links as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.links import QUEUE, Asked, NewLink, Row, Sent, Terms

__all__ = ["QUEUE", "Desk", "Link", "Opened", "Order", "Refused", "State", "Terms", "Why"]

EMAIL, SMS = "email", "sms"
MEDIA = (EMAIL, SMS)
PATH = "/p/"
"""Where links are reached; an address follows."""
SEND_WITHIN = timedelta(days=1)
"""A message that could not be sent by then is given up."""
PAYABLE = timedelta(days=14)
"""How long behind its due date an invoice can be paid, where nobody says otherwise."""
CHUNK = 1_000
TRIES = 40
"""An order that was tried so often is opened no more; see ``storage.links.MOST_TRIES``."""


class Desk(NamedTuple):
    """What is needed to serve links.

    ``now``: business time.  ``base_url``: how payers reach the service, asked anew each time.  ``key_of``: the key of an order's payment.
    ``media``: what this installation can send.  ``may_return``: whether a payer may be sent to an address behind the payment.  ``nudge`` has the
    background look for messages.
    """

    pool: asyncpg.Pool
    now: Callable[[], datetime]
    new_id: Callable[[], int]
    addresses: Addresses
    base_url: Callable[[], str]
    key_of: Callable[[str], str]
    media: frozenset[str]
    may_return: Callable[[Merchant, str], bool]
    nudge: Callable[[], object]
    takes_cards: bool = True


# ---------------------------------------------------------------------------------------------------------- making

async def create(desk: Desk, merchant: Merchant, order: Order) -> Link | Refused:
    """Make a link, and ask for the messages about it."""
    return (await create_many(desk, merchant, [order]))[0]


async def create_many(desk: Desk, merchant: Merchant, orders: Sequence[Order]) -> list[Link | Refused]:
    """Make many links, a thousand in a commit; the answers in the order of the orders.  Raises ``DatabaseUnavailable``."""
    made: list[Link | Refused] = []
    for at in range(0, len(orders), CHUNK):
        made += await _create(desk, merchant, orders[at:at + CHUNK])
    if any(isinstance(one, Link) and one.terms.media for one in made):
        desk.nudge()
    return made


async def _create(desk: Desk, merchant: Merchant, orders: Sequence[Order]) -> list[Link | Refused]:
    now, answers, wanted, seen = desk.now(), {}, {}, set()
    for place, order in enumerate(orders):
        refused = _wrong(desk, merchant, order.terms, now)
        if refused is None and order.reference in seen:
            refused = Refused(Why.REFERENCE_USED, "merchant_reference")
        if refused is not None:
            answers[place] = refused
            continue
        seen.add(order.reference)
        wanted[place] = NewLink(desk.new_id(), order.reference, desk.key_of(order.reference), order.terms, order.actor)
    async with borrowed(desk.pool) as connection, connection.transaction():
        made = await rows.create(connection, merchant.merchant_id, list(wanted.values()), now)
        await rows.ask(connection, merchant.merchant_id, [
            one for new in wanted.values() if new.link_id in made for one in _messages(desk, new.link_id, new.terms, new.terms.media, now)], now)
    for place, new in wanted.items():
        row = Row(merchant.merchant_id, new.link_id, new.reference, new.order_key, new.terms, now, new.created_by, None, b"", None, None, None,
                  0, None, None, None)
        answers[place] = _view(desk, row, now) if new.link_id in made else Refused(Why.REFERENCE_USED, "merchant_reference")
    return [answers[place] for place in range(len(orders))]


async def invoice(
    desk: Desk, merchant: Merchant, *, reference: str, minor: int, currency: str, email: str, due_at: datetime, phone: str = "", name: str = "",
    description: str = "", language: str = "en", media: tuple[str, ...] = (EMAIL,), payable: timedelta = PAYABLE, actor: str = "plan",
) -> Link | Refused:
    """The invoice of a plan for one due date: made and sent once, however often it is asked for.

    ``reference`` names plan and due date.  A link that stands there already, of the same amount and from the same actor, is the answer.
    It can be paid for ``payable`` behind its due date, or behind now where that is past.
    """
    terms = Terms("PURCHASE", minor, currency, language, "", email, phone, name, description, "", "", media, max(due_at, desk.now()) + payable)
    made = await create(desk, merchant, Order(reference, terms, actor))
    if isinstance(made, Refused) and made.why is Why.REFERENCE_USED:
        there = await by_reference(desk, merchant, reference)
        if there is not None and (there.terms.minor, there.terms.currency, there.created_by) == (minor, currency, actor):
            return there
    return made


# ---------------------------------------------------------------------------------------------------------- changing

async def change(desk: Desk, merchant: Merchant, link_id: int, order: Order) -> Link | Refused:
    """Say anew what may be said anew, and send it as ``order`` says.  The reference stays, and so does the address."""
    now = desk.now()
    async with borrowed(desk.pool) as connection, connection.transaction():
        row = await _held(connection, merchant, link_id)
        if row is None:
            return Refused(Why.NOT_FOUND, "payment_link_id")
        if refused := core.problem(_standing(row), Act.CHANGE, now):
            return Refused(Why(refused.value))
        if order.reference != row.reference:
            return Refused(Why.REFERENCE_DIFFERS, "merchant_reference")
        if wrong := _wrong(desk, merchant, order.terms, now):
            return wrong
        if not await _may_send(connection, row, order.terms.media, now):
            return Refused(Why.TOO_MANY_MESSAGES)
        await rows.change(connection, merchant.merchant_id, link_id, order.terms)
        await rows.ask(connection, merchant.merchant_id, _messages(desk, link_id, order.terms, order.terms.media, now), now)
    desk.nudge()
    return _view(desk, row._replace(terms=order.terms), now)


async def resend(desk: Desk, merchant: Merchant, link_id: int, media: tuple[str, ...] = ()) -> Link | Refused:
    """Send it again, by these media or by those it was made with (by e-mail where it was made with none)."""
    now = desk.now()
    async with borrowed(desk.pool) as connection, connection.transaction():
        row = await _held(connection, merchant, link_id)
        if row is None:
            return Refused(Why.NOT_FOUND, "payment_link_id")
        if refused := core.problem(_standing(row), Act.RESEND, now):
            return Refused(Why(refused.value))
        media = media or row.terms.media or (EMAIL,)
        if wrong := _unsendable(desk, merchant, row.terms._replace(media=media)):
            return wrong
        if not await _may_send(connection, row, media, now):
            return Refused(Why.TOO_MANY_MESSAGES)
        await rows.ask(connection, merchant.merchant_id, _messages(desk, link_id, row.terms, media, now), now)
    desk.nudge()
    return _view(desk, row, now)


async def cancel(desk: Desk, merchant: Merchant, link_id: int, actor: str) -> Link | Refused:
    """Take it back: nobody can pay it any more."""
    now = desk.now()
    async with borrowed(desk.pool) as connection, connection.transaction():
        row = await _held(connection, merchant, link_id)
        if row is None:
            return Refused(Why.NOT_FOUND, "payment_link_id")
        after = core.cancelled(_standing(row), now)
        if isinstance(after, Problem):
            return Refused(Why(after.value))
        await rows.cancel(connection, merchant.merchant_id, link_id, now, actor)
    return _view(desk, row._replace(cancelled_at=now), now)


# ---------------------------------------------------------------------------------------------------------- paying

async def open_(desk: Desk, merchant: Merchant, link_id: int, holder: str) -> Opened | Refused:
    """Put the link into the hands of a payer, for as long as nobody else may pay.  ``holder`` is a secret of that payer's browser.

    Of two who want it at once, the link's row lets one in.
    """
    now, digest = desk.now(), _digest(holder)
    async with borrowed(desk.pool) as connection, connection.transaction():
        row = await _held(connection, merchant, link_id)
        if row is None:
            return Refused(Why.NOT_FOUND)
        after = core.opened(_standing(row), digest, now)
        if isinstance(after, Problem):
            return Refused(Why(after.value))
        if row.tries >= TRIES:
            return Refused(Why.TOO_MANY_TRIES)
        assert after.held_until is not None
        await rows.open_(connection, merchant.merchant_id, link_id, digest, after.held_until)
    link = _view(desk, row._replace(holder=digest, held_until=after.held_until), now)
    return Opened(link, row.order_key, row.tries + 1, after.held_until)


async def is_held_by(desk: Desk, link: Link, holder: str) -> bool:
    """Whether that payer's browser is the one that opened the link last."""
    async with borrowed(desk.pool) as connection:
        found = await rows.find(connection, link.merchant_id, [link.link_id])
    return any(row.holder and hmac.compare_digest(row.holder, _digest(holder)) for row in found)


async def leave(desk: Desk, merchant_id: int, link_id: int, holder: str) -> None:
    """The payer has given up: others may pay at once."""
    async with borrowed(desk.pool) as connection:
        await rows.leave(connection, merchant_id, link_id, _digest(holder))


async def give_back(desk: Desk, merchant_id: int, link_id: int) -> None:
    """The card page of a link was given up, on which whoever had it was to pay: others may pay at once."""
    async with borrowed(desk.pool) as connection:
        await rows.give_back(connection, merchant_id, link_id)


def _digest(holder: str) -> bytes:
    return hashlib.sha256(holder.encode()).digest()


# ---------------------------------------------------------------------------------------------------------- looking

async def by_address(desk: Desk, address: str) -> Link | None:
    """The link that an address opens; ``None`` for every other text."""
    place = desk.addresses.read(address)
    return None if place is None else await by_number(desk, *place)


async def by_number(desk: Desk, merchant_id: int, link_id: int) -> Link | None:
    """A merchant's link."""
    return next(iter(await _found(desk, merchant_id, numbers=[link_id])), None)


async def by_numbers(desk: Desk, merchant_id: int, numbers: Sequence[int]) -> list[Link]:
    """Those of a merchant's links that are there."""
    return await _found(desk, merchant_id, numbers=numbers)


async def by_reference(desk: Desk, merchant: Merchant, reference: str) -> Link | None:
    """The link of a merchant's order."""
    return next(iter(await _found(desk, merchant.merchant_id, references=[reference])), None)


async def by_references(desk: Desk, merchant: Merchant, references: Sequence[str]) -> dict[str, Link]:
    """The links of a merchant's orders, by their references."""
    return {one.reference: one for one in await _found(desk, merchant.merchant_id, references=references)}


async def merchant_of(desk: Desk, link_id: int) -> int | None:
    """Whose link that is, for operators."""
    async with borrowed(desk.pool) as connection:
        return await rows.merchant_of(connection, link_id)


async def listed(desk: Desk, merchants: Sequence[int], *, below: int, limit: int) -> list[Link]:
    """The links of merchants with numbers below one, the newest first."""
    async with borrowed(desk.pool) as connection:
        page = await rows.page(connection, merchants, below, limit)
    found = [link for merchant_id in {one for one, _ in page}
             for link in await _found(desk, merchant_id, numbers=[number for one, number in page if one == merchant_id])]
    return sorted(found, key=lambda one: -one.link_id)


async def messages(desk: Desk, link: Link) -> list[Sent]:
    """What was asked to be sent about a link."""
    async with borrowed(desk.pool) as connection:
        return await rows.messages_of(connection, link.merchant_id, link.link_id)


async def _found(desk: Desk, merchant_id: int, numbers: Sequence[int] = (), references: Sequence[str] = ()) -> list[Link]:
    now = desk.now()
    async with borrowed(desk.pool) as connection:
        found = await rows.find(connection, merchant_id, numbers, references)
        seen = [(row.link_id, row.approved_at, row.approved) for row in found if row.paid_at is None and row.approved is not None]
        if seen:
            await rows.note_paid(connection, merchant_id, seen)         # type: ignore[arg-type]
    return [_view(desk, row, now) for row in found]


# ---------------------------------------------------------------------------------------------------------- rows to values

async def _held(connection: asyncpg.Connection, merchant: Merchant, link_id: int) -> Row | None:
    """The link, nobody else's until the transaction ends."""
    if not await rows.hold(connection, merchant.merchant_id, link_id):
        return None
    return (await rows.find(connection, merchant.merchant_id, [link_id]))[0]


def _standing(row: Row) -> Standing:
    payment = Payment.NONE if row.doubtful is None else Payment.DOUBT
    if row.paid_at is not None or row.approved is not None:
        payment = Payment.APPROVED
    return Standing(row.terms.expires_at, row.cancelled_at is not None, payment, row.holder, row.held_until)


def _view(desk: Desk, row: Row, now: datetime) -> Link:
    return Link(
        row.merchant_id, row.link_id, row.reference, row.terms, core.state_at(_standing(row), now),
        f"{desk.base_url()}{PATH}{desk.addresses.make(row.merchant_id, row.link_id)}", row.created_at, row.created_by,
        row.paid_at or row.approved_at, row.payment_id or row.approved, row.doubtful is not None)


def _wrong(desk: Desk, merchant: Merchant, terms: Terms, now: datetime) -> Refused | None:
    """What no link can have."""
    if not 0 < terms.minor <= MAX_MINOR:
        return Refused(Why.AMOUNT, "amount")
    if terms.expires_at <= now:
        return Refused(Why.PAST, "request_expiry_date")
    if terms.expires_at > now + core.LONGEST:
        return Refused(Why.TOO_FAR, "request_expiry_date")
    if terms.return_url and not desk.may_return(merchant, terms.return_url):
        return Refused(Why.RETURN_URL, "return_url")
    options = merchant.settings.payment_options or PAYMENT_OPTIONS
    if not desk.takes_cards or (terms.payment_option and terms.payment_option not in options):
        return Refused(Why.PAYMENT_OPTION, "payment_option")
    if merchant.settings.link_terms_required and not merchant.settings.link_terms_url:
        return Refused(Why.TERMS_MISSING)
    return _unsendable(desk, merchant, terms)


def _unsendable(desk: Desk, merchant: Merchant, terms: Terms) -> Refused | None:
    on = {EMAIL: merchant.settings.link_email, SMS: merchant.settings.link_sms}
    for medium in terms.media:
        if not on[medium] or medium not in desk.media:
            return Refused(Why.MEDIUM_OFF, "notification_type")
        if not _recipient(terms, medium):
            return Refused(Why.NO_RECIPIENT, "customer_email" if medium == EMAIL else "customer_phone")
    return None


def _recipient(terms: Terms, medium: str) -> str:
    return terms.email if medium == EMAIL else terms.phone


async def _may_send(connection: asyncpg.Connection, row: Row, media: Sequence[str], now: datetime) -> bool:
    if not media:
        return True
    asked = [one.asked_at for one in await rows.messages_of(connection, row.merchant_id, row.link_id)]
    return core.may_send(asked, now, len(media))


def _messages(desk: Desk, link_id: int, terms: Terms, media: Sequence[str], now: datetime) -> list[Asked]:
    deadline = min(terms.expires_at, now + SEND_WITHIN)
    return [Asked(unlike_a_card(desk.new_id), link_id, medium, _recipient(terms, medium), deadline) for medium in media]
