"""Payment agreements: made, read, charged under and revoked (PPRO Global API, sections 6, 11 and 16.3).

Whatever an agreement makes has its number before the first try, so that a try that was cut off is gone on with.  What this door turns down is
an agreement that failed, and can be read.
"""
from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ringfence.api.ppro import answers, authentication, charges, fields, instruments, keys, own_addresses
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.charges import CARD, MOCK, Wish
from ringfence.api.ppro.door import DOOR, JSON, Away, Caller, Endpoint, Request, Service, once, operation_key, read
from ringfence.api.ppro.failures import OURS
from ringfence.api.ppro.instruments import Held
from ringfence.api.ppro.kinds import REQUIRED, Problem
from ringfence.api.ppro.mandates import (
    BY_ACCOUNT,
    ECHOED,
    PREFIX,
    VALIDATE,
    activated,
    failure_told,
    rendered,
    settled,
)
from ringfence.core.agreement import AmountType
from ringfence.core.mock_method import read_descriptor
from ringfence.core.money import CURRENCIES
from ringfence.core.redirection import Recurrence, recurrence_of
from ringfence.engine.agreements import AgreementRow, New, Refusal, Status, Terms, What
from ringfence.engine.return_address import may_return

PATH = "/v1/payment-agreements"
_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder().decode
NOMINAL_CURRENCY = "USD"
"""Of a nominal authorization, where the agreement names no amount."""


# ---------------------------------------------------------------------------------------------------------------- making

