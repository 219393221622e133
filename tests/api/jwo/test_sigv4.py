"""AWS Signature Version 4, held against the printed vectors and against botocore's own signer."""
from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.jwo import sigv4
from ringfence.api.jwo.sigv4 import Asked, Claim, Fault, Flaw
from tests.api.jwo.signing import AT, BODY, HOST, KEY, REGION, SECRET, changed, signed

REGIONS = frozenset({REGION})
URL = f"https://{HOST}/v1/adjust/charge"


def judged(asked: Asked, body: bytes = BODY, *, secret: str = SECRET, now: datetime = AT, regions: frozenset[str] = REGIONS) -> Fault | None:
    """What the whole check finds, as the door makes it."""
    claim = sigv4.read_claim(asked.headers)
    if isinstance(claim, Flaw):
        return claim.fault
    flaw = sigv4.flaw_of(claim, asked, regions, now)
    if flaw is None:
        flaw = sigv4.mismatch(claim, asked, body, sigv4.signing_key(secret, claim.day, claim.region))
    return flaw and flaw.fault


def claimed(asked: Asked) -> Claim:
    claim = sigv4.read_claim(asked.headers)
    assert isinstance(claim, Claim)
    return claim


# ---------------------------------------------------------------------------------------------------------- vectors

def vector(host: str = HOST, token: str = "") -> Asked:
    headers = [(b"host", host.encode()), (b"content-type", b"application/json"), (b"x-amz-date", b"20260115T120000Z")]
    return Asked("POST", b"/v1/adjust/charge", b"", headers + ([(b"x-amz-security-token", token.encode())] if token else []))


def test_the_steps_of_the_printed_vector():
    digest = hashlib.sha256(BODY).hexdigest()
    assert len(BODY) == 118
    assert digest == "838b5bf843b962151df5ea5059d10cd3aafece7c409760e713a2d14bba9655ae"
    canonical = sigv4.canonical_request(vector(), (b"content-type", b"host", b"x-amz-date"), digest)
    assert hashlib.sha256(canonical).hexdigest() == "9d8916c7dedb52100247d102002044341a07c2be3229dd0f80a9223bacf0cae2"
    assert sigv4.signing_key(SECRET, "20260115", REGION).hex() == "661667e98b3313af92d09f8821db94287d382bd1ff4872f7bc54b6f6009f9505"


@pytest.mark.parametrize(("host", "token", "expected"), [
    (HOST, "", "b76a582fdcf65de8706b2d54bd3ebd874f4957a590d24b25683df4f1e34db1ad"),
    (HOST, "SESSIONTOKEN", "a294a166f71ccb3127cd43aa57e2205d1ec2d626ee5ea7f37e9d35cbd6498886"),
    ("localhost:8080", "", "dbd11f5c71a7ce0aa900fc6455fefc9077d0379e96731e8eeac82507c32e5de1"),
])
def test_the_printed_signatures_fit(host, token, expected):
    names = "content-type;host;x-amz-date" + (";x-amz-security-token" if token else "")
    asked = vector(host, token)
    given = f"AWS4-HMAC-SHA256 Credential={KEY}/20260115/{REGION}/execute-api/aws4_request, SignedHeaders={names}, Signature={{}}"
    assert judged(changed(asked, authorization=given.format(expected))) is None
    wrong = ("0" if expected[0] != "0" else "1") + expected[1:]
    assert judged(changed(asked, authorization=given.format(wrong))) is Fault.MISMATCH


def test_commas_without_spaces_are_read_alike():
    asked, _ = signed(URL)
    text = dict(asked.headers)[b"authorization"].decode()
    assert judged(changed(asked, authorization=text.replace(", ", ","))) is None


# ---------------------------------------------------------------------------------------------------------- botocore's signer

plain = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
parts = st.text(st.sampled_from("abcXYZ019-._~%:@+!$&'()*,;= "), max_size=12)
instants = st.integers(946_684_800, 4_102_444_000).map(lambda second: datetime.fromtimestamp(second, UTC))


@given(body=st.binary(max_size=300), at=instants, secret=plain, token=st.none() | plain, host=st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z]{2,5})?(:[1-9][0-9]{3})?", fullmatch=True))
def test_what_botocore_signs_fits_and_nothing_else_does(body, at, secret, token, host):
    asked, _ = signed(f"https://{host}/v1/capture/charge", body, at=at, secret=secret, token=token)
    assert judged(asked, body, secret=secret, now=at) is None
    assert judged(asked, body + b" ", secret=secret, now=at) is Fault.MISMATCH
    assert judged(asked, body, secret=secret + "x", now=at) is Fault.MISMATCH
    assert judged(asked._replace(path=b"/v1/cancel/charge"), body, secret=secret, now=at) is Fault.MISMATCH
    assert judged(asked._replace(method="PUT"), body, secret=secret, now=at) is Fault.MISMATCH
    assert judged(changed(asked, host=host + "0"), body, secret=secret, now=at) is Fault.MISMATCH
    assert judged(changed(asked, content_type="text/plain"), body, secret=secret, now=at) is Fault.MISMATCH


