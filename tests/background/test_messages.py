"""Letters and SMS about links: sent once and in time, through a mail server that is really there, or into the sandbox's inbox."""
from __future__ import annotations

import asyncio
import email
import json
import logging
import unicodedata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import default
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiosmtpd.smtp import SMTP, Envelope

from ringfence.background import mail, sms
from ringfence.background.mail import Server
from ringfence.background.messages import PAUSES, NotSent, Parcel, Post, queue
from ringfence.background.sms import Provider, filled
from ringfence.config import Config, read
from ringfence.engine import inbox, links
from ringfence.engine.letters import Letter, by_email, by_sms, masked
from ringfence.engine.links import EMAIL, SMS, Link
from ringfence.starting import unsendable
from ringfence.storage import jobs
from ringfence.storage import links as rows
from tests.engine.composition import NOW, Process, Shop, process, shop
from tests.engine.linking import TERMS, desk, order

pytestmark = pytest.mark.anyio
NEVER = "https://inbox.example"
BREAKS = "\r\nBcc: victim@elsewhere.example\r\n\r\n<script>"


class Mailbox:
    """What a mail server does with what it gets; answers as the test wrote down, and 250 after that."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.recipient_says: list[str] = []
        self.says: list[str] = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.recipient_says:
            return self.recipient_says.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if self.says:
            return self.says.pop(0)
        self.envelopes.append(envelope)
        self.got.append(email.message_from_bytes(envelope.content, policy=default))
        return "250 OK"


@asynccontextmanager
async def listening(box: Mailbox, port: int = 0) -> AsyncIterator[int]:
    """A mail server on this loop."""
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(box, enable_SMTPUTF8=True), "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


@pytest.fixture
async def one(database: str) -> AsyncIterator[Process]:
    async with process(database) as running:
        yield running


@pytest.fixture
async def here(one: Process) -> Shop:
    return await shop(one)


def server(port: int) -> Server:
    return Server("127.0.0.1", port, mail.NONE, "", "", "pay@ringfence.example", 5)


class Postman:
    """Runs the jobs that are due, as the background would."""

    def __init__(self, one: Process, senders: dict[str, Any], *, has_inbox: bool = True) -> None:
        self._one = one
        self._queue = queue(one.pool, desk(one), one.directory, Post(senders, has_inbox, lambda: NEVER))

    async def walk(self) -> int:
        """How many jobs were due."""
        due = await jobs.claim(
            self._one.pool, "message", now=self._one.now(), holder="postman", lease=60, per_merchant=9, limit=9, after=-1)
        for job in due:
            await self._queue.run(job)
        return len(due)


async def states(one: Process, link: Link) -> list[tuple[str, str]]:
    return [(sent.medium, sent.state) for sent in await links.messages(desk(one), link)]


async def test_a_letter_goes_through_a_mail_server_in_arabic(one: Process, here: Shop):
    """Subject and name arrive as they were written, the text and the same as HTML."""
    await one.directory.change(here.identifier, {}, name="تمور وقهوة")
    box = Mailbox()
    async with listening(box) as port:
        made = await links.create(desk(one), here.account, order(language="ar", name="سارة", media=("email",)))
        assert await Postman(one, {EMAIL: mail.smtp(server(port))}).walk() == 1
    [got] = box.got
    assert got["subject"] == "فاتورة INV-7 من تمور وقهوة بمبلغ 100.00 AED"
    assert got["from"].addresses[0].display_name == "تمور وقهوة" and got["from"].addresses[0].addr_spec == "pay@ringfence.example"
    assert (box.envelopes[0].mail_from, box.envelopes[0].rcpt_tos) == ("pay@ringfence.example", [TERMS.email])
    text, html = (got.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert made.url in text and "مرحبًا سارة" in text and 'dir="rtl"' in html and f'href="{made.url}"' in html
    assert await states(one, made) == [("email", "sent")]


async def test_arabic_that_is_shown_alone_begins_in_arabic(one: Process, here: Shop):
    """Behind a name in Latin letters a program would show it from left to right, the amount on one side of the verb, its currency on the other."""
    made = await links.create(desk(one), here.account, order(language="ar"))
    for text in (by_email(made, "Dates & Coffee").subject, by_sms(made, "Dates & Coffee").text):
        assert unicodedata.bidirectional(text[0]) == "AL" and "Dates & Coffee" in text


async def test_a_mail_server_that_is_away_and_back(one: Process, here: Shop):
    """Tried again at its pauses, sent once, under one Message-ID; nobody's request waited for it."""
    box = Mailbox()
    async with listening(box) as port:
        pass
    made = await links.create(desk(one), here.account, order(media=("email",)))
    postman = Postman(one, {EMAIL: mail.smtp(server(port))})
    assert await postman.walk() == 1 and await postman.walk() == 0
    assert (await links.messages(desk(one), made))[0].note.startswith("the mail server cannot be used")
    box.says = ["451 try later"]
    async with listening(box, port):
        for pause in PAUSES[:2]:
            assert await postman.walk() == 0
            one.now.now += pause * NOW.resolution * 1_000_000
            assert await postman.walk() == 1
        one.now.now += links.SEND_WITHIN / 2
        assert await postman.walk() == 0
    assert len(box.got) == 1 and await states(one, made) == [("email", "sent")]


