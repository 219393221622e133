"""What callers may send, as tables: one object of the API a table, one field a row (PPRO Global API, sections 7 to 14).

Decides names, forms and limits.  What a field means, and which a payment method wants, is for others to say.
"""
from __future__ import annotations

from collections.abc import Iterator
from string import ascii_uppercase
from typing import Any

from ringfence.api.ppro.kinds import (
    INT32,
    REQUIRED,
    Anything,
    Day,
    Flag,
    Listed,
    Map,
    Moment,
    Object,
    Problem,
    Problems,
    Row,
    Tagged,
    Text,
    Whole,
    members,
    nullable,
)
from ringfence.core.commands import MAX_MINOR
from ringfence.core.money import CURRENCIES

METHODS = ("AMAZON_PAY", "CARD", "MOCK")
MEDIUMS = ("ECOMMERCE", "MOTO", "POS")
INITIATORS = ("CONSUMER", "MERCHANT")
SCHEDULES = ("UNSCHEDULED", "SCHEDULED", "SCHEDULED_RETRY", "RECURRING")
REFUND_REASONS = ("RETURN", "DUPLICATE", "FRAUD", "CUSTOMER_REQUEST", "PRE_DISPUTE", "OTHER")

TEXT = Row(Text())
COUNTRY = Text(2, 2, "[A-Z]{2}", usual=tuple(first + second for first in ascii_uppercase for second in ascii_uppercase))
LABELS = Row(Map())
MINOR = Whole(1, MAX_MINOR)
WEBHOOKS_URL = Row(Text(2000, 1, r"https?://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]", called="an address that begins with https://"))
"""http is refused later, where it does not lead to this machine: that depends on the installation."""


def _texts(*names: str) -> dict[str, Row]:
    return dict.fromkeys(names, TEXT)




class _Currency:
    """A currency of ISO 4217."""

    words = tuple(sorted(CURRENCIES))

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is not str:
            problems.append(Problem(path, "must be a text"))
        elif value not in CURRENCIES:
            problems.append(Problem(path, "is not a currency of ISO 4217"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.words)}


CURRENCY = Row(_Currency(), True)
MONEY = Object("Money", {"value": Row(MINOR, True), "currency": CURRENCY})

ADDRESS = Object("Address", {
    **_texts("firstName", "lastName", "phoneNumber", "street", "postalCode", "city", "region"), "country": Row(COUNTRY)})

_V4 = r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
CLIENT = Object("Client", {
    "ip": Row(Text(45, 2, rf"{_V4}|[0-9a-fA-F]{{0,4}}(?::[0-9a-fA-F]{{0,4}}){{1,6}}:(?:[0-9a-fA-F]{{0,4}}|{_V4})",
                   called="an address of IPv4 or IPv6")),
    "userAgent": Row(Text(500))})

EMAIL = Text(254, 3, r"[^@ \x00]+@[^@ \x00]+", called="an e-mail address")
CONSUMER = Object("Consumer", {
    **_texts("name", "phone", "taxIdentification", "merchantConsumerReference"),
    "email": Row(EMAIL), "birthDate": Row(Day()), "country": Row(COUNTRY, True),
    "locale": Row(Text(6, 5, "[a-z]{2,3}-[A-Z]{2}", called="a locale such as en-US")), "client": Row(CLIENT), "billingAddress": Row(ADDRESS),
    "profile": Row(Object("ConsumerProfile", {
        "createdDate": Row(Text(40)), "firstOrderDate": Row(Text(40)), "lastOrderDate": Row(Text(40)),
        "lifetimeOrderCount": Row(Whole(0)), "lifetimeOrderValue": Row(Whole(0)), "lifetimeCanceledOrderCount": Row(Whole(0))})),
})

CONSUMER_UPDATE = Object("ConsumerUpdate", {"taxIdentification": TEXT, "client": Row(CLIENT)})
"""Of a charge under an agreement: who pays is known."""

# ---------------------------------------------------------------------------------------------------------------- orders

