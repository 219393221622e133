"""What every endpoint of the PPRO door has at hand: who calls, what is asked, and the service behind the door."""
from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ringfence.api.ppro import answers, typed
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.decoding import decode
from ringfence.api.ppro.kinds import Kind, Object, Problem, Problems
from ringfence.api.ppro.names import Names
from ringfence.engine.agreements import Agreements
from ringfence.engine.charges import Charges
from ringfence.engine.code_box import CodeBox
from ringfence.engine.directory import Credential, Directory, Merchant
from ringfence.engine.dispute_reading import Cases
from ringfence.engine.dispute_reports import Reports
from ringfence.engine.disputes import Desk
from ringfence.engine.engine import Engine
from ringfence.engine.instruments import Instruments
from ringfence.engine.keyed_requests import KeyedRequests, Said, Stands
from ringfence.engine.reading import Reading
from ringfence.engine.redirects import Redirects
from ringfence.engine.vault import Vault

if TYPE_CHECKING:
    from ringfence.api.ppro.instruments import AtHand
    from ringfence.api.ppro.rendering import Renderer

DOOR = "ppro"
LONGEST_KEY = 512
_ENCODE = msgspec.json.Encoder(order="sorted").encode


class Caller(NamedTuple):
    """A merchant that the caller's key acts for.  ``actor``: who its operations are noted for, never the key itself."""

    merchant: Merchant
    credential: Credential
    actor: str


def caller_of(merchant: Merchant, credential: Credential) -> Caller:
    """Whoever has that key, for that merchant."""
    return Caller(merchant, credential, f"{DOOR}:{credential.public_name}")


class Request(NamedTuple):
    """One request whose caller is known.  ``callers``: all merchants of the key; the one that ``Merchant-Id`` names alone, where the endpoint
    asks for it.  ``variables`` are the parts of the path that the endpoint leaves open."""

    method: str
    path: str
    variables: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    key: str                                # Request-Idempotency-Key, "" for none
    callers: tuple[Caller, ...]
    source_ip: str = ""
    content_type: str = ""

    @property
    def caller(self) -> Caller:
        """The merchant that acts."""
        return self.callers[0]


def nowhere(reference: str) -> Sequence[str]:
    """There is no other door."""
    return ()


class Disputes(NamedTuple):
    """What is known of disputes, what answers them, and reports of them."""

    desk: Desk
    cases: Cases
    reports: Reports


async def nothing_to_give_up(merchant_id: int, payment_id: int, why: str) -> bool:
    """Nobody is awaited."""
    return False


class Away(NamedTuple):
    """That a payer is to be sent away to agree, without a charge.

    ``ways``: how he may act; ``leave_url``: where his browser goes behind it; ``often``: DAILY, WEEKLY, MONTHLY or YEARLY, "" for no rhythm,
    every so many of them; ``minor`` in minor units of ``currency``, ``None`` where the amount varies.
    """

    method: str
    language: str
    ways: tuple[str, ...]
    leave_url: str
    often: str = ""
    every: int = 1
    minor: int | None = None
    currency: str = ""


async def nobody_tells(merchant_id: int, method: str, account: str) -> str:
    """There is no wallet to ask."""
    return ""


async def nobody_is_sent_away(merchant: Merchant, agreement_id: int, away: Away) -> bool:
    """There is nowhere to go."""
    return False


def no_ways(merchant_id: int, agreement_id: int, ways: tuple[str, ...], made_at: datetime) -> list[dict[str, Any]]:
    """Nobody may act."""
    return []


async def nothing_to_confirm(merchant_id: int, subject: int, code: str) -> bool:
    """Nobody waits for a code."""
    return False


class Service(NamedTuple):
    """What is behind the door.  ``route`` names the processor for a merchant, a payment method and a card's brand; ``None``: there is none."""

    engine: Engine
    reading: Reading
    charges: Charges
    renderer: Renderer
    vault: Vault
    instruments: Instruments
    at_hand: AtHand
    directory: Directory
    code_box: CodeBox
    keyed: KeyedRequests
    names: Names
    content_key: bytes
    agreements: Agreements
    route: Callable[[Merchant, str, str], str | None]
    house: str                              # the processor whose business day counts for what nobody is asked about
    now: Callable[[], datetime]             # business time, UTC
    is_live: bool
    disputes: Disputes
    base_url: str = ""                      # how callers reach the service
    give_up: Callable[[int, int, str], Awaitable[bool]] = nothing_to_give_up   # ends a payment whose payer is awaited; whether it was in time
    not_to_be_called: Callable[[str], str | None] = lambda url: None           # why webhooks must not go to an address
    keys_elsewhere: Callable[[str], Sequence[str]] = nowhere    # what a payment of another door with this reference claimed
    redirects: Redirects | None = None      # consumers who must go somewhere first
    send_away: Callable[[Merchant, int, Away], Awaitable[bool]] = nobody_is_sent_away   # by agreement; whether it could be done
    ways_to_agree: Callable[[int, int, tuple[str, ...], datetime], list[dict[str, Any]]] = no_ways  # authenticationMethods, without a charge
    payer_email: Callable[[int, str, str], Awaitable[str]] = nobody_tells       # whose account at a wallet it is, "" where it does not say
    confirm: Callable[[int, int, str], Awaitable[bool]] = nothing_to_confirm    # a code for a payment or an agreement; whether one was awaited
    stand_in: Callable[[str], tuple[str, bool]] | None = None   # sandbox: the test number that any number stands for, and whether it has news