async def test_a_message_is_given_up_in_time_and_a_refused_recipient_at_once(one: Process, here: Shop):
    """What no server will ever take is not tried again."""
    box = Mailbox()
    box.recipient_says = ["450 later", "550 no such user"]
    async with listening(box) as port:
        made = await links.create(desk(one), here.account, order(media=("email",)))
        postman = Postman(one, {EMAIL: mail.smtp(server(port))})
        await postman.walk()
        assert await states(one, made) == [("email", "waiting")]
        one.now.now += PAUSES[0] * NOW.resolution * 1_000_000
        await postman.walk()
        assert await states(one, made) == [("email", "failed")] and not box.got
        assert "550" in (await links.messages(desk(one), made))[0].note
    late = await links.create(desk(one), here.account, order("LATE", media=("email",)))
    while (await states(one, late))[0][1] == "waiting":
        assert await postman.walk() <= 1
        one.now.now += PAUSES[-1] * NOW.resolution * 1_000_000
    assert await states(one, late) == [("email", "failed")] and one.now() <= late.created_at + links.SEND_WITHIN * 1.1


async def test_what_cannot_be_paid_any_more_is_not_sent(one: Process, here: Shop):
    """Its job ends, and the message says why."""
    made = await links.create(desk(one), here.account, order(media=("email", "sms")))
    await links.cancel(desk(one), here.account, made.link_id, "test")
    assert await Postman(one, {}).walk() == 2
    assert await states(one, made) == [("email", "needless"), ("sms", "needless")] and not await inbox.listed(one.pool)


async def test_a_sandbox_keeps_what_it_would_have_sent(one: Process, here: Shop, caplog: pytest.LogCaptureFixture):
    """The log says where it is, and nobody's whole address."""
    caplog.set_level(logging.INFO)
    made = await links.create(desk(one), here.account, order(media=("email", "sms")))
    assert await Postman(one, {}).walk() == 2
    letters = {letter.medium: letter for letter in await inbox.listed(one.pool, here.identifier)}
    assert set(letters) == {"email", "sms"} and letters["email"].recipient == TERMS.email and letters["sms"].recipient == TERMS.phone
    assert made.url in letters["email"].text and made.url in letters["email"].html and made.url in letters["sms"].text
    assert await inbox.find(one.pool, str(letters["sms"].message_id)) == letters["sms"]
    assert await inbox.find(one.pool, "9" * 40) is None and await inbox.find(one.pool, "x") is None
    said = caplog.text
    assert f"{NEVER}/{letters['email'].message_id}" in said and "s***@shop.example" in said
    assert TERMS.email not in said and TERMS.phone not in said and made.url not in said


async def test_a_live_installation_keeps_no_copy(one: Process, here: Shop):
    """Letters leave, and that is all."""
    sent: list[Parcel] = []

    async def send(parcel: Parcel) -> None:
        sent.append(parcel)

    await links.create(desk(one), here.account, order(media=("email",)))
    await Postman(one, {EMAIL: send}, has_inbox=False).walk()
    assert len(sent) == 1 and not await inbox.listed(one.pool)


async def test_what_nothing_can_send_is_never_called_sent(one: Process, here: Shop):
    """A live installation whose mail server was taken away: the message waits for another one."""
    made = await links.create(desk(one), here.account, order(media=("email",)))
    await Postman(one, {}, has_inbox=False).walk()
    assert await states(one, made) == [("email", "waiting")] and await rows.is_waiting(one.pool, "email")


async def test_live_mode_says_what_it_could_not_send(database: str, one: Process, here: Shop):
    """Only where something waits: an installation without links needs no mail server."""
    live, served = read({"RINGFENCE_MODE": "live"}), read({
        "RINGFENCE_MODE": "live", "RINGFENCE_SMTP_HOST": "mail.example", "RINGFENCE_SMTP_FROM": "pay@shop.example"})
    assert isinstance(live, Config) and isinstance(served, Config)
    assert await unsendable(live, database) == []
    await links.create(desk(one), here.account, order(media=("email",)))
    [reason] = await unsendable(live, database)
    assert "RINGFENCE_SMTP_HOST" in reason and await unsendable(served, database) == []


