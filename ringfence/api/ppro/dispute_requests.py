"""The endpoints of disputes, chargebacks, funds and reports (PPRO Global API, sections 6 and 14).

Parse, look whose it is, ask the engine, and put what it says into the words of ``disputes``.  A report of fraud is no dispute here.
"""
from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from ringfence.api.ppro import answers, disputes, fields
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.charges import find
from ringfence.api.ppro.disputes import CHARGEBACKS, DISPUTES, DOWNLOADS, MOVED, REPORTS, REVERSALS
from ringfence.api.ppro.door import JSON, Endpoint, Handler, Request, Service, once, read, whoever
from ringfence.api.ppro.kinds import Moment, Object, Problem, Row, Text
from ringfence.api.ppro.multipart import file_in
from ringfence.api.ppro.rendering import CHARGES
from ringfence.core.dispute import Act, Action, Status
from ringfence.engine.dispute_reading import CaseRow, Shown
from ringfence.engine.disputes import LONGEST_MESSAGE, Evidence, NotThere, TooMuch, Why

GROUP, FORM = "disputes", "multipart/form-data"
REPORT_DAYS = 90

ACTION = Object("DisputeActionRequest", {
    "type": Row(Text(words=tuple(action.upper() for action in Action)), True), "resolution": Row(Text()),
    "message": Row(Text(LONGEST_MESSAGE)), "amount": Row(fields.MINOR)})
MESSAGE = Object("DisputeMessageRequest", {"content": Row(Text(LONGEST_MESSAGE, 1), True)})
REPORT = Object("DisputeReportRequest", {
    "startDate": Row(Moment(), True), "endDate": Row(Moment(), True), "webhookUrl": fields.WEBHOOKS_URL})


# -------------------------------------------------------------------------------------------------------------- disputes

async def listed(service: Service, request: Request) -> Answer:
    """``GET /v1/disputes?paymentChargeId=``."""
    payment_id = await _charge_named(service, request)
    if isinstance(payment_id, Answer):
        return payment_id
    caller = request.caller
    found = await service.disputes.cases.about(caller.merchant.merchant_id, payment_id)
    told = [_told(service, request, one) for one in found if one.case.stands.status is not Status.REPORTED]
    return answers.ok({"data": told, "_links": {"self": {"href": request.path}}})


async def shown(service: Service, request: Request) -> Answer:
    """``GET /v1/disputes/{disputeId}``."""
    row = await _case(service, request)
    found = None if row is None else await service.disputes.cases.show(row.merchant_id, row.dispute_id)
    return _nothing() if found is None else answers.ok(_told(service, request, found))


async def act(service: Service, request: Request) -> Answer:
    """``POST /v1/disputes/{disputeId}/actions``."""
    asked = read(request.body, ACTION)
    row = None if isinstance(asked, Answer) else await _case(service, request)
    if isinstance(asked, Answer) or row is None:
        return asked if isinstance(asked, Answer) else _nothing()

    async def work(number: int) -> Answer:
        done = await service.disputes.desk.act(
            row.merchant_id, row.dispute_id, Act(Action(asked["type"].lower()), asked.get("amount")), actor=request.caller.actor,
            message=asked.get("message", ""), resolution=asked.get("resolution", ""))
        if not isinstance(done, CaseRow):
            return _refused(done)
        return answers.ok({"disputeId": request.variables[0], "status": disputes.STATUSES[done.stands.status]}, 202)

    return await once(service, request, asked, work)


async def write(service: Service, request: Request) -> Answer:
    """``POST /v1/disputes/{disputeId}/messages``."""
    asked = read(request.body, MESSAGE)
    row = None if isinstance(asked, Answer) else await _case(service, request)
    if isinstance(asked, Answer) or row is None:
        return asked if isinstance(asked, Answer) else _nothing()

    async def work(number: int) -> Answer:
        done = await service.disputes.desk.write(row.merchant_id, row.dispute_id, asked["content"], number)
        return _refused(done) if isinstance(done, (Why, NotThere)) else answers.ok(disputes.message(done), 201)

    return await once(service, request, asked, work)


