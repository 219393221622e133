"""Showing: objects as the API answers them, field by field.

Every field of an object is there in every answer, ``null`` where there is nothing to say.  Instants travel as ``20210929T112152Z``.
"""
from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.buyers import BUYERS, CARDS
from ringfence.amazon_site.limits import balance, refunded
from ringfence.amazon_site.objects import Charge, Permission, Refund, Session
from ringfence.amazon_site.passing import BUYER_SECONDS
from ringfence.amazon_site.wire import write_price

Object = dict[str, Any]

#: reasonCode -> what an answer says about it.
DESCRIPTIONS = {
    "BuyerCanceled": "Buyer canceled the Checkout Session.", "Declined": "The payment was declined.",
    "AmazonCanceled": "Amazon canceled it.", "AmazonClosed": "Amazon closed it.", "Expired": "It expired.",
    "ExpiredUnused": "The authorization was not captured in time.", "MerchantCanceled": "The merchant canceled it.",
    "MerchantClosed": "The merchant closed it, or charged all of it.", "BuyerClosed": "The buyer closed it.",
    "ChargePermissionCanceled": "The charge permission was closed together with its charges.",
    "SoftDeclined": "The charge was declined; it may be tried again.", "HardDeclined": "The charge was declined; the payment method must be changed.",
    "AmazonRejected": "Amazon rejected it.", "ProcessingFailure": "Amazon could not process it.", "TransactionTimedOut": "It took too long.",
    "PaymentMethodInvalid": "The buyer must change the payment method.", "ChargeInProgress": "A charge is being decided.",
}


def instant(at: int) -> str:
    """An instant as it travels."""
    return f"{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}"


def status(state: str, reason: str, at: int) -> Object:
    """The state of a session, charge or refund."""
    return {"state": state, "reasonCode": reason or None, "reasonDescription": DESCRIPTIONS.get(reason), "lastUpdatedTimestamp": instant(at)}


def session(one: Session, base_url: str) -> Object:
    """A checkout session."""
    buyer, missing = BUYERS.get(one.buyer), constraints(one)
    web = one.given.get("webCheckoutDetails", {})
    ready = one.state == "Open" and not missing and not one.is_process_order
    return {
        "checkoutSessionId": one.id, "storeId": one.given["storeId"], "productType": one.product,
        "webCheckoutDetails": {
            "checkoutReviewReturnUrl": web.get("checkoutReviewReturnUrl"), "checkoutResultReturnUrl": web.get("checkoutResultReturnUrl"),
            "checkoutCancelUrl": web.get("checkoutCancelUrl"), "checkoutMode": web.get("checkoutMode"),
            "amazonPayRedirectUrl": f"{base_url}/amazon/checkout/{one.id}" if ready else None},
        "paymentDetails": payment_details(one), "chargePermissionType": one.type, "recurringMetadata": recurring(one.given),
        "merchantMetadata": metadata(one.given), "buyer": None if buyer is None else _buyer(buyer.email, one.given.get("scopes")),
        "shippingAddress": _address(one.buyer, one.address) if one.product != "PayOnly" else None,
        "billingAddress": _address(one.buyer, 0),
        "paymentPreferences": [{"paymentDescriptor": CARDS[one.card].descriptor} if one.card else None],
        "statusDetails": status(one.state, one.reason, one.updated), "constraints": missing,
        "creationTimestamp": instant(one.created), "expirationTimestamp": instant(one.expires),
        "chargePermissionId": one.permission or None, "chargeId": one.charge or None, "supplementaryData": one.given.get("supplementaryData"),
        "platformId": one.given.get("platformId"), "providerMetadata": provider(one.given),
        "deliverySpecifications": one.given.get("deliverySpecifications"), "releaseEnvironment": one.environment,
    }


def completed(one: Session, base_url: str) -> Object:
    """A session as its completion answers it: what became of it, and most other fields empty."""
    kept = {"checkoutSessionId", "statusDetails", "constraints", "creationTimestamp", "expirationTimestamp", "chargePermissionId", "chargeId",
            "chargePermissionType", "productType", "releaseEnvironment"}
    shown = {name: value if name in kept else None for name, value in session(one, base_url).items()}
    return shown | {"constraints": [], "paymentPreferences": [None]}


def constraints(one: Session) -> list[Object]:
    """What is missing before the session can be completed."""
    found = {
        "BuyerNotAssociated": not one.buyer, "ChargeAmountNotSet": one.intent != "Confirm" and one.said("paymentDetails", "chargeAmount") is None,
        "CheckoutResultReturnUrlNotSet": not one.said("webCheckoutDetails", "checkoutResultReturnUrl"), "PaymentIntentNotSet": not one.intent,
        "RecurringFrequencyNotSet": one.type == "Recurring" and one.said("recurringMetadata", "frequency") is None,
    }
    return [{"constraintId": name, "description": _MISSING[name]} for name, is_missing in found.items() if is_missing]


_MISSING = {
    "BuyerNotAssociated": "There is no buyer associated with the Checkout Session.", "ChargeAmountNotSet": "chargeAmount is not set.",
    "CheckoutResultReturnUrlNotSet": "checkoutResultReturnUrl is not set.", "PaymentIntentNotSet": "paymentIntent is not set.",
    "RecurringFrequencyNotSet": "recurringMetadata.frequency is not set.",
}


