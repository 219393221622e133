"""The simulated access control: what the cards' issuers say to 3-D Secure, by the 06NN rows of the scheme.

Answers requests for authentication at once; where a person must decide it remembers the challenge in a file of its own, decides it once, and
keeps the result for whoever asks from server to server.  Two of the protocol's time limits are the issuer's: a browser that never comes, and a
person who does nothing.  Refuses to know payments; the engine's tables are not its own.
"""
from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

from ringfence.core.authentication import CHALLENGE, FIRST_SIGN, VERSIONS, Cancelled, Status, agreed
from ringfence.core.card import Brand, brand_of
from ringfence.processors.authenticator import MANDATED, AuthenticationRequest, Said, Screen
from ringfence.processors.processor import Ask
from ringfence.processors.simulator.issuer import Seal
from ringfence.processors.simulator.scenarios import magic_code, scenario_code, scenario_named

_TEXT = (resources.files(__package__) / "challenges.sql").read_text(encoding="utf-8")
SQL = {name: text.strip() for name, text in re.findall(r"^-- (\w+) --\n(.*?)(?=^-- \w+ --$|\Z)", _TEXT, re.M | re.S)}

FILE = "challenges.sqlite"
RIGHT_CODE = "1234"
TRIES = 3
ELSEWHERE_SECONDS = 60.0
"""When a decoupled authentication (0612) has ended well, from its beginning (business time)."""
KNOWN_CARDS = 4096

#: ARes by scenario.
ANSWERS: dict[str, Status] = {
    "0600": Status.AUTHENTICATED, "0601": Status.CHALLENGE, "0602": Status.CHALLENGE, "0603": Status.ATTEMPTED, "0604": Status.UNAVAILABLE,
    "0605": Status.REJECTED, "0606": Status.CHALLENGE, "0607": Status.ERROR, "0608": Status.CHALLENGE, "0609": Status.AUTHENTICATED,
    "0610": Status.UNAVAILABLE, "0611": Status.INFORMATIONAL, "0612": Status.DECOUPLED, "0613": Status.METHOD,
    "0614": Status.CHALLENGE, "0615": Status.CHALLENGE,
}
#: Versions of the protocol that the issuer speaks; everybody else speaks all of them.  0615 changes it in the middle.
SPEAKS = {"0614": VERSIONS[-1:]}
CHANGED = {"0615": VERSIONS[-1]}
REASONS = {Status.REJECTED: "11", Status.UNAVAILABLE: "22", Status.FAILED: "01"}

#: ECI by status: of Mastercard and what is co-badged with it, and of everybody else.  What is not here is not secured: 00, 07.
MASTERCARD_ECI = {Status.AUTHENTICATED: "02", Status.ATTEMPTED: "01", Status.INFORMATIONAL: "06"}
OTHER_ECI = {Status.AUTHENTICATED: "05", Status.ATTEMPTED: "06", Status.INFORMATIONAL: "07"}

#: Schemes whose cards all take part: without a scenario of their own they are authenticated at once.
ALWAYS = (Brand.MADA, Brand.MEEZA)

_T = TypeVar("_T")


class _Challenge(NamedTuple):
    acs_id: str
    scenario: str
    merchant_name: str
    card: str
    minor: int
    currency: str
    language: str
    reference: str
    eci: str
    cavv: str
    no_eci: str
    ds_id: str
    made_at: float
    first_at: float | None
    tries: int
    status: str
    reason: str
    cancelled: str