INDUSTRY = {
    "AIRLINE": Object("Airline", {
        **_texts("pnr", "airlineCode", "passengerEmail", "passengerPhone", "passengerName", "carrierCode"),
        "numberOfPassengers": Row(Whole(1, INT32[1])),
        "tripSegments": Row(Listed(Object("TripSegment", _texts(
            "fareBasisCode", "departureAirportCode", "destinationAirportCode", "flightNumber", "departureDate", "flightCarrierCode",
            "segmentId")))),
    }),
    "EDUCATION": Object("Education", {
        **_texts("admissionNoticeUrl"), "courseStartDate": Row(Day()), "courseEndDate": Row(Day()),
        **dict.fromkeys(("financedCourse", "diplomaCourse", "postHighSchoolCourse"), Row(Flag()))}),
    "TRAVEL": Object("Travel", {
        "travelType": Row(Text(words=("UNKNOWN", "ONE_WAY", "TWO_WAY", "MULTIPLE"))), "departureDate": Row(Day()), "returnDate": Row(Day()),
        **_texts("departureLocation", "arrivalLocation", "destinationCountry", "travelCompany", "travelClass", "stayCompany", "stayDestination",
                 "stayRoomRange"),
        **dict.fromkeys(("travelerCount", "stayNightsCount"), Row(Whole(0, INT32[1]))),
        **dict.fromkeys(("buyerAmongTravelers", "travelInsured", "travelDiscountVoucher", "luggageSupplement",
                         "travelCanBeModifiedOrCanceled"), Row(Flag()))}),
}


class _Flat:
    """``{"type": …, …}``: the members stand beside the type."""

    name, of = "IndustryData", INDUSTRY

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        tag = value.get("type") if type(value) is dict else None
        if type(tag) is not str or tag not in self.of:
            problems.append(Problem(f"{path}.type", f"must be one of {', '.join(self.of)}"))
            return None
        return {"type": tag, **(self.of[tag].read(value, path, problems) or {})}

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self) -> dict[str, Any]:
        """The schema itself, for ``components``."""
        return {"oneOf": [
            {"type": "object", "properties": {"type": {"const": tag}, **members(kind.rows)["properties"]}, "required": ["type"]}
            for tag, kind in self.of.items()]}

    def parts(self) -> Iterator[Any]:
        """The kinds it consists of."""
        for kind in self.of.values():
            yield from kind.parts()


ORDER = Object("Order", {
    "orderItems": Row(Listed(Object("OrderItem", {
        **_texts("sku", "category", "subCategory"), "name": Row(Text(512, 1), True), "quantity": Row(Whole(*INT32), True),
        "amount": Row(Whole(), True)}), 500)),
    "shippingMethod": Row(Text(words=(
        "VIRTUAL", "TRACKED_DELIVERY", "UNTRACKED_DELIVERY", "IN_STORE_PICKUP", "LOCKER_PICKUP", "HYBRID"))),
    "shippingAddress": Row(ADDRESS), "orderReferenceNumber": TEXT, "totalTaxAmount": Row(Whole()),
    "installmentPlan": Row(Object("InstallmentPlan", {
        "numberOfInstallments": Row(Whole(1, 999), True), "feePaidBy": Row(Text(words=("MERCHANT", "CONSUMER")))})),
    "industryData": Row(Listed(_Flat(), 20)),
})

# -------------------------------------------------------------------------------------------------------- authentication

ECI = Row(Text(2, 1, "[0-9]{1,2}"))
_GIVEN: dict[str, Any] = {"not": {"type": "null"}}


def _result_or_why_none(read: dict[str, Any], path: str, problems: Problems) -> None:
    if "authenticationStatus" not in read and "outOfScope" not in read and "exemptionReason" not in read.get("challenge", {}):
        problems.append(Problem(f"{path}.authenticationStatus", f"{REQUIRED} without outOfScope or challenge.exemptionReason"))


