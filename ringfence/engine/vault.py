"""The vault: card numbers sealed, found again by their fingerprints, and handed out by token.

Decides which record a number belongs to, and what a token stands for.  A number of one merchant has one record, whoever asks and
however often; a token may be switched off, its card stays for what refunds need.  Refuses to know security codes altogether:
none of its functions takes one.
"""
from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ringfence.core.card import Pan
from ringfence.engine.keys import Keyring
from ringfence.engine.sealing import Sealed, opener
from ringfence.engine.shared import Shared
from ringfence.engine.token_making import CardErased, Flow, Made, NameTaken, Presented, make
from ringfence.storage import cards as rows
from ringfence.storage import tokens as token_rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.cards import CardRow, NewCard, TokenRow
from ringfence.storage.reading import claim_service
from ringfence.storage.tokens import FlowRow

__all__ = ["AlreadyUsed", "CardErased", "Flow", "NameTaken", "NotFound", "StoredCard", "Token", "Tokenized", "Vault"]

CACHED_TOKENS = 10_000
CACHED_CIPHERS = 1_500
"""Of the cards opened last: about 3 kB each."""
TRIES = 10
"""How often a card is looked for and stored in turn; each further try means that another process was quicker, or that keys rotate."""


Also = Callable[[asyncpg.Connection], Awaitable[object]]
"""What is done in the same transaction."""


@dataclass(frozen=True, slots=True)
class StoredCard:
    """A card as the vault has it.  ``sealed`` is ``None`` where only first and last digits are kept."""

    merchant_id: int
    card_id: int
    brand: str
    bin: str
    last4: str
    sealed: Sealed | None
    first_reference: str            # scheme reference of the first approved cardholder-initiated payment, or ''
    blocked: str                    # what ended merchant-initiated payments, or ''

    @property
    def masked(self) -> str:
        """First six and last four digits around six asterisks."""
        return f"{self.bin[:6]}******{self.last4}"


@dataclass(frozen=True, slots=True)
class Token:
    """A merchant's name for a stored card.  ``expiry`` is YYMM; ``created_at`` business time.

    ``version`` grows with every change of the token or of what its card may do: an intent that was made with an older one is
    not stored.  ``temporary``: made by a tokenization, and no payment succeeded with it yet; it is good for that tokenization's
    payment only.  ``in_flow``: a tokenization may have left something for a payment with it (see ``tokenization``).
    """

    merchant_id: int
    name: str
    card: StoredCard
    expiry: str
    holder: str
    active: bool
    version: int
    created_at: datetime
    temporary: bool = False
    in_flow: bool = False


class Tokenized(NamedTuple):
    """A card's token, and whether it was made now; else it was there, under its name or for its card."""

    token: Token
    created: bool


@dataclass(frozen=True, slots=True)
class _Open:
    """What opens a record quickly: the cipher under its data key, and for the card it was last asked for, the number."""

    card: StoredCard
    cipher: AESGCM
    number: Callable[[], Pan]


class NotFound(NamedTuple):
    """The merchant has no token of that name."""

    name: str


class AlreadyUsed(NamedTuple):
    """The merchant made such a request under this reference before."""

    reference: str


class _NotMade(Exception):
    """No token was made; ``told`` says why."""

    def __init__(self, told: NameTaken | CardErased) -> None:
        super().__init__()
        self.told = told


