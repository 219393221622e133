"""The directory: who may call, with which credentials, under which settings.

Every process keeps the whole of it in memory, so that a request finds its merchant by one dictionary look-up.  A change raises
the directory's version in its own commit; the process that made it refreshes at once, the others within half a second.
Refuses to know signatures: it opens phrases and hands them to the doors.
"""
from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from ringfence.engine.keys import Keyring, open_text, seal_text
from ringfence.engine.settings import DEFAULTS, SettingError, Settings, changed, differing
from ringfence.storage import merchants as rows
from ringfence.storage.merchants import CredentialRow, MerchantRow

PURPOSE = "credential"
"""What phrases are sealed for; part of the associated data."""

ALGORITHMS = ("SHA-256", "SHA-512", "HMAC-256", "HMAC-512")
_NAME = re.compile(r"[A-Za-z0-9]{1,20}", re.ASCII)
_PHRASE = re.compile(r"[!-~]{4,64}", re.ASCII)
MAX_TITLE = 100


class Credential(NamedTuple):
    """What a caller signs with.  ``public_name`` is the APS access code.  Prints without its phrases."""

    merchant_id: int
    identifier: str
    door: str
    public_name: str
    request_phrase: str
    response_phrase: str
    algorithm: str

    def __repr__(self) -> str:
        return f"Credential({self.identifier}, {self.door}, {self.public_name}, {self.algorithm})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Merchant:
    """One merchant as the doors see it."""

    merchant_id: int
    identifier: str
    name: str
    settings: Settings
    active: bool
    credentials: tuple[Credential, ...]


class Rejected(NamedTuple):
    """A change that was not made, and every reason."""

    errors: tuple[SettingError, ...]


def nothing(before: Settings, after: Settings) -> list[SettingError]:
    """No objection."""
    return []


