"""What each merchant may set, as one table: name, default, what is allowed, what it means.

The wire never sees a setting that was not checked here.  Texts come in (from the command line, the admin API, the database),
frozen ``Settings`` come out; an unknown key or a value that is not allowed is refused by name.  Refuses to know merchants.
"""
from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ringfence.core.commands import MAX_MINOR
from ringfence.core.money import CURRENCIES
from ringfence.core.retries import Limit
from ringfence.core.strategy import MOST, Strategy
from ringfence.core.trip import HOURS
from ringfence.engine.feed import Policy
from ringfence.engine.return_address import origin_of

CHANNELS = ("redirection", "merchant_page", "trusted", "recurring", "moto", "mobile_sdk", "batch", "invoicing")
"""How a payment reaches the service over APS; each can be switched off, and each has its own addresses."""

LONGEST_FLOW_SECONDS = 86_400
"""The most that a merchant may let a TOKENIZATION wait for its payment."""

PAYMENT_OPTIONS = ("VISA", "MASTERCARD", "AMEX", "MADA", "MEEZA", "DISCOVER", "DINERS", "JCB", "UNIONPAY", "MAESTRO")
"""Card brands as APS names them (``payment_option``)."""

PAYMENT_METHODS = ("AMAZON_PAY", "CARD", "MOCK")
"""How a charge of the PPRO door may be paid (``paymentMethod``)."""

Read = Callable[[str], Any]
Write = Callable[[Any], str]


class Rule(NamedTuple):
    """How a setting is read from text, written back, and described.  ``read`` raises ``ValueError`` for what is not allowed."""

    read: Read
    write: Write
    allowed: str


class SettingError(NamedTuple):
    """A change that was refused: the key, and what is allowed there."""

    key: str
    problem: str


# ---------------------------------------------------------------------------------------------------------- the kinds

def _read_flag(text: str) -> bool:
    return {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}[text.lower()]


FLAG = Rule(_read_flag, lambda value: "on" if value else "off", "on or off")


def _read_not_yet(text: str) -> bool:
    if _read_flag(text):
        raise ValueError
    return False


NOT_YET = Rule(_read_not_yet, FLAG.write, "off (this service is not offered yet)")


def one_of(*words: str) -> Rule:
    """Exactly one of the words; upper and lower case are the same."""
    by_lower = {word.lower(): word for word in words}
    return Rule(lambda text: by_lower[text.lower()], str, " or ".join(words))


def some_of(words: Iterable[str], allowed: str) -> Rule:
    """A set of words separated by commas; empty means all."""
    known = frozenset(words)

    def read(text: str) -> frozenset[str]:
        chosen = frozenset(word.strip().upper() for word in text.split(",") if word.strip())
        if not chosen <= known:
            raise ValueError
        return chosen

    return Rule(read, lambda value: ",".join(sorted(value)), allowed)


def whole(lowest: int, highest: int, unit: str) -> Rule:
    """A whole number within limits, both included."""
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,12}", text, re.ASCII) or not lowest <= int(text) <= highest:
            raise ValueError
        return int(text)

    return Rule(read, str, f"{lowest} to {highest} {unit}")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _read_networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())


NETWORKS = Rule(_read_networks, lambda value: ",".join(str(network) for network in value),
                "IP addresses or networks such as 192.0.2.7,2001:db8::/32; empty for any")


def _read_address(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password
                 or len(text) > 400 or not text.isascii() or not text.isprintable() or " " in text):
        raise ValueError
    return text


ADDRESS = Rule(_read_address, str, "an http or https address of at most 400 characters without user and password, or empty")


def _read_origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    for origin in origins:
        if origin_of(origin) is None or origin.count("/") != 2 or not {"?", "#"}.isdisjoint(origin):
            raise ValueError
    return origins


def _read_days(text: str) -> tuple[int, ...]:
    days = tuple(int(part) for part in text.split(",") if part.strip())
    if list(days) != sorted(set(days)) or len(days) > 30 or any(not 1 <= day <= 90 for day in days):
        raise ValueError
    return days


DAYS = Rule(_read_days, lambda value: ",".join(map(str, value)), "at most 30 growing numbers of days, 1 to 90, such as 2,6,13; empty for none")


def _read_limits(text: str) -> tuple[Limit, ...]:
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"([A-Za-z]+):(\d{1,4})/(\d{1,3})", part, re.ASCII)
        if match is None or match[1].upper() not in PAYMENT_OPTIONS or not 1 <= int(match[2]) <= 1000 or not 1 <= int(match[3]) <= 365:
            raise ValueError
        found.append(Limit(match[1].upper(), int(match[2]), int(match[3])))
    return tuple(found)


