"""What each merchant may set, as one table: name, default, what is allowed, what it means.

The wire never sees a setting that was not checked here.  Texts come in (from the command line, the admin API, the database),
frozen ``Settings`` come out; an unknown key or a value that is not allowed is refused by name.  Refuses to know merchants.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ringfence.core.commands import MAX_MINOR
from ringfence.core.money import CURRENCIES
from ringfence.core.retries import Limit
from ringfence.core.strategy import MOST, Strategy
from ringfence.core.trip import HOURS
from ringfence.engine.feed import Policy
from ringfence.engine.setting_kinds import (
    ACCESS_KEY,
    ADDRESS,
    BY_STORE,
    COUNTRIES,
    DAYS,
    FLAG,
    HEADERS,
    LIMITS,
    NETWORKS,
    NOT_YET,
    ORIGINS,
    PATTERNS,
    PAYMENT_OPTIONS,
    REGION,
    STORES,
    ZONE,
    Network,
    Rule,
    SettingError,
    Write,
    one_of,
    some_of,
    whole,
)

CHANNELS = ("redirection", "merchant_page", "trusted", "recurring", "moto", "mobile_sdk", "batch", "invoicing")
"""How a payment reaches the service over APS; each can be switched off, and each has its own addresses."""

EXPIRED_STATUSES = ("400", "404", "409", "410")
"""How the door of stores may answer about a trip that expired."""

LONGEST_FLOW_SECONDS = 86_400
"""The most that a merchant may let a TOKENIZATION wait for its payment."""

PAYMENT_METHODS = ("AMAZON_PAY", "CARD", "MOCK")
"""How a charge of the PPRO door may be paid (``paymentMethod``)."""


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
    amazon_pay_hold_days: int = setting(
        whole(1, 30, "days"), 30, "an authorization of AMAZON_PAY that was not captured by then is given back; Amazon holds for 30 days")
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

    # calls to the retailer's connector
    connector_purchases_url: tuple[tuple[str, str], ...] = setting(BY_STORE, (), "where carts are told that left a store (Create Purchases)")
    connector_authorization_url: tuple[tuple[str, str], ...] = setting(
        BY_STORE, (), "who is asked at the gate, where trip_risk lets it decide (Shopper Authorization)")
    connector_access_key: str = setting(ACCESS_KEY, "", "which access key signs such calls, with its connector_secret; empty: the first")
    connector_region: str = setting(REGION, "us-east-1", "for which region they are signed")
    connector_seconds: int = setting(whole(1, 30, "seconds"), 3, "time for one call")
    connector_silence: str = setting(
        one_of("recommendation", "refuse"), "recommendation",
        "at the gate, where the retailer does not answer. recommendation: as Ringfence recommends; refuse: it stays shut")

    # trips through stores
    trip_hours: int = setting(whole(1, 168, "hours"), HOURS, "how long a trip can be charged, from its start; then its hold is given back")
    trip_decline_baseline: str = setting(
        one_of("preauth", "zero"), "preauth",
        "what a declined adjust tells: preauth: what stands of the hold; zero: what the last adjust that succeeded left, 0 where none did")
    trip_names: str = setting(one_of("any", "uuid"), "any", "what a trip may be called. any: letters, digits, _ and -; uuid: a UUID")
    store_may_be_empty: bool = setting(FLAG, False, "an empty storeId has the right form, and no trip; off: BadRequestException")
    trip_pending: bool = setting(FLAG, True, "an adjust whose end nobody knows yet is answered with PENDING; off: with 503, to be sent again")
    trip_expired_status: str = setting(one_of(*EXPIRED_STATUSES), "400", "the status of ShoppingTripExpiredException")
    trip_status_unit: str = setting(
        one_of("either", "seconds", "milliseconds"), "either", "of paymentStatusTime. either: milliseconds from 10^11 on")
    trip_risk: str = setting(
        one_of("managed", "recommendation", "retailer", "none"), "managed",
        "who decides at the gate: managed: the service; recommendation: the service, but the retailer may override; retailer: the retailer; "
        "none: the reader and the issuer alone")
    trip_refund_days: int = setting(whole(1, 365, "days"), 7, "how long a captured trip can be refunded, from its start")
    trip_refund_body: bool = setting(FLAG, True, "a refund is answered with its reconciliationId; off: with nothing")
    trip_capture_unadjusted: bool = setting(FLAG, True, "a trip may be captured without an adjust before, up to its hold")
    trip_data_before_capture: bool = setting(FLAG, False, "what receipts are made of can be read before the capture")
    checkout_sums: str = setting(
        one_of("lenient", "strict"), "lenient",
        "CheckoutCart: lenient: a cart's sums may be off by a minor unit for each line; strict: they add up exactly")
    checkout_unknown_trip: str = setting(
        one_of("UnknownShoppingTripException", "UnknownShoppingTrip"), "UnknownShoppingTripException",
        "CheckoutCart: what a trip that nobody knows is called")
    trip_strategy: str = setting(
        one_of(*Strategy), Strategy.TAKE_STANDING.value,
        "what becomes of a cart whose price the issuer does not promise, where the service charges it")
    trip_store_strategies: tuple[tuple[str, str], ...] = setting(STORES, (), "in which stores that is otherwise; the first that fits counts")
    trip_search_step: int = setting(whole(1, MAX_MINOR, "minor units"), 100, "how near to the issuer's limit a search comes")
    trip_search_probes: int = setting(whole(1, MOST, "questions"), MOST, "so often the issuer is asked for one cart, the first time included")

    # how answers look, and where they go
    card_mask: str = setting(one_of("6-4", "8-4"), "6-4", "digits of the card number shown at its start and end")
    receipt_zone: str = setting(ZONE, "UTC", "whose clock receipts of trips tell, and whose days they are looked up by")
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
