"""Forms with a file, as they arrive: fields first, then the file piece by piece.

Decides how many fields a form may have, how long they may be, and what a file may be called.  Holds no more than the piece at hand.
Refuses to know what fields and files mean.
"""
from __future__ import annotations

import re
from typing import NamedTuple

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

FIELDS, FIELD_BYTES, NAME_BYTES = 40, 4_096, 100
FILE_NAME = re.compile(r"[A-Za-z0-9.\-!@#$%^&()_+, ]{1,50}")


class BadForm(Exception):
    """A body that is no form of this kind; the message is a sentence."""


class Field(NamedTuple):
    """A whole field."""

    name: str
    value: str


class FileBegins(NamedTuple):
    """From here on comes the content of a file."""

    name: str
    file_name: str


class Part(NamedTuple):
    """A piece of it."""

    octets: bytes


class Ends(NamedTuple):
    """The file, or the whole form, has ended."""

    is_form: bool


Event = Field | FileBegins | Part | Ends


def boundary_of(content_type: str) -> bytes | None:
    """What separates the parts, where the body is a form of this kind."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    return boundary if kind == b"multipart/form-data" and 0 < len(boundary) <= 70 else None


class Form:
    """Takes a body in and gives its parts out."""

    def __init__(self, boundary: bytes) -> None:
        self._events: list[Event] = []
        self._fields, self._ended = 0, False
        self._header, self._value = b"", b""
        self._name, self._file_name, self._is_file = "", "", False
        self._content: bytearray = bytearray()
        try:
            self._parser = MultipartParser(boundary, {
                "on_part_begin": self._part_begins, "on_part_data": self._part_data, "on_part_end": self._part_ends,
                "on_header_field": self._header_name, "on_header_value": self._header_value, "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end, "on_end": self._form_ends,
            }, max_header_count=8, max_header_size=1_024)
        except FormParserError as error:
            raise BadForm("the boundary is too long") from error

    def feed(self, piece: bytes) -> list[Event]:
        """What this piece brings.  Raises ``BadForm``."""
        self._events = []
        try:
            self._parser.write(piece)
        except (MultipartParseError, FormParserError) as error:
            raise BadForm("the body is no form with parts") from error
        return self._events

    def close(self) -> None:
        """The body has ended.  Raises ``BadForm`` where the form has not."""
        if not self._ended:
            raise BadForm("the body ends before its form")

    def _part_begins(self) -> None:
        self._name, self._file_name, self._is_file = "", "", False
        self._header, self._value, self._content = b"", b"", bytearray()
        self._fields += 1
        if self._fields > FIELDS:
            raise BadForm("the form has too many fields")

    def _header_name(self, octets: bytes, start: int, end: int) -> None:
        self._header += octets[start:end]

    def _header_value(self, octets: bytes, start: int, end: int) -> None:
        self._value += octets[start:end]

    def _header_ends(self) -> None:
        if self._header.lower() == b"content-disposition":
            kind, options = parse_options_header(self._value)
            if kind == b"form-data":
                self._name = options.get(b"name", b"")[:NAME_BYTES].decode("utf-8", "replace")
                self._is_file = b"filename" in options
                self._file_name = options.get(b"filename", b"")[:1_024].decode("utf-8", "replace")
        elif self._header.lower() == b"content-transfer-encoding" and self._value.strip().lower() not in (b"binary", b"8bit", b"7bit"):
            raise BadForm("a part is in an encoding of its own")
        self._header, self._value = b"", b""

    def _headers_end(self) -> None:
        if not self._name:
            raise BadForm("a part has no name")
        if self._is_file:
            self._events.append(FileBegins(self._name, self._file_name))

    def _part_data(self, octets: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._events.append(Part(octets[start:end]))
            return
        self._content += octets[start:end]
        if len(self._content) > FIELD_BYTES:
            raise BadForm("a field is too long")

    def _part_ends(self) -> None:
        if self._is_file:
            self._events.append(Ends(False))
            return
        try:
            self._events.append(Field(self._name, self._content.decode("utf-8")))
        except UnicodeDecodeError as error:
            raise BadForm("a field is not UTF-8") from error

    def _form_ends(self) -> None:
        self._ended = True
        self._events.append(Ends(True))
