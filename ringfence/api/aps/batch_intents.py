"""What rows of a batch mean, and how what became of them is said.

A row is a request whose caller is known and whose values were looked at when its file was handed in.  Here it becomes the same intent
that the request would: the same key, the same content, the same details for what is told of it later.  Refuses to know when rows are
carried out, and by whom.
"""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from operator import attrgetter
from typing import NamedTuple

import msgspec

from ringfence.api.aps import codes
from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.batch_rows import KINDS, LINK, SEAM, cells_of
from ringfence.api.aps.door import CARD, DOOR, Account, Service, order_key
from ringfence.api.aps.maintenance import FAILURE, SUCCESS
from ringfence.api.aps.operations import OPERATIONS, brand_message
from ringfence.api.aps.payments import INITIATIONS
from ringfence.core.commands import Command, Initiation, Kind
from ringfence.core.payment import decide
from ringfence.core.refusals import Refusal
from ringfence.engine.batches import BatchDoor, File, Line, Order, Prepared, Told, original_of
from ringfence.engine.engine import may_initiate
from ringfence.engine.intents import CardInHand, Intent
from ringfence.engine.sheet import Sheet, may_be_of_one_sort
from ringfence.engine.vault import StoredCard, Token, stored_card

__all__ = ["batch_door", "code_of"]

Links = Callable[[Account, Sequence[tuple[Mapping[str, str], str]]], Awaitable[list[str]]]
"""Makes payment links together: the account, and each row's parameters with its key, under which it makes one link however often it is asked;
five digits each, in their order.  Handed down by ``main`` where links are served."""

DROPPED = "119"
"""A row that a cancelled batch did not come to."""
SOURCE, LINK_FAILED = "batch", "49"
FILES, TOKENS_SHOWN = 8, 10_000
"""Files in hand, and tokens of one, of which what their rows share is kept for the next rows."""
PURCHASE, RECURRING = OPERATIONS["command", "PURCHASE"], "RECURRING"
COMMANDS = {kind: OPERATIONS["command", name] for name, kind in KINDS.items()}
_ENCODE = msgspec.json.Encoder().encode
_prepared, _command = (partial(tuple.__new__, kind) for kind in (Prepared, Command))
_REFERENCE = attrgetter("reference")
_INITIATION, _CHANNEL = INITIATIONS[RECURRING]


def batch_door(
    service: Service, account_of: Callable[[File], Awaitable[Account | None]], links: Links | None = None,
) -> BatchDoor:
    """This door's words for its rows.  ``account_of``: under which account a file was handed in, ``None`` where that is no longer there."""
    readings: dict[int, _Reading] = {}

    async def reading_of(file: File) -> _Reading | None:
        account = await account_of(file)
        if account is None or not account.merchant.active:
            return None
        reading = readings.pop(file.batch_id, None)
        if reading is None or not reading.is_of(account):
            reading = _Reading(service, account, file)
        readings[file.batch_id] = reading               # the last one
        if len(readings) > FILES:
            del readings[next(iter(readings))]
        return reading

    async def alike(file: File, lines: Sequence[Line]) -> tuple[Sheet | None, Sequence[Line]]:
        reading = await reading_of(file)
        if reading is None or reading.has_modes:
            return None, lines
        purchases = sorted((line for line in lines if line.kind == Kind.PURCHASE), key=_REFERENCE)
        cells = [line.cells.split(SEAM) for line in purchases]
        await reading.load({reading.token_name(one) for one in cells}, fresh=False)
        sheet, others = reading.sheet(purchases, cells)
        if len(purchases) < len(lines):
            others = sorted([*others, *(line for line in lines if line.kind != Kind.PURCHASE)])
        return sheet, others

    async def prepare(file: File, lines: Sequence[Line], orders: Mapping[int | str, Order], fresh: bool) -> list[Prepared]:
        reading = await reading_of(file)
        if reading is None:
            return [Prepared(None, _failure(line.kind) + "015") for line in lines]
        cells = [line.cells.split(SEAM) if line.kind == Kind.PURCHASE else [] for line in lines]
        if wanted := {reading.token_name(one) for one in cells if one}:
            await reading.load(wanted, fresh=fresh)
        if links is not None and any(line.kind == LINK for line in lines):
            told = await links(reading.account, [(reading.given(line), f"batch:{file.batch_id}:{line.line}") for line in lines])
            return [Prepared(None, one) for one in told]
        if all(cells):
            return reading.purchases(lines, cells)
        prepared = [reading.purchases((line,), (one,))[0] if one else reading.later(line, orders) for line, one in zip(lines, cells, strict=True)]
        if any(line.kind == Kind.REFUND for line in lines):
            return [await _by_its_rules(service, line, one) for line, one in zip(lines, prepared, strict=True)]
        return prepared

    return BatchDoor(order_key, prepare, code, alike)


