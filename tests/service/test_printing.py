"""Tables as people and pipes get them."""
from __future__ import annotations

import pytest

from ringfence.cli.printing import print_pairs, print_table

OPERATION, SIGNATURE = "911926682640715776", "0409f9d20f1731240b038506edde1a41961b7996d1ad9e178f3f2abab527b5c3"
COLUMNS = ("operation", "merchant", "kind", "amount", "why")
ROW = (OPERATION, "RingfenceOne", "purchase", "10.00 AED", "nobody knows " * 20)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns, as terminals have them, and as Rich takes them for a pipe."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_pipe_gets_each_row_on_one_line(capsys: pytest.CaptureFixture[str]):
    """So that what reads it finds a whole id, and a row by its line."""
    print_table(COLUMNS, [ROW])
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == list(COLUMNS) and row.rstrip() == "  ".join(ROW).rstrip()
    print_pairs([("signature", SIGNATURE * 3), ("status", "14")])
    assert capsys.readouterr().out.splitlines()[0] == f"signature  {SIGNATURE * 3}"


def test_a_narrow_terminal_folds_long_words_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Ids, names and amounts stay in one piece; only the last column, or those that are said to, fold."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(COLUMNS, [ROW])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and all(word in lines[1] for word in ROW[:4])
    print_table(COLUMNS[::-1], [ROW[::-1]], folds=("why",))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3 and all(word in lines[1] for word in ROW[:4])
    print_pairs([("signature", SIGNATURE * 3)])
    assert SIGNATURE * 3 in capsys.readouterr().out
