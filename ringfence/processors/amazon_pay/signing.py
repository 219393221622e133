"""Signing for Amazon Pay API v2: requests, and the payload of its button.

Pure functions over the merchant's RSA key.  They decide what is signed and how it is written down; they refuse to know who asks what,
clocks and connections.  Signatures are randomised (PSS), so that two of the same text differ and both are good.
"""
from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

SMALLEST_KEY = 2048
"""Bits; Amazon takes RSA keys of 2048."""


class Algorithm(StrEnum):
    """How it is signed: RSA-PSS with SHA-256, MGF1 with SHA-256; the two differ in their salt."""

    PSS = "AMZN-PAY-RSASSA-PSS"
    PSS_V2 = "AMZN-PAY-RSASSA-PSS-V2"


SALT_BYTES = {Algorithm.PSS: 20, Algorithm.PSS_V2: 32}

SIGNED = frozenset({
    "accept", "content-type", "x-amz-pay-region", "x-amz-pay-date", "x-amz-pay-host", "x-amz-pay-idempotency-key", "x-amz-pay-authtoken",
})
"""Request headers that are signed where they are sent.  Others (``x-amz-pay-simulation-code``) travel unsigned."""


class KeyUnusable(Exception):
    """A private key that cannot sign here; the text says why, and nothing of the key."""


class Signer(NamedTuple):
    """A merchant's key at Amazon: the private half, and the name that Amazon gave the public one."""

    public_key_id: str
    key: RSAPrivateKey
    algorithm: Algorithm = Algorithm.PSS_V2

    def __repr__(self) -> str:
        return f"Signer({self.public_key_id!r}, …, {self.algorithm.value!r})"

    def authorization(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", query: Iterable[tuple[str, str]] = (),
    ) -> str:
        """The ``authorization`` header of a request.  ``path`` is the whole one, with its prefix; ``body`` the very bytes that are sent."""
        signed = {name: value for name, value in headers.items() if name.lower() in SIGNED}
        text = string_to_sign(self.algorithm, canonical_request(method, path, query, signed, body))
        return (f"{self.algorithm} PublicKeyId={self.public_key_id}, SignedHeaders={signed_headers(signed)}, "
                f"Signature={self.signature(text)}")

    def button(self, payload: str) -> str:
        """The signature of a button's payload.  The browser must get these very characters; a payload that carries an amount belongs to
        one order."""
        return self.signature(string_to_sign(self.algorithm, payload))

    def signature(self, text: str) -> str:
        """Of a string to sign, in base64."""
        scheme = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=SALT_BYTES[self.algorithm])
        return b64encode(self.key.sign(text.encode(), scheme, SHA256())).decode("ascii")


def load_key(pem: bytes, *, is_ours: bool = False) -> RSAPrivateKey:
    """The private key from its PEM text; one that this program made (``is_ours``) without proving its primes, which takes 40 ms.
    Raises ``KeyUnusable``."""
    try:
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=is_ours)
    except TypeError as error:
        raise KeyUnusable("it is encrypted; a key without a pass phrase is needed") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusable("it is not a private key in PEM form") from error
    if not isinstance(key, RSAPrivateKey):
        raise KeyUnusable("it is not an RSA key")
    if key.key_size < SMALLEST_KEY:
        raise KeyUnusable(f"it has {key.key_size} bits, and at least {SMALLEST_KEY} are needed")
    return key


def canonical_request(method: str, path: str, query: Iterable[tuple[str, str]], headers: Mapping[str, str], body: bytes) -> str:
    """A request in the one form that is hashed.  ``headers`` are those that are signed, and no others."""
    lines = (f"{name}:{value}" for name, value in sorted((name.lower(), _one_line(value)) for name, value in headers.items()))
    return "\n".join((
        method.upper(), quote(path, safe="/-_.~") or "/", canonical_query(query), *lines, "", signed_headers(headers),
        sha256(body).hexdigest(),
    ))


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Names and values as RFC 3986 writes them, sorted by name, then by value."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query))


def signed_headers(headers: Mapping[str, str]) -> str:
    """Their names as the signature lists them."""
    return ";".join(sorted(name.lower() for name in headers))


def string_to_sign(algorithm: Algorithm, text: str) -> str:
    """What the signature is of: the algorithm's name and the digest of a canonical request, or of a button's payload."""
    return f"{algorithm}\n{sha256(text.encode()).hexdigest()}"


def _one_line(value: str) -> str:
    return re.sub(r"\s+", " ", value.strip())
