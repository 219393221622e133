"""Signatures of webhooks (PPRO Global API, section 15.7): over the raw bytes of a body as they are sent, never over a text made again.

The older scheme is one digest without a time; the current one names the moment of this delivery, and holds one signature for each secret in
force, so that a secret can be changed while receivers still know the one before.
"""
from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

LEGACY, CURRENT = "Webhook-Signature", "PPRO-Signature"
TOLERANCE = 300
"""Seconds that a signature may be old, or ahead, for whoever verifies."""


def legacy(body: bytes, secret: str) -> str:
    """SHA-256 over body, a full stop and the secret; lower-case hexadecimal digits."""
    return hashlib.sha256(body + b"." + secret.encode()).hexdigest()


def current(body: bytes, secrets: Sequence[str], at: int) -> str:
    """``t=SECONDS,s=HEX``: HMAC-SHA256 over the seconds (Unix time), a full stop and the body, once for each secret, the newest first."""
    return ",".join((f"t={at}", *(f"s={_keyed(body, secret, at)}" for secret in secrets)))


def is_good_legacy(given: str, body: bytes, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets signed the body so."""
    return any(hmac.compare_digest(legacy(body, secret).encode(), given.encode()) for secret in secrets)


def is_good(given: str, body: bytes, secrets: Sequence[str], now: int) -> bool:
    """Whether one of the signatures of a header is that of one of the secrets, made not longer than ``TOLERANCE`` from ``now``.

    The parts may come in any order; what nobody knows is passed over.
    """
    parts = [(name.strip(), value.strip()) for name, sign, value in (part.partition("=") for part in given.split(",")) if sign]
    moments = [value for name, value in parts if name == "t" and value.isascii() and value.isdigit() and len(value) < 16]
    if len(moments) != 1 or abs(now - int(moments[0])) > TOLERANCE:
        return False
    wanted = [_keyed(body, secret, int(moments[0])).encode() for secret in secrets]
    return any(hmac.compare_digest(one, value.encode()) for name, value in parts if name == "s" for one in wanted)


def _keyed(body: bytes, secret: str, at: int) -> str:
    return hmac.digest(secret.encode(), b"%d.%b" % (at, body), "sha256").hex()
