"""How commands reach the service: over HTTP when it runs, else straight to its database.

Both ways go through the same admin application, so that a command says the same either way.
"""
from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from ringfence.config import Config
from ringfence.failures import Exit, Failure
from ringfence.storage.folder import FolderInUse, FolderLock

ANSWER_SECONDS = 600
PART = 1 << 16


class Running(NamedTuple):
    """A service that answers: its address, admin token, and the authority its certificate is signed by."""

    base_url: str
    token: str
    authority: Path | None

    def __repr__(self) -> str:
        return f"Running({self.base_url})"

    def call(self, method: str, path: str, body: object = None, headers: Mapping[str, str] = {}) -> tuple[int, Any]:
        """Status and decoded JSON of one request; the admin token goes along below ``/admin`` only."""
        request = urllib.request.Request(self.base_url + path, method=method, data=None if body is None else json.dumps(body).encode())
        for name, value in {"content-type": "application/json", **headers}.items():
            request.add_header(name, value)
        if path.startswith("/admin"):
            request.add_header("authorization", f"Bearer {self.token}")
        trust = ssl.create_default_context(cafile=str(self.authority)) if self.authority else None
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=trust) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, {"error": text.decode("utf-8", "replace")}
        except TimeoutError:
            raise Failure(Exit.NOT_RUNNING, f"The service has not answered within {ANSWER_SECONDS} seconds; what was asked may go on.") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Failure(Exit.NOT_RUNNING, f"No service answers at {self.base_url} ({reason}).") from error

    def stream(self, path: str) -> Iterator[bytes]:
        """A good answer as it comes.  Raises ``Failure`` with the service's own words where it refuses, or breaks off."""
        request = urllib.request.Request(self.base_url + path, headers={"authorization": f"Bearer {self.token}"})
        trust = ssl.create_default_context(cafile=str(self.authority)) if self.authority else None
        try:
            answer = urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=trust)
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                problem = said(json.loads(text))
            except (ValueError, KeyError):
                problem = f"{error.code}: {text.decode('utf-8', 'replace')}"
            raise Failure(Exit.NOT_RUNNING if error.code >= 500 else Exit.REFUSED, problem) from None
        except OSError as error:
            raise Failure(Exit.NOT_RUNNING, f"No service answers at {self.base_url} ({getattr(error, 'reason', error)}).") from error
        with answer:
            while part := self._part(answer):
                yield part

    def _part(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read1(PART)
        except (OSError, http.client.HTTPException) as error:
            raise Failure(Exit.NOT_RUNNING, f"The service at {self.base_url} broke off its answer ({type(error).__name__}).") from error


def running(config: Config) -> Running | None:
    """The service that holds this data folder or, in live mode, answers at ``RINGFENCE_BASE_URL``; ``None`` where none runs."""
    if config.base_url and config.admin_token:
        return Running(config.base_url, config.admin_token, None)
    if not _held(config.data):
        return None
    card = sandbox(config)
    if card is None:
        raise Failure(Exit.NOT_RUNNING, "A service is starting or stopping on this data folder, or it runs in live mode: "
                                        "then set RINGFENCE_BASE_URL and RINGFENCE_ADMIN_TOKEN.")
    return Running(card["base_url"], card["admin"], Path(card["ca"]) if "ca" in card else None)


def needed(config: Config) -> Running:
    """The running service; raises ``Failure`` where none runs."""
    service = running(config)
    if service is None:
        raise Failure(Exit.NOT_RUNNING, f"No service runs on {config.data}. Start it with: ringfence up --data {config.data}")
    return service


def sandbox(config: Config) -> dict[str, Any] | None:
    """``sandbox.json`` of the data folder."""
    try:
        return json.loads((config.data / "sandbox.json").read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    except PermissionError as error:
        raise Failure(Exit.DATA_FOLDER, f"{error.filename} can be read only by whoever started the service, and by root.") from error


def _held(data: Path) -> bool:
    """Whether a service holds the folder's lock.  Looking takes the lock shared, for no longer than the look."""
    try:
        descriptor = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError as error:
        raise Failure(Exit.DATA_FOLDER, f"The data folder {data} cannot be read: it belongs to somebody else.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def admin(config: Config, method: str, path: str, body: object = None) -> Any:
    """The answer of the admin API.  Raises ``Failure`` with the service's own words where it refuses."""
    service = running(config)
    status, answer = service.call(method, path, body) if service else _without_service(config, method, path, body)
    if status < 400:
        return answer
    if status == 401:
        raise Failure(Exit.REFUSED, f"The service at {urlsplit(service.base_url).netloc if service else 'hand'} does not accept this admin token.")
    if status >= 500:
        away = Exit.DATABASE if "database" in answer["error"] else Exit.NOT_RUNNING
        raise Failure(Exit.CHECK_FAILED if status == 500 else away, f"The service cannot answer now ({status}: {answer['error']}).")
    raise Failure(Exit.REFUSED, "; ".join(said(error) for error in answer.get("errors") or [answer]))


def said(error: dict[str, str]) -> str:
    """A refusal in words: ``until must be after since``; where the problem is a sentence by itself, that."""
    problem = error["error"]
    return problem if "field" not in error or problem.startswith(("there is ", "it is ", "the ")) else f"{error['field']} {problem}"


def segment(name: str) -> str:
    """A name as a segment of a path.  Raises ``Failure`` for what cannot be one, and so names nothing."""
    if not name or "/" in name:
        raise Failure(Exit.REFUSED, f"Nothing can have the name {name!r}.")
    return quote(name, safe=":")


def credential(config: Config, known: dict[str, Any], merchant: str | None) -> dict[str, str]:
    """The first APS credential set of a merchant of the sandbox that runs, or of the sandbox's first merchant."""
    for one in known["merchants"]:
        if merchant in (None, one["aps"]["merchant_identifier"]):
            return one["aps"]
    return admin(config, "GET", f"/admin/merchants/{segment(str(merchant))}?phrases=true")["credentials"][0]


@contextmanager
def database_of(config: Config) -> Iterator[str]:
    """The address of the database: the configured one, that of the running service, or a private one started for the moment."""
    from ringfence.storage.postgres import PostgresError, PrivatePostgres, address
    if config.database_url:
        yield config.database_url
        return
    if not (config.data / "postgres").exists():
        raise Failure(Exit.DATABASE, f"There is no database in {config.data}. Start the service once: ringfence up --data {config.data}")
    if _held(config.data):
        try:
            yield address(config.data)
        except PostgresError as error:
            raise Failure(Exit.DATABASE, str(error)) from error
        return
    try:
        lock = FolderLock(config.data)
    except FolderInUse as error:
        raise Failure(Exit.DATA_FOLDER, str(error)) from error
    server = PrivatePostgres(config.data, log=config.data / "postgres.log")
    try:
        try:
            url = server.start()
        except PostgresError as error:
            raise Failure(Exit.DATABASE, str(error)) from error
        yield url
    finally:
        server.stop()
        lock.release()


def _without_service(config: Config, method: str, path: str, body: object) -> tuple[int, Any]:
    from ringfence.offline import answer
    with database_of(config) as url:
        return asyncio.run(answer(config, url, method, path, body))
