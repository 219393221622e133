"""Clients that sign as retailers' do: botocore's own signer, and the one request of the printed vectors."""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ringfence.api.jwo.sigv4 import Asked, Headers

BODY = (b'{"storeId":"STORE-001","shoppingTripId":"11111111-2222-3333-4444-555555555555",'
        b'"amount":{"amount":15.99,"code":"USD"}}')
KEY, SECRET, REGION = "AKIDJWOEXAMPLE", "jwo-example-secret-not-real", "us-east-1"
AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOST = "us-east-1.payments.amazonphysicalstores.com"


def signed(
    url: str, body: bytes = BODY, *, at: datetime = AT, key: str = KEY, secret: str = SECRET, token: str | None = None, region: str = REGION,
    service: str = "execute-api", method: str = "POST", headers: Any = (), params: Any = None,
) -> tuple[Asked, bytes]:
    """A request as botocore signs it, and as a server gets it."""
    request = AWSRequest(method, url, data=body, params=params)
    for name, value in [("Content-Type", "application/json"), *headers]:
        request.headers.add_header(name, value)
    with patch.object(auth, "get_current_datetime", lambda: at.replace(tzinfo=None)):
        auth.SigV4Auth(Credentials(key, secret, token), service, region).add_auth(request)
    parts = urlsplit(url)
    query = parts.query or "&".join(f"{name}={value}" for name, value in _encoded(params))
    received = [(b"host", parts.netloc.encode()), *((name.lower().encode(), value.encode("latin-1")) for name, value in request.headers.items())]
    return Asked(method, parts.path.encode() or b"/", query.encode(), received), body


def _encoded(params: Any) -> list[tuple[str, str]]:
    from urllib.parse import quote
    return [(quote(name, safe=""), quote(value, safe="")) for name, value in (params or {}).items()]


def changed(asked: Asked, **headers: str | None) -> Asked:
    """The same with other headers; ``None`` takes one away.  Underscores stand for dashes."""
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    kept: Headers = [(name, value) for name, value in asked.headers if name not in named]
    return asked._replace(headers=[*kept, *((name, value.encode()) for name, value in named.items() if value is not None)])
