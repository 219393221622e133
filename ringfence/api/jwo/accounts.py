"""Access keys: whose key signed a request, what it may do, and the signing key of the day.

Every request asks the directory, so that a key that was switched off is off at once; what is kept here only spares arithmetic.
Refuses to know headers and signatures.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ringfence.api.jwo import sigv4
from ringfence.api.jwo.door import DOOR, Caller
from ringfence.engine.credentials import EVERYTHING, Allowed
from ringfence.engine.directory import Directory
from ringfence.engine.session_tokens import Session

KEPT = 1_024
"""Signing keys and opened tokens that are kept; behind that it begins again."""


class Unknown(StrEnum):
    """Why nobody is found."""

    KEY = "key"                         # no such access key, or the token is not its
    EXPIRED = "expired"                 # the token's time is over


class Account(NamedTuple):
    """Who has the key.  ``regions`` may be signed for, empty: all; both ``lender`` and ``session`` must allow an operation.

    Prints without the secret.
    """

    caller: Caller
    secret: str
    lender: Allowed
    session: Allowed = EVERYTHING

    def __repr__(self) -> str:
        return f"Account({self.caller.credential!r})"

    __str__ = __repr__

    def may(self, operation: str) -> bool:
        """Whether it may do this somewhere."""
        return self.lender.may(operation) and self.session.may(operation)

    @property
    def regions(self) -> frozenset[str]:
        """For which regions it may sign; empty: for all."""
        return self.lender.regions


class Accounts:
    """The access keys of one process."""

    def __init__(self, directory: Directory, open_token: Callable[[str], Session | None]) -> None:
        self._directory, self._open = directory, open_token
        self._keys: dict[tuple[str, str, str], tuple[str, bytes]] = {}
        self._sessions: dict[str, Session] = {}

    def find(self, access_key_id: str, token: str | None, wall: datetime) -> Account | Unknown:
        """Whose key this is.  A token must be the key's own and in time; a key that was lent is nothing without one."""
        if token is None:
            return self._account(access_key_id)
        session = self._session(token)
        if session is None or session.access_key_id != access_key_id:
            return Unknown.KEY
        if wall >= session.until:
            return Unknown.EXPIRED
        found = self._account(session.lender)
        if isinstance(found, Unknown) or found.caller.merchant.merchant_id != session.merchant_id:
            return Unknown.KEY
        caller = found.caller._replace(stores=_both(found.caller.stores, session.allowed.stores))
        return found._replace(caller=caller, secret=session.secret, session=session.allowed)

    def signing_key(self, account: Account, claim: sigv4.Claim) -> bytes:
        """The key that the request has to be signed with; made once a day, for each region."""
        place = claim.access_key_id, claim.day, claim.region
        kept = self._keys.get(place)
        if kept is not None and kept[0] == account.secret:
            return kept[1]
        key = sigv4.signing_key(account.secret, claim.day, claim.region)
        if len(self._keys) >= KEPT:
            self._keys.clear()
        self._keys[place] = account.secret, key
        return key

    def _account(self, access_key_id: str) -> Account | Unknown:
        credential = self._directory.named(DOOR, access_key_id)
        merchant = None if credential is None else self._directory.by_id(credential.merchant_id)
        if credential is None or merchant is None:
            return Unknown.KEY
        return Account(Caller(merchant, credential, credential.allowed.stores), credential.request_phrase, credential.allowed)

    def _session(self, token: str) -> Session | None:
        kept = self._sessions.get(token)
        if kept is None and (kept := self._open(token)) is not None:
            if len(self._sessions) >= KEPT:
                self._sessions.clear()
            self._sessions[token] = kept
        return kept


NOWHERE = frozenset({""})
"""Stores of a session that shares none with its lender: no store is called nothing."""


def _both(ours: frozenset[str], theirs: frozenset[str]) -> frozenset[str]:
    """The stores that both allow; an empty set stands for all."""
    if not ours or not theirs:
        return ours or theirs
    return ours & theirs or NOWHERE
