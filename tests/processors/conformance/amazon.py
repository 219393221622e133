"""Amazon Pay on the bench: the simulated site behind a real server, a buyer who approves, and a network that can be made to fail.

What is approved pays with a session; what goes wrong, on a permission, because there the trouble can be tied to one payment.
"""
from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringfence.amazon_site import site
from ringfence.amazon_site.book import Book, Change
from ringfence.amazon_site.limits import refunded
from ringfence.core.commands import Kind
from ringfence.processors.amazon_pay.accounts import Account, Environment, Region
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.connections import Connections
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.signing import Signer
from ringfence.processors.amazon_pay.wallet import Absent, Wallet
from tests.amazon_site.site_asking import KEY, PEM, STORE, Browser, Shop
from tests.processors.amazon_pay.bench import MemoryObjects
from tests.processors.conformance.dialogue import Bench, Moved, Payment

MERCHANT = "merchant-1"
DECLINES = {"SoftDeclined": "05", "HardDeclined": "57"}
"""Simulation code -> DE 39."""
TROUBLE = ("silent", "slow", "garbled")
SECONDS, SLOW_SECONDS = 6.0, 90.0
PERMITTED = 9_000


class Network:
    """Carries requests to the site; a charge on a permission that is marked is made, and its answer meets what the mark says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.marks: dict[str, str] = {}         # permission -> behaviour

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith("/charges"):
            await self._app(scope, receive, send)
            return
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        mark = next((behaviour for permission, behaviour in self.marks.items() if permission.encode() in body), "")
        if mark in DECLINES:
            scope["headers"].append((b"x-amz-pay-simulation-code", mark.encode()))
        said: list[Message] = []

        async def replayed() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def kept(message: Message) -> None:
            said.append(message)

        await self._app(scope, replayed, kept)
        if mark in ("silent", "slow"):
            with suppress(TimeoutError):
                async with asyncio.timeout(SLOW_SECONDS if mark == "slow" else None):
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    return
        if mark == "garbled":
            said = [{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]},
                    {"type": "http.response.body", "body": b"<html>no!"}]
        for message in said:
            await send(message)


@asynccontextmanager
async def served(app: ASGIApp, on: socket.socket) -> AsyncIterator[None]:
    """An application behind a socket that is bound."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[on]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def amazon_pay(folder: Path) -> AsyncIterator[Bench]:
    """The processor over real connections."""
    ahead = timedelta()

    async def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
        return 200

    def wall() -> datetime:
        return datetime.now(UTC)

    on = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{on.getsockname()[1]}"
    one = site(folder, lambda: wall() + ahead, base_url=base, post=post)
    await one.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE)
    network = Network(Starlette(routes=one.routes))
    account = Account("SHOP", STORE, Region.NA, Environment.SANDBOX, Signer("SANDBOX-KEY", KEY), base)
    client = Client(Connections())
    processor, wallet = AmazonPay(client, {MERCHANT: account}.get, MemoryObjects()), Wallet(client, {MERCHANT: account}.get)
    shop, book, paid_by = Shop(network, time.time), Book(folder, 0), dict[int, str]()

    async def agreed() -> str:
        """A new recurring permission."""
        session = await Browser(network).approve(shop.button(shop.recurring(f"{PERMITTED // 100}.00")))
        found = await wallet.agree(MERCHANT, session, PERMITTED, "USD", wall() + timedelta(seconds=20))
        assert not isinstance(found, Absent)
        return found.permission_id

    async def opened(payment: Payment, behaviour: str, kind: Kind, minor: int) -> Mapping[str, Any]:
        if behaviour == "approve":
            intent = "Authorize" if kind is Kind.AUTHORIZATION else "AuthorizeWithCapture"
            account = await Browser(network).approve(shop.button(shop.payload(f"{minor // 100}.{minor % 100:02}", intent)))
        else:
            account = await agreed()
            network.marks[account] = behaviour
            if behaviour in TROUBLE:
                payment.patience = min(payment.patience, SECONDS)
        paid_by[payment.id] = account
        return {"account": account}

    async def later() -> None:
        nonlocal ahead
        ahead += timedelta(seconds=31)
        await one.sweep()

    def stands(payment: int) -> Moved:
        def read(change: Change) -> Moved:
            account = paid_by[payment]
            session = change.session(account)
            charges = change.charges_of(session.permission if session is not None else account)
            return {
                "held": sum(charge.amount for charge in charges if charge.state in ("AuthorizationInitiated", "Authorized")),
                "captured": sum(charge.amount_captured for charge in charges if charge.state == "Captured"),
                "refunded": sum(refunded(change, charge) for charge in charges)}

        return book.work_here(read)

    try:
        async with served(network, on):
            yield Bench(
                processor, {}, stands, SECONDS, behaviours=frozenset({"approve", *DECLINES, *TROUBLE}), declines=DECLINES, currency="USD",
                largest=150_000_00, open=opened, heard=lambda payment: network.marks.update({paid_by[payment.id]: ""}) if (
                    network.marks.get(paid_by[payment.id]) in TROUBLE) else None,
                later=later, gives_back=True, looks_first=True, patience=20.0)
            await processor.close()
    finally:
        book.close()
        one.close()
