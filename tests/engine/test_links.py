"""Payment links on PostgreSQL: made once, opened by one payer at a time, paid once, gone in time."""
from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from ringfence.core.commands import Command, Kind
from ringfence.core.link import HOLD, PER_HOUR
from ringfence.core.outcomes import Declined, Silence, Unknown
from ringfence.core.refusals import Refusal
from ringfence.engine import links
from ringfence.engine.intents import CardInHand, Intent, Result
from ringfence.engine.link_addresses import LENGTH, Addresses
from ringfence.engine.links import Link, Opened, Refused, State, Why
from ringfence.engine.plan_terms import NoInvoice, PlanRow
from ringfence.linking import invoice_of
from ringfence.storage import links as rows
from tests.engine.composition import NOW, Process, Shop
from tests.engine.linking import BASE, TERMS, desk, order

pytestmark = pytest.mark.anyio
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
CARD = "4005550000000001"


async def pay(shop: Shop, opened: Opened) -> Result:
    """What a page does with an opened link: one try, under the order's key of that try."""
    one, terms = shop.process, opened.link.terms
    from ringfence.core.card import Pan, SecurityCode
    stored = await one.vault.keep(shop.account.merchant_id, Pan(CARD))
    operation_id = one.new_id()
    key = opened.order_key if opened.attempt == 1 else f"{opened.order_key}#{opened.attempt}"
    return await one.engine.execute(Intent(
        shop.account.merchant_id, shop.identifier, operation_id, Command(Kind.PURCHASE, terms.minor, terms.currency, operation_id), "aps",
        "page", "page", b"", opened.link.reference, key, False, b"{}", "scripted",
        CardInHand(Pan(CARD), "3005", SecurityCode("123"), stored), None))


async def test_a_link_is_made_once_and_found_by_all_its_names(one: Process, here: Shop):
    """Number, reference, address; a second one of the reference is refused."""
    made = await links.create(desk(one), here.account, order())
    assert isinstance(made, Link) and made.state is State.OPEN and made.url.startswith(f"{BASE}/p/")
    assert await links.by_address(desk(one), made.url.rpartition("/")[2]) == made
    assert await links.by_reference(desk(one), here.account, "INV-7") == made
    assert await links.by_number(desk(one), here.account.merchant_id, made.link_id) == made
    assert await links.create(desk(one), here.account, order()) == Refused(Why.REFERENCE_USED, "merchant_reference")


async def test_a_reference_that_an_order_has_used_makes_no_link(one: Process, here: Shop):
    """The order was paid over the API; an invoice for it would be paid by nobody, or twice."""
    opened = Opened(Link(here.account.merchant_id, 1, "ORD-1", TERMS, State.OPEN, "", NOW, "", None, None), "aps:ORD-1", 1, NOW)
    await pay(here, opened)
    assert await links.create(desk(one), here.account, order("ORD-1")) == Refused(Why.REFERENCE_USED, "merchant_reference")


async def test_many_links_are_made_in_one_commit_and_each_says_how_it_went(one: Process, here: Shop):
    """The answers in the order of the rows, also around those that are refused."""
    made = await links.create_many(desk(one), here.account, [
        *(order(f"INV-{n}") for n in range(1_200)), order("INV-3"), order("PAST", expires_at=NOW), order("FAR", expires_at=NOW + 4_000 * DAY),
        order("FREE", minor=0)])
    assert [one.reference for one in made[:1_200]] == [f"INV-{n}" for n in range(1_200)]
    assert made[1_200:] == [
        Refused(Why.REFERENCE_USED, "merchant_reference"), Refused(Why.PAST, "request_expiry_date"), Refused(Why.TOO_FAR, "request_expiry_date"),
        Refused(Why.AMOUNT, "amount")]
    page = await links.listed(desk(one), [here.account.merchant_id], below=2**62, limit=10)
    assert [one.reference for one in page] == [f"INV-{n}" for n in range(1_199, 1_189, -1)]


