"""TOKENIZATION: a card that was typed on a page becomes a token, which pays later."""
from __future__ import annotations

from ringfence.api.aps.door import Account, Reply, Service
from ringfence.api.aps.wire import ApsRequest
from ringfence.engine.vault import NameTaken, Token

UPDATED, CREATION_FAILED, NAME_TAKEN = "18063", "061", "114"


async def tokenize(service: Service, account: Account, request: ApsRequest) -> Reply:
    """Keep the card under the name asked for, else under one of ours; a name that is there stands for the new expiry date and holder."""
    assert request.card is not None
    merchant_id, vault, failure = account.merchant.merchant_id, service.vault, request.operation.failure
    stored = await vault.keep(merchant_id, request.card.number)
    if stored.sealed is None:
        return Reply(failure + CREATION_FAILED)
    code, token = request.operation.success, await vault.create_token(
        merchant_id, stored, name=request.token_name or service.new_token_name(), expiry=request.card.expiry, holder=request.card.holder)
    if isinstance(token, NameTaken):
        known = await vault.token(merchant_id, request.token_name, fresh=True)
        if known is None or known.card.card_id != stored.card_id:
            return Reply(failure + NAME_TAKEN)
        code, token = UPDATED, await vault.update_token(
            merchant_id, request.token_name, active=True, expiry=request.card.expiry, holder=request.card.holder or None)
    if not isinstance(token, Token):
        return Reply(failure + CREATION_FAILED)
    fields: dict[str, object] = {
        "token_name": token.name, "card_number": vault.masked(stored, account.settings.mask_first), "card_bin": stored.bin,
        "expiry_date": token.expiry,
    }
    if token.holder:
        fields["card_holder_name"] = token.holder
    return Reply(code, fields)
