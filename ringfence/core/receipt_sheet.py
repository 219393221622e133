"""A receipt as it is read: one sheet of rows in English or Arabic, from which text, page and paper are made alike.

Pure.  Decides which rows there are, their order and their words, so that no form of a receipt says more or less than another.  Also writes the
sheet as plain text in columns.
"""
from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ringfence.core.cart import HUNDRED, Line, Part
from ringfence.core.money import format_decimal, format_minor
from ringfence.core.receipt import Kind, Receipt
from ringfence.core.receipt_words import TEXTS, words

COLUMNS = 42
"""Width of a receipt's text: what paper of 80 mm takes."""


class Row(NamedTuple):
    """A name and a value; ``notes`` stand below it, smaller.  ``strong``: what one looks for first."""

    label: str
    value: str
    notes: tuple[Row, ...] = ()
    strong: bool = False


class Section(NamedTuple):
    """Rows that belong together; ``name`` for whoever writes a page: facts, items, totals, card, chip."""

    name: str
    rows: tuple[Row, ...]


class Sheet(NamedTuple):
    """A receipt in words.  ``head``: merchant, store and address; ``title``: sale, refund or neither; ``status``: how it ended."""

    language: str
    head: tuple[str, ...]
    title: str
    status: str
    sections: tuple[Section, ...]
    foot: tuple[str, ...]


def sheet(receipt: Receipt, language: str = "en", *, is_test: bool = False) -> Sheet:
    """The receipt in ``en`` or ``ar``.  ``is_test``: no money moved."""
    store = receipt.store
    sections = (Section("facts", _facts(receipt, language)), Section("items", tuple(_items(receipt, language))),
                Section("totals", tuple(_totals(receipt, language))), Section("card", tuple(_card(receipt, language))),
                Section("chip", tuple(_chip(receipt, language))))
    foot = [words("owed_said", language)] * bool(receipt.outstanding) + [words("test_mode", language)] * is_test + [words("copy", language)]
    return Sheet(
        language, tuple(filter(None, (store.merchant, store.name, *store.address))), words(receipt.kind, language), _status(receipt, language),
        tuple(one for one in sections if one.rows), tuple(foot))


def local(at: datetime, zone: str) -> str:
    """An instant by the store's clock, with the name of its hours."""
    return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M %Z}"


def _status(receipt: Receipt, language: str) -> str:
    """Whoever was charged in part is told so: what was asked for was not approved."""
    match receipt.kind:
        case Kind.SALE:
            return words("part_charged" if receipt.outstanding else "approved", language)
        case Kind.REFUND:
            return words("refunded", language)
        case _:
            return words("declined" if receipt.card.response_code else "nothing_charged", language)


def _facts(receipt: Receipt, language: str) -> tuple[Row, ...]:
    store = receipt.store
    rows = [
        ("date", local(receipt.at, store.zone)), ("visit", local(receipt.visited_at, store.zone)), ("number", receipt.number),
        ("replaces", receipt.replaces),
        ("of", receipt.of), ("reason", _reason(receipt.reason, language)), ("store", store.store), ("trip", receipt.trip)]
    return _rows(rows, language)


def _reason(reason: str, language: str) -> str:
    key = f"reason_{reason}"
    return words(key, language) if key in TEXTS else reason


def _items(receipt: Receipt, language: str) -> Iterator[Row]:
    for line in receipt.cart.lines if receipt.cart is not None else ():
        yield Row(line.product, format_decimal(line.times(line.price), receipt.currency), tuple(_notes(line, receipt.currency, language)))


def _notes(line: Line, currency: str, language: str) -> Iterator[Row]:
    """How many at which price, and what lowers and raises it."""
    price, quantity = format_decimal(line.price, currency), _quantity(line)
    if line.unit.lower() not in ("", "each", "unit"):
        yield Row(words("measured", language, quantity=quantity, unit=line.unit, price=price), "")
    elif quantity != "1":
        yield Row(words("each", language, quantity=quantity, price=price), "")

    def part(one: Part, sign: int, key: str) -> Row:
        return Row(one.words or words(key, language), format_decimal(sign * line.times(one.minor), currency))

    for promotion in line.promotions:
        yield part(promotion, -1, "promotions")
    for fee in line.fees:
        yield part(fee, 1, "fees")


def _quantity(line: Line) -> str:
    """Without the decimals that say nothing."""
    whole, rest = divmod(line.hundredths, HUNDRED)
    return f"{whole}.{rest:02}".rstrip("0") if rest else str(whole)


