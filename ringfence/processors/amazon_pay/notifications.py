"""Instant notifications of Amazon Pay: whether one is genuine, and what it names.

It comes in the envelope of Amazon's notification service, signed with a certificate that the envelope points to.  That address is believed
only on the service's own https hosts, or at the simulated site that is configured.  A notification names an object and says nothing of its
state: whoever gets it reads the object.  Refuses to know payments.
"""
from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from ringfence.processors.amazon_pay.connections import Connections, Lost, NotSent, origin_of
from ringfence.processors.amazon_pay.wire import is_id

MAX_BODY = 65_536
"""Bytes of a notification; above it none is read."""
FETCH_SECONDS = 5.0
KEPT_CERTIFICATES = 16

SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
"""The signed fields in their order; the subject only where there is one."""
HASHES = {"1": SHA1, "2": SHA256}
OBJECT_TYPES = frozenset({"CHARGE_PERMISSION", "CHARGE", "REFUND", "CHARGEBACK"})

_HOST = re.compile(r"sns\.[a-z0-9-]{1,32}\.amazonaws\.com(\.cn)?", re.ASCII)


class Notified(NamedTuple):
    """A genuine notification: something changed about an object."""

    notification_id: str
    merchant_id: str                # Amazon's name for the merchant
    object_type: str
    object_id: str
    permission_id: str
    kind: str                       # STATE_CHANGE or ATTRIBUTE_CHANGE


class NotGenuine(NamedTuple):
    """Why a notification is not believed."""

    problem: str


class NotNow(NamedTuple):
    """The certificate cannot be fetched at the moment: whoever sent it may send it again."""

    problem: str


class Verifier:
    """Verifies notifications, and keeps the certificates that it fetched."""

    def __init__(
        self, connections: Connections, *, site: str = "", wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``site``: base address of the simulated site, whose certificate is believed beside Amazon's; empty in live mode."""
        self._connections, self._site, self._wall = connections, site, wall
        self._certificates: dict[str, x509.Certificate] = {}

    async def verify(self, body: bytes) -> Notified | NotGenuine | NotNow:
        """What a notification says, if it is genuine."""
        envelope = _object(body)
        if envelope is None or envelope.get("Type") != "Notification":
            return NotGenuine("it is no notification")
        if not all(isinstance(envelope.get(name), str) for name in (*SIGNED, "Signature", "SigningCertURL", "SignatureVersion") if name != "Subject"):
            return NotGenuine("a field of the envelope is missing")
        url = envelope["SigningCertURL"]
        if not self._may_sign(url):
            return NotGenuine("its certificate is not at a host of the notification service")
        kind = HASHES.get(envelope["SignatureVersion"])
        if kind is None:
            return NotGenuine("the version of its signature is not known")
        certificate = await self._certificate(url)
        if isinstance(certificate, NotNow | NotGenuine):
            return certificate
        key = certificate.public_key()
        text = "".join(f"{name}\n{envelope[name]}\n" for name in SIGNED if isinstance(envelope.get(name), str))
        try:
            assert isinstance(key, RSAPublicKey), "looked at when it was fetched"
            key.verify(b64decode(envelope["Signature"], validate=True), text.encode(), PKCS1v15(), kind())
        except (InvalidSignature, ValueError):
            return NotGenuine("its signature is not good")
        return _said(envelope["Message"])

    def _may_sign(self, url: str) -> bool:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
            if parts.username or parts.query or parts.fragment or len(url) > 500 or not url.isascii() or not url.isprintable() or " " in url:
                return False
            if self._site and origin_of(f"{parts.scheme}://{parts.netloc}") == origin_of(f"{urlsplit(self._site).scheme}://{urlsplit(self._site).netloc}"):
                return parts.path.endswith(".pem")
        except ValueError:
            return False
        return parts.scheme == "https" and bool(_HOST.fullmatch(host)) and port in (None, 443) and parts.path.endswith(".pem")

    async def _certificate(self, url: str) -> x509.Certificate | NotNow | NotGenuine:
        kept = self._certificates.get(url)
        if kept is None:
            parts = urlsplit(url)
            origin, _ = origin_of(f"{parts.scheme}://{parts.netloc}")
            try:
                answer = await self._connections.exchange(origin, f"GET {parts.path} HTTP/1.1\r\naccept: */*\r\n", b"", FETCH_SECONDS)
            except (NotSent, Lost) as error:
                return NotNow(f"its certificate cannot be fetched: {error}")
            if answer.status != 200:
                return NotNow(f"its certificate cannot be fetched: status {answer.status}")
            try:
                kept = x509.load_pem_x509_certificate(answer.body)
                usable = isinstance(kept.public_key(), RSAPublicKey)
            except ValueError:
                usable = False
            if not usable:
                return NotGenuine("what it calls its certificate is none with an RSA key")
            if len(self._certificates) >= KEPT_CERTIFICATES:
                self._certificates.clear()
            self._certificates[url] = kept
        if not kept.not_valid_before_utc <= self._wall() <= kept.not_valid_after_utc:
            self._certificates.pop(url, None)
            return NotGenuine("its certificate is not valid now")
        return kept


def _said(text: str) -> Notified | NotGenuine:
    message = _object(text.encode())
    names = ("NotificationId", "MerchantID", "ObjectType", "ObjectId", "NotificationType")
    if message is None or not all(isinstance(message.get(name), str) for name in names):
        return NotGenuine("a field of the message is missing")
    permission = message.get("ChargePermissionId")
    said = Notified(*(message[name] for name in names[:4]), permission if isinstance(permission, str) else "", message["NotificationType"])
    if said.object_type not in OBJECT_TYPES or not is_id(said.object_id) or not 0 < len(said.notification_id) <= 100:
        return NotGenuine("it names no object that is known here")
    return said


def _object(body: bytes) -> Mapping[str, Any] | None:
    if len(body) > MAX_BODY:
        return None
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
