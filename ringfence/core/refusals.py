"""Refusals: why a command was turned down before anyone was asked.

A refusal is a value that the core or the engine returns; nothing was written, reserved or sent.  Each door owns a table
from these names to its own codes.
"""
from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """Named in the order in which ``decide`` looks: the first that is true is the answer.

    (The sum that an increment would make is looked at together with its other amounts, after the status.)
    """

    # about the payment
    PAYMENT_NOT_FOUND = "payment_not_found"
    CURRENCY_DIFFERS = "currency_differs"                # a payment keeps the currency it began with
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    AMOUNT_TOO_LARGE = "amount_too_large"                # a payment never exceeds 999 999 999 999 minor units
    PAYMENT_PENDING = "payment_pending"                  # the first operation waits for the payer
    PAYMENT_DECLINED = "payment_declined"                # the first operation was declined, failed, or reversed by us
    PAYMENT_VOIDED = "payment_voided"                    # given back before anything was captured, on purpose or by expiry
    PAYMENT_IS_PURCHASE = "payment_is_purchase"          # nothing is held, so nothing can be captured, changed or voided
    OUTCOME_UNKNOWN = "outcome_unknown"                  # an earlier operation has no believable answer yet
    ALREADY_CAPTURED = "already_captured"                # a void of the whole after a capture
    OPERATION_IN_PROGRESS = "operation_in_progress"      # cannot be decided before a pending outcome
    EXPIRY_NOT_DUE = "expiry_not_due"
    NOTHING_TO_VOID = "nothing_to_void"                  # no part of the hold is open
    EXCEEDS_CAPTURABLE = "exceeds_capturable"
    AUTHORIZATION_EXPIRED = "authorization_expired"      # its instant has passed
    NOTHING_CAPTURED = "nothing_captured"                # a refund before the first capture
    CHARGEBACK_DETECTED = "chargeback_detected"          # a refund that would fit, had the issuer not taken the money
    EXCEEDS_REFUNDABLE = "exceeds_refundable"
    REFUND_PERIOD_EXPIRED = "refund_period_expired"      # the payment method takes nothing back any more

    # about the key that names the intention
    KEY_USED = "key_used"                                # the intention was carried out before
    KEY_IN_PROGRESS = "key_in_progress"                  # the intention is being carried out, or its end is unknown
    KEY_CONTENT_DIFFERS = "key_content_differs"          # the same key with other content

    # about the means of payment
    TOKEN_NOT_FOUND = "token_not_found"
    TOKEN_INACTIVE = "token_inactive"
    TOKEN_IN_FLOW = "token_in_flow"                      # a tokenization left something for it that was not looked at yet
    CARD_NOT_KEPT = "card_not_kept"                      # only its first and last digits are known here
    INITIAL_PAYMENT_MISSING = "initial_payment_missing"  # a merchant-initiated payment must cite an approved first one
    CARD_BLOCKED = "card_blocked"                        # a hard decline ended merchant-initiated payments with it

    # about us
    SERVICE_UNAVAILABLE = "service_unavailable"          # the database is away and nothing was committed
