"""An agreement in this door's words, and what its first payment means for it (PPRO Global API, sections 10.2, 11.3, 11.4 and 15.5).

What a payer agreed to is proved by a payment: the initial charge, or with a card that nothing is charged to at once a nominal authorization,
which is given back.  Where the method has a mandate of its own, a decline of that payment leaves the agreement standing; with a card, only
where an earlier payment of the cardholder's is there to be cited.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ringfence.api.ppro.answers import moment
from ringfence.api.ppro.door import DOOR, Service, content_of
from ringfence.api.ppro.failures import CANCELED, OURS, RULES, Failure, declined, not_asked
from ringfence.api.ppro.names import Names
from ringfence.api.ppro.rendering import failure_of
from ringfence.core.agreement import follow
from ringfence.core.commands import Command, Kind
from ringfence.engine.agreements import OPEN, AgreementRow, Entry, Found, Status, What
from ringfence.engine.charges import Step, View
from ringfence.engine.intents import Intent

PREFIX, HISTORY, REVOCATION, CHARGE = "agr", "ahist", "rev", "charge"
INSTRUMENT = "instr"
CARD = "CARD"
BY_ACCOUNT = frozenset({"AMAZON_PAY"})
"""Methods whose agreement is the wallet's own: it is active once the wallet has said under which account, as an approved first charge does."""
DECLINED = "declined:"
"""Before the issuer's code, its advice and its own word for it: why an agreement failed that an issuer declined."""
VALIDATE = "validate"
"""The purpose of a nominal authorization."""
ECHOED = ("description", "merchantPaymentAgreementReference", "frequency", "paymentMedium", "consumer", "labels",
          "initialSchemeAuthorizationReference", "initialTransactionLinkReference")
#: The wallet's reason -> who ended the agreement (section 16.4).  What is not here was the provider.
CLOSED_BY = {
    **dict.fromkeys(("BuyerClosed", "BuyerCanceled"), What.REVOKED_BY_CONSUMER),
    **dict.fromkeys(("MerchantClosed", "MerchantCanceled"), What.REVOKED_BY_MERCHANT),
}
_DECODE = msgspec.json.Decoder().decode

#: Why nobody was asked whose payer was sent away, beside what ``failures`` knows.
_AWAY: dict[str, Failure] = {
    "payer_canceled": CANCELED, "wallet_declined": CANCELED._replace(code="GENERIC_DECLINE", message="The wallet declined"),
    "wallet_canceled": CANCELED._replace(code="GENERIC_DECLINE", message="The wallet ended the session"),
    "payer_timeout": CANCELED._replace(code="EXPIRED_SESSION", message="The consumer did not act in time", retry=True),
    "payer_not_authenticated": CANCELED._replace(code="AUTHENTICATION_FAILED", message="The consumer was not authenticated"),
}


def failure_told(why: str) -> Failure | None:
    """Why an agreement or a revocation failed; ``None`` for what did not."""
    if not why:
        return None
    if why.startswith(DECLINED):
        code, advice, _ = why.removeprefix(DECLINED).split(":", 2)
        return declined(code, advice)
    if why in RULES:
        return not_asked(f"{OURS}{why}")
    return _AWAY.get(why) or not_asked(why)


