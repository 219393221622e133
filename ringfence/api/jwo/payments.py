"""Operations of the payment service: what is asked about a trip, and what is answered (Just Walk Out payments, section 4).

The order of every look (section 5): fields, the store, the trip, then whatever the trip says itself.  So a malformed request is told so on a trip
that nobody knows, and another store's trip looks like one that is not there.  Refuses to know what may be done with a payment.
"""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from ringfence.api.jwo import answers, money
from ringfence.api.jwo.decoding import decode
from ringfence.api.jwo.door import Answer, Endpoint, Request
from ringfence.api.jwo.fields import Tables, tables
from ringfence.api.jwo.kinds import Kind, Wrong
from ringfence.core.emv import ReceiptData
from ringfence.core.trip import Said, TripRefusal
from ringfence.engine.orders import Orders
from ringfence.engine.shoppers import Shoppers
from ringfence.engine.trips import Trip, Trips

_CHARGE, _TRIP_ONLY, _REFUND, _FEEDBACK = map(attrgetter, ("charge", "trip_only", "refund", "feedback"))
NO_OBJECT = Wrong("", "the body must be a JSON object in UTF-8, in which no name stands twice")


class Debts(Protocol):
    """What hears of payments that retailers report."""

    async def reported(self, trip: Trip, total: int, settled: int, at: datetime, actor: str) -> TripRefusal | None:
        """So much of the cart's total is settled, in minor units of the trip's currency."""


class Service(NamedTuple):
    """What the operations work with."""

    trips: Trips
    debts: Debts
    shoppers: Shoppers
    orders: Orders


class Asked(NamedTuple):
    """A request whose fields are right and whose trip is there."""

    trip: Trip
    given: dict[str, Any]
    actor: str


def read(table: Kind, body: bytes) -> Any:
    """The fields of a body, or ``Wrong``."""
    decoded = decode(body)
    return NO_OBJECT if decoded is None else table.read(decoded, "")


async def _asked(service: Service, request: Request, table: Callable[[Tables], Kind]) -> Asked | Answer:
    given = read(table(tables(request.caller.merchant.settings)), request.body)
    if type(given) is Wrong:
        return answers.bad(given)
    if (no := answers.denied(request.caller, given["storeId"])) is not None:
        return no
    trip = await service.trips.find(request.caller.merchant.merchant_id, given["storeId"], given["shoppingTripId"])
    return answers.refused(TripRefusal.UNKNOWN, request.caller) if trip is None else Asked(trip, given, request.caller.actor)


async def adjust(service: Service, request: Request) -> Answer:
    """The trip's cart costs so much altogether.  A decline is an answer, not an error."""
    asked = await _asked(service, request, _CHARGE)
    if type(asked) is Answer:
        return asked
    minor, currency = asked.given["amount"]
    adjusted = await service.trips.adjust(asked.trip, minor, currency, asked.actor)
    if isinstance(adjusted, TripRefusal):
        return answers.refused(adjusted, request.caller)
    if adjusted.said is Said.PENDING and not request.caller.merchant.settings.trip_pending:
        return answers.refused(TripRefusal.UNAVAILABLE, request.caller)
    standing = adjusted.standing if adjusted.said is Said.DECLINED else minor
    return answers.ok({"status": adjusted.said.value, "authorizedAmount": money.payment(standing, currency)})


async def capture(service: Service, request: Request) -> Answer:
    """Take so much; what is left of the hold is given back."""
    asked = await _asked(service, request, _CHARGE)
    if type(asked) is Answer:
        return asked
    refusal = await service.trips.capture(asked.trip, *asked.given["amount"], asked.actor)
    return answers.refused(refusal, request.caller) if refusal is not None else answers.EMPTY


async def cancel(service: Service, request: Request) -> Answer:
    """Give back the whole hold."""
    asked = await _asked(service, request, _TRIP_ONLY)
    if type(asked) is Answer:
        return asked
    refusal = await service.trips.cancel(asked.trip, asked.actor)
    return answers.refused(refusal, request.caller) if refusal is not None else answers.EMPTY


