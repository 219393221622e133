"""Returns: how a payer's browser is sent back to an APS shop, with the signed answer in its hands.

Decides the address (the request's own, else the channel's), whether the browser may go there at all, and how: by POST, or by GET where
the account says so.  Refuses to know what the answer says.
"""
from __future__ import annotations

import logging
from collections.abc import Mapping

from ringfence.api.aps.answers import fields_of
from ringfence.api.aps.door import Account
from ringfence.api.aps.fields import CHECKS
from ringfence.engine.browser import Return
from ringfence.engine.return_address import may_return, origin_of, query_names
from ringfence.engine.sessions import Ending

REDIRECTION, MERCHANT_PAGE = "redirection", "merchant_page"
MISSING, NOT_ALLOWED, MALFORMED = "00037", "00040", "00002"
ANY = ("http:", "https:")

#: How a payment ended that did not go well, by code or message; all others were declined.
ENDS = {"15777": "unknown", "072": "cancelled", "778": "expired", "007": "elsewhere"}

log = logging.getLogger(__name__)


def address_of(account: Account, channel: str, params: Mapping[str, str]) -> tuple[str, str]:
    """Where to go back to, and why not: the address, "" and a response code where there is none that may be used.

    ``params`` need not be a request that is right: what is wrong with one is told at its address, too.  An account's own address was given
    by the merchant and is always good.
    """
    url = params.get("return_url", "")
    if not url:
        url = account.merchant.settings.at("return_url", channel)
        return (url, "") if url else ("", MISSING)
    if not CHECKS["return_url"](url):
        return "", MALFORMED
    origins = account.settings.return_origins
    if not may_return(url, origins or (), origins is not None):
        return "", NOT_ALLOWED
    return url, ""


def may_go(account: Account, channel: str, url: str) -> bool:
    """Whether the browser may still go to an address that was good before: what an account allows may have changed meanwhile."""
    origins = account.settings.return_origins
    return url == account.merchant.settings.at("return_url", channel) or may_return(url, origins or (), origins is not None)


def note_barred(merchant: str, url: str) -> None:
    """Record that a browser was to leave for an address that its merchant allowed once, and did not.  Of the address its origin only."""
    log.warning("a payer of merchant %s is not sent to %s: its return_origins name it no more", merchant, origin_of(url) or "what is no address")


def ending(code: str, *, went_well: bool) -> Ending:
    """The word for the end of a payment with that code, for a page that says it itself."""
    if went_well:
        return Ending("paid")
    return Ending(ENDS.get(code) or ENDS.get(code[2:], "declined"))


def back(account: Account, channel: str, url: str, body: dict[str, object], language: str) -> Return:
    """The way back with an answer."""
    fields = fields_of(body, account.credential)
    return carried(url, account.merchant.settings.at("return_method", channel), fields, language)


def carried(url: str, method: str, fields: dict[str, str], language: str) -> Return:
    """The way back with signed fields.  By GET only where none of their names is in the address's own query already: a client reads both
    from one place, and would find the wrong one."""
    if method == "GET" and not query_names(url).isdisjoint(fields):
        method = "POST"
    return Return(url, method, fields, language)


def framed_by(account: Account) -> tuple[str, ...]:
    """Whose pages may show a merchant page in a frame: those that a browser may be sent back to."""
    return ANY if account.settings.return_origins is None else account.settings.return_origins
