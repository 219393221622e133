"""Payment charges: made and read (PPRO Global API, sections 6 and 8).

A charge is a payment; its first operation is a purchase where it captures by itself, else an authorization.  What this door turns down when
a charge is made is a payment that nobody was asked for: it has an id, and can be read.
"""
from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from ringfence.api.ppro import answers, authentication, failures, fields, instruments, keys, methods, own_addresses
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import (
    DOOR,
    JSON,
    Caller,
    Endpoint,
    Hear,
    Request,
    Service,
    content_of,
    content_of_written,
    operation_key,
    read_and_written,
)
from ringfence.api.ppro.failures import OURS
from ringfence.api.ppro.instruments import Held
from ringfence.api.ppro.keys import Repeat
from ringfence.api.ppro.rendering import CHARGES, Facts, Paid
from ringfence.core.card import brand_of
from ringfence.core.commands import Command, Initiation, Kind, VoidReason
from ringfence.core.expiry import hold_seconds
from ringfence.core.mock_method import read_descriptor
from ringfence.core.outcomes import Approved, Declined
from ringfence.core.redirection import Recurrence, Redirect
from ringfence.core.refusals import Refusal
from ringfence.engine.charges import Step
from ringfence.engine.intents import Intent, Result

CARD, MOCK = "CARD", "MOCK"
BY_SCHEDULE = {"SCHEDULED": Initiation.RECURRING, "SCHEDULED_RETRY": Initiation.RECURRING, "RECURRING": Initiation.RECURRING}
"""Who began a charge whose initiator is the merchant, by ``scheduleType``; else unscheduled."""
CHANNELS = {"MOTO": "moto", "POS": "store"}
ECHOED = frozenset((
    "paymentMethod", "paymentMedium", "scheduleType", "initiator", "paymentDescriptor", "consumer", "order", "labels", "webhooksUrl",
    "initialTransactionLinkReference", "initialSchemeAuthorizationReference", "autoCapture",
))
"""What is kept of a request for answers and events; instruments and secrets are not among it."""
NEEDS_AWAITING = frozenset(("instrument", "instrumentUpdateDetails", "initialSchemeAuthorizationReference", own_addresses.FIELD))
"""What of a card's charge is looked at elsewhere before anybody is asked."""
PURCHASE, CARDHOLDER = Kind.PURCHASE, Initiation.CARDHOLDER         # Python 3.11 looks up a member of an enumeration for a tenth of a microsecond
REQUESTED = VoidReason.REQUESTED
# All fields at once, at a third of the price of a call.
_answer, _command, _facts, _paid = (partial(tuple.__new__, kind) for kind in (Answer, Command, Facts, Paid))
_ENCODE = msgspec.json.Encoder().encode
_DECODE = msgspec.json.Decoder().decode
T = TypeVar("T")


class Wish(NamedTuple):
    """A charge to be made.  ``asked`` is what the table of a request reads; ``key`` claims the intention; ``told`` stands in the charge's
    details beside the echo; ``written`` is ``asked`` in JSON, names in order, where that is at hand.

    ``refused``: the code of what this door turns down before anybody is asked, "" for nothing.  ``held``: the card's instrument, where it is
    in hand already; ``agreement_id``: what the payer agrees to with it, 0 for nothing.
    """

    asked: Mapping[str, Any]
    payment_id: int
    key: str | None = None
    told: Mapping[str, Any] = {}
    refused: str = ""
    account: str = ""                       # what stands for the payer's account at a wallet
    held: Held | None = None
    agreement_id: int = 0                   # what the payer agrees to together with the charge, 0 for nothing ...
    recurrence: Recurrence | None = None    # ... and how that is told to him
    written: bytes = b""


async def create(service: Service, request: Request) -> Answer:
    """``POST /v1/payment-charges``."""
    wish = _wished(service, request)
    return wish if type(wish) is Answer else await _made(service, request.caller, wish)


def begin_by_itself(service: Service, request: Request, hear: Hear) -> Awaitable[Answer] | None:
    """The same for whoever is told (see ``Beginner``): a charge of a card at hand, whose payer need do nothing."""
    wish = _wished(service, request)
    if type(wish) is Answer:
        return _said(wish)
    caller, asked = request.caller, wish.asked
    if (asked["paymentMethod"] != CARD or asked.get("initiator") == "MERCHANT" or not NEEDS_AWAITING.isdisjoint(asked)
            or _turned_down(service, caller, asked)):
        return _made(service, caller, wish)
    held = _at_hand(service, caller, asked)
    if held is None:
        return _made(service, caller, wish)
    echo = echo_of(wish, held, None)
    intent = intent_of(service, caller, wish, held, echo, "")
    begun = _begun((service, caller, wish, held, echo, intent))
    if intent.demand is None and service.engine.begin(intent, partial(_heard, begun, hear)):
        return None
    return _made(service, caller, wish)


