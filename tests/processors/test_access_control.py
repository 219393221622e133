"""The simulated access control: what issuers say to 3-D Secure, and what the issuer of the money makes of it."""
from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.core.authentication import Evidence, Status
from ringfence.core.card import Pan
from ringfence.core.commands import Initiation, Kind
from ringfence.core.outcomes import Approved, Declined
from ringfence.processors.authenticator import MANDATED, NO_PREFERENCE, AuthenticationRequest
from ringfence.processors.processor import Ask
from ringfence.processors.simulator import SimulatedAccessControl, Simulator
from ringfence.processors.simulator.scenarios import RANGES, VISA

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)
MASTERCARD, AMEX = RANGES[1], RANGES[3]


@pytest.fixture
async def access(tmp_path: Path) -> AsyncIterator[SimulatedAccessControl]:
    made = SimulatedAccessControl(tmp_path, seed=1)
    yield made
    await made.close()


def request(number: str, indicator: str = NO_PREFERENCE, *, reference: str = "r-1", minor: int = 1000, magic: bool = False) -> AuthenticationRequest:
    return AuthenticationRequest(reference, Pan(number), "3912", minor, "AED", "shop", "The Shop", "en", indicator, NOW, NOW, magic)


def ask(number: str, key: str = "1-1", **fields) -> Ask:
    return Ask(**{
        "key": key, "kind": Kind.PURCHASE, "minor": 1000, "currency": "AED", "merchant": "shop", "payment_id": 1, "operation_id": 1, "at": NOW,
        "deadline": datetime.now(UTC) + timedelta(seconds=30), "pan": Pan(number), "expiry": "3912", **fields})


@pytest.mark.parametrize(("number", "status", "eci"), [
    (VISA.number("0600"), "Y", "05"), (VISA.number("0603"), "A", "06"), (VISA.number("0604"), "U", "07"), (VISA.number("0611"), "I", "07"),
    (MASTERCARD.number("0600"), "Y", "02"), (MASTERCARD.number("0603"), "A", "01"), (MASTERCARD.number("0604"), "U", "00"),
    (MASTERCARD.number("0611"), "I", "06"), (AMEX.number("0600"), "Y", "05"),
    ("5297419900000004", "Y", "02"), ("4464049900000009", "Y", "05"), ("5078039900000005", "Y", "02"),
])
async def test_status_and_eci_by_scheme(access, number: str, status: str, eci: str):
    """mada and Meeza follow the network whose number they have; a cryptogram of twenty bytes comes with Y and A only."""
    said = await access.authenticate(request(number))
    assert (said.status, said.eci) == (status, eci)
    assert len(base64.b64decode(said.cavv)) == (20 if status in "YA" else 0)


async def test_all_chance_follows_from_the_seed(access, tmp_path: Path):
    """The same request, the same cryptogram; another one, another."""
    first, again = await access.authenticate(request(VISA.number("0600"))), await access.authenticate(request(VISA.number("0600")))
    other = await access.authenticate(request(VISA.number("0600"), reference="r-2"))
    elsewhere = SimulatedAccessControl(tmp_path / "other", seed=2)
    assert first == again
    assert len({first.cavv, other.cavv, (await elsewhere.authenticate(request(VISA.number("0600")))).cavv}) == 3
    await elsewhere.close()


async def test_a_challenge_is_decided_once_by_whoever_is_first(access, tmp_path: Path):
    """Two processes see the same challenge; the second decision changes nothing."""
    other = SimulatedAccessControl(tmp_path, seed=1)
    said = await access.authenticate(request(VISA.number("0601")))
    assert said.status is Status.CHALLENGE and await access.result(said.acs_id, NOW) is None
    assert (await access.act(said.acs_id, "approve", "", NOW)).kind == "done"
    assert (await other.act(said.acs_id, "reject", "", NOW)).status == "Y"
    found = await other.result(said.acs_id, NOW)
    assert (found.status, found.eci, len(found.cavv)) == ("Y", "05", 28)
    assert await other.result("nobody", NOW) is None and await other.look("nobody", NOW) is None
    await other.close()


@pytest.mark.parametrize(("scenario", "asked", "found"), [("0601", "2.2.0", "2.2.0"), ("0614", "2.1.0", "2.1.0"), ("0615", "2.2.0", "2.1.0")])
async def test_the_version_of_a_challenge(access, scenario: str, asked: str, found: str):
    """0614 speaks nothing newer than 2.1.0, from the answer to the result; 0615 changes it on the way, which nobody may believe."""
    said = await access.authenticate(request(VISA.number(scenario)))
    assert (said.status, said.version) == ("C", asked)
    assert (await access.act(said.acs_id, "approve", "", NOW)).version == asked
    assert (await access.result(said.acs_id, NOW)).version == found


async def test_nothing_is_decided_after_the_end(access):
    """Behind ten minutes the payer's click is too late, and so it is told."""
    said = await access.authenticate(request(VISA.number("0601")))
    await access.look(said.acs_id, NOW)
    late = NOW + timedelta(minutes=10)
    assert (await access.act(said.acs_id, "approve", "", late)).kind == "decide"
    found = await access.result(said.acs_id, late)
    assert (found.status, found.reason, found.cancelled, found.cavv) == ("N", "14", "04", "")


async def test_a_challenge_can_be_mandated(access):
    """0610: unavailable at first."""
    assert (await access.authenticate(request(VISA.number("0610")))).status == "U"
    assert (await access.authenticate(request(VISA.number("0610"), MANDATED))).status == "C"


async def test_who_takes_part(access):
    """By the scheme, without waiting; amounts only where magic is on, and only of numbers that are the sandbox's."""
    assert all(access.takes_part(ask(row.number("0601"))) for row in RANGES)
    assert not access.takes_part(ask(VISA.number("0000"))) and not access.takes_part(ask(VISA.number("0000"), minor=9401))
    assert access.takes_part(ask(VISA.number("0000"), minor=9401, magic=True))
    assert not access.takes_part(ask("4111111111111129", minor=9401, magic=True))
    assert not access.takes_part(ask(VISA.number("0601"), pan=None))


async def test_the_issuer_judges_the_proof(tmp_path: Path):
    """0610: declined 1A (65) without a cryptogram, approved with one, and the ECI is noted; whoever pays otherwise needs none."""
    simulator = Simulator(tmp_path, seed=1, worker=0)
    proof = Evidence("Y", "05", "c" * 28, "ds", "2.2.0")
    declined = await simulator.ask(ask(VISA.number("0610"), "1-1"))
    assert isinstance(declined, Declined) and declined.response_code == "1A"
    assert (await simulator.ask(ask(MASTERCARD.number("0610"), "2-1", operation_id=2))).response_code == "65"
    assert (await simulator.ask(ask(VISA.number("0610"), "3-1", operation_id=3, evidence=Evidence("U", "07")))).response_code == "1A"
    approved = await simulator.ask(ask(VISA.number("0610"), "4-1", operation_id=4, evidence=proof))
    assert isinstance(approved, Approved) and approved.eci == "05"
    plain = await simulator.ask(ask(VISA.number("0000"), "5-1", operation_id=5, evidence=proof))
    assert isinstance(plain, Approved) and plain.eci == "05"
    for n, fields in enumerate(({"channel": "moto"}, {"initiation": Initiation.RECURRING, "cited_reference": "1" * 15})):
        assert isinstance(await simulator.ask(ask(VISA.number("0610"), f"6{n}-1", operation_id=60 + n, **fields)), Approved)
    await simulator.close()
