"""The flows of the official plugins on a running service, as a shop and a browser of their own see them.

Nothing here is shared with the service but HTTP: signatures are computed, pages read and feedback checked by what the plugins do themselves.
"""
from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.sandbox import Sandbox
from tests.service.receiving import Received, Receiver

ASKED, GOOD, POOR = "4557012345678902", "4005550000000001", "4000009900510002"
"""A card whose bank asks, a good one, and one without money."""
SUCCESS = {"18", "02", "14", "44", "20"}
"""Statuses with which the PHP SDK goes on."""


class Plugin(NamedTuple):
    """One of them.  ``url`` is its return address with keys of its own, which it ``drops`` before it checks a signature."""

    name: str
    url: str
    drops: frozenset[str]


WOO = Plugin("Woo", "https://shop.example/?wc-api=wc_gateway_aps_process_response", frozenset({"wc-api", "wc-ajax", "aps_fort", "APS_fort"}))
MAGENTO = Plugin("Magento", "https://shop.example/aps/payment/response?aps_fort=1&form_key=x", frozenset({"aps_fort", "form_key", "lang"}))
PHP = Plugin("PHP", "https://shop.example/callback.php?discriminator=" + "ab" * 32, frozenset({"discriminator"}))


class _Page(HTMLParser):
    """Forms and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.links: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = dict(attributes)
        if tag == "form":
            self.forms.append({"id": said.get("id", ""), "action": said.get("action", ""), "fields": {}})
        elif tag == "input" and said.get("type") == "hidden":
            self.forms[-1]["fields"][said["name"]] = said.get("value") or ""
        elif tag == "a" and said.get("id"):
            self.links[said["id"]] = said["href"]


class Browser:
    """A browser without a script: it presses buttons.  ``brought`` is what it carries to the shop, once it leaves."""

    def __init__(self, service: str) -> None:
        self.service, self.url, self.page, self.text = service, "", _Page(""), ""
        self.brought: tuple[str, str, dict[str, str]] | None = None

    def go(self, url: str, fields: Mapping[str, str] | None = None) -> Browser:
        if not url.startswith(self.service):
            self.brought = ("GET" if fields is None else "POST", url, dict(fields or {}))
            return self
        body = None if fields is None else urlencode(fields).encode("ascii")
        with urlopen(Request(url, body, {"content-type": "application/x-www-form-urlencoded"} if body is not None else {})) as answer:
            self.url, self.text = answer.url, answer.read().decode()
        self.page = _Page(self.text)
        return self

    def send(self, form: str, **typed: str) -> Browser:
        """Fill a form in and send it."""
        found = next(one for one in self.page.forms if one["id"] == form)
        return self.go(urljoin(self.url, found["action"]), found["fields"] | typed)

    def leave(self) -> Browser:
        """Press the buttons of pages that lead on, until the shop is there."""
        while self.brought is None:
            if "leave" in self.page.links:
                self.go(self.page.links["leave"])
            else:
                self.send("leave")
        return self

    def type(self, number: str) -> Browser:
        return self.send("card-form", card_number=number, expiry_month="12", expiry_year="39", security_code="123", card_holder="Sara Ali", remember="yes")


class Shop:
    """A merchant's server with one of the plugins on it."""

    def __init__(self, service: str, merchant: Mapping[str, str], plugin: Plugin, feedback: Iterator[Received]) -> None:
        self.service, self.merchant, self.plugin, self.feedback = service, merchant, plugin, feedback
        self.browser = Browser(service)

    def sign(self, phrase: str, params: Mapping[str, Any]) -> str:
        """ksort, implode, and the phrase at both ends; numbers as PHP writes them into a text."""
        texts = {name: f"{value:.14g}" if isinstance(value, float) else str(value) for name, value in params.items()}
        pairs = "".join(f"{name}={texts[name]}" for name in sorted(texts))
        return hashlib.sha256(f"{phrase}{pairs}{phrase}".encode()).hexdigest()

    def signed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        whole = {"merchant_identifier": self.merchant["merchant_identifier"], "access_code": self.merchant["access_code"], "language": "en", **params}
        return whole | {"signature": self.sign(self.merchant["sha_request_phrase"], whole)}

    def checked(self, answer: Mapping[str, str]) -> dict[str, str]:
        """An answer whose signature is right; without it."""
        rest = {name: value for name, value in answer.items() if name != "signature"}
        assert answer["signature"] == self.sign(self.merchant["sha_response_phrase"], rest), rest
        assert all(isinstance(value, str) and value for value in rest.values()) and rest["status"] == rest["response_code"][:2]
        return rest

    def ask(self, **params: Any) -> dict[str, str]:
        """Server to server."""
        body = json.dumps(self.signed(params)).encode()
        with urlopen(Request(f"{self.service}/FortAPI/paymentApi", body, {"content-type": "application/json", "charset": "UTF-8"})) as answer:
            return self.checked(json.load(answer))

    def form(self, unsigned: Mapping[str, str] | None = None, /, **params: str) -> Browser:
        """The plugin's form, which the payer's browser posts."""
        self.browser = Browser(self.service)
        return self.browser.go(f"{self.service}/FortAPI/paymentPage", self.signed({"return_url": self.plugin.url, **params}) | dict(unsigned or {}))

    def returned(self) -> dict[str, str]:
        """What the browser brought, read as the plugin does: query and form in one, its own keys taken out."""
        _, url, fields = self.browser.leave().brought
        assert url.startswith(self.plugin.url), url
        read = {name: value for name, value in (dict(parse_qsl(urlsplit(url).query)) | fields).items() if name not in self.plugin.drops}
        return self.checked(read)

    def approve(self, action: str = "approve") -> None:
        """The payer at the bank's page."""
        self.browser.send("challenge", action=action)

    def fed(self) -> dict[str, str]:
        """The next feedback, its signature checked."""
        return self.checked(json.loads(next(self.feedback).body))

    def order(self, reference: Any, **params: Any) -> dict[str, Any]:
        return {"merchant_reference": reference, "amount": "1999", "currency": "AED", "customer_email": "sara@shop.example",
                "customer_ip": "192.0.2.7", "app_programming": "PHP", "app_plugin": self.plugin.name, **params}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def feedback(sandbox: Sandbox) -> Iterator[Iterator[Received]]:
    """All feedback, one after the other, as it comes."""
    with Receiver() as running:
        done = sandbox.command("merchant", "set", "RingfenceOne", f"feedback_url={running.url}", f"notification_url={running.url}")
        assert done.returncode == 0, done.stderr
        yield (running.wait_for(number)[-1] for number in itertools.count(1))


