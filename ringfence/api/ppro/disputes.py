"""Disputes in this door's words: objects, events and report rows (PPRO Global API, sections 10.3, 14 and 15.6).

Tables and pure functions: statuses, phases and reasons of the core against those of the API; a test sees to it that every one has a row.
Decides nothing; knows no request.
"""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ringfence.api.ppro.answers import moment
from ringfence.api.ppro.names import Names
from ringfence.core.dispute import ATTACHABLE, WRITABLE, Action, Closing, Happened, Phase, Status
from ringfence.core.dispute_reasons import Reason
from ringfence.engine.dispute_reading import BookingRow, CaseRow, FileRow, FundsRow, MessageRow, Shown
from ringfence.engine.dispute_reports import ReportRow, Words
from ringfence.engine.disputes import FILE_TYPES, LARGEST_FILE, LONGEST_MESSAGE, MOST_FILES

DISPUTES, CHARGEBACKS, REVERSALS, REPORTS = "/v1/disputes", "/v1/chargebacks", "/v1/chargeback-reversals", "/v1/dispute-reports"
DOWNLOADS = "/v1/dispute-report-files"
SOURCE = "GAPI"

PHASES: dict[Phase, str] = {
    Phase.INQUIRY: "PRE_DISPUTE", Phase.CHARGEBACK: "DISPUTE", Phase.PRE_ARBITRATION: "PRE_ARBITRATION", Phase.ARBITRATION: "ARBITRATION"}

#: ``None``: this API has no such object; a report of fraud is not shown.
STATUSES: dict[Status, str | None] = {
    Status.REPORTED: None, Status.OPEN: "OPEN", Status.ACCEPTING: "ACCEPT_PROCESSING", Status.CHALLENGING: "CHALLENGE_PROCESSING",
    Status.OFFERING: "OFFER_PROCESSING", Status.UNDER_REVIEW: "UNDER_REVIEW", Status.OFFER_ACCEPTED: "OFFER_ACCEPTED",
    Status.OFFER_REJECTED: "OFFER_REJECTED", Status.WON: "WON", Status.LOST: "LOST"}

#: The codes of section 14.1, and what they say.
REASONS: dict[Reason, tuple[str, str]] = {
    Reason.FRAUD_CARD_ABSENT:    ("PDSP_AUTH_001", "The consumer did not take part in the payment"),
    Reason.FRAUD_CARD_PRESENT:   ("PDSP_AUTH_002", "The card was present, and is said to be counterfeit, lost or stolen"),
    Reason.AUTHORIZATION:        ("PDSP_AUTH_003", "The payment was not authorized"),
    Reason.LATE_PRESENTMENT:     ("PDSP_AUTH_004", "The payment was presented too late"),
    Reason.NOT_RECEIVED:         ("PDSP_PROD_001", "The goods or services were not received"),
    Reason.NOT_AS_DESCRIBED:     ("PDSP_PROD_002", "The goods or services are not as described"),
    Reason.COUNTERFEIT:          ("PDSP_PROD_003", "The goods are counterfeit"),
    Reason.CREDIT_NOT_PROCESSED: ("PDSP_CANC_001", "A refund was not paid"),
    Reason.CANCELLED_GOODS:      ("PDSP_CANC_002", "The goods or services were cancelled"),
    Reason.CANCELLED_RECURRING:  ("PDSP_SUBS_001", "The subscription was cancelled"),
    Reason.DUPLICATE:            ("PDSP_GEN_001", "The payment was made twice"),
    Reason.PAID_BY_OTHER_MEANS:  ("PDSP_GEN_001", "It was paid by other means"),
    Reason.PROCESSING_ERROR:     ("PDSP_GEN_002", "Amount, currency or account are wrong"),
    Reason.GENERAL:              ("PDSP_GEN_003", "The consumer does not recognize the payment"),
}
CLOSINGS: dict[Closing, str] = {
    Closing.ACCEPTED: "ACCEPTED", Closing.SILENCE: "EXPIRED", Closing.DECIDED: "DECIDED", Closing.WITHDRAWN: "WITHDRAWN",
    Closing.SETTLED: "OFFER_ACCEPTED"}

#: What merchants are told: events in the envelope of disputes, and the one in the ordinary envelope; what has no row is not told here.
EVENTS: dict[Happened, str] = {
    Happened.ACTION_REQUIRED: "DISPUTE_ACTION_REQUIRED", Happened.ACCEPT_PROCESSING: "DISPUTE_ACCEPT_PROCESSING",
    Happened.CHALLENGE_PROCESSING: "DISPUTE_CHALLENGE_PROCESSING", Happened.UNDER_REVIEW: "DISPUTE_UNDER_REVIEW",
    Happened.WON: "DISPUTE_WON", Happened.LOST: "DISPUTE_LOST"}
MONEY_EVENTS: dict[Happened, str] = {Happened.MONEY_TAKEN: "CHARGEBACK_SUCCEEDED"}
REPORT_EVENTS: dict[str, str] = {
    "report_processed": "REPORT_PROCESSED", "report_failed": "REPORT_FAILED", "report_expired": "REPORT_EXPIRED"}