def _heard(begun: Begun, hear: Hear, result: Result | Awaitable[Result]) -> None:
    """What became of the charge, or what is to be awaited for it."""
    try:
        answer = begun.at_once(result) if type(result) is Result else None
    except Exception as error:
        hear(_raising(error))
        return
    hear(_ended(begun, _said(result) if type(result) is Result else result) if answer is None else answer)     # type: ignore[arg-type]


def _wished(service: Service, request: Request) -> Wish | Answer:
    asked, written = read_and_written(request.body, fields.CHARGE)
    return asked if type(asked) is Answer else _wish((
        asked, service.engine.new_id(), operation_key(request), {}, "", "", None, 0, None, written))


async def _made(service: Service, caller: Caller, wish: Wish) -> Answer:
    if "instrumentId" in wish.asked and wish.asked["paymentMethod"] in (methods.AMAZON_PAY, MOCK):
        wish = await _by_permission(service, caller, wish)
    return await begin(service, caller, wish)


class Begun(NamedTuple):
    """A charge on its way through the engine, and what its answer needs."""

    service: Service
    caller: Caller
    wish: Wish
    held: Held | None
    echo: Mapping[str, Any]
    intent: Intent

    def at_once(self, done: Result) -> Answer | None:
        """The answer, where the result tells all of it and nothing is left to do."""
        if done.refusal is not None or (self.held is not None and self.held.has_news):
            return None
        paid = paid_by(self.intent, done)
        return None if paid is None else _answer((
            200, self.service.renderer.paid(paid, _facts((self.echo, self.intent.reference))), (), answers.JSON_BYTES))


async def _by_permission(service: Service, caller: Caller, wish: Wish) -> Wish:
    """A charge that names the instrument of an agreement, and not the agreement: it is made under it all the same, for the payer has given leave to
    nothing else.  A mock's instrument may stand alone."""
    asked, merchant_id, name = wish.asked, caller.merchant.merchant_id, wish.asked["instrumentId"]
    number = service.names.read(instruments.PREFIX, name)
    kept = number and await service.instruments.find(merchant_id, number)
    row = await service.agreements.of_instrument(merchant_id, name) if kept else None
    if row is None or row.method != asked["paymentMethod"]:
        return wish if kept and asked["paymentMethod"] == MOCK else wish._replace(refused="INSTRUMENT_NOT_FOUND")
    refused, money = "", asked["amount"]
    if wish.key is None or not (await keys.standing(service, merchant_id, wish.key))[1]:
        refused = await service.agreements.admit(merchant_id, row.agreement_id, wish.payment_id, money["value"], money["currency"]) or ""
    account = asked.get("paymentDescriptor") or MOCK if row.method == MOCK else row.account
    told = {"agreementId": service.names.make("agr", row.agreement_id)}
    return wish._replace(asked={"initiator": "MERCHANT", **asked}, told=told, refused=refused, account=account, written=b"")


async def begin(service: Service, caller: Caller, wish: Wish) -> Answer:
    """Make a charge, and answer with it as it stands then: 200 also where it was declined."""
    asked = wish.asked
    is_card = asked["paymentMethod"] == CARD
    if not is_card and (wrong := methods.missing(asked, has_account=bool(wish.account))):
        return answers.invalid(wrong)
    if own_addresses.FIELD in asked and (refusal := await own_addresses.taken(service, caller, asked)) is not None:
        return refusal
    held: Held | None = None
    redirect: Redirect | None = None
    if not is_card:
        redirect = methods.redirect_of(
            caller.merchant, asked, has_account=bool(wish.account), agreement_id=wish.agreement_id,
            recurrence=wish.recurrence or (Recurrence() if wish.agreement_id else None))
    refused, is_repeat = wish.refused or _turned_down(service, caller, asked), False
    if redirect is not None and not refused and methods.cannot_come_back(caller.merchant, asked, redirect, is_live=service.is_live):
        refused = "INVALID_AUTHENTICATION_SETTINGS"
    if wish.key is not None and "instrument" in asked:          # a repeat makes no further instrument
        key, is_repeat = await keys.standing(service, caller.merchant.merchant_id, wish.key)
        wish = wish._replace(key=key)
    if is_card and not refused:
        held = wish.held or _at_hand(service, caller, asked) or await _instrument(service, caller, asked, is_repeat)
        if held is None:
            refused = await instruments.why_none(service, caller, asked.get("instrumentId", ""))
        elif cited := asked.get("initialSchemeAuthorizationReference"):
            held = await instruments.citing(service, caller, held, cited)
    redirect = None if refused else redirect
    echo = echo_of(wish, held, redirect)
    intent = intent_of(service, caller, wish, held, echo, refused, redirect)
    if intent.demand is not None and not intent.never_asked and not authentication.may_come_back(
            intent.demand, asked, caller.merchant, is_live=service.is_live):
        intent = replace(intent, never_asked=f"{OURS}INVALID_AUTHENTICATION_SETTINGS")
    return await _ended(Begun(service, caller, wish, held, echo, intent), service.engine.execute(intent))


