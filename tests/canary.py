"""Canaries: secrets that a test plants, and a search for them in everything that was written.

``find_secrets`` reads files as they lie on the disk (database pages, write-ahead log, logs, books) and knows the shapes in which
a secret gets out: in clear, grouped, in hexadecimal, base64 or packed decimal, as a plain hash.  Three digits mean nothing by
themselves, so a security code is looked for beside a name of its field, or beside its card number.
"""
from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HASHES = ("md5", "sha1", "sha256", "sha512")
#: Names of a security code's field; ``code`` alone would find response codes.
_CODE_FIELD = rb"(?:security_?-?code|securityCode|cvv2?|cvc2?|\bcsc|\bcid)"
_BETWEEN = rb"[\"'\\]{0,4}\s{0,2}(?:=|:|,|>|%3[AaDd]|\s)\s{0,2}[\"'\\]{0,4}"
_NEAR = 64
_PIECE, _OVERLAP = 1 << 20, 512
_HEAD = 8


class Secrets(NamedTuple):
    """What must not be found: card numbers, security codes, signatures of requests (hexadecimal)."""

    numbers: frozenset[str] = frozenset()
    codes: frozenset[str] = frozenset()
    signatures: frozenset[str] = frozenset()


def find_secrets(paths: Iterable[Path], secrets: Secrets) -> list[tuple[Path, str]]:
    """Every (file, what) found; ``paths`` are files and folders.  ``what`` names the shape and the last digits, never the secret."""
    needles = dict(_needles(secrets))
    heads: dict[int, list[bytes]] = {}          # the first eight bytes of a needle as a number: many are looked for in one pass
    for needle in needles:
        heads.setdefault(int.from_bytes(needle[:_HEAD], sys.byteorder), []).append(needle)
    short = [needle for needle in needles if len(needle) < _HEAD]
    patterns = list(_patterns(secrets))
    found: dict[tuple[Path, str], None] = {}
    for path in _files(paths):
        for text in _pieces(path):
            likely = (needle for head in _seen(text, set(heads)) for needle in heads[head])
            found |= {(path, needles[needle]): None for needle in (*likely, *short) if needle in text}
            found |= {(path, what): None for pattern, what in patterns if pattern.search(text)}
    return list(found)


def _seen(text: bytes, wanted: set[int]) -> set[int]:
    """Which numbers of eight bytes stand anywhere in a text, wherever they begin."""
    found: set[int] = set()
    for start in range(_HEAD):
        end = start + (len(text) - start) // _HEAD * _HEAD
        found |= wanted.intersection(memoryview(text)[start:end].cast("Q"))
    return found


def _pieces(path: Path) -> Iterator[bytes]:
    """A file in pieces that overlap by more than the longest thing looked for; stretches of zeros are left out."""
    before = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if piece.strip(b"\0"):
                yield before + piece
            before = piece[-_OVERLAP:]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (inner for inner in sorted(path.rglob("*")) if inner.is_file())
        else:
            yield path


def _needles(secrets: Secrets) -> Iterator[tuple[bytes, str]]:
    """Byte strings and what each would mean."""
    for number in secrets.numbers:
        name, clear = f"card number …{number[-4:]}", number.encode()
        yield clear, f"{name} in clear"
        for gap in (b" ", b"-", b"\0"):
            yield gap.join(clear[at:at + 4] for at in range(0, len(clear), 4)), f"{name} in groups"
        yield number.encode("utf-16-le"), f"{name} in UTF-16"
        yield clear.hex().encode(), f"{name} in hexadecimal"
        for packed in {number.rjust(len(number) + len(number) % 2, "0"), number.ljust(len(number) + len(number) % 2, "F")}:
            yield bytes.fromhex(packed), f"{name} in packed decimal"
        for shift in range(3):                  # base64 of a longer text that holds it
            text = base64.b64encode(b"\0" * shift + clear)
            yield text[(0, 2, 3)[shift]:len(text) // 4 * 4 - 4], f"{name} in base64"
        for algorithm in HASHES:
            digest = hashlib.new(algorithm, clear).digest()
            yield digest, f"{algorithm} of {name}"
            yield digest.hex().encode(), f"{algorithm} of {name} in hexadecimal"
            yield digest.hex().upper().encode(), f"{algorithm} of {name} in hexadecimal"
            yield base64.b64encode(digest).rstrip(b"="), f"{algorithm} of {name} in base64"
    for signature in secrets.signatures:
        name = f"signature {signature[:6]}…"
        yield signature.lower().encode(), name
        yield signature.upper().encode(), name
        yield bytes.fromhex(signature), f"{name} as bytes"


def _patterns(secrets: Secrets) -> Iterator[tuple[re.Pattern[bytes], str]]:
    """Security codes beside what shows that they are ones."""
    if not secrets.codes:
        return
    codes = b"|".join(sorted(code.encode() for code in secrets.codes))
    yield re.compile(_CODE_FIELD + _BETWEEN + rb"(?:" + codes + rb")(?![0-9])"), "security code beside its field"
    if secrets.numbers:
        numbers = b"|".join(sorted(number.encode() for number in secrets.numbers))
        near = rb"[^0-9][^\0]{0," + str(_NEAR).encode() + rb"}?(?<![0-9])"
        yield re.compile(rb"(?:" + numbers + rb")" + near + rb"(?:" + codes + rb")(?![0-9])"), "security code beside its card number"