LIMITS = Rule(_read_limits, lambda value: ",".join(f"{one.brand}:{one.most}/{one.days}" for one in value),
              "BRAND:DECLINES/DAYS separated by commas, such as VISA:15/30; empty for no limits")

ORIGINS = Rule(_read_origins, ",".join, "addresses without a path such as https://shop.example, separated by commas; empty for any")


_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}) *: *([!-:<-~](?:[ -:<-~]{0,254}[!-:<-~])?)", re.ASCII)
_NOT_THEIRS = re.compile(
    r"host|content-.*|transfer-encoding|connection|keep-alive|te|trailer|upgrade|expect|user-agent|proxy-.*|ringfence-.*|webhook-signature|ppro-signature",
    re.IGNORECASE)


def _read_headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for part in filter(None, map(str.strip, text.split(";"))):
        found = _HEADER.fullmatch(part)
        if found is None or _NOT_THEIRS.fullmatch(found[1]):
            raise ValueError
        headers.append((found[1], found[2]))
    if len(headers) > 20 or len({name.lower() for name, _ in headers}) < len(headers):
        raise ValueError
    return tuple(headers)


HEADERS = Rule(_read_headers, lambda value: ";".join(f"{name}:{one}" for name, one in value),
               "at most 20 of NAME:VALUE separated by semicolons, each once, none that HTTP or the service needs; empty for none")

def patterns(signs: str, words: str, example: str) -> Rule:
    """Patterns, each with a word, in the order in which they are tried."""
    form = re.compile(rf"([{signs}]{{1,255}}):({words})")

    def read(text: str) -> tuple[tuple[str, str], ...]:
        found = [form.fullmatch(part) for part in filter(None, map(str.strip, text.split(",")))]
        if not all(found):
            raise ValueError
        return tuple((one[1], one[2]) for one in found if one)

    return Rule(read, lambda value: ",".join(f"{pattern}:{word}" for pattern, word in value), example)


PATTERNS = patterns(r"A-Za-z0-9_/\\\-.#$%&@*", "required|flexible|off",
                    "PATTERN:MODE by commas, such as low-*:off,gift:required; a pattern's last * is for whatever follows; empty for none")
STORES = patterns(r"A-Za-z0-9_\-*", "|".join(Strategy), "STORE:STRATEGY by commas, such as STORE-001:search,NORTH-*:write_off; empty for none")


def _read_countries(text: str) -> frozenset[str]:
    chosen = frozenset(part.strip().upper() for part in text.split(",") if part.strip())
    if not all(re.fullmatch("[A-Z]{2}", one) for one in chosen):
        raise ValueError
    return chosen


COUNTRIES = Rule(_read_countries, lambda value: ",".join(sorted(value)), "ISO 3166-1 codes of two letters separated by commas; empty for all")


# ---------------------------------------------------------------------------------------------------------- the table

