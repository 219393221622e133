"""Configuration: one frozen value, read once from environment variables.

``VARIABLES`` is the whole table: what may be set, what is allowed, what it means.  Every wrong value is reported at once, by
name.  Nothing else in the program reads the environment, but for the key ring and the search for PostgreSQL's programs, which
read their own variables of this table.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ringfence.config_texts import (
    Several,
    base,
    database,
    each,
    flag,
    host,
    instant,
    level,
    mail_address,
    one_of,
    printable,
    processor,
    region,
    seconds,
    sms_body,
    sms_url,
    token,
    whole,
)


class Mode(StrEnum):
    """Sandbox is a product of its own; live refuses everything that belongs to it."""

    SANDBOX = "sandbox"
    LIVE = "live"


class Variable(NamedTuple):
    """One environment variable.  ``field`` is its name in ``Config``, empty where another module reads it.

    ``read`` turns a text into the value, and raises ``ValueError`` for what is not ``allowed``.
    """

    name: str
    field: str
    read: Callable[[str], Any]
    default: Any
    allowed: str
    meaning: str


class ConfigError(NamedTuple):
    """A variable whose value cannot be used."""

    name: str
    problem: str


Network = IPv4Network | IPv6Network

_READ_ELSEWHERE = ""
_PATH = "a path"

#: Every variable, in the order of the manual.
VARIABLES: tuple[Variable, ...] = (
    Variable("RINGFENCE_MODE", "mode", Mode, Mode.SANDBOX, "sandbox or live", "what this installation is"),
    Variable("RINGFENCE_DATA", "data", Path, Path("data"), _PATH, "folder of the private database, keys, clock and logs"),
    Variable("RINGFENCE_HOST", "host", host, "127.0.0.1", "a host name or address", "where to listen"),
    Variable("RINGFENCE_PORT", "port", whole(0, 65535), 8080, "0 to 65535; 0 takes a free one", "the port to listen on"),
    Variable("RINGFENCE_BASE_URL", "base_url", base, "", "an http or https address", "how callers reach the service; empty: host and port"),
    Variable("RINGFENCE_WORKERS", "workers", whole(1, 64), 2, "1 to 64", "worker processes"),
    Variable("RINGFENCE_SEED", "seed", whole(0, 2**62), 1, "0 to 4611686018427387904",
             "sandbox: what the simulator and the seeded credentials follow from"),
    Variable("RINGFENCE_DATABASE_URL", "database_url", database, "", "postgresql://…",
             "a PostgreSQL 15 or newer; empty: a private one below the data folder"),
    Variable("RINGFENCE_POSTGRES_BIN", _READ_ELSEWHERE, str, "", _PATH, "folder of PostgreSQL's programs; empty: the newest found"),
    Variable("RINGFENCE_READERS", "readers", whole(1, 32), 2, "1 to 32", "reading connections of each worker"),
    Variable("RINGFENCE_PROCESSOR", "processor", processor, "simulator", "simulator", "who is asked for payments"),
    Variable("RINGFENCE_AMAZON_PAY_FILE", "amazon_pay_file", Path, None, _PATH,
             "JSON file of the merchants' accounts at Amazon Pay; empty: live has none, the sandbox asks its simulated site"),
    Variable("RINGFENCE_ANSWER_SECONDS", "answer_seconds", seconds(0.05, 120), 2.0, "0.05 to 120",
             "how long a processor may think before its answer counts as unknown"),
    Variable("RINGFENCE_ADMIN_TOKEN", "admin_token", token, "", "20 to 200 printable characters",
             "bearer token of /admin; sandbox: made at the first start"),
    Variable("RINGFENCE_MASTER_KEY", _READ_ELSEWHERE, str, "", "32 bytes in base64", "the vault's master key; sandbox: made at the first start"),
    Variable("RINGFENCE_MASTER_KEY_FILE", _READ_ELSEWHERE, str, "", _PATH, "a file that holds the master key"),
    Variable("RINGFENCE_MASTER_KEY_COMMAND", _READ_ELSEWHERE, str, "", "a command", "its output is the master key"),
    Variable("RINGFENCE_TLS", "tls", flag, False, "on or off", "serve https with a certificate made at first start"),
    Variable("RINGFENCE_TLS_CERT", "tls_cert", Path, None, _PATH, "one's own certificate chain (PEM)"),
    Variable("RINGFENCE_TLS_KEY", "tls_key", Path, None, _PATH, "its private key (PEM)"),
    Variable("RINGFENCE_BODY_LIMIT", "body_limit", whole(1_024, 2**30), 65_536, "1024 to 1073741824", "bytes of a request body; above it 413"),
    Variable("RINGFENCE_BATCH_LIMIT", "batch_limit", whole(1_024, 2**36), 50 * 2**20, "1024 to 68719476736",
             "bytes of a batch file; above it 144"),
    Variable("RINGFENCE_BATCH_ROWS", "batch_rows", whole(1, 2**30), 5_000_000, "1 to 1073741824", "rows of a batch file; above it 144"),
    Variable("RINGFENCE_HEAD_LIMIT", "head_limit", whole(1_024, 2**20), 65_536, "1024 to 1048576", "bytes of a request head; above it 431"),
    Variable("RINGFENCE_REQUEST_SECONDS", "request_seconds", seconds(1, 600), 30.0, "1 to 600", "time a caller has to send a whole request"),
    Variable("RINGFENCE_KEEP_ALIVE_SECONDS", "keep_alive_seconds", whole(1, 3_600), 75, "1 to 3600", "an idle connection is closed after that"),
    Variable("RINGFENCE_DRAIN_SECONDS", "drain_seconds", whole(1, 600), 30, "1 to 600", "time for requests in flight when the service stops"),
    Variable("RINGFENCE_SWEEP_SECONDS", "sweep_seconds", seconds(0.1, 3_600), 1.0, "0.1 to 3600",
             "pause between two looks for what is due"),
    Variable("RINGFENCE_BACKGROUND", "background", flag, True, "on or off",
             "whether the processes that serve also do what is due later; off: only `ringfence worker` does"),
    Variable("RINGFENCE_INQUIRY", "inquiry", flag, False, "on or off",
             "sandbox: whether the simulator can be asked what became of a message"),
    Variable("RINGFENCE_RECOVERY_PAUSES", "recovery_pauses", each(seconds(0.05, 86_400)),
             Several((1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 240.0, 480.0, 900.0)), "seconds by commas, each 0.05 to 86400",
             "pauses before the tries to end an unknown outcome (business time); the last one repeats"),
    Variable("RINGFENCE_REVIEW_SECONDS", "review_seconds", whole(60, 2_592_000), 86_400, "60 to 2592000",
             "age from which a person should look at an unknown outcome (business time)"),
    Variable("RINGFENCE_WEBHOOK_SECONDS", "webhook_seconds", seconds(0.1, 60), 10.0, "0.1 to 60", "time for one attempt to deliver a webhook"),
    Variable("RINGFENCE_WEBHOOK_NETWORKS", "webhook_networks", each(ip_network), Several(), "networks by commas, such as 10.1.0.0/16",
             "networks that are not public and may be told all the same; empty: none"),
    Variable("RINGFENCE_WEBHOOK_PORTS", "webhook_ports", each(whole(1, 65_535)), Several(), "ports by commas, each 1 to 65535",
             "live: ports beside 443 that may be told"),
    Variable("RINGFENCE_SMTP_HOST", "smtp_host", host, "", "a host name or address",
             "mail server that takes letters to payers; empty: live sends none, the sandbox keeps them in its inbox"),
    Variable("RINGFENCE_SMTP_PORT", "smtp_port", whole(1, 65535), 587, "1 to 65535", "its port"),
    Variable("RINGFENCE_SMTP_SECURITY", "smtp_security", one_of("starttls", "tls", "none"), "starttls", "starttls, tls or none",
             "how the way to it is secured; none: not in live mode, but to the own machine"),
    Variable("RINGFENCE_SMTP_USER", "smtp_user", printable, "", "1 to 400 printable characters", "user at the mail server"),
    Variable("RINGFENCE_SMTP_PASSWORD", "smtp_password", printable, "", "1 to 400 printable characters", "that user's password"),
    Variable("RINGFENCE_SMTP_FROM", "smtp_from", mail_address, "", "a mail address", "whom letters come from; needed with a mail server"),
    Variable("RINGFENCE_SMTP_SECONDS", "smtp_seconds", seconds(0.5, 120), 20.0, "0.5 to 120", "time for one letter"),
    Variable("RINGFENCE_SMS_URL", "sms_url", sms_url, "", "an http or https address, with {to} where the number belongs",
             "provider of SMS, which is sent a POST; empty: as without a mail server"),
    Variable("RINGFENCE_SMS_TYPE", "sms_type", one_of("json", "form"), "json", "json or form", "form of that body"),
    Variable("RINGFENCE_SMS_BODY", "sms_body", sms_body, '{"to": "{to}", "text": "{text}"}', "a text with {text} in it",
             "that body; number and text are escaped for its form"),
    Variable("RINGFENCE_SMS_AUTHORIZATION", "sms_authorization", printable, "", "1 to 400 printable characters",
             "the Authorization header of that request"),
    Variable("RINGFENCE_FROZEN_AT", "frozen_at", instant, None, "an instant such as 2026-01-05T00:00:00Z",
             "sandbox: business time stands there from the first start, and every run is the same"),
    Variable("RINGFENCE_RETENTION_CARD_DAYS", "retention_card_days", whole(30, 3_650), 540, "30 to 3650",
             "days after its last change until which a payment whose money may come back keeps its card"),
    Variable("RINGFENCE_RETENTION_PERSONAL_DAYS", "retention_personal_days", whole(30, 3_650), 1_095, "30 to 3650",
             "days after which what a payment says of its payer is erased"),
    Variable("RINGFENCE_RETENTION_DELIVERY_DAYS", "retention_delivery_days", whole(1, 3_650), 30, "1 to 3650",
             "days after which bodies and attempts of webhooks, and what payment pages were opened for, are erased"),
    Variable("RINGFENCE_RETENTION_REPORT_DAYS", "retention_report_days", whole(1, 3_650), 7, "1 to 3650",
             "days after which reports are erased"),
    Variable("RINGFENCE_JWO_REGIONS", "jwo_regions", each(region), Several(("us-east-1",)), "regions by commas, such as us-east-1,eu-west-1",
             "what clients of the door of stores may sign for, beside the region that a host's first label names"),
    Variable("RINGFENCE_TORTURE_POINTS", "torture_points", Path, None, _PATH, "sandbox: the page of points at which a trial kills processes"),
    Variable("RINGFENCE_LOG_LEVEL", "log_level", level, "INFO", "DEBUG, INFO, WARNING or ERROR", "what is logged (JSON lines on standard error)"),
)


class Config(NamedTuple):
    """The configuration.  Times in seconds, sizes in bytes.  Prints without secrets."""

    mode: Mode
    data: Path
    host: str
    port: int
    base_url: str
    workers: int
    seed: int
    database_url: str
    readers: int
    processor: str
    amazon_pay_file: Path | None
    answer_seconds: float
    admin_token: str
    tls: bool
    tls_cert: Path | None
    tls_key: Path | None
    body_limit: int
    batch_limit: int
    batch_rows: int
    head_limit: int
    request_seconds: float
    keep_alive_seconds: int
    drain_seconds: int
    sweep_seconds: float
    background: bool
    inquiry: bool
    recovery_pauses: tuple[float, ...]
    review_seconds: int
    webhook_seconds: float
    webhook_networks: tuple[Network, ...]
    webhook_ports: tuple[int, ...]
    smtp_host: str
    smtp_port: int
    smtp_security: str
    smtp_user: str
    smtp_password: str
    smtp_from: str
    smtp_seconds: float
    sms_url: str
    sms_type: str
    sms_body: str
    sms_authorization: str
    frozen_at: datetime | None
    retention_card_days: int
    retention_personal_days: int
    retention_delivery_days: int
    retention_report_days: int
    jwo_regions: tuple[str, ...]
    torture_points: Path | None
    log_level: str

    def __repr__(self) -> str:
        hidden = {"database_url", "admin_token", "smtp_password", "sms_authorization", "sms_url"}
        shown = (f"{name}={'…' if name in hidden and value else repr(value)}" for name, value in zip(self._fields, self, strict=True))
        return f"Config({', '.join(shown)})"

    __str__ = __repr__

    @property
    def is_live(self) -> bool:
        """Whether this is live mode."""
        return self.mode is Mode.LIVE

    @property
    def scheme(self) -> str:
        """``https`` where TLS is served here, else ``http``."""
        return "https" if self.tls else "http"


def read(environment: Mapping[str, str], options: Mapping[str, str] | None = None) -> Config | list[ConfigError]:
    """The configuration, or everything that is wrong with it.

    ``options`` are values from the command line by variable name; they win.  A variable that is set but empty counts as not set.
    """
    given = {name: text for name, text in environment.items() if name in _NAMES and text} | (dict(options) if options else {})
    errors: list[ConfigError] = []
    values: dict[str, Any] = {}
    for variable in VARIABLES:
        if not variable.field:
            continue
        values[variable.field] = variable.default
        if variable.name in given:
            try:
                values[variable.field] = variable.read(given[variable.name])
            except (ValueError, KeyError):
                errors.append(ConfigError(variable.name, f"must be {variable.allowed}"))
    if (values["tls_cert"] is None) != (values["tls_key"] is None):
        missing = "RINGFENCE_TLS_KEY" if values["tls_key"] is None else "RINGFENCE_TLS_CERT"
        errors.append(ConfigError(missing, "is needed beside the other: a certificate and its key come together"))
    errors += _mail(values)
    errors += _sandbox_only(values)
    if errors:
        return errors
    values["tls"] = values["tls"] or values["tls_cert"] is not None
    values["data"] = values["data"].expanduser().absolute()
    return Config(**values)


LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _mail(values: Mapping[str, Any]) -> list[ConfigError]:
    """What belongs together of a mail server, and what must not leave this machine in the clear."""
    errors: list[ConfigError] = []
    if values["smtp_host"] and not values["smtp_from"]:
        errors.append(ConfigError("RINGFENCE_SMTP_FROM", "is needed beside RINGFENCE_SMTP_HOST: letters come from somebody"))
    for field in ("smtp_from", "smtp_user", "smtp_password") if not values["smtp_host"] else ():
        if values[field]:
            errors.append(ConfigError("RINGFENCE_SMTP_HOST", f"is needed beside {_NAME_OF[field]}"))
            break
    if bool(values["smtp_user"]) != bool(values["smtp_password"]):
        missing = "RINGFENCE_SMTP_PASSWORD" if values["smtp_user"] else "RINGFENCE_SMTP_USER"
        errors.append(ConfigError(missing, "is needed beside the other: a user and a password come together"))
    away = values["smtp_host"] and values["smtp_host"] not in LOOPBACK
    if values["smtp_security"] == "none" and away and (values["mode"] is Mode.LIVE or values["smtp_password"]):
        errors.append(ConfigError("RINGFENCE_SMTP_SECURITY", "must be starttls or tls: letters and passwords go over no network in the clear"))
    if values["mode"] is Mode.LIVE and values["sms_url"] and urlsplit(values["sms_url"]).scheme != "https":
        errors.append(ConfigError("RINGFENCE_SMS_URL", "must begin with https:// in live mode"))
    return errors


def _sandbox_only(values: Mapping[str, Any]) -> list[ConfigError]:
    """What live mode has no place for, and what only one process can do."""
    errors: list[ConfigError] = []
    for field in ("inquiry", "frozen_at", "torture_points") if values["mode"] is Mode.LIVE else ():
        if values[field]:
            errors.append(ConfigError(_NAME_OF[field], "is for the sandbox only"))
    if values["frozen_at"] is not None and values["workers"] != 1:
        errors.append(ConfigError("RINGFENCE_WORKERS", "must be 1 with RINGFENCE_FROZEN_AT: two processes are never twice the same"))
    if values["frozen_at"] is not None and not values["background"]:
        errors.append(ConfigError("RINGFENCE_BACKGROUND", "must be on with RINGFENCE_FROZEN_AT: the only process does everything, in order"))
    return errors


def base_url(config: Config, port: int) -> str:
    """How callers reach the service that listens on this port."""
    if config.base_url:
        return config.base_url
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(config.host, f"[{config.host}]" if ":" in config.host else config.host)
    return f"{config.scheme}://{host}:{port}"


def strangers(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and are not: probably typing mistakes, worth a warning."""
    return sorted(name for name in environment if name.startswith("RINGFENCE_") and name not in _NAMES and not name.startswith(_FOREIGN))


_NAME_OF = {variable.field: variable.name for variable in VARIABLES if variable.field}
_NAMES = frozenset(variable.name for variable in VARIABLES)
_FOREIGN = ("RINGFENCE_TEST_", "RINGFENCE_MASTER_KEY_")
"""Prefixes that are read elsewhere: by the test suite, and by the key ring while it changes keys."""
