"""Evidence at rest: what a merchant shows about a dispute names payers, so that the database holds it sealed.

Each file has a fresh data key that seals it once and is itself sealed under the master key, so that a change of the master key seals a few bytes
anew and not megabytes.  Key and file say where they belong: one that is moved to another merchant or file does not open.  Whoever deletes the row
has destroyed the key.  Refuses to know what a file is good for.
"""
from __future__ import annotations

import os
import struct

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ringfence.engine.keys import Keyring, open_text, seal_text
from ringfence.engine.sealing import KEY_BYTES, NotOpened
from ringfence.storage import disputes as rows
from ringfence.storage.borrowing import borrowed
from ringfence.storage.disputes import Evidence, SealedFile

PURPOSE = "evidence"
"""What data keys are sealed for; part of the associated data."""
_ONCE = bytes(12)
"""A data key seals one file in its life, so its nonce may be fixed (NIST SP 800-38D, 8.2.1)."""
_PLACE = struct.Struct(">IQ").pack              # merchant, file


def sealed(ring: Keyring, merchant_id: int, file_id: int, content: bytes) -> SealedFile:
    """A file as it is stored."""
    key = os.urandom(KEY_BYTES)
    return SealedFile(seal_text(ring, PURPOSE, merchant_id, key.hex()), AESGCM(key).encrypt(_ONCE, content, _PLACE(merchant_id, file_id)))


def opened(ring: Keyring, merchant_id: int, file_id: int, file: SealedFile) -> bytes:
    """The file again.  Raises ``NotOpened`` for another merchant, file or key, ``UnknownKey`` for a master key not at hand."""
    key = bytes.fromhex(open_text(ring, PURPOSE, merchant_id, file.wrapped_key))
    try:
        return AESGCM(key).decrypt(_ONCE, file.content, _PLACE(merchant_id, file_id))
    except InvalidTag:
        raise NotOpened(f"file {file_id} of merchant {merchant_id} does not open") from None


async def find(connection: asyncpg.Connection, ring: Keyring, merchant_id: int, dispute_id: int, file_id: int) -> Evidence | None:
    """A file with what is in it."""
    found = await rows.file(connection, merchant_id, dispute_id, file_id)
    return found and Evidence(found[0], found[1], opened(ring, merchant_id, file_id, found[2]))


async def seal_what_is_not(pool: asyncpg.Pool, ring: Keyring) -> int:
    """Seal what was stored before files were sealed; how many that were.  Safe to run again at any point.  Raises ``DatabaseUnavailable``."""
    count = 0
    async with borrowed(pool) as connection:
        while one := await rows.not_sealed(connection):
            await rows.seal(connection, one, sealed(ring, one.merchant_id, one.file_id, one.content))
            count += 1
    return count