async def attach(service: Service, request: Request) -> Answer:
    """``POST /v1/disputes/{disputeId}/files``: a form with one part ``file``."""
    part = file_in(request.content_type, request.body, "file")
    if isinstance(part, Problem):
        return answers.invalid([part])
    row = await _case(service, request)
    if row is None:
        return _nothing()

    async def work(number: int) -> Answer:
        done = await service.disputes.desk.attach(row.merchant_id, row.dispute_id, Evidence(*part), number)
        if isinstance(done, (Why, TooMuch, NotThere)):
            return _refused(done)
        return answers.ok(disputes.file(service.names, request.variables[0], done), 201)

    asked = {"name": part.name, "type": part.content_type, "digest": hashlib.sha256(part.content).hexdigest()}
    answer = await once(service, request, asked, work)
    if answer.status != 201:
        return answer
    name = msgspec.json.decode(answer.body)["id"]
    return answer._replace(headers=(*answer.headers, (b"location", f"{request.path}/{name}".encode())))


async def fetch(service: Service, request: Request) -> Answer:
    """``GET /v1/disputes/{disputeId}/files/{fileId}``."""
    row, number = await _case(service, request), service.names.read("file", request.variables[1])
    found = None if row is None or number is None else await service.disputes.cases.file(row.merchant_id, row.dispute_id, number)
    if found is None:
        return answers.not_found("Dispute file")
    return _file(found.content, found.name, found.content_type)


# ---------------------------------------------------------------------------------------------- chargebacks and reversals

def moved(noticed: str) -> Handler:
    """``GET /v1/chargebacks``, ``GET /v1/chargeback-reversals``: of a dispute, or of a charge."""
    async def handle(service: Service, request: Request) -> Answer:
        given = [name for name in ("disputeId", "paymentChargeId") if request.query.get(name)]
        if len(given) != 1:
            return answers.error(400, "exactly one of disputeId and paymentChargeId is required")
        merchant_id = request.caller.merchant.merchant_id
        if given == ["disputeId"]:
            row = await _case(service, request, request.query["disputeId"])
            if row is None:
                return _nothing()
            found = await service.disputes.cases.bookings(merchant_id, dispute_id=row.dispute_id)
        else:
            payment_id = await _charge_named(service, request)
            if isinstance(payment_id, Answer):
                return payment_id
            found = await service.disputes.cases.bookings(merchant_id, payment_id=payment_id)
        return answers.ok(disputes.listed([disputes.moved(service.names, one) for one in found if one.noticed == noticed]))

    return handle


def one_moved(noticed: str, what: str) -> Handler:
    """``GET /v1/chargebacks/{id}``, ``GET /v1/chargeback-reversals/{id}``."""
    async def handle(service: Service, request: Request) -> Answer:
        number = service.names.read(MOVED[noticed][0], request.variables[0])
        found = [] if number is None else await service.disputes.cases.bookings(request.caller.merchant.merchant_id, booking_id=number)
        return answers.ok(disputes.moved(service.names, found[0])) if found else answers.not_found(what)

    return handle


