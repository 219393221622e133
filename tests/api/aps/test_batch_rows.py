"""Rows of batch files: what a header may name, and what a row must hold."""
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.batch_lines import HEADER, BadFile
from ringfence.api.aps.batch_rows import FAULTS, KNOWN, SEAM, Rows, cells_of, columns_of
from ringfence.api.aps.fields import CHECKS, FIELDS
from ringfence.api.aps.messages import MESSAGES
from ringfence.api.aps.operations import OPERATIONS

NAMES = ["command", "merchant_reference", "amount", "currency", "customer_email", "eci", "token_name", "fort_id", "order_description"]
GOOD = {"command": "PURCHASE", "merchant_reference": "R-1", "amount": "1000", "currency": "AED", "customer_email": "a@b.co", "eci": "RECURRING",
        "token_name": "gold"}


def rows(*given: dict[str, str], names: list[str] = NAMES, settings: Settings = Settings()) -> tuple[Rows, list[str]]:  # noqa: B008
    made = Rows(columns_of(names), settings)
    return made, made.take(2, [[one.get(name, "") for name in names] for one in given])


def why(**changed: str) -> list[tuple[str, str]]:
    """Column and message of each fault of a good row with these changes."""
    made, kept = rows(GOOD | changed)
    assert bool(kept) is not bool(made.faults) and made.wrong == bool(made.faults)
    return [(fault.column, fault.message) for fault in made.faults]


@pytest.mark.parametrize("name", [
    "card_number", "Card Number", "CARD-NUMBER", "pan", "card_security_code", "cvv", "CVV2", "cvc", "security code", "track2", "expiry_date",
    "signature", "access_code", "merchant_identifier", "3ds_url", "digital_wallet", "shoe_size", "", "AMOUNT",
])
def test_what_a_header_may_not_name(name):
    """Card data by any spelling, what is said once beside the file, and what nobody knows."""
    with pytest.raises(BadFile) as bad:
        columns_of(["command", name])
    assert bad.value.message == HEADER
    if name.lower()[:3] in ("car", "pan", "cvv", "cvc", "sec", "tra"):
        assert "card numbers" in str(bad.value)


def test_every_known_column_is_a_parameter_of_some_operation():
    """And each may stand in a header."""
    assert columns_of(sorted(KNOWN)).names == tuple(sorted(KNOWN))
    assert all(any(name in row.accepts for row in OPERATIONS.values()) and name in (FIELDS | dict.fromkeys(["command"])) for name in KNOWN)


def test_a_header_may_have_any_order_and_blanks_around_names():
    """A name twice, or no command, is refused."""
    assert columns_of([" amount ", "command"]).at == {"amount": 0, "command": 1}
    for names in (["command", "amount", "amount"], ["amount"]):
        with pytest.raises(BadFile):
            columns_of(names)


FAULTY = {
    "no token":              ({"token_name": ""}, [("token_name", "001")]),
    "no reference":          ({"merchant_reference": ""}, [("merchant_reference", "001")]),
    "a cardholder's":        ({"eci": "ECOMMERCE"}, [("eci", "033")]),
    "no number":             ({"amount": "ten"}, [("amount", "002")]),
    "nothing":               ({"amount": "0"}, [("amount", "005")]),
    "too long":              ({"amount": "12345678901"}, [("amount", "032")]),
    "no currency":           ({"currency": "XXY"}, [("currency", "013")]),
    "a fort_id":             ({"fort_id": "1"}, [("fort_id", "027")]),
    "two at once":           ({"amount": "", "customer_email": "x"}, [("amount", "001"), ("customer_email", "002")]),
    "another command":       ({"command": "AUTHORIZATION"}, [("command", "004")]),
    "no command":            ({"command": ""}, [("command", "001")]),
    "a capture of nothing":  ({"command": "CAPTURE", "eci": "", "token_name": "", "customer_email": "", "merchant_reference": ""},
                              [("merchant_reference", "001")]),
    "a void with a token":   ({"command": "VOID_AUTHORIZATION", "eci": "", "customer_email": ""}, [("token_name", "027")]),
    "beyond our numbers":    ({"command": "CAPTURE", "eci": "", "token_name": "", "customer_email": "", "fort_id": "9223372036854775808"},
                              [("fort_id", "036")]),
}


@pytest.mark.parametrize("what", FAULTY)
def test_what_is_wrong_is_told_by_column(what):
    """All of it, in the words of the code list."""
    changed, faults = FAULTY[what]
    assert why(**changed) == faults
    assert all(message in MESSAGES for _, message in faults)


def test_totals_are_by_kind_and_currency():
    """A void has no amount, even where one was sent."""
    capture = {"command": "CAPTURE", "merchant_reference": "A", "amount": "5", "currency": "KWD"}
    made, kept = rows(GOOD, GOOD | {"merchant_reference": "R-2", "amount": "1"}, capture, {"command": "VOID_AUTHORIZATION", "fort_id": "7", "amount": "9",
                      "currency": "AED"}, {"command": "REFUND", "fort_id": "9223372036854775807", "amount": "3", "currency": "AED"}, {})
    assert made.totals == {("purchase", "AED"): [2, 1001], ("capture", "KWD"): [1, 5], ("void", ""): [1, 0], ("refund", "AED"): [1, 3]}
    assert (made.count, made.wrong, len(kept)) == (5, 1, 5)             # cells without anything are a row, and a wrong one
    assert kept[3].split("\t")[:6] == ["5", "void", "\\N", "7", "0", ""]


