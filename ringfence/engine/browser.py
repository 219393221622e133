"""Where a payer's browser goes next: the two values that doors give and pages carry out.

Decides nothing; who may be returned to is judged before a value of these is made.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Return(NamedTuple):
    """The browser leaves for the merchant's address with fields that are signed already.

    ``url`` is exactly as the merchant gave it; ``method`` is ``POST`` (a form that submits itself) or ``GET`` (appended to the query);
    ``language`` (``en``, ``ar``) is that of the page in between.
    """

    url: str
    method: str
    fields: Mapping[str, str]
    language: str


class Goto(NamedTuple):
    """The browser goes on inside: 303 to a path of our own origin."""

    path: str


Way = Return | Goto


class Told(NamedTuple):
    """A page of ours says what is wrong with a form, because nobody else can be told.  ``message`` is in the door's own words."""

    code: str
    message: str
    language: str
    reference: str


class Entered(NamedTuple):
    """Where a form that a shop sent leads, and whose pages may frame what is shown there."""

    way: Way | Told
    framed_by: tuple[str, ...] = ()
