"""The log: one JSON object a line on standard error, with secrets taken out.

Every line of every library passes here, tracebacks included.  Card numbers keep their first six and last four digits, security
codes, phrases, keys and signatures nothing.  Refuses to know what is worth logging.
"""
from __future__ import annotations

import logging
import os
import re
import sys
from datetime import UTC, datetime

import msgspec

from ringfence.core.card import luhn_valid

_NUMBER = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?!\d)", re.ASCII)
_SECRET = re.compile(
    r"""(?P<name>["']?(?:card_)?(?:security_code|cvv2?|cvc2?|signature|password|authorization|(?:sha_)?(?:request|response)_phrase|master_key|admin_token)["']?
        \s*[:=]\s*)(?P<value>"[^"]*"|'[^']*'|Bearer\s+\S+|[^\s,;&}]+)""", re.IGNORECASE | re.VERBOSE)
_encode = msgspec.json.Encoder().encode


def scrubbed(text: str) -> str:
    """The text without card numbers (13 to 19 digits that pass Luhn) and without the values of secret names."""
    return _SECRET.sub(lambda found: found["name"] + "***", _NUMBER.sub(_masked, text))


def _masked(found: re.Match[str]) -> str:
    digits = re.sub(r"[ -]", "", found[0])
    return f"{digits[:6]}******{digits[-4:]}" if luhn_valid(digits) else found[0]


class JsonLines(logging.Formatter):
    """One record as one JSON object: instant (UTC), level, process, logger, message, and the traceback where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(), "process": record.process, "from": record.name, "message": scrubbed(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = scrubbed(self.formatException(record.exc_info))
        return _encode(line).decode()


class _StandardError(logging.Handler):
    """Writes each line with one call, so that the lines of several processes never mix."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))
        except Exception:       # a log that cannot be written must not stop a payment
            self.handleError(record)


def configure(level: str) -> None:
    """Send everything that any library logs here.  uvicorn's own talk about starting and stopping stays out."""
    handler = _StandardError()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, logging.getLogger().level))
    logging.raiseExceptions = False