def setting(rule: Rule, default: Any, meaning: str, *, per_channel: bool = False) -> Any:
    """One row.  ``per_channel`` rows hold a value for all channels and may be told apart as ``KEY.CHANNEL``."""
    metadata = {"rule": rule, "meaning": meaning, "per_channel": per_channel}
    if per_channel:
        values = MappingProxyType({"": default})
        return field(default_factory=lambda: values, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Settings:
    """One merchant's settings.  A per-channel row is a mapping from channel to value, ``""`` being all the others."""

    # channels: a request over one that is off is refused (046, 093, 068, 038)
    channel_redirection: bool = setting(FLAG, True, "hosted checkout page")
    channel_merchant_page: bool = setting(FLAG, True, "merchant page and payments with a token")
    channel_trusted: bool = setting(FLAG, True, "card data in the request, server to server")
    channel_recurring: bool = setting(FLAG, True, "merchant-initiated payments (eci RECURRING)")
    channel_moto: bool = setting(FLAG, True, "mail and telephone orders (eci MOTO)")
    channel_mobile_sdk: bool = setting(FLAG, True, "tokens for the mobile SDK (SDK_TOKEN)")
    channel_batch: bool = setting(FLAG, True, "payments by file")
    channel_invoicing: bool = setting(FLAG, True, "payment links and invoices")

    # services
    service_tokenization: bool = setting(FLAG, True, "tokens, and remember_me")
    service_verify_card: bool = setting(FLAG, True, "VERIFY_CARD and its query")
    service_three_d_secure: bool = setting(FLAG, True, "3DS_ENROLLMENT and 3DS_AUTHENTICATION (093)")
    service_flex_3ds: bool = setting(FLAG, True, "3-D Secure chosen per payment (flex_value, by three_d_secure_rules)")
    service_fraud: bool = setting(NOT_YET, False, "fraud scoring; fraud fields are accepted and signed either way")
    service_installments: bool = setting(NOT_YET, False, "instalment plans")
    service_payment_links: bool = setting(FLAG, True, "PAYMENT_LINK and its query")
    service_currency_conversion: bool = setting(NOT_YET, False, "CURRENCY_CONVERSION")
    service_reporting: bool = setting(FLAG, True, "reportingApi: GENERATE_REPORT and DOWNLOAD_REPORT")

    # what is taken, and from where
    currencies: frozenset[str] = setting(
        some_of((code for code in CURRENCIES), "ISO 4217 codes separated by commas; empty for all"), frozenset(), "allowed currencies (013)")
    payment_options: frozenset[str] = setting(
        some_of(PAYMENT_OPTIONS, f"{', '.join(PAYMENT_OPTIONS)}; empty for all"), frozenset(), "allowed card brands (003, 014)")
    source_ips: tuple[Network, ...] = setting(NETWORKS, (), "where requests may come from (040)")
    source_urls: tuple[str, ...] = setting(ORIGINS, (), "pages that may send a payer's browser here (040)")

    return_origins: tuple[str, ...] = setting(
        ORIGINS, (), "where a payer's browser may be sent back to (040), and which pages may frame ours; empty: in live nowhere")

    # how payments run
    hold_days: int = setting(whole(1, 30, "days"), 7, "an authorization not captured by then is given back")
    amazon_pay_hold_rest: bool = setting(
        FLAG, False, "Amazon Pay: what a capture leaves of a hold, which Amazon releases with it, is authorized again at once")
    verify_minor: int = setting(whole(1, MAX_MINOR, "minor units"), 100, "what VERIFY_CARD authorizes and voids")
    unique_token: bool = setting(FLAG, False, "one card has one token, whoever presents it: a further tokenization answers 18063 with that one")
    temporary_token_seconds: int = setting(
        whole(60, LONGEST_FLOW_SECONDS, "seconds"), 3_600, "how long the token of a TOKENIZATION waits for a payment that succeeds")
    sdk_token_seconds: int = setting(whole(60, 86_400, "seconds"), 3_600, "how long an SDK token is good")
    page_seconds: int = setting(whole(60, 86_400, "seconds"), 1_800, "how long a payment page stays open (business time)")
    merchant_page_custom: bool = setting(FLAG, True, "a shop's own form may post card data to the payment page (merchant page 2.0)")
    magic_amounts: bool = setting(FLAG, False, "sandbox: certain amounts choose the issuer's answer")

    three_d_secure: str = setting(
        one_of("required", "flexible", "off"), "flexible",
        "of cardholders' payments in e-commerce. required: only with an authenticated payer; flexible: where the card takes part; "
        "off: never, but for mada and Meeza")
    three_d_secure_rules: tuple[tuple[str, str], ...] = setting(
        PATTERNS, (), "which flex_value asks for which 3-D Secure; the first that fits counts, where none does three_d_secure does")

    statement_descriptor: bool = setting(FLAG, False, "a payment may carry its own descriptor for the cardholder's statement")

    # payment links
    link_email: bool = setting(FLAG, True, "links may be sent by e-mail (116)")
    link_sms: bool = setting(FLAG, True, "links may be sent by SMS (116)")
    link_terms_url: str = setting(ADDRESS, "", "terms and conditions that a link's page leads to")
    link_terms_required: bool = setting(FLAG, False, "no link without them (120)")

    # the PPRO door
    payment_methods: frozenset[str] = setting(
        some_of(PAYMENT_METHODS, f"{', '.join(PAYMENT_METHODS)}; empty for all"), frozenset(), "payment methods of the PPRO door")
    amazon_pay_currencies: frozenset[str] = setting(
        some_of((code for code in CURRENCIES), "ISO 4217 codes separated by commas; empty for all"), frozenset({"USD"}),
        "what AMAZON_PAY is paid in (INVALID_CURRENCY)")
    amazon_pay_countries: frozenset[str] = setting(
        COUNTRIES, frozenset({"US"}), "where consumers of AMAZON_PAY live (COUNTRY_NOT_SUPPORTED)")
    amazon_pay_least: int = setting(whole(1, MAX_MINOR, "minor units"), 50, "the least that AMAZON_PAY takes (AMOUNT_NOT_SUPPORTED)")
    amazon_pay_most: int = setting(whole(1, MAX_MINOR, "minor units"), 2_000_000, "the most that AMAZON_PAY takes (AMOUNT_NOT_SUPPORTED)")
    amazon_pay_refund_months: int = setting(
        whole(1, 120, "months"), 6, "how long behind its last capture AMAZON_PAY gives back (REFUND_PERIOD_EXPIRED, at every door)")
    amazon_pay_seconds: int = setting(
        whole(1, 604_800, "seconds"), 86_400, "how long a payer may take at Amazon Pay; then DISCARDED (business time)")
    redirect_seconds: int = setting(
        whole(1, 604_800, "seconds"), 1_800, "how long a payer of another method may take elsewhere; then DISCARDED (business time)")
    requests_per_second: int = setting(
        whole(1, 100_000, "requests a second"), 50, "PPRO door: how often one key may ask, for each group of endpoints; twice as many at once")
    ppro_webhook_url: str = setting(ADDRESS, "", "PPRO door: webhooks of what names no webhooksUrl go here")
    ppro_dispute_webhook_url: str = setting(ADDRESS, "", "PPRO door: webhooks of disputes go here; empty: where the others go")
    ppro_webhook_headers: tuple[tuple[str, str], ...] = setting(HEADERS, (), "PPRO door: what every webhook carries beside its signatures")
    ppro_webhook_signature: bool = setting(FLAG, True, "PPRO door: webhooks carry PPRO-Signature")
    ppro_webhook_legacy_signature: bool = setting(FLAG, True, "PPRO door: webhooks carry the older Webhook-Signature")
    ppro_webhook_order: str = setting(
        one_of("payment", "strict"), "payment",
        "PPRO door: strict: a webhook waits until the one before it of its charge is delivered or given up, not only tried once")
    ppro_charge_webhooks: bool = setting(
        FLAG, False, "PPRO door: some charge or agreement names a webhooksUrl of its own; the first that does switches this on")

    # the door of stores
    store_requests_per_second: int = setting(
        whole(1, 100_000, "requests a second"), 1_000,
        "door of stores: how often one access key may ask for one operation; twice as many at once. Capture and Cancel of a trip about to expire go "
        "through all the same")
    store_retry_after: int = setting(whole(1, 86_400, "seconds"), 600, "door of stores: what Retry-After says with 429")

    # trips through stores
    trip_hours: int = setting(whole(1, 168, "hours"), HOURS, "how long a trip can be charged, from its start; then its hold is given back")
    trip_decline_baseline: str = setting(
        one_of("preauth", "zero"), "preauth",
        "what a declined adjust tells: preauth: what stands of the hold; zero: what the last adjust that succeeded left, 0 where none did")
    trip_risk: str = setting(
        one_of("managed", "recommendation", "retailer", "none"), "managed",
        "who decides at the gate: managed: the service; recommendation: the service, but the retailer may override; retailer: the retailer; "
        "none: the reader and the issuer alone")
    trip_refund_days: int = setting(whole(1, 365, "days"), 7, "how long a captured trip can be refunded, from its start")
    trip_capture_unadjusted: bool = setting(FLAG, True, "a trip may be captured without an adjust before, up to its hold")
    trip_data_before_capture: bool = setting(FLAG, False, "what receipts are made of can be read before the capture")
    checkout_sums: str = setting(
        one_of("lenient", "strict"), "lenient",
        "CheckoutCart: lenient: a cart's sums may be off by a minor unit for each line; strict: they add up exactly")
    trip_strategy: str = setting(
        one_of(*Strategy), Strategy.TAKE_STANDING.value,
        "what becomes of a cart whose price the issuer does not promise, where the service charges it")
    trip_store_strategies: tuple[tuple[str, str], ...] = setting(STORES, (), "in which stores that is otherwise; the first that fits counts")
    trip_search_step: int = setting(whole(1, MAX_MINOR, "minor units"), 100, "how near to the issuer's limit a search comes")
    trip_search_probes: int = setting(whole(1, MOST, "questions"), MOST, "so often the issuer is asked for one cart, the first time included")

    # how answers look, and where they go
    card_mask: str = setting(one_of("6-4", "8-4"), "6-4", "digits of the card number shown at its start and end")
    response_type: str = setting(one_of("JSON"), "JSON", "form of paymentApi answers")
    return_url: Mapping[str, str] = setting(ADDRESS, "", "where the browser returns when the request names no return_url", per_channel=True)
    return_method: Mapping[str, str] = setting(one_of("POST", "GET"), "POST", "how the browser returns", per_channel=True)
    feedback_url: Mapping[str, str] = setting(ADDRESS, "", "direct transaction feedback goes here", per_channel=True)
    notification_url: Mapping[str, str] = setting(ADDRESS, "", "notification feedback goes here", per_channel=True)
    feedback_format: str = setting(one_of("json", "form", "xml"), "json", "body of feedback")
    feedback_attempts: int = setting(whole(1, 50, "attempts"), 11, "deliveries of one feedback, the first included")
    feedback_interval: int = setting(whole(1, 86_400, "seconds"), 10, "pause between two deliveries")
    feedback_tail: int = setting(whole(0, 50, "attempts"), 0, "further deliveries after those, their pauses doubling from a minute to six hours")
    feedback_order: str = setting(
        one_of("payment", "strict"), "payment",
        "strict: an event waits until the one before it of its payment is delivered or given up, not only tried once")
    feedback_at_once: int = setting(whole(1, 50, "requests"), 10, "deliveries to one address in flight together")

    # plans: payments that the service repeats by itself
    plan_url: str = setting(ADDRESS, "", "notices of plans go here")
    plan_retry_days: tuple[int, ...] = setting(
        DAYS, (2, 6, 13), "when a declined charge of a plan is tried again, in days from its first try")
    plan_retry_limits: tuple[Limit, ...] = setting(
        LIMITS, (Limit("VISA", 15, 30), Limit("MASTERCARD", 10, 1), Limit("MASTERCARD", 35, 30)),
        "so many declined tries of a card in so many days; the next waits")

    def at(self, key: str, channel: str) -> Any:
        """The value of a per-channel row for one channel."""
        values: Mapping[str, Any] = getattr(self, key)
        return values[channel] if channel in values else values[""]


DEFAULTS = Settings()
ROWS: Mapping[str, Field[Any]] = MappingProxyType({row.name: row for row in fields(Settings)})


TAIL_SECONDS, TAIL_AT_MOST = 60, 21_600
"""The first pause of the tail, and the longest."""


def policy_of(settings: Settings, *, accepts: frozenset[int], seconds: float) -> Policy:
    """How the merchant's addresses for feedback want to be told; what counts as received, and how long one attempt may take, is
    the door's word."""
    schedule = _schedule(settings.feedback_attempts, settings.feedback_interval, settings.feedback_tail)
    return Policy(schedule, accepts, settings.feedback_at_once, settings.feedback_order == "strict", seconds)


@lru_cache(maxsize=1024)
def _schedule(attempts: int, interval: int, tail: int) -> tuple[int, ...]:
    """The pauses between attempts; asked for every event that is told."""
    return (interval,) * (attempts - 1) + tuple(min(TAIL_SECONDS << place, TAIL_AT_MOST) for place in range(tail))


def changed(settings: Settings, changes: Mapping[str, str]) -> Settings | list[SettingError]:
    """The settings with the changes made, or every change that is refused.  An empty text is a value like any other."""
    errors: list[SettingError] = []
    values: dict[str, Any] = {}
    for key, text in changes.items():
        name, _, channel = key.partition(".")
        row = ROWS.get(name)
        if row is None or ("." in key and not row.metadata["per_channel"]):
            errors.append(SettingError(key, f"is not a setting; there are {', '.join(ROWS)}"))
            continue
        if "." in key and channel not in CHANNELS:
            errors.append(SettingError(key, f"names no channel; there are {', '.join(CHANNELS)}"))
            continue
        rule: Rule = row.metadata["rule"]
        try:
            value = rule.read(text)
        except (ValueError, KeyError):
            errors.append(SettingError(key, f"must be {rule.allowed}"))
            continue
        if row.metadata["per_channel"]:
            before = values.get(name, getattr(settings, name))
            value = MappingProxyType({**before, channel: value})
        values[name] = value
    return errors or replace(settings, **values)


def as_texts(settings: Settings) -> dict[str, str]:
    """Every setting as the text that would set it; per-channel values follow as ``KEY.CHANNEL``."""
    texts: dict[str, str] = {}
    for name, row in ROWS.items():
        write: Write = row.metadata["rule"].write
        value = getattr(settings, name)
        if row.metadata["per_channel"]:
            texts |= {f"{name}.{channel}" if channel else name: write(one) for channel, one in sorted(value.items())}
        else:
            texts[name] = write(value)
    return texts


def differing(settings: Settings) -> dict[str, str]:
    """Only what differs from the defaults: what is stored, so that a new default reaches those who never chose."""
    standard = as_texts(DEFAULTS)
    return {key: text for key, text in as_texts(settings).items() if standard.get(key) != text}