class Vault:
    """The vault of one process."""

    def __init__(
        self, pool: asyncpg.Pool, keyring: Keyring, *, new_id: Callable[[], int], keeps: Callable[[Pan], bool],
        now: Callable[[], datetime], new_name: Callable[[], str] = lambda: secrets.token_hex(16).upper(),
    ) -> None:
        """``keeps``: whether a number is stored whole (live: always; sandbox: its own test numbers).  ``now``: business time."""
        self._pool, self._ring = pool, keyring
        self._new_id, self._keeps, self._now, self._new_name = new_id, keeps, now, new_name
        self._tokens: OrderedDict[tuple[int, str], Token] = OrderedDict()
        self._ciphers: dict[bytes, _Open] = {}          # by wrapped data key; a number opens at its own place only, whoever asks
        self._keeping: Shared[tuple[int, Pan], StoredCard] = Shared(pool, self._keep)
        self._loading: Shared[tuple[int, str], Token | None] = Shared(pool, self._load)

    # -- cards

    async def keep(self, merchant_id: int, pan: Pan) -> StoredCard:
        """The record of a number; committed.  Many callers share one statement.  Raises ``DatabaseUnavailable``."""
        return await self._keeping.ask((merchant_id, pan))

    async def card(self, merchant_id: int, card_id: int) -> StoredCard | None:
        """A record by its id: what the messages that follow a payment need.  Raises ``DatabaseUnavailable``."""
        async with borrowed(self._pool) as connection:
            return (await self.cards(connection, [(merchant_id, card_id)]))[0]

    async def cards(self, connection: asyncpg.Connection, wanted: Sequence[tuple[int, int]]) -> list[StoredCard | None]:
        """Records by (merchant id, card id), place by place."""
        found = await rows.load(connection, wanted)
        if not all(row is None or self._ring.holds(row.key_id) for row in found):
            await self._ring.refresh(connection)
        return [row and stored_card(row) for row in found]

    def masked(self, card: StoredCard, first: int = 6) -> str:
        """The number as it may be shown: its first six or eight and its last four digits (PCI DSS 3.4.1: eight only of 16
        or more, and only where the number is kept)."""
        pan = self.reveal(card) if first == 8 else None
        if pan is None or len(pan.reveal()) < 16:
            return card.masked
        return f"{pan.reveal()[:8]}******{card.last4}"

    def reveal(self, card: StoredCard) -> Pan | None:
        """The number, or ``None`` where it was not kept.  Raises ``NotOpened`` where the record was tampered with."""
        sealed = card.sealed
        if sealed is None:
            return None
        known = self._ciphers.get(sealed.wrapped_key)
        if known is not None and known.card is card:        # the same value, so the same place: what cached tokens hand out
            return known.number()
        merchant_id, card_id = card.merchant_id, card.card_id
        cipher = self._ring.key(sealed.key_id).cipher(merchant_id, card_id, sealed) if known is None else known.cipher
        number = opener(cipher, merchant_id, card_id, sealed)
        pan = number()                                      # only what opens is remembered
        self._ciphers[sealed.wrapped_key] = _Open(card, cipher, number)
        if len(self._ciphers) > CACHED_CIPHERS:
            del self._ciphers[next(iter(self._ciphers))]
        return pan

    async def _keep(self, connection: asyncpg.Connection, wanted: Sequence[tuple[int, Pan]]) -> list[StoredCard]:
        """The records of a batch: look for all, store what is missing, look again for what somebody else stored meanwhile."""
        records: dict[tuple[int, Pan], StoredCard] = {}
        missing = list(dict.fromkeys(wanted))
        for _ in range(TRIES):
            key = self._ring.current
            prints = [(merchant_id, key.fingerprint(merchant_id, pan)) for merchant_id, pan in missing]
            found = await rows.find(connection, key.number, prints)
            for one, row in zip(missing, found, strict=True):
                if row is not None:
                    records[one] = stored_card(row)
            missing = [one for one in missing if one not in records]
            if missing:
                records.update(await self._insert(connection, missing))
                missing = [one for one in missing if one not in records]
            if not all(self._ring.holds(card.sealed and card.sealed.key_id) for card in records.values()):
                await self._ring.refresh(connection)
            if not missing:
                return [records[one] for one in wanted]
            await self._ring.refresh(connection)
        raise RuntimeError(f"{len(missing)} cards could be neither found nor stored")

    async def _insert(self, connection: asyncpg.Connection, missing: Sequence[tuple[int, Pan]]) -> dict[tuple[int, Pan], StoredCard]:
        """Those of the cards that were stored now."""
        made = {}
        for merchant_id, pan in missing:
            card_id = self._new_id()
            sealed = self._ring.sealing.seal(merchant_id, card_id, pan) if self._keeps(pan) else None
            made[merchant_id, card_id] = (
                (merchant_id, pan), StoredCard(merchant_id, card_id, str(pan.brand or ""), pan.bin, pan.last4, sealed, "", "")
            )
        state = self._ring.in_force
        # In the order of their fingerprints: two processes that store the same cards wait for each other in turn.
        fresh = sorted((self._new_row(pan, card) for (_, pan), card in made.values()), key=lambda row: (row.merchant_id, row[2:4]))
        stored = await rows.insert(connection, state.current, state.next, fresh, self._now())
        return {made[key][0]: made[key][1] for key in stored}

    def _new_row(self, pan: Pan, card: StoredCard) -> NewCard:
        prints: list[bytes | None] = [None, None]
        for key in (self._ring.current, self._ring.next):
            if key is not None:
                prints[key.number % 2] = key.fingerprint(card.merchant_id, pan)
        return NewCard(
            card.merchant_id, card.card_id, prints[1], prints[0], *(card.sealed or (None, None, None)), card.brand, card.bin, card.last4
        )

    # -- tokens

    async def token(self, merchant_id: int, name: str, *, fresh: bool = False) -> Token | None:
        """The token of that name, or ``None``.  ``fresh`` reads it again even if it is cached.

        Only active tokens are cached: one that is off, or not there, is looked for each time.  A cached one may have changed in
        another process; its version tells when the intent commits.  Raises ``DatabaseUnavailable``.
        """
        if not fresh and (cached := self.cached_token(merchant_id, name)) is not None:
            return cached
        key = (merchant_id, name)
        return self._cache(key, await self._loading.ask(key))

    def cached_token(self, merchant_id: int, name: str) -> Token | None:
        """The token if it is at hand; see ``token``."""
        key = (merchant_id, name)
        cached = self._tokens.get(key)
        if cached is not None:
            self._tokens.move_to_end(key)
        return cached

    def forget(self, merchant_id: int, name: str) -> None:
        """Drop a token from the cache."""
        self._tokens.pop((merchant_id, name), None)

    async def tokenize(
        self, merchant_id: int, card: StoredCard, *, name: str | None, expiry: str, holder: str, unique: bool = False,
        flow: Flow | None = None, once: tuple[str, str, str] | None = None, source: str = "", reference: str = "", also: Also | None = None,
    ) -> Tokenized | NameTaken | AlreadyUsed | CardErased:
        """A token for a card that was presented (``name`` ``None``: one of 32 upper-case hexadecimal digits).

        With a ``flow`` it is temporary, and a name that is there gets the card; without one it is there to stay, and a name that is there
        is taken.  ``unique``: the card has one token; a card that has it already keeps it, unless a name of another token is asked for
        (``NameTaken``).  ``once``: door, service and reference of the request, used up in the same commit; where no token is made,
        it is not.  ``also`` is done in the commit of the token.  Raises ``DatabaseUnavailable``.
        """
        asked = Presented(merchant_id, card.card_id, name, expiry, holder, unique, flow, source, reference)
        try:
            async with borrowed(self._pool) as connection, connection.transaction():
                if once is not None and not await claim_service(connection, merchant_id, *once, None, self._now()):
                    return AlreadyUsed(once[2])
                made = await make(connection, asked, self._now(), self._new_name)
                if not isinstance(made, Made):
                    raise _NotMade(made)
                if also is not None:
                    await also(connection)
        except _NotMade as why:                 # raised, so that the reference is free again
            return why.told
        token = await self.token(merchant_id, made.name, fresh=True)
        assert token is not None, "a token is not removed"
        return Tokenized(token, made.created)

    async def create_token(
        self, merchant_id: int, card: StoredCard, *, name: str | None, expiry: str, holder: str, once: tuple[str, str, str] | None = None,
        also: Also | None = None,
    ) -> Token | NameTaken | AlreadyUsed | CardErased:
        """A token that is there to stay; see ``tokenize``."""
        made = await self.tokenize(merchant_id, card, name=name, expiry=expiry, holder=holder, once=once, also=also)
        return made.token if isinstance(made, Tokenized) else made

    async def tokenization(self, merchant_id: int, reference: str, name: str | None = None) -> FlowRow | None:
        """What a tokenization left for the payment with this reference and this token; without a name, the latest for the reference.
        Raises ``DatabaseUnavailable``."""
        async with borrowed(self._pool) as connection:
            return await token_rows.flow(connection, merchant_id, reference, name)

    async def forget_payer(self, merchant_id: int, reference: str, name: str) -> None:
        """The payer does not want the card kept: a payment of this flow makes nothing lasting.  Raises ``DatabaseUnavailable``."""
        async with borrowed(self._pool) as connection:
            await token_rows.forget_payer(connection, merchant_id, reference, name)

    async def update_token(
        self, merchant_id: int, name: str, *, active: bool | None = None, expiry: str | None = None, holder: str | None = None,
        new_name: str | None = None, unique: bool = False, also: Also | None = None,
    ) -> Token | NotFound | NameTaken:
        """Change a token; ``None`` leaves as it is.

        Switching it off keeps the card, while something else needs it; a token whose card was erased meanwhile, or a temporary one, is
        not found by whoever wants it on again.  ``unique``: one whose card has another token is not switched on.  ``also`` is done in the
        commit of the change.
        Raises ``DatabaseUnavailable``.
        """
        self.forget(merchant_id, name)
        try:
            async with borrowed(self._pool) as connection, connection.transaction():
                if unique and active and (other := await self._other(connection, merchant_id, name)):
                    return NameTaken(other)
                changed = await rows.update_token(
                    connection, merchant_id, name, active=active, expiry=expiry, holder=holder, new_name=new_name
                )
                if changed and also is not None:
                    await also(connection)
        except asyncpg.UniqueViolationError:
            return NameTaken(new_name or name)
        self.forget(merchant_id, name)          # again: it may have been read while the change was on its way
        if not changed:
            return NotFound(name)
        return await self.token(merchant_id, new_name or name, fresh=True) or NotFound(new_name or name)

    async def _other(self, connection: asyncpg.Connection, merchant_id: int, name: str) -> str | None:
        """The token that stands for this one's card instead; the card is held from now on."""
        cards = await token_rows.cards_named(connection, [(merchant_id, name)])
        if not cards or not await token_rows.hold_card(connection, merchant_id, cards[merchant_id, name]):
            return None
        standing = await token_rows.standing_for(connection, [(merchant_id, cards[merchant_id, name])])
        return next((one.token_name for one in standing.values() if one.token_name != name), None)

    async def tokens(
        self, merchant_id: int, *, since: datetime, until: datetime, after: str | None = None, limit: int = 100
    ) -> list[Token]:
        """Tokens made from ``since`` until before ``until`` (business time), oldest first, active or not.

        ``after``: those behind the token of that name.  Raises ``DatabaseUnavailable``.
        """
        async with borrowed(self._pool) as connection:
            found = await rows.list_tokens(connection, merchant_id, since, until, after, limit)
        return [_token(row) for row in found]

    async def _load(self, connection: asyncpg.Connection, wanted: Sequence[tuple[int, str]]) -> list[Token | None]:
        distinct = list(dict.fromkeys(wanted))
        found = {one: row and _token(row) for one, row in zip(distinct, await rows.load_tokens(connection, distinct), strict=True)}
        if not all(self._ring.holds(row.card.sealed and row.card.sealed.key_id) for row in found.values() if row):
            await self._ring.refresh(connection)
        return [found[one] for one in wanted]

    def _cache(self, key: tuple[int, str], token: Token | None) -> Token | None:
        if token is None or not token.active:
            self._tokens.pop(key, None)
            return token
        self._tokens[key] = token
        self._tokens.move_to_end(key)
        if len(self._tokens) > CACHED_TOKENS:
            self._tokens.popitem(last=False)
        return token


def stored_card(row: CardRow) -> StoredCard:
    """A record as payments use it, from its row."""
    sealed = None if row.key_id is None else Sealed(row.key_id, row.wrapped_key or b"", row.ciphertext or b"")
    return StoredCard(row.merchant_id, row.card_id, row.brand, row.bin, row.last4, sealed, row.first_reference, row.blocked)


def _token(row: TokenRow) -> Token:
    return Token(row.merchant_id, row.token_name, stored_card(row.card), row.expiry, row.holder, row.active, row.version, row.created_at,
                 row.temporary, row.in_flow)