def money(minor: int, currency: str) -> dict[str, Any]:
    """``Money``."""
    return {"value": minor, "currency": currency}


def dispute(names: Names, merchant: str, shown: Shown) -> dict[str, Any]:
    """The whole object; ``merchant`` is its ``merch_`` name."""
    row, stands = shown.case, shown.case.stands
    name = names.make("dispute", row.dispute_id)
    code, said = REASONS[Reason(row.reason)]
    told: dict[str, Any] = {
        "id": name, "amount": money(stands.minor, row.currency), "paymentChargeId": names.make("charge", row.payment_id),
        "paymentSource": SOURCE, "merchantId": merchant, "phase": PHASES[stands.phase], "status": STATUSES[stands.status],
        "allowedActions": [_action(action, stands.due_at) for action in shown.actions],
        "allowedCapabilities": capabilities(name), "files": [file(names, name, one) for one in shown.files],
        "reason": {"code": code, "message": said}, "openingNote": row.note, "messages": [message(one) for one in shown.messages],
        "openedAt": moment(row.opened_at), "createdAt": moment(row.opened_at), "updatedAt": moment(row.changed_at),
        "_links": {"self": {"href": f"{DISPUTES}/{name}"}, "payment_charge": _charge(names, row.payment_id)},
    }
    if row.reference is not None:
        told["merchantPaymentChargeReference"] = row.reference
    if stands.closing is not None:
        told |= {"closingReason": CLOSINGS[stands.closing], "closingNote": row.closing_note}
    return told


