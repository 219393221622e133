"""Session tokens: access keys that end by themselves, as AWS STS lends them.

A token is its own record: sealed under the master key, it holds the temporary key's secret, what it may do and until when, and the access key it
was lent from.  Nothing is stored; a token is good until its time is over, the key behind it is switched off, or the master key is gone.
Refuses to know who may ask for one.
"""
from __future__ import annotations

import base64
import binascii
import json
import secrets
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ringfence.engine.credentials import Allowed, Credential, NewCredential
from ringfence.engine.keys import Keyring, UnknownKey, open_text, seal_text
from ringfence.engine.sealing import NotOpened

PURPOSE = "session token"
SHORTEST, LONGEST, USUAL = timedelta(minutes=15), timedelta(hours=12), timedelta(hours=1)
"""How long a token may be good (as AssumeRole has it), by wall time."""
LONGEST_TOKEN = 8_192
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_MERCHANT = struct.Struct(">I")


class Session(NamedTuple):
    """A temporary access key.  ``lender``: the access key id behind it; ``until``: wall time.  Prints without the secret."""

    merchant_id: int
    lender: str
    access_key_id: str
    secret: str
    until: datetime
    allowed: Allowed

    def __repr__(self) -> str:
        return f"Session({self.access_key_id}, of {self.lender}, until {self.until.isoformat()})"

    __str__ = __repr__


def new_access_key_id(prefix: str = "AKIA") -> str:
    """A fresh name of a key: four letters that say of what kind, and 80 random bits."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(16))


def new_secret() -> str:
    """A fresh secret of 240 bits, 40 characters."""
    return base64.b64encode(secrets.token_bytes(30)).decode()


def new_access_key(allowed: Allowed) -> NewCredential:
    """An access key of the door of stores with fresh secrets: what requests are signed with, and what ours to the retailer are."""
    return NewCredential("jwo", new_access_key_id(), new_secret(), new_secret(), allowed=allowed)


def lend(ring: Keyring, lender: Credential, wall: datetime, good_for: timedelta, allowed: Allowed) -> tuple[Session, str]:
    """A temporary key and its token.  ``allowed`` narrows what the lender may do; it is asked as well, at every request."""
    session = Session(
        lender.merchant_id, lender.public_name, new_access_key_id("ASIA"), new_secret(), wall.replace(microsecond=0) + good_for, allowed)
    content = json.dumps({
        "lender": session.lender, "id": session.access_key_id, "secret": session.secret, "until": int(session.until.timestamp()),
        "allowed": allowed.as_json()})
    sealed = seal_text(ring, PURPOSE, session.merchant_id, content)
    return session, base64.b64encode(_MERCHANT.pack(session.merchant_id) + sealed).decode()


def opener(ring: Keyring) -> Callable[[str], Session | None]:
    """How tokens are opened; ``None`` for a text that is no token of ours, or was sealed under a key that is gone."""
    def open_token(token: str) -> Session | None:
        if len(token) > LONGEST_TOKEN or not token.isascii():
            return None
        try:
            packed = base64.b64decode(token, validate=True)
            merchant_id, = _MERCHANT.unpack_from(packed)
            content = json.loads(open_text(ring, PURPOSE, merchant_id, packed[_MERCHANT.size:]))
        except (binascii.Error, struct.error, NotOpened, UnknownKey):
            return None
        until = datetime.fromtimestamp(content["until"], UTC)
        return Session(merchant_id, content["lender"], content["id"], content["secret"], until, Allowed.of(content["allowed"]))

    return open_token
