"""Tables of failures: every refusal, decline and reason has a row, and every code is one of the API's."""
from __future__ import annotations

import pytest

from ringfence.api.ppro.failures import NOT_ASKED, REFUSALS, RULES, By, declined, not_asked, refused
from ringfence.core.authentication import Ended
from ringfence.core.refusals import Refusal
from ringfence.core.response_codes import RESPONSE_CODES

INTERNAL_DECLINE = frozenset("""
    AGREEMENT_INACTIVE AGREEMENT_REVOKED AMOUNT_NOT_SUPPORTED BLOCKED_ACCOUNT BLOCKED_BIN BLOCKED_EMAIL BLOCKED_IP CANCELED_BY_CONSUMER
    CHARGEBACK_DETECTED COUNTRY_NOT_SUPPORTED EXCEEDS_AUTHORIZED_AMOUNT EXCEEDS_CAPTURED_AMOUNT EXCEEDS_REFUND_LIMIT EXCEEDS_REFUNDABLE_AMOUNT
    GENERIC_DECLINE HIGH_ACCOUNT_VELOCITY HIGH_BIN_VELOCITY HIGH_EMAIL_VELOCITY HIGH_IP_VELOCITY INSTRUMENT_NOT_FOUND INTERNAL_PROCESSING_ERROR
    INVALID_ACCOUNT INVALID_AMOUNT INVALID_AUTHENTICATION_SETTINGS INVALID_COUNTRY INVALID_CURRENCY INVALID_INPUT_DATA INVALID_IP
    INVALID_MANDATE_ID INVALID_PAYMENT_METHOD INVALID_TAX_ID MISSING_IBAN NO_AUTHORIZED_AMOUNT NO_CAPTURED_AMOUNT PAYMENT_METHOD_TIMEOUT
    SIMULTANEOUS_OPERATION_IN_PROGRESS""".split())
INTERNAL_ERROR = frozenset("INTERNAL_SERVICE_UNAVAILABLE INTERNAL_PROCESSING_ERROR".split())
PROVIDER_DECLINE = frozenset("""
    ACCOUNT_NOT_SUPPORTED AMOUNT_NOT_SUPPORTED AUTHENTICATION_FAILED BLOCKED_ACCOUNT CANCELED_BY_CONSUMER CARD_CLOSED_OR_INVALID
    COUNTRY_NOT_SUPPORTED CURRENCY_NOT_SUPPORTED DUPLICATE_DETECTED EXCEEDS_REFUNDABLE_AMOUNT EXPIRED_CARD EXPIRED_SESSION FORMAT_ERROR
    GENERIC_DECLINE INCORRECT_BILLING_ADDRESS INCORRECT_CVV INCORRECT_HOLDER_NAME INCORRECT_ISSUER INCORRECT_NUMBER INCORRECT_TAX_ID
    INSUFFICIENT_FUNDS INVALID_MERCHANT IS_EXCEEDING_ACCOUNT_LIMIT IS_GENERIC_DECLINE IS_HIGH_VELOCITY IS_NOT_PERMITTED
    REFUND_BLOCKED_TEMPORARILY REFUND_NOT_SUPPORTED REFUND_PERIOD_EXPIRED RETRY_REFUND_LATER SUS_FRAUD SUS_LOST SUS_STOLEN TRANSACTION_DISPUTED
    UNKNOWN""".split())
PROVIDER_ERROR = frozenset("UNRESPONSIVE_ISSUER UNRESPONSIVE_PROVIDER PROVIDER_PROCESSING_ERROR".split())
CODES = {
    By.INTERNAL_DECLINE: INTERNAL_DECLINE, By.INTERNAL_ERROR: INTERNAL_ERROR, By.PROVIDER_DECLINE: PROVIDER_DECLINE,
    By.PROVIDER_ERROR: PROVIDER_ERROR,
}

#: What is answered with an error status instead of a failure.
ELSEWHERE = {Refusal.PAYMENT_NOT_FOUND, Refusal.KEY_USED, Refusal.KEY_IN_PROGRESS, Refusal.KEY_CONTENT_DIFFERS}


def test_every_refusal_has_a_row():
    """Or another answer."""
    assert set(Refusal) - set(REFUSALS) == ELSEWHERE


@pytest.mark.parametrize("failure", [
    *(refused(refusal) for refusal in REFUSALS), refused("exceeds_captured"), refused("not_discarded"), *(declined(code) for code in RESPONSE_CODES),
    declined("ZZ"), *(not_asked(why) for why in (*NOT_ASKED, *Ended, "something new")), *(not_asked(f"ppro:{code}") for code in RULES),
], ids=lambda failure: f"{failure.by}-{failure.code}-{failure.provider_code}")
def test_every_failure_is_one_of_the_api(failure):
    """Its type and code go together, and it says something to people."""
    assert failure.code in CODES[failure.by] and failure.message
    told = failure.told()
    assert isinstance(told["failureMessage"], str) and told["failureType"] == failure.by and isinstance(told["isRetryable"], bool)
    assert failure.told_in_events().keys() <= {"failureType", "failureCode", "providerFailureCode", "failureMessage"}


def test_what_may_work_later_says_so():
    """Hard declines and stop advices do not."""
    assert declined("51").retry and declined("91").retry and not declined("41").retry and not declined("51", "03").retry
    assert declined("05", "03").told()["additionalData"] == {"merchantAdviceCode": "03", "merchantAdviceCodeText": "do not try this card again"}
