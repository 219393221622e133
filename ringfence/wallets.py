"""Amazon Pay, put together: the accounts from configuration, or the sandbox's own at the simulated site, and everything that uses them.

``RINGFENCE_AMAZON_PAY_FILE`` names a JSON file: ``{"environment": "live" or "sandbox", "base_url": "", "accounts": [{"merchant",
"merchant_id", "store_id", "region", "public_key_id", "private_key_file"}]}``.  A sandbox without one has an account for every merchant at
the simulated site, all with one key, made at the first start.  What is wrong is found before anything is served.
"""
from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ringfence.config import Config, base_url
from ringfence.engine.amazon_objects import StoredObjects
from ringfence.engine.directory import Directory
from ringfence.engine.engine import Engine
from ringfence.engine.wallet_notices import Closed, Returned, WalletNotices
from ringfence.processors.amazon_pay.accounts import Account, Accounts, Environment, Region, problem_of
from ringfence.processors.amazon_pay.client import Client
from ringfence.processors.amazon_pay.connections import Connections
from ringfence.processors.amazon_pay.notifications import Verifier
from ringfence.processors.amazon_pay.processor import AmazonPay
from ringfence.processors.amazon_pay.signing import KeyUnusable, Signer, load_key
from ringfence.processors.amazon_pay.wallet import Wallet

VARIABLE = "RINGFENCE_AMAZON_PAY_FILE"
KEY_FILE = "amazon_pay.pem"
STORE = "amzn1.application-oa2-client."
_FIELDS = ("merchant", "merchant_id", "store_id", "region", "public_key_id", "private_key_file")


class Amazon(NamedTuple):
    """Amazon Pay in one process.  ``site``: base address of the simulated site, empty where Amazon's own is asked."""

    processor: AmazonPay
    wallet: Wallet
    objects: StoredObjects
    accounts: Accounts
    connections: Connections
    site: str

    def notices(
        self, engine: Engine, pool: asyncpg.Pool, directory: Directory, numbers: Callable[[str], int | None], *,
        closed: Closed | None = None, returned: Returned | None = None,
    ) -> WalletNotices:
        """What takes notifications in.  ``closed`` and ``returned``: see there."""
        more: dict[str, Any] = {name: told for name, told in (("closed", closed), ("returned", returned)) if told is not None}

        def merchants(amazon_id: str) -> list[str]:
            found = ((one.identifier, self.accounts(one.identifier)) for one in directory.merchants())
            return [identifier for identifier, account in found if account is not None and account.merchant_id == amazon_id]

        return WalletNotices(
            Verifier(self.connections, site=self.site), self.processor, self.wallet, self.objects, engine, pool, merchants=merchants,
            numbers=numbers, **more)


def amazon_of(
    config: Config, pool: asyncpg.Pool, directory: Directory, numbers: Callable[[str], int | None], wall: Callable[[], datetime],
    connections: Connections | None = None,
) -> Amazon:
    """Put it together.  The configuration was looked at before (``reasons``)."""
    site = ""
    if config.amazon_pay_file is None:
        site = "" if config.is_live else base_url(config, config.port)
        accounts = _no_accounts if config.is_live else sandbox_accounts(config.data / "simulator", site, directory)
    else:
        read = read_accounts(config.amazon_pay_file, is_live=config.is_live)
        assert not isinstance(read, list), "it was looked at before anything was built"
        accounts, site = read.get, next((one.base_url for one in read.values() if not config.is_live), "")
    connections = connections or Connections(_trust(config))
    client, objects = Client(connections, wall), StoredObjects(pool, numbers)
    return Amazon(AmazonPay(client, accounts, objects, wall=wall), Wallet(client, accounts), objects, accounts, connections, site)


def _trust(config: Config) -> ssl.SSLContext | None:
    """A sandbox that serves https believes itself."""
    authority = config.data / "tls" / "ca.pem"
    if config.is_live or not authority.exists():
        return None
    context = ssl.create_default_context()
    context.load_verify_locations(authority)
    return context


def reasons(config: Config) -> list[str]:
    """Everything that is wrong with the file of accounts, as sentences; nothing where there is none."""
    if config.amazon_pay_file is None:
        return []
    read = read_accounts(config.amazon_pay_file, is_live=config.is_live)
    return read if isinstance(read, list) else []


