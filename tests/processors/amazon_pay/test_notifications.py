"""Instant notifications: only genuine ones are believed, and only what the notification service itself signed."""
from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ringfence.processors.amazon_pay.connections import Answer, NotSent, Origin
from ringfence.processors.amazon_pay.notifications import NotGenuine, Notified, NotNow, Verifier

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY, OTHER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"
MESSAGE = {"MerchantID": "M", "ObjectType": "CHARGE", "ObjectId": "S01-1234567-1234567-C000001", "ChargePermissionId": "S01-1234567-1234567",
           "NotificationType": "STATE_CHANGE", "NotificationId": "n-1", "NotificationVersion": "V2"}
SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")


def certificate(key: Any = KEY, until: datetime = NOW + timedelta(days=9)) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns")])
    return x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1).not_valid_before(
        NOW - timedelta(days=9)).not_valid_after(until).sign(key, SHA256()).public_bytes(Encoding.PEM)


def envelope(message: Any = MESSAGE, key: Any = KEY, version: str = "1", **fields: Any) -> bytes:
    made = {
        "Type": "Notification", "MessageId": "m-1", "TopicArn": "arn:aws:sns:us-east-1:0:x", "Timestamp": "2026-03-01T00:00:00.000Z",
        "Message": message if isinstance(message, str) else json.dumps(message), "SignatureVersion": version, "SigningCertURL": URL, **fields}
    text = "".join(f"{name}\n{made[name]}\n" for name in SIGNED if name in made)
    signature = key.sign(text.encode(), PKCS1v15(), SHA1() if version == "1" else SHA256())
    return json.dumps({"Signature": b64encode(signature).decode()} | made).encode()


class Host:
    """Where certificates are fetched."""

    def __init__(self, pem: bytes = b"", status: int = 200, away: bool = False) -> None:
        self.pem, self.status, self.away, self.asked = pem or certificate(), status, away, []

    async def exchange(self, origin: Origin, head: str, body: bytes, seconds: float) -> Answer:
        self.asked.append((origin.netloc, head.split(" ")[1]))
        if self.away:
            raise NotSent("away")
        return Answer(self.status, {}, self.pem)


def verifier(host: Host, site: str = "", at: datetime = NOW) -> Verifier:
    return Verifier(host, site=site, wall=lambda: at)       # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("more", [{}, {"Subject": "hello"}])
async def test_a_genuine_notification_says_what_changed(version: str, more: dict[str, str]):
    """In both versions of the signature, with and without a subject; the certificate is fetched once."""
    host = Host()
    one = verifier(host)
    for _ in range(2):
        assert await one.verify(envelope(version=version, **more)) == Notified(
            "n-1", "M", "CHARGE", "S01-1234567-1234567-C000001", "S01-1234567-1234567", "STATE_CHANGE")
    assert host.asked == [("sns.us-east-1.amazonaws.com", "/SimpleNotificationService-1.pem")]


@pytest.mark.parametrize("url", [
    "http://sns.us-east-1.amazonaws.com/x.pem", "https://sns.us-east-1.amazonaws.com.evil.example/x.pem", "https://evil.example/x.pem",
    "https://sns.us-east-1.amazonaws.com:8443/x.pem", "https://u@sns.us-east-1.amazonaws.com/x.pem", "https://sns.us-east-1.amazonaws.com/x.txt",
    "https://s3.amazonaws.com/bucket/x.pem", "https://sns.us-east-1.amazonaws.com/x.pem?y=.pem", "https://evil.example/sns.us-east-1.amazonaws.com/x.pem",
    "https://sns.us-east-1.amazonaws.com\r\nhost: evil/x.pem", "", "sns", "https://[x/x.pem", "https://sns.us-east-1.amazonaws.com:x/y.pem",
])
async def test_a_certificate_is_fetched_from_the_services_own_hosts_only(url: str):
    """Nothing else is ever called, whatever the envelope says."""
    host = Host()
    assert isinstance(await verifier(host).verify(envelope(SigningCertURL=url)), NotGenuine)
    assert host.asked == []


async def test_the_simulated_site_is_believed_where_it_is_configured():
    """By its whole origin; in live mode it is not."""
    url = "http://127.0.0.1:8132/amazon/sns.pem"
    for site, genuine in (("http://127.0.0.1:8132", True), ("http://127.0.0.1:8133", False), ("https://127.0.0.1:8132", False), ("", False)):
        said = await verifier(Host(), site).verify(envelope(SigningCertURL=url))
        assert isinstance(said, Notified) is genuine, site


@pytest.mark.parametrize("body", [
    b"", b"[]", b"null", b"\xff", b"{}", b"{" * 100_000, b" " * 70_000, envelope(Type="SubscriptionConfirmation"), envelope(SignatureVersion="3"),
    envelope(key=OTHER), envelope(Signature="AAAA"), envelope(Signature="!"), envelope(message="[]"),
    envelope(message="{}"), envelope(MESSAGE | {"ObjectType": "MOON"}), envelope(MESSAGE | {"ObjectId": "../x"}),
    envelope(MESSAGE | {"NotificationId": ""}), envelope().replace(b"C000001", b"C000002"),
])
async def test_what_is_not_genuine_is_refused(body: bytes):
    """Broken, forged, changed on the way, or about nothing that is known."""
    assert isinstance(await verifier(Host()).verify(body), NotGenuine)


@pytest.mark.parametrize("host", [Host(away=True), Host(status=503)])
async def test_a_certificate_that_cannot_be_fetched_is_no_forgery(host: Host):
    """It should be sent again."""
    assert isinstance(await verifier(host).verify(envelope()), NotNow)


async def test_a_certificate_that_is_over_or_none_is_not_believed():
    """Also when it was good once."""
    assert isinstance(await verifier(Host(certificate(until=NOW - timedelta(days=1)))).verify(envelope()), NotGenuine)
    assert isinstance(await verifier(Host(b"hello")).verify(envelope()), NotGenuine)
