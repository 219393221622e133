"""AUTHORIZATION and PURCHASE: with a token, with card data, by mail and telephone, recurring."""
from __future__ import annotations

from functools import partial

from ringfence.api.aps import codes
from ringfence.api.aps.door import DOOR, Account, Reply, Service, content_of, details_of, order_key, refused
from ringfence.api.aps.operations import brand_message
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.commands import Command, Initiation, Kind
from ringfence.core.expiry import DOOR_SECONDS, hold_seconds
from ringfence.core.outcomes import Approved, Declined, NotAsked, Outcome, Reversed
from ringfence.core.payment import Status
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import CardInHand, Intent, Result

KINDS = {"AUTHORIZATION": Kind.AUTHORIZATION, "PURCHASE": Kind.PURCHASE}
#: Who begins the payment, and by which channel the card came; any other ``eci`` is a cardholder in a shop on the web.
INITIATIONS = {"RECURRING": (Initiation.RECURRING, "ecommerce"), "MOTO": (Initiation.CARDHOLDER, "moto")}
ECOMMERCE = (Initiation.CARDHOLDER, "ecommerce")
INSUFFICIENT_FUNDS = "51"
_intent, _card = partial(tuple.__new__, Intent), partial(tuple.__new__, CardInHand)    # all fields at once, at a third of the price of a call


async def pay(service: Service, account: Account, request: ApsRequest) -> Reply:
    """Begin a payment and answer with its outcome."""
    card = await _with_card(service, account, request) if request.card else await with_token(service, account, request)
    if type(card) is Reply:
        return card
    shown = card_fields(service, account, card)
    intent = intent_of(service, account, request, card, shown, "api")
    if type(intent) is Reply:
        return intent
    result = await service.engine.execute(intent)
    if result.card is not None:
        shown = card_fields(service, account, result.card)
    shown["fort_id"] = str(intent.payment_id)
    return reply_to(request, result, card, shown)


def intent_of(
    service: Service, account: Account, request: ApsRequest, card: CardInHand, shown: dict[str, object], source: str
) -> Intent | Reply:
    """A payment with this card, on its way to the engine; or why this card cannot be used so.  ``shown``: ``card_fields`` of it."""
    operation, reference, merchant = request.operation, request.reference, account.merchant
    stored, settings = card.stored, merchant.settings
    if message := brand_message(operation, request.eci, stored.brand, request.given.get("payment_option", "")):
        return Reply(operation.failure + message)
    options = account.settings.payment_options
    if options is not None and stored.brand not in options:
        return Reply(f"{operation.failure}003")
    initiation, channel = INITIATIONS.get(request.eci, ECOMMERCE)
    if initiation is Initiation.RECURRING and request.given.get("recurring_mode") == "UNSCHEDULED":
        initiation = Initiation.UNSCHEDULED
    operation_id = service.engine.new_id()
    command = Command(KINDS[operation.name], request.amount, request.currency, operation_id)
    if command.kind is Kind.AUTHORIZATION:
        command = command._replace(hold_seconds=hold_seconds(
            merchant_days=settings.hold_days, door_seconds=DOOR_SECONDS[DOOR], brand=stored.brand, initiation=initiation,
            channel=channel,
        ))
    return _intent((
        merchant.merchant_id, merchant.identifier, operation_id, command, DOOR, account.actor, source,
        content_of(service, request, stored.card_id), reference, order_key(reference), False, details_of(request, shown),
        service.route(merchant, stored.brand), card, None, initiation, channel, settings.magic_amounts,
        None if card.token is None else lambda fresh: details_of(request, card_fields(service, account, fresh)),
    ))


def reply_to(request: ApsRequest, result: Result, card: CardInHand, fields: dict[str, object]) -> Reply:
    """The answer to a payment's first operation."""
    if result.refusal is not None:
        return refused(request, result.refusal, KINDS.get(request.operation.name))
    payment = result.payment
    kept = payment is not None and payment.status is not Status.DECLINED
    return Reply(ending(request, result.outcome, kept, card.keep_as, fields), fields, result.receipt)


def ending(request: ApsRequest, outcome: Outcome | None, kept: bool, token_name: str, fields: dict[str, object]) -> str:
    """The code for what became of a payment's first operation, and its facts added to ``fields``.

    ``kept``: an approval was not in part, which nobody asked for; such a one is given back.  ``token_name`` is that of the token made with
    an approval, "" for none.
    """
    operation = request.operation
    match outcome:
        case Approved() if kept:
            fields["authorization_code"] = outcome.approval_code
            if token_name:
                fields["token_name"] = token_name
            code, acquirer = operation.success, "00"
        case Approved():
            code, acquirer = operation.failure + codes.decline_message(INSUFFICIENT_FUNDS), INSUFFICIENT_FUNDS
        case Declined(response_code=acquirer) | Reversed(response_code=acquirer):
            code = operation.failure + codes.decline_message(acquirer)
        case NotAsked():
            return operation.failure + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE)
        case _:
            return codes.UNKNOWN_OUTCOME
    fields["acquirer_response_code"] = acquirer
    fields["acquirer_response_message"] = codes.acquirer_message(acquirer)
    return code


def card_fields(service: Service, account: Account, card: CardInHand) -> dict[str, object]:
    """What every answer about a card payment says of the card; none of it is empty."""
    stored = card.stored
    assert stored is not None
    fields: dict[str, object] = {
        "payment_option": stored.brand, "card_number": service.vault.masked(stored, account.settings.mask_first),
    }
    if card.expiry:
        fields["expiry_date"] = card.expiry
    if card.holder:
        fields["card_holder_name"] = card.holder
    return fields


async def with_token(service: Service, account: Account, request: ApsRequest) -> CardInHand | Reply:
    """The card behind the request's token, or why there is none."""
    merchant_id, name, vault = account.merchant.merchant_id, request.token_name, service.vault
    token = vault.cached_token(merchant_id, name) or await vault.token(merchant_id, name)
    kind = KINDS[request.operation.name]
    if token is None:
        return refused(request, Refusal.TOKEN_NOT_FOUND, kind)
    if not token.active:
        return refused(request, Refusal.TOKEN_INACTIVE, kind)
    return _card((None, token.expiry, request.security_code, token.card, token, "", token.holder))


async def _with_card(service: Service, account: Account, request: ApsRequest) -> CardInHand | Reply:
    """Card data in the request: the number is kept for what follows, and as a token where the payer does not mind."""
    assert request.card is not None
    merchant_id, settings = account.merchant.merchant_id, account.merchant.settings
    stored = await service.vault.keep(merchant_id, request.card.number)
    keep_as = ""
    if settings.service_tokenization and stored.sealed is not None and request.given.get("remember_me") != "NO":
        if request.token_name and await service.vault.token(merchant_id, request.token_name, fresh=True) is not None:
            return Reply(f"{request.operation.failure}114")
        keep_as = request.token_name or service.new_token_name()
    return CardInHand(
        request.card.number, request.card.expiry, request.security_code, stored, keep_as=keep_as, holder=request.card.holder
    )
