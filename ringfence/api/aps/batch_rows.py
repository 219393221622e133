"""Rows of a batch file: from a header and cells to operations that can be trusted, or to what is wrong, by line and column.

The first line names parameters of the operations, in any order; every other line is one operation.  A row is held to the same tables as
a request (``fields``, ``operations``): per kind one pattern over all its cells says that a row is right, and only a row that is not
is looked at cell by cell, to say why.  Card data has no place in a file: a header that asks for it is refused before anything of the
file is kept.  Refuses to know tokens, orders and databases.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.batch_lines import FILE, HEADER, BadFile
from ringfence.api.aps.fields import CHECKS, FIELDS
from ringfence.api.aps.ladder import bad_link
from ringfence.api.aps.messages import MESSAGES
from ringfence.api.aps.operations import COMMON, FEATURES_ABSENT, OPERATIONS, VARIANTS, Operation
from ringfence.core.commands import Kind
from ringfence.core.money import CURRENCIES

KINDS = {"PURCHASE": Kind.PURCHASE, "CAPTURE": Kind.CAPTURE, "VOID_AUTHORIZATION": Kind.VOID, "REFUND": Kind.REFUND}
"""What a transaction batch may hold."""
INVOICE, LINK = "PAYMENT_LINK", "payment_link"
"""The only row of an invoice batch: its command, and its kind."""
SEAM = "\x1f"
"""Between the cells of a row as it is kept; no cell that keeps its rule holds a control character."""
COMMAND_AT = 0

#: Parameters that a file never holds: who asks is said once, beside the file, and a stored card has its own expiry.
_NOT_IN_FILES = frozenset({"signature", "merchant_identifier", "access_code", "card_number", "card_security_code", "expiry_date"})

#: Header names (letters and digits only) that ask for a card's number or code.
CARD_DATA = frozenset("""
    cardnumber cardno cardnum card pan accountnumber ccnumber ccnum ccno cardsecuritycode securitycode cvv cvv2 cvc cvc2 csc cid cav cav2
    cvn cvn2 cvd cardcode cardcvv cardcvc cardcvv2 cardcvc2 cardverificationvalue cardverificationcode verificationcode
    track track1 track2 pin pinblock
""".split())

RECURRING = VARIANTS[4]
FAULTS = 1_000
"""So many faults of a file are told one by one."""


def _wall() -> datetime:
    return datetime.now(UTC)


class Fault(NamedTuple):
    """What is wrong with a row: ``message`` is three digits of the code list, ``column`` "" where no cell is to blame."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}" + (f", {self.column}" if self.column else "") + f": {MESSAGES[self.message].en}"


class Columns(NamedTuple):
    """The header: parameter names in the file's order."""

    names: tuple[str, ...]
    at: Mapping[str, int]


class _Plan(NamedTuple):
    """How rows of one kind are read."""

    operation: Operation
    kind: str
    fits: Callable[[str], object]                           # a row's cells, joined by newlines
    columns: Sequence[Callable[[str], object]] = ()         # some cells of each column, a newline behind each


def accepted_of(operation: Operation) -> frozenset[str]:
    """What a row of that operation may hold."""
    variant = RECURRING.forbidden if operation.variants else frozenset()
    return operation.accepts - {operation.key} - _NOT_IN_FILES - variant | {"command"}


ACCEPTED = {name: accepted_of(OPERATIONS["command", name]) for name in KINDS}
KNOWN = frozenset().union(*ACCEPTED.values()) - FEATURES_ABSENT.keys()


def mandatory_of(operation: Operation) -> tuple[str, ...]:
    """What a row of that operation must hold."""
    variant = RECURRING.mandatory if operation.variants else ()
    return (*(name for name in operation.mandatory if name not in COMMON), *variant)


def columns_of(cells: Sequence[str], links: Operation | None = None) -> Columns:
    """The header of a file; ``links`` is the operation of invoices, where files may hold them.

    Raises ``BadFile`` for names that are unknown, given twice, or ask for card data.
    """
    names = tuple(cell.strip() for cell in cells)
    for name in names:
        if re.sub("[^a-z0-9]", "", name.lower()) in CARD_DATA:
            raise BadFile(HEADER, 1, "card numbers and security codes have no place in a file: name a token_name")
    for place, name in enumerate(names, 1):
        if name not in KNOWN and not (links and name in accepted_of(links)):
            raise BadFile(HEADER, 1, f"column {place} is no parameter that a batch knows")
    if len(set(names)) != len(names):
        raise BadFile(HEADER, 1, "a column is named twice")
    if "command" not in names:
        raise BadFile(HEADER, 1, "there is no column command")
    return Columns(names, {name: place for place, name in enumerate(names)})


