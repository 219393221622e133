"""The signature explainer: each mistake that clients make is named, and nothing secret is shown."""
from __future__ import annotations

import hashlib
from urllib.parse import quote_plus

import pytest

from ringfence.api.aps import signature
from ringfence.api.aps.explain import RIGHT, UNEXPLAINED, explain
from tests.api.aps.dialogue import CARD_PURCHASE, CREATE_TOKEN, CREDENTIAL, TOKEN_PURCHASE, signed, without

REQUEST, RESPONSE = CREDENTIAL.request_phrase, CREDENTIAL.response_phrase
SENT = {**TOKEN_PURCHASE, "customer_name": "عمر", "order_description": "two cups ", "merchant_extra": "x", "merchant_extra1": "y",
        "ship_address1": "s", "ship_address_city": "c", "billing_stateProvince": "Amman", "billing_street": "5",
        "Invoice_id": "7"}
PAIRS = sorted(SENT.items())


def joined(pairs) -> str:
    return "".join(f"{name}={value}" for name, value in pairs)


def sha(text: str, encoding: str = "utf-8") -> str:
    return hashlib.sha256(text.encode(encoding, "replace")).hexdigest()


def wrapped(pairs) -> str:
    return sha(f"{REQUEST}{joined(pairs)}{REQUEST}")


PLAIN = joined(PAIRS)
#: The signature that a client made, and words of the diagnosis.
MISTAKES = {
    "response phrase": (signature.sign(SENT, RESPONSE), "response phrase"),
    "SHA-512": (signature.sign(SENT, REQUEST, "SHA-512"), "SHA-512, but the account says SHA-256"),
    "HMAC-256": (signature.sign(SENT, REQUEST, "HMAC-256"), "HMAC-256"),
    "unsorted": (wrapped(SENT.items()), "not sorted"),
    "finished pairs": (sha(REQUEST + "".join(sorted(f"{n}={v}" for n, v in PAIRS)) + REQUEST), "finished pairs"),
    "lower-cased names": (wrapped(sorted(PAIRS, key=lambda pair: pair[0].lower())), "lower-cased"),
    "upper case": (sha(REQUEST + PLAIN.upper() + REQUEST), "upper case"),
    "lower case": (sha(REQUEST + PLAIN.lower() + REQUEST), "lower case"),
    "ISO-8859-1": (sha(REQUEST + PLAIN + REQUEST, "iso-8859-1"), "ISO-8859-1"),
    "windows-1256": (sha(REQUEST + PLAIN + REQUEST, "windows-1256"), "WINDOWS-1256"),
    "phrase before": (sha(REQUEST + PLAIN), "only before"),
    "phrase after": (sha(PLAIN + REQUEST), "only after"),
    "no phrase": (sha(PLAIN), "no phrase"),
    "URL-encoded": (wrapped([(n, quote_plus(v)) for n, v in PAIRS]), "URL-encoded"),
    "separators": (sha(REQUEST + "&".join(f"{n}={v}" for n, v in PAIRS) + REQUEST), "joined with &"),
    "trimmed": (wrapped([(n, v.strip()) for n, v in PAIRS]), "spaces around"),
    "extra parameter": (signature.sign(without(SENT, "merchant_extra"), REQUEST), "merchant_extra was sent but not signed"),
    "empty value": (signature.sign({**SENT, "phone_number": ""}, REQUEST), "phone_number was signed as an empty value but not sent"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named(name):
    """One sentence, about that mistake."""
    given, words = MISTAKES[name]
    explained = explain({**SENT, "signature": given}, CREDENTIAL)
    assert not explained.right
    assert len(explained.diagnosis) == 1 and words in explained.diagnosis[0]
    assert explained.expected == signature.sign(SENT, REQUEST)


def test_two_mistakes_are_both_named():
    """The wrong phrase and the wrong kind of hash."""
    explained = explain({**SENT, "signature": signature.sign(SENT, RESPONSE, "SHA-512")}, CREDENTIAL)
    assert len(explained.diagnosis) == 2
    assert "response phrase" in explained.diagnosis[0] and "SHA-512" in explained.diagnosis[1]


def test_card_fields_left_out_are_named():
    """A server-to-server payment signs them."""
    given = signature.sign(without(CARD_PURCHASE, "card_number", "expiry_date", "card_security_code"), REQUEST)
    explained = explain({**CARD_PURCHASE, "signature": given}, CREDENTIAL)
    assert "card fields (card_number, card_security_code, expiry_date) were left out" in explained.diagnosis[0]


def test_card_fields_may_be_left_out_where_clients_do():
    """CREATE_TOKEN is right either way."""
    given = signature.sign(without(CREATE_TOKEN, "card_number", "expiry_date"), REQUEST)
    assert explain({**CREATE_TOKEN, "signature": given}, CREDENTIAL).right


def test_card_fields_signed_in_a_tokenization_are_named():
    """The browser's fields are no part of that signature, so only the shop's server's are hashed."""
    sent = {**without(CREATE_TOKEN, "service_command"), "service_command": "TOKENIZATION"}
    assert explain({**sent, "signature": signature.sign(without(sent, "card_number", "expiry_date"), REQUEST)}, CREDENTIAL).right


@pytest.mark.parametrize(("given", "right", "words"), [
    (signed(SENT)["signature"], True, RIGHT),
    (signed(SENT)["signature"].upper(), True, "upper case, which is accepted"),
    ("", False, "no signature was sent"),
    ("ab" * 32, False, UNEXPLAINED),
    ("abc", False, "3 characters"),
    ("zz" * 32, False, "not hexadecimal"),
])
def test_remarks_about_the_hash_itself(given, right, words):
    """Right, missing, cut short, or beyond explaining."""
    explained = explain({**SENT, "signature": given}, CREDENTIAL)
    assert explained.right == right
    assert any(words in sentence for sentence in explained.diagnosis)


def test_the_text_is_shown_with_the_phrase_masked():
    """For a request without card data the hashes are shown too."""
    lines = explain({**TOKEN_PURCHASE, "signature": "ab" * 32}, CREDENTIAL).lines()
    assert lines[0].startswith("signed text: <phrase>access_code=zx0IPmPy5jp1vAz8Kpg7amount=25500")
    assert lines[0].endswith("token_name=T0ken_1<phrase>")
    assert lines[2] == f"expected:    {signed(TOKEN_PURCHASE)['signature']}"
    assert REQUEST not in "\n".join(lines) and RESPONSE not in "\n".join(lines)


def test_card_data_is_masked_and_no_hash_of_it_is_shown():
    """With the phrase known, a hash over a card number can be searched back to the number."""
    sent = signed({**CARD_PURCHASE, "card_number": "4005550000000001"})
    shown = "\n".join(explain(sent, CREDENTIAL).lines())
    assert "card_number=400555******0001" in shown and "card_security_code=***" in shown
    assert sent["signature"] not in shown and "4005550000000001" not in shown


@pytest.mark.parametrize(("name", "value"), [
    ("cardNumber", "4005550000000001"), ("cvv", "739"), ("PAN", "4005 5500 0000 0001"), ("customer_name", "4005550000000001"),
    ("order_description", "paid with 4005-5500-0000-0001"),
])
def test_card_data_in_the_wrong_place_is_masked_too(name, value):
    """Under a name of the client's own, or in a field for something else; and then no hash is shown either."""
    sent = signed({**TOKEN_PURCHASE, name: value})
    shown = "\n".join(explain(sent, CREDENTIAL).lines())
    assert f"{name}=***" in shown and value not in shown and sent["signature"] not in shown