async def refund(service: Service, request: Request) -> Answer:
    """Give back so much of what was taken, once for each ``refundRequestId``."""
    asked = await _asked(service, request, _REFUND)
    if type(asked) is Answer:
        return asked
    given = asked.given
    made = await service.trips.refund(asked.trip, *given["amount"], given["refundRequestId"], given["refundReasonCode"], asked.actor)
    if isinstance(made, TripRefusal):
        return answers.refused(made, request.caller)
    return answers.ok({"reconciliationId": made}) if request.caller.merchant.settings.trip_refund_body else answers.EMPTY


async def transactional_data(service: Service, request: Request) -> Answer:
    """What the gate's reader recorded, for the retailer's receipt."""
    asked = await _asked(service, request, _TRIP_ONLY)
    if type(asked) is Answer:
        return asked
    found = await service.trips.receipt_data(asked.trip)
    return answers.refused(found, request.caller) if isinstance(found, TripRefusal) else answers.ok(card_facts(found))


def card_facts(data: ReceiptData) -> dict[str, Any]:
    """The documented fields (section 8.1), all of them; "" where the card had none."""
    read = data.read
    return {
        "brand": read.brand, "posEntryMode": f"EMV_9F39_{read.entry_mode}", "currency": data.currency,
        "authorizationResponseCode": read.response_code, "cryptogramInformationData": read.cryptogram_information, "tail": read.tail,
        "panSequenceNumber": read.pan_sequence_number, "applicationId": read.application_id,
        "expirationDate": {"expirationYear": f"20{read.expiry[:2]}", "expirationMonth": read.expiry[2:]},
        "cardholderVerificationMethodResult": read.cvm_result, "terminalId": read.terminal_id,
        "reconciliationId": data.reconciliation_id, "cardStatementTransactionId": data.card_statement_id,
    }


async def identity(service: Service, request: Request) -> Answer:
    """Where the shopper wants receipts.  One that nobody registered is a bad request: there is no other word for it."""
    given = read(tables(request.caller.merchant.settings).identity, request.body)
    if type(given) is Wrong:
        return answers.bad(given)
    if (no := answers.denied(request.caller, given["storeId"])) is not None:
        return no
    email = await service.shoppers.email(request.caller.merchant.merchant_id, given["storeId"], given["shopperId"]["id"])
    return answers.bad(Wrong("shopperId.id", "is not registered in this store")) if email is None else answers.ok({"shopperEmail": email})


async def feedback(service: Service, request: Request) -> Answer:
    """So much of a trip's cart is paid by now, however it was paid."""
    asked = await _asked(service, request, _FEEDBACK)
    if type(asked) is Answer:
        return asked
    total, settled = asked.given["totalAmount"], asked.given["settledAmount"]
    if settled.currency != total.currency or total.currency != asked.trip.currency:
        return answers.bad(Wrong("settledAmount.code", "and totalAmount.code must be the currency of the trip"))
    if settled.minor > total.minor:
        return answers.bad(Wrong("settledAmount.amount", "is more than totalAmount.amount"))
    refusal = await service.debts.reported(asked.trip, total.minor, settled.minor, asked.given["paymentStatusTime"], asked.actor)
    return answers.refused(refusal, request.caller) if refusal is not None else answers.EMPTY


ENDPOINTS = (
    Endpoint("/v1/adjust/charge", "adjust", adjust),
    Endpoint("/v1/capture/charge", "capture", capture),
    Endpoint("/v1/cancel/charge", "cancel", cancel),
    Endpoint("/v1/refund", "refund", refund),
    Endpoint("/v1/payment/transactional-data", "transactional-data", transactional_data),
    Endpoint("/v1/identity/shopper", "identity", identity),
    Endpoint("/v1/feedback/payment-status", "feedback", feedback),
)