class Rows:
    """The rows of one file, and what they come to.

    ``count`` rows, ``totals`` by kind and currency as [rows, minor units], ``faults`` in the order of their lines, at most ``FAULTS`` of
    ``wrong``.  ``prefix`` stands before every row that is kept.
    """

    def __init__(
        self, columns: Columns, settings: Settings, prefix: str = "", links: Operation | None = None, *, now: Callable[[], datetime] = _wall,
    ) -> None:
        """``now`` is business time: a link must not have expired when its row is looked at."""
        self.columns, self._prefix, self._now = columns, prefix, now
        self.count = self.wrong = 0
        self.totals: dict[tuple[str, str], list[int]] = {}
        self.faults: list[Fault] = []
        self._width, self._command = len(columns.names), columns.at["command"]
        self._operations = {name: OPERATIONS["command", name] for name in KINDS} | ({INVOICE: links} if links else {})
        self._plans = {name: _plan(columns, operation, KINDS.get(name, LINK)) for name, operation in self._operations.items()}
        if links:
            self._plans[INVOICE] = self._plan_of_links(self._plans[INVOICE])
        at = columns.at
        self._amount, self._currency = at.get("amount"), at.get("currency")
        self._reference, self._fort_id = at.get("merchant_reference"), at.get("fort_id")
        self._currencies = frozenset(CURRENCIES) if settings.currencies is None else settings.currencies & frozenset(CURRENCIES)

    def take(self, first_line: int, rows: Sequence[Sequence[str]]) -> list[str]:
        """Rows as they are kept, one text for each that is right, in the form of COPY (tab-separated): line, kind, reference, fort_id,
        minor units, currency, cells.  Empty lines are passed over.  Raises ``BadFile`` for a file of another sort."""
        kept = self._take_by_columns(first_line, rows)
        if kept is None:
            kept = self._take_in_turn(first_line, rows)
        if len(self.totals) > 1 and LINK in (kinds := {kind for kind, _ in self.totals}) and len(kinds) > 1:
            raise BadFile(FILE, 0, "a file of payment links holds nothing else")
        return kept

    def _take_in_turn(self, first_line: int, rows: Sequence[Sequence[str]]) -> list[str]:
        kept: list[str] = []
        width, command_at, plans, currencies, totals = self._width, self._command, self._plans, self._currencies, self.totals
        amount_at, currency_at, reference_at, fort_at = self._amount, self._currency, self._reference, self._fort_id
        line, prefix = first_line - 1, self._prefix
        for row in rows:
            line += 1
            plan = plans.get(row[command_at]) if len(row) == width else None
            if plan is not None:
                joined = "\n".join(row)
                if plan.fits(joined):
                    kind = plan.kind
                    minor = int(row[amount_at] or 0) if amount_at is not None else 0
                    currency = row[currency_at] if currency_at is not None else ""
                    reference = row[reference_at] if reference_at is not None else ""
                    fort_id = row[fort_at] if fort_at is not None else ""
                    if kind is Kind.VOID:
                        minor, currency, is_right = 0, "", True
                    else:
                        is_right = minor > 0 and currency in currencies
                    if is_right and (reference or fort_id) and (len(fort_id) < 19 or int(fort_id) < 1 << 63):
                        self.count += 1
                        total = totals.get((kind, currency))
                        if total is None:
                            total = totals[kind, currency] = [0, 0]
                        total[0] += 1
                        total[1] += minor
                        if "\\" in joined:
                            joined = joined.replace("\\", "\\\\")
                        kept.append(
                            f"{prefix}{line}\t{kind}\t{reference or NULL}\t{fort_id or NULL}\t{minor}\t{currency}\t{joined.replace(NEWLINE, SEAM)}\n")
                        continue
            if row:
                self._blame(line, row)
        return kept

    def _take_by_columns(self, first_line: int, rows: Sequence[Sequence[str]]) -> list[str] | None:
        """The same for rows of one kind that are all right, looked at column by column: in most, few values are different.  ``None`` where
        they are not, or somebody must look closer."""
        if set(map(len, rows)) != {self._width}:
            return None
        columns = list(zip(*rows, strict=True))
        commands = set(columns[self._command])
        plan = self._plans.get(commands.pop()) if len(commands) == 1 else None
        if plan is None or plan.kind not in _BY_COLUMNS or self._reference is None or (self._fort_id is not None and any(columns[self._fort_id])):
            return None
        for column, fits in zip(columns, plan.columns, strict=True):
            if not fits("\n".join(set(column)) + "\n"):
                return None
        references, minors, currencies = columns[self._reference], list(map(int, columns[self._amount])), columns[self._currency]   # type: ignore[index]
        cells = list(map(SEAM.join, rows))
        if min(minors) <= 0 or not self._currencies.issuperset(currencies) or not all(references) or "\\" in "".join(cells):
            return None
        self.count += len(rows)
        for currency in set(currencies):
            total = self.totals.setdefault((plan.kind, currency), [0, 0])
            total[0] += currencies.count(currency)
            total[1] += sum(minor for minor, one in zip(minors, currencies, strict=True) if one == currency)
        head, tail = self._prefix, f"\t{NULL}\t"
        kind = f"\t{plan.kind}\t"
        return [
            f"{head}{line}{kind}{reference}{tail}{minor}\t{currency}\t{cell}\n"
            for line, (reference, minor, currency, cell) in enumerate(zip(references, minors, currencies, cells, strict=True), first_line)]

    def _plan_of_links(self, plan: _Plan) -> _Plan:
        """Links are also held to what only their values together, and the time, can say."""
        def fits(joined: str) -> object:
            return plan.fits(joined) and self._bad_link(joined.split(NEWLINE)) is None

        return plan._replace(fits=fits)

    def _bad_link(self, row: Sequence[str]) -> tuple[str, str] | None:
        """Column and message of what is wrong with a link whose every cell keeps its rule."""
        given = {name: cell for name, cell in zip(self.columns.names, row, strict=True) if cell}
        wrong = bad_link(given, self._now()) if "request_expiry_date" in given and "notification_type" in given else None
        return None if wrong is None else (wrong[1], wrong[0][-3:])

    def _blame(self, line: int, row: Sequence[str]) -> None:
        self.wrong += 1
        if INVOICE not in self._operations and row[self._command:self._command + 1] == [INVOICE]:
            raise BadFile(FILE, line, "payment links are not made from files here")
        faults = list(self._why(row))
        if not faults and row[self._command] == INVOICE and (bad := self._bad_link(row)) is not None:
            faults = [bad]
        for column, message in faults:
            if len(self.faults) < FAULTS:
                self.faults.append(Fault(line, column, message))

    def _why(self, row: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Every fault of a row, by column and message, in the order of the ladder for requests: missing, extra, then values."""
        if len(row) != self._width:
            yield "", "073"
            return
        command = row[self._command]
        if command not in self._operations:
            yield "command", "004" if command else "001"
            return
        operation = self._operations[command]
        accepted = accepted_of(operation)
        given = {name: cell for name, cell in zip(self.columns.names, row, strict=True) if cell}
        for name in mandatory_of(operation):
            if name not in given:
                yield name, "001"
        if operation.one_of and given.keys().isdisjoint(operation.one_of):
            yield operation.one_of[0], "001"
        for name, value in given.items():
            if name not in accepted:
                yield name, "027"
            elif name != "command" and (message := self._value_message(name, value)):
                yield name, message

    def _value_message(self, name: str, value: str) -> str:
        field = FIELDS[name]
        if len(value) > field.longest:
            return "032"
        if not field.pattern.fullmatch(value):
            return "002"
        if not CHECKS[name](value) or (name == "eci" and value != RECURRING.eci):
            return "033"
        if name == "amount" and not int(value):
            return "005"
        if name == "currency" and value not in self._currencies:
            return "013"
        if name == "fort_id" and len(value) >= 19 and int(value) >= 1 << 63:
            return "036"
        return ""


NEWLINE, NULL = "\n", "\\N"
_BY_COLUMNS = (Kind.PURCHASE, Kind.CAPTURE, Kind.REFUND)
"""Kinds of which every row has an amount and a currency, and whose cells are right each by itself."""


def _plan(columns: Columns, operation: Operation, kind: str) -> _Plan:
    """The pattern of a row's cells joined by newlines: no rule matches a newline, so that each meets its own cell."""
    mandatory, accepted = mandatory_of(operation), accepted_of(operation)
    if not set(mandatory) <= columns.at.keys():
        return _Plan(operation, kind, lambda joined: None)
    rules = []
    for name in columns.names:
        if name == "command":
            rules.append(re.escape(operation.name))
        elif name not in accepted:
            rules.append("")
        else:
            rule = re.escape(RECURRING.eci) if name == "eci" else FIELDS[name].rule
            rules.append(rule if name in mandatory else f"(?:{rule})?")
    # What matched a cell is not tried again when a later one does not.
    by_column = [re.compile(f"(?>(?:{rule})\n)*+").fullmatch for rule in rules]
    return _Plan(operation, kind, re.compile("\n".join(rules)).fullmatch, by_column)


def cells_of(columns: Sequence[str], kept: str) -> dict[str, str]:
    """A row's parameters, without the empty ones, from how it was kept."""
    return {name: cell for name, cell in zip(columns, kept.split(SEAM), strict=True) if cell}