class SimulatedAccessControl:
    """The issuers' side of one worker process; ``folder`` is shared by all of them, ``seed`` decides all chance."""

    name = "simulator"

    def __init__(self, folder: Path, *, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._seal = folder / FILE, Seal(seed)
        self._enrolled: dict[str, bool] = {}
        self._file: sqlite3.Connection | None = None
        self._lock = Lock()

    # --- asked by us

    def takes_part(self, message: Ask) -> bool:
        """See ``Authenticator``."""
        if message.pan is None:
            return False
        digits = message.pan.reveal()
        enrolled = self._enrolled.get(digits)
        if enrolled is None:
            enrolled = self._learn(digits)
        return enrolled or (message.magic and bool(self._scenario(digits, message.minor, True)))

    async def authenticate(self, request: AuthenticationRequest) -> Said:
        """See ``Authenticator``."""
        digits = request.pan.reveal()
        scenario = self._scenario(digits, request.minor, request.magic)
        status = ANSWERS.get(scenario, Status.AUTHENTICATED)
        if scenario == "0610" and request.indicator == MANDATED:
            status = Status.CHALLENGE
        if status is Status.ERROR:
            return Said(Status.ERROR, reason="22")
        version = _spoken(scenario)
        drawn = self._seal.octets(digits, f"3ds|{request.reference}")
        ds_id = _uuid(drawn[:16])
        if status in (Status.CHALLENGE, Status.DECOUPLED, Status.METHOD):
            acs_id = _uuid(self._seal.octets(digits, f"acs|{request.reference}")[:16])
            row = (
                acs_id, scenario, request.merchant_name, request.pan.masked, request.minor, request.currency, request.language,
                request.reference, _eci(digits, Status.AUTHENTICATED), _cavv(drawn), _eci(digits, Status.FAILED), ds_id, request.at.timestamp(),
            )
            try:
                await self._in_thread(lambda file: file.execute(SQL["begin"], row))
            except (OSError, sqlite3.Error):
                return Said(Status.ERROR, reason="22")
            return Said(status, ds_id=ds_id, version=version, acs_id=acs_id)
        cavv = _cavv(drawn) if status in (Status.AUTHENTICATED, Status.ATTEMPTED) else ""
        return Said(status, REASONS.get(status, ""), _eci(digits, status), cavv, ds_id, version)

    async def result(self, acs_id: str, at: datetime) -> Said | None:
        """See ``Authenticator``.  What is overdue is decided here, at the instant that somebody asks."""
        now = at.timestamp()

        def work(file: sqlite3.Connection) -> _Challenge | None:
            one = _load(file, acs_id)
            if one is None or one.status:
                return one
            if one.scenario == "0612":
                if now >= one.made_at + ELSEWHERE_SECONDS:
                    _decide(file, acs_id, Status.AUTHENTICATED)
            elif one.first_at is None and now >= one.made_at + FIRST_SIGN.total_seconds():
                _decide(file, acs_id, Status.FAILED, "14", Cancelled.NO_FIRST_SIGN)
            elif now >= one.made_at + CHALLENGE.total_seconds():
                _decide(file, acs_id, Status.FAILED, "14", Cancelled.ISSUER_TIMEOUT)
            return _load(file, acs_id)

        try:
            one = await self._in_thread(work)
        except (OSError, sqlite3.Error):
            return None
        if one is None or not one.status or one.scenario == "0606":      # whose result message is lost
            return None
        good, version = one.status == Status.AUTHENTICATED, CHANGED.get(one.scenario, _spoken(one.scenario))
        return Said(
            Status(one.status), one.reason, one.eci if good else one.no_eci, one.cavv if good else "", one.ds_id, version, acs_id, one.cancelled)

    # --- shown to the payer

    async def look(self, acs_id: str, at: datetime) -> Screen | None:
        """See ``AccessControl``."""
        def work(file: sqlite3.Connection) -> _Challenge | None:
            file.execute(SQL["came"], (at.timestamp(), acs_id))
            return _load(file, acs_id)

        return _screen(await self._in_thread(work))

    async def act(self, acs_id: str, action: str, code: str, at: datetime) -> Screen | None:
        """See ``AccessControl``."""
        def work(file: sqlite3.Connection) -> Screen | None:
            file.execute(SQL["came"], (at.timestamp(), acs_id))
            one = _load(file, acs_id)
            if one is None or one.status or at.timestamp() >= one.made_at + CHALLENGE.total_seconds():
                return _screen(one)
            if action == "code" and code != RIGHT_CODE and one.scenario not in ("0602", "0608") and one.tries + 1 < TRIES:
                file.execute(SQL["missed"], (acs_id,))
                return _screen(_load(file, acs_id), "wrong_code")
            if decided := _decided(one, action, code):
                _decide(file, acs_id, *decided)
            return _screen(_load(file, acs_id))

        return await self._in_thread(work)

    async def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # --- inside

    def _scenario(self, digits: str, minor: int, magic: bool) -> str:
        """The row of the scheme that decides about a payment, "" where the card does not take part."""
        code = scenario_code(digits)
        if magic and code and scenario_named(code).is_open and (chosen := magic_code(minor)):
            code = chosen
        if code in ANSWERS:
            return code
        return "0600" if brand_of(digits) in ALWAYS else ""

    def _learn(self, digits: str) -> bool:
        if len(self._enrolled) >= KNOWN_CARDS:
            self._enrolled.clear()
        self._enrolled[digits] = enrolled = bool(self._scenario(digits, 0, False))
        return enrolled

    async def _in_thread(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        return await asyncio.to_thread(self._worked, work)

    def _worked(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._lock:
            if self._file is None:
                self._file = self._opened()
            with self._file as file:
                file.execute("BEGIN IMMEDIATE")
                return work(file)

    def _opened(self) -> sqlite3.Connection:
        with contextlib.suppress(FileExistsError):          # see ``accounts``: closing a descriptor gives away the file's locks
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        file = sqlite3.connect(self._path, timeout=30.0, isolation_level=None, check_same_thread=False)
        file.execute("PRAGMA synchronous = off")        # it has to survive the process, not the machine
        file.executescript(SQL["schema"])
        return file


def _decided(one: _Challenge, action: str, code: str) -> tuple[Status, str, str] | None:
    """What an action of the payer ends the challenge with; ``None`` where it does not."""
    if one.scenario == "0613":
        return (Status.AUTHENTICATED, "", "") if action == "method" else None
    if one.scenario == "0612" or action not in ("approve", "reject", "cancel", "code"):
        return None
    if action == "cancel" or one.scenario == "0608":
        return Status.FAILED, "01", Cancelled.CARDHOLDER
    if one.scenario == "0602" or action == "reject":
        return Status.FAILED, "01", ""
    if action == "code" and code != RIGHT_CODE:
        return Status.FAILED, "19", ""                  # the last of the tries
    return Status.AUTHENTICATED, "", ""


def _decide(file: sqlite3.Connection, acs_id: str, status: Status, reason: str = "", cancelled: str = "") -> None:
    file.execute(SQL["decide"], (str(status), reason, str(cancelled), acs_id))


def _load(file: sqlite3.Connection, acs_id: str) -> _Challenge | None:
    row = file.execute(SQL["load"], (acs_id,)).fetchone()
    return None if row is None else _Challenge(*row)


def _screen(one: _Challenge | None, problem: str = "") -> Screen | None:
    if one is None:
        return None
    kind = "done" if one.status else {"0612": "elsewhere", "0613": "method"}.get(one.scenario, "decide")
    return Screen(
        kind, one.scenario, one.merchant_name, one.card, one.minor, one.currency, one.language, one.reference, problem, TRIES - one.tries,
        one.status, _spoken(one.scenario),
    )


def _spoken(scenario: str) -> str:
    """The version of the protocol that a challenge began in."""
    return agreed(SPEAKS.get(scenario, VERSIONS))


def _eci(digits: str, status: Status) -> str:
    is_mastercard = digits[:1] in ("2", "5") or brand_of(digits) in (Brand.MASTERCARD, Brand.MAESTRO)
    return MASTERCARD_ECI.get(status, "00") if is_mastercard else OTHER_ECI.get(status, "07")


def _cavv(drawn: bytes) -> str:
    return base64.b64encode(drawn[-20:]).decode()


def _uuid(octets: bytes) -> str:
    digits = octets.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
