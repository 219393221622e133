"""Master keys: where they come from, what is derived from them, and which of them live mode will not keep money behind."""
from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.core.card import Pan
from ringfence.engine.key_sources import SANDBOX_MARK, KeySource, KeyUnreadable, Secret, live_reasons
from ringfence.engine.keys import Keyring, WrongMasterKey, keep_noticing, open_keyring, open_text, seal_text
from ringfence.engine.sealing import Lasting, MasterKey, NotOpened, Sealed, check_value
from ringfence.storage import vault_keys as rows
from ringfence.storage.database import connect

GOOD = bytes.fromhex("8f1d8f1d8f1dc2a94e07b86d135ff0217a63d4e99b50c81e76aa3b2f40955c6e")
OTHER = bytes.fromhex("07e35bd94c2f81a6703ed8b914f25c6a97e30b48dd165f8021ce73b69a4f15e2")
PAN = Pan("4005550000000001")


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


# -- sealing

pans = st.text("0123456789", min_size=12, max_size=19).map(Pan)
merchants, records = st.integers(1, 2**31 - 1), st.integers(1, 2**63 - 1)


@given(merchants, records, pans)
def test_what_was_sealed_opens_again_and_only_there(merchant_id, card_id, pan):
    """A number opens for its merchant and record; moved to a neighbour, or under another key, it does not."""
    key, other = MasterKey(1, GOOD), MasterKey(1, OTHER)
    sealed = key.seal(merchant_id, card_id, pan)
    assert key.open(merchant_id, card_id, sealed) == pan
    for opener, merchant, card in ((key, merchant_id + 1, card_id), (key, merchant_id, card_id + 1), (other, merchant_id, card_id)):
        with pytest.raises(NotOpened):
            opener.open(merchant, card, sealed)
    assert pan.reveal().encode() not in sealed.wrapped_key + sealed.ciphertext


@given(merchants, records, pans, st.integers(0, 75), st.integers(1, 255))
def test_a_changed_byte_anywhere_does_not_open(merchant_id, card_id, pan, place, flip):
    """Wrapped key and ciphertext are both authenticated."""
    key = MasterKey(1, GOOD)
    sealed = key.seal(merchant_id, card_id, pan)
    both = bytearray(sealed.wrapped_key + sealed.ciphertext)
    both[place] ^= flip
    cut = len(sealed.wrapped_key)
    with pytest.raises(NotOpened):
        key.open(merchant_id, card_id, Sealed(1, bytes(both[:cut]), bytes(both[cut:])))


def test_the_key_id_is_part_of_what_is_authenticated():
    """A record that claims another key id does not open, though the key is the same."""
    sealed = MasterKey(1, GOOD).seal(7, 9, PAN)
    with pytest.raises(NotOpened):
        MasterKey(2, GOOD).open(7, 9, sealed._replace(key_id=2))


def test_rewrapping_touches_the_wrapped_key_only():
    """The ciphertext is the same bytes afterwards, opens under the new key and no longer under the old."""
    old, new = MasterKey(1, GOOD), MasterKey(2, OTHER)
    before = old.seal(7, 9, PAN)
    after = old.rewrap(7, 9, before, new)
    assert after.ciphertext == before.ciphertext and after.wrapped_key != before.wrapped_key
    assert new.open(7, 9, after) == PAN
    with pytest.raises(NotOpened):
        old.open(7, 9, after)
    with pytest.raises(NotOpened):
        old.rewrap(8, 9, before, new)


def test_every_record_has_a_key_of_its_own():
    """Sealing the same number for the same record twice gives different bytes everywhere."""
    key = MasterKey(1, GOOD)
    first, second = key.seal(7, 9, PAN), key.seal(7, 9, PAN)
    assert first.ciphertext != second.ciphertext and first.wrapped_key != second.wrapped_key


def test_fingerprints_differ_by_merchant_and_by_key():
    """The same number has one fingerprint per merchant and key, and none of them is a plain hash."""
    key, other = MasterKey(1, GOOD), MasterKey(2, OTHER)
    prints = {key.fingerprint(1, PAN), key.fingerprint(2, PAN), other.fingerprint(1, PAN)}
    assert len(prints) == 3 and key.fingerprint(1, Pan("4005550000000001")) in prints


