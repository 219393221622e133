"""What callers hand to the engine, and what they get back.

An intent is a command with everything around it: whose it is, by which door and under which key it came, what it is paid
with.  The core never sees those; the processor sees what it needs.

What is read twenty times before it is done with is a ``Struct``: made as fast as a tuple, and read at half the price of a named one.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from ringfence.core.card import Pan, SecurityCode
from ringfence.core.commands import Command, Initiation, Kind
from ringfence.core.outcomes import Outcome
from ringfence.core.payment import Operation, Payment
from ringfence.core.redirection import Redirect
from ringfence.core.refusals import Refusal
from ringfence.engine.authentication import Demand
from ringfence.engine.vault import StoredCard, Token
from ringfence.processors.processor import Original
from ringfence.storage.payments import Held, OperationRow


def processor_key(operation_id: int, resubmitted: bool = False) -> str:
    """The key a processor sees: one for an operation, whoever asks and however often.

    It ends in the number of the message: repeats, inquiries and reversals are about the first one, but for an operation that is asked
    ``resubmitted`` behind an issuer's wish for an authentication: then the first one was declined, and the second counts.
    """
    return f"{operation_id}-2" if resubmitted else f"{operation_id}-1"


class CardInHand(Struct, frozen=True, gc=False):
    """The means of payment of one request; it lives as long as the request."""

    pan: Pan | None                         # None: only the original payment can be cited
    expiry: str = ""                        # YYMM
    security_code: SecurityCode | None = None
    stored: StoredCard | None = None
    token: Token | None = None              # it was paid with: must still be as it was read when the intent commits
    keep_as: str = ""                       # name of a token to make once the payment is approved
    holder: str = ""
    one_token: bool = False                 # the merchant wants one token for a card: the one that is there, before one is made


class Intent(Struct, frozen=True, gc=False):
    """One command on its way.  ``payment_id`` is the operation's own id where it begins a payment."""

    merchant_id: int
    merchant: str                           # its identifier
    payment_id: int
    command: Command
    door: str
    actor: str                              # credential, person or job
    source: str
    content: bytes                          # HMAC of what was asked, without the security code
    reference: str | None = None
    key: str | None = None                  # names the intention, unique per merchant
    asks_again: bool = False                # a key whose operation was declined may be used again
    details: bytes | None = None            # JSON the door echoes later
    processor: str = ""
    card: CardInHand | None = None
    original: Original | None = None        # later operations: what the first message was
    initiation: Initiation = Initiation.CARDHOLDER
    channel: str = "ecommerce"
    magic: bool = False                     # sandbox: amounts may choose the outcome
    describe: Callable[[CardInHand], bytes] | None = None   # ``details`` anew, where the token had changed meanwhile
    demand: Demand | None = None            # whether the payer must be authenticated; None: never asked
    resubmitted: bool = False               # see ``processor_key``
    never_asked: str = ""                   # the door turned it down before: why; it is stored, and nobody is asked
    account: str = ""                       # what stands for the payer's account at a wallet
    redirect: Redirect | None = None        # the payer is sent away first


class Earlier(NamedTuple):
    """The operation that holds a key already."""

    payment_id: int
    operation_id: int
    result: str | None                      # None: no outcome yet
    response_code: str | None
    same_content: bool


class Reserved(NamedTuple):
    """An accepted intent, committed: the processor may be asked until ``deadline`` (wall time)."""

    intent: Intent
    operation: Operation
    held: Held
    row: OperationRow                       # as it is stored
    deadline: datetime
    asked_at: datetime | None = None        # business time, as it is stored


class Ended(NamedTuple):
    """What the processor said to a reserved intent.

    ``reverse``: should that count as unknown, a reversal is decided in the same commit.
    """

    reserved: Reserved
    outcome: Outcome
    reverse: bool = False


class Result(Struct, frozen=True, gc=False):
    """What became of an intent.

    Exactly one of ``refusal`` (nothing was asked) and ``outcome`` is set.  ``receipt`` names the committed batch.
    """

    payment: Payment | None = None
    operation: Operation | None = None
    outcome: Outcome | None = None
    refusal: Refusal | None = None
    earlier: Earlier | None = None
    receipt: str = ""
    at: datetime | None = None              # business time of the outcome
    card: CardInHand | None = None          # the means of payment as it was used, where its token had changed meanwhile
    kept_as: str | None = None              # the token that was really made; "" for none, ``None``: as was intended
    asked_at: datetime | None = None        # business time of the operation, where its outcome is its own

    @property
    def kind(self) -> Kind | None:
        """The kind of the operation, where one was accepted."""
        return self.operation.kind if self.operation else None
