"""The directory: look-ups from memory, changes that every process sees."""
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringfence.engine.addresses import judge, rules_for
from ringfence.engine.directory import Directory, Merchant, NewCredential, Rejected
from ringfence.engine.key_sources import KeySource
from ringfence.engine.keys import open_keyring
from ringfence.engine.seeding import FIRST, sandbox_merchants, sandbox_names, seed_sandbox
from ringfence.engine.settings import SettingError
from ringfence.storage import database as storage
from ringfence.storage import merchants as rows

pytestmark = pytest.mark.anyio


def aps(access_code: str = "Code1", request_phrase: str = "PASSin", response_phrase: str = "PASSout", algorithm: str = "SHA-256") -> NewCredential:
    return NewCredential("aps", access_code, request_phrase, response_phrase, algorithm)


def ppro(merchant_id: str = "merch_" + "A" * 21, api_key: str = "key_sandbox_1", webhook_secret: str = "whsec_1") -> NewCredential:
    return NewCredential("ppro", merchant_id, api_key, webhook_secret)


@asynccontextmanager
async def directories(address: str, folder: Path, count: int = 1) -> AsyncIterator[list[Directory]]:
    """Loaded directories of several processes on one database."""
    async with storage.pool(address, 2) as pool:
        async with pool.acquire() as connection:
            ring = await open_keyring(connection, KeySource({}, folder))
        made = [Directory(pool, ring, lambda: datetime.now(UTC)) for _ in range(count)]
        for one in made:
            await one.load()
        yield made


async def test_a_merchant_made_here_is_known_at_once_and_elsewhere_after_a_look(database: str, tmp_path: Path):
    """The version tells the other process that there is something to read."""
    async with directories(database, tmp_path, 2) as (here, there):
        made = await here.create("Shop1", "Shop", [aps()])
        assert isinstance(made, Merchant) and here.merchant("Shop1") is made
        assert there.merchant("Shop1") is None and await there.refresh() and there.merchant("Shop1") == made
        assert not await there.refresh()
        found = there.credential("Shop1", "Code1")
        assert found is not None and (found.request_phrase, found.response_phrase) == ("PASSin", "PASSout")
        assert there.credential("Shop1", "Code2") is None and there.credential("Shop2", "Code1") is None


async def test_phrases_are_sealed_in_the_database_and_masked_in_print(database: str, tmp_path: Path):
    """Neither a dump nor a log shows them."""
    async with directories(database, tmp_path) as (here,):
        made = await here.create("Shop1", "Shop", [aps()])
        connection = await storage.connect(database, application_name="test")
        try:
            stored = await rows.everything(connection)
        finally:
            await connection.close()
        assert b"PASSin" not in stored.credentials[0].sealed
        assert "PASS" not in repr(made) and "PASS" not in str(here.credential("Shop1", "Code1"))


async def test_settings_change_all_or_none(database: str, tmp_path: Path):
    """A refused change leaves settings and version alone; what did not change keeps its object."""
    async with directories(database, tmp_path) as (here,):
        first = await here.create("Shop1", "Shop", [aps()])
        second = await here.create("Shop2", "Shop", [aps()])
        version = here.version
        refused = await here.change("Shop1", {"hold_days": "5", "currencies": "???"})
        assert isinstance(refused, Rejected) and [error.key for error in refused.errors] == ["currencies"]
        assert here.version == version and here.merchant("Shop1") is first
        changed = await here.change("Shop1", {"hold_days": "5"}, active=False)
        assert isinstance(changed, Merchant) and (changed.settings.hold_days, changed.active) == (5, False)
        assert here.merchant("Shop2") is second
        assert await here.change("Nobody", {}) is None


BAD = {
    "identifier": {"identifier": "", }, "long identifier": {"identifier": "x" * 21}, "dash": {"identifier": "a-b"}, "foreign": {"identifier": "é"},
    "access code": {"credentials": [aps(access_code="a b")]}, "request phrase": {"credentials": [aps(request_phrase="abc")]},
    "response phrase": {"credentials": [aps(response_phrase="has space")]}, "algorithm": {"credentials": [aps(algorithm="SHA-128")]},
    "merchant id": {"credentials": [ppro(merchant_id="merch_short")]}, "api key": {"credentials": [ppro(api_key="a key")]},
    "webhook secret": {"credentials": [ppro(webhook_secret="")]}, "name": {"name": ""}, "two lines": {"name": "a\nb"},
    "settings": {"settings": {"hold_days": "x"}},
}


@pytest.mark.parametrize("wrong", BAD)
async def test_a_merchant_that_cannot_be_is_not_made(database: str, tmp_path: Path, wrong: str):
    """And the answer names the field."""
    async with directories(database, tmp_path) as (here,):
        given: dict[str, Any] = {"identifier": "Shop1", "name": "Shop", "credentials": [aps()]} | BAD[wrong]
        refused = await here.create(**given)
        assert isinstance(refused, Rejected) and len(refused.errors) == 1 and here.merchants() == []