@given(st.text(max_size=200), merchants)
def test_a_text_opens_for_its_purpose_and_merchant_only(secret, merchant_id):
    """Phrases are bound to what they are for and whose they are."""
    key = MasterKey(3, GOOD)
    sealed = key.seal_text("credential", merchant_id, secret)
    assert key.open_text("credential", merchant_id, sealed) == secret
    for purpose, merchant in (("webhook", merchant_id), ("credential", merchant_id + 1)):
        with pytest.raises(NotOpened):
            key.open_text(purpose, merchant, sealed)


def test_derived_keys_are_all_different():
    """Chain, content and check value come from one secret under different labels, and do not contain it."""
    lasting = MasterKey(1, GOOD).first_lasting()
    assert len({GOOD, *lasting}) == 3 and len(lasting.chain) == len(lasting.content) == 32
    assert check_value(GOOD) not in (GOOD[:8], lasting.chain[:8], lasting.content[:8])


def test_lasting_keys_are_carried_from_key_to_key():
    """The next master key carries the first one's chain and content keys, and only it opens them."""
    first, second = MasterKey(1, GOOD), MasterKey(2, OTHER)
    carried = second.carry(first.first_lasting())
    assert second.carried(carried) == first.first_lasting() != second.first_lasting()
    with pytest.raises(NotOpened):
        first.carried(carried)


def test_nothing_prints_a_secret():
    """repr and str of everything that holds key or ciphertext show neither."""
    key = MasterKey(1, GOOD)
    sealed = key.seal(7, 9, PAN)
    shown = f"{key!r} {key} {sealed!r} {sealed} {Secret(GOOD, 'RINGFENCE_MASTER_KEY')!r} {key.first_lasting()!r} {Lasting(GOOD, GOOD)}"
    for secret in (GOOD, sealed.ciphertext, sealed.wrapped_key, key.first_lasting().chain):
        assert repr(secret)[2:-1] not in shown and secret.hex() not in shown and text(secret) not in shown


# -- sources

def test_a_key_is_read_from_variable_file_or_command(tmp_path: Path):
    """Three places hold one key each, and their _NEXT the key to come."""
    file = tmp_path / "key"
    file.write_text(text(GOOD) + "\n")
    command = f"{sys.executable} -c \"print('{text(GOOD)}')\""
    for environ in ({"RINGFENCE_MASTER_KEY": text(GOOD)}, {"RINGFENCE_MASTER_KEY_FILE": str(file)}, {"RINGFENCE_MASTER_KEY_COMMAND": command}):
        assert [secret.key for secret in KeySource(environ).read()] == [GOOD]
        with_next = environ | {"RINGFENCE_MASTER_KEY_NEXT": text(OTHER)}
        assert [secret.key for secret in KeySource(with_next, sandbox=tmp_path).read()] == [GOOD, OTHER]
    assert KeySource({}).read() == []


