"""SMS: a parcel as one POST to a provider, in the form that the operator wrote down.

Every provider's interface is a little different and all of them are an address and a body: both are templates here.  What is filled in is
escaped for the body's form, so that no text can add a field.
"""
from __future__ import annotations

import ipaddress
import json
import re
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from ringfence.background.calling import Caller, CallFailed
from ringfence.background.messages import NotSent, Parcel, Send
from ringfence.engine.addresses import Rules

JSON, FORM = "json", "form"
TYPES = {JSON: "application/json", FORM: "application/x-www-form-urlencoded"}
AGAIN = frozenset({408, 425, 429})
"""Refusals that mean "later"."""
_BLANK = re.compile(r"\{(to|text)\}")
#: The operator's own choice of address: it may be anywhere.
ANYWHERE = Rules(frozenset({"http", "https"}), None, True, (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")))


class Provider(NamedTuple):
    """Who sends texts.  ``{to}`` in ``url`` and ``body``, ``{text}`` in ``body`` are filled in.  Prints without what it authorizes with."""

    url: str
    form: str
    body: str
    authorization: str
    seconds: float

    def __repr__(self) -> str:
        return f"Provider({self.url})"

    __str__ = __repr__


def filled(provider: Provider, to: str, text: str) -> tuple[str, bytes]:
    """Address and body of one request."""
    values = {"to": to, "text": text}

    def in_body(found: re.Match[str]) -> str:
        value = values[found[1]]
        return json.dumps(value)[1:-1] if provider.form == JSON else quote_plus(value)

    url = _BLANK.sub(lambda found: quote(values[found[1]], safe=""), provider.url)
    return url, _BLANK.sub(in_body, provider.body).encode()


def http(provider: Provider) -> Send:
    """Sends by this provider."""
    async def send(parcel: Parcel) -> None:
        url, body = filled(provider, parcel.recipient, parcel.letter.text)
        headers = {"content-type": TYPES[provider.form], "idempotency-key": parcel.identity, "user-agent": "ringfence", "connection": "close"}
        if provider.authorization:
            headers["authorization"] = provider.authorization
        caller = Caller(ANYWHERE)
        try:
            answer = await caller.post(url, headers, body, provider.seconds)
        except CallFailed as failed:
            raise NotSent(f"the SMS provider cannot be used ({failed.reason})") from None
        finally:
            await caller.close()
        if not 200 <= answer.status < 300:
            raise NotSent(f"the SMS provider answered {answer.status}", for_good=400 <= answer.status < 500 and answer.status not in AGAIN)

    return send
