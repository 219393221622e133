"""A site in miniature, with a merchant that signs and a buyer who clicks; no network.

``Merchant`` signs as Amazon's own clients do, written apart from the site's verifier.  ``Browser`` keeps cookies, follows what stays inside the
site, and stops where it would leave.
"""
from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette

from ringfence.amazon_site import Site, site

KEY = generate_private_key(public_exponent=65_537, key_size=2_048)
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
OTHER_KEY = generate_private_key(public_exponent=65_537, key_size=2_048)

BASE, HOOK, TOKEN = "https://amazon.example", "http://merchant.example/ipn", "the sandbox's own token"
BEGAN = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
STORE = "amzn1.application-oa2-client.shop"
SALTS = {"AMZN-PAY-RSASSA-PSS": 20, "AMZN-PAY-RSASSA-PSS-V2": 32}
V2 = "AMZN-PAY-RSASSA-PSS-V2"

_keys = (f"key{number:029}" for number in itertools.count())


class Said(NamedTuple):
    """An answer: status, headers by small names, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def problem(self) -> tuple[int, str]:
        return self.status, self.json["reasonCode"]


async def ask(app: Any, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Said:
    """One request to an ASGI application."""
    told: list[dict] = []
    sent = [{"type": "http.request", "body": body, "more_body": False}]
    where, _, query = path.partition("?")

    async def receive():
        return sent.pop(0) if sent else {"type": "http.disconnect"}

    async def send(message):
        told.append(message)

    await app({
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": unquote(where),
        "raw_path": where.encode(), "query_string": query.encode(), "root_path": "", "server": ("127.0.0.1", 80), "client": ("192.0.2.7", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }, receive, send)
    if not told:
        return Said(0, {}, b"")
    return Said(
        told[0]["status"], {name.decode(): value.decode("latin-1") for name, value in told[0]["headers"]},
        b"".join(part.get("body", b"") for part in told[1:]))


async def ask_raw(app: Any, query: str, headers: Mapping[str, bytes]) -> int:
    """The status of a GET with headers and a query as hostile as they come."""
    told: list[dict] = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        told.append(message)

    await app({
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": "/v2/charges/x",
        "raw_path": b"/v2/charges/x", "query_string": query.encode(), "root_path": "", "server": ("127.0.0.1", 80), "client": ("192.0.2.7", 1),
        "headers": [(name.encode(), value) for name, value in headers.items()],
    }, receive, send)
    return told[0]["status"]


def sign(text: bytes, algorithm: str = V2, key: Any = KEY) -> str:
    """A signature of a canonical request, or of a button's payload."""
    string = f"{algorithm}\n{hashlib.sha256(text).hexdigest()}".encode()
    return base64.b64encode(key.sign(string, PSS(MGF1(SHA256()), SALTS[algorithm]), SHA256())).decode()


def usd(amount: str, currency: str = "USD") -> dict[str, str]:
    return {"amount": amount, "currencyCode": currency}


class Shop:
    """A merchant: its requests to the API, and its buttons."""

    def __init__(self, app: Any, wall: Any, key_id: str = "SANDBOX-KEY", prefix: str = "/v2") -> None:
        self.app, self.wall, self.key_id, self.prefix, self.key = app, wall, key_id, prefix, KEY

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = "", code: str = "", algorithm: str = V2, **headers: str,
    ) -> Said:
        """A signed request.  ``key``: "" draws a new one, ``None`` sends none; ``headers`` replace, "" leaves out."""
        text = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        now = datetime.fromtimestamp(self.wall(), UTC)
        signed = {
            "accept": "application/json", "content-type": "application/json", "x-amz-pay-date": f"{now:%Y%m%dT%H%M%SZ}",
            "x-amz-pay-host": "amazon.example", "x-amz-pay-region": "na"}
        if key is not None and method == "POST":
            signed["x-amz-pay-idempotency-key"] = key or next(_keys)
        signed |= {name.replace("_", "-"): value for name, value in headers.items()}
        signed = {name: value for name, value in signed.items() if value}
        names = sorted(signed)
        where, _, query = path.partition("?")
        lines = [method, self.prefix + where, query, *(f"{name}:{' '.join(signed[name].split())}" for name in names), "", ";".join(names),
                 hashlib.sha256(text).hexdigest()]
        signature = sign("\n".join(lines).encode(), algorithm, self.key)
        extra = {"x-amz-pay-simulation-code": code} if code else {}
        return await ask(self.app, method, self.prefix + path, text, signed | extra | {
            "authorization": f"{algorithm} PublicKeyId={self.key_id}, SignedHeaders={';'.join(names)}, Signature={signature}"})

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    def payload(self, amount: str = "10.00", intent: str = "AuthorizeWithCapture", **fields: Any) -> dict[str, Any]:
        """What a ProcessOrder button carries."""
        return {
            "webCheckoutDetails": {
                "checkoutResultReturnUrl": "https://shop.example/back?order=7#end", "checkoutCancelUrl": "https://shop.example/cancel",
                "checkoutMode": "ProcessOrder"},
            "storeId": STORE, "scopes": ["name", "email"], "chargePermissionType": "OneTime",
            "paymentDetails": {"paymentIntent": intent, "chargeAmount": usd(amount), "canHandlePendingAuthorization": False},
            "merchantMetadata": {"merchantReferenceId": "order-7", "merchantStoreName": "Shop & Söhne"}, **fields}

    def recurring(self, amount: str = "90.00", intent: str = "Confirm") -> dict[str, Any]:
        return self.payload(
            amount, intent, chargePermissionType="Recurring",
            recurringMetadata={"frequency": {"unit": "Month", "value": "1"}, "amount": usd(amount)})

    def button(self, payload: Any, algorithm: str = V2, **fields: str) -> dict[str, str]:
        """The fields that a button posts."""
        text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        return {"payloadJSON": text, "signature": sign(text.encode(), algorithm, self.key), "algorithm": algorithm, "publicKeyId": self.key_id,
                "merchantId": "SHOP", **fields}