UNREADABLE = {
    "empty": ({"RINGFENCE_MASTER_KEY": " "}, "RINGFENCE_MASTER_KEY is empty"),
    "not base64": ({"RINGFENCE_MASTER_KEY": "s3cret!s3cret!"}, "not base64 of 32 bytes"),
    "too short": ({"RINGFENCE_MASTER_KEY": text(GOOD[:16])}, "not base64 of 32 bytes"),
    "two places": ({"RINGFENCE_MASTER_KEY": text(GOOD), "RINGFENCE_MASTER_KEY_FILE": "/key"}, "Set only one of"),
    "no file": ({"RINGFENCE_MASTER_KEY_FILE": "/nowhere/key"}, "cannot be read"),
    "command fails": ({"RINGFENCE_MASTER_KEY_COMMAND": "false"}, "exit code 1"),
    "no command": ({"RINGFENCE_MASTER_KEY_COMMAND": "/nowhere/kms"}, "cannot be run"),
    "command prints nothing": ({"RINGFENCE_MASTER_KEY_COMMAND": "true"}, "is empty"),
    "next one bad": ({"RINGFENCE_MASTER_KEY": text(GOOD), "RINGFENCE_MASTER_KEY_NEXT": "x"}, "RINGFENCE_MASTER_KEY_NEXT is not"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_key_is_refused_by_its_place(case: str):
    """The message names the variable or file, and never what it holds."""
    environ, sentence = UNREADABLE[case]
    with pytest.raises(KeyUnreadable) as caught:
        KeySource(environ).read()
    assert sentence in str(caught.value)
    assert "s3cret" not in str(caught.value) and text(GOOD[:16]) not in str(caught.value)


def test_the_sandbox_makes_its_own_key_once(tmp_path: Path):
    """DATA/keys/master is made with mode 0600, is not replaced by a second call, and tells that it is a sandbox's."""
    source = KeySource({}, sandbox=tmp_path)
    assert source.is_own and source.read() == []
    source.generate()
    (made,) = source.read()
    source.generate()
    assert source.read() == [made] and made.key.startswith(SANDBOX_MARK)
    file = tmp_path / "keys" / "master"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in file.parent.iterdir()] == ["master"]


def test_the_next_key_takes_the_place_of_the_former_when_it_is_in_force(tmp_path: Path):
    """settle replaces the file only for the key that the database has in force; twice is once."""
    source = KeySource({}, sandbox=tmp_path)
    source.generate()
    source.generate(next=True)
    first, second = source.read()
    source.settle(check_value(first.key))
    assert [one.key for one in source.read()] == [first.key, second.key]
    for _ in range(2):
        source.settle(check_value(second.key))
        assert [one.key for one in source.read()] == [second.key]


LIVE = {
    "missing": ({}, ["There is no master key"]),
    "good": ({"RINGFENCE_MASTER_KEY": text(GOOD)}, []),
    "empty": ({"RINGFENCE_MASTER_KEY": ""}, ["is empty"]),
    "zeros": ({"RINGFENCE_MASTER_KEY": text(bytes(32))}, ["an example"]),
    "counted": ({"RINGFENCE_MASTER_KEY": text(bytes(range(32)))}, ["an example"]),
    "repeated": ({"RINGFENCE_MASTER_KEY": text(GOOD[:8] * 4)}, ["an example"]),
    "readable": ({"RINGFENCE_MASTER_KEY": text(b"correct horse battery staple 42!")}, ["an example"]),
    "sandbox's": ({"RINGFENCE_MASTER_KEY": text(SANDBOX_MARK + GOOD[:24])}, ["a sandbox's"]),
    "beside the data": ({"RINGFENCE_MASTER_KEY_FILE": "DATA/live.key"}, ["lies in the data folder"]),
    "through a link": ({"RINGFENCE_MASTER_KEY_FILE": "LINK/live.key"}, ["lies in the data folder"]),
    "beside the database": ({"RINGFENCE_MASTER_KEY_FILE": "BASE/live.key"}, ["lies in the data folder"]),
    "from the database": ({"RINGFENCE_MASTER_KEY_COMMAND": "/usr/bin/psql --version"}, ["from a database", "exit code|is not base64|cannot be run"]),
    "command reads the data": ({"RINGFENCE_MASTER_KEY_COMMAND": "cat DATA/live.key"}, ["reads the data folder"]),
    "two, and the next is an example": (
        {"RINGFENCE_MASTER_KEY": text(GOOD), "RINGFENCE_MASTER_KEY_NEXT": text(bytes(32))}, ["an example"]),
    "every reason at once": (
        {"RINGFENCE_MASTER_KEY_FILE": "DATA/zeros.key", "RINGFENCE_MASTER_KEY_NEXT": "x"},
        ["lies in the data folder", "an example", "RINGFENCE_MASTER_KEY_NEXT is not"]),
}


@pytest.mark.parametrize("case", LIVE)
def test_live_mode_lists_every_reason_against_a_key(tmp_path: Path, case: str):
    """Missing, empty, example, sandbox's, or lying beside what it protects; nothing against a good one."""
    data, base, link = tmp_path / "data", tmp_path / "pg", tmp_path / "link"
    for folder in (data, base):
        folder.mkdir()
        (folder / "live.key").write_text(text(GOOD))
    (data / "zeros.key").write_text(text(bytes(32)))
    link.symlink_to(data)
    environ, sentences = LIVE[case]
    for name, place in (("DATA", data), ("BASE", base), ("LINK", link)):
        environ = {key: value.replace(name + "/", f"{place}/") for key, value in environ.items()}
    reasons = live_reasons(environ, data, base)
    assert len(reasons) == len(sentences), reasons
    for reason, sentence in zip(reasons, sentences, strict=True):
        assert any(part in reason for part in sentence.split("|")), (reason, sentence)
        assert text(GOOD) not in reason


def test_live_mode_knows_the_key_that_its_own_folder_made_as_a_sandbox(tmp_path: Path):
    """A key copied from DATA/keys/master into a variable is a sandbox's, whatever it looks like."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "master").write_text(text(GOOD))
    assert len(live_reasons({"RINGFENCE_MASTER_KEY": text(GOOD)}, tmp_path)) == 1


# -- the keyring and its database

async def opened(database: str, environ: dict[str, str], sandbox: Path | None = None) -> Keyring:
    connection = await connect(database, application_name="test")
    try:
        return await open_keyring(connection, KeySource(environ, sandbox))
    finally:
        await connection.close()


@pytest.mark.anyio
async def test_a_new_database_takes_the_first_key_and_refuses_another(database: str):
    """The key check value stops a start with the wrong key, with a sentence that names both."""
    first = await opened(database, {"RINGFENCE_MASTER_KEY": text(GOOD)})
    again = await opened(database, {"RINGFENCE_MASTER_KEY": text(GOOD)})
    assert (first.chain_key, first.content_key) == (again.chain_key, again.content_key)
    with pytest.raises(WrongMasterKey) as caught:
        await opened(database, {"RINGFENCE_MASTER_KEY": text(OTHER)})
    assert check_value(GOOD).hex() in str(caught.value) and "another key" in str(caught.value)
    with pytest.raises(WrongMasterKey, match="no master key"):
        await opened(database, {})


@pytest.mark.anyio
async def test_a_lost_sandbox_key_is_not_replaced_by_a_new_one(database: str, tmp_path: Path):
    """A key is made only for a new database: otherwise the start is refused and no file appears."""
    await opened(database, {}, tmp_path)
    (tmp_path / "keys" / "master").rename(tmp_path / "elsewhere")
    with pytest.raises(WrongMasterKey, match="no master key"):
        await opened(database, {}, tmp_path)
    assert not (tmp_path / "keys" / "master").exists()


@pytest.mark.anyio
async def test_texts_open_through_the_ring(database: str):
    """seal_text and open_text work with whatever keys the ring holds; an unknown key is named."""
    ring = await opened(database, {"RINGFENCE_MASTER_KEY": text(GOOD)})
    sealed = seal_text(ring, "credential", 5, "PASS")
    assert open_text(ring, "credential", 5, sealed) == "PASS" and b"PASS" not in sealed
    with pytest.raises(NotOpened):
        open_text(ring, "credential", 6, sealed)
    with pytest.raises(NotOpened, match="no sealed text"):
        open_text(ring, "credential", 5, b"PASS")
    assert text(GOOD) not in repr(ring)


@pytest.mark.anyio
async def test_a_process_says_which_keys_it_has_until_it_ends(database: str):
    """While it runs a rotation can see it; when it ends its word is taken back."""
    ring, told = await opened(database, {"RINGFENCE_MASTER_KEY": text(GOOD)}), asyncio.Event()
    notice = ring.notice

    async def watched(connection: asyncpg.Connection, holder: str) -> None:
        await notice(connection, holder)
        told.set()

    ring.notice = watched
    async with asyncpg.create_pool(database, min_size=1, max_size=2) as pool:
        task = asyncio.ensure_future(keep_noticing(pool, ring, "worker 1"))
        await told.wait()
        async with pool.acquire() as connection:
            assert await rows.behind(connection, 2, using=False) == ["worker 1"]
            assert await rows.behind(connection, 1, using=True) == []
        task.cancel()
        await asyncio.wait([task])
        assert await pool.fetchval("SELECT count(*) FROM vault_holders") == 0
