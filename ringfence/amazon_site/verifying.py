"""Signatures: whether a request, or the payload of a button, was signed with the private half of a registered key.

Amazon Pay's scheme (API v2): the canonical request is rebuilt from the very list of headers that the caller says are signed, hashed, and the
name of the algorithm with that hash is what RSA-PSS signs.  Written apart from the side that signs, so that each proves the other.  Pure: keys,
clocks and answers belong to others.
"""
from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

#: Algorithm -> bytes of salt.
ALGORITHMS = {"AMZN-PAY-RSASSA-PSS": 20, "AMZN-PAY-RSASSA-PSS-V2": 32}

BASICS = ("accept", "content-type", "x-amz-pay-region", "x-amz-pay-date", "x-amz-pay-host")
"""Headers that every request has, and signs."""
SKEW_SECONDS = 15 * 60
"""How far the date of a request may be from wall time.  Amazon's own allowance is not documented."""

_AUTHORIZATION = re.compile(
    r"(AMZN-PAY-RSASSA-PSS(?:-V2)?) PublicKeyId=([!-+\--~]{1,128}), SignedHeaders=([!-+\--~]{1,2048}), Signature=([A-Za-z0-9+/]+={0,2})", re.ASCII)
_DATES = ("%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ")


class Signed(NamedTuple):
    """What the ``authorization`` header says.  ``names``: the signed headers as the caller wrote them, in the caller's order."""

    algorithm: str
    key_id: str
    names: tuple[str, ...]
    signature: bytes


def read_authorization(header: str) -> Signed | None:
    """The header, or ``None`` for what is none."""
    match = _AUTHORIZATION.fullmatch(header)
    if match is None:
        return None
    algorithm, key_id, names, signature = match.groups()
    try:
        return Signed(algorithm, key_id, tuple(names.split(";")), base64.b64decode(signature, validate=True))
    except binascii.Error:
        return None


def lacking(headers: Mapping[str, str], names: Sequence[str]) -> str:
    """The first of the five headers that is not among the signed ones, or one that is named and was not sent; "" where all is there."""
    signed = {name.lower() for name in names}
    return next((name for name in BASICS if name not in signed), "") or next((name for name in signed if name not in headers), "")


def canonical_request(method: str, path: str, query: str, headers: Mapping[str, str], names: Sequence[str], body: bytes) -> str:
    """The text that stands for a request.  ``path`` and ``query`` as they were sent, ``headers`` by small names."""
    lines = [method, quote(unquote_to_bytes(path or "/"), safe="/-_.~"), _canonical_query(query)]
    lines += [f"{name.lower()}:{' '.join(headers[name.lower()].split())}" for name in names]
    return "\n".join([*lines, "", ";".join(names), hashlib.sha256(body).hexdigest()])


def _canonical_query(query: str) -> str:
    pairs = [part.partition("=") for part in query.split("&") if part]
    encoded = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _encoded(part: str) -> str:
    return quote(unquote_to_bytes(part.replace("+", " ")), safe="-_.~")


def string_to_sign(algorithm: str, text: bytes) -> str:
    """The algorithm and the hash of a canonical request, or of a button's payload."""
    return f"{algorithm}\n{hashlib.sha256(text).hexdigest()}"


def public_key(pem: str) -> RSAPublicKey:
    """A registered key.  Raises ``ValueError`` for what is no RSA key."""
    key = load_pem_public_key(pem.encode("ascii"))
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not an RSA key")
    return key


def is_signed(key: RSAPublicKey, algorithm: str, text: bytes, signature: bytes) -> bool:
    """Whether the signature is of that text, made with the other half of the key."""
    if algorithm not in ALGORITHMS:
        return False
    try:
        key.verify(signature, string_to_sign(algorithm, text).encode("ascii"), PSS(MGF1(SHA256()), ALGORITHMS[algorithm]), SHA256())
    except InvalidSignature:
        return False
    return True


def button_is_signed(key: RSAPublicKey, algorithm: str, payload: bytes, signature: str) -> bool:
    """The same for the payload of a button, whose signature travels in base64."""
    try:
        return is_signed(key, algorithm, payload, base64.b64decode(signature, validate=True))
    except (binascii.Error, ValueError):
        return False


def read_date(text: str) -> datetime | None:
    """``x-amz-pay-date`` in either of the two forms that clients send; ``None`` for anything else."""
    for form in _DATES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=UTC)
        except ValueError:
            continue
    return None
