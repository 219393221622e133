"""A small shop: its pages post forms to the payment page, and its return address keeps what a browser brings.

``GET /go?…`` is a page whose form is posted by its own script at once (or by its button), ``GET /frame?…`` the same inside an iframe, and
whatever comes to another path is kept and answered with a page.
"""
from __future__ import annotations

import html
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ringfence.api.aps import signature


class Visit(NamedTuple):
    """A browser that came: how, the address with its query as it was asked for, and the fields of its form."""

    method: str
    path: str
    fields: dict[str, str]

    @property
    def query(self) -> dict[str, str]:
        """The fields of the address's query."""
        return dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))


class Shop:
    """The shop of one merchant, on a port of its own."""

    def __init__(self, service: str, merchant: Mapping[str, str]) -> None:
        self.service, self.merchant = service, merchant
        self.visits: list[Visit] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                fields = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
                if path == "/go":
                    self._say(_form(f"{shop.service}/FortAPI/paymentPage", fields))
                elif path == "/frame":
                    self._say(f'<h1>Checkout</h1><iframe name="card" title="Card" width="400" height="760" src="/go?{html.escape(urlencode(fields))}"></iframe>')
                elif path == "/favicon.ico":
                    self._say("")
                else:
                    self._visited("GET", {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode("ascii")
                self._visited("POST", dict(parse_qsl(body, keep_blank_values=True)))

            def _visited(self, method: str, fields: dict[str, str]) -> None:
                visit = Visit(method, self.path, fields)
                shop.visits.append(visit)
                said = fields or visit.query
                self._say(f'<h1>Shop</h1><p id="answered">{html.escape(said.get("response_code", ""))}</p>')

            def _say(self, text: str) -> None:
                body = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Shop</title></head><body>{text}</body></html>'.encode()
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def signed(self, unsigned: Mapping[str, str] | None = None, /, **fields: str) -> dict[str, str]:
        """A form of this shop; ``unsigned`` is added behind the signature."""
        params = {
            "merchant_identifier": self.merchant["merchant_identifier"], "access_code": self.merchant["access_code"], "language": "en",
            "return_url": f"{self.url}/return", **fields,
        }
        params["signature"] = signature.sign(params, self.merchant["sha_request_phrase"], self.merchant["sha_type"])
        return params | dict(unsigned or {})

    def purchase(self, reference: str, **fields: str) -> dict[str, str]:
        """The form of a purchase."""
        return self.signed(**{
            "command": "PURCHASE", "merchant_reference": reference, "amount": "12345", "currency": "AED", "customer_email": "sara@shop.example",
            "order_description": "2 kg of dates", **fields})

    def go(self, fields: Mapping[str, str], page: str = "go") -> str:
        """The address of the shop's page that sends a browser off with a form."""
        return f"{self.url}/{page}?{urlencode(fields, quote_via=quote)}"

    def answer(self) -> dict[str, str]:
        """The last answer a browser brought, whose signature is right; the answer without it."""
        visit = self.visits[-1]
        said = visit.fields or {name: value for name, value in visit.query.items() if name not in ("order", "wc-api")}
        given = said.pop("signature", "")
        assert given == signature.sign(said, self.merchant["sha_response_phrase"], self.merchant["sha_type"]), said
        return said


def _form(action: str, fields: Mapping[str, str]) -> str:
    inputs = "".join(f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">' for name, value in fields.items())
    return f'<form id="f" method="post" action="{html.escape(action)}">{inputs}<button>Pay</button></form><script>f.submit()</script>'
