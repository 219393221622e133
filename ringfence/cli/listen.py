"""``ringfence listen``: every event as it happens, shown and, where asked, posted to an address as a delivery would be."""
from __future__ import annotations

import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import click

from ringfence.cli.options import configuration, data_option, json_option
from ringfence.cli.service import Running, admin, needed, running, said, segment
from ringfence.config import Config
from ringfence.core.events import Event
from ringfence.core.money import format_minor
from ringfence.failures import Exit, Failure

BEGINNING = "begin"
"""The cursor of both feeds before their first events."""
POLL_SECONDS = 2
"""How long the service may hold an empty answer back: short, lest its end waits for us."""
AGAIN_SECONDS = 0.5
"""Pause before the next try where the service is away."""
RECEIVER_SECONDS = 10
"""What a receiver may take for one message."""
_WORD = re.compile("(PAYMENT|DISPUTE|CHARGEBACK|FUNDS|REPORT)_[A-Z_]{3,60}")
"""How the PPRO door calls what it tells."""


class Received(NamedTuple):
    """What became of a message that was forwarded: the status of the answer, or why there is none."""

    status: int | None
    problem: str
    milliseconds: int


@click.command(epilog="""\b
Examples:
  ringfence listen
  ringfence listen --forward-to http://127.0.0.1:3000/feedback
  ringfence listen --merchant RingfenceOne --type purchase_approved --type refund_approved
  ringfence listen --type PAYMENT_AGREEMENT_ACTIVE --type DISPUTE_ACTION_REQUIRED
  ringfence listen --from begin --json

\b
Runs until it is interrupted.  Exit codes: 0 interrupted · 8 no service runs · 9 the service refused""")
@click.option("--forward-to", metavar="URL", help="Post each event there: the door's own message, else the event as JSON.")
@click.option("--merchant", metavar="ID", help="Only this merchant's events.")
@click.option("--type", "types", metavar="EVENT", multiple=True, help="Only events of this type, or told in this word; may be given several times.")
@click.option("--from", "cursor", default="", metavar="CURSOR", help="Begin behind this cursor; 'begin' is the first event.  [default: from now on]")
@data_option
@json_option
def listen(forward_to: str | None, merchant: str | None, types: tuple[str, ...], cursor: str, data: str | None, as_json: bool) -> None:
    """Show every event as it happens, of payments and of all else that merchants are told of, and forward it to a receiver of yours."""
    if unknown := [name for name in types if name not in {*Event} and not _WORD.fullmatch(name)]:
        raise click.UsageError(f"{unknown[0]!r} is no event; there are {', '.join(Event)}, and the words of the PPRO door's webhooks.")
    if forward_to is not None and (problem := problem_of(forward_to)):
        raise click.UsageError(f"--forward-to {problem}.")
    config = configuration(data)
    needed(config)
    verifier = Verifier(config)
    try:
        for event in followed(config, cursor, merchant):
            if not types or not {event["type"], *(one["purpose"] for one in event["messages"])}.isdisjoint(types):
                _show(event, forward_to, as_json, verifier)
    except KeyboardInterrupt:
        return


class Verifier:
    """Looks at the signatures of messages as a merchant would, with the secrets that the sandbox shows."""

    def __init__(self, config: Config) -> None:
        self._config, self._secrets = config, dict[str, list[str]]()

    def verdict(self, merchant: str, message: dict[str, Any]) -> str:
        """``good`` or ``wrong``; "" for a message without such signatures, and in live mode, where nobody is shown a secret."""
        from ringfence.api.ppro import signatures
        given, body = message["headers"], message["body"].encode()
        if self._config.is_live or not {signatures.CURRENT, signatures.LEGACY} & given.keys():
            return ""
        for is_fresh in (merchant not in self._secrets, True):
            if is_fresh:                                    # or it was replaced meanwhile
                shown = admin(self._config, "GET", f"/admin/merchants/{segment(merchant)}?phrases=true")
                self._secrets[merchant] = [one["webhook_secret"] for one in shown["ppro"]]
            secrets, now = self._secrets[merchant], int(time.time())
            current, legacy = given.get(signatures.CURRENT), given.get(signatures.LEGACY)
            if (current is None or signatures.is_good(current, body, secrets, now)) and (
                    legacy is None or signatures.is_good_legacy(legacy, body, secrets)):
                return "good"
        return "wrong"


