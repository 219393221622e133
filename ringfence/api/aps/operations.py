"""Operations: what the APS wire can be asked, one row each.

Decides which key and value name an operation, which parameters it must and may carry, which of them its answer may repeat, and the
codes of success and failure.  Refuses to know how an operation is carried out.

Answers hold only keys that the official .NET client knows for that operation, because it rebuilds the signed text from its own model;
operations that client does not have echo every parameter but secrets.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from ringfence.api.aps.fields import CARD_FIELDS, FIELDS, FRAUD

COMMON = ("merchant_identifier", "access_code", "language")
KEYS = ("command", "service_command", "query_command")
"""The keys that name an operation, the first present wins."""

RESULT = frozenset({
    "fort_id", "response_code", "response_message", "status", "signature", "reconciliation_reference", "processor_response_code",
})
"""What any answer may hold beside what it repeats."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to pay: chosen by ``eci`` and by whether the request carries a token or a card."""

    name: str
    channel: str                        # the account's channel it needs
    eci: str
    mandatory: tuple[str, ...]          # beyond the operation's own
    forbidden: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.  ``success`` is a whole response code, ``failure`` the status (two digits) that its refusals carry."""

    key: str
    name: str
    success: str
    failure: str
    mandatory: tuple[str, ...]
    one_of: tuple[str, ...]             # at least one of these
    accepts: frozenset[str]             # every parameter it knows
    echoes: frozenset[str]              # those that come back unchanged; a card number comes back masked
    answers: frozenset[str]             # every key its answer may hold
    unsigned: frozenset[str]            # parameters that some clients leave out of the signature
    variants: tuple[Variant, ...]
    service: str                        # the account's service it needs, "" for none
    endpoint: str                       # the address it is served at, below ``/FortAPI/``


REPORTING = "reportingApi"

#: The result of a 3DS server of the merchant's own, or of ours ahead of the payment: for cards in the request only.
EXTERNAL = frozenset({"3ds_xid", "3ds_enrolled", "3ds_status", "3ds_eci", "ver_token"})
CARD_NOT_WITH_TOKEN = frozenset({"expiry_date"}) | EXTERNAL
#: 6.3 to 6.6.  A token may go with a card (it then names the token to make), but a card's expiry never goes with a token alone.
VARIANTS = (
    Variant("token", "merchant_page", "ECOMMERCE", ("token_name", "customer_ip"), CARD_NOT_WITH_TOKEN),
    Variant("card", "trusted", "ECOMMERCE", ("card_number", "expiry_date", "card_security_code")),
    Variant("moto token", "moto", "MOTO", ("token_name",), CARD_NOT_WITH_TOKEN),
    Variant("moto card", "trusted", "MOTO", ("card_number", "expiry_date"), EXTERNAL),
    Variant("recurring", "recurring", "RECURRING", ("token_name",), frozenset({"card_number", "card_security_code"}) | CARD_NOT_WITH_TOKEN),
)

_BILLING = frozenset(name for name in FIELDS if name.startswith(("billing_", "shipping_")))
_APP = frozenset(name for name in FIELDS if name.startswith("app_"))
_EXTRAS = frozenset({"merchant_extra", *(f"merchant_extra{n}" for n in range(1, 6))})

#: 6.1: the card is typed on our own page, or known by its token.
REDIRECTION = Variant("redirection", "redirection", "ECOMMERCE", (), frozenset({"card_number", "expiry_date", "card_security_code"}))

_PAYMENT_ECHOED = frozenset({
    "customer_email", "token_name", "payment_option", "sadad_olp", "eci", "order_description", "customer_ip", "customer_name",
    "card_holder_name", "expiry_date", "card_number", "remember_me", "return_url", "phone_number", "settlement_reference",
    "agreement_id", "recurring_mode", "recurring_transactions_count", "amount", "currency",
}) | _EXTRAS | _BILLING | _APP
_PAYMENT_SILENT = frozenset(FRAUD) | {
    "card_security_code", "check_3ds", "flex_value", "recurring_expiry_date", "recurring_days_between_payments",
    "statement_descriptor",
} | EXTERNAL
_PAYMENT_RESULT = frozenset({
    "authorization_code", "knet_ref_number", "third_party_transaction_number", "3ds_url", "acquirer_response_code",
    "acquirer_response_message", "fraud_comment", "payment_link_id",
})
_ACQUIRER = frozenset({"acquirer_response_code", "acquirer_response_message"})
_TRANSACTION = frozenset({"transaction_status", "transaction_code", "transaction_message"})
_TOTALS = frozenset({"authorized_amount", "captured_amount", "refunded_amount", "authorization_code"})

_PAYMENT_MANDATORY = ("merchant_reference", "amount", "currency", "customer_email")
_EITHER_ID = ("merchant_reference", "fort_id")


def _row(
    named: str, success: str, failure: str, mandatory: tuple[str, ...] = (), *, one_of: tuple[str, ...] = (),
    optional: frozenset[str] = frozenset(), silent: frozenset[str] = frozenset(), result: frozenset[str] = frozenset(),
    unsigned: frozenset[str] = frozenset(), variants: tuple[Variant, ...] = (), service: str = "", endpoint: str = "paymentApi",
) -> Operation:
    key, _, name = named.partition("=")
    echoed = frozenset({key, *COMMON, *mandatory, *one_of}) | optional
    common = COMMON[:-1] if endpoint == REPORTING else COMMON       # reports come in English where nobody says otherwise
    return Operation(
        key, name, success, failure, common + mandatory, one_of, echoed | silent | {"signature"},
        echoed - silent, echoed - silent | result | RESULT, unsigned, variants, service, endpoint,
    )


OPERATIONS: dict[tuple[str, str], Operation] = {(row.key, row.name): row for row in (
    _row("command=AUTHORIZATION", "02000", "03", _PAYMENT_MANDATORY, optional=_PAYMENT_ECHOED, silent=_PAYMENT_SILENT,
         result=_PAYMENT_RESULT, variants=VARIANTS),
    _row("command=PURCHASE", "14000", "13", _PAYMENT_MANDATORY, optional=_PAYMENT_ECHOED, silent=_PAYMENT_SILENT,
         result=_PAYMENT_RESULT, variants=VARIANTS),
    _row("command=CAPTURE", "04000", "05", ("amount", "currency"), one_of=_EITHER_ID, optional=frozenset({"order_description"}),
         result=_ACQUIRER),
    # An old table lists amount and currency; no client sends them, and the answer never holds them.
    _row("command=VOID_AUTHORIZATION", "08000", "09", one_of=_EITHER_ID, optional=frozenset({"order_description"}),
         silent=frozenset({"amount", "currency"})),
    _row("command=REFUND", "06000", "07", ("amount", "currency"), one_of=_EITHER_ID,
         optional=frozenset({"maintenance_reference", "order_description"})),
    # Third-party codes: only the processor's, the one such key that every client's model knows.
    _row("query_command=CHECK_STATUS", "12000", "11", one_of=_EITHER_ID, silent=frozenset({"return_third_party_response_codes"}),
         result=_TRANSACTION | _TOTALS),
    _row("service_command=CREATE_TOKEN", "52062", "53", ("merchant_reference", "card_number", "expiry_date", "return_url"),
         optional=frozenset({"currency", "token_name", "card_holder_name"}), result=frozenset({"card_bin"}), unsigned=CARD_FIELDS,
         service="tokenization"),
    _row("service_command=UPDATE_TOKEN", "58000", "59", ("merchant_reference", "token_name"),
         optional=frozenset({"token_status", "expiry_date", "card_holder_name", "currency", "new_token_name"}),
         result=frozenset({"card_number", "card_brand", "card_bin", "creation_date"}), service="tokenization"),
    _row("query_command=GET_TOKENS", "54000", "55", optional=frozenset({"from_date", "to_date", "response_format"}),
         result=frozenset({"data", "data_count"}), service="tokenization"),
    _row("service_command=SDK_TOKEN", "22000", "21", ("device_id",), result=frozenset({"sdk_token"}), service="mobile_sdk"),
    _row("service_command=VERIFY_CARD", "80000", "81", ("merchant_reference", "currency", "card_number", "expiry_date"),
         optional=frozenset({"settlement_reference", "card_holder_name", "eci"}), silent=frozenset({"card_security_code"}),
         result=frozenset({"payment_option", "card_bin"}) | _ACQUIRER, service="verify_card"),
    _row("service_command=UPLOAD_BATCH_FILE", "50000", "51", ("batch_reference",), result=frozenset({"batch_id"}), service="batch"),
    _row("service_command=GET_BATCH_RESULTS", "70000", "71", ("batch_reference",), optional=frozenset({"batch_id"}),
         result=frozenset({"batch_id", "transactions_count"}), service="batch"),
    _row("service_command=PROCESS_BATCH", "72147", "73", ("batch_reference",), optional=frozenset({"batch_id"}),
         result=frozenset({"batch_id"}), service="batch"),
    _row("query_command=CHECK_VERIFY_CARD_STATUS", "12000", "11", ("merchant_reference",), result=_TRANSACTION, service="verify_card"),
    _row("query_command=GENERATE_REPORT", "56000", "57", ("merchant_reference", "from_date", "to_date", "columns"),
         optional=frozenset({"filters", "response_format"}), service="reporting", endpoint=REPORTING),
    _row("query_command=DOWNLOAD_REPORT", "56000", "57", ("merchant_reference",), optional=frozenset({"response_format"}),
         result=frozenset({"data", "data_count"}), service="reporting", endpoint=REPORTING),
    _row("service_command=3DS_ENROLLMENT", "44000", "45", ("merchant_reference", "amount", "currency", "merchant_3ds_url"),
         one_of=("card_number", "token_name"), optional=frozenset({"expiry_date", "card_holder_name", "customer_email", "customer_ip"}),
         result=frozenset({"threeds_id", "3ds_url", "3ds_enrolled", "payment_option"}), service="three_d_secure"),
    _row("service_command=3DS_AUTHENTICATION", "44000", "45", ("merchant_reference", "threeds_id"), silent=frozenset({"third_party_body"}),
         result=frozenset({"3ds_eci", "3ds_status", "3ds_xid", "3ds_enrolled", "ver_token"}), service="three_d_secure"),
    _row("service_command=PAYMENT_LINK", "48000", "49",
         ("merchant_reference", "amount", "currency", "customer_email", "request_expiry_date", "notification_type"),
         optional=frozenset({"customer_phone", "customer_name", "order_description", "return_url", "payment_option", "link_command",
                             "payment_link_id"}),
         result=frozenset({"payment_link"}), service="payment_links"),
    _row("query_command=CHECK_PAYMENT_LINK_STATUS", "12000", "11", one_of=("payment_link_id", "merchant_reference"),
         result=frozenset({"payment_link", "payment_link_status", "request_expiry_date", "amount", "currency"}), service="payment_links"),
)}

#: 6.2, asked with a form at the payment page, never here.  The card comes with the form, or is typed into our own page.
TOKENIZATION = _row(
    "service_command=TOKENIZATION", "18000", "17", ("merchant_reference",),
    optional=CARD_FIELDS | {"return_url", "token_name", "amount", "currency", "customer_country_code"},
    silent=_APP | {"card_security_code", "customer_ip", "customer_email"}, result=frozenset({"card_bin"}), unsigned=CARD_FIELDS,
    service="tokenization")

#: What a browser's form may ask of the payment page.  Payments differ in the way to pay only.
PAGE: dict[tuple[str, str], Operation] = {(row.key, row.name): row for row in (
    replace(OPERATIONS["command", "AUTHORIZATION"], variants=(REDIRECTION,)),
    replace(OPERATIONS["command", "PURCHASE"], variants=(REDIRECTION,)),
    TOKENIZATION, OPERATIONS["service_command", "CREATE_TOKEN"],
)}

SERVICE_INACTIVE, ELSEWHERE = "00093", "00034"
#: Known by name and not served at this address: the caller hears that the service is inactive, never that its command is unknown.
UNAVAILABLE: dict[tuple[str, str], str] = {
    ("service_command", "TOKENIZATION"): ELSEWHERE,                 # a browser's form post to the payment page
    ("query_command", "GET_INSTALLMENTS_PLANS"): "00783",
    ("service_command", "CURRENCY_CONVERSION"): SERVICE_INACTIVE,
    ("service_command", "OTP_GENERATE"): SERVICE_INACTIVE,
    ("service_command", "GENERATE_OTP"): SERVICE_INACTIVE,
    ("service_command", "OTP_VERIFY"): SERVICE_INACTIVE,
    ("service_command", "CUSTOMER_VERIFY"): SERVICE_INACTIVE,
}


class Endpoint(NamedTuple):
    """What can be asked at one address, and what is known by name there and not served."""

    operations: dict[tuple[str, str], Operation]
    unavailable: dict[tuple[str, str], str]


PAYMENT_API = Endpoint(OPERATIONS, UNAVAILABLE)
PAYMENT_PAGE = Endpoint(PAGE, dict.fromkeys(OPERATIONS.keys() - PAGE.keys(), ELSEWHERE) | {
    named: code for named, code in UNAVAILABLE.items() if named not in PAGE})

#: Every operation by its name, to know what an answer repeats.
KNOWN = PAGE | OPERATIONS

#: Parameters of a payment that ask for features this service does not have; known, hence not "extra", and refused by what they ask for.
FEATURES_ABSENT: dict[str, str] = {
    **dict.fromkeys(("digital_wallet", "apple_data", "apple_signature", "apple_header", "apple_paymentMethod", "call_id", "otp",
                     "products"), "00014"),
    **dict.fromkeys(("installments", "plan_code", "issuer_code"), "00783"),
}

#: What an answer repeats when the operation itself could not be told.
ECHO_UNKNOWN = frozenset().union(*(row.echoes for row in OPERATIONS.values()))


def variant_of(operation: Operation, given: dict[str, str]) -> Variant | None:
    """The way to pay that a request means, ``None`` for operations that have only one.  An unknown ``eci`` counts as ECOMMERCE."""
    if len(operation.variants) < 2:
        return operation.variants[0] if operation.variants else None
    eci = given.get("eci")
    if eci == "RECURRING":
        return VARIANTS[4]
    card = "card_number" in given or ("expiry_date" in given and "token_name" not in given)
    return VARIANTS[(2 if eci == "MOTO" else 0) + card]


def brand_message(operation: Operation, eci: str, brand: str, asked: str = "") -> str | None:
    """Why a card of ``brand`` cannot be used so: a message code, or ``None``.

    mada and Meeza are purchase-only (049) and for customers who are present (113); ``asked`` is the request's ``payment_option``, which
    must not contradict the card (110).
    """
    if asked and asked != brand:
        return "110"
    if brand in ("MADA", "MEEZA"):
        if operation.name != "PURCHASE":
            return "049"
        if eci != "ECOMMERCE":
            return "113"
    return None
