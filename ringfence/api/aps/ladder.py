"""The ladder: what must hold of a request before anything is asked on its behalf, rung by rung.

From the operation over the signature, nothing extra, nothing missing, lengths, formats, lists, currency, amount and card to the account's
switches; the first rung that breaks is the answer.  Decides only what can be told from the request, the credential and the account.
Refuses to know payments, tokens and the clock's owner.
"""
from __future__ import annotations

import ipaddress
import re
from collections.abc import Set
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from msgspec import Struct

from ringfence.api.aps import ambiguity, cards, operations, signature
from ringfence.api.aps.accounts import Credential, Settings
from ringfence.api.aps.cards import CardDetails
from ringfence.api.aps.fields import FIELDS, Checks
from ringfence.api.aps.operations import FEATURES_ABSENT, Endpoint, Operation, Variant
from ringfence.core.card import Pan, SecurityCode, brand_of
from ringfence.core.ids import LARGEST
from ringfence.core.money import CURRENCIES
from ringfence.engine.return_address import may_return


class WireError(NamedTuple):
    """A refused request: the whole response code, the parameters it names, what the answer repeats, and its language."""

    code: str
    named: str
    echo: dict[str, str]
    language: str


class ApsRequest(Struct, frozen=True, gc=False):
    """A request that passed every step of the ladder up to the business rules.

    ``given`` are its non-empty parameters as texts, without card number, security code and signature; ``echo`` what the answer repeats
    (the card number masked).  Both are only to be read: where they say the same they may be one dict.  ``amount`` is in minor units of
    ``currency``.  ``fort_id`` is 0 where the caller's is beyond 63 bits: it names no payment.  ``eci`` is the meant one, ECOMMERCE where
    none was sent.
    ``pairs`` is the text of ``given`` as the signature joins it.
    """

    operation: Operation
    given: dict[str, str]
    echo: dict[str, str]
    language: str
    amount: int | None
    currency: str
    reference: str
    fort_id: int | None
    token_name: str
    card: CardDetails | None
    security_code: SecurityCode | None
    eci: str
    variant: Variant | None
    pairs: str


def climb(
    params: dict[str, str], credential: Credential, settings: Settings, now: datetime, source_ip: str = "",
    endpoint: Endpoint = operations.PAYMENT_API,
) -> ApsRequest | WireError:
    """Climb the ladder from the operation to the account's switches; the first rung that breaks is the answer."""
    operation = operation_of(params, endpoint)
    if type(operation) is WireError:
        return operation
    unsigned = operation.unsigned if operation is not None else ()

    if not params.get("signature"):
        return error(params, "00001", "signature")
    pairs = signature.matching(params, credential.request_phrase, credential.sha_type, unsigned)
    if pairs is None:
        return error(params, "00008")
    if operation is None:
        return error(params, endpoint.unavailable[_named_operation(params)])

    return _climbed(params, operation, settings, now, source_ip, pairs)


def unsigned(params: dict[str, str], settings: Settings, now: datetime) -> ApsRequest | WireError:
    """The same ladder for what this service asks by itself on a merchant's behalf: signed by nobody, and from nowhere.

    ``params`` as a client would send them, but for the signature.
    """
    operation = operation_of(params)
    assert type(operation) is Operation, "we know our own operations"
    return _climbed({**params, "signature": "0"}, operation, settings._replace(sources=None), now, "", None)


def _climbed(
    params: dict[str, str], operation: Operation, settings: Settings, now: datetime, source_ip: str, pairs: str | None,
) -> ApsRequest | WireError:
    """The rungs above the signature, which covers ``pairs`` (``None``: there was none)."""
    given = {name: value for name, value in params.items() if value} if "" in params.values() else params
    variant = operations.variant_of(operation, given)
    extra = NONE if operation.accepts.issuperset(params) else params.keys() - operation.accepts
    features = extra & FEATURES_ABSENT.keys() if extra and (variant is not None or operation.name == "TOKENIZATION") else NONE
    broken = (
        _extra(extra - features, given, variant)
        or _missing(given, operation, variant, settings, features)
        or _malformed(given)
        or _not_written(given, operation)
        or (pairs is not None and ambiguous(pairs, given))
        or implausible(given, settings, now)
        or _disagreeing(given, now)
        or _switched_off(given, operation, variant, settings, features, source_ip)
    )
    if broken:
        return error(params, *broken)
    return accepted(given, operation, variant, settings)