def describing(names: Names) -> Callable[[AgreementRow, What | None, Mapping[str, Any]], tuple[str, dict[str, Any]] | None]:
    """What a merchant is told of a change; see ``engine.agreements``."""
    def describe(row: AgreementRow, what: What | None, extra: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
        word = EVENTS.get(what)
        if word is None:
            return None
        echo = _DECODE(row.details)
        data: dict[str, Any] = {
            "paymentAgreementId": names.make(PREFIX, row.agreement_id), "paymentAgreementStatus": row.status, "paymentMethod": row.method,
            **_given(echo, "merchantPaymentAgreementReference", "paymentSessionId")}
        if what is None:
            data |= _given(echo, "description", "instrument", "frequency", "consumer") | _terms(row)
        elif what is What.REFUSED and (failure := failure_told(row.why)) is not None:
            data["failure"] = failure.told_in_events()
        return f"PAYMENT_AGREEMENT_{word}", data | extra

    return describe


#: What happened -> the event.  What is not here is not told.
EVENTS: dict[What | None, str] = {
    None: "CREATED", What.AWAITED: "AUTHENTICATION_PENDING", What.AGREED: "ACTIVE", What.REFUSED: "FAILED", What.UPDATED: "UPDATED",
    What.REVOKED_BY_CONSUMER: "REVOKED_BY_CONSUMER", What.REVOKED_BY_MERCHANT: "REVOKED_BY_MERCHANT",
    What.REVOKED_BY_PROVIDER: "REVOKED_BY_PROVIDER",
}


def rendered(names: Names, found: Found, methods: list[dict[str, Any]]) -> dict[str, Any]:
    """The agreement, with the ways in which its payer may still act."""
    row, echo = found.row, _DECODE(found.row.details)
    told: dict[str, Any] = {
        "id": names.make(PREFIX, row.agreement_id), "status": row.status, "paymentMethod": row.method, **_terms(row), **_given(echo, *ECHOED)}
    if row.instrument and (row.method == CARD or row.status not in OPEN):
        told["instrumentId"] = row.instrument
    if row.is_updated:
        told["instrumentUpdated"] = True
    if row.is_charged:
        told["initialPaymentChargeId"] = names.make(CHARGE, row.payment_id)
    if row.status is Status.FAILED and (failure := failure_told(row.why)) is not None:
        told["failure"] = failure.told()
    if methods:
        told["authenticationMethods"] = methods
    return told | {
        "history": [_entry(names, HISTORY, "status", one) for one in found.history],
        "revocations": [_entry(names, REVOCATION, "revocationStatus", one) for one in found.revocations],
        "createdAt": moment(row.created_at), "updatedAt": moment(row.changed_at)}


def _entry(names: Names, prefix: str, member: str, entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = {"id": names.make(prefix, entry.number), member: entry.status}
    if (failure := failure_told(entry.why)) is not None:
        told["failure"] = failure.told()
    return told | {"createdAt": moment(entry.at)}


def _given(echo: Mapping[str, Any], *members: str) -> dict[str, Any]:
    return {member: echo[member] for member in members if member in echo}


def _terms(row: AgreementRow) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if row.start_at is not None:
        told["startDate"] = moment(row.start_at)
    if row.end_at is not None:
        told["endDate"] = moment(row.end_at)
    if row.minor is not None:
        told["amount"] = {"value": row.minor, "currency": row.currency}
    if row.amount_type:
        told["amountType"] = row.amount_type
    return told


# ------------------------------------------------------------------------------------------------ behind its first payment

async def settled(service: Service, row: AgreementRow) -> AgreementRow:
    """The agreement behind what is known of the payment that proves it."""
    if row.status not in OPEN or not row.payment_id:
        return row
    view = await service.reading.view(row.merchant_id, row.payment_id)
    return row if view is None else await _behind(service, row, view)


async def _behind(service: Service, row: AgreementRow, view: View) -> AgreementRow:
    first = view.first
    what, why = await _meaning(service, row, first)
    if what is None or follow(row.status, what) is None:
        return row
    match what:
        case What.AGREED:
            account = first.scheme_reference or "" if row.method in BY_ACCOUNT and first.result == "approved" else ""
            if row.method in BY_ACCOUNT and not account:        # the wallet's word is waited for
                return row
            if not row.is_charged:
                await _give_back(service, row, view)
            return await activated(service, row, account)
        case What.AWAITED:
            extra = {"authenticationMethods": service.renderer.methods(view)}
            return await service.agreements.happened(row.merchant_id, row.agreement_id, what, extra=extra) or row
    return await service.agreements.happened(row.merchant_id, row.agreement_id, what, why=why) or row


async def _meaning(service: Service, row: AgreementRow, first: Step) -> tuple[What | None, str]:
    """What the state of the first payment says of the agreement; ``None``: nothing yet."""
    match first.result:
        case "challenge":
            return What.AWAITED, ""
        case "unknown":
            return What.ANSWERED, ""
        case "approved" if failure_of(first) is None:
            return What.AGREED, ""
        case "approved" | "declined":
            if await _stands_anyway(service, row):
                return What.AGREED, ""
            code, advice = (first.response_code or "", first.advice or "") if first.result == "declined" else ("51", "")
            return What.REFUSED, f"{DECLINED}{code}:{advice}:"
        case "not_asked":
            return What.REFUSED, first.response_code or "unavailable"
        case "reversed":
            return What.REFUSED, "PAYMENT_METHOD_TIMEOUT"
    return None, ""


async def _stands_anyway(service: Service, row: AgreementRow) -> bool:
    """Whether there is a mandate although the first charge was declined."""
    if row.method != CARD:
        return True
    token = await service.vault.token(row.merchant_id, row.instrument, fresh=True)
    return token is not None and row.is_charged and bool(token.card.first_reference)


async def activated(service: Service, row: AgreementRow, account: str) -> AgreementRow:
    """The payer has agreed; what later charges are paid with has an instrument from now on."""
    instrument = row.instrument
    if not instrument:
        details = await _details(service, row, account) if row.method in BY_ACCOUNT else {}
        await service.instruments.keep(row.merchant_id, row.instrument_id, row.method, details)
        instrument = service.names.make(INSTRUMENT, row.instrument_id)
    return await service.agreements.happened(
        row.merchant_id, row.agreement_id, What.AGREED, account=account, instrument=instrument) or row


async def _details(service: Service, row: AgreementRow, account: str) -> dict[str, str]:
    """What is told of an account at a wallet: whose it is, as the wallet says; where it does not, as the merchant said."""
    email = await service.payer_email(row.merchant_id, row.method, account) or _DECODE(row.details).get("consumer", {}).get("email")
    return {"consumerEmail": email} if email else {}


async def _give_back(service: Service, row: AgreementRow, view: View) -> None:
    """Nothing is held any more for a nominal authorization."""
    merchant = service.directory.by_id(row.merchant_id)
    assert merchant is not None, "it has agreements"
    void_id = service.engine.new_id()
    await service.engine.execute(Intent(
        row.merchant_id, merchant.identifier, view.payment_id, Command(Kind.VOID, None, view.first.currency, void_id, whole=True), DOOR,
        row.actor, VALIDATE, content_of(service, {VALIDATE: row.agreement_id}), key=f"agreement:{row.agreement_id}:void",
        details=b"{}", processor=view.first.processor, card=await service.reading.card_of(view), original=view.original,
        channel=view.first.channel, magic=merchant.settings.magic_amounts))


class Mandates:
    """What others tell of agreements: whoever sends payers away, and wallets' notifications."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def agreed(self, merchant_id: int, agreement_id: int, account: str) -> None:
        """The payer has agreed; ``account``: the wallet's permission, "" for none.  Told again, nothing happens."""
        row = await self._service.agreements.find(merchant_id, agreement_id)
        if row is not None and row.status in OPEN:
            await activated(self._service, row, account)

    async def refused(self, merchant_id: int, agreement_id: int, why: str) -> None:
        """The payer cancelled, was declined, or did not act in time.  Told again, nothing happens."""
        await self._service.agreements.happened(merchant_id, agreement_id, What.REFUSED, why=why)

    async def closed(self, merchant_id: int, account: str, reason: str) -> None:
        """The wallet says that what stands behind agreements was ended, and its reason.  Told again, nothing happens."""
        await self._service.agreements.closed_outside(merchant_id, account, CLOSED_BY.get(reason, What.REVOKED_BY_PROVIDER))

    async def paid(self, merchant_id: int, agreement_id: int) -> None:
        """The payment that proves it has gone on."""
        if (row := await self._service.agreements.find(merchant_id, agreement_id)) is not None:
            await settled(self._service, row)

    async def settle(self, row: AgreementRow) -> AgreementRow:
        """See ``settled``."""
        return await settled(self._service, row)