async def test_two_payers_at_once_and_one_is_let_in(one: Process, here: Shop, two: Process):
    """The link's row decides, whichever process they come through."""
    made = await links.create(desk(one), here.account, order())
    answers = await asyncio.gather(*(
        links.open_(desk(place), here.account, made.link_id, f"payer {n}") for n in range(10) for place in (one, two)))
    entered = [answer for answer in answers if isinstance(answer, Opened)]
    assert 1 <= len(entered) <= 2 and len({answer.attempt for answer in entered}) == 1       # a payer may have two tabs
    assert {answer for answer in answers if isinstance(answer, Refused)} == {Refused(Why.SOMEONE_IS_PAYING)}


async def test_a_hold_lapses_and_a_payer_who_gives_up_lets_the_next_in(one: Process, here: Shop):
    """Fifteen minutes, or a word."""
    at, made = desk(one), await links.create(desk(one), here.account, order())
    assert isinstance(await links.open_(at, here.account, made.link_id, "sara"), Opened)
    assert await links.open_(at, here.account, made.link_id, "omar") == Refused(Why.SOMEONE_IS_PAYING)
    await links.leave(at, here.account.merchant_id, made.link_id, "omar")
    assert await links.open_(at, here.account, made.link_id, "omar") == Refused(Why.SOMEONE_IS_PAYING)
    await links.leave(at, here.account.merchant_id, made.link_id, "sara")
    assert isinstance(await links.open_(at, here.account, made.link_id, "omar"), Opened)
    one.now.now += HOLD
    assert isinstance(await links.open_(at, here.account, made.link_id, "sara"), Opened)


async def test_a_card_page_that_was_given_up_lets_the_next_in(one: Process, here: Shop):
    """Whoever had it."""
    at, made = desk(one), await links.create(desk(one), here.account, order())
    assert isinstance(await links.open_(at, here.account, made.link_id, "sara"), Opened)
    await links.give_back(at, here.account.merchant_id, made.link_id)
    assert isinstance(await links.open_(at, here.account, made.link_id, "omar"), Opened)


async def test_two_payers_with_the_page_open_and_one_pays(one: Process, here: Shop, two: Process):
    """The first was slow, so that its hold lapsed; both press the button at once, at two processes: the order's key lets one through."""
    at, made = desk(one), await links.create(desk(one), here.account, order())
    sara = await links.open_(at, here.account, made.link_id, "sara")
    one.now.now += HOLD
    omar = await links.open_(at, here.account, made.link_id, "omar")
    results = await asyncio.gather(pay(here, sara), pay(here.at(two), omar))
    assert [result.refusal for result in results if result.refusal is not None] == [Refusal.KEY_USED]
    paid = await links.by_reference(at, here.account, "INV-7")
    assert paid.state is State.PAID and paid.payment_id in {result.payment.id for result in results if result.payment}
    assert await one.value("SELECT sum(captured) FROM payments") == 10_000
    assert await links.open_(at, here.account, made.link_id, "sara") == Refused(Why.PAID)
    await one.prove()


async def test_after_a_decline_the_next_try_has_a_key_of_its_own(one: Process, here: Shop):
    """Also in another payer's hands; the link counts the tries by their payments."""
    at, made = desk(one), await links.create(desk(one), here.account, order())
    one.processor.say(Declined("51"), Declined("05"))
    for attempt in (1, 2, 3):
        opened = await links.open_(at, here.account, made.link_id, "sara")
        assert (opened.attempt, opened.link.state) == (attempt, State.OPENED)
        await pay(here, opened)
    assert (await links.by_number(at, made.merchant_id, made.link_id)).state is State.PAID


async def test_nobody_pays_while_a_payment_is_in_doubt(one: Process, here: Shop):
    """Not after the hold, not after the link's last day; once the doubt ends the link is what became of it."""
    at, made = desk(one), await links.create(desk(one), here.account, order())
    one.processor.say(Unknown(Silence.NO_ANSWER))
    await pay(here, await links.open_(at, here.account, made.link_id, "sara"))
    one.now.now += 4 * DAY
    assert await links.open_(at, here.account, made.link_id, "sara") == Refused(Why.SOMEONE_IS_PAYING)
    assert await links.cancel(at, here.account, made.link_id, "test") == Refused(Why.SOMEONE_IS_PAYING)
    assert (await links.by_number(at, made.merchant_id, made.link_id)).state is State.OPENED


