"""AUTHORIZATION and PURCHASE: with a token, with card data, by mail and telephone, recurring."""
from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from ringfence.api.aps import codes, three_d_secure, tokenization
from ringfence.api.aps.door import DOOR, Account, Reply, Service, content_of, details_of, order_key, refused
from ringfence.api.aps.operations import EXTERNAL, brand_message
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.commands import Command, Initiation, Kind, VoidReason
from ringfence.core.expiry import DOOR_SECONDS, hold_seconds
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Outcome, Reversed
from ringfence.core.payment import Status
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import CardInHand, Intent, Result
from ringfence.engine.vault import Token

KINDS = {"AUTHORIZATION": Kind.AUTHORIZATION, "PURCHASE": Kind.PURCHASE}
#: Who begins the payment, and by which channel the card came; any other ``eci`` is a cardholder in a shop on the web.
INITIATIONS = {"RECURRING": (Initiation.RECURRING, "ecommerce"), "MOTO": (Initiation.CARDHOLDER, "moto")}
ECOMMERCE = (Initiation.CARDHOLDER, "ecommerce")
INSUFFICIENT_FUNDS = "51"
BY_CARD = ("card", "moto card")
FRESH_TOKENS = 3
# All fields at once, at a third of the price of a call; and members of enumerations, which Python 3.11 looks up for as long.
_command, _reply = (partial(tuple.__new__, kind) for kind in (Command, Reply))
AUTHORIZATION, RECURRING, REQUESTED = Kind.AUTHORIZATION, Initiation.RECURRING, VoidReason.REQUESTED
TOKEN_IN_FLOW, DECLINED = Refusal.TOKEN_IN_FLOW, Status.DECLINED


class Attempt(NamedTuple):
    """What sets a payment apart that was begun on a page: its id, its key, its source, and what its details say beside the card."""

    payment_id: int
    key: str
    source: str
    told: dict[str, object]


async def pay(
    service: Service, account: Account, request: ApsRequest, attempt: Attempt | None = None, tries: int = FRESH_TOKENS,
) -> Reply:
    """Begin a payment and answer with its outcome.  ``tries``: how often, where its token is tokenized anew in the same moment."""
    card = await _with_card(service, account, request) if request.card else await with_token(service, account, request)
    if type(card) is Reply:
        return card
    shown = card_fields(service, account, card)
    if attempt is not None:
        shown |= attempt.told
    intent = intent_of(service, account, request, card, shown, attempt.source if attempt else "api", attempt)
    if type(intent) is Reply:
        return intent
    if intent.demand is not None and request.card is not None and not EXTERNAL.isdisjoint(request.given):
        proven = await three_d_secure.proven(service, account, request, intent.demand, card.stored.card_id)
        if type(proven) is Reply:
            return proven
        intent = replace(intent, demand=proven)
    return await after(Begun(service, account, request, card, shown, intent, attempt), service.engine.execute(intent), tries)


class Begun(NamedTuple):
    """A payment on its way through the engine, and what its answer needs; ``shown``: ``card_fields`` of the card."""

    service: Service
    account: Account
    request: ApsRequest
    card: CardInHand
    shown: dict[str, object]
    intent: Intent
    attempt: Attempt | None = None

    def reply(self, result: Result) -> Reply:
        """The answer that a result makes."""
        service, account, request, card, shown, intent, attempt = self
        if result.card is not None:
            shown = card_fields(service, account, result.card)
            if attempt is not None:
                shown |= attempt.told
        shown["fort_id"] = str(intent.payment_id)
        return reply_to(request, result, card, shown, service.base_url)


async def after(begun: Begun, coming: Awaitable[Result], tries: int = FRESH_TOKENS) -> Reply:
    """The answer that a coming result makes; begun again where the token was tokenized anew meanwhile."""
    result = await coming
    if result.refusal is TOKEN_IN_FLOW and tries > 1:       # what was taken from the code box is in hand
        request = replace(begun.request, security_code=begun.card.security_code)
        return await pay(begun.service, begun.account, request, begun.attempt, tries - 1)
    return begun.reply(result)


def begun(service: Service, account: Account, request: ApsRequest) -> Begun | None:
    """A payment as ``pay`` begins it, where nothing is to be awaited before its intent; ``None`` where ``pay`` must look."""
    if request.card is not None or request.eci == "RECURRING":      # the card is to be kept, or what stands behind the token looked at
        return None
    token = service.vault.cached_token(account.merchant.merchant_id, request.token_name)
    if token is None or not token.active or token.in_flow:
        return None
    card = _by_token(request, token)
    shown = card_fields(service, account, card)
    intent = intent_of(service, account, request, card, shown, "api")
    return None if type(intent) is Reply else _begun((service, account, request, card, shown, intent, None))    # type: ignore[arg-type]