class Directory:
    """The cached directory of one process."""

    def __init__(
        self, pool: asyncpg.Pool, keyring: Keyring, now: Callable[[], datetime], noted: Callable[[int], None] = lambda version: None,
        judge: Callable[[Settings, Settings], list[SettingError]] = nothing,
    ) -> None:
        """``now``: business time, for the ``created_at`` of what is made here.  ``noted`` is told every version that was loaded.
        ``judge`` names what this installation does not allow in settings (before, after), beyond what their own table says.

        Call ``load`` before the first look-up.
        """
        self._pool, self._keyring, self._now, self._noted, self._judge = pool, keyring, now, noted, judge
        self.version = 0
        self._merchants: dict[str, Merchant] = {}
        self._by_id: dict[int, Merchant] = {}
        self._credentials: dict[tuple[str, str], Credential] = {}
        self._opened: dict[tuple[int, str, str], tuple[bytes, Credential]] = {}
        self._read: dict[int, tuple[str, Settings]] = {}
        self._loading = asyncio.Lock()

    # -- look-ups: no waiting

    def merchant(self, identifier: str) -> Merchant | None:
        """The merchant with that identifier, active or not."""
        return self._merchants.get(identifier)

    def by_id(self, merchant_id: int) -> Merchant | None:
        """The merchant with that number."""
        return self._by_id.get(merchant_id)

    def credential(self, identifier: str, public_name: str) -> Credential | None:
        """The credential in force of that merchant and name."""
        return self._credentials.get((identifier, public_name))

    def merchants(self) -> list[Merchant]:
        """All, in the order they were made."""
        return list(self._by_id.values())

    # -- freshness

    async def load(self) -> None:
        """Read the directory; whatever did not change keeps its object, so that a door may compare with ``is``."""
        async with self._loading:
            async with self._pool.acquire() as connection:
                stored = await rows.everything(connection)
            identifiers = {row.merchant_id: row.identifier for row in stored.merchants}
            credentials = [self._open(row, identifiers) for row in stored.credentials if row.merchant_id in identifiers]
            of_merchant: dict[int, list[Credential]] = {}
            for credential in credentials:
                of_merchant.setdefault(credential.merchant_id, []).append(credential)
            merchants = [self._merchant(row, tuple(of_merchant.get(row.merchant_id, ()))) for row in stored.merchants]
            self._merchants = {one.identifier: one for one in merchants}
            self._by_id = {one.merchant_id: one for one in merchants}
            self._credentials = {(one.identifier, one.public_name): one for one in credentials}
            self.version = stored.version
        self._noted(stored.version)

    async def refresh(self) -> bool:
        """Load again if the version grew; whether it did."""
        async with self._pool.acquire() as connection:
            version = await rows.version(connection)
        if version == self.version:
            return False
        await self.load()
        return True

    # -- changes

    async def create(
        self, identifier: str, name: str, *, settings: Mapping[str, str] | None = None, access_code: str,
        request_phrase: str, response_phrase: str, algorithm: str = "SHA-256", door: str = "aps",
    ) -> Merchant | Rejected:
        """Make a merchant with its first credential.  ``Rejected`` names every field that is wrong, or the taken identifier."""
        checked = changed(DEFAULTS, settings or {})
        errors = _creation_errors(identifier, name, access_code, request_phrase, response_phrase, algorithm)
        if isinstance(checked, list):
            return Rejected((*errors, *checked))
        if errors := (*errors, *self._judge(DEFAULTS, checked)):
            return Rejected(errors)
        async with self._pool.acquire() as connection, connection.transaction():
            await rows.begin_change(connection)
            merchant_id = await rows.insert_merchant(connection, identifier, name, json.dumps(differing(checked)), self._now())
            if merchant_id is None:
                return Rejected((SettingError("identifier", "is taken"),))
            sealed = self._seal(merchant_id, request_phrase, response_phrase)
            await rows.insert_credential(connection, CredentialRow(merchant_id, door, access_code, sealed, algorithm), self._now())
        await self.load()
        return self._merchants[identifier]

    async def add_credential(
        self, identifier: str, access_code: str, request_phrase: str, response_phrase: str, algorithm: str = "SHA-256", door: str = "aps",
    ) -> Merchant | Rejected | None:
        """Give a merchant another credential set; ``None`` where there is no such merchant."""
        errors = _creation_errors(identifier, "-", access_code, request_phrase, response_phrase, algorithm)
        if errors:
            return Rejected(errors)
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await rows.for_change(connection, identifier)
            if stored is None:
                return None
            await rows.begin_change(connection)
            sealed = self._seal(stored.merchant_id, request_phrase, response_phrase)
            row = CredentialRow(stored.merchant_id, door, access_code, sealed, algorithm)
            if not await rows.insert_credential(connection, row, self._now()):
                return Rejected((SettingError("access_code", "is taken"),))
        await self.load()
        return self._merchants[identifier]

    async def change(
        self, identifier: str, changes: Mapping[str, str], *, name: str | None = None, active: bool | None = None,
    ) -> Merchant | Rejected | None:
        """Change settings, name or activity; all or nothing.  ``None`` where there is no such merchant."""
        if name is not None and not _title(name):
            return Rejected((_TITLE_ERROR,))
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await rows.for_change(connection, identifier)
            if stored is None:
                return None
            before = _settings(stored.settings)
            settings = changed(before, changes)
            errors = settings if isinstance(settings, list) else self._judge(before, settings)
            if errors:
                return Rejected(tuple(errors))
            assert isinstance(settings, Settings), "there were no errors"
            await rows.begin_change(connection)
            await rows.update_merchant(connection, stored._replace(
                settings=json.dumps(differing(settings)),
                name=stored.name if name is None else name,
                active=stored.active if active is None else active,
            ))
        await self.load()
        return self._merchants[identifier]

    # -- rows to values

    def _open(self, row: CredentialRow, identifiers: Mapping[int, str]) -> Credential:
        key = (row.merchant_id, row.door, row.public_name)
        known = self._opened.get(key)
        if known is not None and known[0] == row.sealed and known[1].algorithm == row.algorithm:
            return known[1]
        phrases = json.loads(open_text(self._keyring, PURPOSE, row.merchant_id, row.sealed))
        credential = Credential(row.merchant_id, identifiers[row.merchant_id], row.door, row.public_name,
                                phrases["request"], phrases["response"], row.algorithm)
        self._opened[key] = (row.sealed, credential)
        return credential

    def _seal(self, merchant_id: int, request_phrase: str, response_phrase: str) -> bytes:
        text = json.dumps({"request": request_phrase, "response": response_phrase})
        return seal_text(self._keyring, PURPOSE, merchant_id, text)

    def _merchant(self, row: MerchantRow, credentials: tuple[Credential, ...]) -> Merchant:
        known = self._read.get(row.merchant_id)
        if known is None or known[0] != row.settings:
            known = self._read[row.merchant_id] = (row.settings, _settings(row.settings))
        fresh = Merchant(row.merchant_id, row.identifier, row.name, known[1], row.active, credentials)
        before = self._by_id.get(row.merchant_id)
        return before if before == fresh else fresh


def _settings(text: str) -> Settings:
    settings = changed(DEFAULTS, json.loads(text))
    assert isinstance(settings, Settings), f"stored settings do not pass their own table: {settings}"
    return settings


_TITLE_ERROR = SettingError("name", f"must be 1 to {MAX_TITLE} printable characters")


def _title(text: str) -> bool:
    return 0 < len(text) <= MAX_TITLE and text.isprintable()


def _creation_errors(
    identifier: str, name: str, access_code: str, request_phrase: str, response_phrase: str, algorithm: str,
) -> tuple[SettingError, ...]:
    errors = [
        SettingError(field, "must be 1 to 20 letters and digits")
        for field, value in (("identifier", identifier), ("access_code", access_code)) if not _NAME.fullmatch(value)
    ]
    errors += [
        SettingError(field, "must be 4 to 64 printable ASCII characters without spaces")
        for field, value in (("sha_request_phrase", request_phrase), ("sha_response_phrase", response_phrase)) if not _PHRASE.fullmatch(value)
    ]
    if not _title(name):
        errors.append(_TITLE_ERROR)
    if algorithm not in ALGORITHMS:
        errors.append(SettingError("sha_type", f"must be {' or '.join(ALGORITHMS)}"))
    return tuple(errors)
