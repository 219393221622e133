"""A store's gate: somebody holds a card to its reader, and it opens or stays shut.

A trip's row is there before anybody is asked for its hold, so that a crash leaves a trip that never began and a hold that ends like any other.
Opens only where the issuer approves at least what the store wants; refuses to know readers, debts and what retailers say: those are handed in.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple, Protocol

import asyncpg

from ringfence.core.card import Pan, brand_of, expiry_passed, plausible_expiry
from ringfence.core.commands import Command, Kind
from ringfence.core.emv import CardRead, Presented
from ringfence.core.expiry import HOUR, hold_seconds
from ringfence.core.outcomes import Approved, Declined, Unknown
from ringfence.core.trip import Recommendation, Risk, alarm_at
from ringfence.engine.directory import Merchant
from ringfence.engine.engine import Engine
from ringfence.engine.intents import CardInHand, Intent
from ringfence.engine.seeding import CARDS, EXPIRY, WAITING
from ringfence.engine.trip_reading import card_read, fingerprint, read_of
from ringfence.engine.trips import DOOR, STORE, Trip, Trips
from ringfence.engine.vault import StoredCard, Vault
from ringfence.storage import trips as rows
from ringfence.storage.trips import StoreRow, TripRow

TERMINAL = "GATE0001"
"""A reader that nobody named."""
DECLINED_BY_CARD = "00"
"""Tag 9F27 of a chip that declines by itself."""


class Why(StrEnum):
    """Why a gate stays shut, as a trip's row keeps it."""

    ENTERING = "entering"           # nobody has heard from the issuer yet
    WAITING = WAITING               # it begins anew when somebody asks for it
    INVALID_CARD = "invalid_card"
    BY_CARD = "declined_by_card"
    NOT_WANTED = "not_wanted"       # a risk, or the retailer's own decision
    DEBT = "debt"
    DECLINED = "declined"
    TOO_LITTLE = "too_little"       # approved for less than the store wants, and given back
    UNKNOWN = "unknown"             # nobody knows what the issuer said
    NAME_TAKEN = "name_taken"       # no row of its own
    NO_STORE = "no_store"           # likewise


class Shut(NamedTuple):
    """The gate did not open.  ``code``: DE 39 where an issuer or a card said no."""

    why: Why
    code: str = ""


class Coming(NamedTuple):
    """Somebody comes to a gate.

    ``pan`` is ``None`` for an entry with an app, which no card of ours stands behind.  ``hold``: another amount than the store's, minor units;
    0: nothing is held before an adjust.  ``condition``: a risk decision to let in on this hold instead.
    """

    merchant: Merchant
    store: str
    name: str
    pan: Pan | None
    expiry: str = ""                        # YYMM
    presented: Presented | None = None
    terminal: str = ""
    shopper: str = ""
    company: str = ""
    people: int = 1
    hold: int | None = None
    condition: int | None = None
    never_expires: bool = False
    actor: str = "operator"


class Question(NamedTuple):
    """What a retailer is asked at the gate: who comes, what would be held, and what we recommend."""

    merchant: Merchant
    store: StoreRow
    name: str
    shopper: str
    currency: str
    minor: int
    recommended: Recommendation
    at: datetime                            # business time


class Reads(Protocol):
    """The readers of the gates."""

    async def read(self, pan: Pan, expiry: str, presented: Presented | None, minor: int, terminal: str) -> CardRead:
        """What a reader records of a card."""


Owed = Callable[[int, bytes], Awaitable[Mapping[str, int]]]
"""What a merchant's card owes: minor units by currency."""
Asks = Callable[[Question], Awaitable[Recommendation | None]]
"""The retailer's own decision; ``None`` where it says nothing, or is not to be asked."""


async def owes_nothing(merchant_id: int, card_fingerprint: bytes) -> Mapping[str, int]:
    """Where nobody keeps debts."""
    return {}


async def says_nothing(question: Question) -> Recommendation | None:
    """Where no retailer is asked."""
    return None


