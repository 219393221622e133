"""Return addresses: where a payer's browser may be sent back to.

Decides by the merchant's list of origins; an address is compared, kept byte for byte, and never fetched.  The one judge for every door.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode, urlsplit

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.\-_]*[A-Za-z0-9.])?")
_WRITTEN = re.compile("[!-~]+")                     # printable ASCII without spaces
_ODD = frozenset("\\\"<>^`{|}")                     # a browser reads some of these otherwise than we do


def origin_of(url: str) -> str | None:
    """``scheme://host`` in small letters, with the port where it is not the scheme's own; ``None`` for what is no address of a page.

    User names, backslashes and control characters are refused: browsers and programs do not agree on where such an address leads.
    """
    if not _WRITTEN.fullmatch(url) or not _ODD.isdisjoint(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or "@" in parts.netloc or not url[len(scheme):].startswith("://"):
        return None
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc
    if not _HOST.fullmatch(host) or port == 0:
        return None
    host = host.lower().rstrip(".")
    return f"{scheme}://{host}" if port in (None, _PORTS[scheme]) else f"{scheme}://{host}:{port}"


def may_return(url: str, origins: Iterable[str], is_live: bool) -> bool:
    """Whether a browser may be sent to ``url``.  ``origins``: those the merchant allowed; without any, a sandbox allows all and live none."""
    origin = origin_of(url)
    if origin is None:
        return False
    allowed = [origin_of(one) for one in origins]
    return origin in allowed if allowed else not is_live


def with_query(url: str, fields: Mapping[str, str]) -> str:
    """``url`` with ``fields`` behind its own query, before its fragment; everything that was there stays as it is."""
    front, mark, fragment = url.partition("#")
    joint = "" if front.endswith(("?", "&")) else "&" if "?" in front else "?"
    return f"{front}{joint}{urlencode(fields)}{mark}{fragment}"


def query_names(url: str) -> frozenset[str]:
    """The names in the address's own query."""
    query = url.partition("#")[0].partition("?")[2]
    return frozenset(part.partition("=")[0] for part in query.split("&") if part)
