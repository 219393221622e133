"""Codes: what statuses, refusals and declines are called on the APS wire.

A response code is a status (two digits) and a message (three digits).  Decides which message stands for which refusal of the core and
which response code of the issuer.  Refuses to know when one happens.
"""
from __future__ import annotations

from ringfence.api.aps.messages import MESSAGES
from ringfence.core.authentication import Ended
from ringfence.core.commands import Kind
from ringfence.core.refusals import Refusal

STATUSES: dict[str, str] = {
    "00": "Invalid request",                "01": "Order stored",                   "02": "Authorization success",
    "03": "Authorization failed",           "04": "Capture success",                "05": "Capture failed",
    "06": "Refund success",                 "07": "Refund failed",                  "08": "Authorization voided",
    "09": "Void failed",                    "10": "Incomplete",                     "11": "Check status failed",
    "12": "Check status success",           "13": "Purchase failure",               "14": "Purchase success",
    "15": "Uncertain transaction",          "17": "Tokenization failed",            "18": "Tokenization success",
    "19": "Transaction pending",            "20": "On hold",                        "21": "SDK token failure",
    "22": "SDK token success",              "23": "Digital wallet failed",          "24": "Digital wallet success",
    "27": "Check card balance failed",      "28": "Check card balance success",     "29": "Redemption failed",
    "30": "Redemption success",             "31": "Reverse redemption failed",      "32": "Reverse redemption success",
    "40": "In review",                      "42": "Currency conversion success",    "43": "Currency conversion failed",
    "44": "3ds success",                    "45": "3ds failed",                     "46": "Bill creation success",
    "47": "Bill creation failed",           "48": "Payment link success",           "49": "Payment link failed",
    "50": "Batch upload success",           "51": "Batch upload failed",            "52": "Token created",
    "53": "Token creation failed",          "54": "Get tokens success",             "55": "Get tokens failed",
    "56": "Reporting success",              "57": "Reporting failed",               "58": "Token updated",
    "59": "Token update failed",            "62": "Installment plans success",      "63": "Installment plans failed",
    "66": "Delete token success",           "70": "Batch results success",          "71": "Batch results failed",
    "72": "Batch processing success",       "73": "Batch processing failed",        "74": "Bank transfer success",
    "75": "Bank transfer failed",           "76": "Batch validation success",       "77": "Batch validation failed",
    "80": "Card verified",                  "81": "Card verification failed",       "88": "OTP generated",
    "89": "OTP generation failed",          "90": "Customer verified",              "91": "Customer verify failed",
    "92": "OTP verified",                   "93": "OTP verify failed",
}

UNKNOWN_OUTCOME = "15777"
"""Authorized or paid perhaps: the client asks CHECK_STATUS."""
ORDER_NOT_FOUND = "12036"
"""CHECK_STATUS of an order that is not there; the query itself worked."""

#: The message of every refusal; where the operation makes a difference the pair has its own row.
REFUSAL_CODES: dict[Refusal | tuple[Refusal, Kind], str] = {
    Refusal.PAYMENT_NOT_FOUND: "036",
    Refusal.CURRENCY_DIFFERS: "013",
    Refusal.AMOUNT_NOT_POSITIVE: "005",
    Refusal.AMOUNT_TOO_LARGE: "005",
    Refusal.PAYMENT_PENDING: "662",
    Refusal.PAYMENT_DECLINED: "662",
    Refusal.PAYMENT_VOIDED: "773",
    (Refusal.PAYMENT_VOIDED, Kind.VOID): "047",
    Refusal.PAYMENT_IS_PURCHASE: "034",
    Refusal.OUTCOME_UNKNOWN: "784",
    Refusal.OPERATION_IN_PROGRESS: "784",
    Refusal.AUTHORIZATION_EXPIRED: "773",
    (Refusal.AUTHORIZATION_EXPIRED, Kind.VOID): "047",
    Refusal.ALREADY_CAPTURED: "034",
    Refusal.EXCEEDS_CAPTURABLE: "042",
    Refusal.NOTHING_TO_VOID: "034",
    Refusal.NOTHING_CAPTURED: "048",
    Refusal.CHARGEBACK_DETECTED: "048",
    Refusal.EXCEEDS_REFUNDABLE: "048",
    Refusal.EXPIRY_NOT_DUE: "034",
    Refusal.REFUND_PERIOD_EXPIRED: "034",

    # An order's reference is used up for ever; a refund's while it runs and once it succeeded.
    Refusal.KEY_USED: "066",
    (Refusal.KEY_USED, Kind.AUTHORIZATION): "007",
    (Refusal.KEY_USED, Kind.PURCHASE): "007",
    Refusal.KEY_IN_PROGRESS: "784",
    (Refusal.KEY_IN_PROGRESS, Kind.AUTHORIZATION): "007",
    (Refusal.KEY_IN_PROGRESS, Kind.PURCHASE): "007",
    Refusal.KEY_CONTENT_DIFFERS: "066",
    (Refusal.KEY_CONTENT_DIFFERS, Kind.AUTHORIZATION): "007",
    (Refusal.KEY_CONTENT_DIFFERS, Kind.PURCHASE): "007",

    Refusal.TOKEN_NOT_FOUND: "044",
    Refusal.TOKEN_INACTIVE: "044",
    Refusal.TOKEN_IN_FLOW: "006",                   # tokenized again and again while it was paid with
    Refusal.CARD_NOT_KEPT: "044",                   # nothing is behind the token that could be charged
    Refusal.INITIAL_PAYMENT_MISSING: "088",
    Refusal.CARD_BLOCKED: "666",
    Refusal.SERVICE_UNAVAILABLE: "006",
}