def operation_of(params: dict[str, str], endpoint: Endpoint = operations.PAYMENT_API) -> Operation | WireError | None:
    """The operation a request names; ``None`` where it is known and served elsewhere; 00001 without a name, 00004 for an unknown one."""
    named = _named_operation(params)
    if named is None:
        return error(params, "00001", "command")
    operation = endpoint.operations.get(named)
    if operation is None and named not in endpoint.unavailable:
        return error(params, "00004")
    return operation


def _named_operation(params: dict[str, str]) -> tuple[str, str] | None:
    """The key and value that name the operation: ``command`` wins over the others."""
    for key in operations.KEYS:
        if value := params.get(key):
            return key, value
    return None


Broken = tuple[str, str] | tuple[str] | None
"""A whole response code and the parameters it names; ``None`` where a rung holds."""


NONE: frozenset[str] = frozenset()


def _extra(extra: Set[str], given: dict[str, str], variant: Variant | None) -> Broken:
    """5: parameters that the operation does not know, or that contradict the way to pay."""
    if variant is not None and not variant.forbidden.isdisjoint(given):
        extra = extra | variant.forbidden & given.keys()
    return ("00027", ", ".join(map(sayable, sorted(extra)))) if extra else None


_SAYABLE = re.compile(r"(?!.*[0-9]{5})[A-Za-z0-9_.\-]{1,40}")


def sayable(name: str) -> str:
    """A parameter's name, unless it is something else in the wrong place: a card number, a text, a control character."""
    return name if _SAYABLE.fullmatch(name) else "?"


def _missing(
    given: dict[str, str], operation: Operation, variant: Variant | None, settings: Settings, features: Set[str],
) -> Broken:
    """6: mandatory parameters, the operation's first, then those of the way to pay (a wallet brings its own)."""
    for name in operation.mandatory:
        if name not in given:
            return "00001", name
    if operation.one_of and given.keys().isdisjoint(operation.one_of):
        return "00001", operation.one_of[0]
    if variant is not None and not features:
        for name in variant.mandatory:
            if name not in given:
                return "00001", name
        if given.get("recurring_mode") in COUNTED and "recurring_transactions_count" not in given:
            return "00001", "recurring_transactions_count"
        if settings.fraud and "customer_ip" not in given and variant.eci != "RECURRING":
            return "00001", "customer_ip"
    return None


#: The check of each value; ``bool`` for what earlier rungs have settled (who calls, which operation, the signature) and for what the
#: last rung refuses by name.
_CHECKS = Checks(dict.fromkeys(("signature", "access_code", "merchant_identifier", *operations.KEYS, *FEATURES_ABSENT), bool))


def _malformed(given: dict[str, str]) -> Broken:
    """6: lengths, then formats, then lists of values, over all parameters each."""
    for name, value in given.items():
        if not _CHECKS[name](value):
            return _first_malformed(given)
    return None


def _first_malformed(given: dict[str, str]) -> Broken:
    """The lowest of the three rungs that breaks, and the first name there."""
    known = [(name, value, FIELDS[name]) for name, value in sorted(given.items()) if _CHECKS[name] is not bool]
    for code, holds in (
        ("00032", lambda field, value: len(value) <= field.longest),
        ("00002", lambda field, value: field.pattern.fullmatch(value)),
        ("00033", lambda field, value: field.lists(value)),
    ):
        for name, value, field in known:
            if not holds(field, value):
                return code, name
    raise AssertionError("a field that is not accepted breaks one of its three rules")


def _not_written(given: dict[str, str], operation: Operation) -> Broken:
    """6: only reports are written in XML."""
    if given.get("response_format") == "XML" and operation.endpoint != operations.REPORTING:
        return "00033", "response_format"
    return None