def problem_of(url: str) -> str | None:
    """Why nothing can be posted to an address."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None or parts.fragment or not url.isascii() or not url.isprintable() or " " in url:
        return "must be an http or https address without credentials and fragment"
    return None


def followed(config: Config, cursor: str, merchant: str | None) -> Iterator[dict[str, Any]]:
    """Events behind a cursor, for ever; where the service is away, those that it tells when it is back.

    Raises ``Failure`` where it refuses to tell.
    """
    service, told, away = running(config), False, False
    beside = cursor if cursor == BEGINNING else ""
    query = {"messages": "1", **({"merchant": merchant} if merchant is not None else {})}
    while True:
        try:
            service = service or needed(config)
            page = events_behind(service, cursor, query | {"wait": str(POLL_SECONDS if told else 0)})
            other = events_behind(service, beside, query, "/admin/events/beside")
        except (Failure, HTTPException) as failed:      # the latter where it went in the middle of an answer
            if not told or (isinstance(failed, Failure) and failed.code != Exit.NOT_RUNNING):
                raise
            if not away:
                click.echo("The service is away; waiting for it.", err=True)
            service, away = None, True
            time.sleep(AGAIN_SECONDS)
            continue
        if not told:
            click.echo("Listening; interrupt to stop.", err=True)
        told, away, cursor, beside = True, False, page["cursor"], other["cursor"]
        yield from page["events"]
        yield from other["events"]


def events_behind(service: Running, cursor: str, query: dict[str, str], path: str = "/admin/events") -> dict[str, Any]:
    """One page of a feed.  Raises ``Failure`` with the service's own words where it refuses."""
    status, answer = service.call("GET", f"{path}?{urlencode({'after': cursor, **query}, quote_via=quote)}")
    if status == 200:
        return answer
    if status >= 500:
        raise Failure(Exit.NOT_RUNNING, f"The service cannot answer now: {answer.get('error', status)}.")
    raise Failure(Exit.REFUSED, f"The service refused: {said(answer)}")


def _show(event: dict[str, Any], forward_to: str | None, as_json: bool, verifier: Verifier) -> None:
    """Print an event, what signatures are worth and, where it is forwarded, what the receiver said."""
    messages = event.pop("messages")
    if not as_json:
        click.echo(line_of(event, messages))
    for one in messages:
        if verdict := verifier.verdict(event["merchant"], one):
            one["signatures"] = verdict
            if not as_json:
                click.echo(f"         · {one['purpose']}, signatures {click.style(verdict, fg='green' if verdict == 'good' else 'red')}")
    said = []
    if forward_to is not None:
        bodies = [(one["content_type"], one["body"].encode(), one["headers"]) for one in messages]
        for content_type, body, headers in bodies or [("application/json", json.dumps(event).encode(), {})]:
            said.append(forward(forward_to, event, content_type, body, headers))
            if not as_json:
                click.echo(_answer_line(said[-1]))
    if as_json:
        click.echo(json.dumps({**event, "messages": messages, **({"forwarded": [one._asdict() for one in said]} if forward_to else {})}))


def line_of(event: dict[str, Any], messages: Sequence[dict[str, Any]] = ()) -> str:
    """``12:00:01 → purchase_approved  10.00 AED  ORD-1``: business time, the operation's amount, the payment's reference."""
    at = datetime.fromisoformat(event["occurred_at"])
    if "subject" in event:                  # no event of a payment: in the door's own word, with its name for what it is about
        words = [(one["purpose"], json.loads(one["body"])["subject"]) for one in messages]
        word, name = words[0] if words else (event["type"], f"{event['kind']} {event['subject']}")
        return f"{at:%H:%M:%S} → {click.style(word, fg='cyan')}  {name}"
    operation = event["operation"] or {}
    amount = format_minor(operation["amount"], operation["currency"]) if operation.get("amount") is not None else ""
    colour = {"approved": "green", "declined": "red", "unknown": "yellow"}.get(event["type"].rpartition("_")[2], "cyan")
    parts = (click.style(event["type"], fg=colour), amount, event["reference"] or event["payment"])
    return f"{at:%H:%M:%S} → " + "  ".join(part for part in parts if part)


def _answer_line(received: Received) -> str:
    if received.status is None:
        return "         ← " + click.style(received.problem, fg="red")
    good = 200 <= received.status < 300 or received.status == 302
    return f"         ← {click.style(str(received.status), fg='green' if good else 'red')} in {received.milliseconds} ms"


class _Stays(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer, as it is for a delivery."""

    def redirect_request(self, *_: Any) -> None:
        """Go nowhere."""


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stays)


def forward(url: str, event: dict[str, Any], content_type: str, body: bytes, headers: Mapping[str, str]) -> Received:
    """Post a message with the headers of a delivery; whatever goes wrong is what is told of it."""
    request = urllib.request.Request(url, body, {
        **headers,
        "content-type": content_type, "user-agent": "Ringfence", "Ringfence-Event": event["id"],
        "Ringfence-Sequence": str(event["sequence"]), "Ringfence-Attempt": "1",
    })
    began, status, problem = time.monotonic(), None, ""
    try:
        with _OPENER.open(request, timeout=RECEIVER_SECONDS) as answer:
            status = answer.status
    except urllib.error.HTTPError as refused:
        status = refused.code
        refused.close()
    except (OSError, HTTPException, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", error)
        problem = f"no answer: {getattr(reason, 'strerror', None) or reason or type(error).__name__}"
    return Received(status, problem, round((time.monotonic() - began) * 1000))
