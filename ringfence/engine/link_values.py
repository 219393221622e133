"""What a payment link is to whoever asks about it: as it stands, as it was asked for, in its payer's hands, and why nothing was done."""
from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from ringfence.core.link import Problem, State
from ringfence.storage.links import Terms


class Why(StrEnum):
    """Why nothing was done."""

    SOMEONE_IS_PAYING = Problem.SOMEONE_IS_PAYING.value
    PAID = Problem.PAID.value
    EXPIRED = Problem.EXPIRED.value
    CANCELLED = Problem.CANCELLED.value
    NOT_FOUND = "not_found"
    REFERENCE_USED = "reference_used"           # it names another link, or an order
    REFERENCE_DIFFERS = "reference_differs"     # a link's reference cannot change
    AMOUNT = "amount"                           # below one minor unit, or above what a payment can have
    PAST = "past"                               # it would have expired already
    TOO_FAR = "too_far"                         # it would live for more than ten years
    MEDIUM_OFF = "medium_off"                   # this merchant, or this installation, sends no such messages
    NO_RECIPIENT = "no_recipient"               # nowhere to send it to
    TOO_MANY_MESSAGES = "too_many_messages"
    TOO_MANY_TRIES = "too_many_tries"
    TERMS_MISSING = "terms_missing"             # the merchant's terms must be shown, and nobody said where they are
    RETURN_URL = "return_url"                   # no address of this merchant
    PAYMENT_OPTION = "payment_option"           # no card that this merchant takes


class Refused(NamedTuple):
    """Nothing was done; ``field`` is to blame, where one is."""

    why: Why
    field: str = ""


class Order(NamedTuple):
    """What a link is asked for with.  ``reference`` is unique among the merchant's orders; ``actor`` is who asks."""

    reference: str
    terms: Terms
    actor: str


class Link(NamedTuple):
    """A link as it stands.  Instants are business time; ``url`` is what its payer opens; ``in_doubt``: a payment has no end yet."""

    merchant_id: int
    link_id: int
    reference: str
    terms: Terms
    state: State
    url: str
    created_at: datetime
    created_by: str
    paid_at: datetime | None
    payment_id: int | None
    in_doubt: bool = False


class Opened(NamedTuple):
    """A link in its payer's hands until ``until``.

    The payment takes the key ``order_key``; as its ``attempt``-th one, from 1, it adds ``#attempt`` behind the first.
    """

    link: Link
    order_key: str
    attempt: int
    until: datetime