def ambiguous(pairs: str, given: dict[str, str]) -> Broken:
    """6: a value that, under the same signature, could be the next parameters of another request."""
    name = ambiguity.second_reading(pairs, given)
    return None if name is None else ("00002", name)


_LOOKED_INTO = frozenset({"request_expiry_date", "card_number", "expiry_date", "card_security_code", "return_url"})
"""Beside currency and amount: the parameters whose values are more than their rules say."""


def implausible(given: dict[str, str], settings: Settings, now: datetime) -> Broken:
    """6: a currency that exists, an amount that is one, a card that can be real."""
    currency = given.get("currency")
    if currency is not None and (currency not in CURRENCIES or currency not in (settings.currencies or CURRENCIES)):
        return ("00013",)
    if (amount := given.get("amount")) is not None and not int(amount):
        return ("00005",)
    if _LOOKED_INTO.isdisjoint(given):
        return None
    if "request_expiry_date" in given and (broken := bad_link(given, now)) is not None:
        return broken
    number = given.get("card_number", "")
    expiry = given.get("expiry_date")
    if expiry is not None and (message := cards.expiry_message(expiry, now, number, settings.sandbox)):
        return (f"00{message}",)
    if number:
        if message := cards.number_message(number):
            return (f"00{message}",)
        if (code := given.get("card_security_code")) is not None and not cards.code_fits(code, number):
            return "00002", "card_security_code"
        for name, value in given.items():
            if number in value and name != "card_number":
                return "00002", name            # a reference or a name is kept and shown, a card number never
    if "return_url" in given and not _may_return(given["return_url"], settings.return_origins):
        return ("00040",)                       # here and not with the switches: a value decides, which no plan holds
    return None


def _may_return(url: str, origins: tuple[str, ...] | None) -> bool:
    """Without a list every address is good that a browser can go to at all."""
    return may_return(url, origins or (), origins is not None)


COUNTED = frozenset({"FIXED", "VARIABLE"})
"""Recurring modes of a known number of payments."""

AGREEMENT = frozenset({"recurring_mode", "recurring_transactions_count", "recurring_expiry_date", "recurring_days_between_payments"})
"""Parameters whose values must agree with each other or with the day; requests that have one climb the ladder every time."""


def _disagreeing(given: dict[str, str], now: datetime) -> Broken:
    """6: an agreement about repeated payments that can be one: counts above nothing, a last day that exists and is not over."""
    for name in ("recurring_transactions_count", "recurring_days_between_payments"):
        if name in given and not int(given[name]):
            return "00002", name
    if (last := given.get("recurring_expiry_date")) is not None:
        try:
            day = date.fromisoformat(last)
        except ValueError:
            return "00002", "recurring_expiry_date"
        if day < (now - _WESTERNMOST).date():
            return ("00110",)
    return None


_WESTERNMOST = timedelta(hours=12)
"""A day is over when it is so everywhere: the parameter names no time zone."""

def bad_link(given: dict[str, str], now: datetime) -> Broken:
    """6: a payment link that ends in the future, and someone to send it to."""
    try:
        ends = datetime.fromisoformat(given["request_expiry_date"]).astimezone(UTC)
    except (ValueError, OverflowError):             # no such day, no such offset, or beyond all calendars
        return "00002", "request_expiry_date"
    if ends <= now:
        return "00002", "request_expiry_date"
    named = given.get("notification_type", "").split(",")
    if "SMS" in named and "NONE" not in named and "customer_phone" not in given:
        return "00001", "customer_phone"
    return None


SHORTEST_NUMBER = 12
"""Digits of the shortest card number: a value that holds the request's own is not repeated."""

_BY_CARD = frozenset({"VERIFY_CARD", "3DS_ENROLLMENT"})
"""What asks about a card beside payments."""
_SERVICE_OFF = {"tokenization": "00038", "mobile_sdk": "00068"}


