"""Forms: one reading only."""
from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.engine.forms import MEDIA_TYPE, decode

READ = {
    b"a=1&b=2": {"a": "1", "b": "2"},
    b"a=1+2%203": {"a": "1 2 3"},
    b"a=%C3%A9&%d8%b9=x": {"a": "é", "ع": "x"},
    b"a": {"a": ""},
    b"a=": {"a": ""},
    b"&&a=b=c&": {"a": "b=c"},
    b"": {},
    "a=é".encode(): {"a": "é"},
}
REFUSED = [
    b"a=1&a=2", b"a=1&%61=2", b"=1", b"a=%", b"a=%4", b"a=%zz", b"a=%ff", b"a=\xff", b"a=%00", b"a%00=1", b"a=%0d%0ab", b"a=%09", b"a=%7f",
    b"a=%C2%85", b"a=%E2%80%A8", b"a=%ED%A0%80", b"a=%C0%80", b"&".join(b"a%d=1" % number for number in range(201)),
]
OTHERWISE = ["", "application/json", "text/plain", "multipart/form-data; boundary=x", f"{MEDIA_TYPE}; charset=windows-1256", f"{MEDIA_TYPE}-x"]


@pytest.mark.parametrize(("body", "fields"), READ.items())
def test_a_form_is_read(body, fields):
    assert decode(body, MEDIA_TYPE) == fields
    assert decode(body, "Application/X-WWW-form-urlencoded; charset=\"UTF-8\"") == fields


@pytest.mark.parametrize("body", REFUSED)
def test_what_has_more_than_one_reading_or_none_is_refused(body):
    assert decode(body, MEDIA_TYPE) is None


@pytest.mark.parametrize("content_type", OTHERWISE)
def test_what_is_no_form_is_refused(content_type):
    assert decode(b"a=1", content_type) is None


SEEN = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\u2028\u2029"), max_size=30)


@given(st.dictionaries(SEEN.filter(bool), SEEN, max_size=20))
def test_what_a_browser_writes_is_read_as_it_was(fields):
    assert decode(urlencode(fields).encode(), MEDIA_TYPE) == fields


@given(st.binary(max_size=200))
def test_nothing_breaks_it(body):
    fields = decode(body, MEDIA_TYPE)
    assert fields is None or all(name and "\x00" not in name + value for name, value in fields.items())
