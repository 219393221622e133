"""Failures: why something did not come about, told inside of the object concerned (PPRO Global API, section 4.3 and 4.4).

Tables from the core's refusals, from declines (DE 39) and from what was never asked to the API's codes; a test sees to it that every one has
a row.  Refuses to know objects.
"""
from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from ringfence.core.authentication import Ended
from ringfence.core.outcomes import HARD_ADVICE
from ringfence.core.redirection import Why
from ringfence.core.refusals import Refusal
from ringfence.core.response_codes import ADVICE, RESPONSE_CODES, meaning_of


class By(StrEnum):
    """Who said no (``failureType``)."""

    INTERNAL_DECLINE = "INTERNAL_DECLINE"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    PROVIDER_DECLINE = "PROVIDER_DECLINE"
    PROVIDER_ERROR = "PROVIDER_ERROR"


class Failure(NamedTuple):
    """``failure`` of an object.  ``message`` is for people; ``retry``: whether the same may succeed later."""

    by: By
    code: str
    message: str
    retry: bool = False
    provider_code: str = ""
    advice: str = ""

    def told(self) -> dict[str, Any]:
        """As an answer has it."""
        said: dict[str, Any] = {"failureType": self.by, "failureCode": self.code}
        if self.provider_code:
            said["providerFailureCode"] = self.provider_code
        said |= {"failureMessage": self.message, "isRetryable": self.retry}
        if self.advice:
            said["additionalData"] = {"merchantAdviceCode": self.advice, "merchantAdviceCodeText": ADVICE.get(self.advice, "")}
        return said

    def told_in_events(self) -> dict[str, Any]:
        """As a webhook has it."""
        said = self.told()
        return {name: said[name] for name in ("failureType", "failureCode", "providerFailureCode", "failureMessage") if name in said}


def _ours(code: str, message: str, retry: bool = False) -> Failure:
    return Failure(By.INTERNAL_DECLINE, code, message, retry)


_NO_AUTHORIZED = _ours("NO_AUTHORIZED_AMOUNT", "Nothing authorized is left")
_BUSY = _ours("SIMULTANEOUS_OPERATION_IN_PROGRESS", "Another operation on this payment charge is in progress", True)
_NOTHING_TO_REFUND = _ours("EXCEEDS_REFUNDABLE_AMOUNT", "Nothing is left to refund")
_UNAVAILABLE = Failure(By.INTERNAL_ERROR, "INTERNAL_SERVICE_UNAVAILABLE", "The service is not available", True)

#: Why a command was turned down.  What is answered with an error status instead (a key, an object that is not there) is not here.
REFUSALS: dict[Refusal, Failure] = {
    Refusal.CURRENCY_DIFFERS: _ours("INVALID_CURRENCY", "The currency is not that of the payment charge"),
    Refusal.AMOUNT_NOT_POSITIVE: _ours("INVALID_AMOUNT", "The amount must be positive"),
    Refusal.AMOUNT_TOO_LARGE: _ours("AMOUNT_NOT_SUPPORTED", "The amount is too large"),
    Refusal.PAYMENT_PENDING: _BUSY,
    Refusal.PAYMENT_DECLINED: _NO_AUTHORIZED,
    Refusal.PAYMENT_VOIDED: _NO_AUTHORIZED,
    Refusal.PAYMENT_IS_PURCHASE: _NO_AUTHORIZED,
    Refusal.OUTCOME_UNKNOWN: _BUSY,
    Refusal.ALREADY_CAPTURED: _NO_AUTHORIZED,
    Refusal.OPERATION_IN_PROGRESS: _BUSY,
    Refusal.EXPIRY_NOT_DUE: _BUSY,
    Refusal.NOTHING_TO_VOID: _NO_AUTHORIZED,
    Refusal.EXCEEDS_CAPTURABLE: _ours("EXCEEDS_AUTHORIZED_AMOUNT", "More than what is still authorized"),
    Refusal.AUTHORIZATION_EXPIRED: _NO_AUTHORIZED,
    Refusal.NOTHING_CAPTURED: _NOTHING_TO_REFUND,
    Refusal.CHARGEBACK_DETECTED: _ours("CHARGEBACK_DETECTED", "The money was charged back, or is disputed"),
    Refusal.EXCEEDS_REFUNDABLE: _ours("EXCEEDS_REFUNDABLE_AMOUNT", "More than what is left to refund"),
    Refusal.REFUND_PERIOD_EXPIRED: Failure(By.PROVIDER_DECLINE, "REFUND_PERIOD_EXPIRED", "The payment method's time for refunds is over"),
    Refusal.TOKEN_NOT_FOUND: _ours("INSTRUMENT_NOT_FOUND", "There is no such instrument"),
    Refusal.TOKEN_INACTIVE: _ours("INSTRUMENT_NOT_FOUND", "There is no such instrument"),
    Refusal.TOKEN_IN_FLOW: _ours("INSTRUMENT_NOT_FOUND", "The instrument is not finished"),
    Refusal.CARD_NOT_KEPT: _ours("INSTRUMENT_NOT_FOUND", "The card number is not kept"),
    Refusal.INITIAL_PAYMENT_MISSING: _ours("INVALID_INPUT_DATA", "A merchant-initiated charge needs an approved one of the consumer before"),
    Refusal.CARD_BLOCKED: _ours("BLOCKED_ACCOUNT", "The issuer wants no further merchant-initiated charges with this card"),
    Refusal.SERVICE_UNAVAILABLE: _UNAVAILABLE,
}

