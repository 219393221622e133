"""One signature, one meaning: what can also be read as another request is refused, and nothing else is."""
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ringfence.api.aps import signature
from ringfence.api.aps.fields import CHECKS, FIELDS
from ringfence.api.aps.wire import ApsRequest, WireError
from tests.api.aps.dialogue import CARD_PURCHASE, CREDENTIAL, TOKEN_PURCHASE, ask, read, without

SHOP = "https://shop.example/"

#: Added to a payment with a token, or with a card; the parameter that is refused, or ``None``.
CASES = [
    (TOKEN_PURCHASE, {"return_url": SHOP + "?merchant_reference=1"}, None),     # not sorted, and sent already
    (TOKEN_PURCHASE, {"return_url": SHOP + "?token_name=1"}, None),             # sent already
    (TOKEN_PURCHASE, {"return_url": SHOP + "?order=2001"}, None),
    (TOKEN_PURCHASE, {"return_url": SHOP + "?wc-api=aps&x=1"}, None),
    (TOKEN_PURCHASE, {"return_url": SHOP, "shipping_city": "Amman", "settlement_reference": "S1"}, None),
    (CARD_PURCHASE, {"return_url": SHOP + "?merchant_reference=1"}, None),
    (CARD_PURCHASE, {"return_url": SHOP + "?token_name=1"}, "return_url"),      # or an address and a token
    (CARD_PURCHASE, {"return_url": SHOP + "?", "token_name": "1"}, "return_url"),
    (CARD_PURCHASE, {"return_url": SHOP + "a", "token_name": "1"}, None),
    (CARD_PURCHASE, {"return_url": SHOP + "?a=b", "token_name": "1"}, None),
    (CARD_PURCHASE, {"return_url": SHOP + "?xtoken_name=1"}, "return_url"),     # a name may start inside a word
    (CARD_PURCHASE, {"return_url": SHOP + "?a=1&shipping_city=2"}, "return_url"),
    (CARD_PURCHASE, {"return_url": SHOP + "?order_description=1"}, None),       # before return_url in order
    (CARD_PURCHASE, {"return_url": SHOP + "?settlement_reference=a/b"}, None),  # no value of that field
    (CARD_PURCHASE, {"return_url": SHOP + "?remember_me=YES"}, None),
    (TOKEN_PURCHASE, {"return_url": SHOP + "?a=1", "sadad_olp": ""}, "return_url"),     # or an address that ends in padding
    (CARD_PURCHASE, {"device_fingerprint": "abcd==;ef="}, None),
    (CARD_PURCHASE, {"device_fingerprint": "eci="}, "device_fingerprint"),              # or two empty values
    (CARD_PURCHASE, {"device_fingerprint": "abcdeci=", "eci": "ECOMMERCE"}, None),      # that name is there already
    (CARD_PURCHASE, {"device_fingerprint": "abcd", "eci": ""}, "device_fingerprint"),
    (CARD_PURCHASE, {"cart_details": "{a=b}check_3ds=NO}"}, None),
    (TOKEN_PURCHASE, {"airline_data": "{a=b}", "billing_city": "x}"}, None),
    (TOKEN_PURCHASE, {"cart_details": "{a=b}check_3ds={c}"}, None),
    (TOKEN_PURCHASE, {"ship_address1": "s", "ship_address_city": "c"}, None),
]


@pytest.mark.parametrize(("payment", "added", "named"), CASES, ids=[repr(added) for _, added, _ in CASES])
def test_a_second_reading_is_refused_by_the_name_it_hides_in(payment, added, named):
    """00002 and the parameter; harmless look-alikes pass."""
    outcome = ask({**payment, **added})
    if named is None:
        assert isinstance(outcome, ApsRequest)
    else:
        assert (outcome.code, outcome.named) == ("00002", named)


def test_names_that_end_with_another_do_not_hide_one():
    """``new_token_name`` cannot become ``token_name`` with a longer value before it."""
    common = without(TOKEN_PURCHASE, "command", "amount", "currency", "customer_email", "customer_ip", "eci")
    assert isinstance(ask({**common, "service_command": "UPDATE_TOKEN", "new_token_name": "x"}), ApsRequest)


def test_a_query_of_an_empty_value_is_still_one_request():
    """An empty value is not another value."""
    for added in ({}, {"return_url": SHOP}, {"return_url": SHOP + "a", "shipping_city": ""}):
        assert isinstance(ask({**TOKEN_PURCHASE, "order_description": "", "sadad_olp": "", **added}), ApsRequest)


def every_split(pairs: str, least: str = "") -> Iterator[dict[str, str]]:
    """All ways to cut the pairs into known names in rising order with valid or empty values; no other rule of any operation."""
    if not pairs:
        yield {}
    for name in FIELDS:
        if name > least and pairs.startswith(f"{name}="):
            for end in range(len(name) + 1, len(pairs) + 1):
                value = pairs[len(name) + 1:end]
                if (end == len(pairs) or STARTS.match(pairs, end)) and (not value or CHECKS[name](value)):
                    for tail in every_split(pairs[end:], name):
                        yield {name: value, **tail}


STARTS = re.compile("(?:" + "|".join(map(re.escape, sorted(FIELDS, key=len, reverse=True))) + ")=")