def make_key(config: Config) -> None:
    """The sandbox's key, where its own accounts will want it."""
    if config.amazon_pay_file is None and not config.is_live:
        sandbox_key(config.data / "simulator")


def read_accounts(path: Path, *, is_live: bool) -> dict[str, Account] | list[str]:
    """The accounts of a file by merchant, or everything that is wrong with it."""
    try:
        text = path.read_bytes()
        found = msgspec.json.decode(text)
    except OSError as error:
        return [f"{VARIABLE}: {path} cannot be read ({error.strerror})."]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return [f"{VARIABLE}: {path} is not JSON."]
    if not isinstance(found, dict) or not isinstance(found.get("accounts"), list) or found.keys() - {"environment", "base_url", "accounts"}:
        return [f"{VARIABLE}: {path} must hold an object of environment, base_url and accounts."]
    if found.get("environment") not in list(Environment) or not isinstance(found.get("base_url", ""), str):
        return [f"{VARIABLE}: environment must be live or sandbox, and base_url a text."]
    environment = Environment(found["environment"])
    problems = []
    if is_live is not (environment is Environment.LIVE):
        problems.append(f"{VARIABLE}: environment is {environment}, and this installation is {'live' if is_live else 'a sandbox'}.")
    accounts: dict[str, Account] = {}
    for place, given in enumerate(found["accounts"]):
        account = _account(given, environment, found.get("base_url", ""), path.parent)
        if isinstance(account, str):
            problems.append(f"{VARIABLE}: accounts[{place}]{account}.")
        elif (merchant := given["merchant"]) in accounts:
            problems.append(f"{VARIABLE}: accounts[{place}].merchant {merchant} has an account already.")
        else:
            accounts[merchant] = account
    return problems or accounts


def _account(given: object, environment: Environment, base_url: str, folder: Path) -> Account | str:
    if not isinstance(given, Mapping) or given.keys() != set(_FIELDS) or not all(isinstance(given[name], str) and given[name] for name in _FIELDS):
        return f" must have exactly these texts: {', '.join(_FIELDS)}"
    if given["region"] not in list(Region):
        return f".region must be one of {', '.join(Region)}"
    try:
        key = load_key((folder / given["private_key_file"]).read_bytes())
    except OSError as error:
        return f".private_key_file cannot be read ({error.strerror})"
    except KeyUnusable as error:
        return f".private_key_file is no key that can sign: {error}"
    account = Account(
        given["merchant_id"], given["store_id"], Region(given["region"]), environment, Signer(given["public_key_id"], key), base_url)
    wrong = problem_of(account)
    return f".{wrong.field} {wrong.problem}" if wrong else account


def sandbox_accounts(folder: Path, site: str, directory: Directory) -> Accounts:
    """An account at the simulated site for every merchant there is."""
    key = sandbox_key(folder)
    made: dict[str, Account] = {}

    def account(merchant: str) -> Account | None:
        if merchant not in made and directory.merchant(merchant) is not None:
            made[merchant] = Account(
                merchant, STORE + merchant, Region.NA, Environment.SANDBOX, Signer(f"SANDBOX-{merchant}", key), site)
        return made.get(merchant)

    return account


def sandbox_key(folder: Path) -> RSAPrivateKey:
    """The sandbox's key, made by whoever needs it first: at a start of the service before its workers; several processes may at once."""
    path = folder / KEY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = generate_private_key(public_exponent=65_537, key_size=2_048)
        mine = folder / f"{KEY_FILE}.{os.getpid()}"
        with os.fdopen(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            os.link(mine, path)
        except FileExistsError:
            pass                            # another was quicker, and its key counts
        finally:
            mine.unlink()
    return load_key(path.read_bytes(), is_ours=True)


def public_pem(account: Account) -> str:
    """The public half of an account's key, as Amazon (or the simulated site) wants it registered."""
    return account.signer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def numbers_of(directory: Directory) -> Callable[[str], int | None]:
    """A merchant's number by its identifier."""
    def number(identifier: str) -> int | None:
        merchant = directory.merchant(identifier)
        return None if merchant is None else merchant.merchant_id
    return number


def _no_accounts(merchant: str) -> None:
    return None
