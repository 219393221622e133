"""Disputes at the PPRO door: objects, actions, evidence, chargebacks, funds and reports, as a merchant's server sees them."""
from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from ringfence.api.ppro import answers
from ringfence.api.ppro import disputes as words
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import Request, whoever
from ringfence.api.ppro.kinds import Problem
from ringfence.api.ppro.multipart import file_in
from ringfence.core.dispute import Closing, Happened, Heard, Phase, Said, Status
from ringfence.core.dispute_reasons import Reason
from ringfence.engine.disputes import Case
from ringfence.storage.jobs import Job
from tests.api.ppro.asking import Answered, Client
from tests.engine.composition import DAY, NOW, Process

pytestmark = pytest.mark.anyio
DUE = NOW + 25 * DAY
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class Issuer:
    """Disputes one client's charges."""

    def __init__(self, client: Client) -> None:
        self.client, self.count = client, 0
        self.desk, self.names = client.service.disputes.desk, client.service.names
        merchant = client.process.directory.merchant(client.identifier)
        assert merchant is not None
        self.merchant_id = merchant.merchant_id

    async def says(self, charge: dict[str, Any], said: Said, minor: int = 0, **more: Any) -> str:
        """Its next word about a charge; the dispute's name."""
        self.count += 1
        payment = self.names.read("charge", charge["id"])
        assert payment is not None
        due = {"due_at": DUE} if said in (Said.TAKEN, Said.INQUIRED) else {}
        row = await self.desk.tell(
            self.merchant_id, Case("scripted", f"case of {payment}", payment, payment, minor or 2599, Reason.NOT_RECEIVED, "Where is it?"),
            Heard(self.count, said, minor or 2599, **due | more), "" if said is not Said.WON else "It was found.")
        assert row is not None
        return self.names.make("dispute", row.dispute_id)


@pytest.fixture
def issuer(client: Client) -> Issuer:
    return Issuer(client)


@pytest.fixture
def later(one: Process) -> Iterator[Callable[[timedelta], None]]:
    """Moves business time, which stands where it stood when the test ends."""
    before = one.now.now

    def move(by: timedelta) -> None:
        one.now.now += by

    yield move
    one.now.now = before


def form(content: bytes = PNG, name: str = "proof.png", content_type: str = "image/png", field: str = "file") -> tuple[bytes, dict[str, str]]:
    """The body of an upload and its header, as curl makes them."""
    head = f'Content-Disposition: form-data; name="{field}"; filename="{name}"\r\nContent-Type: {content_type}\r\n\r\n'
    return b"--X-1\r\n" + head.encode() + content + b"\r\n--X-1--\r\n", {"content-type": "multipart/form-data; boundary=X-1"}


async def upload(client: Client, dispute: str, *, key: str = "", **more: Any) -> Answered:
    body, headers = form(**more)
    return await client.send("POST", f"/v1/disputes/{dispute}/files", body, headers, key=key)


async def test_a_dispute_is_told_whole(client: Client, issuer: Issuer):
    """Every member of section 14.1, also by its charge; another merchant's charge is not there."""
    charge = await client.charge(merchantPaymentChargeReference="ORDER-1")
    name = await issuer.says(charge, Said.TAKEN)
    told = (await client.get(f"/disputes/{name}")).body
    links = {"self": {"href": f"/v1/disputes/{name}"}, "payment_charge": {"href": f"/v1/payment-charges/{charge['id']}"}}
    config = {"required": False, "minLength": 0, "maxLength": 2000}
    assert told == {
        "id": name, "amount": {"value": 2599, "currency": "USD"}, "paymentChargeId": charge["id"], "paymentSource": "GAPI",
        "merchantId": client.headers["merchant-id"], "merchantPaymentChargeReference": "ORDER-1", "phase": "DISPUTE", "status": "OPEN",
        "allowedActions": [
            {"type": "ACCEPT", "resolutions": [], "dueBy": "2026-01-30T07:09:19.000Z", "messageConfig": config},
            {"type": "CHALLENGE", "amountRequired": False, "dueBy": "2026-01-30T07:09:19.000Z", "messageConfig": config}],
        "allowedCapabilities": words.capabilities(name), "files": [], "messages": [],
        "reason": {"code": "PDSP_PROD_001", "message": "The goods or services were not received"}, "openingNote": "Where is it?",
        "openedAt": "2026-01-05T07:09:19.000Z", "createdAt": "2026-01-05T07:09:19.000Z", "updatedAt": "2026-01-05T07:09:19.000Z",
        "_links": links}
    assert (await client.get(f"/disputes?paymentChargeId={charge['id']}")).body["data"] == [told]
    assert (await client.get("/disputes")).status == 400
    assert (await client.get(f"/disputes?paymentChargeId={charge['id'][:-1]}")).status == 404
    assert (await client.get(f"/disputes/{name[:-1]}{'y' if name[-1] == 'x' else 'x'}")).status == 404
    assert (await client.read(charge))["status"] == "CAPTURED"


