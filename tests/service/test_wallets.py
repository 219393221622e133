"""Accounts at Amazon Pay from configuration: what is taken, and that everything wrong is said before anything starts."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ringfence import config, wallets
from ringfence.cli import doctor
from ringfence.processors.amazon_pay.accounts import Environment, Region
from ringfence.wallets import read_accounts, sandbox_key

PEM = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
ACCOUNT = {
    "merchant": "One", "merchant_id": "A1", "store_id": "amzn1.application-oa2-client.0", "region": "eu", "public_key_id": "SANDBOX-1",
    "private_key_file": "key.pem"}


def written(folder: Path, value: Any) -> Path:
    (folder / "key.pem").write_bytes(PEM)
    path = folder / "amazon.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_accounts_are_read_with_their_keys(tmp_path: Path):
    """The key is looked for beside the file; where Amazon is asked follows from region and environment."""
    read = read_accounts(written(tmp_path, {"environment": "sandbox", "accounts": [ACCOUNT]}), is_live=False)
    assert isinstance(read, dict)
    account = read["One"]
    assert (account.region, account.environment, account.origin.host) == (Region.EU, Environment.SANDBOX, "pay-api.amazon.eu")
    assert account.path("/charges") == "/v2/charges"
    other = read_accounts(written(tmp_path, {"environment": "sandbox", "accounts": [ACCOUNT | {"public_key_id": "AF2"}]}), is_live=False)
    assert isinstance(other, dict) and other["One"].path("/charges") == "/sandbox/v2/charges"
    assert "PRIVATE" not in repr(read)


LIVE = {"public_key_id": "LIVE-1"}


@pytest.mark.parametrize(("value", "is_live", "says"), [
    ("{", False, "is not JSON"), ("[]", False, "must hold an object"), ({"accounts": [], "environment": "sandbox", "x": 1}, False, "must hold an object"),
    ({"accounts": [], "environment": "moon"}, False, "environment must be"),
    ({"accounts": [ACCOUNT], "environment": "sandbox"}, True, "this installation is live"),
    ({"accounts": [ACCOUNT | LIVE], "environment": "live"}, False, "this installation is a sandbox"),
    ({"accounts": [ACCOUNT], "environment": "live"}, True, "public_key_id is one of the sandbox environment"),
    ({"accounts": [ACCOUNT | LIVE], "environment": "live", "base_url": "http://x.example"}, True, "base_url must begin with https"),
    ({"accounts": [ACCOUNT], "environment": "sandbox", "base_url": "moon"}, False, "base_url must be"),
    ({"accounts": [ACCOUNT, ACCOUNT], "environment": "sandbox"}, False, "accounts[1].merchant One has an account already"),
    ({"accounts": [ACCOUNT | {"region": "us"}], "environment": "sandbox"}, False, "accounts[0].region must be one of na, eu, jp"),
    ({"accounts": [ACCOUNT | {"private_key_file": "no.pem"}], "environment": "sandbox"}, False, "private_key_file cannot be read"),
    ({"accounts": [ACCOUNT | {"private_key_file": "amazon.json"}], "environment": "sandbox"}, False, "no key that can sign"),
    ({"accounts": [ACCOUNT | {"store_id": "x"}], "environment": "sandbox"}, False, "store_id must begin with"),
    ({"accounts": [{}], "environment": "sandbox"}, False, "must have exactly these texts"),
    ({"accounts": ["x"], "environment": "sandbox"}, False, "must have exactly these texts"),
])
def test_what_is_wrong_is_said_and_nothing_of_the_key(tmp_path: Path, value: Any, is_live: bool, says: str):
    """In sentences that name the variable."""
    read = read_accounts(written(tmp_path, value), is_live=is_live)
    assert isinstance(read, list)
    assert any(says in one for one in read), read
    assert all(one.startswith("RINGFENCE_AMAZON_PAY_FILE: ") and one.endswith(".") and "PRIVATE" not in one for one in read)


def test_a_file_that_is_not_there_is_a_reason_not_to_start(tmp_path: Path):
    """And without the variable there is none."""
    read = config.read({"RINGFENCE_AMAZON_PAY_FILE": str(tmp_path / "no.json")})
    assert isinstance(read, config.Config)
    assert [one for one in wallets.reasons(read) if "cannot be read" in one]
    assert wallets.reasons(read._replace(amazon_pay_file=None)) == []


def test_the_sandbox_makes_its_key_once(tmp_path: Path):
    """Whoever comes later gets the same, and only the owner reads it."""
    first, second = sandbox_key(tmp_path / "simulator"), sandbox_key(tmp_path / "simulator")
    assert first.private_numbers() == second.private_numbers()
    assert [path.name for path in (tmp_path / "simulator").iterdir()] == [wallets.KEY_FILE]
    assert (tmp_path / "simulator" / wallets.KEY_FILE).stat().st_mode & 0o77 == 0


def test_the_doctor_says_how_it_is_configured_and_never_a_key(tmp_path: Path):
    """Where it is asked and for whom; what is wrong with the file is what is not well."""
    def found(**environment: str) -> tuple[str, bool, str]:
        read = config.read(environment)
        assert isinstance(read, config.Config)
        [finding] = doctor._amazon_pay(read)
        return finding

    assert found() == ("Amazon Pay", True, "the sandbox's own simulated site")
    assert found(RINGFENCE_MODE="live") == ("Amazon Pay", True, "not configured: no merchant has an account")
    path = written(tmp_path, {"environment": "sandbox", "accounts": [ACCOUNT]})
    said = found(RINGFENCE_AMAZON_PAY_FILE=str(path))
    assert said == ("Amazon Pay", True, "One at pay-api.amazon.eu (eu, sandbox)")
    assert "PRIVATE" not in repr(said) and "SANDBOX-1" not in repr(said)
    check, ok, problem = found(RINGFENCE_AMAZON_PAY_FILE=str(path), RINGFENCE_MODE="live")
    assert (check, ok) == ("Amazon Pay", False) and "environment is sandbox" in problem and "PRIVATE" not in problem
    assert found(RINGFENCE_AMAZON_PAY_FILE=str(tmp_path / "no.json"))[1] is False
