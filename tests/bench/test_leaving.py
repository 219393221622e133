"""The benchmark of shoppers who leave at once: what is sent, which answers count, and a small crowd at a real service."""
from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from ringfence.bench.leaving import Key, Left, answer_in, charge, fault_in

KEY = Key("Shop", "AKIDBENCH", "bench-secret-not-real", "us-east-1")
AT = datetime(2026, 1, 15, 12, tzinfo=UTC)


def test_a_request_is_signed_as_an_aws_library_signs(monkeypatch: pytest.MonkeyPatch):
    head, _, body = charge(KEY, "127.0.0.1:8080", "/v1/adjust/charge", "T-1", 6410, AT).partition(b"\r\n\r\n")
    assert json.loads(body) == {"storeId": "STORE-001", "shoppingTripId": "T-1", "amount": {"amount": 64.1, "code": "USD"}}
    told = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert told["Content-Length"] == str(len(body))
    asked = AWSRequest("POST", "http://127.0.0.1:8080/v1/adjust/charge", data=body, headers={"Content-Type": "application/json"})
    signer = SigV4Auth(Credentials(KEY.access_key_id, KEY.secret), "execute-api", KEY.region)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: AT.replace(tzinfo=None))
    signer.add_auth(asked)
    assert asked.headers["X-Amz-Date"] == told["X-Amz-Date"] and asked.headers["Authorization"] == told["Authorization"]
    assert "bench-secret" not in repr(KEY)


@pytest.mark.parametrize(("what", "status", "body", "wrong"), [
    ("adjust", 200, b'{"status":"APPROVED","authorizedAmount":{"amount":64.10,"code":"USD"}}', False),
    ("adjust", 200, b'{"status":"APPROVED","authorizedAmount":{"amount":64.11,"code":"USD"}}', True),
    ("adjust", 200, b'{"status":"PENDING","authorizedAmount":{"amount":64.10,"code":"USD"}}', True),
    ("adjust", 429, b"{}", True), ("capture", 200, b"", False), ("capture", 200, b"{}", True), ("capture", 503, b"", True)])
def test_which_answers_count(what: str, status: int, body: bytes, wrong: bool):
    assert bool(fault_in(what, status, body, 6410)) == wrong


def test_an_answer_is_read_when_it_is_there():
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    assert [answer_in(whole[:end]) for end in (10, 30, len(whole) - 1)] == [None] * 3 and answer_in(whole) == (200, b"{}")
    assert answer_in(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") == (503, b"")


def test_a_second_is_the_limit():
    good = Left(1, 0.05, [0.2], [0.3], 0.1, (0.001, 0.001), [])
    assert good.passed and good.as_json()["passed"]
    assert not good._replace(captures=[1.01]).passed and not good._replace(captures=[]).passed and not good._replace(faults=["x"]).passed


@pytest.mark.wide
def test_a_small_crowd_at_a_real_service():
    """Everybody is charged once, and the proof agrees; how fast says more about the machine."""
    ended = subprocess.run([sys.executable, "-m", "ringfence.cli", "bench", "jwo", "--shoppers", "12", "--json"], capture_output=True, text=True)
    found = json.loads(ended.stdout)
    assert found["shoppers"] == 12 and found["adjust_ms"]["max"] > 0 and found["capture_ms"]["max"] > 0, ended.stderr + ended.stdout
    assert [one for one in found["faults"] if "longer than" not in one and "sent within" not in one] == []
    assert ended.returncode == (0 if found["passed"] else 1)