EXCEEDS_CAPTURED = "exceeds_captured"
"""A refusal of this door alone: a refund of more than was ever captured (section 4.4)."""
NOT_DISCARDED = "not_discarded"
"""... and a discard of what has been decided."""
_OWN = {
    EXCEEDS_CAPTURED: _ours("EXCEEDS_CAPTURED_AMOUNT", "Refund exceeds the captured amount"),
    NOT_DISCARDED: _ours("GENERIC_DECLINE", "The payment charge can no longer be discarded"),
}


def refused(refusal: str) -> Failure:
    """What an operation is told that was turned down."""
    return _OWN.get(refusal) or REFUSALS[Refusal(refusal)]


#: DE 39 -> the provider's decline.  A code without a row is generic, and may be retried by its class.
_DECLINES = {
    **dict.fromkeys(("04", "34", "35", "36", "37", "59", "63", "R1", "R3"), "SUS_FRAUD"), "07": "SUS_FRAUD", "41": "SUS_LOST", "43": "SUS_STOLEN",
    **dict.fromkeys(("14", "15"), "INCORRECT_NUMBER"), "33": "EXPIRED_CARD", "54": "EXPIRED_CARD", "46": "CARD_CLOSED_OR_INVALID",
    **dict.fromkeys(("39", "42", "44", "52", "53", "56"), "ACCOUNT_NOT_SUPPORTED"), "51": "INSUFFICIENT_FUNDS",
    **dict.fromkeys(("57", "58", "62", "93"), "IS_NOT_PERMITTED"), "61": "IS_EXCEEDING_ACCOUNT_LIMIT", "65": "IS_HIGH_VELOCITY",
    "75": "IS_HIGH_VELOCITY", **dict.fromkeys(("82", "N7"), "INCORRECT_CVV"), "1A": "AUTHENTICATION_FAILED", "6P": "INCORRECT_HOLDER_NAME",
    "03": "INVALID_MERCHANT", "30": "FORMAT_ERROR", "94": "DUPLICATE_DETECTED", "R0": "CANCELED_BY_CONSUMER", "13": "AMOUNT_NOT_SUPPORTED",
    "12": "IS_NOT_PERMITTED", "5C": "BLOCKED_ACCOUNT", "9G": "CANCELED_BY_CONSUMER",
}
_ERRORS = {
    "91": "UNRESPONSIVE_ISSUER", "68": "UNRESPONSIVE_PROVIDER", "92": "UNRESPONSIVE_PROVIDER", "80": "UNRESPONSIVE_PROVIDER",
    **dict.fromkeys(("06", "09", "20", "22", "81", "86", "88", "90", "96", "97", "98"), "PROVIDER_PROCESSING_ERROR"),
}
_RETRY = frozenset("ST")
MESSAGES = {"51": "Insufficient funds"}


#: A provider's own word for a decline, which is told verbatim -> what it is here (sections 16.4 and 18.2).  Others go by their DE 39.
_WALLET: dict[str, tuple[By, str, bool, str]] = {
    "SoftDeclined": (By.PROVIDER_DECLINE, "GENERIC_DECLINE", True, "The wallet declined for now"),
    "HardDeclined": (By.PROVIDER_DECLINE, "IS_GENERIC_DECLINE", False, "The wallet declined; its consumer must pay with something else"),
    "AmazonRejected": (By.PROVIDER_DECLINE, "SUS_FRAUD", False, "The wallet rejected the payment"),
    "ProcessingFailure": (By.PROVIDER_ERROR, "PROVIDER_PROCESSING_ERROR", True, "The wallet could not process the payment"),
    "TransactionTimedOut": (By.PROVIDER_ERROR, "UNRESPONSIVE_PROVIDER", True, "The wallet ran out of time"),
    "BuyerCanceled": (By.PROVIDER_DECLINE, "CANCELED_BY_CONSUMER", False, "The consumer cancelled"),
    "InvalidChargePermissionStatus": (By.PROVIDER_DECLINE, "IS_NOT_PERMITTED", True, "The consumer's permission allows no charge now"),
    # the mock authenticator
    "MockDecline": (By.PROVIDER_DECLINE, "GENERIC_DECLINE", True, "Payment Authorization Failed"),
    "MockInsufficientFunds": (By.PROVIDER_DECLINE, "INSUFFICIENT_FUNDS", True, "Payment Authorization Failed, insufficient funds"),
}


