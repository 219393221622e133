"""A merchant's account at Amazon Pay: who it is there, which key signs for it, and where it is asked.

Values only, as they come from configuration.  Live and sandbox are told apart here once, so that nothing can be asked in the one with the
key of the other.
"""
from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from ringfence.processors.amazon_pay.connections import Origin, origin_of
from ringfence.processors.amazon_pay.signing import Signer


class Region(StrEnum):
    """Where a merchant's account is; the value is what ``x-amz-pay-region`` carries."""

    NA = "na"
    EU = "eu"
    JP = "jp"


class Environment(StrEnum):
    """Whose money."""

    LIVE = "live"
    SANDBOX = "sandbox"


HOSTS = {Region.NA: "pay-api.amazon.com", Region.EU: "pay-api.amazon.eu", Region.JP: "pay-api.amazon.jp"}
LEDGER_CURRENCIES = {Region.NA: ("USD",), Region.EU: ("EUR", "GBP"), Region.JP: ("JPY",)}
CURRENCIES = frozenset(currency for allowed in LEDGER_CURRENCIES.values() for currency in allowed)
SCRIPTS = {
    Region.NA: "https://static-na.payments-amazon.com/checkout.js",
    Region.EU: "https://static-eu.payments-amazon.com/checkout.js",
    Region.JP: "https://static-fe.payments-amazon.com/checkout.js",
}
"""Amazon's script for the browser, by region."""


class Account(NamedTuple):
    """One merchant's account.  ``base_url`` replaces Amazon's own host where it is not empty (the simulated site)."""

    merchant_id: str                # Amazon's name for the merchant
    store_id: str
    region: Region
    environment: Environment
    signer: Signer
    base_url: str = ""

    @property
    def origin(self) -> Origin:
        """Where its API is asked."""
        return origin_of(self.base_url or f"https://{HOSTS[self.region]}")[0]

    def path(self, path: str) -> str:
        """The whole path of a resource, as it is sent and signed."""
        version = "/v2" if self.signer.public_key_id.startswith(("LIVE", "SANDBOX")) else f"/{self.environment}/v2"
        return (origin_of(self.base_url)[1] if self.base_url else "") + version + path


class AccountWrong(NamedTuple):
    """Why an account cannot be used; ``problem`` goes on behind the field's name."""

    field: str
    problem: str


Accounts = Callable[[str], Account | None]
"""A merchant's account by the merchant's identifier; ``None``: it has none."""


def problem_of(account: Account) -> AccountWrong | None:
    """What would have the wrong side asked, or nobody: found before anything is."""
    name = account.signer.public_key_id
    for prefix, environment in (("SANDBOX", Environment.SANDBOX), ("LIVE", Environment.LIVE)):
        if name.startswith(prefix) and account.environment is not environment:
            return AccountWrong("public_key_id", f"is one of the {environment} environment, and {account.environment} is configured")
    if not account.store_id.startswith("amzn1.application-oa2-client."):
        return AccountWrong("store_id", "must begin with amzn1.application-oa2-client.")
    if not account.merchant_id:
        return AccountWrong("merchant_id", "is missing")
    if account.base_url:
        try:
            origin, _ = origin_of(account.base_url)
        except ValueError:
            return AccountWrong("base_url", "must be an http or https address without a query")
        if account.environment is Environment.LIVE and origin.scheme != "https":
            return AccountWrong("base_url", "must begin with https:// in the live environment")
    return None
