"""Objects that are there before schemathesis asks: charges, disputes, agreements and the rest, so that its questions reach more than a 404."""
from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any

from tests.sandbox import Sandbox

OFTEN = 4
"""So many of each kind: some are used up by what is asked."""
_CONSUMER = {"name": "Jane Doe", "country": "US"}
_CARD = {"type": "RAW_CARD", "details": {"number": "4000009900000004", "holderName": "Jane Doe", "expiryMonth": 12, "expiryYear": 2039}}
_PENDING = "requiresAuthentication=true;authenticationType=MULTI_FACTOR"


class _Door:
    def __init__(self, sandbox: Sandbox, merchant: dict[str, str]) -> None:
        self.sandbox, self._merchant = sandbox, merchant

    def ask(self, path: str, body: Any = None, *, kind: str = "application/json") -> Any:
        headers = {
            "authorization": f"Bearer {self._merchant['api_key']}", "merchant-id": self._merchant["merchant_id"], "content-type": kind}
        with closing(HTTPConnection("127.0.0.1", self.sandbox.port, timeout=90)) as connection:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", f"/v1{path}", content, headers)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status in (200, 201, 202), said
            return json.loads(said)

    def charge(self, minor: int, **fields: Any) -> dict[str, Any]:
        return self.ask("/payment-charges", {
            "paymentMethod": "CARD", "amount": {"value": minor, "currency": "USD"}, "consumer": _CONSUMER, "instrument": _CARD, **fields})

    def file(self, dispute: str) -> str:
        form = (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n%PDF-1.7\r\n--b--\r\n')
        return self.ask(f"/disputes/{dispute}/files", form, kind="multipart/form-data; boundary=b")["id"]


def made(sandbox: Sandbox, merchant: dict[str, str]) -> dict[str, list[str]]:
    """Names by the path parameter that takes them, and by kind where a path calls all of them ``id``."""
    door, known = _Door(sandbox, merchant), dict[str, list[str]]()

    def note(name: str, value: str) -> None:
        known.setdefault(name, []).append(value)

    for number in range(OFTEN):
        open_ = door.charge(2_000_000, autoCapture=False)
        note("chargeId", open_["id"])
        note("authorizations", open_["authorizations"][0]["id"])
        note("captures", door.ask(f"/payment-charges/{open_['id']}/captures", {"amount": 500_000})["id"])
        note("refunds", door.ask(f"/payment-charges/{open_['id']}/refunds", {"amount": 1_000})["id"])
        note("voids", door.ask(f"/payment-charges/{open_['id']}/voids", {"amount": 1_000})["id"])
        mock = {"paymentMethod": "MOCK", "consumer": _CONSUMER}
        note("chargeId", door.ask("/payment-charges", {**mock, "amount": {"value": 900, "currency": "USD"}, "paymentDescriptor": _PENDING})["id"])
        note("instrumentId", door.ask("/payment-instruments", _CARD)["id"])
        note("agreementId", door.ask("/payment-agreements", {**mock, "description": "" if number % 2 else _PENDING})["id"])
        disputed = door.charge(100_000)["id"]
        assert sandbox.command("dispute", "raise", disputed, "--scenario", "0707" if number % 2 else "0701").returncode == 0
        note("paymentChargeId", disputed)
        [dispute] = door.ask(f"/disputes?paymentChargeId={disputed}")["data"]
        note("disputeId", dispute["id"])
        note("fileId", door.file(dispute["id"]))
    began = datetime.now(UTC) - timedelta(days=3)
    for _ in range(OFTEN):
        span = {"startDate": f"{began:%Y-%m-%dT%H:%M:%SZ}", "endDate": f"{began + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"}
        note("reportId", door.ask("/dispute-reports", span)["id"])
    assert sandbox.command("clock", "advance", "4d").returncode == 0        # those of 0707 are given up
    for report in known["reportId"]:
        note("file", door.ask(f"/dispute-reports/{report}")["downloadUrl"].rpartition("/")[2])
    for charge in known["paymentChargeId"]:
        for name, path in (("chargebackId", "chargebacks"), ("reversalId", "chargeback-reversals")):
            for one in door.ask(f"/{path}?paymentChargeId={charge}")["data"]:
                note(name, one["id"])
    return known
