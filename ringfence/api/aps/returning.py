"""Returning: the signed answer of a payment, made again from what is stored, for a browser that comes back from its payer's bank.

The answer is made by the functions that made it the first time, whoever ended the payment and however often the browser asks.  Decides which
address it goes to.  Refuses to know why the browser was away.
"""
from __future__ import annotations

from collections.abc import Awaitable, Callable

from ringfence.api.aps import signature
from ringfence.api.aps.answers import answer
from ringfence.api.aps.door import CHANNEL, DOOR, read_details
from ringfence.api.aps.notifications import channel_of, credential_of, request_again
from ringfence.api.aps.payments import ending
from ringfence.api.aps.returns import carried, note_barred
from ringfence.api.aps.returns import ending as ending_of
from ringfence.core.outcomes import Approved, Challenge, Declined, NotAsked, Outcome, Reversed, Silence, Unknown
from ringfence.core.payment import Status
from ringfence.engine.browser import Return
from ringfence.engine.directory import Directory, Merchant
from ringfence.engine.reading import Reading, Step, View
from ringfence.engine.return_address import may_return
from ringfence.engine.sessions import Ending

SUCCESS = ("02000", "14000")
"""Codes of payments that went well."""

FromTokenization = Callable[[int, str], Awaitable[str]]
"""Merchant and ``merchant_reference`` -> the ``return_url`` of the TOKENIZATION with that reference, "" for none."""


async def no_tokenization(merchant_id: int, reference: str) -> str:
    """Nothing is remembered of tokenizations."""
    return ""


class Returning:
    """The way back to a merchant's shop, for payments of this door."""

    def __init__(self, reading: Reading, directory: Directory, *, is_live: bool, tokenized: FromTokenization = no_tokenization) -> None:
        self._reading, self._directory, self._is_live, self._tokenized = reading, directory, is_live, tokenized

    async def way(self, merchant_id: int, payment_id: int) -> Return | Ending | None:
        """Where the browser goes now, or how the payment ended where the merchant named no address that may be used as its settings are
        now; ``None`` where the payment is none of this door's."""
        view, merchant = await self._reading.view(merchant_id, payment_id), self._directory.by_id(merchant_id)
        if view is None or merchant is None or view.first.door != DOOR or view.first.details is None:
            return None
        echo, card = read_details(view.first.details)
        credential = credential_of(merchant, echo.get("access_code", ""))
        if credential is None or "command" not in echo:
            return None
        code, body = answer_again(view)
        given, url = await self._given(merchant, echo), await self._address(merchant, echo)
        if not url:
            if given:
                note_barred(merchant.identifier, given)
            return ending_of(code, went_well=code in SUCCESS)
        signed = {name: str(value) for name, value in body.items()}
        signed["signature"] = signature.sign(signed, credential.response_phrase, credential.algorithm)
        return carried(url, merchant.settings.at("return_method", card.get(CHANNEL) or channel_of(echo)), signed, echo["language"])

    async def address(self, merchant_id: int, payment_id: int) -> str:
        """The address itself, "" for none: whose pages may frame what the payer is shown meanwhile."""
        view, merchant = await self._reading.view(merchant_id, payment_id), self._directory.by_id(merchant_id)
        if view is None or merchant is None or view.first.details is None:
            return ""
        return await self._address(merchant, read_details(view.first.details)[0])

    async def _given(self, merchant: Merchant, echo: dict[str, str]) -> str:
        """The request's own address, else that of the TOKENIZATION it belongs to, "" for none."""
        return echo.get("return_url") or await self._tokenized(merchant.merchant_id, echo.get("merchant_reference", ""))

    async def _address(self, merchant: Merchant, echo: dict[str, str]) -> str:
        """What was given, as long as its origin is allowed; else the channel's, where nothing was."""
        given = await self._given(merchant, echo)
        if given:
            return given if may_return(given, merchant.settings.return_origins, self._is_live) else ""
        return merchant.settings.at("return_url", channel_of(echo))     # type: ignore[no-any-return]


def answer_again(view: View) -> tuple[str, dict[str, object]]:
    """The code and the unsigned answer of a payment's first operation, from what is stored."""
    assert view.first.details is not None
    echo, card = read_details(view.first.details)
    request = request_again(echo["command"], echo)
    fields: dict[str, object] = {"fort_id": str(view.payment_id), **card}
    code = ending(request, said_to(view.first), is_kept(view), view.first.token_name or "", fields)
    return code, answer(request, fields, code)


def is_kept(view: View) -> bool:
    """Whether an approval was not in part, which nobody asked for and which is given back."""
    return view.payment is not None and view.payment.status is not Status.DECLINED


def said_to(step: Step) -> Outcome:
    """What became of an operation, as far as an answer tells of it."""
    code = step.response_code or ""
    match step.result:
        case "approved":
            return Approved(step.answered_minor or 0, step.approval_code or "")
        case "declined":
            return Declined(code)
        case "reversed":
            return Reversed(code)
        case "not_asked":
            return NotAsked(code)
        case "challenge":
            return Challenge("", "")
        case _:
            return Unknown(Silence.NO_ANSWER)
