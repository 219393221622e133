"""AWS Signature Version 4, for a retailer without the AWS SDK: sign what is sent, check what is received.  Standard library only.

A retailer that has botocore signs with ``botocore.auth.SigV4Auth`` instead, and one behind Amazon API Gateway has its requests checked there.
"""
from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

ALGORITHM, SERVICE = "AWS4-HMAC-SHA256", "execute-api"
TOLERANCE = timedelta(minutes=5)
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([^/,\s]+)/(\d{{8}})/([^/,\s]+)/{SERVICE}/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{{64}})")


class Keys(NamedTuple):
    """What one side signs with.  Prints without the secret."""

    access_key_id: str
    secret: str
    region: str
    session_token: str = ""

    def __repr__(self) -> str:
        return f"Keys({self.access_key_id}, {self.region})"


def sign(keys: Keys, url: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers of a signed POST of JSON to a URL without a query."""
    parts = urlsplit(url)
    headers = {"content-type": "application/json", "host": parts.netloc, "x-amz-date": at.strftime("%Y%m%dT%H%M%SZ")}
    if keys.session_token:
        headers["x-amz-security-token"] = keys.session_token
    names, day = sorted(headers), headers["x-amz-date"][:8]
    made = _signature(keys.secret, day, keys.region, parts.path, headers, names, body)
    scope = f"{day}/{keys.region}/{SERVICE}/aws4_request"
    del headers["host"]                         # the HTTP client writes it
    return headers | {
        "authorization": f"{ALGORITHM} Credential={keys.access_key_id}/{scope}, SignedHeaders={';'.join(names)}, Signature={made}"}


def is_signed(secret_of: Callable[[str], str | None], path: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    """Whether a request came from somebody with the secret, a moment ago and unchanged.  Names of headers in small letters."""
    found = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    secret = found and secret_of(found[1])
    names = found[4].split(";") if found else []
    if not found or not secret or not {"host", "x-amz-date"} <= set(names) or not set(names) <= headers.keys():
        return False
    try:
        at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    if abs(now - at) > TOLERANCE or headers["x-amz-date"][:8] != found[2]:
        return False
    made = _signature(secret, found[2], found[3], path, headers, names, body)
    return hmac.compare_digest(made, found[5])


def _signature(secret: str, day: str, region: str, path: str, headers: Mapping[str, str], names: list[str], body: bytes) -> str:
    lines = ["POST", path, "", *(f"{name}:{' '.join(headers[name].split())}" for name in names), "", ";".join(names),
             hashlib.sha256(body).hexdigest()]
    canonical = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join((ALGORITHM, headers["x-amz-date"], f"{day}/{region}/{SERVICE}/aws4_request", canonical))
    key = f"AWS4{secret}".encode()
    for part in (day, region, SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
