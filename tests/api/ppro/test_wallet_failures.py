"""What a wallet says no with, as PPRO's failures: the mapping of Amazon's words, each told verbatim beside ours."""
from __future__ import annotations

import pytest

from ringfence.api.ppro.failures import declined, not_asked
from ringfence.processors.amazon_pay import codes
from ringfence.processors.mock import WORDS

#: Amazon's word for a declined charge or refund, and for a session that was canceled, and what it is at this door.
TABLE = """
SoftDeclined               PROVIDER_DECLINE GENERIC_DECLINE            retry
HardDeclined               PROVIDER_DECLINE IS_GENERIC_DECLINE         final
AmazonRejected             PROVIDER_DECLINE SUS_FRAUD                  final
ProcessingFailure          PROVIDER_ERROR   PROVIDER_PROCESSING_ERROR  retry
TransactionTimedOut        PROVIDER_ERROR   UNRESPONSIVE_PROVIDER      retry
TransactionAmountExceeded  PROVIDER_DECLINE IS_EXCEEDING_ACCOUNT_LIMIT retry
BuyerCanceled              PROVIDER_DECLINE CANCELED_BY_CONSUMER       final
session:BuyerCanceled      PROVIDER_DECLINE CANCELED_BY_CONSUMER       final
session:Declined           PROVIDER_DECLINE GENERIC_DECLINE            final
session:Expired            PROVIDER_DECLINE EXPIRED_SESSION            retry
session:AmazonCanceled     PROVIDER_DECLINE GENERIC_DECLINE            final
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines())
def test_a_wallets_word_is_told_verbatim_and_decides_what_it_is_called(line: str):
    """Through the outcome that the processor gives it."""
    said, kind, code, retry = line.split()
    word = said.removeprefix("session:")
    if word != said:
        failure = not_asked(codes.SESSION_ENDS[word])
    else:
        outcome = codes.declined(word)
        failure = declined(outcome.response_code, outcome.advice, outcome.provider_code)
    assert (failure.by, failure.code, failure.retry, failure.provider_code) == (kind, code, retry == "retry", word)


@pytest.mark.parametrize("reason", sorted(codes.DECLINES))
def test_every_reason_has_a_failure(reason: str):
    """None is told as nothing, and none without its own word."""
    outcome = codes.declined(reason)
    failure = declined(outcome.response_code, outcome.advice, outcome.provider_code)
    assert failure.code and failure.message and failure.provider_code == reason


@pytest.mark.parametrize(("response_code", "code", "message"), [
    ("05", "GENERIC_DECLINE", "Payment Authorization Failed"),
    ("51", "INSUFFICIENT_FUNDS", "Payment Authorization Failed, insufficient funds")])
def test_the_mock_method_says_no_in_its_own_words(response_code: str, code: str, message: str):
    """Those of section 18.2."""
    failure = declined(response_code, theirs=WORDS[response_code])
    assert (failure.by, failure.code, failure.message) == ("PROVIDER_DECLINE", code, message)