@pytest.mark.parametrize("named", [None, "merch_" + "x" * 21])
async def test_no_merchant_need_be_named(client: Client, issuer: Issuer, named: str | None):
    """Section 1: whoever holds the key is asked about his own; the header is looked at by nobody."""
    charge = await client.charge()
    name = await issuer.says(charge, Said.TAKEN)
    without = {"merchant-id": named}
    for path in (f"/disputes/{name}", f"/disputes?paymentChargeId={charge['id']}", f"/chargebacks?paymentChargeId={charge['id']}"):
        assert (await client.get(path, headers=without)).status == 200, path
    said = await client.post(f"/disputes/{name}/messages", {"content": "look"}, headers=without)
    assert said.status == 201 and said.body["content"] == "look"
    code = {"authenticationResult": {"details": {"verificationCode": "123456"}}}
    assert (await client.post(f"/payment-charges/{charge['id']}/authorizations", code, headers=without)).status == 422


async def test_of_a_key_for_several_merchants_the_one_is_asked_whose_object_it_is(client: Client):
    """In turn, until one has it; a 404 is said when none has."""
    asked: list[str] = []

    async def handler(service: Any, request: Request) -> Answer:
        asked.append(request.caller.actor)
        return answers.ok({}) if request.caller.actor == request.path else answers.not_found("Dispute")

    def request(path: str) -> Request:
        callers = tuple(SimpleNamespace(actor=name) for name in ("a", "b", "c"))
        return Request("GET", path, (), {}, b"", "", callers)       # type: ignore[arg-type]

    assert (await whoever(handler)(client.service, request("b"))).status == 200 and asked == ["a", "b"]
    assert (await whoever(handler)(client.service, request("z"))).status == 404 and asked == ["a", "b", "a", "b", "c"]


async def test_a_refund_that_the_dispute_keeps_from_fitting_says_so(client: Client, issuer: Issuer):
    """CHARGEBACK_DETECTED, inside of a refund that failed; the undisputed rest goes back."""
    charge = await client.charge(1000)
    await issuer.says(charge, Said.TAKEN, 400)
    refused = await client.refund(charge, 601)
    assert (refused["status"], refused["failure"]["failureType"], refused["failure"]["failureCode"]) == (
        "FAILED", "INTERNAL_DECLINE", "CHARGEBACK_DETECTED")
    assert (await client.refund(charge, 600))["status"] == "REFUNDED"
    assert (await client.refund(charge, 1001))["failure"]["failureCode"] == "EXCEEDS_REFUNDABLE_AMOUNT"