async def test_time_ends_a_link_and_so_does_its_merchant(one: Process, here: Shop):
    """115 and 117 of it, for whatever is asked then."""
    at = desk(one)
    old, taken_back = await links.create_many(at, here.account, [order("OLD"), order("BACK")])
    assert (await links.cancel(at, here.account, taken_back.link_id, "test")).state is State.CANCELLED
    one.now.now += 3 * DAY
    for link, why in ((old, Why.EXPIRED), (taken_back, Why.CANCELLED)):
        assert await links.open_(at, here.account, link.link_id, "sara") == Refused(why)
        assert await links.resend(at, here.account, link.link_id) == Refused(why)
        assert await links.change(at, here.account, link.link_id, order(link.reference)) == Refused(why)
        assert await links.cancel(at, here.account, link.link_id, "test") == Refused(why)


async def test_what_may_change_of_a_link_changes_and_its_address_stays(one: Process, here: Shop):
    """Everything but its reference; not while someone is paying."""
    at, made = desk(one), await links.create(desk(one), here.account, order())
    changed = await links.change(at, here.account, made.link_id, order(minor=500, language="ar", expires_at=NOW + DAY))
    assert changed == made._replace(terms=TERMS._replace(minor=500, language="ar", expires_at=NOW + DAY))
    assert await links.by_number(at, made.merchant_id, made.link_id) == changed
    assert await links.change(at, here.account, made.link_id, order("INV-8")) == Refused(Why.REFERENCE_DIFFERS, "merchant_reference")
    await links.open_(at, here.account, made.link_id, "sara")
    assert await links.change(at, here.account, made.link_id, order()) == Refused(Why.SOMEONE_IS_PAYING)