async def test_one_key_may_act_for_several_merchants(database: str, tmp_path: Path):
    """Whom a key of the PPRO door acts for is found by the key alone; what signs requests of another door is no such key."""
    async with directories(database, tmp_path) as (here,):
        await here.create("Shop1", "Shop", [aps(), ppro("merch_" + "1" * 21)])
        await here.create("Shop2", "Shop", [aps("Code2"), ppro("merch_" + "2" * 21), ppro("merch_" + "3" * 21, "key_sandbox_2")])
        assert {name[-1]: one.identifier for name, one in here.held_by("ppro", "key_sandbox_1").items()} == {"1": "Shop1", "2": "Shop2"}
        assert [one.identifier for one in here.held_by("ppro", "key_sandbox_2").values()] == ["Shop2"]
        assert not here.held_by("ppro", "key_sandbox_3") and not here.held_by("ppro", "PASSin") and not here.held_by("aps", "PASSin")


async def test_an_identifier_is_given_once(database: str, tmp_path: Path):
    """Numbers follow each other; a second credential set has its own name."""
    async with directories(database, tmp_path, 2) as (here, there):
        assert isinstance(await here.create("Shop1", "Shop", [aps()]), Merchant)
        assert isinstance(await there.create("Shop1", "Shop", [aps()]), Rejected)
        other = await there.create("Shop2", "Shop", [aps()])
        assert isinstance(other, Merchant) and other.merchant_id == 2
        more = await here.add_credential("Shop1", aps("Code2", "PASSin2", "PASSout2", "HMAC-512"))
        assert isinstance(more, Merchant) and [one.public_name for one in more.credentials] == ["Code1", "Code2"]
        assert isinstance(await here.add_credential("Shop1", aps("Code2", "PASSin2", "PASSout2")), Rejected)
        assert await here.add_credential("Nobody", aps("Code2")) is None


async def test_an_address_that_the_installation_forbids_is_neither_made_nor_changed(database: str, tmp_path: Path):
    """Only what changes is judged: an address that was allowed once stays until it is touched."""
    async with storage.pool(database, 2) as pool:
        async with pool.acquire() as connection:
            ring = await open_keyring(connection, KeySource({}, tmp_path))
        anywhere = Directory(pool, ring, lambda: datetime.now(UTC))
        live = Directory(pool, ring, lambda: datetime.now(UTC), judge=judge(rules_for(True)))
        await anywhere.load()
        bad = {"feedback_url": "http://127.0.0.1/", "notification_url.moto": "https://10.0.0.1/"}
        refused = await live.create("Shop1", "Shop", [aps()], settings=bad)
        assert isinstance(refused, Rejected) and [error.key for error in refused.errors] == list(bad)
        assert isinstance(await anywhere.create("Shop1", "Shop", [aps()], settings=bad), Merchant)
        await live.load()
        assert isinstance(await live.change("Shop1", {"hold_days": "5", "notification_url": "https://shop.example/"}), Merchant)
        refused = await live.change("Shop1", {"hold_days": "6", "feedback_url": "https://shop.example:8443/"})
        assert refused == Rejected((SettingError("feedback_url", "must use port 443; RINGFENCE_WEBHOOK_PORTS can allow others"),))
        assert live.merchant("Shop1").settings.hold_days == 5       # type: ignore[union-attr]


async def test_the_sandbox_is_seeded_once(database: str, tmp_path: Path):
    """At least four merchants, the first with the public credentials; a second start changes nothing."""
    async with directories(database, tmp_path) as (here,):
        seeded = await seed_sandbox(here, 1)
        assert len(seeded) >= 4 and seeded[0].identifier == FIRST.identifier
        version = here.version
        assert await seed_sandbox(here, 2) == seeded and here.version == version
        connection = await storage.connect(database, application_name="test")
        try:
            stored = await rows.everything(connection)
        finally:
            await connection.close()
        assert len(sandbox_names(stored.merchants, stored.credentials)) == 7      # four identifiers, and the public name at each door


async def test_an_older_sandbox_gets_the_credentials_of_a_door_it_does_not_know(database: str, tmp_path: Path):
    """What was there stays."""
    async with directories(database, tmp_path) as (here,):
        await here.create(FIRST.identifier, "Another name", [aps("Mine1")])
        await seed_sandbox(here, 1)
        found = here.merchant(FIRST.identifier)
        assert found is not None and found.name == "Another name"
        assert [(one.door, one.public_name) for one in found.credentials] == [
            ("aps", "Mine1"), ("jwo", FIRST.access_key_id), ("ppro", FIRST.merchant_id)]


def test_seeded_credentials_follow_from_the_seed_but_the_first():
    """Printed examples work in every sandbox; everything else differs."""
    one, other = sandbox_merchants(1), sandbox_merchants(2)
    assert one == sandbox_merchants(1) and one[0] == other[0]
    assert all(mine.request_phrase != theirs.request_phrase for mine, theirs in zip(one[1:], other[1:], strict=True))