async def test_evidence_goes_up_and_comes_down(client: Client, issuer: Issuer):
    """201 with a Location, once under its key; the bytes come back as a file to keep."""
    name = await issuer.says(await client.charge(), Said.TAKEN)
    added = await upload(client, name, key="k", name='pro"of.png'.replace('"', '\\"'))
    again = await upload(client, name, key="k", name='pro"of.png'.replace('"', '\\"'))
    assert (added.status, again.status, again.again) == (201, 201, True)
    assert added.headers["location"] == again.headers["location"] == f"/v1/disputes/{name}/files/{added.body['id']}"
    assert added.body["name"] == 'pro"of.png' and (await upload(client, name, key="k", content=PNG + b"!")).status == 409
    got = await client.send("GET", added.headers["location"])
    assert (got.body, got.headers["content-type"]) == (PNG, "image/png")
    assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''pro%22of.png"
    told = (await client.get(f"/disputes/{name}")).body
    assert [(one["status"], one["sender"], one["phase"]) for one in told["files"]] == [("AVAILABLE", "MERCHANT", "DISPUTE")]
    for wrong, status in (
        ({"field": "other"}, 400), ({"content": b"MZ"}, 400), ({"content_type": "text/html"}, 400), ({"content": PNG + bytes(5 << 20)}, 413),
    ):
        assert (await upload(client, name, **wrong)).status == status
    assert (await client.send("POST", f"/v1/disputes/{name}/files", b"{}")).status == 415
    assert (await client.get(f"/disputes/{name}/files/{added.body['id'][:-1]}")).status == 404


async def test_a_challenge_is_taken_and_won(client: Client, issuer: Issuer):
    """202 with the status; then under review, then won, with the reversal in its list."""
    charge = await client.charge()
    name = await issuer.says(charge, Said.TAKEN)
    await upload(client, name)
    done = await client.post(f"/disputes/{name}/actions", {"type": "CHALLENGE", "message": "It was delivered."}, key="c")
    assert (done.status, done.body) == (202, {"disputeId": name, "status": "UNDER_REVIEW"})
    assert (await client.post(f"/disputes/{name}/actions", {"type": "CHALLENGE", "message": "It was delivered."}, key="c")).again
    written = await client.post(f"/disputes/{name}/messages", {"content": "Tracking 7"})
    assert (written.status, written.body["sender"], written.body["content"]) == (201, "MERCHANT", "Tracking 7")
    await issuer.says(charge, Said.WON)
    told = (await client.get(f"/disputes/{name}")).body
    assert (told["status"], told["closingReason"], told["closingNote"], told["allowedActions"]) == ("WON", "DECIDED", "It was found.", [])
    assert [one["content"] for one in told["messages"]] == ["It was delivered.", "Tracking 7", "It was found."]
    assert told["files"][0]["status"] == "SYNCED_WITH_PROVIDER"
    for path, prefix in (("chargebacks", "cb_"), ("chargeback-reversals", "cr_")):
        listed = (await client.get(f"/{path}?disputeId={name}")).body
        assert listed == (await client.get(f"/{path}?paymentChargeId={charge['id']}")).body
        assert listed["pagination"] == {"totalPages": 1, "totalCount": 1, "currentPage": 1}
        [one] = listed["data"]
        assert one["id"].startswith(prefix) and one == (await client.get(f"/{path}/{one['id']}")).body
        assert (one["amount"], one["transferStatus"], one["disputeId"]) == ({"value": 2599, "currency": "USD"}, "SETTLED", name)
        assert (await client.get(f"/{path}")).status == (await client.get(f"/{path}?disputeId={name}&paymentChargeId=x")).status == 400
        assert (await client.get(f"/{path}/{one['id'][:-1]}")).status == (await client.get(f"/{path}?disputeId=x")).status == 404


async def test_what_cannot_be_done_is_refused_by_name(client: Client, issuer: Issuer):
    """The form 400, the sense 422, with the field."""
    name = await issuer.says(await client.charge(), Said.TAKEN)
    for body, status, path in (
        ({}, 400, "type"), ({"type": "SURRENDER"}, 400, "type"), ({"type": "CHALLENGE", "amount": 0}, 422, "amount"),
        ({"type": "CHALLENGE", "amount": 2600}, 422, "amount"), ({"type": "ACCEPT", "amount": 5}, 422, "amount"),
        ({"type": "OFFER", "amount": 5}, 422, "type"), ({"type": "ACCEPT", "message": "x" * 2001}, 400, "message"),
    ):
        answered = await client.post(f"/disputes/{name}/actions", body)
        assert (answered.status, answered.body["extensions"]["fields"][0]["path"]) == (status, path), body
    assert (await client.post(f"/disputes/{name}/messages", {"content": ""})).status == 400
    assert (await client.post(f"/disputes/{name}/actions", {"type": "ACCEPT"})).body["status"] == "LOST"
    assert (await client.post(f"/disputes/{name}/actions", {"type": "CHALLENGE"})).status == 422
    assert (await client.post("/disputes/dispute_x/actions", {"type": "ACCEPT"})).status == 404


