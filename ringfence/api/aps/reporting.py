"""``POST /FortAPI/reportingApi``: GENERATE_REPORT and DOWNLOAD_REPORT.

The same ladder as at ``paymentApi``.  Every answer is HTTP 200 and signed, in the form that ``response_format`` asks for; rows are
streamed as they are read.  Decides what of a request is a report that can be made.  Refuses to know how one is made, and who carries bodies.
"""
from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from ringfence.api.aps import answers, report_formats, wire
from ringfence.api.aps.accounts import Credential
from ringfence.api.aps.app import PaymentApi
from ringfence.api.aps.codes import refusal_message
from ringfence.api.aps.door import Account
from ringfence.api.aps.fields import CHECKS, FILTERS_MOST, REPORT_COLUMNS
from ringfence.api.aps.operations import ELSEWHERE, REPORTING
from ringfence.api.aps.report_rows import holds_card_number
from ringfence.api.aps.wire import ApsRequest, WireError
from ringfence.core.refusals import Refusal
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.reporting import Asked, Refused, Report, Reporting

log = logging.getLogger(__name__)

READERS_MOST = 4
"""Downloads of one merchant at a time in one process."""
REFERENCE_USED, BAD_INTERVAL, NOT_GENERATED, PENDING, QUEUE_FULL, TOO_MANY = "066", "122", "127", "128", "129", "134"
REFUSED = {Refused.REFERENCE_USED: REFERENCE_USED, Refused.QUEUE_FULL: QUEUE_FULL}
UNTIL_READY = {"waiting": PENDING, "too_many": TOO_MANY, "erased": NOT_GENERATED, "failed": refusal_message(Refusal.SERVICE_UNAVAILABLE)}
"""What a download hears of a report that is not ready."""
FORMS = ("JSON", "XML")
_SECOND = timedelta(seconds=1)


class Answer(NamedTuple):
    """A body, whole or as it comes, in one of ``report_formats.CONTENT_TYPES``."""

    content_type: str
    body: bytes | AsyncIterator[bytes]


