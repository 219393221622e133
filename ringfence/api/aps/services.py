"""Tokens, SDK tokens and card checks: the requests that are not payments."""
from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from ringfence.api.aps import codes
from ringfence.api.aps.door import (
    DOOR,
    Account,
    Reply,
    Service,
    content_of,
    details_of,
    refused,
    verification_key,
)
from ringfence.api.aps.maintenance import acquirer_fields
from ringfence.api.aps.operations import brand_message
from ringfence.api.aps.tokenization import NAME_TAKEN, REFERENCE_USED
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.commands import Command, Kind
from ringfence.core.outcomes import Approved, Declined, NotAsked, Reversed
from ringfence.core.payment import Status
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import CardInHand, Intent
from ringfence.engine.lane import CONNECTION_LOST
from ringfence.engine.vault import NameTaken, NotFound, Token

log = logging.getLogger(__name__)

ZONE = ZoneInfo("Asia/Riyadh")
"""The zone of dates in answers."""
INSUFFICIENT_FUNDS = "51"
BAD_INTERVAL, TOO_MANY = "122", "134"
CHANNEL_OFF = "00046"
VERIFY_HOLD_SECONDS = 86_400
TOKENS_LIMIT = 1_000
"""More than that are not listed at once: the caller hears so, and asks for a shorter time."""


async def update_token(service: Service, account: Account, request: ApsRequest) -> Reply:
    """UPDATE_TOKEN: its name, expiry, holder, or whether it may be charged."""
    given, failure = request.given, request.operation.failure
    status = given.get("token_status")
    changed = await service.vault.update_token(
        account.merchant.merchant_id, request.token_name,
        active=None if status is None else status == "ACTIVE", expiry=given.get("expiry_date"),
        holder=given.get("card_holder_name"), new_name=given.get("new_token_name"), unique=account.merchant.settings.unique_token,
    )
    if isinstance(changed, NotFound):
        return refused(request, Refusal.TOKEN_NOT_FOUND)
    if isinstance(changed, NameTaken):
        return Reply(failure + NAME_TAKEN)
    return Reply(request.operation.success, token_fields(changed) | {"token_name": request.token_name})


def token_fields(token: Token) -> dict[str, object]:
    """A token as answers show it."""
    return {
        "token_name": token.name, "card_number": token.card.masked, "expiry_date": token.expiry,
        "card_holder_name": token.holder, "card_brand": token.card.brand, "card_bin": token.card.bin,
        "token_status": "ACTIVE" if token.active else "INACTIVE",
        "creation_date": token.created_at.astimezone(ZONE).isoformat(timespec="seconds"),
    }


async def get_tokens(service: Service, account: Account, request: ApsRequest) -> Reply:
    """GET_TOKENS: those made between two instants, oldest first; a list is whole, or it is refused."""
    since = _instant(request.given.get("from_date"), datetime(2000, 1, 1, tzinfo=UTC))
    until = _instant(request.given.get("to_date"), service.now() + timedelta(seconds=1))
    if since is None or until is None or since > until:
        return Reply(request.operation.failure + BAD_INTERVAL)
    tokens = await service.vault.tokens(
        account.merchant.merchant_id, since=since, until=until, after=None, limit=TOKENS_LIMIT + 1
    )
    if len(tokens) > TOKENS_LIMIT:
        return Reply(request.operation.failure + TOO_MANY)
    rows = [{name: value for name, value in token_fields(token).items() if value} for token in tokens]
    return Reply(request.operation.success, {"data_count": str(len(rows)), "data": rows})


def _instant(text: str | None, default: datetime) -> datetime | None:
    if text is None:
        return default
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


async def sdk_token(service: Service, account: Account, request: ApsRequest) -> Reply:
    """SDK_TOKEN: one transaction's token for one device."""
    name = service.new_sdk_token()
    lives = timedelta(seconds=account.merchant.settings.sdk_token_seconds)
    await service.reading.keep_sdk_token(
        account.merchant.merchant_id, name, request.given["device_id"], service.now() + lives
    )
    return Reply(request.operation.success, {"sdk_token": name})


