"""Problems: every reason code that the API answers with, and the status it goes with.

Source: Amazon Pay API v2, error codes.  Where its documents leave the status open, 422 says that the request was understood and the business
refuses it.  A caller decides by the code.
"""
from __future__ import annotations

from typing import NamedTuple

#: reasonCode -> HTTP status
STATUSES = {
    "InvalidHeaderValue": 400, "MissingHeader": 400, "MissingHeaderValue": 400, "InvalidRequest": 400, "InvalidRequestFormat": 400,
    "InvalidParameterValue": 400, "MissingParameterValue": 400, "InvalidParameterCombination": 400, "UnrecognizedField": 400,
    "CurrencyMismatch": 400, "DuplicateIdempotencyKey": 400, "InvalidSandboxSimulationSpecified": 400,
    "UnauthorizedAccess": 401, "ResourceNotFound": 404, "UnsupportedOperation": 405,
    "TransactionAmountExceeded": 422, "TransactionCountExceeded": 422, "InvalidChargePermissionStatus": 422, "InvalidChargeStatus": 422,
    "InvalidCheckoutSessionStatus": 422, "CheckoutSessionCanceled": 422,
    "SoftDeclined": 422, "HardDeclined": 422, "AmazonRejected": 422, "TransactionTimedOut": 422, "ProcessingFailure": 500,
    "TooManyRequests": 429, "InternalServerError": 500, "ServiceUnavailable": 503,
}

DECLINES = frozenset({"SoftDeclined", "HardDeclined", "AmazonRejected", "TransactionTimedOut", "ProcessingFailure"})
"""Of these a charge is left behind, declined: its key is used up."""


class Problem(NamedTuple):
    """A refusal: a code of ``STATUSES``, and a sentence for a person."""

    code: str
    message: str

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUSES[self.code]
