"""The directory: who may call, with which credentials, under which settings.

Every process keeps the whole of it in memory, so that a request finds its merchant by one dictionary look-up.  A change raises
the directory's version in its own commit; the process that made it refreshes at once, the others within half a second.
Refuses to know signatures: it opens phrases and hands them to the doors.
"""
from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from ringfence.engine.credentials import (
    ALGORITHMS,
    FIELDS,
    FORMS,
    MAX_EARLIER,
    MOST_ACCESS_KEYS,
    NAMED_ONCE,
    PROVED_BY_KEY,
    Allowed,
    Credential,
    Earlier,
    NewCredential,
    faults,
    faults_of,
    opened,
    sealed_json,
)
from ringfence.engine.keys import Keyring, open_text, seal_text
from ringfence.engine.settings import DEFAULTS, SettingError, Settings, changed, differing
from ringfence.storage import merchants as rows
from ringfence.storage.merchants import CredentialRow, MerchantRow

PURPOSE = "credential"
"""What phrases are sealed for; part of the associated data."""

__all__ = ["ALGORITHMS", "MAX_EARLIER", "Credential", "Directory", "Earlier", "Merchant", "NewCredential", "Rejected"]
MAX_TITLE = 100
_NAME = FORMS["aps"][0][0]


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
        self._by_key: dict[tuple[str, bytes], dict[str, Credential]] = {}
        self._by_name: dict[tuple[str, str], Credential] = {}
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

    def held_by(self, door: str, key: str) -> Mapping[str, Credential]:
        """The credentials of a door that are proved by this key alone, by their public names: one key may act for several merchants.

        Found by the key's digest, so that the time it takes says nothing about keys that are nearly right.
        """
        return self._by_key.get((door, _digest(key)), {})

    def named(self, door: str, public_name: str) -> Credential | None:
        """The credential in force of that name, at a door where callers say nothing of their merchant."""
        return self._by_name.get((door, public_name))

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
            by_key: dict[tuple[str, bytes], dict[str, Credential]] = {}
            for one in credentials:
                if one.door in PROVED_BY_KEY:
                    by_key.setdefault((one.door, _digest(one.request_phrase)), {})[one.public_name] = one
            self._by_key = by_key
            self._by_name = {(one.door, one.public_name): one for one in credentials if one.door in NAMED_ONCE}
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
        self, identifier: str, name: str, credentials: Sequence[NewCredential], *, settings: Mapping[str, str] | None = None,
    ) -> Merchant | Rejected:
        """Make a merchant with its first credentials.  ``Rejected`` names every field that is wrong, or the taken identifier."""
        checked = changed(DEFAULTS, settings or {})
        errors = [] if _NAME.fullmatch(identifier) else [SettingError("identifier", "must be 1 to 20 letters and digits")]
        if not _title(name):
            errors.append(_TITLE_ERROR)
        errors += [error for one in credentials for error in faults(one)]
        if isinstance(checked, list):
            return Rejected((*errors, *checked))
        if errors := [*errors, *self._judge(DEFAULTS, checked)]:
            return Rejected(tuple(errors))
        async with self._pool.acquire() as connection, connection.transaction():
            await rows.begin_change(connection)
            for one in credentials:
                if one.door in NAMED_ONCE and await rows.is_named(connection, one.door, one.public_name):
                    return Rejected((SettingError(FIELDS[one.door][0], "is taken"),))
            merchant_id = await rows.insert_merchant(connection, identifier, name, json.dumps(differing(checked)), self._now())
            if merchant_id is None:
                return Rejected((SettingError("identifier", "is taken"),))
            for one in credentials:
                await rows.insert_credential(connection, self._row(merchant_id, one), self._now())
        await self.load()
        return self._merchants[identifier]

    async def add_credential(self, identifier: str, one: NewCredential) -> Merchant | Rejected | None:
        """Give a merchant another credential set; ``None`` where there is no such merchant."""
        if errors := faults(one):
            return Rejected(tuple(errors))
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await rows.for_change(connection, identifier)
            if stored is None:
                return None
            await rows.begin_change(connection)
            if one.door == "jwo" and await rows.count_credentials(connection, stored.merchant_id, one.door) >= MOST_ACCESS_KEYS:
                return Rejected((SettingError("access_key_id", f"would be more than {MOST_ACCESS_KEYS} in force; switch one off first"),))
            if (one.door in NAMED_ONCE and await rows.is_named(connection, one.door, one.public_name)) or not await rows.insert_credential(
                    connection, self._row(stored.merchant_id, one), self._now()):
                return Rejected((SettingError(FIELDS[one.door][0], "is taken"),))
        await self.load()
        return self._merchants[identifier]

    async def replace_secret(self, identifier: str, public_name: str, secret: str, wall: datetime, keep: timedelta) -> Merchant | Rejected | None:
        """Give a credential of the PPRO door another webhook secret; the one before signs beside it for so long (wall time).

        ``None`` where there is no such merchant or credential.
        """
        form, problem = FORMS["ppro"][2]
        if not form.fullmatch(secret):
            return Rejected((SettingError("webhook_secret", problem),))

        def changed(before: Credential) -> tuple[NewCredential, Sequence[Earlier]] | Rejected:
            earlier = [Earlier(before.response_phrase, wall + keep), *before.earlier] if keep else list(before.earlier)
            earlier = [one for one in earlier if wall < one.until and one.secret != secret]
            if len(earlier) > MAX_EARLIER:
                return Rejected((SettingError("keep", f"would leave more than {MAX_EARLIER} earlier secrets in force"),))
            return NewCredential("ppro", public_name, before.request_phrase, secret, before.algorithm), earlier

        return await self._change_credential(identifier, "ppro", public_name, changed)

    async def allow(self, identifier: str, access_key_id: str, allowed: Allowed) -> Merchant | Rejected | None:
        """Change what an access key may do; ``None`` where there is no such merchant or key."""
        if errors := faults_of(allowed):
            return Rejected(tuple(errors))

        def changed(before: Credential) -> tuple[NewCredential, Sequence[Earlier]]:
            return NewCredential(
                "jwo", access_key_id, before.request_phrase, before.response_phrase, before.algorithm, allowed), ()

        return await self._change_credential(identifier, "jwo", access_key_id, changed)

    async def _change_credential(
        self, identifier: str, door: str, public_name: str,
        changed: Callable[[Credential], tuple[NewCredential, Sequence[Earlier]] | Rejected],
    ) -> Merchant | Rejected | None:
        """Put what ``changed`` makes of a credential in its place; ``None`` where there is no such merchant or credential."""
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await rows.for_change(connection, identifier)
            if stored is None:
                return None
            await rows.begin_change(connection)
            row = await rows.credential(connection, stored.merchant_id, door, public_name)
            if row is None:
                return None
            made = changed(self._open(row, {stored.merchant_id: identifier}))
            if isinstance(made, Rejected):
                return made
            await rows.update_credential(connection, self._row(stored.merchant_id, *made))
        await self.load()
        return self._merchants[identifier]

    async def switch_off(self, identifier: str, access_key_id: str) -> Merchant | None:
        """Take an access key out of force, for good; ``None`` where there is no such merchant or key."""
        async with self._pool.acquire() as connection, connection.transaction():
            stored = await rows.for_change(connection, identifier)
            if stored is None:
                return None
            await rows.begin_change(connection)
            if not await rows.switch_off(connection, stored.merchant_id, "jwo", access_key_id):
                return None
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
        content = json.loads(open_text(self._keyring, PURPOSE, row.merchant_id, row.sealed))
        credential = opened(row.merchant_id, identifiers[row.merchant_id], row.door, row.public_name, row.algorithm, content)
        self._opened[key] = (row.sealed, credential)
        return credential

    def _row(self, merchant_id: int, one: NewCredential, earlier: Sequence[Earlier] = ()) -> CredentialRow:
        sealed = seal_text(self._keyring, PURPOSE, merchant_id, json.dumps(sealed_json(one, earlier)))
        return CredentialRow(merchant_id, one.door, one.public_name, sealed, one.algorithm)

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


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