async def _ended(begun: Begun, coming: Awaitable[Result]) -> Answer:
    """The answer about a charge, when it has its result."""
    service, caller, wish, held, _, intent = begun
    done: Result | Repeat | Answer = await coming
    if (answer := begun.at_once(done)) is not None:
        return answer
    if done.refusal is not None:
        done = await keys.settled(service, intent, done)
        if isinstance(done, Answer):
            return done
        if isinstance(done, Repeat):
            return answers.replayed(answers.ok(service.renderer.as_begun(caller.merchant.merchant_id, done.step)))
        if done.refusal is Refusal.SERVICE_UNAVAILABLE:
            return answers.error(503, answers.AWAY)
        if done.refusal is not None:            # of the token, which changed meanwhile, or of an initiation that may not be
            return await begin(service, caller, wish._replace(refused=failures.refused(done.refusal).code))
    if held is not None and held.has_news:
        await instruments.renew(service, caller, held)
    first = first_step(intent, done)
    if first is None:
        return await told(service, caller, wish.payment_id)
    return answers.ok(service.renderer.as_begun(caller.merchant.merchant_id, first))


def paid_by(intent: Intent, done: Result) -> Paid | None:
    """What the charge's first operation came to, where it was approved whole and its payer had nowhere to go."""
    outcome, command = done.outcome, intent.command
    if type(outcome) is not Approved or outcome.minor != command.minor or done.asked_at is None or done.at is None or (
            intent.describe is not None or intent.redirect is not None):
        return None
    return _paid((
        command.operation_id, command.minor, command.currency, command.kind is PURCHASE, done.asked_at, done.at, outcome.scheme_reference))


def first_step(intent: Intent, done: Result) -> Step | None:
    """The charge's first operation as it was stored a moment ago; ``None`` where the result does not tell all of it."""
    outcome, command = done.outcome, intent.command
    if done.asked_at is None or intent.describe is not None:
        return None
    match outcome:
        case Approved():
            said = ("approved", outcome.minor, outcome.response_code, None, outcome.approval_code or None, outcome.scheme_reference or None)
        case Declined():
            said = ("declined", None, outcome.response_code, outcome.advice or None, None, outcome.provider_code or None)
        case _:
            return None
    return Step(
        command.operation_id, command.kind, command.minor or 0, command.currency, intent.door, intent.reference, intent.key, intent.details,
        intent.actor, intent.source, intent.processor, None, None, intent.initiation, intent.channel, command.accepts_partial, "",
        command.hold_seconds, None, done.asked_at, done.asked_at, 1, *said, outcome.processor_reference or None, done.at, intent.resubmitted)


_begun, _wish = partial(tuple.__new__, Begun), partial(tuple.__new__, Wish)


async def _said(one: T) -> T:
    return one


async def _raising(error: Exception) -> Answer:
    raise error


async def told(service: Service, caller: Caller, payment_id: int) -> Answer:
    """The charge as it was begun."""
    found = await service.charges.as_first_said(caller.merchant.merchant_id, payment_id, payment_id)
    assert found is not None, "it was just made"
    return answers.ok(service.renderer.as_begun(caller.merchant.merchant_id, found[1]))


def _turned_down(service: Service, caller: Caller, asked: Mapping[str, Any]) -> str:
    """The code of the first rule of this door that the charge breaks, "" for none."""
    if service.route(caller.merchant, asked["paymentMethod"], "") is None:
        return "INVALID_PAYMENT_METHOD"
    return methods.broken(caller.merchant, asked)


def _at_hand(service: Service, caller: Caller, asked: Mapping[str, Any]) -> Held | None:
    """The card's instrument where it is named, and ready."""
    if "instrumentId" not in asked or "instrumentUpdateDetails" in asked:
        return None
    return service.at_hand.find(service.vault, caller.merchant.merchant_id, asked["instrumentId"])


async def _instrument(service: Service, caller: Caller, asked: Mapping[str, Any], is_repeat: bool) -> Held | None:
    if "instrumentId" in asked:
        update = asked.get("instrumentUpdateDetails")
        return await instruments.named(service, caller, asked["instrumentId"], update and update["details"]["cvv"])
    instrument = asked["instrument"]
    if instrument["type"] not in instruments.CARDS:
        return None
    return await (instruments.looked_at if is_repeat else instruments.made)(service, caller, instrument)


