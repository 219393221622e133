"""Amazon's words in ours: reason codes as DE 39 values, and why a session that was not completed was not asked for.

Tables only.  The reason code itself travels verbatim beside them (``Declined.provider_code``); a code that is not here is a decline that
may work later, or says nothing, as ``KNOWN`` tells.
"""
from __future__ import annotations

from typing import NamedTuple

from ringfence.core.outcomes import Declined


class Meaning(NamedTuple):
    """DE 39, and a merchant advice code where it is sure that another try is in vain."""

    response_code: str
    advice: str = ""


STOP = "03"
"""Merchant advice: do not try again with this."""

#: What a declined charge, refund or session, or a refused question, is to our books.
DECLINES: dict[str, Meaning] = {
    "SoftDeclined":                  Meaning("05"),             # may work later
    "HardDeclined":                  Meaning("57", STOP),       # the buyer must change the payment method
    "AmazonRejected":                Meaning("59", STOP),       # Amazon's own decision, the permission goes with it
    "ProcessingFailure":             Meaning("96"),
    "TransactionTimedOut":           Meaning("91"),
    "TransactionAmountExceeded":     Meaning("61"),             # the permission's limit
    "TransactionCountExceeded":      Meaning("65"),             # 25 charges on one permission
    "InvalidChargePermissionStatus": Meaning("62"),             # closed, or for the time being not chargeable
    "InvalidChargeStatus":           Meaning("12"),
    "PaymentMethodNotAllowed":       Meaning("57"),
    "MFANotCompleted":               Meaning("1A"),
    "InvalidAccountStatus":          Meaning("03"),
    "CurrencyMismatch":              Meaning("12"),
    # why a charge or a session was canceled
    "ExpiredUnused":                 Meaning("54"),
    "Expired":                       Meaning("54"),
    "BuyerCanceled":                 Meaning("17"),
    "MerchantCanceled":              Meaning("17"),
    "AmazonCanceled":                Meaning("59"),
    "ChargePermissionCanceled":      Meaning("62"),
    "CheckoutSessionCanceled":       Meaning("17"),
    "Declined":                      Meaning("05"),
}

UNKNOWN_REASON = Meaning("05")

REFUSALS = frozenset({
    "InvalidHeaderValue", "MissingHeader", "MissingHeaderValue", "InvalidRequest", "InvalidRequestFormat", "InvalidParameterValue",
    "MissingParameterValue", "InvalidParameterCombination", "UnrecognizedField", "InvalidAPIVersion", "InvalidSandboxSimulationSpecified",
    "UnsupportedOperation", "ResourceNotFound",
})
"""Reason codes that blame the question: nothing happened, and it was ours to ask better.  ``DuplicateIdempotencyKey`` is not among them: what
was asked under the key before may have happened."""

#: Why a session that ends without a payment was "not asked": the words of ``NotAsked``.
CANCELED = "payer_canceled"
SESSION_DECLINED = "wallet_declined"
EXPIRED = "payer_timeout"
BY_AMAZON = "wallet_canceled"
SESSION_ENDS: dict[str, str] = {
    "BuyerCanceled": CANCELED, "Declined": SESSION_DECLINED, "Expired": EXPIRED, "AmazonCanceled": BY_AMAZON,
}

#: Why nothing was asked although a payment was wanted.
NO_ACCOUNT = "no_account"                   # the merchant has none at Amazon
NO_SESSION = "no_session"
SESSION_DIFFERS = "session_differs"         # it is another shop's, or another payment's
AMOUNT_DIFFERS = "amount_differs"           # it was sealed for another amount or intent
NOT_READY = "session_not_ready"             # the buyer has not approved yet
REFUSED = "refused"                         # Amazon blames the question
UNREACHABLE = "unreachable"
NOT_AUTHORIZED = "not_authorized"           # our configuration


def declined(reason: str, reference: str = "") -> Declined:
    """A decline for one of Amazon's reason codes, which stays readable in it."""
    meaning = DECLINES.get(reason, UNKNOWN_REASON)
    return Declined(meaning.response_code, meaning.advice, reference, reason)