class Gates:
    """The gates of all stores, as one process opens them."""

    def __init__(
        self, pool: asyncpg.Pool, engine: Engine, vault: Vault, trips: Trips, reader: Reads, *, processor: str, content_key: bytes,
        now: Callable[[], datetime], owed: Owed = owes_nothing, asks: Asks = says_nothing,
    ) -> None:
        """``processor``: that of cards.  ``now``: business time."""
        self._pool, self._engine, self._vault, self._trips, self._reader = pool, engine, vault, trips, reader
        self._processor, self._content_key, self._now = processor, content_key, now
        self.owed, self.asks = owed, asks

    async def open(self, coming: Coming) -> Trip | TripRow | Shut:
        """Let somebody in, or not.  The row alone comes back for an entry that no card of ours stands behind."""
        merchant, now = coming.merchant, self._now()
        store = await rows.store(self._pool, merchant.merchant_id, coming.store)
        if store is None:
            return Shut(Why.NO_STORE)
        hold = store.hold if coming.hold is None else coming.hold
        hours = timedelta(hours=merchant.settings.trip_hours)
        row = TripRow(
            merchant.merchant_id, store.store, coming.name, self._engine.new_id(), 0, 0, 0, coming.shopper, coming.company, coming.people,
            card_read(CardRead()), store.currency, 0 if coming.pan is None else hold, now, now + hours, coming.never_expires, actor=coming.actor)
        if coming.pan is None:
            return row if await rows.make(self._pool, row) else Shut(Why.NAME_TAKEN)
        card = await self._vault.keep(merchant.merchant_id, coming.pan)
        terminal = coming.terminal or next(iter(store.terminals), TERMINAL)
        read = await self._reader.read(coming.pan, coming.expiry, coming.presented, hold, terminal)
        shopper = coming.shopper or f"shopper-{card.card_id}"
        row = row._replace(card_id=card.card_id, card_read=card_read(read), shopper=shopper)
        shut, hold = await self._decided(coming, store, row, hold)
        begins = row._replace(hold=hold, refused=shut.why if shut else Why.ENTERING if hold else "")
        if shut is None and hold:
            begins = begins._replace(payment_id=self._engine.new_id(), holds=1)
        if not hold and shut is None:
            begins = begins._replace(alarm_at=_first_alarm(begins))
        if not await rows.make(self._pool, begins):
            return Shut(Why.NAME_TAKEN)
        if shut is not None:
            return shut
        in_hand = CardInHand(coming.pan, coming.expiry, stored=card)
        return await self._entered(merchant, begins, in_hand, read, store.least if hold >= store.hold else 1)

    async def reopen(self, merchant: Merchant, row: TripRow) -> TripRow:
        """Have a trip begin anew with a payment of its own: what is still held of the one before is given back first."""
        if row.name in CARDS:
            pan: Pan | None = Pan(CARDS[row.name])
            card: StoredCard | None = await self._vault.keep(row.merchant_id, Pan(CARDS[row.name]))
        else:
            card = await self._vault.card(row.merchant_id, row.card_id)
            pan = card and self._vault.reveal(card)
        if card is None or pan is None:
            return row
        row = row._replace(card_id=card.card_id)
        before = await self._trips.begun(row._replace(refused=""))
        if before is not None and before.standing:
            await self._trips.cancel(before, "reset")
        now, old = self._now(), read_of(row)
        expiry = old.expiry or EXPIRY
        read = await self._reader.read(pan, expiry, None, row.hold, old.terminal_id or TERMINAL)
        hours = timedelta(hours=merchant.settings.trip_hours)
        renewed = row._replace(
            payment_id=self._engine.new_id() if row.hold else 0, card_read=card_read(read), started_at=now, expires_at=now + hours,
            refused=Why.ENTERING if row.hold else "", level=None, level_behind=0, cancelled_at=None, ended_at=None, alarms=0, alarm_at=None)
        if await rows.renew(self._pool, renewed) and row.hold:
            await self._entered(merchant, renewed._replace(holds=row.holds + 1), CardInHand(pan, expiry, stored=card), read, 1)
        return await self._arrived(renewed)

    async def _arrived(self, row: TripRow) -> TripRow:
        """The row once whoever lets its trip begin has heard from the issuer."""
        until = asyncio.get_running_loop().time() + 5.0
        while True:
            found = await rows.trip(self._pool, row.merchant_id, row.store, row.name)
            assert found is not None, "a trip is not removed"
            if found.refused != Why.ENTERING or asyncio.get_running_loop().time() >= until:
                return found
            await asyncio.sleep(0.05)

    async def _decided(self, coming: Coming, store: StoreRow, row: TripRow, hold: int) -> tuple[Shut | None, int]:
        """Whether to ask the issuer at all, and for how much."""
        read = read_of(row)
        if read.cryptogram_information == DECLINED_BY_CARD:
            return Shut(Why.BY_CARD, read.response_code), hold
        invalid = coming.expiry != "" and (not plausible_expiry(coming.expiry, self._now()) or expiry_passed(coming.expiry, self._now()))
        strategy = coming.merchant.settings.trip_risk
        if strategy == "none":
            return (Shut(Why.INVALID_CARD) if invalid else None), hold
        debts = await self.owed(row.merchant_id, fingerprint(row.card_id))
        risks = (*((Risk.INVALID_CARD,) if invalid else ()), *((Risk.BAD_DEBT,) if any(debts.values()) else ()))
        said = Recommendation(not risks, coming.condition, risks)
        if strategy in ("recommendation", "retailer"):
            recommended = said if strategy == "recommendation" else Recommendation()
            said = await self.asks(Question(
                coming.merchant, store, coming.name, row.shopper, store.currency, hold, recommended, row.started_at)) or said
        if not said.is_authorized:
            why = Why.INVALID_CARD if Risk.INVALID_CARD in said.risks else Why.DEBT if Risk.BAD_DEBT in said.risks else Why.NOT_WANTED
            return Shut(why), hold
        return None, hold if said.hold is None else said.hold

    async def _entered(self, merchant: Merchant, row: TripRow, card: CardInHand, read: CardRead, least: int) -> Trip | Shut:
        """Ask for the hold, and say in the row what came of it."""
        if not row.hold:
            return await self._begun(row)
        assert card.stored is not None, "the vault has it"
        seconds = 0 if row.never_expires else hold_seconds(
            merchant_days=None, door_seconds=merchant.settings.trip_hours * HOUR, brand=brand_of(card.stored.bin), channel=STORE, estimated=True)
        await rows.pay(self._pool, row.merchant_id, row.payment_id, row.number)
        command = Command(
            Kind.AUTHORIZATION, row.hold, row.currency, row.payment_id, accepts_partial=True, hold_seconds=seconds)
        content = blake2b(f"gate {row.hold} {row.currency} {row.card_id}".encode(), key=self._content_key, digest_size=16).digest()
        result = await self._engine.execute(Intent(
            row.merchant_id, merchant.identifier, row.payment_id, command, DOOR, row.actor, "gate", content, row.name,
            f"{DOOR}:{row.number}:{row.holds - 1}", processor=self._processor, card=card, channel=STORE,
            magic=merchant.settings.magic_amounts))
        match result.outcome:
            case Approved(minor=minor, response_code=code) if minor >= min(least, row.hold):
                settled = row._replace(refused="", card_read=card_read(replace(read, response_code=code)))
                settled = settled._replace(alarm_at=_first_alarm(settled))
                await rows.settle(self._pool, settled)
                return await self._begun(settled)
            case Approved(response_code=code):
                await rows.settle(self._pool, row._replace(refused=Why.TOO_LITTLE))
                if (trip := await self._trips.begun(row._replace(refused=""))) is not None:
                    await self._trips.cancel(trip, row.actor)
                return Shut(Why.TOO_LITTLE, code)
            case Declined(response_code=code):
                refused = row._replace(refused=Why.DECLINED, card_read=card_read(replace(read, response_code=code)))
                await rows.settle(self._pool, refused)
                return Shut(Why.DECLINED, code)
            case outcome:
                await rows.settle(self._pool, row._replace(refused=Why.UNKNOWN))
                return Shut(Why.UNKNOWN, "" if type(outcome) is not Unknown else str(outcome.why))

    async def _begun(self, row: TripRow) -> Trip:
        trip = await self._trips.begun(row)
        assert trip is not None, "it has just begun"
        return trip


def _first_alarm(row: TripRow) -> datetime | None:
    return None if row.never_expires else alarm_at(row.started_at, row.expires_at, 0)