EXTERNAL_3DS = Object("External3DSSettings", {
    "authenticationStatus": Row(Text(words=("SUCCESS", "ATTEMPT_ACKNOWLEDGED", "FAILED", "AUTHENTICATION_UNAVAILABLE"))),
    "authenticationStatusReason": Row(Text(words=tuple("""
        CARD_AUTHENTICATION_FAILED UNKNOWN_DEVICE UNSUPPORTED_DEVICE EXCEEDS_AUTHENTICATION_FREQUENCY_LIMIT EXPIRED_CARD INVALID_CARD_NUMBER
        INVALID_TRANSACTION NO_CARD_RECORD SECURITY_FAILURE STOLEN_CARD SUSPECTED_FRAUD TRANSACTION_NOT_PERMITTED_TO_CARDHOLDER
        CARDHOLDER_NOT_ENROLLED_IN_SERVICE TRANSACTION_TIMED_OUT_AT_THE_ACS LOW_CONFIDENCE MEDIUM_CONFIDENCE HIGH_CONFIDENCE
        VERY_HIGH_CONFIDENCE EXCEEDS_ACS_MAXIMUM_CHALLENGES NON_PAYMENT_TRANSACTION_NOT_SUPPORTED THREE_RI_TRANSACTION_NOT_SUPPORTED
        """.split()))),
    "authenticationValue": Row(Text(100, secret=True)), "authenticationAlgorithm": TEXT,
    "authenticationMode": Row(Text(words=("SCA", "FRICTIONLESS"))), "eci": ECI, **_texts("version", "externalId", "externalAcsId", "score"),
    "challenge": Row(Object("Challenge", {
        "preference": Row(Text(words=(
            "NO_PREFERENCE", "NO_CHALLENGE_REQUESTED", "CHALLENGE_REQUESTED", "CHALLENGE_MANDATED", "DATA_ONLY"))),
        "outcome": Row(Text(words=("CHALLENGE", "FRICTIONLESS", "DATA_ONLY"))),
        "exemptionReason": Row(Text(words=("LOW_VALUE", "LOW_RISK", "TRUSTED_BENEFICIARY", "FIXED_RECURRING"))),
        "cancellationReason": Row(Text(words=(
            "CARDHOLDER_CANCELLED", "REQUESTOR_CANCELLED", "TRANSACTION_ABANDONED", "TRANSACTION_TIMEOUT_ACS_OTHER",
            "TRANSACTION_TIMEOUT_ACS_CREQ_NOT_RECEIVED", "TRANSACTION_ERROR", "UNKNOWN")))})),
    "outOfScope": Row(Object("OutOfScope", {"reason": Row(Text(words=("MIT", "MOTO", "ONE_LEG_OUT", "ANONYMOUS")))})),
}, _result_or_why_none, {"anyOf": [
    *({"required": [name], "properties": {name: _GIVEN}} for name in ("authenticationStatus", "outOfScope")),
    {"required": ["challenge"], "properties": {"challenge": {
        "type": "object", "required": ["exemptionReason"], "properties": {"exemptionReason": _GIVEN}}}}]})
"""A result, or why nobody was authenticated: strong authentication does not apply, or the merchant claims an exemption."""

RETURN_URL = Row(Text(2000, 1))
_SETTINGS = {
    "REDIRECT": Object("RedirectSettings", {"returnUrl": RETURN_URL}),
    "3DS": Object("ThreeDSSettings", {"returnUrl": RETURN_URL, "preference": Row(Text(words=("CHALLENGE", "FRICTIONLESS")))}),
    "EXTERNAL_3DS": EXTERNAL_3DS,
    "SCAN_CODE": Object("ScanCodeSettings", {"scanBy": Row(Moment())}),
    "MULTI_FACTOR": Object("MultiFactorSettings", {"verificationCode": Row(Text(64))}),
    "APP_NOTIFICATION": Object("AppNotificationSettings", {"instrumentProviderIdentity": TEXT}),
}
AUTHENTICATION_OF_AGREEMENT = Tagged("AgreementAuthenticationSetting", "settings", _SETTINGS, optional=True)
AUTHENTICATION = Tagged("AuthenticationSetting", "settings", _SETTINGS | {
    "APP_INTENT": Object("AppIntentSettings", {"mobileIntentUri": Row(Text(2000))})}, optional=True)

# ---------------------------------------------------------------------------------------------------------- instruments

MONTH, YEAR = Whole(1, 12, digits="0?[1-9]|1[0-2]"), Whole(2000, 2099, digits="20[0-9]{2}")
BRAND = Row(Text(40, 1, "[A-Z0-9_]+"))
CVV = Row(Text(4, 3, "[0-9]+", secret=True))
NUMBER = Text(19, 12, "[0-9]+", secret=True)


def _bank(holder: bool) -> dict[str, Row]:
    return _texts("accountNumber", "holderName", "iban", "swiftCode", "bankName", "bankCode", "debitMandateId") | {
        "country": Row(COUNTRY), "debitMandateIdMigrated": Row(Flag())}