@pytest.fixture(params=[WOO, MAGENTO, PHP], ids=lambda plugin: plugin.name)
def here(request: pytest.FixtureRequest, sandbox: Sandbox, feedback: Iterator[Received]) -> Shop:
    return Shop(f"http://127.0.0.1:{sandbox.port}", sandbox.merchant(), request.param, feedback)


@pytest.fixture(params=["POST", "GET"])
def method(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    assert sandbox.command("merchant", "set", "RingfenceOne", f"return_method={request.param}").returncode == 0
    return request.param


@pytest.fixture
def number(here: Shop, method: str) -> str:
    return f"{here.plugin.name}-{method}"


def test_redirection(here: Shop, method: str, number: str):
    """A decline, another card, the bank's page, the shop; each attempt is told at once, the refund as a notification."""
    order = f"R-{number}"
    here.form(**here.order(order), command="PURCHASE")
    here.browser.type(POOR)
    assert here.browser.brought is None
    assert here.fed()["response_code"] == "13029"
    here.browser.type(ASKED)
    here.approve()
    brought = here.returned()
    assert here.browser.brought[0] == method
    assert (brought["response_code"], brought["command"], brought["card_number"], brought["return_url"]) == (
        "14000", "PURCHASE", "455701******8902", here.plugin.url)
    assert here.fed() == brought, "direct feedback says what the browser brought"
    status = here.ask(query_command="CHECK_STATUS", merchant_reference=order)
    assert (status["response_code"], status["transaction_code"], status["fort_id"]) == ("12000", "14000", brought["fort_id"])
    refunded = here.ask(command="REFUND", merchant_reference=order, amount="999", currency="AED", fort_id=brought["fort_id"])
    assert refunded["response_code"] == "06000" and here.fed() == refunded


def test_redirection_given_up(here: Shop, method: str, number: str):
    """00072, which Woo takes for a definite end."""
    here.form(**here.order(f"C-{number}"), command="AUTHORIZATION")
    here.browser.send("")
    assert here.returned()["response_code"] == "00072"


@pytest.mark.parametrize("play", ["standard", "custom"])
def test_merchant_page(here: Shop, method: str, number: str, play: str):
    """A token into the shop's frame or page, the payment from server to server with the same number and without the code, the bank, the
    shop; the PHP SDK names no address for the way back from the bank."""
    order = f"{play[:1].upper()}-{number}"
    card = {"card_number": ASKED, "expiry_date": "3912", "card_security_code": "123", "card_holder_name": "Sara Ali", "remember_me": "YES"}
    here.form(card if play == "custom" else None, service_command="TOKENIZATION", merchant_reference=order)
    if play == "standard":
        here.browser.type(ASKED)
    token = here.returned()
    assert token["response_code"] == "18000" and token["merchant_reference"] == order and here.browser.brought[0] == method
    back = {} if here.plugin is PHP else {"return_url": here.plugin.url}
    asked = here.ask(**here.order(order), command="AUTHORIZATION", token_name=token["token_name"], remember_me="YES", **back)
    assert asked["response_code"] == "20064" and asked["status"] in SUCCESS and asked["3ds_url"].startswith(here.service)
    assert here.ask(command="CAPTURE", merchant_reference=order, amount="1999", currency="AED")["response_code"] == "05662"
    here.browser = Browser(here.service).go(asked["3ds_url"])
    here.approve()
    brought = here.returned()
    assert (brought["response_code"], brought["fort_id"], brought["token_name"]) == ("02000", asked["fort_id"], token["token_name"])
    assert here.browser.brought[0] == method and here.fed() == brought
    captured = here.ask(command="CAPTURE", merchant_reference=order, amount="1999", currency="AED")
    assert captured["response_code"] == "04000" and here.fed() == captured
    again = here.ask(**here.order(f"{order}-again"), command="PURCHASE", token_name=token["token_name"], eci="RECURRING")
    assert again["response_code"] == "14000" and here.fed() == again


def test_merchant_page_rejected(here: Shop, method: str, number: str):
    """10030 in the browser, by feedback and by CHECK_STATUS."""
    order = f"N-{number}"
    card = {"card_number": ASKED, "expiry_date": "3912", "card_security_code": "123"}
    here.form(card, service_command="TOKENIZATION", merchant_reference=order)
    token = here.returned()
    asked = here.ask(**here.order(order), command="PURCHASE", token_name=token["token_name"], return_url=here.plugin.url)
    here.browser = Browser(here.service).go(asked["3ds_url"])
    here.approve("reject")
    brought = here.returned()
    assert brought["response_code"] == "10030" and here.fed() == brought
    assert here.ask(query_command="CHECK_STATUS", merchant_reference=order)["transaction_code"] == "10030"


def test_a_button_with_a_name_is_told_at_the_return_address(here: Shop, method: str, number: str):
    """00027, signed."""
    here.form({"submit": "Pay"}, service_command="TOKENIZATION", merchant_reference=f"B-{number}")
    brought = here.returned()
    assert (brought["response_code"], brought["response_message"]) == ("00027", "Invalid extra parameters: submit")


@pytest.mark.parametrize("method", ["POST"], indirect=True)
def test_numbers_as_php_writes_them(here: Shop, number: str):
    """A number as reference, and the float that round(19.99, 2) * 100 makes, signed as its text; a response_format is no parameter here."""
    reference = 100_000_000 + sum(map(ord, number)) * 1_000
    token = here.ask(service_command="CREATE_TOKEN", merchant_reference=f"T-{number}", card_number=GOOD, expiry_date="3912", return_url=here.plugin.url)
    assert token["response_code"] == "52062"
    paid = here.ask(**here.order(reference, amount=1998.9999999999998), command="PURCHASE", token_name=token["token_name"], card_security_code="123")
    assert (paid["response_code"], paid["amount"], paid["merchant_reference"]) == ("14000", "1999", str(reference))
    assert here.fed() == paid
    odd = here.ask(query_command="CHECK_STATUS", merchant_reference=reference, response_format="JSON")
    assert (odd["response_code"], odd["response_message"]) == ("00027", "Invalid extra parameters: response_format")
