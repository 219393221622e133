"""The secret part of a link's address: 38 signs that nobody can guess, and that are stored nowhere.

An address is the link's merchant and number under AES-SIV (RFC 5297): a 128-bit synthetic initialization vector over both, and both under it.
So the service makes the same address again whenever a mail, a resend or a query needs it, while a copy of the database opens no link: its key
comes from a lasting key of the vault.  What nobody gave out is told from what somebody did before the database is asked anything.
"""
from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

_PLACE = struct.Struct(">IQ")
LINK, WALLET = b"ringfence payment link address 1", b"ringfence wallet page address 1"
RECEIPT = b"ringfence receipt address 1"
"""What an address opens; one of a kind is none of the other."""
LENGTH = 38
"""Characters: 28 bytes in base64url (RFC 4648, section 5), without padding."""


class Addresses:
    """Makes and reads addresses.  Prints without its key."""

    __slots__ = ("_cipher",)

    def __init__(self, content_key: bytes, purpose: bytes = LINK) -> None:
        """``content_key``: of the key ring, the same for the life of the installation."""
        self._cipher = AESSIV(hmac.new(content_key, purpose, hashlib.sha512).digest())

    def make(self, merchant_id: int, link_id: int) -> str:
        """The address of a link."""
        return base64.urlsafe_b64encode(self._cipher.encrypt(_PLACE.pack(merchant_id, link_id), None)).decode().rstrip("=")

    def read(self, text: str) -> tuple[int, int] | None:
        """Merchant and number; ``None`` for what this never made."""
        if len(text) != LENGTH or not text.isascii():
            return None
        try:
            merchant_id, link_id = _PLACE.unpack(self._cipher.decrypt(base64.b64decode(text + "==", b"-_", validate=True), None))
        except (binascii.Error, InvalidTag, struct.error):
            return None
        return (merchant_id, link_id) if self.make(merchant_id, link_id) == text else None      # base64 ends in bits that say nothing