RAW_CARD = Object("RawCard", {
    "brand": BRAND, "number": Row(NUMBER, True), "cvv": CVV, "holderName": Row(Text(512, 1), True), "expiryMonth": Row(MONTH, True),
    "expiryYear": Row(YEAR, True)})


NETWORK_TOKEN = Object("CardNetworkToken", {
    "brand": BRAND._replace(required=True), "holderName": Row(Text(512, 1), True), "expiryMonth": Row(MONTH, True),
    "expiryYear": Row(YEAR, True), "tokenNumber": Row(NUMBER, True), "eci": ECI, "cryptogram": Row(Text(100, secret=True))})
_OF_NUMBER = ("holderName", "expiryMonth", "expiryYear")


def _whole_or_none(read: dict[str, Any], path: str, problems: Problems) -> None:
    if "tokenNumber" in read:
        problems += [Problem(f"{path}.{name}", f"{REQUIRED} with tokenNumber") for name in _OF_NUMBER if name not in read]


NETWORK_TOKEN_TO_KEEP = Object(
    "CardNetworkTokenToKeep", {name: row._replace(required=name == "brand") for name, row in NETWORK_TOKEN.rows.items()}, _whole_or_none,
    {"if": {"required": ["tokenNumber"], "properties": {"tokenNumber": _GIVEN}},
     "then": {"required": [*_OF_NUMBER], "properties": dict.fromkeys(_OF_NUMBER, _GIVEN)}})
"""One that is not paid with at once, whose number may come later; see ``instruments``."""

_INSTRUMENTS = {
    "RAW_CARD": RAW_CARD,
    "BANK_ACCOUNT": Object("BankAccount", _bank(True)),
    "BANCONTACT_ACCOUNT": Object("BancontactAccount", {
        "bin": Row(Text(8, 6, "[0-9]{6}(?:[0-9]{2})?"), True), "last4Digits": Row(Text(4, 4, "[0-9]{4}"), True), "expiryMonth": Row(MONTH, True),
        "expiryYear": Row(YEAR, True), "panAlias": Row(Text(), True), **_texts("iban", "swiftCode")}),
    "PASSTHROUGH_WALLET": Object("PassthroughWallet", {"fundingType": Row(Text(words=("CREDIT", "DEBIT")))}),
    "UPI_AUTOPAY": Object("UpiAutopay", {"uniqueMandateNumber": TEXT}),
    "MOCK": Anything("MockInstrument"),
}
_VALIDATE = {"validate": Row(Object("InstrumentValidation", {
    "currency": CURRENCY, "taxIdentification": TEXT}))}
INSTRUMENT = Tagged("Instrument", "details", _INSTRUMENTS | {"CARD_NETWORK_TOKEN": NETWORK_TOKEN})
INSTRUMENT_REQUEST = Tagged("InstrumentRequest", "details", _INSTRUMENTS | {
    "CARD_NETWORK_TOKEN": NETWORK_TOKEN_TO_KEEP, "AMAZON_PAY": Object("AmazonPayAccount", {"consumerEmail": Row(EMAIL)}),
    "KLARNA_ACCOUNT": Object("KlarnaAccount", _texts("authorizedPaymentMethod", "billingCategory")), "TWINT_WALLET": Object("TwintWallet", {}),
}, _VALIDATE, beside_of=("RAW_CARD",))
INSTRUMENT_UPDATE = Tagged("InstrumentUpdate", "details", {"RAW_CARD": Object("FreshSecurityCode", {"cvv": CVV._replace(required=True)})})

# -------------------------------------------------------------------------------------------------------------- charges

REFERENCE = Row(Text(512))
CHARGE_REFERENCE = Row(Text(512), aliases=("paymentChargeMerchantReference",))
CITED = {"initialSchemeAuthorizationReference": TEXT, "initialTransactionLinkReference": TEXT}


def _one_instrument(read: dict[str, Any], path: str, problems: Problems) -> None:
    where = f"{path}." if path else ""
    if "instrument" in read and "instrumentId" in read:
        problems.append(Problem(f"{where}instrument", "cannot be given together with instrumentId"))
    if "instrumentUpdateDetails" in read and "instrumentId" not in read:
        problems.append(Problem(f"{where}instrumentUpdateDetails", "needs instrumentId"))