Handler = Callable[[Service, Request], Awaitable[Answer]]
Hear = Callable[[Answer | Awaitable[Answer]], None]
"""Takes an answer, or what is to be awaited for it."""
Beginner = Callable[[Service, Request, Hear], Awaitable[Answer] | None]
"""A handler of what may be answered by itself, later, by a call; else it gives what is to be awaited, and calls nobody."""


class Endpoint(NamedTuple):
    """One endpoint.  ``path`` has its open parts in braces.

    ``names_merchant``: it asks for Merchant-Id; ``group``: what shares a rate limit; ``takes``: the content type of its body, "" for no body;
    ``is_open``: it asks for no key; ``begin``: the same as ``handle`` for whoever is told.
    """

    method: str
    path: str
    handle: Handler
    names_merchant: bool = True
    group: str = "payment-charges"
    takes: str = ""
    is_open: bool = False
    begin: Beginner | None = None


JSON = "application/json"


def whoever(handler: Handler) -> Handler:
    """An endpoint that is told no merchant: of those that the key acts for it is the one whose object is named.  ``handler`` does nothing where it
    answers with 404."""
    async def handle(service: Service, request: Request) -> Answer:
        for caller in request.callers[:-1]:
            answer = await handler(service, request._replace(callers=(caller,)))
            if answer.status != 404:
                return answer
        return await handler(service, request._replace(callers=request.callers[-1:]))

    return handle


def read(body: bytes, kind: Kind) -> dict[str, Any] | Answer:
    """The object in a body as a table of ``fields`` says, or the answer that says what is wrong with it."""
    return read_and_written(body, kind)[0] if type(kind) is Object else _read_closely(body, kind)


def read_and_written(body: bytes, kind: Object) -> tuple[dict[str, Any] | Answer, bytes]:
    """The same, and the object in JSON, its names in order, where that is at hand; else nothing."""
    return typed.read(body, kind) or (_read_closely(body, kind), b"")


def _read_closely(body: bytes, kind: Kind) -> dict[str, Any] | Answer:
    decoded = decode(body)
    if type(decoded) is Problem:
        return answers.invalid([decoded])
    problems: Problems = []
    found = kind.read(decoded, "", problems)
    return answers.invalid(problems) if problems else found


def operation_key(request: Request) -> str | None:
    """The key that an operation of a payment claims: merchant (by the table), method, path and the caller's own.  A digest, because a caller's
    key may be long."""
    if not request.key:
        return None
    return "ppro:" + blake2b(f"{request.method} {request.path}\n{request.key}".encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


def content_of(service: Service, asked: Mapping[str, Any]) -> bytes:
    """What was asked, under a key (BLAKE2b, RFC 7693 2.9), whatever the order of its names.

    Card numbers must have become their records before, and security codes be gone.
    """
    return content_of_written(service, _ENCODE(asked))


def content_of_written(service: Service, written: bytes) -> bytes:
    """The same of what stands in JSON already, its names in order."""
    return blake2b(written, key=service.content_key, digest_size=16).digest()


async def once(
    service: Service, request: Request, asked: Mapping[str, Any], work: Callable[[int], Awaitable[Answer]],
) -> Answer:
    """Carry out a request that is no operation of a payment, once under its key; without a key, at once.

    ``work(number)`` is given the number of what it makes, and goes on where a first try under that number was cut off.
    """
    if not request.key:
        return await work(service.engine.new_id())

    async def said(number: int) -> Said:
        answer = await work(number)
        return Said(answer.status, answer.body)

    done = await service.keyed.once(
        request.caller.merchant.merchant_id, DOOR, f"{request.method} {request.path}\n{request.key}", content_of(service, asked), said)
    if done.said is None:
        return answers.error(409, answers.IN_FLIGHT if done.stands is Stands.IN_FLIGHT else answers.ALREADY_USED)
    answer = Answer(done.said.status, done.said.body)
    return answers.replayed(answer) if done.again else answer