async def _by_its_rules(service: Service, line: Line, prepared: Prepared) -> Prepared:
    """A row on an order, or the refusal of whoever carries that out."""
    refused = None if prepared.intent is None or prepared.intent.original is None else await service.engine.turned_down(prepared.intent)
    return prepared if refused is None else prepared._replace(intent=None, code=code(line.kind, refused))


def code(kind: str, refusal: Refusal) -> str:
    """A refusal in five digits."""
    return _failure(kind) + codes.refusal_message(refusal, None if kind == LINK else Kind(kind))


def _failure(kind: str) -> str:
    return LINK_FAILED if kind == LINK else FAILURE[kind]


def code_of(told: Told) -> str:
    """What became of a row, in five digits."""
    if told.code is not None:
        return told.code
    match told.result:
        case "approved" if told.minor in (0, told.answered):
            return SUCCESS[told.kind]
        case "approved":
            return FAILURE[told.kind] + codes.decline_message("51")         # in part, and given back
        case "declined" | "reversed":
            return FAILURE[told.kind] + codes.decline_message(told.response_code or "")
        case "not_asked":
            return FAILURE[told.kind] + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE)
        case None if told.operation_id is None:
            return _failure(told.kind) + DROPPED
        case _:
            return codes.UNKNOWN_OUTCOME


class _Shown(NamedTuple):
    """What rows with one token share."""

    card: CardInHand
    refusal: str                            # the code its rows get, "" where they may be asked for
    brand: str
    fields: dict[str, str]                  # what answers show of the card
    masked: str
    expiry: str
    processor: str
    tail: bytes                             # the end of the details of its rows
    mark: str                               # what the content of a row ends in
    is_lasting: bool = False                # the token is there to stay: no payment has to prove it


