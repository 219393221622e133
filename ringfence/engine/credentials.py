"""Credentials: what callers prove themselves with at each door, what they may do with it, and which forms these have.

Values only.  Refuses to know where they are kept and who looks them up.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ringfence.engine.settings import SettingError

ALGORITHMS = ("SHA-256", "SHA-512", "HMAC-256", "HMAC-512")
MAX_EARLIER = 3
"""Webhook secrets of one credential that were replaced and still sign."""
PROVED_BY_KEY = frozenset({"ppro"})
"""Doors whose callers show their key, instead of signing with it."""
NAMED_ONCE = frozenset({"jwo"})
"""Doors whose callers say nothing of their merchant: a public name there is one merchant's, for ever."""
MOST_ACCESS_KEYS = 5
"""Access keys that a merchant has in force at the Just Walk Out door."""

OPERATIONS = ("adjust", "capture", "cancel", "refund", "transactional-data", "identity", "feedback", "checkout")
"""What an access key of the Just Walk Out door may be given, one by one."""


class Allowed(NamedTuple):
    """What an access key may do, in which stores, and for which regions it may sign; an empty set stands for all."""

    operations: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()

    def may(self, operation: str) -> bool:
        """Whether it may do this somewhere."""
        return not self.operations or operation in self.operations

    def as_json(self) -> dict[str, list[str]]:
        """As it is stored and shown."""
        return {name: sorted(value) for name, value in zip(self._fields, self, strict=True)}

    @classmethod
    def of(cls, stored: Mapping[str, Iterable[str]]) -> Allowed:
        """From what ``as_json`` made."""
        return cls(*(frozenset(stored.get(name, ())) for name in cls._fields))


EVERYTHING = Allowed()


class Earlier(NamedTuple):
    """A webhook secret that was replaced, and until when (wall time) it signs beside the one in force.  Prints without the secret."""

    secret: str
    until: datetime

    def __repr__(self) -> str:
        return f"Earlier({self.until.isoformat()})"

    __str__ = __repr__


class Credential(NamedTuple):
    """What a caller proves itself with.  Prints without its phrases.

    ``public_name`` is the APS access code, the merchant id of the PPRO door, or the access key id of the Just Walk Out door; the phrases are
    those of APS, the API key and the secret that webhooks are signed with, or the secret access key and the one that our own calls to the
    retailer are signed with.
    """

    merchant_id: int
    identifier: str
    door: str
    public_name: str
    request_phrase: str
    response_phrase: str
    algorithm: str
    earlier: tuple[Earlier, ...] = ()
    allowed: Allowed = EVERYTHING

    def __repr__(self) -> str:
        return f"Credential({self.identifier}, {self.door}, {self.public_name}, {self.algorithm})"

    __str__ = __repr__


class NewCredential(NamedTuple):
    """A credential to be made.  Prints without its phrases."""

    door: str
    public_name: str
    request_phrase: str
    response_phrase: str
    algorithm: str = ""
    allowed: Allowed = EVERYTHING

    def __repr__(self) -> str:
        return f"NewCredential({self.door}, {self.public_name}, {self.algorithm})"

    __str__ = __repr__


_PHRASE_RULE = (re.compile(r"[!-~]{4,64}", re.ASCII), "must be 4 to 64 printable ASCII characters without spaces")
_KEY_RULE = (re.compile(r"[A-Za-z0-9_.\-]{8,128}", re.ASCII), "must be 8 to 128 letters, digits, dots, dashes and underscores")
_SECRET_RULE = (re.compile(r"[!-~]{16,128}", re.ASCII), "must be 16 to 128 printable ASCII characters without spaces")

#: By door: what a credential's name, key and secret are called where they are wrong, and their forms.
FIELDS = {
    "aps": ("access_code", "sha_request_phrase", "sha_response_phrase"),
    "ppro": ("merchant_id", "api_key", "webhook_secret"),
    "jwo": ("access_key_id", "secret_access_key", "connector_secret"),
}
FORMS: Mapping[str, tuple[tuple[re.Pattern[str], str], ...]] = {
    "aps": ((re.compile(r"[A-Za-z0-9]{1,20}", re.ASCII), "must be 1 to 20 letters and digits"), _PHRASE_RULE, _PHRASE_RULE),
    "ppro": ((re.compile(r"merch_[A-Za-z0-9]{21}", re.ASCII), "must be merch_ and 21 letters and digits"), _KEY_RULE, _PHRASE_RULE),
    "jwo": ((re.compile(r"A[A-Z0-9]{9,127}", re.ASCII), "must be A and 9 to 127 capital letters and digits"), _SECRET_RULE, _SECRET_RULE),
}

_STORE = re.compile(r"[0-9A-Za-z_-]{1,255}", re.ASCII)
REGION = re.compile(r"[a-z0-9][a-z0-9.:-]{0,62}", re.ASCII)
"""A region of a signature, also the ``localhost:8080`` of clients that take the first label of a host for one."""
MOST_STORES = 1_000


def faults(one: NewCredential) -> list[SettingError]:
    """What is wrong with a credential, by the names of its door."""
    values = one.public_name, one.request_phrase, one.response_phrase
    errors = [
        SettingError(field, problem)
        for field, (form, problem), value in zip(FIELDS[one.door], FORMS[one.door], values, strict=True) if not form.fullmatch(value)]
    if one.door == "aps" and one.algorithm not in ALGORITHMS:
        errors.append(SettingError("sha_type", f"must be {' or '.join(ALGORITHMS)}"))
    return errors + faults_of(one.allowed)


def faults_of(allowed: Allowed) -> list[SettingError]:
    """What is wrong with what a key may do."""
    errors = []
    if not allowed.operations <= set(OPERATIONS):
        errors.append(SettingError("operations", f"must be among {', '.join(OPERATIONS)}; none for all"))
    if len(allowed.stores) > MOST_STORES or not all(map(_STORE.fullmatch, allowed.stores)):
        errors.append(SettingError("stores", f"must be at most {MOST_STORES} names of letters, digits, - and _; none for all"))
    if not all(map(REGION.fullmatch, allowed.regions)):
        errors.append(SettingError("regions", "must be regions such as us-east-1; none for all that this installation takes"))
    return errors


def sealed_json(one: NewCredential, earlier: Iterable[Earlier] = ()) -> dict[str, Any]:
    """What is sealed of a credential: its phrases, and what a door says of it that nobody who writes rows may change."""
    content: dict[str, Any] = {"request": one.request_phrase, "response": one.response_phrase}
    if replaced := [(before.secret, before.until.isoformat()) for before in earlier]:
        content["earlier"] = replaced
    if one.allowed != EVERYTHING:
        content["allowed"] = one.allowed.as_json()
    return content


def opened(merchant_id: int, identifier: str, door: str, public_name: str, algorithm: str, content: Mapping[str, Any]) -> Credential:
    """The credential again."""
    return Credential(
        merchant_id, identifier, door, public_name, content["request"], content["response"], algorithm,
        tuple(Earlier(secret, datetime.fromisoformat(until)) for secret, until in content.get("earlier", ())),
        Allowed.of(content.get("allowed", {})))
