"""Signatures: the text that an APS message's hash covers, and whether a hash is right.

Decides nothing about parameters beyond their text: sorted by name in byte order, ``name=value`` one after the other without any
separator, wrapped in the phrase, hashed, written as lower-case hex.  What a request's parameters may be is somebody else's question;
so is whether one text can mean two requests (see ``ambiguity``).
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hmac import compare_digest
from operator import itemgetter
from typing import Any

SHA_TYPES = ("SHA-256", "SHA-512", "HMAC-256", "HMAC-512")

#: With every ``_`` sorted before the digits, as culture-aware sorting of some .NET runtimes does.
_UNDERSCORE_FIRST = str.maketrans({"_": "\x00"})

#: Signed neither by any client nor by us: the one nested list of a query's answer.
UNSIGNED_ALWAYS = frozenset({"signature", "installment_detail"})


def digest(pairs: str, phrase: str, sha_type: str) -> str:
    """The signature of ``pairs`` (see ``join``) under a phrase: 64 or 128 lower-case hex digits.  ``KeyError`` for an unknown kind."""
    return _HASHES[sha_type](f"{phrase}{pairs}{phrase}".encode(), phrase)


#: From the octets, phrases and all, and the phrase.  The HMAC kinds use the phrase twice: as the key, and around the text.
_HASHES: dict[str, Callable[[bytes, str], str]] = {
    "SHA-256": lambda octets, phrase: hashlib.sha256(octets).hexdigest(),
    "SHA-512": lambda octets, phrase: hashlib.sha512(octets).hexdigest(),
    "HMAC-256": lambda octets, phrase: _keyed(hashlib.sha256, octets, phrase),
    "HMAC-512": lambda octets, phrase: _keyed(hashlib.sha512, octets, phrase),
}


def _keyed(kind: Callable[[bytes], Any], octets: bytes, phrase: str) -> str:
    """HMAC (RFC 2104) from two hashes that have eaten the phrase already; the library's own begins anew each time, at four
    times the cost."""
    inner, outer = (begun.copy() for begun in _pads(kind, phrase))
    inner.update(octets)
    outer.update(inner.digest())
    return outer.hexdigest()


@lru_cache(maxsize=1024)
def _pads(kind: Callable[[bytes], Any], phrase: str) -> tuple[Any, Any]:
    """The inner and the outer hash of a phrase."""
    block = kind(b"").block_size
    key = phrase.encode()
    key = (kind(key).digest() if len(key) > block else key).ljust(block, b"\0")
    return kind(bytes(octet ^ 0x36 for octet in key)), kind(bytes(octet ^ 0x5C for octet in key))


def digest_octets(octets: bytes, phrase: str, sha_type: str) -> str:
    """The hash of a whole text in any encoding, whatever stands around the pairs."""
    return _HASHES[sha_type](octets, phrase)


def join(params: Mapping[str, object]) -> str:
    """The pairs of all parameters but the signature, in byte order of their names; nested values become text."""
    signed = dict(params)
    for name in UNSIGNED_ALWAYS:
        signed.pop(name, None)
    return join_texts(signed) if _TEXTS_ONLY.issuperset(map(type, signed.values())) else join_texts(
        {name: text(value) for name, value in signed.items()}
    )


_TEXTS_ONLY = frozenset({str})


def join_texts(signed: Mapping[str, str]) -> str:
    """``join`` where every value is a text and the signature is not among them."""
    return "".join([f"{name}={signed[name]}" for name in sorted(signed)])


@dataclass(frozen=True, slots=True)
class Spelling:
    """How parameters of certain names are joined: ``values`` takes their values in the order of the pairs, and ``pieces`` are the pairs
    cut at every seam, each second one waiting for its value."""

    values: Callable[[Mapping[str, str]], tuple[str, ...]]
    pieces: list[str]

    def pairs(self, values: Sequence[str]) -> str:
        """``join_texts`` of the parameters that ``values`` were taken from."""
        written = self.pieces.copy()
        written[1::2] = values
        return "".join(written)


@lru_cache(maxsize=1024)
def spelling(names: tuple[str, ...]) -> Spelling:
    """The spelling of two names or more.  Kept, hence only for names that a request was accepted with."""
    ordered = sorted(names)
    return Spelling(itemgetter(*ordered), [piece for name in ordered for piece in (f"{name}=", "")])


class Running:
    """The signature of pairs that come piece by piece, so that nobody has to hold them all.  ``KeyError`` for an unknown kind."""

    def __init__(self, phrase: str, sha_type: str) -> None:
        keyed, kind = _KINDS[sha_type]
        self._phrase = phrase.encode()
        self._inner, self._outer = (begun.copy() for begun in _pads(kind, phrase)) if keyed else (kind(), None)
        self._inner.update(self._phrase)

    def update(self, pairs: str) -> None:
        """The next piece."""
        self._inner.update(pairs.encode())

    def finish(self) -> str:
        """The signature, as ``digest`` writes it; nothing may follow."""
        self._inner.update(self._phrase)
        if self._outer is None:
            return self._inner.hexdigest()
        self._outer.update(self._inner.digest())
        return self._outer.hexdigest()


_KINDS: dict[str, tuple[bool, Callable[..., Any]]] = {
    "SHA-256": (False, hashlib.sha256), "SHA-512": (False, hashlib.sha512), "HMAC-256": (True, hashlib.sha256), "HMAC-512": (True, hashlib.sha512),
}


def text(value: object) -> str:
    """A value as the signature sees it: ``{k=v, k2=v2}``, ``[a, b]``, the keys inside in the order received.

    Numbers are their digits, booleans ``true`` and ``false``, nothing (null) is the empty text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join([f"{name}={text(inner)}" for name, inner in value.items()]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(text, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def sign(params: Mapping[str, object], phrase: str, sha_type: str = "SHA-256") -> str:
    """The signature of a message; ``signature`` itself is left out if it is there."""
    return digest(join(params), phrase, sha_type)


def matching(params: Mapping[str, str], phrase: str, sha_type: str, unsigned: Iterable[str] = ()) -> str | None:
    """The pairs that the request's ``signature`` covers, or ``None`` where it covers none of the accepted readings.

    The plain reading is tried first and alone costs anything on a good day.  Others: empty values left out, names sorted with ``_``
    before digits, and the fields in ``unsigned`` left out.  Compared in constant time, upper-case hex is as good as lower-case.
    """
    signed = dict(params)
    given = signed.pop("signature", "").lower().encode()
    pairs = join_texts(signed)
    if compare_digest(digest(pairs, phrase, sha_type).encode(), given):
        return pairs
    tried = {pairs}
    for pairs in readings(signed, unsigned):
        if pairs not in tried:
            tried.add(pairs)
            if compare_digest(digest(pairs, phrase, sha_type).encode(), given):
                return pairs
    return None


def readings(signed: Mapping[str, str], unsigned: Iterable[str] = ()) -> Iterator[str]:
    """Every accepted way to write the pairs of a request (without its signature), the plain one first; some may be equal."""
    for omitted in (frozenset(), frozenset(unsigned)):
        for with_empty in (True, False):
            pairs = [(name, value) for name, value in sorted(signed.items()) if name not in omitted and (with_empty or value)]
            yield "".join([f"{name}={value}" for name, value in pairs])
            yield "".join([f"{name}={value}" for name, value in sorted(pairs, key=underscore_first)])


def underscore_first(pair: tuple[str, str]) -> str:
    """The sort key of clients that put ``_`` before digits."""
    return pair[0].translate(_UNDERSCORE_FIRST)


def verify(params: Mapping[str, str], phrase: str, sha_type: str, unsigned: Iterable[str] = ()) -> bool:
    """Whether the request's signature is right in one of the accepted readings (see ``matching``)."""
    return matching(params, phrase, sha_type, unsigned) is not None