class _Reading:
    """Rows of one file: what all of them share is worked out once."""

    def __init__(self, service: Service, account: Account, file: File) -> None:
        self._service, self.account, self._file = service, account, file
        self._names: list[str] = file.columns
        at = {name: place for place, name in enumerate(self._names)}
        self._token, self._option = at.get("token_name", 0), at.get("payment_option")
        self.has_modes = "recurring_mode" in at             # rows may differ in who begins them
        self._shown: dict[str, tuple[Token | None, _Shown]] = {}
        caller = {"merchant_identifier": account.credential.merchant_identifier, "access_code": account.credential.access_code}
        self._base = {**caller, "language": file.language}
        self._payment = _echoed(self._base | {"eci": RECURRING}, PURCHASE.echoes)
        self._asked = blake2b(SEAM.join([*self._names, *self._base.values(), ""]).encode(), key=service.content_key, digest_size=16)
        self._repeats_all = PURCHASE.echoes.issuperset(self._names)
        # The details of a row that fills every column begin with this, and go on with its cells in the file's order.
        self._head = _ENCODE({name: value for name, value in self._payment.items() if name not in at})[:-1]
        self._template = "".join(f',"{name}":"%s"' for name in self._names)

    def given(self, line: Line) -> dict[str, str]:
        """A row's parameters."""
        return self._base | cells_of(self._names, line.cells)

    def is_of(self, account: Account) -> bool:
        """Whether that is the account it was read for, as it is now."""
        return self.account == account

    def token_name(self, cells: Sequence[str]) -> str:
        """The token a row is paid with."""
        return cells[self._token]

    async def load(self, wanted: set[str], *, fresh: bool) -> None:
        """Know the tokens that rows name."""
        vault, merchant_id = self._service.vault, self.account.merchant.merchant_id
        known = {name: None if fresh else vault.cached_token(merchant_id, name) for name in sorted(wanted)}
        asked = [name for name, token in known.items() if token is None or may_initiate(token)]     # only the good news may come from the cache
        known.update(zip(asked, await asyncio.gather(*(vault.token(merchant_id, name, fresh=True) for name in asked)), strict=True))
        if len(self._shown) + len(known) > TOKENS_SHOWN:
            self._shown.clear()
        for name, token in known.items():
            before = self._shown.get(name)
            if before is None or before[0] is not token:
                self._shown[name] = token, self._show(token)

    def _show(self, token: Token | None) -> _Shown:
        settings = self.account.settings
        if token is None or not token.active:
            refusal = code(Kind.PURCHASE, Refusal.TOKEN_NOT_FOUND if token is None else Refusal.TOKEN_INACTIVE)
            return _Shown(CardInHand(None), refusal, "", {}, "", "", "", b"", "")
        stored = token.card
        masked = self._service.vault.masked(stored, settings.mask_first)
        fields = {"payment_option": stored.brand, "card_number": masked}
        if token.expiry:
            fields["expiry_date"] = token.expiry
        if token.holder:
            fields["card_holder_name"] = token.holder
        card = CardInHand(None, token.expiry, stored=stored, token=token, holder=token.holder)
        return _Shown(card, self._refusal(token, settings), stored.brand, fields, masked, token.expiry,
                      self._service.route(self.account.merchant, stored.brand), b"," + _ENCODE({CARD: fields})[1:],
                      f"|{stored.card_id}", not token.in_flow)

    def _refusal(self, token: Token, settings: Settings) -> str:
        """The code that every recurring payment with this token gets now; "" for none."""
        brand = token.card.brand
        if "recurring" not in settings.channels:
            return PURCHASE.failure + "046"
        if message := brand_message(PURCHASE, RECURRING, brand):
            return PURCHASE.failure + message
        if settings.payment_options is not None and brand not in settings.payment_options:
            return PURCHASE.failure + "003"
        refusal = may_initiate(token)
        return code(Kind.PURCHASE, refusal) if refusal else ""

    def purchases(self, lines: Sequence[Line], rows: Sequence[Sequence[str]]) -> list[Prepared]:
        """Recurring payments, as ``payments.pay`` would begin each; ``rows`` are the cells of the lines."""
        shown_of, token_at, option_at = self._shown, self._token, self._option
        merchant, actor, new_id = self.account.merchant, self.account.actor, self._service.engine.new_id
        merchant_id, identifier, magic = merchant.merchant_id, merchant.identifier, merchant.settings.magic_amounts
        asked, head, template, in_file_order = self._asked.copy, self._head, self._template, self._repeats_all and not self.has_modes
        prepared: list[Prepared] = []
        for line, cells in zip(lines, rows, strict=True):
            card, refusal, brand, _, masked, expiry, processor, tail, mark, _ = shown = shown_of[cells[token_at]][1]
            if not refusal and option_at is not None and (option := cells[option_at]) and option != brand:
                refusal = f"{PURCHASE.failure}110"
            if refusal:
                prepared.append(_prepared((None, refusal, masked, expiry)))
                continue
            operation_id = new_id()
            _, _, reference, _, minor, currency, text = line
            content = asked()                               # as ``_content`` says
            content.update((text + mark).encode())
            initiation = _INITIATION
            if in_file_order and "" not in cells and '"' not in text and "\\" not in text:
                details = head + (template % tuple(cells)).encode() + tail      # what follows, in fewer steps
            else:
                given = cells_of(self._names, text)
                details = self._details(given, shown)
                if given.get("recurring_mode") == "UNSCHEDULED":
                    initiation = Initiation.UNSCHEDULED
            prepared.append(_prepared((Intent(
                merchant_id, identifier, operation_id, _command((_PURCHASE, minor, currency, operation_id, *_PLAIN)),
                DOOR, actor, SOURCE, content.digest(), reference, order_key(reference or ""), False, details,
                processor, card, None, initiation, _CHANNEL, magic, None, None, False,
            ), None, masked, expiry)))
        return prepared

    def _details(self, given: Mapping[str, str], shown: _Shown) -> bytes:
        return _ENCODE({**self._payment, **_echoed(given, PURCHASE.echoes), CARD: shown.fields})

    def sheet(self, lines: Sequence[Line], rows: Sequence[Sequence[str]]) -> tuple[Sheet | None, list[Line]]:
        """The rows that are of one sort with the first that can be, and the others; given in the order of their references.

        What stands in the sheet is what ``purchases`` makes of each, in fewer steps; a test compares them.
        """
        shown_of, token_at, option_at = self._shown, self._token, self._option
        sort, others = ("", ""), list[Line]()
        mine: list[Line] = []
        cells: list[Sequence[str]] = []
        shown: list[_Shown] = []
        model: Intent | None = None
        for line, row in zip(lines, rows, strict=True):
            one = shown_of[row[token_at]][1]
            if one.refusal or (option_at is not None and row[option_at] not in ("", one.brand)):
                others.append(line)
            elif (line.currency, one.processor) == sort and one.is_lasting:
                mine.append(line)
                cells.append(row)
                shown.append(one)
            elif model is not None or (model := self._model(line, row)) is None:
                others.append(line)
            else:
                sort = line.currency, one.processor
                mine, cells, shown = [line], [row], [one]
        if model is None:
            return None, others
        new_id, asked, names, head, template = self._service.engine.new_id, self._asked.copy, self._names, self._head, self._template

        def content(text: str) -> bytes:                    # as ``_content`` says
            digest = asked()
            digest.update(text.encode())
            return digest.digest()

        return Sheet(
            model, [line.line for line in mine], [model.payment_id, *(new_id() for _ in mine[1:])], [line.minor for line in mine],
            [line.reference or "" for line in mine], [order_key(line.reference or "") for line in mine],
            [content(line.cells + one.mark) for line, one in zip(mine, shown, strict=True)],
            [head + (template % tuple(row)).encode() + one.tail if self._as_they_stand(line, row) else self._details(cells_of(names, line.cells), one)
             for line, row, one in zip(mine, cells, shown, strict=True)],
            [one.card for one in shown], [one.masked for one in shown], [one.expiry for one in shown]), others

    def _model(self, line: Line, cells: Sequence[str]) -> Intent | None:
        """The intent of a row, where others can be like it."""
        [first] = self.purchases((line,), (cells,))
        return first.intent if first.intent is not None and may_be_of_one_sort(first.intent) else None

    def _as_they_stand(self, line: Line, cells: Sequence[str]) -> bool:
        """Whether the details of a row may hold its cells as they are."""
        return self._repeats_all and "" not in cells and '"' not in line.cells and "\\" not in line.cells

    def later(self, line: Line, orders: Mapping[int | str, Order]) -> Prepared:
        """A capture, void or refund, as ``maintenance.operate`` would ask for it."""
        kind = Kind(line.kind)
        operation, account, service = COMMANDS[kind], self.account, self._service
        given = self.given(line)
        order = orders.get(line.fort_id) if line.fort_id is not None else orders.get(order_key(line.reference or ""))
        if order is None or (line.fort_id is not None and given.get("merchant_reference", order.reference) != order.reference):
            return Prepared(None, code(kind, Refusal.PAYMENT_NOT_FOUND))
        operation_id = service.engine.new_id()
        command = Command(kind, line.minor, line.currency, operation_id)
        if kind is Kind.VOID:
            command = Command(kind, None, order.currency, operation_id, whole=True)
        stored = order.card and stored_card(order.card)
        masked = service.vault.masked(stored, account.settings.mask_first) if stored else ""
        if order.result != "approved" or order.held is None:
            verdict = decide(order.held.payment, command, service.now()) if order.held else Refusal.OPERATION_IN_PROGRESS
            return Prepared(None, code(kind, verdict if isinstance(verdict, Refusal) else Refusal.OPERATION_IN_PROGRESS), masked)
        named = given.get("maintenance_reference", "")
        return Prepared(Intent(
            account.merchant.merchant_id, account.merchant.identifier, order.payment_id, command, DOOR, account.actor, SOURCE,
            self._content(line, None), named or order.reference,
            f"aps:refund:{order.payment_id}:{named}" if kind is Kind.REFUND and named else None, bool(named),
            _ENCODE(_echoed(given, operation.echoes)), order.processor, CardInHand(None, stored=stored) if stored else None,
            original_of(order),
            channel=order.channel, magic=account.merchant.settings.magic_amounts,
        ), None, masked)

    def _content(self, line: Line, stored: StoredCard | None) -> bytes:
        """See ``door.content_of``; here of the row as it was handed in.  Two rows are never the same request, however alike: each is asked
        for once, by its line."""
        content = self._asked.copy()
        content.update(f"{line.cells}|{stored and stored.card_id}".encode())
        return content.digest()


def _echoed(given: dict[str, str], echoes: frozenset[str]) -> dict[str, str]:
    return given if echoes.issuperset(given) else {name: value for name, value in given.items() if name in echoes}


_PLAIN, _PURCHASE = Command(Kind.PURCHASE, 1, "", 0)[4:], Kind.PURCHASE