def _action(action: Action, due_at: datetime | None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": action.upper()}
    if action is Action.ACCEPT:
        told["resolutions"] = []
    else:
        told["amountRequired"] = action is Action.OFFER
    if due_at is not None:
        told["dueBy"] = moment(due_at)
    return told | {"messageConfig": {"required": False, "minLength": 0, "maxLength": LONGEST_MESSAGE}}


def capabilities(name: str) -> list[dict[str, Any]]:
    """What can be added to a dispute, how much of it, and when."""
    return [
        {"type": "UPLOAD_FILE", "allowedFileTypes": list(FILE_TYPES), "maxFileSizeInMb": LARGEST_FILE >> 20, "maxNumberOfFiles": MOST_FILES,
         "statusAllowedIn": [STATUSES[one] for one in ATTACHABLE], "url": f"{DISPUTES}/{name}/files"},
        {"type": "POST_MESSAGES", "minLength": 1, "maxLength": LONGEST_MESSAGE, "statusAllowedIn": [STATUSES[one] for one in WRITABLE],
         "url": f"{DISPUTES}/{name}/messages"},
    ]


def message(one: MessageRow) -> dict[str, Any]:
    """What one side wrote."""
    return {"content": one.content, "sender": one.sender.upper(), "phase": PHASES[Phase(one.phase)], "createdAt": moment(one.written_at)}


def file(names: Names, dispute_name: str, one: FileRow) -> dict[str, Any]:
    """A file, without what is in it."""
    name = names.make("file", one.file_id)
    return {
        "id": name, "name": one.name, "createdAt": moment(one.added_at), "phase": PHASES[Phase(one.phase)], "sender": one.sender.upper(),
        "status": "SYNCED_WITH_PROVIDER" if one.synced else "AVAILABLE",
        "_links": {"self": {"href": f"{DISPUTES}/{dispute_name}/files/{name}"}},
    }


CB, CR = "cb", "cr"
MOVED: dict[str, tuple[str, str]] = {"chargeback": (CB, CHARGEBACKS), "chargeback_returned": (CR, REVERSALS)}
"""By the notice that was booked: the prefix and the path of its object."""


def moved(names: Names, row: BookingRow) -> dict[str, Any]:
    """A chargeback, or its reversal.  It is settled once it is on the payment's ledger."""
    prefix, path = MOVED[row.noticed]
    name, of = names.make(prefix, row.booking_id), names.make("dispute", row.dispute_id)
    return {
        "id": name, "amount": money(row.minor, row.currency), "reason": REASONS[Reason(row.reason)][0],
        "paymentChargeId": names.make("charge", row.payment_id), "disputeId": of,
        "transferStatus": "EXPECTED" if row.booked_at is None else "SETTLED", "createdAt": moment(row.made_at),
        "updatedAt": moment(row.booked_at or row.made_at), "_links": {
            "self": {"href": f"{path}/{name}"}, "payment_charge": _charge(names, row.payment_id), "dispute": {"href": f"{DISPUTES}/{of}"}},
    }


def listed(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A list of chargebacks or reversals: always one page."""
    return {"pagination": {"totalPages": 1 if found else 0, "totalCount": len(found), "currentPage": 1}, "data": found}


def funds(names: Names, row: FundsRow, reference: str | None) -> dict[str, Any]:
    """What is known of the money of one operation; ``reference`` is the charge's."""
    if row.kind == "refund":
        state = "REJECTED" if row.came_back else "SENT" if row.is_settled else "WAITING"
        told = {"operationId": names.make("refund", row.operation_id), "operationType": "REFUND", "fundsStatus": f"REFUND_FUNDS_{state}"}
        return told | ({"merchantRefundReference": row.reference} if row.reference is not None else {})
    state = "NOT_EXPECTED" if row.is_rejected else "RECEIVED" if row.is_settled else "WAITING"
    told = {"operationId": names.make("capture", row.operation_id), "operationType": "CAPTURE", "fundsStatus": f"CAPTURE_FUNDS_{state}"}
    return told | ({"merchantPaymentChargeReference": reference} if reference is not None else {})


def report(names: Names, row: ReportRow, base_url: str) -> dict[str, Any]:
    """A report; where it can be fetched while it is kept."""
    told = {
        "id": names.make("report", row.report_id), "startDate": moment(row.since), "endDate": moment(row.until), "status": row.state.upper(),
        "createdAt": moment(row.asked_at), "updatedAt": moment(row.changed_at)}
    return told | ({"downloadUrl": download(names, row.report_id, base_url)} if row.state == "processed" else {})


def download(names: Names, report_id: int, base_url: str) -> str:
    """Where a report lies: a name that cannot be guessed, and is not the report's."""
    return f"{base_url}{DOWNLOADS}/{names.make('rfile', report_id)}"


COLUMNS = ("disputeId", "paymentChargeId", "merchantPaymentChargeReference", "amount", "currency", "phase", "status", "reasonCode",
           "schemeReasonCode", "dueBy", "openedAt", "updatedAt", "closingReason", "amountTaken", "amountReturned", "amountLost")


def report_words(names: Names) -> Words:
    """The rows of a report.  Amounts are minor units."""
    def cells(row: CaseRow) -> list[str]:
        stands = row.stands
        return [
            names.make("dispute", row.dispute_id), names.make("charge", row.payment_id), row.reference or "", str(stands.minor), row.currency,
            PHASES[stands.phase], STATUSES[stands.status] or "FRAUD_REPORTED", REASONS[Reason(row.reason)][0], row.reason_code,
            moment(stands.due_at) if stands.due_at else "", moment(row.opened_at), moment(row.changed_at),
            CLOSINGS[stands.closing] if stands.closing else "", str(stands.taken), str(stands.returned), str(stands.lost)]

    return Words(COLUMNS, cells)


# ------------------------------------------------------------------------------------------------------------- webhooks

def envelope(names: Names, event_id: int, event: str, payload: bytes, occurred_at: datetime) -> dict[str, Any] | None:
    """What is sent of an event of a dispute (section 15.6); ``None`` for what this door does not tell that way."""
    kind = EVENTS.get(Happened(event)) if event in list(Happened) else None
    if kind is None:
        return None
    values = json.loads(payload)
    name, subject = names.make("event", event_id), names.make("dispute", int(values["dispute"]))
    data = {"eventId": name, "disputeId": subject, "paymentChargeId": names.make("charge", int(values["payment"]))}
    if values["reference"] is not None:
        data["merchantPaymentReference"] = values["reference"]
    return {
        "specversion": "0.0.1-SNAPSHOT", "id": name, "source": "", "type": kind, "subject": subject, "time": moment(occurred_at),
        "datacontenttype": "application/json", "data": data}


def money_event(names: Names, merchant: str, event: str, payload: bytes) -> tuple[str, str, dict[str, Any]] | None:
    """Type, subject and ``data`` of an event in the ordinary envelope (section 15.4); ``None`` for others."""
    kind = MONEY_EVENTS.get(Happened(event)) if event in list(Happened) else None
    if kind is None:
        return None
    values = json.loads(payload)
    charge = names.make("charge", int(values["payment"]))
    return kind, charge, {
        "paymentChargeId": charge, "type": kind, "merchantId": merchant, "amount": money(values["moved"], values["currency"])}


def report_event(names: Names, merchant: str, base_url: str, event: str, payload: bytes) -> tuple[str, str, dict[str, Any]] | None:
    """Type, subject and ``data`` of an event of a report (section 15.5); ``None`` for others."""
    kind = REPORT_EVENTS.get(event)
    if kind is None:
        return None
    values = json.loads(payload)
    name = names.make("report", int(values["report"]))
    data = {
        "type": kind, "reportId": name, "status": values["status"].upper(), "operationType": "DISPUTE", "merchantId": merchant,
        "startDate": moment(datetime.fromisoformat(values["since"])), "endDate": moment(datetime.fromisoformat(values["until"]))}
    if values["status"] == "processed":
        data |= {"downloadUrl": download(names, int(values["report"]), base_url), "contentLength": values["bytes"]}
    return kind, name, data


def _charge(names: Names, payment_id: int) -> dict[str, str]:
    return {"href": f"/v1/payment-charges/{names.make('charge', payment_id)}"}
