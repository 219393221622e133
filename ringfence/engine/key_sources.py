"""Where master keys come from: an environment variable, a file, or a command; in the sandbox a file it makes itself.

Decides whether what is found there is a key, and in live mode whether it is one to keep money behind.  A second place of each
kind, with ``_NEXT`` in its name, holds the key that a rotation leads to.  Refuses to know what keys are used for.
"""
from __future__ import annotations

import base64
import binascii
import os
import shlex
import subprocess
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ringfence.engine.sealing import KEY_BYTES, check_value

VARIABLES = {
    "RINGFENCE_MASTER_KEY": "the master key itself: base64 of 32 random bytes",
    "RINGFENCE_MASTER_KEY_FILE": "a file that holds it, outside the data folder",
    "RINGFENCE_MASTER_KEY_COMMAND": "a command that prints it, for instance one that asks a key management service",
}
"""The three places; with ``_NEXT`` behind ``KEY`` (``RINGFENCE_MASTER_KEY_NEXT_FILE``), the places of the key to come."""

COMMAND_SECONDS = 30
SANDBOX_MARK = b"sandbox\0"
"""How every key begins that a sandbox made for itself, so that it is known wherever it was copied to; 24 random bytes follow."""
MIN_DIFFERENT_BYTES = 16
"""32 random bytes have about 30 different values; fewer than 16 do not happen by chance."""
DATABASE_CLIENTS = frozenset({"psql", "pg_dump"})


class KeyUnreadable(Exception):
    """A place of a master key holds none; the message names the place and never what it holds."""


class Secret(NamedTuple):
    """32 bytes and where they were found; prints the place only."""

    key: bytes
    where: str

    def __repr__(self) -> str:
        return f"Secret(from {self.where})"

    __str__ = __repr__


class KeySource:
    """The places where this process looks for master keys, each time it is asked anew."""

    def __init__(self, environ: Mapping[str, str], sandbox: Path | None = None) -> None:
        """``sandbox``: the data folder whose ``keys/master`` is used, and made, where no variable is set; ``None`` in live mode."""
        self._environ = environ
        folder = sandbox / "keys" if sandbox and not _names_set(environ, next=False) else None
        self._own = folder and folder / "master"
        self._own_next = folder and folder / "master.next"

    @property
    def is_own(self) -> bool:
        """Whether the key is a file that the sandbox makes, replaces and removes by itself."""
        return self._own is not None

    def read(self) -> list[Secret]:
        """The key and the one to come, those that are there.  Raises ``KeyUnreadable``.  A command may take seconds."""
        if self._own is not None and self._own_next is not None:
            return [Secret(_decoded(_text_of(path), str(path)), str(path)) for path in (self._own, self._own_next) if path.exists()]
        return [found for next in (False, True) if (found := _from_environment(self._environ, next=next))]

    def generate(self, *, next: bool = False) -> None:
        """Make the sandbox's key, or the one to come, unless it is there already (mode 0600, on disk when this returns)."""
        path = self._own_next if next else self._own
        assert path is not None, "only the sandbox makes its own key"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = SANDBOX_MARK + os.urandom(KEY_BYTES - len(SANDBOX_MARK))
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, base64.b64encode(key) + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, path)                # not rename: whoever is first wins, and nobody replaces a key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        _sync_folder(path.parent)

    def settle(self, check: bytes) -> None:
        """The rotation to the key with this check value is done: in the sandbox its file takes the former one's place."""
        if self._own is None or self._own_next is None:
            return
        try:
            if check_value(_decoded(_text_of(self._own_next), str(self._own_next))) == check:
                os.replace(self._own_next, self._own)
                _sync_folder(self._own.parent)
        except (KeyUnreadable, FileNotFoundError):
            return                              # there is none, or another process was quicker


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _variable(kind: str, *, next: bool) -> str:
    return kind.replace("MASTER_KEY", "MASTER_KEY_NEXT") if next else kind


def _names_set(environ: Mapping[str, str], *, next: bool) -> list[str]:
    return [name for kind in VARIABLES if (name := _variable(kind, next=next)) in environ]


