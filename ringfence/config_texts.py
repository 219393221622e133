"""Texts of the environment as values: one reader for each kind of variable.

Each turns a text into the value, and raises ``ValueError`` (``flag`` also ``KeyError``) for what is not allowed.  Knows no variable by name.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

MOST = 64
"""So many values may stand in one list."""


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """A whole number between two, both allowed."""
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError(text)
        return int(text)
    return read


def seconds(lowest: float, highest: float) -> Callable[[str], float]:
    """Seconds with up to three decimals, between two lengths."""
    def read(text: str) -> float:
        if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text, re.ASCII) or not lowest <= float(text) <= highest:
            raise ValueError(text)
        return float(text)
    return read


def flag(text: str) -> bool:
    """Yes or no."""
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}[text.lower()]


def host(text: str) -> str:
    """A host name or address."""
    if not re.fullmatch(r"[A-Za-z0-9.:_-]{1,255}", text, re.ASCII):
        raise ValueError(text)
    return text


def database(text: str) -> str:
    """The address of a PostgreSQL."""
    if urlsplit(text).scheme not in ("postgresql", "postgres"):
        raise ValueError(text)
    return text


def base(text: str) -> str:
    """The address of a site, without a slash at its end."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(text)
    return text.rstrip("/")


def token(text: str) -> str:
    """A bearer token."""
    if not re.fullmatch(r"[!-~]{20,200}", text, re.ASCII):
        raise ValueError("too short or not printable")      # never the value: it is a secret
    return text


def level(text: str) -> str:
    """A level of logging."""
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError(text)
    return text.upper()


def one_of(*words: str) -> Callable[[str], str]:
    """One of these words."""
    def read(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()
    return read


def printable(text: str) -> str:
    """Printable ASCII."""
    if not re.fullmatch(r"[ -~]{1,400}", text, re.ASCII):
        raise ValueError("not printable")                   # never the value: it may be a secret
    return text


def mail_address(text: str) -> str:
    """A plain mail address."""
    if not re.fullmatch(r"[A-Za-z0-9_.+\-]{1,64}@[A-Za-z0-9.\-]{1,189}", text, re.ASCII):
        raise ValueError(text)
    return text


def sms_url(text: str) -> str:
    """The address of a provider of SMS."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.fragment or not re.fullmatch("[!-~]{1,300}", text):
        raise ValueError(text)
    return text


def sms_body(text: str) -> str:
    """A text with a place for the message."""
    if "{text}" not in text or len(text) > 4_000:
        raise ValueError(text)
    return text


def region(text: str) -> str:
    """A region of a signature; also what some clients take for one: the first label of a host, with its port."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.:-]{0,62}", text, re.ASCII):
        raise ValueError(text)
    return text


def processor(text: str) -> str:
    """The name of a processor."""
    if text != "simulator":
        raise ValueError(text)
    return text


class Several(tuple[Any, ...]):
    """Values that are written with commas between them."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(format(one, "g") if isinstance(one, float) else str(one) for one in self)


def each(read: Callable[[str], Any]) -> Callable[[str], Several]:
    """Values with commas between them; blanks around them do not matter."""
    def read_all(text: str) -> Several:
        parts = text.split(",") if text else []
        if len(parts) > MOST:
            raise ValueError(text)
        return Several(read(part.strip()) for part in parts)
    return read_all


def instant(text: str) -> datetime:
    """ISO 8601 with its offset, without a fraction."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})", text, re.ASCII):
        raise ValueError(text)
    return datetime.fromisoformat(text)