def payment_details(one: Session) -> Object:
    """What is to be paid."""
    details = one.given.get("paymentDetails", {})
    return {name: details.get(name) for name in (
        "paymentIntent", "canHandlePendingAuthorization", "chargeAmount", "totalOrderAmount", "presentmentCurrency", "allowOvercharge",
        "extendExpiration", "softDescriptor", "estimateOrderTotal")}


def recurring(given: Object) -> Object | None:
    """How often, and how much."""
    said = given.get("recurringMetadata")
    return None if said is None else {"frequency": said.get("frequency"), "amount": said.get("amount")}


def metadata(given: Object) -> Object:
    """What the merchant calls it."""
    said = given.get("merchantMetadata", {})
    return {name: said.get(name) for name in ("merchantReferenceId", "merchantStoreName", "noteToBuyer", "customInformation")}


def provider(given: Object) -> Object:
    """What a payment provider calls it."""
    return {"providerReferenceId": given.get("providerMetadata", {}).get("providerReferenceId")}


def permission(change: Change, one: Permission, now: int) -> Object:
    """A charge permission."""
    state, reason = standing(change, one)
    is_known = now < (one.updated if one.type != "OneTime" and one.state == "Closed" else one.created) + BUYER_SECONDS
    is_known = is_known or (one.type != "OneTime" and one.state != "Closed")
    reasons = [{"reasonCode": reason, "reasonDescription": DESCRIPTIONS.get(reason)}] if reason else None
    return {
        "chargePermissionId": one.id, "chargePermissionReferenceId": None, "chargePermissionType": one.type,
        "recurringMetadata": recurring(one.given), "platformId": one.given.get("platformId"),
        "buyer": _buyer(one.buyer, one.given.get("scopes")) if is_known else None,
        "shippingAddress": _address(one.buyer, one.address) if is_known and one.given.get("ships") else None,
        "billingAddress": _address(one.buyer, 0) if is_known else None,
        "paymentPreferences": [{"paymentDescriptor": CARDS[one.card].descriptor}],
        "statusDetails": {"state": state, "reasons": reasons, "lastUpdatedTimestamp": instant(one.updated)},
        "creationTimestamp": instant(one.created), "expirationTimestamp": instant(one.expires), "merchantMetadata": metadata(one.given),
        "presentmentCurrency": one.currency,
        "limits": {"amountLimit": write_price(one.amount_limit, one.currency),
                   "amountBalance": write_price(max(0, balance(change, one, now)), one.currency)},
        "releaseEnvironment": one.environment,
    }


def standing(change: Change, one: Permission) -> tuple[str, str]:
    """State and reason of a permission.  While a charge is being decided there can be no other."""
    if one.state == "Chargeable" and any(charge.state == "AuthorizationInitiated" for charge in change.charges_of(one.id)):
        return "NonChargeable", "ChargeInProgress"
    return one.state, one.reason


def charge(change: Change, one: Charge) -> Object:
    """A charge."""
    amount_captured = one.amount_captured if one.state == "Captured" else 0
    return {
        "chargeId": one.id, "chargePermissionId": one.permission, "chargeAmount": write_price(one.amount, one.currency),
        "captureAmount": write_price(amount_captured, one.currency),
        "refundedAmount": write_price(refunded(change, one, decided=True), one.currency), "convertedAmount": None, "conversionRate": None,
        "softDescriptor": one.given.get("softDescriptor"), "merchantMetadata": metadata(one.given) if "merchantMetadata" in one.given else None,
        "providerMetadata": provider(one.given), "chargeInitiator": one.given.get("chargeInitiator"), "channel": one.given.get("channel"),
        "platformId": one.given.get("platformId"), "webCheckoutDetails": one.given.get("webCheckoutDetails"),
        "statusDetails": status(one.state, one.reason, one.updated), "creationTimestamp": instant(one.created),
        "expirationTimestamp": instant(one.expires), "releaseEnvironment": one.environment,
    }


def refund(one: Refund) -> Object:
    """A refund."""
    return {
        "refundId": one.id, "chargeId": one.charge, "refundAmount": write_price(one.amount, one.currency),
        "softDescriptor": one.given.get("softDescriptor"), "creationTimestamp": instant(one.created),
        "statusDetails": status(one.state, one.reason, one.updated), "releaseEnvironment": one.environment,
    }


def _buyer(email: str, scopes: list[str] | None) -> Object | None:
    """Who the buyer is, as far as the merchant asked; everything where it did not say."""
    buyer = BUYERS.get(email)
    if buyer is None:
        return None
    asked = scopes if scopes is not None else ["name", "email", "phoneNumber"]
    return {
        "buyerId": buyer.buyer_id, "name": buyer.name if "name" in asked else None, "email": buyer.email if "email" in asked else None,
        "phoneNumber": buyer.phone if "phoneNumber" in asked else None, "primeMembershipTypes": None}


def buyer_of_token(email: str, scopes: list[str] | None) -> Object:
    """A buyer who signed in at a merchant."""
    shown = _buyer(email, scopes)
    asked = scopes or []
    address = _address(email, 0) or {}
    return {**(shown or {}), "postalCode": address.get("postalCode") if "postalCode" in asked else None, "countryCode": address.get("countryCode"),
            "shippingAddress": address if "shippingAddress" in asked else None,
            "billingAddress": address if "billingAddress" in asked else None}


def _address(email: str, place: int) -> Object | None:
    buyer = BUYERS.get(email)
    return None if buyer is None else buyer.addresses[min(place, len(buyer.addresses) - 1)].as_object()