def _switched_off(
    given: dict[str, str], operation: Operation, variant: Variant | None, settings: Settings, features: Set[str], source_ip: str,
) -> Broken:
    """7: where the request may come from, then channels, services and payment options of the account."""
    if settings.sources is not None and not _comes_from(source_ip, settings):
        return ("00040",)
    if operation.service and operation.service not in settings.services:
        return (_SERVICE_OFF.get(operation.service, "00093"),)
    if features:
        return (FEATURES_ABSENT[min(features)],)
    if settings.payment_options is not None and not settings.payment_options and (variant is not None or operation.name in _BY_CARD):
        return ("00003",)
    if variant is None:
        return None
    if variant.channel not in settings.channels or (variant.eci == "MOTO" and "moto" not in settings.channels):
        return ("00046",)                           # a card by telephone needs both channels, the trusted one and this
    if variant.eci == "RECURRING" and operation.name != "PURCHASE":
        return ("00112",)                           # a recurring payment is a purchase
    if "statement_descriptor" in given and not settings.statement_descriptor:
        return ("00067",)
    if settings.payment_options is not None:
        for option in (given.get("payment_option"), brand_of(given["card_number"]) if "card_number" in given else None):
            if option is not None and option not in settings.payment_options:
                return ("00003",)
    return None


def _comes_from(source_ip: str, settings: Settings) -> bool:
    """Whether the caller's address lies in one of the account's networks."""
    try:
        source = ipaddress.ip_address(source_ip)
    except ValueError:
        return False
    return any(source in network for network in settings.sources or ())


def accepted(
    given: dict[str, str], operation: Operation, variant: Variant | None, settings: Settings, *, repeated_whole: bool = False,
    pairs: str = "",
) -> ApsRequest:
    """The request, from parameters that passed every rung.  ``repeated_whole``: the answer repeats all but the signature; ``pairs``
    are those of all but the signature, where they are known."""
    value = given.get
    number, code, amount, fort_id = value("card_number"), value("card_security_code"), value("amount"), value("fort_id")
    named = None if fort_id is None else int(fort_id)
    open_values = given.copy()
    del open_values["signature"]
    if number is not None:
        del open_values["card_number"]
    if code is not None:
        del open_values["card_security_code"]
    if not pairs or number is not None or code is not None:
        pairs = signature.join_texts(open_values)
    return ApsRequest(
        operation,
        open_values,
        open_values if repeated_whole else echo(given, operation.echoes, settings.mask_first),
        value("language", "en"),
        None if amount is None else int(amount),
        value("currency", ""),
        value("merchant_reference", ""),
        named if named is None or named <= LARGEST else 0,
        value("token_name", ""),
        None if number is None else CardDetails(Pan(number), value("expiry_date", ""), value("card_holder_name", "")),
        None if code is None else SecurityCode(code),
        value("eci", "ECOMMERCE"),
        variant,
        pairs,
    )


def echo(params: dict[str, str], echoes: frozenset[str], mask_first: int = 6) -> dict[str, str]:
    """What an answer repeats of a request: its known, non-empty parameters, the card number masked, the code never."""
    repeated = dict(params)
    for name in [name for name in params if name not in echoes]:
        del repeated[name]
    if "" in repeated.values():
        repeated = {name: value for name, value in repeated.items() if value}
    number, is_repeated = params.get("card_number", ""), repeated.pop("card_number", "")
    if len(number) >= SHORTEST_NUMBER:
        repeated = {name: value for name, value in repeated.items() if number not in value}
    if is_repeated and (shown := cards.masked(number, mask_first)):
        repeated["card_number"] = shown
    return repeated


def error(params: dict[str, str], code: str, named: str = "") -> WireError:
    """A refusal of these parameters, repeating what is known of the operation they name."""
    key = _named_operation(params)
    operation = operations.KNOWN.get(key) if key is not None else None
    echoes = operations.ECHO_UNKNOWN if operation is None else operation.echoes
    if operation is None and key is not None:
        echoes = echoes.difference(operations.KEYS) | {key[0]}
    return WireError(code, named, echo(params, echoes), "ar" if params.get("language") == "ar" else "en")
