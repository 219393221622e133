"""Worker processes in miniature: everything that ``main`` builds between the APS door and the database, with a scripted issuer.

Several of them on one database behave like several worker processes: each has its own pool, lanes, caches and ids.  Whatever a
process makes up by itself can be given instead (``ids``, ``token_names``, ``Time``), and its lanes' connections can be broken at
the worst moments (``Wire``).
"""
from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import time as wall
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, time, timedelta
from typing import Any

import asyncpg

from ringfence.api.aps import signature
from ringfence.api.aps.app import PaymentApi
from ringfence.api.aps.door import Service, card_facts, order_key
from ringfence.api.ppro.charges import card_facts as charge_facts
from ringfence.core.authentication import Status
from ringfence.core.card import Brand, Pan
from ringfence.core.ids import IdSource
from ringfence.core.outcomes import Approved, Outcome, Silence, Unknown
from ringfence.core.recovery import Plan
from ringfence.core.redirection import Stand
from ringfence.engine.ahead import Ahead
from ringfence.engine.authenticating import Authenticating, secrets_under
from ringfence.engine.challenges import Challenges
from ringfence.engine.code_box import CodeBox, LocalCodeBox
from ringfence.engine.desk import PostgresDesk
from ringfence.engine.directory import Directory, Merchant, NewCredential, Rejected
from ringfence.engine.engine import Engine
from ringfence.engine.intent_lane import IntentLane
from ringfence.engine.key_sources import KeySource
from ringfence.engine.keys import open_keyring
from ringfence.engine.lane import Lane
from ringfence.engine.link_addresses import WALLET, Addresses
from ringfence.engine.links import MEDIA
from ringfence.engine.links import Desk as LinkDesk
from ringfence.engine.outcome_lane import OutcomeLane
from ringfence.engine.proof import prove
from ringfence.engine.reading import Reading
from ringfence.engine.recovery import Recovery
from ringfence.engine.redirects import Handover, Redirects, Seen
from ringfence.engine.refund_period import RefundPeriod
from ringfence.engine.vault import Vault
from ringfence.processors.authenticator import AuthenticationRequest, Said
from ringfence.processors.processor import Ask, Capabilities
from ringfence.storage import database
from tests import kept

BASE_URL = "https://pay.example"
MASTER_KEY = base64.b64encode(os.urandom(32)).decode()
NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
DAY = timedelta(days=1)
BASE_URL = "https://pay.example"
OUTCOME_LANES, INTENT_LANES = range(64), range(64, 128)

Answer = Outcome | Callable[[Ask], Outcome | Awaitable[Outcome]]


