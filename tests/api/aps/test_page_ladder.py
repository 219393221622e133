"""The ladder as forms climb it: what the payment page serves, and that no change on the way is ever taken for the shop's word."""
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.api.aps import operations
from ringfence.api.aps.fields import CARD_FIELDS, FIELDS
from ringfence.api.aps.ladder import ApsRequest, WireError, climb
from tests.api.aps.dialogue import COMMON, CREDENTIAL, EVERY_OPERATION, NOW, SETTINGS, signed, without

PURCHASE = {
    **COMMON, "command": "PURCHASE", "merchant_reference": "ORD-1", "amount": "1000", "currency": "AED", "customer_email": "a@shop.example",
    "return_url": "https://shop.example/back?order=7",
}
TOKENIZATION = {**COMMON, "service_command": "TOKENIZATION", "merchant_reference": "ORD-1", "return_url": "https://shop.example/"}
CARD = {"card_number": "4005550000000001", "expiry_date": "3005", "card_security_code": "123", "card_holder_name": "Sara Ali", "remember_me": "YES"}


def ask(params, settings=SETTINGS):
    return climb(params, CREDENTIAL, settings, NOW, endpoint=operations.PAYMENT_PAGE)


@pytest.mark.parametrize("params", [PURCHASE, PURCHASE | {"command": "AUTHORIZATION"}, TOKENIZATION], ids=lambda params: params.get("command", "TOKENIZATION"))
def test_a_form_is_accepted(params):
    assert isinstance(ask(signed(params)), ApsRequest)


def test_a_tokenization_is_signed_without_what_the_browser_adds():
    """And its card is read, masked where it is repeated; its code never."""
    request = ask(signed(TOKENIZATION) | CARD)
    assert isinstance(request, ApsRequest)
    assert request.card.number.reveal() == CARD["card_number"] and request.security_code.reveal() == "123"
    assert request.echo["card_number"] == "400555******0001" and "card_security_code" not in request.echo


@pytest.mark.parametrize("params", [one for one in EVERY_OPERATION if (key := next(k for k in operations.KEYS if k in one))
                                    and (key, one[key]) not in operations.PAGE], ids=lambda one: next(one[k] for k in operations.KEYS if k in one))
def test_what_servers_ask_is_not_asked_by_a_browser(params):
    error = ask(signed(params))
    assert isinstance(error, WireError) and error.code == "00034"


def test_nothing_is_served_at_one_address_that_the_other_does_not_know():
    """A name is served, or refused as known; never as unknown."""
    for endpoint in (operations.PAYMENT_API, operations.PAYMENT_PAGE):
        assert endpoint.operations.keys() | endpoint.unavailable.keys() == operations.KNOWN.keys() | operations.UNAVAILABLE.keys()
        assert not endpoint.operations.keys() & endpoint.unavailable.keys()


@pytest.mark.parametrize("name", sorted(operations.REDIRECTION.forbidden))
def test_card_data_does_not_belong_into_the_form_of_a_payment(name):
    """Signed or not, it is refused, and neither number nor code is repeated."""
    error = ask(signed(PURCHASE | {name: CARD[name]}))
    assert isinstance(error, WireError) and (error.code, error.named) == ("00027", name)
    assert not {CARD["card_number"], CARD["card_security_code"]} & {*error.echo.values()}


def test_addresses_of_servers_are_not_looked_at_but_those_of_returns_are():
    listed = SETTINGS._replace(return_origins=("https://shop.example",))
    assert isinstance(ask(signed(PURCHASE), listed), ApsRequest)
    for origins in ((), ("https://other.example",)):
        error = ask(signed(PURCHASE), SETTINGS._replace(return_origins=origins))
        assert isinstance(error, WireError) and error.code == "00040"


VALUES = st.one_of(st.text(max_size=20), st.sampled_from(sorted({*PURCHASE.values(), *CARD.values(), "", "0", "https://evil.example/"})))
NAMES = st.one_of(st.sampled_from(sorted(FIELDS)), st.text(min_size=1, max_size=12))


@given(st.sampled_from([PURCHASE, TOKENIZATION]), st.dictionaries(NAMES, VALUES, max_size=4), st.sets(st.sampled_from(sorted(PURCHASE)), max_size=2))
@settings(max_examples=300)
def test_no_change_on_the_way_is_taken_for_the_shops_word(form, changes, dropped):
    """Whatever a payer does to a form, what is accepted says of all that is signed what the shop said."""
    sent = without(signed(form) | changes, *dropped)
    read = ask(sent)
    if isinstance(read, ApsRequest):
        loose = CARD_FIELDS if "service_command" in form else frozenset()
        assert {name: value for name, value in read.given.items() if name not in loose} == {name: value for name, value in form.items() if name not in loose}
    else:
        assert len(read.code) == 5 and not {"card_security_code", "signature"} & read.echo.keys()