async def test_a_link_is_sent_so_often_an_hour(one: Process, here: Shop):
    """Each message has a job from the commit that asks for it."""
    at = desk(one)
    made = await links.create(at, here.account, order(media=("email", "sms")))
    for _ in range(PER_HOUR // 2 - 1):
        assert isinstance(await links.resend(at, here.account, made.link_id), Link)
    assert await links.resend(at, here.account, made.link_id) == Refused(Why.TOO_MANY_MESSAGES)
    assert await one.value("SELECT count(*) FROM jobs WHERE queue = 'message'") == PER_HOUR
    assert {(sent.medium, sent.recipient) for sent in await links.messages(at, made)} == {("email", TERMS.email), ("sms", TERMS.phone)}
    one.now.now += timedelta(hours=1)
    assert isinstance(await links.resend(at, here.account, made.link_id, ("sms",)), Link)


@pytest.mark.parametrize(("settings", "changes", "why"), [
    ({"link_sms": "off"}, {"media": ("email", "sms")}, Refused(Why.MEDIUM_OFF, "notification_type")),
    ({}, {"media": ("sms",), "phone": ""}, Refused(Why.NO_RECIPIENT, "customer_phone")),
    ({"link_terms_required": "on"}, {}, Refused(Why.TERMS_MISSING)),
    ({}, {"return_url": "https://elsewhere.example/"}, Refused(Why.RETURN_URL, "return_url")),
])
async def test_what_a_merchant_has_not_switched_on(one: Process, here: Shop, settings, changes, why):
    """Messages, terms, and addresses of somebody else."""
    await one.directory.change(here.identifier, settings)
    at = desk(one, may_return=lambda merchant, url: "elsewhere" not in url)
    assert await links.create(at, here.account, order(**changes)) == why


async def test_an_invoice_of_a_plan_is_made_once_for_each_due_date(one: Process, here: Shop):
    """Asked for again after a crash it is the same link, and nothing is sent twice; another one's reference is refused."""
    async def bill(minor: int = 900):
        return await links.invoice(desk(one), here.account, reference="PLAN-1-20260131", minor=minor, currency="AED", email="a@b.co",
                                   due_at=NOW + DAY, description="January")
    first = await bill()
    assert isinstance(first, Link) and first.terms.expires_at == NOW + DAY + links.PAYABLE
    assert await bill() == first and await one.value("SELECT count(*) FROM messages") == 1
    assert await bill(901) == Refused(Why.REFERENCE_USED, "merchant_reference")
    one.now.now += 60 * DAY
    assert (await links.invoice(desk(one), here.account, reference="LATE", minor=900, currency="AED", email="a@b.co",
                                due_at=NOW)).terms.expires_at == one.now() + links.PAYABLE


async def test_personal_data_of_old_links_can_be_erased(one: Process, here: Shop):
    """What may still be paid is left alone."""
    old, young = await links.create_many(desk(one), here.account, [order("OLD", media=("email",)), order("YOUNG", expires_at=NOW + 30 * DAY)])
    assert await rows.erase_personal(one.pool, here.account.merchant_id, NOW + 4 * DAY, 10) == 1
    found = {row.link_id: row.terms.email for row in await rows.find(one.pool, here.account.merchant_id, [old.link_id, young.link_id])}
    assert found == {old.link_id: "", young.link_id: TERMS.email}
    assert await one.value("SELECT string_agg(recipient, '') FROM messages") == ""


async def test_who_asks_to_be_forgotten_is_forgotten_in_the_invoice_too(one: Process, here: Shop):
    """With everything else of the payment; other links say what they said."""
    at = desk(one)
    mine, other = await links.create_many(at, here.account, [order("MINE", media=("email",)), order("OTHER")])
    paid = await pay(here, await links.open_(at, here.account, mine.link_id, "sara"))
    assert await rows.of_payment(one.pool, here.account.merchant_id, paid.payment.id) == [mine.link_id]
    await rows.erase_links(one.pool, here.account.merchant_id, [mine.link_id])
    assert (await links.by_number(at, mine.merchant_id, mine.link_id)).terms[5:9] == ("", "", "", "")
    assert (await links.messages(at, mine))[0].recipient == ""
    assert (await links.by_number(at, other.merchant_id, other.link_id)).terms == TERMS
    assert await rows.of_payment(one.pool, here.account.merchant_id, paid.payment.id) == []


def test_an_address_is_read_by_the_key_that_made_it_and_by_no_other():
    """Whatever is changed in it, it names nothing."""
    mine, other = Addresses(bytes(32)), Addresses(b"x" * 32)
    address = mine.make(7, 2**63 - 1)
    assert len(address) == LENGTH and mine.read(address) == (7, 2**63 - 1) and mine.make(7, 2**63 - 1) == address
    assert other.read(address) is None and mine.read(mine.make(8, 2**63 - 1)) == (8, 2**63 - 1)
    for at in range(LENGTH):
        for sign in "Aa0-_+/=é\0":
            changed = address[:at] + sign + address[at + 1:]
            assert changed == address or mine.read(changed) is None, changed
    for text in ("", "A" * LENGTH, address + "=", address[:-1], address + "A", " " + address[1:]):
        assert mine.read(text) is None


async def test_a_refused_invoice_says_what_is_to_be_mended(one: Process, here: Shop):
    """It stands with the plan, which waits until somebody has done so."""
    plan = PlanRow(*[None] * len(PlanRow._fields))._replace(
        plan_id="rent", minor=900, currency="AED", email="a@b.co", description="", zone="UTC")
    assert await invoice_of(desk(one, media=frozenset()))(here.account, plan, NOW.date(), 1) == NoInvoice(
        "no invoice could be sent: e-mail is switched off for links (link_email), or this installation has no mail server")
    await here.purchase(f"rent.{NOW:%Y%m%d}.1", "900")
    assert await invoice_of(desk(one))(here.account, plan, NOW.date(), 1) == NoInvoice(
        "no invoice could be sent: another order or link has its reference already", True)
    assert isinstance(await invoice_of(desk(one))(here.account, plan, NOW.date(), 2), str)
