"""Where a browser may be sent back to: what counts as an address, as the same origin, and what is left as it was."""
from __future__ import annotations

import pytest

from ringfence.engine.return_address import may_return, origin_of, query_names, with_query

ORIGINS = {
    "https://shop.example/aps/return?order=1&wc-api=x#top": "https://shop.example",
    "https://Shop.EXAMPLE:443/": "https://shop.example",
    "HTTPS://shop.example": "https://shop.example",
    "http://shop.example:80": "http://shop.example",
    "http://127.0.0.1:18121/return": "http://127.0.0.1:18121",
    "http://[::1]:8080/x": "http://[::1]:8080",
    "https://shop.example./": "https://shop.example",
}
NONE = [
    "", "shop.example/x", "//shop.example/x", "/x", "javascript:alert(1)", "data:text/html,x", "ftp://shop.example/", "https:/shop.example",
    "https:shop.example", "https://", "https:///x", "https://user@shop.example/", "https://shop.example@evil.example/",
    "https://shop.example\\@evil.example/", "https://shop.example\\.evil.example", "https://shop.example /", "https://shop.example/\n",
    "https://shop.example\t.evil.example/", "https://shop.example:99999/", "https://shop.example:0/", "https://shop.example:x/",
    "https://-shop.example/", "https://shop%2eexample/", "https://shöp.example/", "\x00https://shop.example/", "https://[::1/", " https://shop.example/",
]


@pytest.mark.parametrize(("url", "origin"), ORIGINS.items())
def test_an_address_has_an_origin(url, origin):
    assert origin_of(url) == origin


@pytest.mark.parametrize("url", NONE)
def test_what_is_no_address_of_a_page_has_none(url):
    assert origin_of(url) is None
    assert not may_return(url, (), is_live=False)
    assert not may_return(url, ("https://shop.example",), is_live=True)


@pytest.mark.parametrize(("url", "origins", "in_sandbox", "in_live"), [
    ("https://shop.example/x", (), True, False),
    ("https://shop.example/x", ("https://shop.example",), True, True),
    ("https://shop.example:443/x", ("https://SHOP.example",), True, True),
    ("https://shop.example/x", ("https://other.example", "https://shop.example"), True, True),
    ("http://shop.example/x", ("https://shop.example",), False, False),
    ("https://shop.example:8443/x", ("https://shop.example",), False, False),
    ("https://shop.example.evil.example/x", ("https://shop.example",), False, False),
    ("https://evil.example/https://shop.example", ("https://shop.example",), False, False),
    ("https://sub.shop.example/x", ("https://shop.example",), False, False),
])
def test_a_list_allows_its_origins_and_no_list_all_of_a_sandbox_and_none_of_live(url, origins, in_sandbox, in_live):
    assert may_return(url, origins, is_live=False) is in_sandbox
    assert may_return(url, origins, is_live=True) is in_live


@pytest.mark.parametrize(("url", "whole"), [
    ("https://shop.example/x", "https://shop.example/x?a=1&b=2+%26"),
    ("https://shop.example/x?wc-api=y%20z", "https://shop.example/x?wc-api=y%20z&a=1&b=2+%26"),
    ("https://shop.example/x?", "https://shop.example/x?a=1&b=2+%26"),
    ("https://shop.example/x?y&", "https://shop.example/x?y&a=1&b=2+%26"),
    ("https://shop.example/x#f?g", "https://shop.example/x?a=1&b=2+%26#f?g"),
])
def test_fields_go_behind_the_query_that_was_there(url, whole):
    assert with_query(url, {"a": "1", "b": "2 &"}) == whole


def test_the_names_of_a_query():
    assert query_names("https://shop.example/x?a=1&b&c==&#d=1") == {"a", "b", "c"}
    assert query_names("https://shop.example/x#?a=1") == frozenset()