def declined(code: str, advice: str = "", theirs: str = "") -> Failure:
    """A decline of the issuer, by its DE 39 and merchant advice; of a wallet by ``theirs``, its own word for it."""
    row = meaning_of(code)
    if theirs in _WALLET:
        by, ours, retry, said = _WALLET[theirs]
        return Failure(by, ours, said, retry, theirs)
    if theirs:
        return declined(code)._replace(provider_code=theirs)
    message = MESSAGES.get(code, row.meaning.capitalize())
    if code in _ERRORS:
        return Failure(By.PROVIDER_ERROR, _ERRORS[code], message, True, code)
    retry = row.letter in _RETRY and advice not in HARD_ADVICE
    return Failure(By.PROVIDER_DECLINE, _DECLINES.get(code, "IS_GENERIC_DECLINE" if not retry else "GENERIC_DECLINE"), message, retry, code, advice)


UNLISTED = frozenset(RESPONSE_CODES) - _DECLINES.keys() - _ERRORS.keys()
"""Codes that are told as generic."""

CANCELED = Failure(By.PROVIDER_DECLINE, "CANCELED_BY_CONSUMER", "The consumer cancelled")
_AUTHENTICATION = Failure(By.PROVIDER_DECLINE, "AUTHENTICATION_FAILED", "The consumer was not authenticated")
PROCESSING = Failure(By.INTERNAL_ERROR, "INTERNAL_PROCESSING_ERROR", "The payment charge could not be carried out", True)

#: Why nobody was asked -> the failure.  What the door itself turns down is kept as the code with ``OURS`` before it.
NOT_ASKED: dict[str, Failure] = {
    Ended.FAILED: _AUTHENTICATION,
    Ended.CANCELLED: CANCELED,
    Ended.TIMEOUT: _AUTHENTICATION._replace(code="EXPIRED_SESSION", message="The consumer did not act in time", retry=True),
    Ended.MISUSED: _AUTHENTICATION,
    Ended.CODE_GONE: _AUTHENTICATION._replace(code="EXPIRED_SESSION", message="The card must be entered again", retry=True),
    Why.FAILED: _AUTHENTICATION,
    # a wallet's session that ended without a payment
    Why.CANCELED: CANCELED._replace(provider_code="BuyerCanceled"),
    Why.DECLINED: Failure(By.PROVIDER_DECLINE, "GENERIC_DECLINE", "The wallet declined", provider_code="Declined"),
    Why.EXPIRED: _AUTHENTICATION._replace(
        code="EXPIRED_SESSION", message="The consumer did not act in time", retry=True, provider_code="Expired"),
    Why.CLOSED: Failure(By.PROVIDER_DECLINE, "GENERIC_DECLINE", "The wallet cancelled the payment", provider_code="AmazonCanceled"),
    "unreachable": _UNAVAILABLE, "no_account": _ours("INVALID_PAYMENT_METHOD", "The merchant has no account with this payment method"),
    "deadline": _UNAVAILABLE, "card": PROCESSING, "database": _UNAVAILABLE, "unavailable": _UNAVAILABLE,
}
OURS = "ppro:"
"""Before the code of what this door turned down itself, as an operation that nobody was asked about keeps it."""

WITHOUT_NUMBER = "WITHOUT_NUMBER"
"""A rule that has no code of the API to itself."""
_CODES = {WITHOUT_NUMBER: "INVALID_INPUT_DATA"}
#: What this door turns down when a charge is made.
RULES: dict[str, str] = {
    "INVALID_CURRENCY": "The currency is not supported by this payment method",
    "AMOUNT_NOT_SUPPORTED": "The amount is outside of what this payment method supports",
    "COUNTRY_NOT_SUPPORTED": "The country is not supported by this payment method",
    "INVALID_AUTHENTICATION_SETTINGS": "authenticationSettings lacks the entry this payment method needs, with a returnUrl that is allowed",
    "INVALID_PAYMENT_METHOD": "This payment method is not available",
    "INSTRUMENT_NOT_FOUND": "There is no such instrument",
    "INVALID_INPUT_DATA": "This payment method needs more than was given",
    WITHOUT_NUMBER: "The number of the network token was never given",
    "AGREEMENT_INACTIVE": "The payment agreement is not active",
    "AGREEMENT_REVOKED": "The payment agreement was revoked",
    "PAYMENT_METHOD_TIMEOUT": "The payment method did not answer in time",
}


#: What was approved and did not last, by the kind of operation.
UNDONE: dict[str, Failure] = {
    "capture": Failure(By.PROVIDER_DECLINE, "GENERIC_DECLINE", "Clearing rejected the capture"),
    "refund": Failure(By.PROVIDER_DECLINE, "GENERIC_DECLINE", "The refund came back"),
}


def not_asked(why: str) -> Failure:
    """What a ``NotAsked`` is told as."""
    if why.startswith(OURS):
        code = why.removeprefix(OURS)
        return _ours(_CODES.get(code, code), RULES.get(code, code))
    return NOT_ASKED.get(why, PROCESSING)