@given(path=st.lists(parts, min_size=1, max_size=5), query=st.dictionaries(parts.filter(bool), parts, max_size=4))
def test_paths_and_queries_are_read_as_botocore_writes_them(path, query):
    from urllib.parse import quote
    asked, body = signed("https://pay.example/" + "/".join(quote(part) for part in path), params=query)
    assert judged(asked, body) is None


@given(extra=st.lists(st.tuples(st.sampled_from(["X-Amz-Meta-A", "X-Amz-Meta-B", "Accept", "X-Shop"]), values), max_size=5))
def test_headers_are_folded_and_joined_as_botocore_does(extra):
    asked, body = signed(URL, headers=extra)
    assert judged(asked, body) is None


def test_a_repeated_header_is_joined_in_its_order():
    asked, body = signed(URL, headers=[("X-Amz-Meta-A", "one   two"), ("X-Amz-Meta-A", " three ")])
    assert judged(asked, body) is None
    turned = asked._replace(headers=list(reversed(asked.headers)))
    assert judged(turned, body) is Fault.MISMATCH


@given(at=instants)
def test_a_date_header_stands_in_for_x_amz_date(at):
    asked, body = signed(URL, at=at, headers=[("Date", "now")])
    assert b"x-amz-date" not in dict(asked.headers)
    assert judged(asked, body, now=at) is None
    assert judged(asked, body, now=at + timedelta(minutes=6)) in (Fault.TIME, Fault.SCOPE)


@given(body=st.binary(max_size=100), at=instants, secret=plain)
def test_what_we_sign_for_others_is_what_botocore_signs(body, at, secret):
    made = sigv4.sign("POST", "/prod/v1/order/purchases?a=b", {"host": "shop.example", "Content-Type": "application/json"}, body,
                      access_key_id=KEY, secret=secret, region="eu-west-1", at=at)
    theirs, _ = signed("https://shop.example/prod/v1/order/purchases?a=b", body, at=at, secret=secret, region="eu-west-1",
                       headers=[("X-Amz-Content-SHA256", hashlib.sha256(body).hexdigest())])
    assert made["authorization"] == dict(theirs.headers)[b"authorization"].decode()


# ---------------------------------------------------------------------------------------------------------- what is refused

@pytest.mark.parametrize(("said", "fault"), [
    (None, Fault.MISSING),
    ("", Fault.MISSING),
    ("Bearer key_sandbox_one", Fault.MISSING),
    ("AWS3-HTTPS x", Fault.MISSING),
    ("AWS4-HMAC-SHA256", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 ", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256Credential=A/20260115/us-east-1/execute-api/aws4_request", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {H}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {H}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {C}, {H}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {H}, {S}, Extra=1", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C} {H} {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 Credential=A/20260115/us-east-1/execute-api, {H}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 Credential=/20260115/us-east-1/execute-api/aws4_request, {H}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 Credential=A/2026-1-15/us-east-1/execute-api/aws4_request, {H}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 Credential=A/20260115/us-east-1/execute-api/aws5_request, {H}, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {H}, Signature=abc", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {H}, Signature=" + "A" * 64, Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=host;host, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=Host, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=host;;x, {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=" + ";".join(f"h{n}" for n in range(65)) + ", {S}", Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {H}, {S}" + " " * 5_000, Fault.INCOMPLETE),
    ("AWS4-HMAC-SHA256 {C}, {H}, {S}", Fault.MISMATCH),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=host, {S}", Fault.UNSIGNED),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=x-amz-date, {S}", Fault.UNSIGNED),
    ("AWS4-HMAC-SHA256 {C}, SignedHeaders=host;x-amz-date;not-there, {S}", Fault.UNSIGNED),
    ("AWS4-HMAC-SHA256 Credential=A/20260115/eu-west-1/execute-api/aws4_request, {H}, {S}", Fault.SCOPE),
    ("AWS4-HMAC-SHA256 Credential=A/20260115/us-east-1/s3/aws4_request, {H}, {S}", Fault.SCOPE),
    ("AWS4-HMAC-SHA256 Credential=A/20260114/us-east-1/execute-api/aws4_request, {H}, {S}", Fault.SCOPE),
])
def test_an_authorization_that_does_not_do(said, fault):
    text = said and said.replace("{C}", f"Credential={KEY}/20260115/{REGION}/execute-api/aws4_request").replace(
        "{H}", "SignedHeaders=content-type;host;x-amz-date").replace("{S}", f"Signature={'0' * 64}")
    assert judged(changed(vector(), authorization=text)) is fault