async def test_a_report_of_fraud_is_no_dispute_here(client: Client, issuer: Issuer):
    """Until the issuer takes the money."""
    charge = await client.charge()
    name = await issuer.says(charge, Said.REPORTED)
    assert (await client.get(f"/disputes?paymentChargeId={charge['id']}")).body["data"] == []
    assert (await client.get(f"/disputes/{name}")).status == 404
    await issuer.says(charge, Said.TAKEN)
    assert (await client.get(f"/disputes/{name}")).body["status"] == "OPEN"


async def test_funds_are_waited_for(client: Client):
    """A bare list: every capture and refund that came about, with the references of each."""
    charge = await client.charge(1000, autoCapture=False, merchantPaymentChargeReference="ORDER-2")
    capture = await client.capture(charge, 700)
    refund = await client.refund(charge, 200, merchantRefundReference="R-1")
    assert (await client.get(f"/payment-charges/{charge['id']}/funds-statuses")).body == [
        {"operationId": capture["id"], "operationType": "CAPTURE", "fundsStatus": "CAPTURE_FUNDS_WAITING",
         "merchantPaymentChargeReference": "ORDER-2"},
        {"operationId": refund["id"], "operationType": "REFUND", "fundsStatus": "REFUND_FUNDS_WAITING", "merchantRefundReference": "R-1"}]


async def test_a_report_is_made_fetched_and_forgotten(
    client: Client, issuer: Issuer, one: Process, later: Callable[[timedelta], None],
):
    """PENDING, PROCESSED with a file that needs no key, EXPIRED after its days; each told."""
    charge = await client.charge()
    name = await issuer.says(charge, Said.TAKEN)
    later(DAY)
    body = {"startDate": "2026-01-01T00:00:00Z", "endDate": "2026-01-06T00:00:00.000Z"}
    asked = (await client.post("/dispute-reports", body, key="r")).body
    assert (asked["status"], asked["startDate"], "downloadUrl" in asked) == ("PENDING", "2026-01-01T00:00:00.000Z", False)
    assert (await client.post("/dispute-reports", body, key="r")).again
    await work(client, one)
    made = (await client.get(f"/dispute-reports/{asked['id']}")).body
    assert made["status"] == "PROCESSED"
    path = made["downloadUrl"].removeprefix("https://pay.example")
    got = await client.send("GET", path, headers={"authorization": None, "merchant-id": None})
    [row] = [row for row in csv.DictReader(io.StringIO(got.body.decode())) if row["disputeId"] == name]
    assert (row["paymentChargeId"], row["amount"], row["status"], row["schemeReasonCode"]) == (charge["id"], "2599", "OPEN", "13.1")
    later(7 * DAY)
    await work(client, one)
    assert (await client.get(f"/dispute-reports/{asked['id']}")).body["status"] == "EXPIRED"
    assert (await client.send("GET", path, headers={"authorization": None})).status == 404
    number = client.service.names.read("report", asked["id"])
    told = await one.fetch("SELECT event, payload FROM dispute_events WHERE subject = $1 ORDER BY event_id", number)
    rendered = [words.report_event(client.service.names, "merch_x", "", event, payload) for event, payload in told]
    assert [one and one[0] for one in rendered] == ["REPORT_PROCESSED", "REPORT_EXPIRED"]
    assert rendered[0] is not None and rendered[0][2]["contentLength"] == len(got.body)


