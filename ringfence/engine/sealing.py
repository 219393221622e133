"""Sealing: how a card number becomes bytes that are worthless without the master key.

An envelope, as key management services make it: each record has a fresh AES-256 data key that seals one number once; the data
key is wrapped by a key that is derived from the master key.  Both are AES-GCM (NIST SP 800-38D) with associated data that says
where they belong, so that a row moved to another merchant or record does not open.  Replacing the master key touches the
wrapped data key only.  Refuses to know where master keys come from and where records lie.
"""
from __future__ import annotations

import hashlib
import hmac
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ringfence.core.card import Pan

KEY_BYTES = 32
CHECK_BYTES = 8
_NONCE = 12
_ONCE = bytes(_NONCE)
"""A data key seals one text in its life, so its nonce may be fixed (SP 800-38D, 8.2.1)."""
_PLACE = struct.Struct(">IQI").pack             # merchant, record, key id: what a wrapped data key is bound to
_RECORD = struct.Struct(">IQ").pack             # merchant, record: what a number is bound to, whichever key wraps its data key
_TEXT_PLACE = struct.Struct(">II").pack         # merchant, key id; then the purpose
_TEXT_HEAD = struct.Struct(">BI")               # format, key id
_TEXT_FORMAT = 1
_FINGERPRINT_HEAD = struct.Struct(">I").pack


class NotOpened(Exception):
    """Sealed bytes do not open: another key sealed them, they belong to another place, or they were changed."""


class Sealed(NamedTuple):
    """A sealed card number: the master key's number, the wrapped data key (nonce first), the ciphertext.  Prints without them."""

    key_id: int
    wrapped_key: bytes
    ciphertext: bytes

    def __repr__(self) -> str:
        return f"Sealed(key {self.key_id})"

    __str__ = __repr__


class Lasting(NamedTuple):
    """The keys that outlive a master key: every new master key carries them on.  They print masked."""

    chain: bytes                                # of the chain of batches
    content: bytes                              # of what an idempotency key is bound to

    def __repr__(self) -> str:
        return "Lasting(***)"

    __str__ = __repr__