def test_two_authorizations_are_none():
    asked, _ = signed(URL)
    twice = asked._replace(headers=[*asked.headers, (b"authorization", dict(asked.headers)[b"authorization"])])
    assert judged(twice) is Fault.INCOMPLETE


@pytest.mark.parametrize(("minutes", "seconds", "fault"), [(5, 0, None), (5, 1, Fault.TIME), (-5, 0, None), (-5, -1, Fault.TIME)])
def test_five_minutes_either_way(minutes, seconds, fault):
    asked, _ = signed(URL)
    assert judged(asked, now=AT + timedelta(minutes=minutes, seconds=seconds)) is fault


@pytest.mark.parametrize("stamp", ["", "now", "2026-01-15T12:00:00Z", "20260115T120000", "20260115T250000Z", "20261315T120000Z", "٢٠260115T120000Z"])
def test_a_date_that_is_none(stamp):
    asked, _ = signed(URL)
    assert judged(asked._replace(headers=[(name, stamp.encode() if name == b"x-amz-date" else value) for name, value in asked.headers])) is Fault.INCOMPLETE


def test_a_date_that_is_repeated_or_missing():
    asked, _ = signed(URL)
    assert judged(asked._replace(headers=[*asked.headers, (b"x-amz-date", b"20260115T120000Z")])) is Fault.INCOMPLETE
    assert judged(changed(asked, x_amz_date=None)) is Fault.INCOMPLETE
    assert judged(changed(asked, x_amz_date=None, date="yesterday")) is Fault.INCOMPLETE


@pytest.mark.parametrize("text", [
    "20260115T120000Z", "Thu, 15 Jan 2026 12:00:00 GMT", format_datetime(AT.astimezone(timezone(timedelta(hours=3))))])
def test_forms_of_a_date_header(text):
    assert sigv4.stamp_of([(b"date", text.encode())]) == "20260115T120000Z"


def test_an_amz_header_that_came_on_the_way_is_refused():
    asked, _ = signed(URL)
    assert judged(changed(asked, x_amz_security_token="slipped in")) is Fault.UNSIGNED
    assert judged(changed(asked, x_amzn_trace_id="Root=1-2")) is None


@pytest.mark.parametrize("digest", ["UNSIGNED-PAYLOAD", "0" * 64, hashlib.sha256(BODY).hexdigest().upper(), ""])
def test_a_hash_of_another_body_is_refused_although_it_is_signed(digest):
    headers = {"host": HOST, "x-amz-content-sha256": digest, "x-amz-date": "20260115T120000Z"}
    asked = Asked("POST", b"/v1/adjust/charge", b"", [(name.encode(), value.encode()) for name, value in headers.items()])
    canonical = sigv4.canonical_request(asked, sorted(name.encode() for name in headers), digest)
    scope = f"20260115/{REGION}/execute-api/aws4_request"
    made = sigv4.signature(sigv4.signing_key(SECRET, "20260115", REGION), "20260115T120000Z", scope, canonical)
    said = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={';'.join(sorted(headers))}, Signature={made}"
    assert judged(changed(asked, authorization=said)) is Fault.MISMATCH


@given(st.binary(max_size=200))
def test_no_authorization_breaks_the_reading(noise):
    found = sigv4.read_claim([(b"authorization", b"AWS4-HMAC-SHA256 " + noise)])
    assert isinstance(found, Flaw | Claim)


@given(st.lists(st.tuples(st.sampled_from([b"host", b"x-amz-date", b"date", b"x-shop", b"x-amz-content-sha256"]), st.binary(max_size=30)), max_size=6),
       st.binary(max_size=40), st.binary(max_size=40))
def test_no_request_breaks_the_judging(headers, path, query):
    said = f"AWS4-HMAC-SHA256 Credential=A/20260115/{REGION}/execute-api/aws4_request,SignedHeaders=host,Signature={'0' * 64}".encode()
    assert judged(Asked("POST", path, query, [*headers, (b"authorization", said)])) is not None


def test_nothing_secret_prints():
    claim = claimed(signed(URL)[0])
    assert claim.signature not in repr(claim) and claim.signature not in str(claim)