async def test_whoever_lost_the_job_ends_nothing(one: Process, here: Shop):
    """The process was away for longer than its lease: what it sent may be sent again, and is written down once."""
    made = await links.create(desk(one), here.account, order(media=("email",)))
    sent: list[str] = []

    async def send(parcel: Parcel) -> None:
        sent.append(parcel.identity)
        if len(sent) == 1:                      # the lease lapses while the server thinks, and another process takes the job
            await one.pool.execute("UPDATE jobs SET leased_until = '-infinity'")
            await Postman(one, {EMAIL: send}).walk()

    await Postman(one, {EMAIL: send}).walk()
    assert sent == [sent[0]] * 2 and len(await inbox.listed(one.pool)) == 1
    assert await states(one, made) == [("email", "sent")] and not await one.value("SELECT count(*) FROM jobs WHERE queue = 'message'")


def written(name: str = "", description: str = "", merchant: str = "Shop", language: str = "en") -> EmailMessage:
    link = Link(1, 2, "INV-7", TERMS._replace(name=name, description=description, language=language), links.State.OPEN, "https://pay.example/p/x",
                NOW, "", None, None)
    parcel = Parcel("7", TERMS.email, by_email(link, merchant), NOW)
    return email.message_from_bytes(mail.written(parcel, "pay@ringfence.example").as_bytes(), policy=default)


def test_no_text_can_add_a_header_or_markup():
    """Whatever a merchant or a customer is called."""
    got = written(name=BREAKS, description=BREAKS, merchant=f"Shop{BREAKS}")
    assert sorted(name.lower() for name in got.keys()) == [            # noqa: SIM118  (a header may stand there twice)
        "auto-submitted", "content-type", "date", "from", "message-id", "mime-version", "subject", "to"]
    assert [address.addr_spec for address in got["to"].addresses] == [TERMS.email] and len(got["from"].addresses) == 1
    assert "<script>" not in got.get_body(("html",)).get_content()
    assert got["message-id"] == "<7@ringfence.example>"


def test_signs_that_turn_writing_round_are_left_out():
    """A name cannot make an address read backwards."""
    assert "\u202e" not in written(name="a\u202eb", merchant="x\u2066y").as_string()


@pytest.mark.parametrize(("recipient", "shown"), [("sara@shop.example", "s***@shop.example"), ("00962797219966", "***966")])
def test_an_address_in_a_log(recipient: str, shown: str):
    """Enough to recognise, too little to write to."""
    assert masked(recipient) == shown


class Line:
    """An SMS provider: one POST over HTTP/1.1, answered as the test says."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.heads, self.bodies = status, [], []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length"))
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        writer.write(f"HTTP/1.1 {self.status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@asynccontextmanager
async def answering(line: Line) -> AsyncIterator[int]:
    running = await asyncio.start_server(line, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        await running.wait_closed()


PARCEL = Parcel("7", "00962797219966", Letter("Shop", "", 'Pay "now" & {to} \n{text}: شكرًا', ""), NOW)


@pytest.mark.parametrize(("form", "body", "read"), [
    ("json", '{"to": "{to}", "message": {"text": "{text}"}}', lambda raw: (json.loads(raw)["to"], json.loads(raw)["message"]["text"])),
    ("form", "To={to}&Body={text}", lambda raw: (parse_qs(raw.decode())["To"][0], parse_qs(raw.decode())["Body"][0])),
])
async def test_an_sms_is_one_post_in_the_provider_s_own_form(form: str, body: str, read: Callable[[bytes], tuple[str, str]]):
    """No text adds a field; the authorization goes along, and is never printed."""
    line = Line()
    async with answering(line) as port:
        provider = Provider(f"http://127.0.0.1:{port}/v1/{{to}}/send?key=1", form, body, "Basic c2VjcmV0", 5)
        await sms.http(provider)(PARCEL)
    assert read(line.bodies[0]) == (PARCEL.recipient, PARCEL.letter.text) and "c2VjcmV0" not in repr(provider)
    assert line.heads[0].startswith("POST /v1/00962797219966/send?key=1 ") and "authorization: Basic c2VjcmV0" in line.heads[0]
    assert "idempotency-key: 7" in line.heads[0]
    assert filled(Provider("https://x/?n={to}", "form", "{text}", "", 5), "+1 2", "a&b=c") == ("https://x/?n=%2B1%202", b"a%26b%3Dc")


@pytest.mark.parametrize(("status", "for_good"), [(400, True), (429, False), (503, False)])
async def test_what_an_sms_provider_may_say_no_with(status: int, for_good: bool):
    """Later, or never."""
    async with answering(Line(status)) as port:
        with pytest.raises(NotSent, match=str(status)) as failed:
            await sms.http(Provider(f"http://127.0.0.1:{port}/", "json", '"{text}"', "", 5))(PARCEL)
    assert failed.value.for_good is for_good and PARCEL.recipient not in failed.value.reason


async def test_an_sms_of_a_link(one: Process, here: Shop):
    """A line with the amount and the address."""
    made = await links.create(desk(one), here.account, order())
    assert by_sms(made, "Shop").text == f"Shop: pay 100.00 AED for invoice INV-7 here: {made.url}"
    assert SMS in links.MEDIA