class Browser:
    """A buyer's browser."""

    def __init__(self, app: Any, email: str = "sara@buyer.example", password: str = "sara-pays") -> None:
        self.app, self.cookie, self.email, self.password = app, "", email, password
        self.path, self.said = "", Said(0, {}, b"")

    async def ask(self, method: str, path: str, fields: Mapping[str, str] | None = None) -> Said:
        headers = {"cookie": self.cookie} if self.cookie else {}
        if fields is not None:
            headers["content-type"] = "application/x-www-form-urlencoded"
        self.path, self.said = path, await ask(self.app, method, path, urlencode(fields).encode() if fields is not None else b"", headers)
        if given := self.said.headers.get("set-cookie"):
            self.cookie = given.partition(";")[0]
        if self.said.status == 303:
            return await self.ask("GET", self.said.headers["location"])
        return self.said

    def hidden(self) -> dict[str, str]:
        """The hidden fields of the page's first form."""
        form = self.said.text.partition("<form")[2].partition("</form>")[0]
        return {name: html.unescape(value) for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)}

    @property
    def page(self) -> str:
        found = re.search(r'data-page="(\w+)"', self.said.text)
        return found[1] if found else ""

    @property
    def leaves_for(self) -> str:
        found = re.search(r'id="leave" rel="noreferrer" href="([^"]*)"', self.said.text)
        return html.unescape(found[1]) if found else ""

    async def sign_in(self, password: str = "") -> None:
        await self.ask("POST", "/amazon/sign-in", self.hidden() | {"email": self.email, "password": password or self.password})

    async def click(self, action: str, **fields: str) -> None:
        await self.ask("POST", self.path, self.hidden() | {"action": action, **fields})

    async def approve(self, button: Mapping[str, str], card: str = "1111", action: str = "approve") -> str:
        """From the button to the way back; the session's identifier."""
        await self.ask("POST", "/amazon/checkout", button)
        session = self.path.rpartition("/")[2]
        if self.page == "sign_in":
            await self.sign_in()
        await self.click(action, card=card)
        return session


class Running(NamedTuple):
    """A site in miniature, and what stands around it."""

    site: Site
    app: Any
    shop: Shop
    time: Time
    posts: list[tuple[str, dict[str, str], bytes]]
    answers: list[int]

    def browser(self, *who: str) -> Browser:
        return Browser(self.app, *who)

    async def bought(self, payload: Any, card: str = "1111", **headers: str) -> Said:
        """A buyer approves, and the shop completes."""
        session = await self.browser().approve(self.shop.button(payload), card)
        amount = payload["paymentDetails"].get("chargeAmount") or payload["recurringMetadata"]["amount"]
        return await self.shop.ask("POST", f"/checkoutSessions/{session}/complete", {"chargeAmount": amount}, key=None, **headers)

    def told(self) -> list[tuple[str, str, str]]:
        """Type, identifier and kind of what was notified."""
        messages = [json.loads(json.loads(body)["Message"]) for _, _, body in self.posts]
        return [(one["ObjectType"], one["ObjectId"], one["NotificationType"]) for one in messages]


class Time:
    """Business time that stands until it is moved; wall time apart."""

    def __init__(self) -> None:
        self.at, self.wall_at = BEGAN, BEGAN.timestamp() + 1000.0

    def now(self) -> datetime:
        return self.at

    def wall(self) -> float:
        return self.wall_at

    def pass_(self, **length: float) -> None:
        self.at += timedelta(**length)


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Running]:
    """A site over a folder, with a shop that it knows."""
    time, posts, answers = Time(), [], []

    async def post(url: str, headers: Mapping[str, str], body: bytes, seconds: float) -> int:
        posts.append((url, dict(headers), body))
        status = answers.pop(0) if answers else 200
        if not status:
            raise TimeoutError
        return status

    one = site(folder, time.now, base_url=BASE, admin_token=TOKEN, post=post, wall=time.wall, **options)
    await one.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE, notify_urls=[HOOK])
    app = Starlette(routes=one.routes)
    try:
        yield Running(one, app, Shop(app, time.wall), time, posts, answers)
    finally:
        one.close()
