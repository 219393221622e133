"""The sandbox's first merchants, and the store with the trips that each of them has.

Decides their names and credentials.  Those of the first are the same everywhere, so that a signed example in a manual works as it
is printed; those of the others follow from the sandbox's seed.  Public test values all: live mode refuses to start with them.
"""
from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.core.trip import HOURS
from ringfence.engine.directory import Directory, Merchant, NewCredential, Rejected
from ringfence.storage import trips
from ringfence.storage.merchants import CredentialRow, MerchantRow
from ringfence.storage.trips import StoreRow, TripRow

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


class Seeded(NamedTuple):
    """One merchant to make: its wire names and phrases at each door."""

    identifier: str
    name: str
    access_code: str
    request_phrase: str
    response_phrase: str
    algorithm: str
    merchant_id: str
    api_key: str
    webhook_secret: str
    access_key_id: str
    secret_access_key: str
    connector_secret: str

    @property
    def credentials(self) -> tuple[NewCredential, ...]:
        """One for each door."""
        return (
            NewCredential("aps", self.access_code, self.request_phrase, self.response_phrase, self.algorithm),
            NewCredential("ppro", self.merchant_id, self.api_key, self.webhook_secret),
            NewCredential("jwo", self.access_key_id, self.secret_access_key, self.connector_secret))


FIRST = Seeded(
    "RingfenceOne", "Dates & Coffee", "RingfenceSandboxOne1", "TESTSHAIN-one", "TESTSHAOUT-one", "SHA-256",
    "merch_RingfenceOneSandbox01", "key_sandbox_RingfenceOne", "whsec_RingfenceOne",
    "AKIARINGFENCESANDBOX", "sandbox-secret-access-key-RingfenceOne", "sandbox-connector-secret-RingfenceOne")
"""The merchant of every printed example."""

_OTHERS = (
    ("RingfenceTwo", "Harbour Books", "SHA-256"),
    ("RingfenceThree", "Oasis Cinema", "SHA-512"),
    ("RingfenceFour", "Northern Tools", "HMAC-256"),
)


def sandbox_merchants(seed: int) -> list[Seeded]:
    """The merchants of a sandbox with this seed."""
    return [FIRST] + [
        Seeded(identifier, name, _derived(seed, identifier, "access code", 20), _derived(seed, identifier, "request", 24),
               _derived(seed, identifier, "response", 24), algorithm, f"merch_{_derived(seed, identifier, 'merchant id', 21)}",
               f"key_sandbox_{_derived(seed, identifier, 'api key', 24)}", f"whsec_{_derived(seed, identifier, 'webhook secret', 24)}",
               f"AKIA{_derived(seed, identifier, 'access key id', 16).upper()}", _derived(seed, identifier, "secret access key", 40),
               _derived(seed, identifier, "connector secret", 40))
        for identifier, name, algorithm in _OTHERS
    ]


async def seed_sandbox(directory: Directory, seed: int) -> list[Merchant]:
    """Make those merchants that are missing, and what is missing of them: a data folder may be older than a door.  Whatever exists stays as
    it is.  All merchants of the directory come back."""
    for one in sandbox_merchants(seed):
        known = directory.merchant(one.identifier)
        if known is None:
            made = await directory.create(one.identifier, one.name, one.credentials)
            assert not isinstance(made, Rejected), made
            continue
        doors = {credential.door for credential in known.credentials}
        for credential in one.credentials:
            if credential.door not in doors:
                await directory.add_credential(one.identifier, credential)
    return directory.merchants()


class SeededTrip(NamedTuple):
    """A trip that never expires, and begins anew at every start: its name, its card, and what the gate holds (minor units)."""

    name: str
    card: str
    hold: int


STORE = "VALID_STORE_ID"
TRIPS = (
    SeededTrip("valid-shopping-trip-uuid", "4000009900000004", 10_000),         # works
    SeededTrip("declined-payment-trip-uuid", "4000009900510002", 0),            # no hold, and an adjust is declined
    SeededTrip("pending-processing-trip-uuid", "4000009905130004", 2_000),      # an adjust that raises the hold stays pending
)
"""The trips of the published sample tests of Just Walk Out payments."""
CARDS = {trip.name: trip.card for trip in TRIPS}
EXPIRY = "3912"
WAITING = "waiting"
"""Stands in the row of a trip that begins anew when somebody asks for it: nothing is held before."""


async def seed_trips(pool: asyncpg.Pool, merchants: Iterable[Merchant], now: datetime) -> None:
    """Give the sandbox's own merchants what is missing of the store and its trips, and have all trips that never expire begin anew."""
    own = {FIRST.identifier, *(identifier for identifier, _, _ in _OTHERS)}
    for merchant in merchants:
        number = merchant.merchant_id
        if merchant.identifier in own:
            if await trips.store(pool, number, STORE) is None:
                await trips.put_store(pool, StoreRow(number, STORE, f"{merchant.name}, the store", "USD", 10_000, 500, (
                    "1 Sample Street", "Springfield"), "SANDBOX-STORE", ("GATE0001",)), now)
            for place, one in enumerate(TRIPS, 1):
                await trips.make(pool, TripRow(
                    number, STORE, one.name, place, 0, 0, 0, f"shopper-{place}", "", 1, b"{}", "USD", one.hold, now,
                    now + timedelta(hours=HOURS), True, WAITING, actor="sandbox"))
        await trips.wait(pool, number, 0, WAITING)


def sandbox_names(merchants: Iterable[MerchantRow], credentials: Iterable[CredentialRow]) -> list[str]:
    """The seeded identifiers and public access codes among these rows: live mode must not start beside them."""
    seeded = {FIRST.identifier, *(identifier for identifier, _, _ in _OTHERS)}
    return [row.identifier for row in merchants if row.identifier in seeded] + [
        row.public_name for row in credentials if row.public_name in (FIRST.access_code, FIRST.merchant_id, FIRST.access_key_id)]


def _derived(seed: int, identifier: str, what: str, length: int) -> str:
    digest = hmac.digest(str(seed).encode("ascii"), f"{identifier}:{what}".encode("ascii"), hashlib.sha512)
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:length])