def refusal_message(refusal: Refusal, kind: Kind | None = None) -> str:
    """The three digits that say ``refusal`` of an operation of that kind."""
    return REFUSAL_CODES.get((refusal, kind)) or REFUSAL_CODES[refusal]


#: The payer was asked to authenticate.
CHALLENGED = "20064"

#: What is said of a payment that its authentication ended, by the reason why nobody was asked for the money: whole codes.  None of them is
#: among those that clients take for "on hold", and a time-out has not the status 00, whose answers leave an order's number unused.
AUTHENTICATION_CODES: dict[str, str] = {
    Ended.FAILED: "10030", Ended.CANCELLED: "00072", Ended.TIMEOUT: "10778", Ended.CODE_GONE: "10778",
}
MISMATCH = "152"


def not_asked_code(failure: str, why: str) -> str:
    """The whole code of a payment nobody was asked for; ``failure`` is the operation's failure status."""
    if why == Ended.MISUSED:
        return failure + MISMATCH
    return AUTHENTICATION_CODES.get(why) or failure + refusal_message(Refusal.SERVICE_UNAVAILABLE)


#: What a decline is called, by ISO 8583 DE 39; everything else is "Transaction declined".
DECLINE_CODES: dict[str, str] = {"51": "029", "54": "012", "33": "012", "14": "016", "15": "031"}
DECLINED = "666"


def decline_message(response_code: str) -> str:
    """The three digits for a decline with that DE 39."""
    return DECLINE_CODES.get(response_code, DECLINED)


#: ``acquirer_response_message`` by ``acquirer_response_code`` (ISO 8583 DE 39, 1987 meanings).
ACQUIRER_MESSAGES: dict[str, str] = {
    "00": "Success",                        "01": "Refer to issuer",                "03": "Invalid merchant",
    "04": "Pick up card",                   "05": "Do not honour",                  "12": "Invalid transaction",
    "13": "Invalid amount",                 "14": "Invalid card number",            "15": "No such issuer",
    "30": "Format error",                   "33": "Expired card",                   "41": "Lost card",
    "43": "Stolen card",                    "51": "Insufficient funds",             "54": "Expired card",
    "55": "Incorrect PIN",                  "57": "Transaction not permitted to cardholder",
    "58": "Transaction not permitted to terminal",                                  "59": "Suspected fraud",
    "61": "Exceeds amount limit",           "62": "Restricted card",                "63": "Security violation",
    "65": "Exceeds frequency limit",        "75": "PIN tries exceeded",             "91": "Issuer inoperative",
    "94": "Duplicate transmission",         "96": "System malfunction",
}


def acquirer_message(response_code: str) -> str:
    """The text beside an acquirer's code; a code of no table is simply a decline."""
    return ACQUIRER_MESSAGES.get(response_code, "Declined")


#: Messages whose text ends with the parameter they are about (``Missing parameter: customer_email``).
NAMING = frozenset({"001", "002", "027", "032", "033"})


def text_of(message: str, language: str, named: str = "") -> str:
    """``response_message`` for three digits, in the request's language, at most 150 characters."""
    row = MESSAGES[message]
    text = row.ar if language == "ar" else row.en
    return f"{text}: {named}"[:150] if named and message in NAMING else text
