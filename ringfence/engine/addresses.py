"""Which addresses merchants may be told at, and so where this service may be made to call.

Judged twice: when an address is given (form, scheme, port, literal addresses), and at every new connection, when its name has been
resolved.  Whoever can write an address must not reach through us what only we can reach: our own host, the network around it,
the metadata service of a cloud.  Refuses to resolve names and to call anybody.
"""
from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from ringfence.engine.settings import ROWS, Network, SettingError, Settings

NETWORKS_SETTING, PORTS_SETTING = "RINGFENCE_WEBHOOK_NETWORKS", "RINGFENCE_WEBHOOK_PORTS"
"""Where an operator allows more, so that a refusal can say it."""
MAX_URL = 400
DEFAULT_PORTS = {"http": 80, "https": 443}

#: IPv4 addresses in IPv6 ones, which a gateway on the way may turn back; Python calls them global.
TRANSLATED = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "::/96", "::ffff:0:0:0/96"))
#: Everything else of IPv6 is special or was never given out, such as the site-local addresses of old; Python calls some of it global.
UNICAST = ipaddress.ip_network("2000::/3")
#: Public by its number, and answered by the host that a virtual machine runs on.
METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})

_ENDS_IN_NUMBER = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$", re.IGNORECASE | re.ASCII)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\.?", re.IGNORECASE | re.ASCII)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Rules(NamedTuple):
    """What an installation allows.  ``ports`` is ``None`` for any; ``networks`` are allowed although they are not public."""

    schemes: frozenset[str]
    ports: frozenset[int] | None
    loopback: bool
    networks: tuple[Network, ...] = ()


def rules_for(is_live: bool, networks: Iterable[Network] = (), ports: Iterable[int] = ()) -> Rules:
    """Live: https on its default port.  A sandbox also takes http, any port and its own machine.  Both may be widened."""
    if is_live:
        return Rules(frozenset({"https"}), frozenset({443, *ports}), False, tuple(networks))
    return Rules(frozenset({"http", "https"}), None, True, tuple(networks))


def problem(url: str, rules: Rules) -> str | None:
    """Why this URL cannot be an address to tell a merchant at; ``None`` where it can."""
    if not url or len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return f"must be an address of at most {MAX_URL} printable ASCII characters without spaces"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not an address"
    if parts.scheme not in rules.schemes:
        return f"must begin with {' or '.join(f'{scheme}://' for scheme in sorted(rules.schemes))}"
    if "@" in parts.netloc:
        return "must not hold a user name or a password"
    if "#" in url:
        return "must not hold a fragment"
    if port == 0 or (rules.ports is not None and port_of(parts) not in rules.ports):
        return f"must use port {' or '.join(map(str, sorted(rules.ports)))}; {PORTS_SETTING} can allow others" if rules.ports else "names no port"
    return _host_problem(parts, rules)


def _host_problem(parts: SplitResult, rules: Rules) -> str | None:
    host = parts.hostname or ""
    if "[" in parts.netloc or ":" in host:
        if not re.fullmatch(r"\[[^\[\]%]+\](:\d+)?", parts.netloc):
            return "is not an address"
        why = forbidden(host, rules)
        return f"names {host}, which {why}" if why else None
    if _ENDS_IN_NUMBER.search(host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            return "names a host by a number that is not written as an IP address usually is"
        why = forbidden(host, rules)
        return f"names {host}, which {why}" if why else None
    if len(host) > 253 or not _HOST.fullmatch(host):
        return "names no host"
    if not rules.loopback and re.fullmatch(r"(.*\.)?localhost\.?", host):
        return f"names {host}, which is this machine"
    return None


def forbidden(address: str, rules: Rules) -> str | None:
    """Why this IP address, as a text, must not be called; ``None`` where it may be."""
    try:
        ip: Address = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return "is not an IP address"
    why = _inside(ip, rules)
    return why and f"{why}, and in none of {NETWORKS_SETTING}"


def _inside(ip: Address, rules: Rules) -> str | None:
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip.version == network.version and ip in network for network in rules.networks):
        return None
    if ip.is_loopback:
        return None if rules.loopback else "is this machine"
    if any(ip.version == network.version and ip in network for network in TRANSLATED):
        return "stands for another address"
    if ip in METADATA or ip.is_multicast or not ip.is_global or (ip.version == UNICAST.version and ip not in UNICAST):
        return "is not a public address"
    return None


def port_of(parts: SplitResult) -> int:
    """The port that a URL means."""
    return parts.port or DEFAULT_PORTS[parts.scheme]


def judge(rules: Rules, rows: Iterable[str] = (
    "feedback_url", "notification_url", "plan_url", "ppro_webhook_url", "ppro_dispute_webhook_url",
    "connector_purchases_url", "connector_authorization_url",
)) -> Callable[[Settings, Settings], list[SettingError]]:
    """What the directory asks before it stores a change: every address that is new is judged, in every channel."""
    assert set(rows) <= ROWS.keys()

    def judged(before: Settings, after: Settings) -> list[SettingError]:
        errors = []
        for row in rows:
            known, wanted = (_by_channel(getattr(settings, row)) for settings in (before, after))
            for channel, url in sorted(wanted.items()):
                if url and known.get(channel) != url and (why := problem(url, rules)):
                    errors.append(SettingError(f"{row}.{channel}" if channel else row, why))
        return errors
    return judged


def _by_channel(value: str | Mapping[str, str] | tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The addresses of a row, by channel or store; ``""`` for all."""
    return {"": value} if isinstance(value, str) else dict(value)