def test_a_row_of_another_width_is_wrong_and_an_empty_line_is_none():
    """Of many faults only the first are told one by one."""
    made = Rows(columns_of(NAMES), Settings())
    made.take(2, [[], ["x"], *[["a", "b"]] * (FAULTS + 5)])
    assert made.wrong == FAULTS + 6 and len(made.faults) == FAULTS and made.faults[0] == (3, "", "073")


def test_an_account_may_restrict_currencies():
    """As for requests."""
    made, _ = rows(GOOD, settings=Settings(currencies=frozenset({"SAR"})))
    assert [fault.message for fault in made.faults] == ["013"]


TEXT = st.text(max_size=12)


def test_a_file_of_links_holds_nothing_else():
    """Where links are made from files at all; elsewhere such a file is refused."""
    links = replace(OPERATIONS["command", "CAPTURE"], key="service_command", name="PAYMENT_LINK", mandatory=("merchant_reference",), one_of=())
    names = ["command", "merchant_reference", "amount", "currency"]
    link, capture = ["PAYMENT_LINK", "L-1", "100", "AED"], ["CAPTURE", "A", "5", "KWD"]
    made = Rows(columns_of(names, links), Settings(), links=links)
    made.take(2, [link, ["PAYMENT_LINK", "", "100", "AED"]])
    assert made.totals == {("payment_link", "AED"): [1, 100]} and made.faults == [(3, "merchant_reference", "001")]
    for other, kept in ((made, [capture]), (Rows(columns_of(names), Settings()), [link])):
        with pytest.raises(BadFile):
            other.take(4, kept)


@given(st.fixed_dictionaries({name: st.one_of(st.just(GOOD.get(name, "")), TEXT) for name in NAMES}))
def test_what_the_pattern_takes_keeps_every_rule(row):
    """The short way and the long way agree on every row, and what is kept is the row."""
    made, kept = rows(row)
    if kept:
        cells = kept[0].removesuffix("\n").split("\t")[6].replace("\\\\", "\\")
        given = cells_of(NAMES, cells)
        assert given == {name: value for name, value in row.items() if value} and SEAM not in "".join(row.values())
        assert all(name == "command" or CHECKS[name](value) for name, value in given.items())
        assert row["command"] in ("PURCHASE", "CAPTURE", "REFUND", "VOID_AUTHORIZATION")
    else:
        assert made.faults or not any(row.values())


CELLS = {
    "command": ["PURCHASE"] * 6 + ["CAPTURE", "REFUND", "purchase", ""], "merchant_reference": ["R-1", "R-2", "a.b_c", "", "R 1", "R" * 41, "R-1\\"],
    "amount": ["1", "0100", "9999999999", "0", "", "-1", "1.0", "١"], "currency": ["AED", "KWD", "XXX", "aed", ""],
    "customer_email": ["a@b.co", "x.y@z.example", "", "a@", "a b@c.de"], "eci": ["RECURRING", "", "MOTO"], "token_name": ["gold", "A" * 100, "", "A" * 101],
    "fort_id": ["", "", "", "12345678901234567"], "order_description": ["", "shoes", "Gr\u00f6\u00dfe 5", "a\\b", "a\tb"],
}


@given(st.data())
def test_by_columns_as_in_turn(data: st.DataObject):
    """Whatever stands in a piece, it is read as each of its rows alone: what is kept, the sums, and what is to blame."""
    mostly = data.draw(st.integers(0, 3))
    drawn = [
        [data.draw(st.sampled_from(CELLS[name])) if data.draw(st.integers(0, 30)) < mostly else GOOD.get(name, "") for name in NAMES]
        for _ in range(data.draw(st.integers(0, 6)))]
    drawn += [[]] * data.draw(st.sampled_from([0, 0, 0, 1]))
    names = NAMES if data.draw(st.booleans()) else [name for name in NAMES if name != "fort_id"]
    pieces = [row if len(names) == len(NAMES) else [cell for name, cell in zip(NAMES, row, strict=False) if name != "fort_id"] for row in drawn]
    together, alone = Rows(columns_of(names), Settings(), "1\t2\t"), Rows(columns_of(names), Settings(), "1\t2\t")
    kept = together.take(7, pieces)
    assert kept == alone._take_in_turn(7, pieces)
    assert (together.count, together.wrong, together.totals, together.faults) == (alone.count, alone.wrong, alone.totals, alone.faults)


def test_most_rows_are_read_by_columns():
    """A good piece is, and one bad cell sends it the other way."""
    piece = [[GOOD.get(name, "") if name != "merchant_reference" else f"R-{number}" for name in NAMES] for number in range(300)]
    made = Rows(columns_of(NAMES), Settings())
    assert len(made._take_by_columns(2, piece)) == 300 and made.totals == {("purchase", "AED"): [300, 300_000]}
    for bad in ({"amount": "0"}, {"currency": "XXX"}, {"customer_email": "a@"}, {"command": "CAPTURE"}, {"token_name": ""}):
        made = Rows(columns_of(NAMES), Settings())
        assert made._take_by_columns(2, [*piece, [(GOOD | bad).get(name, "") for name in NAMES]]) is None
        assert made.count == 0 and not made.totals