def _from_environment(environ: Mapping[str, str], *, next: bool) -> Secret | None:
    names = _names_set(environ, next=next)
    if not names:
        return None
    if len(names) > 1:
        raise KeyUnreadable(f"Set only one of {' and '.join(names)}.")
    name, value = names[0], environ[names[0]].strip()
    if not value:
        raise KeyUnreadable(f"{name} is empty.")
    if name.endswith("_FILE"):
        return Secret(_decoded(_text_of(Path(value), name), f"the file {value}"), f"the file {value} ({name})")
    if name.endswith("_COMMAND"):
        return Secret(_decoded(_printed_by(value, name), f"the output of {name}"), name)
    return Secret(_decoded(value, name), name)


def _text_of(path: Path, name: str = "") -> str:
    try:
        return path.read_bytes()[:4096].decode("ascii", "replace")
    except OSError as why:
        raise KeyUnreadable(f"The master key file {path}{name and f' ({name})'} cannot be read: {why.strerror}.") from None


def _printed_by(command: str, name: str) -> str:
    try:
        done = subprocess.run(
            shlex.split(command), capture_output=True, timeout=COMMAND_SECONDS, check=False, stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("RINGFENCE_MASTER_KEY")},
        )
    except (OSError, ValueError) as why:
        raise KeyUnreadable(f"{name} cannot be run: {getattr(why, 'strerror', None) or 'its quotes do not match'}.") from None
    except subprocess.TimeoutExpired:
        raise KeyUnreadable(f"{name} took longer than {COMMAND_SECONDS} seconds.") from None
    if done.returncode != 0:
        raise KeyUnreadable(f"{name} failed with exit code {done.returncode}.")
    return done.stdout[:4096].decode("ascii", "replace")


def _decoded(text: str, where: str) -> bytes:
    text = text.strip()
    if not text:
        raise KeyUnreadable(f"The master key in {where} is empty.")
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnreadable(f"The master key in {where} is not base64 of {KEY_BYTES} bytes; make one with: openssl rand -base64 {KEY_BYTES}")
    return key


# -- live mode

def live_reasons(environ: Mapping[str, str], data: Path, database_folder: Path | None = None) -> list[str]:
    """Why live mode must not start with the master keys it would find, each a sentence; empty where they will do.

    ``data`` is the data folder, ``database_folder`` the folder of a database server on this machine, where one is known.
    """
    if not _names_set(environ, next=False):
        return [f"There is no master key: set one of {', '.join(VARIABLES)}."]
    folders = [folder for folder in (data, database_folder) if folder is not None]
    reasons = []
    for next in (False, True):
        reasons += _misplaced(environ, folders, next=next)
        try:
            secret = _from_environment(environ, next=next)
        except KeyUnreadable as why:
            reasons.append(str(why))
            continue
        if secret is None:
            continue
        if _is_sandboxs(secret.key, data):
            reasons.append(f"The master key from {secret.where} is a sandbox's.")
        elif _is_example(secret.key):
            reasons.append(f"The master key from {secret.where} is an example or not random; make one with: openssl rand -base64 {KEY_BYTES}")
    return reasons


def _misplaced(environ: Mapping[str, str], folders: list[Path], *, next: bool) -> list[str]:
    """Keys that lie beside what they protect."""
    file = environ.get(_variable("RINGFENCE_MASTER_KEY_FILE", next=next), "").strip()
    command = environ.get(_variable("RINGFENCE_MASTER_KEY_COMMAND", next=next), "").strip()
    reasons = []
    if file and any(Path(file).resolve().is_relative_to(folder.resolve()) for folder in folders):
        reasons.append(f"The master key file {file} lies in the data folder: whoever copies the one has the other.")
    try:
        words = shlex.split(command)
    except ValueError:
        words = []                              # reading the key says what is wrong with it
    if words and Path(words[0]).name in DATABASE_CLIENTS:
        reasons.append("The master key command reads the key from a database: it must lie outside of what it protects.")
    if any(Path(word).is_absolute() and Path(word).resolve().is_relative_to(folder.resolve()) for word in words for folder in folders):
        reasons.append("The master key command reads the data folder: whoever copies the one has the other.")
    return reasons


def _is_sandboxs(key: bytes, data: Path) -> bool:
    if key.startswith(SANDBOX_MARK):
        return True
    try:
        return _decoded(_text_of(data / "keys" / "master"), "") == key
    except KeyUnreadable:
        return False


def _is_example(key: bytes) -> bool:
    """Nobody's random bytes: few different values, counted up or down, or readable text."""
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    return len(set(key)) < MIN_DIFFERENT_BYTES or len(steps) == 1 or all(32 <= byte < 127 for byte in key)