async def work(client: Client, one: Process) -> None:
    """Do the jobs of reports that are due."""
    for row in await one.fetch("UPDATE jobs SET tries = tries + 1 WHERE queue = 'dispute_report' AND due_at <= $1 RETURNING *", one.now()):
        await client.service.disputes.reports.run(Job(*tuple(row)[:2], *tuple(row)[2:6], *tuple(row)[6:9], row["holder"]))


async def test_wrong_reports_are_refused(client: Client):
    """More than 90 days back, not past, or backwards."""
    for start, end, path in (
        ("2025-10-01T00:00:00Z", "2026-01-01T00:00:00Z", "startDate"), ("2026-01-01T00:00:00Z", "2026-01-05T07:09:19Z", "endDate"),
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "endDate"),
    ):
        answered = await client.post("/dispute-reports", {"startDate": start, "endDate": end})
        assert (answered.status, answered.body["extensions"]["fields"][0]["path"]) == (422, path)


# --- words ----------------------------------------------------------------------------------------------------------

def test_every_state_has_its_word():
    """Statuses, phases, reasons, closings; and what happened is told, or said not to be."""
    assert words.STATUSES.keys() == set(Status) and words.PHASES.keys() == set(Phase)
    assert words.REASONS.keys() == set(Reason) and words.CLOSINGS.keys() == set(Closing)
    assert set(Happened) - words.EVENTS.keys() - words.MONEY_EVENTS.keys() == {
        Happened.FRAUD_REPORTED, Happened.OFFER_PROCESSING, Happened.OFFER_ACCEPTED, Happened.OFFER_REJECTED, Happened.MONEY_RETURNED,
        Happened.UNMATCHED}


async def test_events_have_the_envelope_of_disputes(client: Client, issuer: Issuer, one: Process):
    """Section 15.6; the chargeback itself has the ordinary one."""
    charge = await client.charge(merchantPaymentChargeReference="ORDER-1")
    name = await issuer.says(charge, Said.TAKEN)
    names = client.service.names
    taken, required = await one.fetch(
        "SELECT event_id, event, payload FROM dispute_events WHERE subject = $1 ORDER BY event_id", names.read("dispute", name))
    told = words.envelope(names, *required, NOW)
    event = names.make("event", required["event_id"])
    assert told == {
        "specversion": "0.0.1-SNAPSHOT", "id": event, "source": "", "type": "DISPUTE_ACTION_REQUIRED", "subject": name,
        "time": "2026-01-05T07:09:19.000Z", "datacontenttype": "application/json",
        "data": {"eventId": event, "disputeId": name, "paymentChargeId": charge["id"], "merchantPaymentReference": "ORDER-1"}}
    assert words.envelope(names, *taken, NOW) is None
    assert words.money_event(names, "merch_x", *taken[1:]) == ("CHARGEBACK_SUCCEEDED", charge["id"], {
        "paymentChargeId": charge["id"], "type": "CHARGEBACK_SUCCEEDED", "merchantId": "merch_x",
        "amount": {"value": 2599, "currency": "USD"}})


@pytest.mark.parametrize("body", [
    b"", b"--X-1--", b"--X-1\r\n\r\n", b"--X-1\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--X-1--",
    b"--X-1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\xff\"\r\n\r\nx\r\n--X-1--", b"--X-2\r\n\r\n--X-2--",
    b"--X-1\r\nno colon\r\n\r\nx\r\n--X-1--",
])
def test_what_is_no_upload_is_a_problem(body: bytes):
    """Never a guess, never a crash."""
    assert isinstance(file_in("multipart/form-data; boundary=X-1", body, "file"), Problem)
    assert isinstance(file_in("multipart/form-data", form()[0], "file"), Problem)


def test_an_upload_is_its_bytes():
    """Also with other parts around it, and line ends and dashes inside."""
    content = b"\r\n--X\r\n\r\n--" + PNG
    body = b"--X-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n" + form(content)[0]
    part = file_in('multipart/form-data; charset=utf-8; boundary="X-1"', body, "file")
    assert part == ("proof.png", "image/png", content)