_AT_MOST_ONE: dict[str, Any] = {"not": {"required": ["instrument", "instrumentId"], "properties": {"instrument": _GIVEN, "instrumentId": _GIVEN}}}
_UPDATED: dict[str, Any] = {"if": {"required": ["instrumentUpdateDetails"], "properties": {"instrumentUpdateDetails": _GIVEN}},
                            "then": {"required": ["instrumentId"], "properties": {"instrumentId": _GIVEN}}}
_OF_CARD: dict[str, Any] = {"anyOf": [
    {"properties": {"paymentMethod": {"const": "CARD"}, "instrument": _GIVEN}, "required": ["instrument"]},
    {"properties": {"paymentMethod": {"const": "CARD"}, "instrumentId": _GIVEN}, "required": ["instrumentId"]},
    {"properties": {"paymentMethod": {"not": {"const": "CARD"}}}}]}


_WITH_NAME: dict[str, Any] = {"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}}
_OF_ACCOUNT: dict[str, Any] = {"if": {"required": ["paymentMethod"], "properties": {"paymentMethod": {"const": "AMAZON_PAY"}}},
                               "then": {"properties": {"consumer": _WITH_NAME}}}


def _charge_of_card(read: dict[str, Any], path: str, problems: Problems) -> None:
    _one_instrument(read, path, problems)
    if read["paymentMethod"] == "CARD" and "instrument" not in read and "instrumentId" not in read:
        problems.append(Problem("instrument", REQUIRED))


METHOD = Row(Text(64, 1, "[A-Z0-9_]+", usual=METHODS), True)
CHARGE = Object("PaymentChargeRequest", {
    "paymentMethod": METHOD, "amount": Row(MONEY, True), "consumer": Row(CONSUMER, True), "paymentMedium": Row(Text(words=MEDIUMS)),
    "paymentDescriptor": TEXT, "initiator": Row(Text(words=INITIATORS)), "scheduleType": Row(Text(words=SCHEDULES)),
    "instrumentId": Row(Text(100)), "instrument": Row(INSTRUMENT), "instrumentUpdateDetails": Row(INSTRUMENT_UPDATE), "order": Row(ORDER),
    "merchantPaymentChargeReference": CHARGE_REFERENCE, "authenticationSettings": Row(Listed(AUTHENTICATION, 10)), "autoCapture": Row(Flag()),
    "webhooksUrl": WEBHOOKS_URL, **CITED, "labels": LABELS,
}, _charge_of_card, {"allOf": [_AT_MOST_ONE, _UPDATED, _OF_CARD, _OF_ACCOUNT]})

_CODE: dict[str, Any] = {"required": ["details"], "properties": {"details": {
    "type": "object", "required": ["verificationCode"], "properties": {"verificationCode": {"pattern": "^[0-9]{6}$"}}}}}
OPERATIONS = {
    "captures": Object("CaptureRequest", {"amount": Row(MINOR, True), "merchantCaptureReference": REFERENCE, "labels": LABELS}),
    "voids": Object("VoidRequest", {"amount": Row(MINOR, True), "merchantVoidReference": REFERENCE, "labels": LABELS}),
    "refunds": Object("RefundRequest", {
        "amount": Row(MINOR, True), "merchantRefundReference": REFERENCE, "refundDescriptor": TEXT, "labels": LABELS,
        "refundReason": Row(Text(words=REFUND_REASONS, misspelt={"DUPLCIATE": "DUPLICATE"}))}),
    "discards": Object("DiscardRequest", {"merchantDiscardReference": REFERENCE}),
    "authorizations": Object("AuthorizationRequest", {"authenticationResult": Row(Object("AuthenticationResult", {
        "type": Row(Text(words=("MULTI_FACTOR",))), "details": Row(Map(50, 64, 512))}, also={"allOf": [_CODE]}), True)}),
}

# ----------------------------------------------------------------------------------------------------------- agreements


class _OldMoney:
    """Money whose value may be called ``amount``; both only where they agree."""

    name = "AgreementMoney"

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        if type(value) is dict and value.get("amount") is not None:
            if value.get("value") is not None and value["value"] != value["amount"]:
                problems.append(Problem(f"{path}.amount", f"differs from {path}.value"))
            value = {**value, "value": value["amount"]}
        return MONEY.read(value, path, problems)

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self) -> dict[str, Any]:
        """The schema itself, for ``components``."""
        known = members(MONEY.rows)["properties"]
        value, said = nullable(known["value"]), {"not": {"type": "null"}}
        return {"type": "object", "properties": known | {"value": value, "amount": value | {"deprecated": True}}, "required": ["currency"],
                "anyOf": [{"required": [name], "properties": {name: said}} for name in ("value", "amount")]}


