"""A shop's form: TOKENIZATION as whoever serves the payment page hands it to the door."""
from __future__ import annotations

from typing import Any

from ringfence.api.aps import ladder, tokenization
from ringfence.api.aps.accounts import Settings
from ringfence.api.aps.answers import answer
from ringfence.api.aps.door import Account
from ringfence.api.aps.operations import TOKENIZATION
from tests.engine.composition import CARD, Shop


async def tokenize(shop: Shop, reference: str, **fields: Any) -> dict[str, Any]:
    """What the browser carries back to the shop after a form with a test card; ``None`` leaves a field out."""
    card = {name: value for name, value in CARD.items() if name != "remember_me"}
    asked = {"service_command": "TOKENIZATION", "merchant_reference": reference, **card, **fields}
    given = shop.signed({name: value for name, value in asked.items() if value is not None})
    request = ladder.accepted(given, TOKENIZATION, None, Settings())
    account = shop.process.api.account(given)
    assert isinstance(account, Account)
    code, told, _ = await tokenization.tokenize(shop.process.api._service, account, request)
    made = answer(request, told, code)
    assert not {"card_security_code", "signature"} & made.keys()
    assert CARD["card_number"] not in str(made)
    return made


async def token_of(shop: Shop, reference: str, **fields: Any) -> str:
    """The name of the token of a new card."""
    made = await tokenize(shop, reference, **fields)
    assert made["response_code"] == "18000", made
    return made["token_name"]
