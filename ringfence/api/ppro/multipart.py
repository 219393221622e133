"""``multipart/form-data`` (RFC 7578), as far as one file needs it.

Parses bytes that were read whole; what is not exactly such a body is a problem, not a guess.
"""
from __future__ import annotations

import re
from typing import NamedTuple

from ringfence.api.ppro.kinds import Problem

MOST_PARTS = 20
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.I)
_NAME = re.compile(rb'(?:^|;)\s*name="([^"]*)"', re.I)
_FILE_NAME = re.compile(rb'(?:^|;)\s*filename="((?:[^"\\]|\\.)*)"', re.I)


class Part(NamedTuple):
    """One file of a form.  ``name`` is the file's own."""

    name: str
    content_type: str
    content: bytes


def file_in(content_type: str, body: bytes, field: str) -> Part | Problem:
    """The file of that field, or what is wrong."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return Problem("body", "must be multipart/form-data with a boundary")
    boundary = b"--" + (found[1] or found[2]).encode("latin-1")
    parts = (b"\r\n" + body).split(b"\r\n" + boundary, MOST_PARTS + 1)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        return Problem("body", "must end with its boundary")
    for part in parts[1:-1]:
        head, gap, content = part.lstrip(b" \t").removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = {name.strip().lower(): value.strip() for line in head.split(b"\r\n") for name, _, value in [line.partition(b":")]}
        disposition = headers.get(b"content-disposition", b"")
        named = _NAME.search(disposition)
        if not gap or named is None or named[1].decode("utf-8", "replace") != field:
            continue
        file_name = _FILE_NAME.search(disposition)
        if file_name is None:
            return Problem(field, "must be a file, with a file name")
        try:
            name = re.sub(rb"\\(.)", rb"\1", file_name[1]).decode()
        except UnicodeDecodeError:
            return Problem(field, "must have a file name in UTF-8")
        kind = headers.get(b"content-type", b"application/octet-stream").partition(b";")[0].strip().lower()
        return Part(name, kind.decode("latin-1"), content)
    return Problem(field, "required")