def _derived(secret: bytes, label: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF (RFC 5869) with SHA-256, no salt: a master key is uniformly random."""
    return HKDF(SHA256(), length, salt=None, info=b"ringfence " + label).derive(secret)


def check_value(secret: bytes) -> bytes:
    """Eight bytes that tell one master key from another and nothing else about it."""
    return _derived(secret, b"key check value", CHECK_BYTES)


class MasterKey:
    """All that is derived from one master key.  The secret itself is not kept; it prints as its number and check value."""

    __slots__ = ("_carrying", "_fingerprint", "_secret_lasting", "_texts", "_wrapping", "check_value", "number")

    def __init__(self, number: int, secret: bytes) -> None:
        """``number`` is the key id that records name; ``secret`` has 32 bytes."""
        if len(secret) != KEY_BYTES:
            raise ValueError("a master key has 32 bytes")
        self.number = number
        self.check_value = check_value(secret)
        self._wrapping = AESGCM(_derived(secret, b"card record keys"))
        self._texts = AESGCM(_derived(secret, b"sealed texts"))
        self._carrying = AESGCM(_derived(secret, b"lasting keys"))
        self._fingerprint = _derived(secret, b"card fingerprints")
        self._secret_lasting = Lasting(_derived(secret, b"chain"), _derived(secret, b"content"))

    def __repr__(self) -> str:
        return f"MasterKey({self.number}, check value {self.check_value.hex()})"

    # -- card numbers

    def seal(self, merchant_id: int, card_id: int, pan: Pan) -> Sealed:
        """Seal a number for one record of one merchant."""
        chance = os.urandom(KEY_BYTES + _NONCE)
        data_key, nonce = chance[:KEY_BYTES], chance[KEY_BYTES:]
        return Sealed(
            self.number, nonce + self._wrapping.encrypt(nonce, data_key, _PLACE(merchant_id, card_id, self.number)),
            AESGCM(data_key).encrypt(_ONCE, pan.reveal().encode("ascii"), _RECORD(merchant_id, card_id)),
        )

    def open(self, merchant_id: int, card_id: int, sealed: Sealed) -> Pan:
        """The number again.  Raises ``NotOpened``."""
        return opener(self.cipher(merchant_id, card_id, sealed), merchant_id, card_id, sealed)()

    def cipher(self, merchant_id: int, card_id: int, sealed: Sealed) -> AESGCM:
        """The cipher of one record, for ``opener``: making it is two thirds of the work.  Raises ``NotOpened``."""
        return AESGCM(self._unwrapped(merchant_id, card_id, sealed))

    def rewrap(self, merchant_id: int, card_id: int, sealed: Sealed, to: MasterKey) -> Sealed:
        """The same record under another master key; the ciphertext stays.  Raises ``NotOpened``."""
        data_key, nonce = self._unwrapped(merchant_id, card_id, sealed), os.urandom(_NONCE)
        again = nonce + to._wrapping.encrypt(nonce, data_key, _PLACE(merchant_id, card_id, to.number))
        return Sealed(to.number, again, sealed.ciphertext)

    def _unwrapped(self, merchant_id: int, card_id: int, sealed: Sealed) -> bytes:
        wrapped = sealed.wrapped_key
        try:
            return self._wrapping.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _PLACE(merchant_id, card_id, sealed.key_id))
        except InvalidTag:
            raise NotOpened(f"card {card_id} of merchant {merchant_id} does not open under key {self.number}") from None

    def fingerprint(self, merchant_id: int, pan: Pan) -> bytes:
        """HMAC-SHA-256 over merchant and number: the same number of two merchants has two fingerprints."""
        return hmac.digest(self._fingerprint, _FINGERPRINT_HEAD(merchant_id) + pan.reveal().encode("ascii"), hashlib.sha256)

    # -- texts: phrases of credentials

    def seal_text(self, purpose: str, merchant_id: int, text: str) -> bytes:
        """Format, key id, nonce and ciphertext in one; bound to purpose and merchant."""
        nonce = os.urandom(_NONCE)
        place = _TEXT_PLACE(merchant_id, self.number) + purpose.encode()
        return _TEXT_HEAD.pack(_TEXT_FORMAT, self.number) + nonce + self._texts.encrypt(nonce, text.encode(), place)

    def open_text(self, purpose: str, merchant_id: int, sealed: bytes) -> str:
        """The text again.  Raises ``NotOpened``."""
        body = sealed[_TEXT_HEAD.size:]
        try:
            place = _TEXT_PLACE(merchant_id, self.number) + purpose.encode()
            return self._texts.decrypt(body[:_NONCE], body[_NONCE:], place).decode()
        except InvalidTag:
            raise NotOpened(f"a {purpose} of merchant {merchant_id} does not open under key {self.number}") from None

    # -- the keys that outlive this one

    def first_lasting(self) -> Lasting:
        """The lasting keys of an installation whose first master key this is."""
        return self._secret_lasting

    def carry(self, lasting: Lasting) -> bytes:
        """The lasting keys, sealed to be stored beside this key's check value."""
        nonce = os.urandom(_NONCE)
        return nonce + self._carrying.encrypt(nonce, lasting.chain + lasting.content, _FINGERPRINT_HEAD(self.number))

    def carried(self, sealed: bytes) -> Lasting:
        """The lasting keys again.  Raises ``NotOpened``."""
        try:
            both = self._carrying.decrypt(sealed[:_NONCE], sealed[_NONCE:], _FINGERPRINT_HEAD(self.number))
        except InvalidTag:
            raise NotOpened(f"the lasting keys do not open under key {self.number}") from None
        return Lasting(both[:KEY_BYTES], both[KEY_BYTES:])


def opener(cipher: AESGCM, merchant_id: int, card_id: int, sealed: Sealed) -> Callable[[], Pan]:
    """What opens one record, by its cipher, as often as it is called: the number stays sealed between.  It raises ``NotOpened``."""
    decrypt = partial(cipher.decrypt, _ONCE, sealed.ciphertext, _RECORD(merchant_id, card_id))

    def opened() -> Pan:
        try:
            return Pan.trusted(decrypt().decode())
        except InvalidTag:
            raise NotOpened(f"card {card_id} of merchant {merchant_id} does not open") from None
    return opened


def text_key_id(sealed: bytes) -> int:
    """Which master key a sealed text stands under.  Raises ``NotOpened`` for bytes that are none."""
    if len(sealed) <= _TEXT_HEAD.size + _NONCE or sealed[0] != _TEXT_FORMAT:
        raise NotOpened("these bytes are no sealed text")
    return _TEXT_HEAD.unpack_from(sealed)[1]