async def create(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-agreements``."""
    asked = read(request.body, fields.AGREEMENT)
    if isinstance(asked, Answer):
        return asked
    if wrong := _wrong(asked):
        return answers.invalid(wrong)
    if (refusal := await _own_address(service, request.caller, asked)) is not None:
        return refusal
    content = await _content(service, request.caller, asked)

    async def work(number: int) -> Answer:
        return await _make(service, request.caller, asked, number)

    return await once(service, request, content, work)


async def _own_address(service: Service, caller: Caller, asked: Mapping[str, Any]) -> Answer | None:
    """Why webhooks must not go to the agreement's own address, or to its initial charge's."""
    for one in (asked, asked.get("initialPaymentCharge", {})):
        if (refusal := await own_addresses.taken(service, caller, one)) is not None:
            return refusal
    return None


def _wrong(asked: Mapping[str, Any]) -> list[Problem]:
    """What no table of one field can say, and what the payment method needs and is not there."""
    problems, method, initial = [], asked["paymentMethod"], asked.get("initialPaymentCharge")
    if method in BY_ACCOUNT:
        problems += [Problem("startDate", REQUIRED)] if "startDate" not in asked else []
        problems += [Problem("consumer.name", REQUIRED)] if not asked["consumer"].get("name") else []
    if method == CARD and "instrument" not in asked and "instrumentId" not in asked:
        problems.append(Problem("instrument", REQUIRED))
    if asked.get("amountType") in (AmountType.EXACT, AmountType.MAX) and "amount" not in asked:
        problems.append(Problem("amount", REQUIRED))
    for path, money in (("amount", asked.get("amount")), ("initialPaymentCharge.amount", initial and initial["amount"])):
        if money is not None and money["currency"] not in CURRENCIES:
            problems.append(Problem(f"{path}.currency", "is not a currency of ISO 4217"))
    if "startDate" in asked and "endDate" in asked and asked["endDate"] < asked["startDate"]:
        problems.append(Problem("endDate", "must not be before startDate", 422))
    return problems


async def _content(service: Service, caller: Caller, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is compared under a key: the request, a card's number having become its record."""
    content = {name: value for name, value in asked.items() if name != "instrument"}
    if (instrument := asked.get("instrument")) is not None:
        content["instrument"] = await instruments.compared(service, caller, instrument)
    return content


async def _make(service: Service, caller: Caller, asked: Mapping[str, Any], number: int) -> Answer:
    """The agreement of that number, gone on with as far as it goes now."""
    merchant, method, initial = caller.merchant, asked["paymentMethod"], asked.get("initialPaymentCharge")
    instrument_id = service.engine.new_id()
    is_inline = method == CARD and "instrument" in asked
    terms = Terms(
        asked.get("startDate"), asked.get("endDate"), *((asked["amount"]["value"], asked["amount"]["currency"]) if "amount" in asked else (None, "")),
        asked.get("amountType", ""))
    echo = {name: asked[name] for name in (*ECHOED, "paymentSessionId") if name in asked}
    instrument = service.names.make(instruments.PREFIX, instrument_id) if is_inline else asked.get("instrumentId", "") if method == CARD else ""
    if instrument:
        kind = asked["instrument"]["type"] if is_inline else ""
        echo["instrument"] = {"id": instrument} | ({"type": instruments.VAULTED if kind == instruments.RAW_CARD else kind} if kind else {})
    row = await service.agreements.make(New(
        merchant.merchant_id, number, method, terms, service.engine.new_id() if initial or method == CARD else 0, initial is not None, instrument_id,
        instrument, _ENCODE(echo), asked.get("webhooksUrl", ""), caller.actor))
    if row.status is Status.INITIALIZING and (stopped := await _begun(service, caller, asked, row)) is not None:
        return stopped
    return await _told(service, await service.agreements.find(merchant.merchant_id, number) or row)


async def _begun(service: Service, caller: Caller, asked: Mapping[str, Any], row: AgreementRow) -> Answer | None:
    """Ask whoever must be asked; an answer only where that could not be done and may be tried again."""
    async def refused(code: str) -> None:
        await service.agreements.happened(row.merchant_id, row.agreement_id, What.REFUSED, why=f"{OURS}{code}")

    method, is_charged = row.method, row.is_charged
    held: Held | None = None
    if service.route(caller.merchant, method, "") is None:
        await refused("INVALID_PAYMENT_METHOD")
        return None
    if method in BY_ACCOUNT:
        if not _comes_back(service, caller, asked):
            await refused("INVALID_AUTHENTICATION_SETTINGS")
            return None
        countries = caller.merchant.settings.amazon_pay_countries
        if countries and asked["consumer"]["country"] not in countries:
            await refused("COUNTRY_NOT_SUPPORTED")
            return None
        currencies = caller.merchant.settings.amazon_pay_currencies
        if currencies and "amount" in asked and asked["amount"]["currency"] not in currencies:      # no charge under it could ever be made
            await refused("INVALID_CURRENCY")
            return None
    if method == CARD:
        held = await _held(service, caller, asked, row)
        if held is None:
            await refused(await instruments.why_none(service, caller, asked.get("instrumentId", "")))
            return None
        is_nominal = not is_charged and (_is_authenticated(asked) or not _stored(held).first_reference)
        if not is_charged and not is_nominal:
            await activated(service, row, "")
            return None
    if method == CARD or is_charged:
        if await service.reading.view(row.merchant_id, row.payment_id) is None:
            answer = await charges.begin(service, caller, _first(service, caller, asked, row, held))
            if not answer.is_success:
                return answer
        await settled(service, row)
        return None
    if not (ways := _ways(row)):
        await activated(service, row, "")
    elif await service.send_away(caller.merchant, row.agreement_id, _away(asked, row, ways)):
        extra = {"authenticationMethods": service.ways_to_agree(row.merchant_id, row.agreement_id, ways, row.created_at)}
        await service.agreements.happened(row.merchant_id, row.agreement_id, What.AWAITED, extra=extra)
    else:
        await service.agreements.happened(row.merchant_id, row.agreement_id, What.REFUSED, why="unavailable")
    return None


async def _held(service: Service, caller: Caller, asked: Mapping[str, Any], row: AgreementRow) -> Held | None:
    """The card in hand, knowing an earlier payment that was made elsewhere where one is cited."""
    if "instrumentId" in asked:
        held = await instruments.named(service, caller, asked["instrumentId"], None)
    elif asked["instrument"]["type"] in instruments.CARDS:
        held = await instruments.made(service, caller, asked["instrument"], row.instrument_id)
    else:
        held = None
    if held is not None and (cited := asked.get("initialSchemeAuthorizationReference")):
        held = await instruments.citing(service, caller, held, cited)
    return held


def _stored(held: Held) -> Any:
    assert held.card.token is not None, "a card's instrument is a token"
    return held.card.token.card


def _is_authenticated(asked: Mapping[str, Any]) -> bool:
    """Whether the cardholder's authentication was asked for, or comes with the request."""
    return authentication.settings_of(asked, "3DS") is not None or authentication.result_of(asked) is not None


def _first(service: Service, caller: Caller, asked: Mapping[str, Any], row: AgreementRow, held: Held | None) -> Wish:
    """The payment that proves it: the initial charge, or a nominal authorization."""
    name, initial = service.names.make(PREFIX, row.agreement_id), asked.get("initialPaymentCharge")
    shared = {member: asked[member] for member in (
        "paymentMethod", "paymentMedium", "webhooksUrl", "authenticationSettings", "initialSchemeAuthorizationReference") if member in asked}
    if row.instrument:
        shared["instrumentId"] = row.instrument
    told = {"agreementId": name}
    if initial is None:
        currency = asked["amount"]["currency"] if "amount" in asked else NOMINAL_CURRENCY
        wanted = {"amount": {"value": caller.merchant.settings.verify_minor, "currency": currency}, "autoCapture": False}
        told["purpose"] = VALIDATE
    else:
        wanted = {"initiator": "CONSUMER", **initial}
    consumer = {**asked["consumer"], **wanted.get("consumer", {})}
    return Wish(
        {**shared, **wanted, "consumer": consumer}, row.payment_id, f"agreement:{row.agreement_id}", told, held=held,
        agreement_id=row.agreement_id, recurrence=_recurrence(asked, row))


def _recurrence(asked: Mapping[str, Any], row: AgreementRow) -> Recurrence:
    """What the payer is told of later payments."""
    frequency = asked.get("frequency", {})
    return recurrence_of(frequency.get("type", ""), frequency.get("interval", 1), row.minor if row.amount_type == AmountType.EXACT else None)


def _comes_back(service: Service, caller: Caller, asked: Mapping[str, Any]) -> bool:
    """Whether the payer can be sent away and come back to an allowed address."""
    settings = authentication.settings_of(asked, "REDIRECT") or {}
    return may_return(settings.get("returnUrl", ""), caller.merchant.settings.return_origins, service.is_live)


def _ways(row: AgreementRow) -> tuple[str, ...]:
    """How the payer of an agreement that nothing is charged with is to act; none where he need not."""
    return ("REDIRECT",) if row.method in BY_ACCOUNT else read_descriptor(_DECODE(row.details).get("description", "")).ways


def _away(asked: Mapping[str, Any], row: AgreementRow, ways: tuple[str, ...]) -> Away:
    frequency = asked.get("frequency", {})
    is_fixed = row.amount_type == AmountType.EXACT
    language = "ar" if asked["consumer"].get("locale", "").startswith("ar") else "en"
    return Away(
        row.method, language, ways, authentication.return_url(asked) or "", frequency.get("type", ""), frequency.get("interval", 1),
        row.minor if is_fixed else None, row.currency if is_fixed else "")


# --------------------------------------------------------------------------------------------------------------- reading

async def show(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-agreements/{agreementId}``."""
    found = await _find(service, request)
    return found if isinstance(found, Answer) else await _told(service, found)


async def _find(service: Service, request: Request) -> AgreementRow | Answer:
    """The agreement that the path names, as it stands now; another merchant's is not there."""
    number = service.names.read(PREFIX, request.variables[0])
    row = None if number is None else await service.agreements.find(request.caller.merchant.merchant_id, number)
    return answers.not_found("Payment agreement") if row is None else await settled(service, row)


async def _told(service: Service, row: AgreementRow) -> Answer:
    methods: list[dict[str, Any]] = []
    if row.status is Status.AUTHENTICATION_PENDING:
        view = await service.reading.view(row.merchant_id, row.payment_id) if row.payment_id else None
        if view is not None:
            methods = service.renderer.methods(view)
        else:
            methods = service.ways_to_agree(row.merchant_id, row.agreement_id, _ways(row), row.created_at)
    return answers.ok(rendered(service.names, await service.agreements.whole(row), methods))


# ------------------------------------------------------------------------------------------------------- what follows it

async def charge(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-agreements/{agreementId}/payment-charges``: a charge without the consumer."""
    asked = read(request.body, fields.AGREEMENT_CHARGE)
    if isinstance(asked, Answer):
        return asked
    row = await _find(service, request)
    if isinstance(row, Answer):
        return row
    wanted = _under(row, asked)
    if (refusal := await own_addresses.taken(service, request.caller, asked)) is not None:
        return refusal
    key, merchant_id, payment_id, refused = operation_key(request), row.merchant_id, service.engine.new_id(), ""
    is_repeat = key is not None and (await keys.standing(service, merchant_id, key))[1]
    if not is_repeat:
        money = wanted["amount"]
        refused = await service.agreements.admit(merchant_id, row.agreement_id, payment_id, money["value"], money["currency"]) or ""
    told = {"agreementId": service.names.make(PREFIX, row.agreement_id)}
    account = wanted.get("paymentDescriptor") or MOCK if row.method == MOCK else row.account
    return await charges.begin(service, request.caller, Wish(wanted, payment_id, key, told, refused, account))


def _under(row: AgreementRow, asked: Mapping[str, Any]) -> dict[str, Any]:
    """A charge as one that stands alone would be asked for."""
    echo = _DECODE(row.details)
    wanted = {"initiator": "MERCHANT", **asked, "paymentMethod": row.method, "consumer": {**echo.get("consumer", {}), **asked.get("consumer", {})}}
    if "paymentMedium" in echo:
        wanted["paymentMedium"] = echo["paymentMedium"]
    if row.instrument:
        wanted["instrumentId"] = row.instrument
    if row.webhooks_url:
        wanted.setdefault("webhooksUrl", row.webhooks_url)
    return wanted


async def revoke(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-agreements/{agreementId}/revocations``."""
    asked = read(request.body or b"{}", fields.REVOCATION)
    if isinstance(asked, Answer):
        return asked
    row = await _find(service, request)
    if isinstance(row, Answer):
        return row
    found = row

    async def work(number: int) -> Answer:
        done = await service.agreements.revoke(found.merchant_id, found.agreement_id, number, What.REVOKED_BY_MERCHANT)
        assert done is not None, "it was found"
        if done.row.is_close_owed:
            await service.agreements.look_now(done.row, f"{DOOR}:{number}", lambda one: settled(service, one))
        failure = failure_told(done.refusal or "")
        return answers.ok({"status": "REVOKED"} if failure is None else {"status": "FAILED", "failure": failure.told()})

    return await once(service, request, asked, work)


async def confirm(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-agreements/{agreementId}/authorizations``: the code that the payer was given."""
    asked = read(request.body, fields.OPERATIONS["authorizations"])
    if isinstance(asked, Answer):
        return asked
    code = asked["authenticationResult"].get("details", {}).get("verificationCode", "")
    if not _CODE.fullmatch(code):
        return answers.invalid([Problem("authenticationResult.details.verificationCode", "must be six digits")])
    row = await _find(service, request)
    if isinstance(row, Answer):
        return row
    found = row

    async def work(number: int) -> Answer:
        subject = found.payment_id or found.agreement_id
        was_awaited = found.status is Status.AUTHENTICATION_PENDING and await service.confirm(found.merchant_id, subject, code)
        after = await service.agreements.find(found.merchant_id, found.agreement_id) or found
        after = await settled(service, after)
        told: dict[str, Any] = {"id": service.names.make("authz", number), "agreementStatus": after.status}
        why = after.why if after.status is Status.FAILED else "" if was_awaited else Refusal.INACTIVE
        if (failure := failure_told(why)) is not None:
            told["failure"] = failure.told()
        return answers.ok(told | {"createdAt": answers.moment(service.now())})

    return await once(service, request, asked, work)


GROUP = "payment-agreements"
ENDPOINTS = (
    Endpoint("POST", PATH, create, group=GROUP, takes=JSON),
    Endpoint("GET", f"{PATH}/{{agreementId}}", show, group=GROUP),
    Endpoint("POST", f"{PATH}/{{agreementId}}/authorizations", confirm, group=GROUP, takes=JSON),
    Endpoint("POST", f"{PATH}/{{agreementId}}/revocations", revoke, group=GROUP, takes=JSON),
    Endpoint("POST", f"{PATH}/{{agreementId}}/payment-charges", charge, group=GROUP, takes=JSON),
)
