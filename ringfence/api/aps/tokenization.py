"""TOKENIZATION and CREATE_TOKEN: a card becomes a token, in the flow of a payment or as a step of its own; and a payment with the first.

A TOKENIZATION makes a temporary token.  It is good for the payment with its ``merchant_reference`` alone, and there to stay once that
payment succeeded and the payer does not mind.  The security code that was posted waits in the code box for that payment.  Refuses to know
forms and pages: whoever serves them checks a request, gives it here, and carries the reply.
"""
from __future__ import annotations

from ringfence.api.aps import codes
from ringfence.api.aps.cards import CardDetails
from ringfence.api.aps.door import DOOR, Account, Reply, Service, order_key, refused
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.card import SecurityCode
from ringfence.core.refusals import Refusal
from ringfence.engine.intents import CardInHand
from ringfence.engine.token_making import attempt_of
from ringfence.engine.vault import AlreadyUsed, Flow, NameTaken, Token, Tokenized

NAME_TAKEN, CREATION_FAILED, REFERENCE_USED = "114", "061", "066"
UPDATED = "063"
NOT_FOR_THIS = "088"
ORDER_USED = "007"
CODE_GONE = "778"
"""The session in which the card was entered is over: it is entered again."""


async def tokenize(
    service: Service, account: Account, request: ApsRequest, *, card: CardDetails | None = None, code: SecurityCode | None = None,
    remembers: bool | None = None,
) -> Reply:
    """TOKENIZATION: a token for the payment that follows with the same reference.

    ``card``, ``code`` and ``remembers`` are what a payer typed into our own page; without them, what came with the request.  The
    reference is not used up.  The answer's fields are those of 6.2: 18000 for a new token, 18063 for one that was there.
    """
    card, code = card or request.card, code or request.security_code
    assert card is not None, "whoever serves the form has the card"
    merchant, box, given, failure = account.merchant, service.code_box, request.given, request.operation.failure
    remembers = given.get("remember_me") != "NO" if remembers is None else remembers
    settings = merchant.settings
    stored = await service.vault.keep(merchant.merchant_id, card.number)
    if stored.sealed is None:
        return Reply(failure + CREATION_FAILED)
    flow = Flow(
        request.reference, service.engine.new_id(), settings.temporary_token_seconds, code is not None, remembers, given.get("return_url", ""))
    if code is not None and not await box.put(merchant.merchant_id, flow.attempt, code):
        return Reply(failure + codes.refusal_message(Refusal.SERVICE_UNAVAILABLE))
    made = await service.vault.tokenize(
        merchant.merchant_id, stored, name=request.token_name or None, expiry=card.expiry, holder=card.holder,
        unique=settings.unique_token, flow=flow, source=account.actor, reference=request.reference)
    if not isinstance(made, Tokenized):
        await box.take(merchant.merchant_id, flow.attempt)
        return Reply(failure + (NAME_TAKEN if isinstance(made, NameTaken) else CREATION_FAILED))
    fields = _fields(service, account, made.token, card)
    if "remember_me" in given or not remembers:
        fields["remember_me"] = "YES" if remembers else "NO"
    return Reply(request.operation.success if made.created else request.operation.success[:2] + UPDATED, fields)


async def create_token(service: Service, account: Account, request: ApsRequest) -> Reply:
    """CREATE_TOKEN: keep a card under a name; the bank is not asked.  With one token for a card, the one that is there: 52063."""
    card = request.card
    assert card is not None
    merchant, failure = account.merchant, request.operation.failure
    stored = await service.vault.keep(merchant.merchant_id, card.number)
    if stored.sealed is None:
        return Reply(failure + CREATION_FAILED)
    made = await service.vault.tokenize(
        merchant.merchant_id, stored, name=request.token_name or service.new_token_name(), expiry=card.expiry, holder=card.holder,
        unique=merchant.settings.unique_token, once=(DOOR, "CREATE_TOKEN", f"create_token:{request.reference}"),
        source=account.actor, reference=request.reference)
    if isinstance(made, Tokenized):
        code = request.operation.success if made.created else request.operation.success[:2] + UPDATED
        return Reply(code, _fields(service, account, made.token, card))
    if isinstance(made, NameTaken):
        return Reply(failure + NAME_TAKEN)
    if isinstance(made, AlreadyUsed):
        return Reply(failure + REFERENCE_USED)
    return Reply(failure + CREATION_FAILED)     # erased in this very moment; asked again, the number is kept anew


def _fields(service: Service, account: Account, token: Token, card: CardDetails) -> dict[str, object]:
    """A token as the answer shows it: with what was entered now, never with what others entered for the same card."""
    return {
        "token_name": token.name, "card_number": service.vault.masked(token.card, account.settings.mask_first),
        "card_bin": token.card.bin, "expiry_date": card.expiry, "card_holder_name": card.holder,
    }


async def card_of(service: Service, account: Account, request: ApsRequest, name: str) -> CardInHand | Reply:
    """The means of a payment with a token that tokenizations left something for.

    The flow is the one of the same reference and token.  Its expiry date and holder are what was entered for this very payment, and its
    security code is taken, once; one that was posted and is gone ends the payment before the issuer is asked.
    """
    merchant_id, failure, vault = account.merchant.merchant_id, request.operation.failure, service.vault
    token = await vault.token(merchant_id, name, fresh=True)        # it may have become a saved card in another process
    if token is None or not token.active:
        return refused(request, Refusal.TOKEN_NOT_FOUND if token is None else Refusal.TOKEN_INACTIVE)
    flow = None if request.eci == "RECURRING" or not token.in_flow else await vault.tokenization(merchant_id, request.reference, name)
    if token.temporary if flow is None else flow.card_id != token.card.card_id:     # another order's, or given to another card meanwhile
        return Reply(failure + NOT_FOR_THIS)
    if flow is None:
        return CardInHand(None, token.expiry, request.security_code, token.card, token, holder=token.holder)
    code = request.security_code
    if flow.code_waits:
        waiting = await service.code_box.take(merchant_id, attempt_of(flow.tokenization_id))
        code = code or waiting
        if code is None:                        # taken by the payment that this repeats, or gone
            paid = await service.reading.view_by_key(merchant_id, order_key(request.reference))
            return Reply(failure + (CODE_GONE if paid is None else ORDER_USED))
    if flow.remembers and request.given.get("remember_me") == "NO":
        await vault.forget_payer(merchant_id, request.reference, name)
    return CardInHand(None, flow.expiry, code, token.card, token, holder=flow.holder)