_begun = partial(tuple.__new__, Begun)


def intent_of(
    service: Service, account: Account, request: ApsRequest, card: CardInHand, shown: dict[str, object], source: str,
    attempt: Attempt | None = None,
) -> Intent | Reply:
    """A payment with this card, on its way to the engine; or why this card cannot be used so.  ``shown``: ``card_fields`` of it."""
    operation, reference, merchant = request.operation, request.reference, account.merchant
    stored, settings = card.stored, merchant.settings
    if message := unusable(account, request, stored.brand):
        return Reply(operation.failure + message)
    demand = three_d_secure.demand_of(account, request, stored.brand)
    initiation, channel = INITIATIONS.get(request.eci, ECOMMERCE)
    if initiation is RECURRING and request.given.get("recurring_mode") == "UNSCHEDULED":
        initiation = Initiation.UNSCHEDULED
    operation_id = attempt.payment_id if attempt else service.engine.new_id()
    kind, held_for = KINDS[operation.name], 0
    if kind is AUTHORIZATION:
        held_for = hold_seconds(
            merchant_days=settings.hold_days, door_seconds=DOOR_SECONDS[DOOR], brand=stored.brand, initiation=initiation,
            channel=channel,
        )
    command = _command((kind, request.amount, request.currency, operation_id, False, False, REQUESTED, held_for, None))
    key, told = (order_key(reference), None) if attempt is None else (attempt.key, attempt.told)
    return Intent(
        merchant.merchant_id, merchant.identifier, operation_id, command, DOOR, account.actor, source,
        content_of(service, request, stored.card_id), reference, key, False, details_of(request, shown),
        service.route(merchant, stored.brand), card, None, initiation, channel, settings.magic_amounts,
        None if card.token is None else lambda fresh: details_of(request, card_fields(service, account, fresh) | (told or {})), demand, False,
    )


def unusable(account: Account, request: ApsRequest, brand: str) -> str | None:
    """Why a card of this brand cannot pay so: a message code."""
    if message := brand_message(request.operation, request.eci, brand, request.given.get("payment_option", "")):
        return message
    options = account.settings.payment_options
    return "003" if options is not None and brand not in options else None


def reply_to(request: ApsRequest, result: Result, card: CardInHand, fields: dict[str, object], base_url: str = "") -> Reply:
    """The answer to a payment's first operation.  ``base_url`` is how callers reach the service: a challenge's page is below it."""
    if result.refusal is not None:
        return refused(request, result.refusal, KINDS.get(request.operation.name))
    payment = result.payment
    kept = payment is not None and payment.status is not DECLINED
    if type(result.outcome) is Challenge:
        fields["3ds_url"] = base_url + result.outcome.url
    made = card.keep_as if result.kept_as is None else result.kept_as
    return _reply((ending(request, result.outcome, kept, made, fields), fields, result.receipt))


def ending(request: ApsRequest, outcome: Outcome | None, kept: bool, token_name: str, fields: dict[str, object]) -> str:
    """The code for what became of a payment's first operation, and its facts added to ``fields``.

    ``kept``: an approval was not in part, which nobody asked for; such a one is given back.  ``token_name`` is that of the token made with
    an approval, "" for none: then the answer does not repeat the name that a card was to be kept under.
    """
    operation = request.operation
    match outcome:
        case Approved() if kept:
            fields["authorization_code"] = outcome.approval_code
            if token_name:
                fields["token_name"] = token_name
            elif request.token_name and request.variant is not None and request.variant.name in BY_CARD:
                fields["token_name"] = ""
            code, acquirer = operation.success, "00"
        case Approved():
            code, acquirer = operation.failure + codes.decline_message(INSUFFICIENT_FUNDS), INSUFFICIENT_FUNDS
        case Declined(response_code=acquirer) | Reversed(response_code=acquirer):
            code = operation.failure + codes.decline_message(acquirer)
        case NotAsked(why):
            return codes.not_asked_code(operation.failure, why)
        case Challenge():
            return codes.CHALLENGED
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
    if token.in_flow:
        if message := unusable(account, request, token.card.brand):     # before its security code is taken, which waits for one payment
            return Reply(request.operation.failure + message)
        return await tokenization.card_of(service, account, request, name)
    return _by_token(request, token)


def _by_token(request: ApsRequest, token: Token) -> CardInHand:
    return CardInHand(None, token.expiry, request.security_code, token.card, token, "", token.holder, False)


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
        request.card.number, request.card.expiry, request.security_code, stored, keep_as=keep_as, holder=request.card.holder,
        one_token=settings.unique_token,
    )
