"""Kinds of settings: how a value is read from text, written back, and described.

Knows no setting by name.  A rule raises ``ValueError`` (or ``KeyError``) for what is not allowed.
"""
from __future__ import annotations

import ipaddress
import re
import zoneinfo
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ringfence.core.retries import Limit
from ringfence.core.strategy import Strategy
from ringfence.engine.return_address import origin_of

PAYMENT_OPTIONS = ("VISA", "MASTERCARD", "AMEX", "MADA", "MEEZA", "DISCOVER", "DINERS", "JCB", "UNIONPAY", "MAESTRO")
"""Card brands as APS names them (``payment_option``)."""

Read = Callable[[str], Any]
Write = Callable[[Any], str]


class Rule(NamedTuple):
    """How a setting is read from text, written back, and described.  ``read`` raises ``ValueError`` for what is not allowed."""

    read: Read
    write: Write
    allowed: str


class SettingError(NamedTuple):
    """A change that was refused: the key, and what is allowed there."""

    key: str
    problem: str


def _read_flag(text: str) -> bool:
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}[text.lower()]


FLAG = Rule(_read_flag, lambda value: "on" if value else "off", "on or off")


def _read_not_yet(text: str) -> bool:
    if _read_flag(text):
        raise ValueError
    return False


NOT_YET = Rule(_read_not_yet, FLAG.write, "off (this service is not offered yet)")


def one_of(*words: str) -> Rule:
    """Exactly one of the words; upper and lower case are the same."""
    by_lower = {word.lower(): word for word in words}
    return Rule(lambda text: by_lower[text.lower()], str, " or ".join(words))


def some_of(words: Iterable[str], allowed: str) -> Rule:
    """A set of words separated by commas; empty means all."""
    known = frozenset(words)

    def read(text: str) -> frozenset[str]:
        chosen = frozenset(word.strip().upper() for word in text.split(",") if word.strip())
        if not chosen <= known:
            raise ValueError
        return chosen

    return Rule(read, lambda value: ",".join(sorted(value)), allowed)


def whole(lowest: int, highest: int, unit: str) -> Rule:
    """A whole number within limits, both included."""
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError
        return int(text)

    return Rule(read, str, f"{lowest} to {highest} {unit}")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _read_networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


NETWORKS = Rule(_read_networks, lambda value: ",".join(str(network) for network in value),
                "IP addresses or networks such as 192.0.2.7,2001:db8::/32; empty for any")


def _read_address(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password
                 or len(text) > 400 or not text.isascii() or not text.isprintable() or " " in text):
        raise ValueError
    return text


ADDRESS = Rule(_read_address, str, "an http or https address of at most 400 characters without user and password, or empty")


def _read_origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for origin in origins:
        if origin_of(origin) is None or origin.count("/") != 2 or not {"?", "#"}.isdisjoint(origin):
            raise ValueError
    return origins


def _read_days(text: str) -> tuple[int, ...]:
    days = tuple(int(part) for part in text.split(",") if part.strip())
    if list(days) != sorted(set(days)) or len(days) > 30 or any(not 1 <= day <= 90 for day in days):
        raise ValueError
    return days


DAYS = Rule(_read_days, lambda value: ",".join(map(str, value)), "at most 30 growing numbers of days, 1 to 90, such as 2,6,13; empty for none")


def _read_limits(text: str) -> tuple[Limit, ...]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([A-Za-z]+):(\d{1,4})/(\d{1,3})", part, re.ASCII)
        if match is None or match[1].upper() not in PAYMENT_OPTIONS or not 1 <= int(match[2]) <= 1000 or not 1 <= int(match[3]) <= 365:
            raise ValueError
        found.append(Limit(match[1].upper(), int(match[2]), int(match[3])))
    return tuple(found)


LIMITS = Rule(_read_limits, lambda value: ",".join(f"{one.brand}:{one.most}/{one.days}" for one in value),
              "BRAND:DECLINES/DAYS separated by commas, such as VISA:15/30; empty for no limits")

ORIGINS = Rule(_read_origins, ",".join, "addresses without a path such as https://shop.example, separated by commas; empty for any")


_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}) *: *([!-:<-~](?:[ -:<-~]{0,254}[!-:<-~])?)", re.ASCII)
_NOT_THEIRS = re.compile(
    r"host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|user-agent|proxy-.*|ringfence-.*|webhook-signature|ppro-signature",
    re.IGNORECASE)


def _read_headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for part in filter(None, map(str.strip, text.split(";"))):
        found = _HEADER.fullmatch(part)
        if found is None or _NOT_THEIRS.fullmatch(found[1]):
            raise ValueError
        headers.append((found[1], found[2]))
    if len(headers) > 20 or len({name.lower() for name, _ in headers}) < len(headers):
        raise ValueError
    return tuple(headers)


HEADERS = Rule(_read_headers, lambda value: ";".join(f"{name}:{one}" for name, one in value),
               "at most 20 of NAME:VALUE separated by semicolons, each once, none that HTTP or the service needs; empty for none")

_AT_STORE = re.compile(r"(?:(\*|[0-9A-Za-z_-]{1,255})=)?(https?://[^;\s]{1,380})")


def _read_by_store(text: str) -> tuple[tuple[str, str], ...]:
    chosen: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        found = _AT_STORE.fullmatch(part)
        if found is None or (store := found[1] or "*") in chosen or len(chosen) >= 100:
            raise ValueError
        chosen[store] = _read_address(found[2])
    return tuple(sorted(chosen.items()))


BY_STORE = Rule(_read_by_store, lambda value: ";".join(f"{store}={url}" for store, url in value),
                "STORE=ADDRESS by semicolons, * or nothing before the address for all other stores; empty for none")


def _matching(pattern: str, allowed: str) -> Rule:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError
        return text

    return Rule(read, str, allowed)


ACCESS_KEY = _matching(r"(A[A-Z0-9]{9,127})?", "an access key id, or empty")
REGION = _matching(r"[a-z0-9][a-z0-9-]{0,62}", "a region such as us-east-1")

def patterns(signs: str, words: str, example: str) -> Rule:
    """Patterns, each with a word, in the order in which they are tried."""
    form = re.compile(rf"([{signs}]{{1,255}}):({words})")

    def read(text: str) -> tuple[tuple[str, str], ...]:
        found = [form.fullmatch(part) for part in filter(None, map(str.strip, text.split(",")))]
        if not all(found):
            raise ValueError
        return tuple((one[1], one[2]) for one in found if one)

    return Rule(read, lambda value: ",".join(f"{pattern}:{word}" for pattern, word in value), example)


PATTERNS = patterns(r"A-Za-z0-9_/\\\-.#$%&@*", "required|flexible|off",
                    "PATTERN:MODE by commas, such as low-*:off,gift:required; a pattern's last * is for whatever follows; empty for none")
STORES = patterns(r"A-Za-z0-9_\-*", "|".join(Strategy), "STORE:STRATEGY by commas, such as STORE-001:search,NORTH-*:write_off; empty for none")


def _read_countries(text: str) -> frozenset[str]:
    chosen = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    if not all(re.fullmatch("[A-Z]{2}", one) for one in chosen):
        raise ValueError
    return chosen


COUNTRIES = Rule(_read_countries, lambda value: ",".join(sorted(value)), "ISO 3166-1 codes of two letters separated by commas; empty for all")


def _read_zone(text: str) -> str:
    if text not in zoneinfo.available_timezones():
        raise ValueError
    return text


ZONE = Rule(_read_zone, str, "a time zone of the IANA database, such as Asia/Dubai")