class Time:
    """Business time; it stands until a test moves it."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Held:
    """A question that the processor is still thinking about."""

    def __init__(self) -> None:
        self.arrived, self._answered = asyncio.Event(), asyncio.Event()
        self._answer: Answer | None = None

    def release(self, answer: Answer | None = None) -> None:
        """Let the answer out; an approval where none is given."""
        self._answer = answer
        self._answered.set()

    async def __call__(self, message: Ask) -> Outcome:
        self.arrived.set()
        await self._answered.wait()
        return await said(self._answer or approve, message)


async def said(answer: Answer, message: Ask) -> Outcome:
    """What an entry of a script says to a message."""
    if not callable(answer):
        return answer
    outcome = answer(message)
    return await outcome if isinstance(outcome, Awaitable) else outcome


def approve(message: Ask) -> Approved:
    """An approval in full, with the marks of a real one."""
    return Approved(message.minor, "742138", f"{message.operation_id % 10 ** 15:015d}", f"{message.operation_id % 10 ** 12:012d}")


class Script:
    """A processor that says what the test wrote down, message by message, and approves everything after that.

    What it can do (``capabilities``) is the test's to set; an inquiry finds what the test wrote down, and nothing after that.
    """

    name = "scripted"

    def __init__(self) -> None:
        self.capabilities = Capabilities(False, True, True, True, time(0), "UTC")
        self.asked: list[Ask] = []
        self.inquired: list[Ask] = []
        self.reversals: list[Ask] = []
        self.acknowledges = True
        self.reversed = asyncio.Event()
        self._answers: deque[Answer] = deque()
        self._found: deque[Answer] = deque()

    def say(self, *answers: Answer) -> None:
        """The answers to the next messages."""
        self._answers.extend(answers)

    def find(self, *answers: Answer) -> None:
        """The answers to the next inquiries."""
        self._found.extend(answers)

    def forget(self) -> None:
        """Drop the answers that nobody asked for."""
        self._answers.clear()

    def hold(self) -> Held:
        """The next message is thought about until the test releases its answer."""
        held = Held()
        self._answers.append(held)
        return held

    async def ask(self, message: Ask) -> Outcome:
        self.asked.append(message)
        return await said(self._answers.popleft() if self._answers else approve, message)

    async def inquire(self, message: Ask) -> Outcome:
        self.inquired.append(message)
        return await said(self._found.popleft() if self._found else Unknown(Silence.NO_ANSWER), message)

    async def reverse(self, message: Ask) -> bool:
        self.reversals.append(message)
        self.reversed.set()
        return self.acknowledges

    async def close(self) -> None:
        """Nothing to release."""


class Issuers:
    """Access control that says what the test wrote down, challenge by challenge.

    Without a word of the test's, cards of mada and Meeza are authenticated at once, and all others take no part.
    """

    def __init__(self) -> None:
        self.asked: list[AuthenticationRequest] = []
        self.results: dict[str, Said] = {}              # by acs_id: what came from server to server
        self._answers: deque[Said | Callable[[AuthenticationRequest], Awaitable[Said]]] = deque()
        self.enrolled = False

    def say(self, *answers: Said | Callable[[AuthenticationRequest], Awaitable[Said]]) -> None:
        """The answers to the next requests; from now on every card takes part."""
        self.enrolled = True
        self._answers.extend(answers)

    def challenge(self, acs_id: str = "c1") -> None:
        """The next payer must act."""
        self.say(Said(Status.CHALLENGE, ds_id=f"ds-{acs_id}", version="2.2.0", acs_id=acs_id))

    def takes_part(self, message: Ask) -> bool:
        return self.enrolled or (message.pan is not None and message.pan.brand in (Brand.MADA, Brand.MEEZA))

    async def authenticate(self, request: AuthenticationRequest) -> Said:
        self.asked.append(request)
        answer = self._answers.popleft() if self._answers else AUTHENTICATED
        return answer if isinstance(answer, Said) else await answer(request)

    async def result(self, acs_id: str, at: datetime) -> Said | None:
        return self.results.get(acs_id)


class Wallet:
    """A wallet's site that says what the test wrote down, session by session, and nothing of all others."""

    def __init__(self) -> None:
        self.sessions: dict[str, Seen] = {}
        self.looked: list[str] = []
        self.agreed: list[str] = []
        self.makes = ""                 # the session that is there before its payer comes
        self.knows_all = True

    def knows(self, merchant_id: int) -> bool:
        return self.knows_all

    async def look(self, row: Any, session: str) -> Seen:
        self.looked.append(session)
        return self.sessions.get(session, Seen(Stand.SILENT))

    async def agree(self, row: Any, session: str) -> Seen:
        self.agreed.append(session)
        return self.sessions[session]

    async def hand_over(self, row: Any, result_url: str, cancel_url: str) -> Handover:
        payload = json.dumps({"result": result_url, "cancel": cancel_url, "amount": row.minor})
        return Handover(
            payload, "sig/+=", "AMZN-PAY-RSASSA-PSS-V2", "SANDBOX-1", "A1", row.currency, True, "https://wallet.example/amazon/checkout.js",
            "https://wallet.example/amazon/checkout", self.makes)


AUTHENTICATED = Said(Status.AUTHENTICATED, eci="05", cavv="AAECAwQFBgcICQoLDA0ODxAREhM=", ds_id="ds-1", version="2.2.0")
REJECTED = Said(Status.FAILED, reason="01", eci="07", ds_id="ds-1", version="2.2.0")


