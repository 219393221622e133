"""Sending: instant notifications, in the envelope of Amazon's notification service, to the merchants' addresses.

Each is claimed by one process under a lease (wall time), sent with no transaction open, and then noted.  An address that fails is tried again
every hour of business time, three times; then the notification is lost, as it is at Amazon.  The certificate is the site's own, made once;
whoever trusts it trusts this site only.
"""
from __future__ import annotations

import asyncio
import base64
import http.client
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.desk import Desk
from ringfence.amazon_site.passing import bring_up_to, seconds

log = logging.getLogger(__name__)

TOPIC = "arn:aws:sns:us-east-1:000000000000:amazon-pay-site"
PEM_PATH = "/amazon/sns.pem"
PAUSE, ATTEMPTS = 3_600, 4
"""Seconds of business time between attempts, and how many there are."""
ANSWER_SECONDS, LEASE_SECONDS = 10.0, 30.0
SIGNED = ("Message", "MessageId", "Timestamp", "TopicArn", "Type")
"""The fields that are signed, in their order (SNS, signature version 1)."""

Post = Callable[[str, Mapping[str, str], bytes, float], Awaitable[int]]
"""Posts a body to an address, waits so many seconds, and gives back the status.  Raises ``OSError`` where no answer came."""


class Claimed(NamedTuple):
    """A notification in this process's hands."""

    n: int
    merchant_id: str
    url: str
    message_id: str
    message: str
    created: int
    attempts: int


async def sweep(desk: Desk, post: Post) -> int:
    """Bring the book up to now, and send all that is due; how many were sent or tried."""
    now, tried = seconds(desk.now()), 0

    def claim(change: Change) -> tuple[Claimed, str, str] | None:
        bring_up_to(change, now)
        wall = desk.wall()
        row = change.run("claim", now, wall, wall + LEASE_SECONDS).fetchone()
        return None if row is None else (Claimed(*row), *identity(change, desk.wall()))

    while (claimed := await desk.book.work(claim)) is not None:
        one, key, _ = claimed
        body = envelope(one, load(key), desk.base_url)
        headers = {"content-type": "text/plain; charset=UTF-8", "x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": one.message_id,
                   "x-amz-sns-topic-arn": TOPIC}
        try:
            status, said = await post(one.url, headers, body, ANSWER_SECONDS), ""
        except (OSError, ValueError) as error:
            status, said = 0, type(error).__name__
        await desk.book.work(lambda change, one=one, status=status, said=said: note(change, one, status, said, now))
        tried += 1
    return tried


def note(change: Change, one: Claimed, status: int, said: str, now: int) -> None:
    """What came of an attempt.  Only a server that is down, or silent, is tried again."""
    if 200 <= status < 300:
        change.run("delivered", None, "sent", str(status), one.n)
    elif (status and status < 500) or one.attempts >= ATTEMPTS:
        log.warning("an Amazon Pay notification to %s is lost: %s", one.url, said or status)
        change.run("delivered", None, "lost", said or str(status), one.n)
    else:
        change.run("delivered", now + PAUSE, "waiting", said or str(status), one.n)


def envelope(one: Claimed, key: RSAPrivateKey, base_url: str) -> bytes:
    """The notification as it travels."""
    fields = {
        "Type": "Notification", "MessageId": one.message_id, "TopicArn": TOPIC, "Message": one.message,
        "Timestamp": f"{datetime.fromtimestamp(one.created, UTC):%Y-%m-%dT%H:%M:%S}.000Z"}
    text = "".join(f"{name}\n{fields[name]}\n" for name in SIGNED)
    signature = key.sign(text.encode(), PKCS1v15(), SHA1())     # what signature version 1 is made with
    return msgspec.json.encode(fields | {
        "SignatureVersion": "1", "Signature": base64.b64encode(signature).decode(), "SigningCertURL": base_url + PEM_PATH,
        "UnsubscribeURL": f"{base_url}/amazon/unsubscribe"})


def identity(change: Change, wall: float) -> tuple[str, str]:
    """Private key and certificate of the site (PEM), made when they are first needed."""
    made: list[tuple[str, str]] = []

    def part(place: int) -> Callable[[], str]:
        def make() -> str:
            if not made:
                made.append(_made(wall))
            return made[0][place]

        return make

    return change.secret("sns key", part(0)), change.secret("sns certificate", part(1))


def load(pem: str) -> RSAPrivateKey:
    """The private key, as ``identity`` made it: nobody else's, so its primes need no proof, which takes 40 ms."""
    key = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)
    return key


def _made(wall: float) -> tuple[str, str]:
    key = generate_private_key(public_exponent=65_537, key_size=2_048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulated Amazon Pay notifications")])
    began = datetime.fromtimestamp(wall, UTC) - timedelta(days=1)
    certificate = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(
        x509.random_serial_number()).not_valid_before(began).not_valid_after(began + timedelta(days=3_650)).sign(key, SHA256())
    return (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), certificate.public_bytes(Encoding.PEM).decode())


async def posted(url: str, headers: Mapping[str, str], body: bytes, patience: float) -> int:
    """Post with the standard library, on a thread; certificates are those that the system trusts."""
    return await asyncio.to_thread(_posted, url, headers, body, patience)


def _posted(url: str, headers: Mapping[str, str], body: bytes, patience: float) -> int:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    options = {"context": ssl.create_default_context()} if parts.scheme == "https" else {}
    line = kind(parts.hostname or "", parts.port, timeout=patience, **options)
    try:
        line.request("POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body, dict(headers))
        return line.getresponse().status
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error
    finally:
        line.close()
