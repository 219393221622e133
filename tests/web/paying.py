"""A payer's browser without a screen, a shop that sends it, and the pages in between, on a worker process in miniature.

The browser keeps where it is, follows redirects inside, sends the form it was shown with what the payer types, and carries the fields of
a page that leaves by itself to the shop, which takes no answer whose signature is wrong.
"""
from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from ringfence.api.aps import hosted as aps_hosted
from ringfence.api.aps import pages as aps_pages
from ringfence.api.aps import signature, tokenization
from ringfence.engine.sessions import Cashier, Sessions
from ringfence.serving import form_reader
from ringfence.web import hosted
from tests.engine.composition import Process, Shop
from tests.web.asking import Answer, get, post

TYPED = {"card_number": "4000 0099 0000 0004", "expiry_month": "12", "expiry_year": "35", "security_code": "739", "card_holder": "Sara Ali"}
"""What a payer types who keeps to the rules."""
RETURN = "https://shop.example/back?order=7"
LEASE_SECONDS = 30.0


def sessions_of(process: Process) -> Sessions:
    """The page sessions, as this process reaches them."""
    return Sessions(process.pool, key=process.api._service.content_key, new_id=process.new_id, now=process.now)


def cashier_of(process: Process, tokenize: Callable[..., Awaitable[Any]] = tokenization.tokenize) -> Cashier:
    """The cashier behind the pages of a process."""
    return aps_hosted.Desk(process.api._service, sessions_of(process), process.api.account, tokenize=tokenize).cashier


def routes_of(
    process: Process, cashier: Cashier, *, lease_seconds: float = LEASE_SECONDS, tokenize: Callable[..., Awaitable[Any]] = tokenization.tokenize,
) -> list[Route]:
    """The pages of a process, as ``main`` builds them, with a cashier behind."""
    sessions = sessions_of(process)
    page = aps_pages.PaymentPage(process.api._service, sessions, process.api.account, tokenize=tokenize, sandbox=True)
    return hosted.routes(hosted.Hosted(
        sessions, {"aps": cashier}, {aps_pages.PATH: page.enter}, form_reader(65_536), process.challenges.page, lease_seconds))


def app_of(process: Process, *, lease_seconds: float = LEASE_SECONDS, tokenize: Callable[..., Awaitable[Any]] = tokenization.tokenize) -> Starlette:
    """The pages alone."""
    return Starlette(routes=routes_of(process, cashier_of(process, tokenize), lease_seconds=lease_seconds, tokenize=tokenize))


class Browser:
    """One payer.  ``seen`` is the last page, ``path`` where it is."""

    def __init__(self, app: Starlette, shop: Shop) -> None:
        self.app, self.shop = app, shop
        self.path, self.seen = "", Answer(0, {}, "")

    async def send(self, form: Mapping[str, str] | bytes, headers: Mapping[str, str] | None = None) -> Browser:
        """The shop sends the browser to the payment page with a form, as it stands."""
        return await self._arrive(await post(self.app, aps_pages.PATH, form, headers))

    async def enter(self, unsigned: Mapping[str, str] | None = None, /, **fields: str) -> Browser:
        """The same with a form that the shop signs; ``unsigned`` is added behind the signature."""
        return await self.send(self.shop.signed(fields) | dict(unsigned or {}))

    async def buy(self, reference: str, **fields: str) -> Browser:
        """The form of a purchase of 10.00 AED."""
        return await self.enter(**{
            "command": "PURCHASE", "merchant_reference": reference, "amount": "1000", "currency": "AED",
            "customer_email": "a@shop.example", "return_url": RETURN, **fields})

    async def load(self) -> Browser:
        """The page again."""
        return await self._arrive(await get(self.app, self.path))

    async def type(self, headers: Mapping[str, str] | None = None, /, **typed: str) -> Browser:
        """Fill in the card form and send it."""
        return await self._arrive(await post(self.app, self.path, self.form() | TYPED | typed, headers))

    async def give_up(self) -> Browser:
        """The button below."""
        return await self._arrive(await post(self.app, f"{self.path}/cancel", {"mark": self.form()["mark"]}))

    async def _arrive(self, answer: Answer) -> Browser:
        while answer.status == 303 and answer.headers["location"].startswith("/"):
            self.path = answer.headers["location"]
            answer = await get(self.app, self.path)
        self.seen = answer
        return self

    def form(self) -> dict[str, str]:
        """The hidden fields of the first form on the page, and a choice that is made."""
        [first, *_] = re.findall(r"<form.*?</form>", self.seen.text, re.DOTALL)
        fields = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', first))
        if chosen := re.findall(r'type="radio" name="card" value="(\w+)" id="\w+" checked', first):
            fields["card"] = chosen[0]
        return {html.unescape(name): html.unescape(value) for name, value in fields.items()}

    @property
    def is_leaving(self) -> bool:
        """Whether the page goes back to the shop."""
        return 'id="leave"' in self.seen.text

    @property
    def target(self) -> str:
        """The address that the page leaves for."""
        assert self.is_leaving, self.seen.text
        return html.unescape(re.search(r'id="leave"[^>]* (?:action|href)="([^"]*)"', self.seen.text)[1])

    def brought(self) -> dict[str, str]:
        """What the shop gets, without the signature, which is right."""
        assert self.is_leaving, self.seen.text
        fields = self.form()
        given = fields.pop("signature")
        assert given == signature.sign(fields, self.shop._response, self.shop._sha_type), fields
        assert fields["status"] == fields["response_code"][:2] and "" not in fields.values()
        return fields

    @property
    def code(self) -> str:
        """The code that the shop gets."""
        return self.brought()["response_code"]

    def problems(self) -> list[str]:
        """The fields that are marked as wrong."""
        return re.findall(r'id="(\w+)"[^>]* aria-invalid="true"', self.seen.text)

    def says(self, text: str) -> bool:
        """Whether a text stands on the page."""
        return text in html.unescape(self.seen.text)