def _totals(receipt: Receipt, language: str) -> Iterator[Row]:
    def amount(key: str, minor: int, *, strong: bool = False) -> Row:
        return Row(words(key, language), format_minor(minor, receipt.currency), strong=strong)

    if receipt.kind is Kind.REFUND:
        yield amount("was_charged", receipt.total)
        yield amount("returned", receipt.minor, strong=True)
        return
    cart = receipt.cart
    if cart is not None:
        yield amount("subtotal", cart.subtotal)
        if cart.promotions:
            yield amount("promotions", -cart.promotions)
        if cart.fees:
            yield amount("fees" if cart.fees > 0 else "rounding", cart.fees)
        yield amount("tax", cart.tax)
    if receipt.total:
        yield amount("total", receipt.total, strong=not receipt.outstanding)
    yield amount("charged", receipt.minor, strong=True)
    if receipt.outstanding:
        yield amount("outstanding", receipt.outstanding, strong=True)


def _card(receipt: Receipt, language: str) -> Iterator[Row]:
    card = receipt.card
    if card.tail:
        yield Row(words("card", language), f"{card.brand} **** {card.tail}".strip())
    yield from _rows([
        ("application", card.label), ("entry", _said(card.entry, language)), ("verification", _said(card.cvm, language)),
        ("approval_code", card.approval_code),
        ("terminal", card.terminal_id), ("merchant_number", receipt.store.merchant_number),
        ("reconciliation", receipt.reconciliation_id), ("statement", receipt.statement_id)], language)


def _chip(receipt: Receipt, language: str) -> Iterator[Row]:
    card = receipt.card
    yield from _rows([
        ("aid", card.application_id), ("psn", card.pan_sequence_number), ("tvr", card.tvr), ("tsi", card.tsi), ("iad", card.issuer_data),
        ("response_code", card.response_code), ("cryptogram", card.cryptogram)], language)


def _said(key: str, language: str) -> str:
    return words(key, language) if key else ""


def _rows(given: list[tuple[str, str]], language: str) -> tuple[Row, ...]:
    """Rows of what is there."""
    return tuple(Row(words(key, language), value) for key, value in given if value)


# ---------------------------------------------------------------------------------------------------------- as text

def as_text(made: Sheet, columns: int = COLUMNS) -> str:
    """The sheet in columns; names begin at one side, values end at the other.  In Arabic a terminal turns each line round."""
    rule = "-" * columns
    parts = [*(_centred(text, columns) for text in made.head), "", _centred(made.title, columns), _centred(made.status, columns)]
    for section in made.sections:
        parts.append(rule)
        for row in section.rows:
            parts += _lines(row, columns)
            for note in row.notes:
                parts += _lines(note._replace(label=f"  {note.label}"), columns)
    parts += [rule, *(_centred(text, columns) for text in made.foot)]
    return "\n".join(line.rstrip() for part in parts for line in part.split("\n")) + "\n"


def _lines(row: Row, columns: int) -> list[str]:
    """A row in one line where it fits, else its value on lines of its own, at their end."""
    gap = columns - _width(row.label) - _width(row.value)
    if gap >= 1 or not row.value:
        return [row.label + " " * max(gap, 0) + row.value] if gap >= 0 else _folded(row.label, columns)
    return [*_folded(row.label, columns), *(" " * (columns - _width(piece)) + piece for piece in _folded(row.value, columns - 2))]


def _centred(text: str, columns: int) -> str:
    return "\n".join(" " * ((columns - _width(piece)) // 2) + piece for piece in _folded(text, columns)) if text else ""


def _folded(text: str, columns: int) -> list[str]:
    """The text in lines, broken between words where that is possible."""
    lines: list[str] = []
    line = text[:len(text) - len(text.lstrip())]
    begun = False
    for word in text.split():
        if begun and _width(line) + 1 + _width(word) > columns:
            lines.append(line)
            line, begun = "", False
        line, begun = (f"{line} {word}" if begun else line + word), True
        while _width(line) > columns:
            cut = _fits(line, columns)
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line]


def _fits(text: str, columns: int) -> int:
    """How many signs of it fit."""
    taken = 0
    for place, sign in enumerate(text):
        taken += _width(sign)
        if taken > columns:
            return max(place, 1)
    return len(text)


def _width(text: str) -> int:
    """Columns in a terminal: signs of East Asia take two, those that stand on another none."""
    return sum(0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)
