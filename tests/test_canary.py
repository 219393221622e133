"""The search for planted secrets finds each shape in which one gets out, and nothing in what may be there."""
from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from tests.canary import Secrets, find_secrets

NUMBER, CODE, SIGNATURE = "4005550000000001", "739", hashlib.sha256(b"a request").hexdigest()
SECRETS = Secrets(frozenset({NUMBER, "374200000000004"}), frozenset({CODE, "8642"}), frozenset({SIGNATURE}))

PLANTED = {
    "clear": NUMBER.encode(),
    "in a JSON text": b'{"card_number":"' + NUMBER.encode() + b'"}',
    "grouped": b"4005 5500 0000 0001",
    "with dashes": b"4005-5500-0000-0001",
    "hexadecimal, as a server logs bytea": rb"\x" + NUMBER.encode().hex().encode(),
    "packed decimal": bytes.fromhex(NUMBER),
    "packed decimal of 15 digits": bytes.fromhex("0374200000000004"),
    "UTF-16": NUMBER.encode("utf-16-le"),
    "base64": base64.b64encode(NUMBER.encode()),
    "base64 inside a text": base64.b64encode(b"=" + NUMBER.encode() + b" and more"),
    "base64 inside a text, shifted": base64.b64encode(b"==" + NUMBER.encode() + b" and more"),
    "SHA-256, raw": hashlib.sha256(NUMBER.encode()).digest(),
    "SHA-256": hashlib.sha256(NUMBER.encode()).hexdigest().encode(),
    "SHA-1, upper case": hashlib.sha1(NUMBER.encode()).hexdigest().upper().encode(),
    "MD5": hashlib.md5(NUMBER.encode()).hexdigest().encode(),
    "SHA-512 in base64": base64.b64encode(hashlib.sha512(NUMBER.encode()).digest()),
    "code in JSON": b'"card_security_code":"739"',
    "code in escaped JSON": rb'{\"card_security_code\": \"739\"}',
    "code in a form": b"amount=1000&card_security_code=8642&language=en",
    "code in a Python repr": b"{'cvv': '739'}",
    "code by another name": b"cvv2: 739",
    "code beside its number": b"4005550000000001|2912|739|",
    "signature": b'"signature": "' + SIGNATURE.encode() + b'"',
    "signature, upper case": SIGNATURE.upper().encode(),
    "signature, raw": bytes.fromhex(SIGNATURE),
}

HARMLESS = {
    "masked": b"400555******0001",
    "three digits": b'"response_code":"739", "amount":"739", in 739 ms',
    "a longer number after a field": b'"card_security_code":"73911"',
    "a keyed hash": hashlib.blake2b(NUMBER.encode(), key=b"k").digest(),
    "nothing": b"",
}


@pytest.mark.parametrize("shape", PLANTED)
def test_each_shape_is_found_wherever_it_lies(tmp_path: Path, shape: str):
    """A file with other bytes around the secret, deep in a folder, is named."""
    file = tmp_path / "base" / "1" / "16384"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(8192) + b"row " + PLANTED[shape] + b" more" + bytes(8192))
    found = find_secrets([tmp_path], SECRETS)
    assert found and {path for path, _ in found} == {file}
    assert not any(secret in what for _, what in found for secret in (NUMBER, SIGNATURE)), "the report does not repeat the secret"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_may_be_written_is_not_reported(tmp_path: Path, text: str):
    """Masked numbers, keyed hashes and bare digits are no finding."""
    file = tmp_path / "log"
    file.write_bytes(HARMLESS[text])
    assert find_secrets([file], SECRETS) == []


@pytest.mark.parametrize("before", [(1 << 20) - 8, (1 << 20) - 600, 9 << 20])
def test_a_secret_across_the_pieces_of_a_large_file_is_found(tmp_path: Path, before: int):
    """Files are read in pieces; what lies on their border is in one of them."""
    file = tmp_path / "wal"
    file.write_bytes(bytes(before) + NUMBER.encode() + bytes(1 << 20))
    assert find_secrets([file], SECRETS) == [(file, "card number …0001 in clear")]


def test_a_code_far_from_any_context_is_not_reported(tmp_path: Path):
    """A code is only one where something shows it: its number stands too far away here."""
    file = tmp_path / "log"
    file.write_bytes(NUMBER[:-1].encode() + b"9" + b" 739")
    assert find_secrets([file], SECRETS) == []