def echo_of(wish: Wish, held: Held | None, redirect: Redirect | None) -> dict[str, Any]:
    """What is kept of a request, and what is told with it; of its instrument the id alone."""
    asked = wish.asked
    echo = {name: value for name, value in asked.items() if name in ECHOED} | wish.told
    if redirect is not None:
        echo |= {"ways": redirect.ways, "within": redirect.seconds}
    if "authenticationSettings" in asked:
        echo["authenticationSettings"] = authentication.echoed(asked)
        if (address := authentication.return_url(asked)) is not None:
            echo["returnUrl"] = address
    if held is not None:
        echo["instrumentId"] = held.instrument_id
        if held.has_news:
            echo["instrumentUpdated"] = True
    elif "instrumentId" in asked:
        echo["instrumentId"] = asked["instrumentId"]
    return echo


def intent_of(
    service: Service, caller: Caller, wish: Wish, held: Held | None, echo: Mapping[str, Any], refused: str, redirect: Redirect | None = None,
) -> Intent:
    """The charge on its way to the engine."""
    asked, merchant = wish.asked, caller.merchant
    card = held.card if held else None
    brand = card.stored.brand if card and card.stored else ""
    initiation = CARDHOLDER
    if asked.get("initiator") == "MERCHANT":
        initiation = BY_SCHEDULE.get(asked.get("scheduleType", ""), Initiation.UNSCHEDULED)
    channel = CHANNELS.get(asked.get("paymentMedium", ""), "ecommerce")
    money = asked["amount"]
    command = _command((PURCHASE, money["value"], money["currency"], wish.payment_id, False, False, REQUESTED, 0, None))
    account, captures = wish.account, asked.get("autoCapture") is not False
    if asked["paymentMethod"] == MOCK:
        account = account or asked.get("paymentDescriptor", "")
        wanted = read_descriptor(account)
        captures = captures if wanted.captures_later is None else not wanted.captures_later
    if not captures:
        seconds = hold_seconds(
            merchant_days=methods.hold_days(merchant, asked["paymentMethod"]), door_seconds=None,
            brand=brand_of(card.stored.bin) if card and card.stored else None, initiation=initiation, channel=channel)
        command = command._replace(kind=Kind.AUTHORIZATION, hold_seconds=seconds)
    details = _ENCODE(echo)
    if held is not None:
        details = b"%b%b}" % (details[:-1], held.kept)
    content = asked
    is_in_clear = "instrument" in asked or "instrumentUpdateDetails" in asked
    if is_in_clear:
        content = {name: value for name, value in asked.items() if name not in ("instrument", "instrumentUpdateDetails")}
    if card is not None and card.stored is not None and "instrument" in asked:
        content["card"] = [card.stored.card_id, card.expiry, card.holder]
    never_asked = OURS + refused if refused else "" if held is None or held.is_reachable else "unavailable"
    return Intent(
        merchant.merchant_id, merchant.identifier, wish.payment_id, command, DOOR, caller.actor, "api",
        content_of_written(service, wish.written) if wish.written and not is_in_clear else content_of(service, content),
        asked.get("merchantPaymentChargeReference"), wish.key, False, details,
        service.route(merchant, asked["paymentMethod"], brand) or service.house, card, None, initiation, channel, merchant.settings.magic_amounts,
        demand=authentication.demand_of(merchant, asked, brand, initiation, channel, held.proof if held else None),
        never_asked=never_asked, account=account, redirect=redirect,
    )


def card_facts(details: bytes) -> tuple[str, str]:
    """Expiry date (YYMM) and holder of the card that a charge was paid with, "" for what nobody said."""
    card = _DECODE(details).get("card", {})
    return card.get("expiry", ""), card.get("holder", "")


# --------------------------------------------------------------------------------------------------------------- reading

async def show(service: Service, request: Request) -> Answer:
    """``GET /v1/payment-charges/{chargeId}``."""
    found = await find(service, request)
    return found if isinstance(found, Answer) else answers.ok(service.renderer.charge(found))


async def find(service: Service, request: Request):     # type: ignore[no-untyped-def]  # Charge | Answer
    """The charge that the path names; another merchant's is not there."""
    payment_id = service.names.read("charge", request.variables[0])
    found = None if payment_id is None else await service.charges.find(request.caller.merchant.merchant_id, payment_id)
    return answers.not_found("Payment charge") if found is None else found


ENDPOINTS = (
    Endpoint("POST", CHARGES, create, takes=JSON, begin=begin_by_itself),
    Endpoint("GET", f"{CHARGES}/{{chargeId}}", show),
)
