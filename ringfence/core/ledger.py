"""The ledger's table: the kind of a transfer fixes its debit and its credit account.

Nobody passes account names around, so a capture cannot be posted to a wrong account.  A transfer is one row and therefore
balances by construction; a mistake is undone by its reverse.  Balances are debits minus credits.  Four books stand side by
side: *hold* (promises of issuers), *doubt* (asked, outcome unknown) and *debt* (goods that left unpaid) are memo books and
never mix with *money*.
"""
from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from ringfence.core.commands import Kind


class Transferred(IntEnum):
    """The kinds of transfers.  The numbers are stored; they never change and are never used again."""

    AUTHORIZE = 1
    INCREASE = 2
    DECREASE = 3
    USE = 4
    USE_NOW = 5
    USE_LATE = 6
    USE_UNSECURED = 7
    UNUSE = 8
    VOID = 9
    VOID_UNSECURED = 10
    EXPIRE = 11
    EXPIRE_UNSECURED = 12
    UNSECURE = 13
    RESECURE = 14

    CAPTURE = 20
    CAPTURE_REJECTED = 21
    REFUND = 22
    REFUND_ASKED = 23
    REFUND_DONE = 24
    REFUND_FAILED = 25
    REFUND_RETURNED = 26
    MONEY_IN_SUSPENSE = 27
    SUSPENSE_RETURNED = 28
    CHARGEBACK = 29
    CHARGEBACK_BACK = 30
    DISPUTE_LOST = 31

    SETTLE_IN = 40
    SETTLE_OUT = 41
    SETTLE_SHORT = 42
    SETTLE_OVER = 43
    UNMATCHED_IN = 44
    UNMATCHED_OUT = 45
    FEE = 46
    RESERVE = 47
    RESERVE_BACK = 48
    PAID = 49
    MERCHANT_FEE = 50
    PAYOUT = 51
    MERCHANT_RESERVE = 52
    FX_OUT = 53
    FX_IN = 54
    LOSS = 55

    DEBT = 60
    DEBT_RECOVERED = 61
    DEBT_REOPENED = 62
    DEBT_FORGIVEN = 63
    DEBT_LOWERED = 64

    DOUBT_AUTHORIZATION = 70
    DOUBT_INCREMENT = 71
    DOUBT_PURCHASE = 72
    DOUBT_CAPTURE = 73
    DOUBT_VOID = 74
    DOUBT_REFUND = 75
    DOUBT_DECREMENT = 76
    DOUBT_AUTHORIZATION_ENDED = 80
    DOUBT_INCREMENT_ENDED = 81
    DOUBT_PURCHASE_ENDED = 82
    DOUBT_CAPTURE_ENDED = 83
    DOUBT_VOID_ENDED = 84
    DOUBT_REFUND_ENDED = 85
    DOUBT_DECREMENT_ENDED = 86


T = Transferred

#: kind -> (debit, credit).  "Balance" of an account is its debits minus its credits.
KINDS: dict[Transferred, tuple[str, str]] = {
    T.AUTHORIZE:         ("hold.open", "hold.promised"),
    T.INCREASE:          ("hold.open", "hold.promised"),
    T.DECREASE:          ("hold.voided", "hold.open"),
    T.USE:               ("hold.captured", "hold.open"),
    T.USE_NOW:           ("hold.captured", "hold.promised"),
    T.USE_LATE:          ("hold.captured", "hold.expired"),
    T.USE_UNSECURED:     ("hold.captured", "hold.unsecured"),
    T.UNUSE:             ("hold.unsecured", "hold.captured"),
    T.VOID:              ("hold.voided", "hold.open"),
    T.VOID_UNSECURED:    ("hold.voided", "hold.unsecured"),
    T.EXPIRE:            ("hold.expired", "hold.open"),
    T.EXPIRE_UNSECURED:  ("hold.expired", "hold.unsecured"),
    T.UNSECURE:          ("hold.unsecured", "hold.open"),
    T.RESECURE:          ("hold.open", "hold.unsecured"),

    T.CAPTURE:           ("processor.receivable", "merchant.payable"),
    T.CAPTURE_REJECTED:  ("merchant.payable", "processor.receivable"),
    T.REFUND:            ("merchant.payable", "processor.receivable"),
    T.REFUND_ASKED:      ("merchant.payable", "refund.pending"),
    T.REFUND_DONE:       ("refund.pending", "processor.receivable"),
    T.REFUND_FAILED:     ("refund.pending", "merchant.payable"),
    T.REFUND_RETURNED:   ("processor.receivable", "merchant.payable"),
    T.MONEY_IN_SUSPENSE: ("processor.receivable", "suspense"),
    T.SUSPENSE_RETURNED: ("suspense", "processor.receivable"),
    T.CHARGEBACK:        ("dispute.open", "processor.receivable"),
    T.CHARGEBACK_BACK:   ("processor.receivable", "dispute.open"),
    T.DISPUTE_LOST:      ("merchant.payable", "dispute.open"),

    T.SETTLE_IN:         ("processor.settling", "processor.receivable"),
    T.SETTLE_OUT:        ("processor.receivable", "processor.settling"),
    T.SETTLE_SHORT:      ("suspense", "processor.receivable"),
    T.SETTLE_OVER:       ("processor.settling", "suspense"),
    T.UNMATCHED_IN:      ("processor.settling", "suspense"),
    T.UNMATCHED_OUT:     ("suspense", "processor.settling"),
    T.FEE:               ("fee.cost", "processor.settling"),
    T.RESERVE:           ("processor.reserve", "processor.settling"),
    T.RESERVE_BACK:      ("processor.settling", "processor.reserve"),
    T.PAID:              ("bank", "processor.settling"),
    T.MERCHANT_FEE:      ("merchant.payable", "fee.income"),
    T.PAYOUT:            ("merchant.payable", "bank"),
    T.MERCHANT_RESERVE:  ("merchant.payable", "merchant.reserve"),
    T.FX_OUT:            ("fx.position", "processor.settling"),
    T.FX_IN:             ("processor.settling", "fx.position"),
    T.LOSS:              ("loss", "suspense"),

    T.DEBT:              ("debt.owed", "debt.incurred"),
    T.DEBT_RECOVERED:    ("debt.recovered", "debt.owed"),
    T.DEBT_REOPENED:     ("debt.owed", "debt.recovered"),
    T.DEBT_FORGIVEN:     ("debt.forgiven", "debt.owed"),
    T.DEBT_LOWERED:      ("debt.incurred", "debt.owed"),

    **{T[f"DOUBT_{kind.name}"]: (f"doubt.{kind}", "doubt.asked") for kind in Kind},
    **{T[f"DOUBT_{kind.name}_ENDED"]: ("doubt.asked", f"doubt.{kind}") for kind in Kind},
}

DOUBT = {kind: T[f"DOUBT_{kind.name}"] for kind in Kind}
DOUBT_ENDED = {kind: T[f"DOUBT_{kind.name}_ENDED"] for kind in Kind}

ACCOUNTS: tuple[str, ...] = tuple(sorted({account for pair in KINDS.values() for account in pair}))


def book_of(account: str) -> str:
    """The book an account stands in: hold, doubt, debt or money."""
    first = account.partition(".")[0]
    return first if first in ("hold", "doubt", "debt") else "money"


class Transfer(NamedTuple):
    """One ledger line to be posted: its kind, and minor units above zero of the payment's currency."""

    kind: Transferred
    minor: int