#: What could be mistaken: addresses, padding, and names of other parameters.
PIECES = st.sampled_from([
    SHOP, SHOP, "?", "&", "#", "=", "==", "1", "a", "token_name=", "eci=", "eci=MOTO", "remember_me=YES", "return_url=", "shipping_city=",
    "settlement_reference=", "new_", "token_name", "{", "}", ";", "check_3ds=NO", "recurring_", "expiry_date=3005", "x",
])


def pieces(*words: str, most: int = 4) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), min_size=1, max_size=most).map("".join)


NAMES = ("token_name", "eci", "remember_me", "return_url", "shipping_city", "settlement_reference", "check_3ds", "new_", "recurring_")
WORDS = pieces(*NAMES, "1", "a", "YES", "NO")
ITEM = st.tuples(st.sampled_from("?&#"), WORDS, st.sampled_from(["", "=", "=1", "=YES", "=a", "=x=", "=x=="])).map("".join)
NESTED = st.tuples(st.sampled_from(["{", "["]), st.lists(PIECES, max_size=4).map("".join), st.sampled_from(["}", "]"])).map("".join)

#: Values that their field takes, made of the same: else nearly every request would be refused for its form, and nothing be compared.
SHAPED = {
    "return_url": st.tuples(st.sampled_from([SHOP, SHOP + "a", SHOP + "token_name"]), st.lists(ITEM, max_size=2).map("".join)).map("".join),
    "device_fingerprint": st.tuples(pieces(*NAMES, "1", ";", "==;", "=,"), st.sampled_from(["", "", "=", "=="])).map("".join),
    "cart_details": NESTED,
    "airline_data": NESTED,
    "token_name": WORDS,
    "shipping_city": pieces(*NAMES, SHOP, "?", "{", "}", "1"),
    "settlement_reference": pieces("S-1", "1", "token_name", "eci", "x", most=2),
    "billing_city": pieces(*NAMES, SHOP, "?", "{", "}", "1"),
    "check_3ds": st.sampled_from(["YES", "NO"]),
    "customer_name": pieces("a", "token_name", "eci", "x", most=3),
    "order_description": pieces(*NAMES, "1", "#", "$"),
    "sadad_olp": st.sampled_from(["1", "x@a.b", "token_name", "eci", "new_"]),
}
#: At most one of the added values is of no form at all, or nothing.
FREE = st.dictionaries(st.sampled_from(list(SHAPED)), st.one_of(st.just(""), st.lists(PIECES, min_size=1, max_size=5).map("".join)), max_size=1)
ADDED = st.tuples(st.lists(st.sampled_from(list(SHAPED)), max_size=4, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: SHAPED[name] for name in names})), st.one_of(st.just({}), FREE),
).map(lambda parts: {**parts[0], **parts[1]})
BASES = st.sampled_from([TOKEN_PURCHASE, CARD_PURCHASE, without(TOKEN_PURCHASE, "eci")])


@settings(max_examples=150, deadline=None)
@given(BASES, ADDED)
def test_no_two_accepted_requests_share_a_signature(payment, added):
    """Whatever is accepted, every other cut of its text is refused, the signature notwithstanding."""
    sent = {**payment, **added}
    given_signature = signature.sign(sent, CREDENTIAL.request_phrase)
    outcome = read({**sent, "signature": given_signature})
    assume(isinstance(outcome, ApsRequest))
    meant = {name: value for name, value in sent.items() if value}
    for other in every_split(signature.join(sent)):
        if {name: value for name, value in other.items() if value} != meant:
            assert isinstance(read({**other, "signature": given_signature}), WireError), other


HIDDEN = st.tuples(
    st.sampled_from(["?", "?a=1&", "?b", "#", "&"]),
    st.sampled_from(["token_name=1", "settlement_reference=S-1", "shipping_city=Amman", "shipping_street=", "sadad_olp=x", "amount=5",
                     "shipping_city=a&token_name=b", "token_name=a&b", "signature=00", "command=CAPTURE"]),
).map(lambda parts: {"return_url": SHOP + "".join(parts)})


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([CARD_PURCHASE, TOKEN_PURCHASE]), HIDDEN, st.sampled_from([{}, {"shipping_city": "Amman"}, {"remember_me": "YES"}]))
def test_an_address_is_refused_exactly_where_it_hides_another_request(payment, hidden, added):
    """Nothing is refused for this reason without another request that every other rung lets through, and nothing passes with one."""
    sent = {**payment, **hidden, **added}
    outcome = ask(sent)
    given_signature = signature.sign(sent, CREDENTIAL.request_phrase)
    readings = [other for other in every_split(signature.join(sent)) if {k: v for k, v in other.items() if v} != sent]
    others = [read({**other, "signature": given_signature}) for other in readings]
    refused = isinstance(outcome, WireError) and outcome.code == "00002"
    assert refused == any(other.code == "00002" and other.named for other in others)
    assert refused or isinstance(outcome, ApsRequest)


def test_a_hostile_request_is_judged_in_good_time():
    """Many names hidden in one value cost a polynomial, not every combination of them."""
    hidden = "&".join(f"{name}=1" for name in sorted(FIELDS) if name.startswith("shipping_"))
    for value in (SHOP + "?" + hidden, SHOP + "?" + "&".join(["token_name=1"] * 20)):
        assert ask({**CARD_PURCHASE, "return_url": value[:400]}).code == "00002"
    nested = "{" + "check_3ds=NO" * 80 + "}"
    assert isinstance(ask({**CARD_PURCHASE, "cart_details": nested}), ApsRequest)
