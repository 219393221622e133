"""Lines of batch files: the same rows however a file is cut into pieces, and a reason for whatever is no such file."""
from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.aps.batch_lines import BOM, FILE, HEADER, LONGEST, BadFile, Lines


def read(content: bytes, piece: int = 1 << 20) -> list[list[str]]:
    lines, rows = Lines(), []
    for start in range(0, len(content), piece):
        rows += lines.feed(content[start:start + piece])
    rows += lines.close()
    assert lines.read == len(rows)
    return rows


def refused(content: bytes, piece: int = 1 << 20) -> tuple[str, int, str]:
    with pytest.raises(BadFile) as bad:
        read(content, piece)
    return bad.value.message, bad.value.line, bad.value.reason


CELLS = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=("Cs",)), max_size=12)


@given(st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=8), st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 40), st.booleans())
def test_rows_come_out_as_they_went_in(rows, end, piece, marked):
    """Quotes, commas and other scripts, with any ends of lines, cut anywhere."""
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows([["a", "b"], *rows])
    assert read((BOM if marked else b"") + out.getvalue().encode(), piece) == [["a", "b"], *rows]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("last", [b"", b"end"])
def test_empty_lines_are_lines(end, last):
    """They count, and hold nothing; what ends without an end of line is a line all the same."""
    content = end.join([b"a,b", b"", b"c,d", b"", last])
    expected = [["a", "b"], [], ["c", "d"], [], ["end"]] if last else [["a", "b"], [], ["c", "d"], []]
    assert all(read(content, piece) == expected for piece in range(1, len(content) + 1))


HOSTILE = {
    "UTF-16": ("a,b\nc,d".encode("utf-16"), FILE, 0, "UTF-16"),
    "UTF-16 big": (b"\xfe\xff" + "a,b".encode("utf-16-be"), FILE, 0, "UTF-16"),
    "UTF-16 without a mark": ("a,b\nc,d".encode("utf-16-le"), FILE, 1, "NUL"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 50, FILE, 0, "gzip"),
    "zip": (b"PK\x03\x04" + b"\0" * 50, FILE, 0, "zip"),
    "NUL": (b"a,b\nc,d\ne\0,f\n", FILE, 3, "NUL"),
    "Latin-1": (b"a,b\nc,\xe9\n", FILE, 2, "UTF-8"),
    "half a letter": (b"a,b\nc,\xc3\n", FILE, 2, "UTF-8"),
    "an open quote": (b'a,b\n"c,d\ne,f\n', FILE, 2, "quotes"),
    "an open quote at the end": (b'a,b\nc,"d', FILE, 2, "quotes"),
    "a line break in a cell": (b'a,b\n"c\nc",d\n', FILE, 2, "quotes"),
    "a quote in the middle": (b'a,b\n"c"c,d\n', FILE, 2, "quotes"),
    "a bad header": (b'"a,b\n', HEADER, 1, "quotes"),
    "a giant cell": (b"a,b\n" + b"x" * (LONGEST + 1) + b"\n", FILE, 2, "longer"),
    "a giant header": (b"a," * LONGEST + b"\n", HEADER, 1, "longer"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("piece", [1 << 20, 7])
def test_no_such_file(what, piece):
    """Told by what it is, and by its line; never by what stands in it."""
    content, message, line, reason = HOSTILE[what]
    told = refused(content, piece)
    assert told[:2] == (message, line) and reason in told[2]


def test_no_more_is_held_than_the_beginning_of_a_line():
    """A line that never ends is refused while it comes."""
    lines = Lines()
    with pytest.raises(BadFile):
        for _ in range(100):
            lines.feed(b"x" * LONGEST)


@given(st.binary(max_size=200), st.integers(1, 30))
def test_any_octets_are_rows_or_refused(content, piece):
    """Nothing else is raised, and how they are cut makes no difference."""
    def outcome(size: int) -> object:
        try:
            return read(content, size)
        except BadFile as bad:
            return bad.message
    assert outcome(piece) == outcome(1 << 20)