class Wire:
    """The connections of one lane, which break where the test wants it.

    ``cut(query, when)``: the next time that statement runs (``COMMIT`` for the end of a transaction), the connection is lost
    ``before`` the server sees it, or ``after`` it was carried out, so that only its answer is missing; ``silently`` is the same
    without the server noticing that its client is gone.
    """

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self._name = dsn, name
        self.away = False
        self.lost = 0
        self.orphans: list[asyncpg.Connection] = []     # what the server still believes in
        self._plan: tuple[str, str] | None = None
        self.current: asyncpg.Connection | None = None

    def cut(self, query: str, when: str) -> None:
        assert when in ("before", "after", "silently")
        self._plan = query, when

    async def connect(self) -> asyncpg.Connection:
        """What the lane calls."""
        if self.away:
            raise database.DatabaseUnavailable("away, says the test")
        self.current = await kept.take(database.connect, self._dsn, self._name, application_name=self._name)
        return _Connection(self, self.current)     # type: ignore[return-value]

    async def passed(self, statement: str, carry_out: Callable[[], Awaitable[Any]]) -> Any:
        """Carry a statement over, unless the plan breaks it."""
        if self._plan is None or self._plan[0] not in statement:
            return await carry_out()
        (_, when), self._plan = self._plan, None
        self.lost += 1
        if when != "before":
            await carry_out()
        assert self.current is not None
        if when == "silently":
            self.orphans.append(self.current)
        else:
            self.current.terminate()
        raise asyncpg.ConnectionDoesNotExistError("cut by the test")


class _Connection:
    """A connection whose statements pass the wire."""

    def __init__(self, wire: Wire, connection: asyncpg.Connection) -> None:
        self._wire, self._connection = wire, connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def terminate(self) -> None:
        if self._connection not in self._wire.orphans:
            self._connection.terminate()

    async def close(self, *, timeout: float | None = None) -> None:
        """To those who hear nothing of it any more it is closed; the next test may find it open."""
        if connections := kept.here():
            await connections.give(self._connection)
        else:
            await self._connection.close(timeout=timeout)

    async def execute(self, statement: str, *values: Any) -> Any:
        return await self._wire.passed(statement, lambda: self._connection.execute(statement, *values))

    async def fetch(self, statement: str, *values: Any) -> Any:
        return await self._wire.passed(statement, lambda: self._connection.fetch(statement, *values))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            yield
        except BaseException:
            if not self._connection.is_closed():
                await transaction.rollback()
            raise
        await self._wire.passed("COMMIT", transaction.commit)


