"""A small retailer behind a Just Walk Out store: takes carts, prices them, has them charged.  Standard library only, to be read and copied.

    python3 examples/retailer/retailer.py --prices examples/retailer/prices.json

Configured by environment variables; see the README beside this file.
"""
from __future__ import annotations

import argparse
import json
import os
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from charging import Refused, Service, check_out, pay
from pricing import Article, UnknownArticle, articles_of, priced
from signing import Keys, is_signed

Answer = tuple[int, dict[str, Any]]
MOST_BYTES = 1_000_000


class Shop:
    """Carts by their trips.  In memory: a real one keeps them where they outlive it, before it answers."""

    def __init__(
        self, articles: Mapping[str, Article], charge: Callable[[str, str, list[Any]], str], not_welcome: frozenset[str] = frozenset(),
        say: Callable[[str], None] = print,
    ) -> None:
        """``charge(store, trip, lines)`` has a priced cart paid, and says in a sentence what became of it."""
        self._articles, self._charge, self._not_welcome, self._say = articles, charge, not_welcome, say
        self._lock, self._orders = threading.Lock(), dict[tuple[str, str], str]()
        self.became: dict[str, str] = {}

    def purchases(self, asked: Mapping[str, Any]) -> Answer:
        """Create Purchases: a cart without prices.  The same trip again is the same purchase."""
        try:
            store, trip, items = asked["storeId"], asked["idempotentShoppingTripId"], asked["cartItems"]
            lines = priced(items, self._articles)
        except (KeyError, TypeError, ValueError, ArithmeticError):
            return 400, {"errorMsg": "BadRequestException"}
        except UnknownArticle as unknown:
            self._say(f"trip {trip}: {unknown} has no price")
            return 400, {"errorMsg": "BadRequestException"}
        with self._lock:
            is_new = (store, trip) not in self._orders
            order = self._orders.setdefault((store, trip), f"order-{len(self._orders) + 1}" if lines else "")
        if is_new:
            threading.Thread(target=self._charged, args=(store, trip, lines), daemon=True).start()
        return 201, {"purchaseId": order}

    def _charged(self, store: str, trip: str, lines: list[Any]) -> None:
        try:
            became = self._charge(store, trip, lines)
        except (Refused, OSError) as failed:
            became = f"not charged: {failed}"
        self.became[trip] = became
        self._say(f"trip {trip}: {became}")

    def authorization(self, asked: Mapping[str, Any]) -> Answer:
        """Shopper Authorization: as it was recommended, but for those who are not welcome."""
        try:
            shopper, advice = asked["shopperIdentity"]["id"], asked["shopperInteraction"]["recommendation"]
            welcome = advice["shopperAuthorized"] and shopper not in self._not_welcome
            return 200, {"shopperAuthorized": welcome, "authorizationConditions": advice["authorizationConditions"]}
        except (KeyError, TypeError):
            return 400, {"errorMsg": "BadRequestException"}


def handler(shop: Shop, secret_of: Callable[[str], str | None]) -> type[BaseHTTPRequestHandler]:
    """HTTP around a shop: two paths, and nobody without a signature."""
    paths = {"/v1/order/purchases": shop.purchases, "/v1/fraudandabuse/shopperauthorization": shop.authorization}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > MOST_BYTES:
                self.close_connection = True
                self._answer(413, {"message": "Request Too Long"})
                return
            body, headers = self.rfile.read(int(length)), {name.lower(): value for name, value in self.headers.items()}
            if self.path not in paths or not is_signed(secret_of, self.path, headers, body, datetime.now(UTC)):
                self._answer(403, {"message": "Forbidden"})
                return
            try:
                asked = json.loads(body)
            except (ValueError, RecursionError):
                asked = None
            self._answer(*(paths[self.path](asked) if isinstance(asked, dict) else (400, {"errorMsg": "BadRequestException"})))

        def _answer(self, status: int, said: dict[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Signatures and shoppers stay out of the log."""

    return Handler


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A small retailer behind a Just Walk Out store.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--prices", type=Path, default=Path(__file__).with_name("prices.json"))
    parser.add_argument("--currency", default="USD")
    parser.add_argument("--checkout", action="store_true", help="hand carts to the checkout service instead of charging them")
    parser.add_argument("--not-welcome", default="", metavar="IDS", help="shoppers who are kept out, by commas")
    given, env = parser.parse_args(), os.environ
    region = env.get("AWS_REGION", "us-east-1")
    keys = Keys(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], region, env.get("AWS_SESSION_TOKEN", ""))
    endpoint = env["CHECKOUT_API_ENDPOINT" if given.checkout else "PAYMENT_API_ENDPOINT"].rstrip("/")
    service = Service(endpoint, keys)
    charge = check_out if given.checkout else pay
    shop = Shop(
        articles_of(json.loads(given.prices.read_text("utf-8"))),
        lambda store, trip, lines: charge(service, store, trip, lines, given.currency),
        frozenset(filter(None, given.not_welcome.split(","))), partial(print, flush=True))
    known = {env.get("CONNECTOR_ACCESS_KEY_ID", keys.access_key_id): env["CONNECTOR_SECRET"]}
    server = ThreadingHTTPServer(("127.0.0.1", given.port), handler(shop, known.get))
    print(f"The retailer serves on http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