class ReportingApi:
    """The door: one of these per process."""

    def __init__(self, payments: PaymentApi, reporting: Reporting, now: Callable[[], datetime]) -> None:
        """``payments`` knows who calls; ``now`` is business time."""
        self._payments, self._reporting, self._now = payments, reporting, now
        self._readers: Counter[int] = Counter()
        self._handlers: dict[str, Callable[[Account, ApsRequest], Awaitable[str | Report]]] = {
            "GENERATE_REPORT": self._generate, "DOWNLOAD_REPORT": self._download,
        }

    async def handle(self, body: bytes, source_ip: str = "") -> Answer:
        """The answer to a body."""
        params = wire.decode(body)
        if isinstance(params, WireError):
            return _whole(answers.refusal(params), None, "JSON")
        form = "XML" if params.get("response_format") == "XML" else "JSON"
        account = self._payments.account(params)
        if isinstance(account, WireError):
            return _whole(answers.refusal(account), None, form)
        if not account.merchant.active:
            return _whole(answers.refusal(wire.inactive_merchant(params)), account.credential, form)
        request = wire.parse(params, account.credential, account.settings, self._now(), source_ip)
        if isinstance(request, WireError):
            return _whole(answers.refusal(request), account.credential, form)
        if request.operation.endpoint != REPORTING:
            return _whole(answers.answer(request, {}, ELSEWHERE), account.credential, form)
        if broken := _card_number_in(request):
            return _whole(answers.refusal(wire.error(_without_filters(params), *broken)), account.credential, form)
        try:
            outcome = await self._handlers[request.operation.name](account, request)
            if isinstance(outcome, Report):
                return await self._rows(account, request, outcome)
        except CONNECTION_LOST:
            log.warning("the database is away")
            outcome = request.operation.failure + refusal_message(Refusal.SERVICE_UNAVAILABLE)
        except Exception:
            log.exception("%s broke", request.operation.name)
            outcome = request.operation.failure + refusal_message(Refusal.SERVICE_UNAVAILABLE)
        return _whole(answers.answer(request, {}, outcome), account.credential, form)

    async def _generate(self, account: Account, request: ApsRequest) -> str:
        given, failure = request.given, request.operation.failure
        interval = interval_of(given["from_date"], given["to_date"])
        if interval is None:
            return failure + BAD_INTERVAL
        asked = asked_for(
            account.merchant.merchant_id, request.reference, columns_of(given["columns"]), filters_of(given.get("filters", "")), interval,
            request.language, given.get("response_format", "JSON"), account.actor)
        made = await self._reporting.ask(asked)
        return failure + REFUSED[made] if isinstance(made, Refused) else request.operation.success

    async def _download(self, account: Account, request: ApsRequest) -> str | Report:
        merchant_id, failure = account.merchant.merchant_id, request.operation.failure
        report = await self._reporting.find(merchant_id, request.reference)
        if report is None:
            return failure + NOT_GENERATED
        if report.state != "ready":
            return failure + UNTIL_READY[report.state]
        return failure + QUEUE_FULL if self._readers[merchant_id] >= READERS_MOST else report

    async def _rows(self, account: Account, request: ApsRequest, report: Report) -> Answer:
        """The answer with the rows.  The first of them are read before it begins, so that a database that is away can still be said."""
        form = request.given.get("response_format", report.asked.form)
        body = answers.answer(request, {report_formats.COUNT: str(report.rows)}, request.operation.success)
        if not report.rows:
            return _whole(body, account.credential, form)
        pages = self._reporting.pages(report)
        first = await anext(pages)
        rows = report_formats.streamed(body, report.asked.columns, _behind(first, pages), account.credential, form)
        return Answer(report_formats.CONTENT_TYPES[form], self._counted(account.merchant.merchant_id, rows))

    async def _counted(self, merchant_id: int, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._readers[merchant_id] += 1
        try:
            async for part in parts:
                yield part
        finally:
            self._readers[merchant_id] -= 1
            if not self._readers[merchant_id]:
                del self._readers[merchant_id]


async def _behind(first: list[list[str]], pages: AsyncIterator[list[list[str]]]) -> AsyncIterator[list[list[str]]]:
    yield first
    async for page in pages:
        yield page


def _whole(body: dict[str, object], credential: Credential | None, form: str) -> Answer:
    return Answer(report_formats.CONTENT_TYPES[form], report_formats.whole(unfolded(body), credential, form))


# ---------------------------------------------------------------------------------------------------------- what is asked

_FILTER = re.compile(r"\{(?:key=(\w+), value=([^{}=]+)|value=([^{}=]+), key=(\w+))\}", re.ASCII)


def columns_of(text: str) -> tuple[str, ...]:
    """The columns that a value means, as the signature covers it; one that is named twice stands once."""
    return tuple(dict.fromkeys(text[1:-1].split(", ")))


def filters_of(text: str) -> tuple[tuple[str, str], ...]:
    """The filters that a value means, as the signature covers it; none for ""."""
    return tuple((one[0] or one[3], one[1] or one[2]) for one in _FILTER.findall(text))


def unfolded(body: dict[str, object]) -> dict[str, object]:
    """Lists as lists again, the members of each filter in the order received; the signature has the same text for both."""
    said = dict(body)
    if isinstance(columns := body.get("columns"), str) and CHECKS["columns"](columns):
        said["columns"] = columns[1:-1].split(", ")
    if isinstance(filters := body.get("filters"), str) and CHECKS["filters"](filters):
        said["filters"] = [
            {"key": one[0], "value": one[1]} if one[0] else {"value": one[2], "key": one[3]} for one in _FILTER.findall(filters)]
    return said


def interval_of(since: str, until: str) -> tuple[datetime, datetime, int] | None:
    """Both instants in UTC, the second of ``until`` included, and the seconds east of UTC in which ``since`` was written; ``None``
    for what is no interval."""
    try:
        begin, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
        offset = begin.utcoffset()
        if offset is None or end.tzinfo is None or begin > end:
            return None
        return begin.astimezone(UTC), end.astimezone(UTC) + _SECOND, int(offset.total_seconds())
    except (ValueError, OverflowError):
        return None


def asked_for(
    merchant_id: int, reference: str, columns: tuple[str, ...], filters: tuple[tuple[str, str], ...], interval: tuple[datetime, datetime, int],
    language: str, form: str, actor: str,
) -> Asked:
    """What is asked for; number and instant are given when it is stored."""
    since, until, offset = interval
    return Asked(merchant_id, reference, 0, columns, filters, since, until, offset, language, form, actor, since)


def _card_number_in(request: ApsRequest) -> tuple[str, str] | None:
    """A card number is shown masked in reports, and sought masked."""
    found = any(holds_card_number(*one) for one in filters_of(request.given.get("filters", "")))
    return ("00002", "filters") if found else None


def _without_filters(params: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if name != "filters"}


def understood(given: Mapping[str, object]) -> Callable[[int, str], Asked] | tuple[str, str]:
    """The same for operators, from ``reference``, ``from``, ``to``, ``columns``, ``filters`` and ``language``; else the field, and what is
    wrong with it."""
    columns, filters, language = given.get("columns", list(REPORT_COLUMNS)), given.get("filters", []), given.get("language", "en")
    reference, since, until = given.get("reference", ""), given.get("from"), given.get("to")
    if not isinstance(reference, str) or (reference and not CHECKS["merchant_reference"](reference)):
        return "reference", "must be at most 40 letters, digits, - _ and ."
    for name, text in (("from", since), ("to", until)):
        if not isinstance(text, str) or not CHECKS["from_date"](text):
            return name, "must be an ISO 8601 instant with its offset, such as 2026-11-21T12:00:00Z"
    assert isinstance(since, str) and isinstance(until, str)
    if (interval := interval_of(since, until)) is None:
        return "to", "must be a real instant and not before from"
    if language not in ("en", "ar"):
        return "language", "must be en or ar"
    if not isinstance(columns, list) or not columns or not all(isinstance(one, str) and one in REPORT_COLUMNS for one in columns):
        return "columns", f"must be some of {', '.join(REPORT_COLUMNS)}"
    if not isinstance(filters, list) or len(filters) > FILTERS_MOST:
        return "filters", f"must be at most {FILTERS_MOST} pairs of key and value"
    pairs: list[tuple[str, str]] = []
    for one in filters:
        if not isinstance(one, dict) or set(one) != {"key", "value"} or not all(isinstance(text, str) for text in one.values()):
            return "filters", "must be objects of key and value"
        key, value = one["key"], one["value"]
        if not CHECKS["filters"](f"[{{key={key}, value={value}}}]") or key not in REPORT_COLUMNS:
            return "filters", "must name a column, and a value of at most 150 characters without = { } [ ]"
        if holds_card_number(key, value):
            return "filters", "must hold a card number only as it is shown, such as 400555******0001"
        pairs.append((key, value))
    return lambda merchant_id, actor: asked_for(
        merchant_id, reference, tuple(dict.fromkeys(columns)), tuple(pairs), interval, str(language), "JSON", actor)