async def funds(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-charges/{chargeId}/funds-statuses``: a bare list."""
    charge = await find(service, request)
    if isinstance(charge, Answer):
        return charge
    found = await service.disputes.cases.funds(charge.view.merchant_id, charge.view.payment_id)
    return answers.ok([disputes.funds(service.names, one, charge.view.first.reference) for one in found])


# --------------------------------------------------------------------------------------------------------------- reports

async def ask_report(service: Service, request: Request) -> Answer:
    """``POST /v1/dispute-reports``: of disputes opened within the last 90 days."""
    asked = read(request.body, REPORT)
    if isinstance(asked, Answer):
        return asked
    since, until, now = asked["startDate"], asked["endDate"], service.now()
    problems = [problem for problem, is_so in (
        (Problem("startDate", f"must be within the last {REPORT_DAYS} days", 422), since < now - timedelta(days=REPORT_DAYS)),
        (Problem("endDate", "must be past", 422), until >= now), (Problem("endDate", "must be after startDate", 422), until <= since)) if is_so]
    if problems:
        return answers.invalid(problems)

    async def work(number: int) -> Answer:
        report = await service.disputes.reports.ask(
            request.caller.merchant.merchant_id, number, since, until, asked.get("webhookUrl", ""))
        if report is None:
            return answers.error(429, "too many reports wait to be made")
        return answers.ok(disputes.report(service.names, report, service.base_url))

    return await once(service, request, {**asked, "startDate": since.isoformat(), "endDate": until.isoformat()}, work)


async def report(service: Service, request: Request) -> Answer:
    """``GET /v1/dispute-reports/{reportId}``."""
    number = service.names.read("report", request.variables[0])
    found = None if number is None else await service.disputes.reports.find(request.caller.merchant.merchant_id, number)
    return answers.not_found("Report") if found is None else answers.ok(disputes.report(service.names, found, service.base_url))


async def download(service: Service, request: Request) -> Answer:
    """What ``downloadUrl`` leads to: who has the name may read it, while it is kept."""
    number = service.names.read("rfile", request.variables[0])
    content = None if number is None else await service.disputes.reports.content(None, number)
    return answers.not_found("Report") if content is None else _file(content, f"disputes-{request.variables[0][6:14]}.csv", "text/csv; charset=utf-8")


# ------------------------------------------------------------------------------------------------------------------ words

async def _charge_named(service: Service, request: Request) -> int | Answer:
    """The payment that the query names, and that is the caller's."""
    name = request.query.get("paymentChargeId")
    if not name:
        return answers.invalid([Problem("paymentChargeId", "required")])
    payment_id = service.names.read("charge", name)
    merchant_id = request.caller.merchant.merchant_id
    found = None if payment_id is None else await service.reading.view(merchant_id, payment_id)
    return answers.not_found("Payment charge") if found is None else found.payment_id


async def _case(service: Service, request: Request, name: str = "") -> CaseRow | None:
    """The dispute that is named, where it is the caller's."""
    number = service.names.read("dispute", name or request.variables[0])
    found = None if number is None else await service.disputes.cases.find(request.caller.merchant.merchant_id, number)
    return None if found is None or found.stands.status is Status.REPORTED else found


def _told(service: Service, request: Request, found: Shown) -> dict[str, Any]:
    return disputes.dispute(service.names, request.caller.credential.public_name, found)


def _nothing() -> Answer:
    return answers.not_found("Dispute")


def _refused(done: Why | TooMuch | NotThere) -> Answer:
    """What was not done: 400 for a form that is wrong, 413 for too much, 422 for what cannot be done now."""
    match done:
        case TooMuch(problem):
            return answers.error(413, problem)
        case Why(refusal, problem, field):
            if not field:
                return answers.error(422, problem)
            name = "type" if field == "action" else field
            return answers.invalid([Problem(name, problem, 400 if refusal is None else 422)])
    return _nothing()


def _file(content: bytes, name: str, content_type: str) -> Answer:
    """A file to be kept, never to be shown as a page of ours."""
    disposition = f"attachment; filename*=UTF-8''{quote(name, safe='')}".encode()
    headers = ((b"content-disposition", disposition), (b"x-content-type-options", b"nosniff"))
    return Answer(200, content, headers, content_type.encode())


def _get(path: str, handler: Handler, *, names_merchant: bool = False) -> Endpoint:
    return Endpoint("GET", path, handler if names_merchant else whoever(handler), names_merchant, GROUP)


def _post(path: str, handler: Handler, takes: str) -> Endpoint:
    return Endpoint("POST", path, whoever(handler), False, GROUP, takes)


ENDPOINTS = (
    _get(DISPUTES, listed), _get(f"{DISPUTES}/{{disputeId}}", shown),
    _post(f"{DISPUTES}/{{disputeId}}/actions", act, JSON), _post(f"{DISPUTES}/{{disputeId}}/messages", write, JSON),
    _post(f"{DISPUTES}/{{disputeId}}/files", attach, FORM),
    _get(f"{DISPUTES}/{{disputeId}}/files/{{fileId}}", fetch),
    _get(CHARGEBACKS, moved("chargeback")), _get(f"{CHARGEBACKS}/{{chargebackId}}", one_moved("chargeback", "Chargeback")),
    _get(REVERSALS, moved("chargeback_returned")),
    _get(f"{REVERSALS}/{{reversalId}}", one_moved("chargeback_returned", "Chargeback reversal")),
    Endpoint("GET", f"{CHARGES}/{{chargeId}}/funds-statuses", funds),
    Endpoint("POST", REPORTS, ask_report, group=GROUP, takes=JSON), _get(f"{REPORTS}/{{reportId}}", report, names_merchant=True),
    Endpoint("GET", f"{DOWNLOADS}/{{file}}", download, group=GROUP, is_open=True),
)
"""All of it."""
