"""AWS Signature Version 4: what a signed request says of itself, the bytes that were signed, and whether the signature fits.

Pure: bytes in, values out; it also signs, for calls that go the other way.  Decides what is well-formed, in time and in scope.  Refuses to know
who has which key and what a key may do.

Header values are taken as the bytes that came: what a client signed is what it sent.  A set of signed headers is the client's choice, as long as
it covers ``host`` and every ``x-amz-`` header that is there.  ``UNSIGNED-PAYLOAD`` is a hash like any other, and so a wrong one.
(AWS Signature Version 4 for API requests: canonical request, string to sign, signing key, Authorization header.)
"""
from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "execute-api"
TERM = "aws4_request"
TOLERANCE = timedelta(minutes=5)
"""How far the clocks of two machines may be apart."""
LONGEST_AUTHORIZATION = 4_096
MOST_HEADERS = 64
"""Headers that a signature may name."""

Headers = Sequence[tuple[bytes, bytes]]
"""As ASGI gives them: names in lower case, values as they came, repeated where they were."""

_PART = re.compile(r"\s*(Credential|SignedHeaders|Signature)=([^,\s]+)\s*", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEADER_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+(;[!#$%&'*+.^_`|~0-9a-z-]+)*", re.ASCII)
_DAY = re.compile(r"\d{8}", re.ASCII)
_INSTANT = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+", re.ASCII)


class Fault(StrEnum):
    """What is wrong with a signed request; a door has its own word for each."""

    MISSING = "missing"                 # not signed at all, or by another scheme
    INCOMPLETE = "incomplete"           # it cannot be read
    SCOPE = "scope"                     # for another region, service or day
    UNSIGNED = "unsigned"               # a header that has to be signed is not
    TIME = "time"                       # too old, or from the future
    MISMATCH = "mismatch"               # the signature, or the hash of the body, is another one


class Flaw(NamedTuple):
    """A fault, and a sentence about it that says nothing secret and repeats nothing that was sent."""

    fault: Fault
    problem: str


class Claim(NamedTuple):
    """What the Authorization header says.  ``day`` is ``YYYYMMDD``; ``headers`` in the client's order, in lower case.

    Prints without the signature.
    """

    access_key_id: str
    day: str
    region: str
    service: str
    headers: tuple[bytes, ...]
    signature: str

    def __repr__(self) -> str:
        return f"Claim({self.access_key_id}, {self.scope})"

    __str__ = __repr__

    @property
    def scope(self) -> str:
        """Day, region and service, as they are signed."""
        return f"{self.day}/{self.region}/{self.service}/{TERM}"


class Asked(NamedTuple):
    """The request as it came.  ``path`` and ``query`` as they were on the wire, percent-encoded."""

    method: str
    path: bytes
    query: bytes
    headers: Headers


# ---------------------------------------------------------------------------------------------------------- reading

def read_claim(headers: Headers) -> Claim | Flaw:
    """What the one Authorization header says, or what is wrong with it."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given or not given[0].startswith(ALGORITHM.encode()):
        return Flaw(Fault.MISSING, "Missing Authentication Token")
    if len(given) > 1 or len(given[0]) > LONGEST_AUTHORIZATION:
        return Flaw(Fault.INCOMPLETE, "There must be one Authorization header of a usual length.")
    # A client begins all its headers of a day alike: what was read of the first is remembered of the others.
    before, name, made = given[0].decode("latin-1").rpartition(_LAST)
    if name and _SIGNATURE.fullmatch(made) and isinstance(alike := _read(before + name + _NONE), Claim):
        return alike._replace(signature=made)
    return _read(before + name + made)


_LAST, _NONE = "Signature=", "0" * 64


@lru_cache(maxsize=256)
def _read(text: str) -> Claim | Flaw:
    if not text[len(ALGORITHM):len(ALGORITHM) + 1].isspace():
        return Flaw(Fault.INCOMPLETE, f"Authorization must begin with {ALGORITHM} and a space.")
    parts: dict[str, str] = {}
    for part in text[len(ALGORITHM) + 1:].split(","):
        found = _PART.fullmatch(part)
        if found is None or found[1] in parts:
            return Flaw(Fault.INCOMPLETE, "Authorization must consist of Credential, SignedHeaders and Signature, each once, separated by commas.")
        parts[found[1]] = found[2]
    for name in ("Credential", "SignedHeaders", "Signature"):
        if name not in parts:
            return Flaw(Fault.INCOMPLETE, f"Authorization header requires '{name}' parameter.")
    return _claimed(parts["Credential"].rsplit("/", 4), parts["SignedHeaders"], parts["Signature"])


def _claimed(credential: Sequence[str], signed: str, signature: str) -> Claim | Flaw:
    if len(credential) != 5 or not all(credential):
        return Flaw(Fault.INCOMPLETE, "Credential must have exactly 5 slash-delimited elements: access key id, date, region, service, aws4_request.")
    access_key_id, day, region, service, term = credential
    if term != TERM or not _DAY.fullmatch(day):
        return Flaw(Fault.INCOMPLETE, f"Credential must name a date as YYYYMMDD and end with {TERM}.")
    if not _SIGNATURE.fullmatch(signature):
        return Flaw(Fault.INCOMPLETE, "Signature must be 64 hexadecimal digits in lower case.")
    names = tuple(signed.split(";"))
    if not _HEADER_NAMES.fullmatch(signed) or len(set(names)) < len(names) or len(names) > MOST_HEADERS:
        return Flaw(Fault.INCOMPLETE, "SignedHeaders must be names of headers in lower case, each once, separated by semicolons.")
    return Claim(access_key_id, day, region, service, tuple(name.encode() for name in names), signature)


def value_of(headers: Headers, name: bytes) -> str | None:
    """The one value of a header; ``None`` where it is missing or repeated."""
    found = [value for known, value in headers if known == name]
    return found[0].decode("latin-1").strip() if len(found) == 1 else None


def stamp_of(headers: Headers) -> str | None:
    """When it was signed, as ``YYYYMMDDTHHMMSSZ``: ``X-Amz-Date``, else ``Date`` in that form or as HTTP writes it; ``None`` for neither."""
    if any(name == b"x-amz-date" for name, _ in headers):
        text = value_of(headers, b"x-amz-date")
        return text if text and _INSTANT.fullmatch(text) else None
    text = value_of(headers, b"date")
    if text is None or _INSTANT.fullmatch(text):
        return text
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


@lru_cache(maxsize=64)
def _instant(stamp: str) -> datetime | None:
    """A second's stamp comes many times."""
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


# ---------------------------------------------------------------------------------------------------------- judging

def flaw_of(claim: Claim, asked: Asked, regions: Iterable[str], now: datetime) -> Flaw | None:
    """What is wrong before any key is looked at: scope, time, and what must be signed.  ``now`` is wall time."""
    if claim.service != SERVICE:
        return Flaw(Fault.SCOPE, f"Credential should be scoped to correct service: '{SERVICE}'.")
    if claim.region not in regions:
        return Flaw(Fault.SCOPE, "Credential should be scoped to a valid region.")
    stamp = stamp_of(asked.headers)
    at = None if stamp is None else _instant(stamp)
    if at is None:
        return Flaw(Fault.INCOMPLETE, "Authorization header requires existence of either a valid 'X-Amz-Date' or a valid 'Date' header.")
    if stamp is None or stamp[:8] != claim.day:
        return Flaw(Fault.SCOPE, "Date in Credential scope does not match YYYYMMDD of the date of the request.")
    if now - at > TOLERANCE:
        return Flaw(Fault.TIME, "Signature expired: the date of the request is more than 5 minutes in the past.")
    if at - now > TOLERANCE:
        return Flaw(Fault.TIME, "Signature not yet current: the date of the request is more than 5 minutes in the future.")
    signed = set(claim.headers)
    if b"host" not in signed:
        return Flaw(Fault.UNSIGNED, "'Host' must be a 'SignedHeader' in the AWS Authorization.")
    present = {name for name, _ in asked.headers}
    for name in present:
        if name.startswith(b"x-amz-") and name not in signed:
            return Flaw(Fault.UNSIGNED, "There were headers present in the request which were not signed: every x-amz- header must be.")
    return None if signed <= present else Flaw(Fault.UNSIGNED, "A signed header is not in the request.")


MISMATCH = Flaw(Fault.MISMATCH, "The request signature we calculated does not match the signature you provided. "
                                "Check your AWS Secret Access Key and signing method.")
HASH = Flaw(Fault.MISMATCH, "X-Amz-Content-Sha256 is not the SHA-256 of the body.")


def mismatch(claim: Claim, asked: Asked, body: bytes, key: bytes) -> Flaw | None:
    """Whether the signature is not the one that this signing key makes, compared in constant time.  After ``flaw_of`` found nothing."""
    digest = hashlib.sha256(body).hexdigest()
    if b"x-amz-content-sha256" in claim.headers and value_of(asked.headers, b"x-amz-content-sha256") != digest:
        return HASH
    stamp = stamp_of(asked.headers)
    assert stamp is not None, "found before, by flaw_of"
    made = signature(key, stamp, claim.scope, canonical_request(asked, claim.headers, digest))
    return None if hmac.compare_digest(made, claim.signature) else MISMATCH


# ---------------------------------------------------------------------------------------------------------- the bytes, and the signature

def canonical_request(asked: Asked, signed: Sequence[bytes], digest: str) -> bytes:
    """The request in the one form that is signed; ``digest`` is the hexadecimal SHA-256 of the body."""
    values: dict[bytes, bytes] = {}
    for name, value in asked.headers:
        if name in signed:
            folded = b" ".join(value.split())
            values[name] = values[name] + b"," + folded if name in values else folded
    lines = [asked.method.encode(), _canonical_path(asked.path), _canonical_query(asked.query) if asked.query else b""]
    lines += [name + b":" + values[name] for name in signed]
    lines += (b"", b";".join(signed), digest.encode())
    return b"\n".join(lines)


def _canonical_path(path: bytes) -> bytes:
    """The path as it was on the wire, without ``.``, ``..`` and empty parts, percent-encoded once more (as every service but S3 has it)."""
    text = path.decode("latin-1")
    if _PLAIN_PATH.fullmatch(text) and "/." not in text:
        return path
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    plain = "/" + "/".join(parts) + ("/" if parts and text.endswith("/") else "")
    return quote(plain, safe="/~", encoding="latin-1").encode()


def _canonical_query(query: bytes) -> bytes:
    """Names and values as they are meant, encoded in the one way, sorted."""
    pairs = [part.partition(b"=") for part in query.split(b"&") if part]
    return b"&".join(b"=".join(pair) for pair in sorted((_encoded(name), _encoded(value)) for name, _, value in pairs))


def _encoded(text: bytes) -> bytes:
    return quote_from_bytes(unquote_to_bytes(text), safe="-_.~").encode()


def signature(key: bytes, stamp: str, scope: str, canonical: bytes) -> str:
    """The signature of a canonical request, in hexadecimal digits."""
    text = f"{ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    return hmac.digest(key, text.encode(), "sha256").hex()


def signing_key(secret: str, day: str, region: str, service: str = SERVICE) -> bytes:
    """The key of one day, region and service, which follows from the secret."""
    key = f"AWS4{secret}".encode()
    for text in (day, region, service, TERM):
        key = hmac.digest(key, text.encode(), "sha256")
    return key


def sign(
    method: str, path: str, headers: Mapping[str, str], body: bytes, *, access_key_id: str, secret: str, region: str, at: datetime,
    service: str = SERVICE,
) -> dict[str, str]:
    """What a request to somebody else carries on top of its headers (which name ``host``) to be signed: date, hash of the body, Authorization."""
    digest, stamp = hashlib.sha256(body).hexdigest(), at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    added = {"x-amz-date": stamp, "x-amz-content-sha256": digest}
    every = {name.lower(): value for name, value in (*headers.items(), *added.items())}
    names = sorted(name.encode() for name in every)
    bare, _, query = path.partition("?")
    asked = Asked(method, bare.encode(), query.encode(), [(name.encode(), value.encode("latin-1")) for name, value in every.items()])
    scope = f"{stamp[:8]}/{region}/{service}/{TERM}"
    made = signature(signing_key(secret, stamp[:8], region, service), stamp, scope, canonical_request(asked, names, digest))
    return {**added, "authorization": f"{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={b';'.join(names).decode()}, Signature={made}"}
