"""E-mail: a parcel as a message (RFC 5322, MIME, UTF-8), handed to one SMTP server.

Nothing that a merchant or a customer wrote can add a header: values are one line each, and the standard library writes and encodes them.
"""
from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime
from typing import NamedTuple

import aiosmtplib
from aiosmtplib.errors import SMTPException, SMTPRecipientsRefused, SMTPResponseException

from ringfence.background.messages import NotSent, Parcel, Send
from ringfence.engine.letters import one_line

STARTTLS, TLS, NONE = "starttls", "tls", "none"
NO_REPLY = "auto-generated"
"""RFC 3834: nobody's holiday greeting is an answer to an invoice."""


class Server(NamedTuple):
    """The mail server that takes our letters.  ``security``: ``starttls``, ``tls`` or ``none``; ``sender``: our own address.

    Prints without its password.
    """

    host: str
    port: int
    security: str
    user: str
    password: str
    sender: str
    seconds: float

    def __repr__(self) -> str:
        return f"Server({self.host}:{self.port}, {self.security})"

    __str__ = __repr__


def written(parcel: Parcel, sender: str) -> EmailMessage:
    """The message: text, and the same as HTML.  ``sender`` is our address; the merchant's name stands before it."""
    user, _, host = sender.rpartition("@")
    mail = EmailMessage(policy=WIRE)
    mail["From"] = Address(one_line(parcel.letter.sender), user, host)
    mail["To"] = Address("", *_halves(parcel.recipient))
    mail["Subject"] = one_line(parcel.letter.subject)
    mail["Date"] = format_datetime(parcel.asked_at.astimezone() if parcel.asked_at.tzinfo is None else parcel.asked_at)
    mail["Message-ID"] = f"<{parcel.identity}@{host}>"
    mail["Auto-Submitted"] = NO_REPLY
    mail.set_content(parcel.letter.text, cte="base64")
    mail.add_alternative(parcel.letter.html, subtype="html", cte="base64")
    return mail


def _halves(address: str) -> tuple[str, str]:
    user, _, host = address.rpartition("@")
    return user, host


def smtp(server: Server) -> Send:
    """Sends by this server, one connection for each letter."""
    async def send(parcel: Parcel) -> None:
        try:
            mail = written(parcel, server.sender)
        except ValueError:                          # an address that the standard library cannot write
            raise NotSent("the address cannot be written", for_good=True) from None
        try:
            await aiosmtplib.send(
                mail, sender=server.sender, recipients=[parcel.recipient], hostname=server.host, port=server.port,
                username=server.user or None, password=server.password or None, use_tls=server.security == TLS,
                start_tls=server.security == STARTTLS, timeout=server.seconds,
                local_hostname=server.sender.rpartition("@")[2])        # else it would be looked up, and the loop would wait
        except SMTPRecipientsRefused as refused:
            codes = [one.code for one in refused.recipients]
            raise NotSent(f"the mail server refused the recipient ({codes[0]})", for_good=all(code >= 500 for code in codes)) from None
        except SMTPResponseException as refused:    # its words may repeat the address; its number does not
            of_mail = isinstance(refused, aiosmtplib.SMTPDataError)
            raise NotSent(f"the mail server answered {refused.code}", for_good=of_mail and refused.code >= 500) from None
        except (SMTPException, OSError, TimeoutError) as error:
            raise NotSent(f"the mail server cannot be used ({type(error).__name__})") from None

    return send


