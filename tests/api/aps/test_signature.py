"""The signature: the published and computed vectors, and every reading that clients rely on."""
from __future__ import annotations

import pytest

from ringfence.api.aps import signature
from ringfence.api.aps.fields import CARD_FIELDS
from tests.api.aps.dialogue import golden

VECTORS = golden("vectors.json")
EXCHANGES = golden("exchanges.json")
PAIR = {"b": "2", "a": "1"}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_vector_has_its_signature(vector):
    """Every vector's parameters, phrase and kind give exactly its hash."""
    assert signature.sign(vector["params"], vector["phrase"], vector["sha_type"]) == vector["signature"]


def test_the_pairs_are_written_as_published():
    """Sorted by name, nothing between the pairs."""
    assert signature.join(VECTORS[0]["params"]) == VECTORS[0]["pairs"]


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_has_its_signature(name):
    """Requests under the request phrase, answers and feedback under the response phrase."""
    body = EXCHANGES[name]["body"]
    phrase = "resPhrase01" if "response_code" in body else "reqPhrase01"
    covered = {key: value for key, value in body.items() if name != "E1" or key not in CARD_FIELDS}
    assert signature.sign(covered, phrase) == body["signature"]


def test_a_tokenization_signature_leaves_the_card_fields_out():
    """The browser adds them after the shop's server has signed."""
    vector = next(vector for vector in VECTORS if vector["name"] == "V2")
    sent = {**vector["params"], **vector["also_sent"], "signature": vector["signature"]}
    assert signature.verify(sent, "PASS", "SHA-256", CARD_FIELDS)
    assert not signature.verify(sent, "PASS", "SHA-256")


@pytest.mark.parametrize("sha_type", signature.SHA_TYPES)
def test_the_right_signature_is_accepted_in_either_case_and_no_other(sha_type):
    """Upper-case hexadecimal is as good; one digit off, the empty text and other alphabets are not."""
    right = signature.sign(PAIR, "phrase", sha_type)
    for given in (right, right.upper()):
        assert signature.verify({**PAIR, "signature": given}, "phrase", sha_type)
    for given in (right[:-1] + ("0" if right[-1] != "0" else "1"), right[:-1], right + "0", "", "ʀ" * 64):
        assert not signature.verify({**PAIR, "signature": given}, "phrase", sha_type)


@pytest.mark.parametrize(("sent", "hashed"), [
    ({"a": "1", "b": ""}, {"a": "1", "b": ""}),
    ({"a": "1", "b": ""}, {"a": "1"}),
], ids=["empty values signed", "empty values left out"])
def test_empty_values_may_be_signed_or_left_out(sent, hashed):
    """Clients do both."""
    assert signature.verify({**sent, "signature": signature.sign(hashed, "phrase")}, "phrase", "SHA-256")


def test_underscores_may_sort_before_digits():
    """Some .NET runtimes sort names by culture."""
    sent = {"ship_address1": "s", "ship_address_city": "c"}
    given = signature.digest("ship_address_city=cship_address1=s", "phrase", "SHA-256")
    assert signature.matching({**sent, "signature": given}, "phrase", "SHA-256") == "ship_address_city=cship_address1=s"


def test_what_must_be_signed_cannot_be_left_out():
    """Leaving out is a privilege of the operations that name the fields."""
    sent = {"card_number": "4005550000000001", "service_command": "CREATE_TOKEN"}
    given = signature.sign({"service_command": "CREATE_TOKEN"}, "phrase")
    assert signature.verify({**sent, "signature": given}, "phrase", "SHA-256", CARD_FIELDS)
    assert not signature.verify({**sent, "signature": given}, "phrase", "SHA-256")


@pytest.mark.parametrize(("value", "text"), [
    ({"b": "1", "a": "2"}, "{b=1, a=2}"),
    (["a", "b"], "[a, b]"),
    ([{"k": "v"}, {"k": ["x", {"y": 1}]}], "[{k=v}, {k=[x, {y=1}]}]"),
    ({}, "{}"), ([], "[]"), (7, "7"), (True, "true"), (None, ""),
])
def test_a_nested_value_has_one_text(value, text):
    """Keys inside keep the order received."""
    assert signature.text(value) == text