async def verify_card(service: Service, account: Account, request: ApsRequest) -> Reply:
    """VERIFY_CARD: authorize a small amount and give it back.  The card data come with the request, so the trusted channel must be on."""
    assert request.card is not None
    merchant, failure, options = account.merchant, request.operation.failure, account.settings.payment_options
    if "trusted" not in account.settings.channels:
        return Reply(CHANNEL_OFF)
    stored = await service.vault.keep(merchant.merchant_id, request.card.number)
    if message := brand_message(request.operation, "ECOMMERCE", stored.brand):
        return Reply(failure + message)
    if options is not None and stored.brand not in options:
        return Reply(f"{failure}003")
    card = CardInHand(request.card.number, request.card.expiry, request.security_code, stored, holder=request.card.holder)
    operation_id = service.engine.new_id()
    authorization = Intent(
        merchant.merchant_id, merchant.identifier, operation_id,
        Command(Kind.AUTHORIZATION, merchant.settings.verify_minor, request.currency, operation_id,
                hold_seconds=VERIFY_HOLD_SECONDS),
        DOOR, account.actor, "api", content_of(service, request, stored.card_id), request.reference,
        verification_key(request.reference), details=details_of(request),
        processor=service.route(merchant, stored.brand), card=card, channel="moto", magic=False,
    )
    result = await service.engine.execute(authorization)
    if result.refusal is not None:
        used = result.refusal is Refusal.KEY_USED
        return Reply(failure + REFERENCE_USED) if used else refused(request, result.refusal)
    fields: dict[str, object] = {
        "fort_id": str(operation_id), "card_number": service.vault.masked(stored, account.settings.mask_first),
        "card_bin": stored.bin, "payment_option": stored.brand,
        "expiry_date": card.expiry, "card_holder_name": card.holder,
    }
    match result.outcome:
        case Approved() if result.payment is not None and result.payment.status is not Status.DECLINED:
            await _give_back(service, authorization)
            return Reply(request.operation.success, fields | acquirer_fields("00"), result.receipt)
        case Approved():                    # in part, and given back already
            return Reply(failure + codes.decline_message(INSUFFICIENT_FUNDS), fields | acquirer_fields(INSUFFICIENT_FUNDS), result.receipt)
        case Declined(response_code=code) | Reversed(response_code=code):
            return Reply(failure + codes.decline_message(code), fields | acquirer_fields(code), result.receipt)
        case NotAsked():
            return Reply(failure + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE), fields, result.receipt)
        case _:
            return Reply(codes.UNKNOWN_OUTCOME, fields, result.receipt)


async def _give_back(service: Service, authorization: Intent) -> None:
    """Void a verification's hold; should that fail, the hold lapses by itself after a day."""
    try:
        view = await service.reading.view(authorization.merchant_id, authorization.payment_id)
    except CONNECTION_LOST as lost:
        log.warning("the hold of verification %d is left to lapse: %s", authorization.payment_id, lost)
        return
    assert view is not None
    operation_id = service.engine.new_id()
    await service.engine.execute(replace(
        authorization, command=Command(Kind.VOID, None, authorization.command.currency, operation_id, whole=True), key=None,
        card=replace(authorization.card, security_code=None) if authorization.card else None, original=view.original,
    ))


async def check_verification(service: Service, account: Account, request: ApsRequest) -> Reply:
    """CHECK_VERIFY_CARD_STATUS: what became of a card check."""
    view = await service.reading.view_by_key(account.merchant.merchant_id, verification_key(request.reference))
    if view is None:
        return Reply(codes.ORDER_NOT_FOUND)
    given_back = view.payment is not None and view.payment.status is Status.DECLINED
    code = verification_code(view.first.result, view.first.response_code, given_back=given_back)
    return Reply(request.operation.success, {
        "transaction_status": code[:2], "transaction_code": code,
        "transaction_message": codes.text_of(code[2:], request.language),
    })


def verification_code(result: str | None, response_code: str | None, *, given_back: bool) -> str:
    """Five digits for what became of a card check; ``given_back``: approved in part."""
    match result:
        case "approved" if given_back:
            return "81" + codes.decline_message(INSUFFICIENT_FUNDS)
        case "approved":
            return "80000"
        case "declined" | "reversed":
            return "81" + codes.decline_message(response_code or "")
        case "not_asked":
            return "81" + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE)
        case _:
            return codes.UNKNOWN_OUTCOME