class _MoneyWithReference:
    """Money of an initial charge, which may hold the charge's reference; one beside it counts more."""

    name = "InitialMoney"

    def read(self, value: Any, path: str, problems: Problems) -> Any:
        found = MONEY.read(value, path, problems)
        if found is not None and (reference := value.get("merchantPaymentChargeReference")) is not None:
            found["merchantPaymentChargeReference"] = Text().read(reference, f"{path}.merchantPaymentChargeReference", problems)
        return found

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/components/schemas/{self.name}"}

    def definition(self) -> dict[str, Any]:
        """The schema itself, for ``components``."""
        money = MONEY.definition()
        return money | {"properties": money["properties"] | {"merchantPaymentChargeReference": nullable(Text().schema()) | {"deprecated": True}}}


_UNDER_AGREEMENT = {
    "initiator": Row(Text(words=INITIATORS)), "scheduleType": Row(Text(words=SCHEDULES)), "autoCapture": Row(Flag()), "paymentDescriptor": TEXT,
    "order": Row(ORDER), "merchantPaymentChargeReference": CHARGE_REFERENCE, "webhooksUrl": WEBHOOKS_URL, "labels": LABELS,
    "authenticationSettings": Row(Listed(AUTHENTICATION, 10)), "consumer": Row(CONSUMER_UPDATE),
}
AGREEMENT_CHARGE = Object("AgreementPaymentChargeRequest", {"amount": Row(_OldMoney(), True), **_UNDER_AGREEMENT, **CITED})


def _reference_beside(read: dict[str, Any], path: str, problems: Problems) -> None:
    inner = read["amount"].pop("merchantPaymentChargeReference", None)
    if inner is not None:
        read.setdefault("merchantPaymentChargeReference", inner)


INITIAL_CHARGE = Object("InitialPaymentCharge", {"amount": Row(_MoneyWithReference(), True), **_UNDER_AGREEMENT}, _reference_beside)

_LIMITED: dict[str, Any] = {"if": {"required": ["amountType"], "properties": {"amountType": {"enum": ["EXACT", "MAX"]}}},
                            "then": {"required": ["amount"], "properties": {"amount": _GIVEN}}}
_BY_ACCOUNT: dict[str, Any] = {"if": {"required": ["paymentMethod"], "properties": {"paymentMethod": {"const": "AMAZON_PAY"}}},
                               "then": {"required": ["startDate"], "properties": {
                                   "startDate": _GIVEN, "consumer": _WITH_NAME}}}

AGREEMENT = Object("PaymentAgreementRequest", {
    "paymentMethod": METHOD, "consumer": Row(CONSUMER, True), "startDate": Row(Moment()), "endDate": Row(Moment()), "amount": Row(MONEY),
    "amountType": Row(Text(words=("MAX", "EXACT", "VARIABLE"))),
    "frequency": Row(Object("Frequency", {
        "type": Row(Text(words=("DAILY", "WEEKLY", "MONTHLY", "YEARLY")), True), "interval": Row(Whole(1, 1000))})),
    "description": Row(Text(100)), "merchantPaymentAgreementReference": TEXT, "paymentMedium": Row(Text(words=MEDIUMS)),
    "instrumentId": Row(Text(100)), "instrument": Row(INSTRUMENT), "paymentSessionId": TEXT, "webhooksUrl": WEBHOOKS_URL,
    "authenticationSettings": Row(Listed(AUTHENTICATION_OF_AGREEMENT, 10)), "initialPaymentCharge": Row(INITIAL_CHARGE), **CITED, "labels": LABELS,
}, _one_instrument, {"allOf": [_AT_MOST_ONE, _OF_CARD, _LIMITED, _BY_ACCOUNT]})

REVOCATION = Object("RevocationRequest", {})