class Process:
    """One worker process.  Made by ``process``."""

    pool: asyncpg.Pool
    directory: Directory
    vault: Vault
    engine: Engine
    reading: Reading
    code_box: CodeBox
    links: LinkDesk
    api: PaymentApi
    challenges: Challenges
    redirects: Redirects
    ahead: Ahead

    @property
    def processors(self) -> dict[str, Script]:
        """The script stands for everybody who is asked."""
        return dict.fromkeys((Script.name, "amazon_pay", "mock"), self.processor)

    def __init__(self, dsn: str, place: int, now: Time) -> None:
        self.now, self.processor, self.issuers, self.code_box, self.wallet = now, Script(), Issuers(), LocalCodeBox(), Wallet()
        self.ids: deque[int] = deque()
        self.token_names: deque[str] = deque()
        self.intent_wire, self.outcome_wire = Wire(dsn, f"intents {place}"), Wire(dsn, f"outcomes {place}")
        self.intent_lane = Lane(self.intent_wire.connect, numbers=INTENT_LANES)
        self.outcome_lane = Lane(self.outcome_wire.connect, numbers=OUTCOME_LANES)
        self.away = False
        self._dsn = dsn
        self._source = IdSource(place, lambda: wall.time_ns() // 1_000_000)
        self._names = (f"{place:02X}{number:030X}" for number in itertools.count(1))

    def new_id(self) -> int:
        """The next id of an operation: one that the test gave, else one of this process's own."""
        return self.ids.popleft() if self.ids else self._source.next()

    def new_token_name(self) -> str:
        return self.token_names.popleft() if self.token_names else next(self._names)

    async def connect(self, *args: Any, **options: Any) -> asyncpg.Connection:
        """How the pool connects."""
        if self.away:
            raise ConnectionRefusedError("away, says the test")
        return await kept.take(asyncpg.connect, *args, "pool", **options)

    async def lose_the_database(self) -> None:
        """Every connection of this process breaks, and no new one comes about until ``find_the_database``."""
        self.away = self.intent_wire.away = self.outcome_wire.away = True
        await self.pool.expire_connections()
        for wire in (self.intent_wire, self.outcome_wire):
            if wire.current is not None:
                wire.current.terminate()

    def find_the_database(self) -> None:
        self.away = self.intent_wire.away = self.outcome_wire.away = False

    async def merchant(
        self, identifier: str, *, access_code: str, request: str, response: str, sha_type: str = "SHA-256", **settings: str
    ) -> Shop:
        """A merchant with its first credential."""
        made = await self.directory.create(
            identifier, identifier, [
                NewCredential("aps", access_code, request, response, sha_type),
                NewCredential("ppro", f"merch_{identifier:0<21}", f"key_sandbox_{identifier}", f"whsec_{identifier}")],
            settings={"magic_amounts": "off", **settings},
        )
        assert not isinstance(made, Rejected), made
        return Shop(self, identifier, access_code, request, response, sha_type)

    async def fetch(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        return await self.pool.fetch(statement, *values)

    async def value(self, statement: str, *values: Any) -> Any:
        return await self.pool.fetchval(statement, *values)

    async def prove(self) -> None:
        """The proof passes: sums, balances, operations, and a chain without a gap."""
        proof = await prove(self.pool, chain_key=self.chain_key, full=True)
        assert proof.ok, json.dumps(proof.as_json(), indent=1)


class Asked:
    """A request on the short way, as a connection makes it; ``coming`` is the answer."""

    def __init__(self) -> None:
        self.coming: asyncio.Future[tuple[bytes, Any]] = asyncio.get_running_loop().create_future()

    def answered(self, answer: bytes, of: Any) -> None:
        """The answer came by itself."""
        self.coming.set_result((answer, of))

    def goes_on(self, rest: Coroutine[Any, Any, tuple[bytes, Any]]) -> None:
        """Something is to be awaited for it."""
        asyncio.ensure_future(rest).add_done_callback(lambda done: self.coming.set_result(done.result()))


async def told(api: PaymentApi, body: bytes, source_ip: str = "", idempotency_key: str = "") -> tuple[bytes, str]:
    """The answer to a body and its receipt, on the short way."""
    asked = Asked()
    rest = api.begin(body, source_ip, idempotency_key, asked)
    return await (asked.coming if rest is None else rest)


class Shop:
    """A merchant's server: signs what it asks, and takes no answer whose signature is wrong.

    ``process`` is the worker that its requests happen to reach.
    """

    def __init__(self, process: Process, identifier: str, access_code: str, request: str, response: str, sha_type: str) -> None:
        self.process, self.identifier, self.access_code = process, identifier, access_code
        self._request, self._response, self._sha_type = request, response, sha_type

    @property
    def account(self) -> Merchant:
        """The merchant in the directory of the process."""
        merchant = self.process.directory.merchant(self.identifier)
        assert merchant is not None
        return merchant

    def at(self, process: Process) -> Shop:
        """The same merchant, its requests reaching another worker."""
        return Shop(process, self.identifier, self.access_code, self._request, self._response, self._sha_type)

    def signed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A request of this merchant; values that are no texts are signed as a PHP client would."""
        params = {"merchant_identifier": self.identifier, "access_code": self.access_code, "language": "en", **fields}
        texts = {name: signature.text(f"{value:.14g}" if isinstance(value, float) else value) for name, value in params.items()}
        return params | {"signature": signature.sign(texts, self._request, self._sha_type)}

    async def post(self, body: bytes | Mapping[str, Any], *, source_ip: str = "192.0.2.7", idempotency_key: str = "") -> dict[str, Any]:
        """The answer to a body; signed with the response phrase, or the test fails."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        answered, self.receipt = await told(self.process.api, raw, source_ip, idempotency_key)
        answer = json.loads(answered)
        assert answer["signature"] == signature.sign(answer, self._response, self._sha_type)
        assert answer["status"] == answer["response_code"][:2]
        return answer

    async def ask(self, **fields: Any) -> dict[str, Any]:
        """Sign and post."""
        return await self.post(self.signed(fields))

    async def code(self, **fields: Any) -> str:
        """Only the answer's code."""
        return (await self.ask(**fields))["response_code"]

    async def pay(self, command: str, reference: str, amount: Any = "1000", **fields: Any) -> dict[str, Any]:
        """AUTHORIZATION or PURCHASE with a test card; with a token where ``token_name`` is given and no card is."""
        card = {} if "token_name" in fields and "card_number" not in fields else CARD
        return await self.ask(**{
            "command": command, "merchant_reference": reference, "amount": amount, "currency": "AED",
            "customer_email": "a@shop.example", "customer_ip": "192.0.2.7", **card, **fields,
        })

    async def authorize(self, reference: str, amount: Any = "1000", **fields: Any) -> dict[str, Any]:
        return await self.pay("AUTHORIZATION", reference, amount, **fields)

    async def purchase(self, reference: str, amount: Any = "1000", **fields: Any) -> dict[str, Any]:
        return await self.pay("PURCHASE", reference, amount, **fields)

    async def capture(self, reference: str, amount: Any, **fields: Any) -> dict[str, Any]:
        return await self.ask(**{"command": "CAPTURE", "merchant_reference": reference, "amount": amount, "currency": "AED", **fields})

    async def refund(self, reference: str, amount: Any, **fields: Any) -> dict[str, Any]:
        return await self.ask(**{"command": "REFUND", "merchant_reference": reference, "amount": amount, "currency": "AED", **fields})

    async def void(self, reference: str, **fields: Any) -> dict[str, Any]:
        return await self.ask(command="VOID_AUTHORIZATION", merchant_reference=reference, **fields)

    async def status(self, reference: str, **fields: Any) -> dict[str, Any]:
        return await self.ask(query_command="CHECK_STATUS", merchant_reference=reference, **fields)

    async def once(self, key: str, **fields: Any) -> dict[str, Any]:
        """A request with an ``Idempotency-Key``."""
        return await self.post(self.signed(fields), idempotency_key=key)

    async def token(self, name: str, **fields: Any) -> dict[str, Any]:
        """A token of that name for a test card, made without asking the bank."""
        return await self.ask(**{
            "service_command": "CREATE_TOKEN", "merchant_reference": f"T-{name}", "card_number": CARD["card_number"],
            "expiry_date": "3512", "return_url": "https://shop.example/", "token_name": name, **fields,
        })


#: A card of nobody.
CARD = {"card_number": "4000009900000004", "expiry_date": "3512", "card_security_code": "739", "remember_me": "NO"}
FOREIGN = "4111111111111111"
"""A valid number that the vault of these processes does not keep whole, as a sandbox does not."""


def keeps(pan: Pan) -> bool:
    return pan.reveal() != FOREIGN


@asynccontextmanager
async def process(
    dsn: str, place: int = 1, *, now: Time | None = None, ask_seconds: float = 30.0, recovers: bool = False,
    code_box: CodeBox | None = None,
) -> AsyncIterator[Process]:
    """A worker process on a migrated database.  ``place`` tells several of them apart.

    ``code_box``: the service's, where several processes share it.  ``recovers``: whoever meets an unknown outcome tries to end it; there is no background, so else it stays.
    """
    one = Process(dsn, place, now or Time())
    async with asyncpg.create_pool(dsn, min_size=0, max_size=4, connect=one.connect, connection_class=database.Connection, server_settings={"timezone": "UTC"}) as one.pool:
        async with one.pool.acquire() as connection:
            ring = await open_keyring(connection, KeySource({"RINGFENCE_MASTER_KEY": MASTER_KEY}))
        one.chain_key = ring.chain_key
        one.directory = Directory(one.pool, ring, one.now)
        await one.directory.load()
        one.vault = Vault(one.pool, ring, new_id=one._source.next, keeps=keeps, now=one.now)
        await one.intent_lane.open()
        await one.outcome_lane.open()
        intents = IntentLane(one.intent_lane, now=one.now, ask_seconds=ask_seconds)
        outcomes = OutcomeLane(
            one.outcome_lane, now=one.now, new_id=one._source.next, chain_key=ring.chain_key, value_date=lambda name, at: at.date(),
        )
        one.engine = Engine(
            intents=intents, outcomes=outcomes, processors=one.processors, vault=one.vault, pool=one.pool,
            new_id=one.new_id, now=one.now,
        )
        one.reading = Reading(one.pool, one.vault)
        one.keyring, one.content_key = ring, ring.content_key
        one.code_box = code_box or one.code_box
        one.links = LinkDesk(
            one.pool, one.now, one.new_id, Addresses(ring.content_key), lambda: BASE_URL, order_key, frozenset(MEDIA), lambda merchant, url: True,
            lambda: None)
        doors(one, ask_seconds)
        if recovers:
            one.engine.recovery = recovery_of(one, ask_seconds)
        try:
            yield one
        finally:
            await one.engine.idle()
            await one.intent_lane.close()
            await one.outcome_lane.close()
            if connections := kept.here():
                await connections.give_all(one.pool)


def doors(one: Process, ask_seconds: float = 30.0) -> None:
    """What authenticates payers, and the APS door, as ``main`` builds them."""
    desk = PostgresDesk(one.pool, one.directory, one.vault, f"process {id(one)}", 10.0, {"aps": card_facts, "ppro": charge_facts})
    secret_of = secrets_under(one.content_key)
    made = {"new_id": one._source.next, "secret_of": secret_of, "now": one.now, "wall": lambda: datetime.now(UTC), "seconds": 2.0}
    one.engine.authenticating = Authenticating(one.pool, one.issuers, one.code_box, one.directory, **made)
    one.challenges = Challenges(
        one.pool, one.issuers, one.code_box, one.engine, desk.first, secret_of=secret_of, now=one.now, wall=lambda: datetime.now(UTC), ask_seconds=ask_seconds)
    one.engine.challenged = one.challenges.at_once
    one.redirects = Redirects(
        one.pool, one.engine, desk.first, {"AMAZON_PAY": one.wallet}, Addresses(one.content_key, WALLET), base_url=BASE_URL, now=one.now,
        wall=lambda: datetime.now(UTC), ask_seconds=ask_seconds)
    one.engine.redirecting = one.redirects
    one.engine.rules = {"amazon_pay": RefundPeriod(one.reading, one.directory, one.now)}
    one.ahead = Ahead(one.pool, one.issuers, one.engine.authenticating, one.challenges, **made)
    one.api = PaymentApi(Service(
        engine=one.engine, reading=one.reading, vault=one.vault, content_key=one.content_key,
        route=lambda merchant, brand: Script.name, new_token_name=one.new_token_name, new_sdk_token=one.new_token_name, now=one.now,
        code_box=one.code_box, base_url=BASE_URL, ahead=one.ahead, links=one.links,
    ), one.directory, sandbox=True)


def recovery_of(one: Process, ask_seconds: float) -> Recovery:
    """Recovery over the database, as ``main`` builds it."""
    desk = PostgresDesk(one.pool, one.directory, one.vault, f"process {id(one)}", 10.0, {"aps": card_facts, "ppro": charge_facts})

    def merchant_id(identifier: str) -> int | None:
        merchant = one.directory.merchant(identifier)
        return merchant and merchant.merchant_id

    return Recovery(
        one.engine, desk, one.processors, plan=Plan(), now=one.now, wall=lambda: datetime.now(UTC), ask_seconds=ask_seconds,
        day=lambda name, at: at.date(), merchants=merchant_id,
    )


async def shop(process: Process, identifier: str = "CycHZxVj", **settings: str) -> Shop:
    """A merchant of its own, with phrases of its own."""
    return await process.merchant(
        identifier, access_code=f"code{identifier}", request=f"ask-{identifier}", response=f"say-{identifier}", **settings)
