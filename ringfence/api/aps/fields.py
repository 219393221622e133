"""Fields: the dictionary of the APS wire, one row per parameter.

Decides how long a value may be, what it may be written with, and which values a list allows.  Refuses to know which operation wants
which field, and what a value means: dates, currencies and card numbers are only shaped here.

Patterns apply to the whole value (``fullmatch``; ``$`` would let a newline through) and are compiled when they are first asked: all
of them together take a tenth of a second, and hardly a service is asked all of them.  No pattern admits a control character, and only
those of ``LOOSE`` admit an equals sign, each in places where ``name=`` of a following parameter cannot stand unnoticed: an APS
signature covers ``name=value`` pairs without any separator, so a free equals sign would let two requests share one signature.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from itertools import permutations
from typing import NamedTuple


class Pattern:
    """A pattern, compiled when a value is first held against it."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    @cached_property
    def fullmatch(self) -> Callable[[str], re.Match[str] | None]:
        """The match of a whole value, ``None`` without one."""
        return re.compile(self.pattern).fullmatch


class Field(NamedTuple):
    """One parameter: its longest value in characters, the alphabet of the whole value, and the allowed values (``None``: any).

    Where a value is a list, ``strict`` is the pattern of those whose every word is allowed.
    """

    longest: int
    pattern: Pattern
    values: frozenset[str] | None = None
    strict: Pattern | None = None

    @property
    def allowed(self) -> frozenset[str] | None:
        """The values of the list that keep the other two rules, ``None`` without a list."""
        if self.values is None:
            return None
        return frozenset(value for value in self.values if len(value) <= self.longest and self.pattern.fullmatch(value))

    @property
    def rule(self) -> str:
        """All three rules as the source of one pattern.  It matches no newline and not the empty value, and looks no further than the
        next newline, so that values joined by newlines keep their rules where, and only where, the joined text keeps the joined rules.
        """
        if self.allowed is not None:
            return f"(?:{'|'.join(map(re.escape, sorted(self.allowed)))})"
        written = (self.strict or self.pattern).pattern
        if _ONE_CLASS.fullmatch(written):
            return f"{written[:-1]}{{1,{self.longest}}}"
        return f"(?=[^\\n]{{1,{self.longest}}}(?:\\n|\\Z))(?:{written})"

    def lists(self, value: str) -> bool:
        """The third rule: whether the value, or every word of it, is allowed."""
        return (self.values is None or value in self.values) and (self.strict is None or self.strict.fullmatch(value) is not None)

    @property
    def check(self) -> Callable[[str], object]:
        """All three rules in one call: true for a value that passes them."""
        return re.compile(self.rule).fullmatch if self.allowed is None else self.allowed.__contains__


_ONE_CLASS = re.compile(r"\[(?:[^\[\]\\]|\\.)+\]\+", re.DOTALL)          # a pattern made by ``_of``


def _of(alphabet: str) -> Pattern:
    return Pattern(f"[{alphabet}]+")


_OTHER_SCRIPTS = "\u00a0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"      # beyond ASCII, without the control and line separators
ALNUM = _of("A-Za-z0-9")
DIGITS = _of("0-9")
ALPHA = _of("A-Za-z")
REFERENCE = _of(r"A-Za-z0-9\-_.")
BATCH = _of(r"A-Za-z0-9\-_./")
NAME = _of(r"A-Za-z_\\/\-.' " + _OTHER_SCRIPTS)
TOKEN = _of(r"A-Za-z0-9.@\-_")
DEVICE = _of(r"A-Za-z0-9_\-.@+")
EXTRA = _of(r"A-Za-z0-9.;/_\-,'@")
DESCRIPTION = _of(r"A-Za-z0-9'/._\-#:$ " + _OTHER_SCRIPTS)
PHONE = _of(r"0-9+\-() ")
FLEX = _of(r"A-Za-z0-9_/\\\-.#$%&@*")
TEXT = _of(" -<>-~" + _OTHER_SCRIPTS)                               # printable, without the equals sign
EMAIL = Pattern(r"[A-Za-z0-9_.+\-]+@[A-Za-z0-9_.+\-]+")
ADDRESS = _of("0-9A-Fa-f.:")
HEX = _of("0-9A-Fa-f")
DATE = Pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
INSTANT = Pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+\-][0-9]{2}:[0-9]{2})")
EXPIRY = Pattern(r"[0-9]{4}")
CURRENCY = Pattern(r"[A-Za-z]{3}")

#: A web address in the characters that the dictionary allows.  An equals sign stands only between a query item's name and its value,
#: or as padding at the value's end, so that a parameter that follows the address cannot be swallowed by it.
URL = Pattern(r"https?://[A-Za-z0-9$!_/:.\-]+(?:[?&#][A-Za-z0-9$!_/:.\-]*(?:=[A-Za-z0-9$!_/:.\-]*={0,2})?)*")

#: What a device collector makes: base-64 pieces.  An equals sign is padding before a separator or at the end.
FINGERPRINT = Pattern(r"(?:[A-Za-z0-9+/_.:|;,\- ]|==?(?=[;,]))*={0,2}")

#: Twenty bytes in base-64: the one equals sign is the last character.
CRYPTOGRAM = Pattern(r"[A-Za-z0-9+/]{27}=")

#: An object or list in its text form, or the same written by the caller.
NESTED = Pattern("[{\\[][ -~" + _OTHER_SCRIPTS + "]*[}\\]]")


#: What a report can tell of an operation, and be narrowed by, in the order of the reference.
REPORT_COLUMNS = (
    "fort_id", "merchant_reference", "authorization_code", "customer_name", "customer_ip", "geolocation_ip", "customer_email", "acquirer_name",
    "payment_option", "channel", "transaction_date", "card_number", "expiry_date", "card_holder_name", "amount", "currency", "card_bin", "eci",
    "operation", "token_name", "3ds_indicator", "fraud_indicator", "installments_indicator", "status", "response_code", "response_message",
    "third_party_message", "third_party_code", "order_date", "order_description", "acquirer_mid", "acquirer_response_code",
    "acquirer_response_message", "processor_response_code", "sadad_olp", "sadad_transaction_id", "payment_link_id", "Invoice_id",
    "digital_wallet",
)
FILTERS_MOST = 10
_WORD = "[A-Za-z0-9_]{1,50}"
_COLUMN = f"(?:{'|'.join(REPORT_COLUMNS)})"
#: The value of a filter: nothing that could end it, hence neither an equals sign nor a bracket.
SOUGHT = "[ -<>-Z\\\\^-z|~" + _OTHER_SCRIPTS + "]{1,150}"


def _list_of(word: str) -> Pattern:
    return Pattern(rf"\[{word}(?:, {word})*\]")


def _filters_of(key: str, most: int | str = "") -> Pattern:
    """One object and at most so many more, or none, of ``key`` and ``value``, in any order, as the signature writes them."""
    one = rf"\{{(?:key={key}, value={SOUGHT}|value={SOUGHT}, key={key})\}}"
    return Pattern(rf"\[(?:{one}(?:, {one}){{0,{most}}})?\]")


def _values(*allowed: str) -> frozenset[str]:
    return frozenset(allowed)


def _lists(*words: str) -> frozenset[str]:
    """Every way to write some of the words, each once, with commas between them."""
    return frozenset(",".join(some) for count in range(1, len(words) + 1) for some in permutations(words, count))


_YES_NO = _values("YES", "NO")

FIELDS: dict[str, Field] = {
    # who speaks, and about what
    "access_code":           Field(20, ALNUM),
    "merchant_identifier":   Field(20, ALNUM),
    "language":              Field(2, ALPHA, _values("en", "ar")),
    "signature":             Field(200, HEX),
    "command":               Field(20, _of("A-Z_")),
    "service_command":       Field(50, _of("A-Z0-9_")),
    "query_command":         Field(50, _of("A-Z0-9_")),
    "merchant_reference":    Field(40, REFERENCE),
    "fort_id":               Field(20, DIGITS),
    "maintenance_reference": Field(200, REFERENCE),
    "settlement_reference":  Field(34, REFERENCE),
    "batch_reference":       Field(20, BATCH),
    "batch_id":              Field(19, DIGITS),

    # how much
    "amount":                Field(10, DIGITS),
    "currency":              Field(3, CURRENCY),

    # with what
    "token_name":            Field(100, TOKEN),
    "new_token_name":        Field(100, TOKEN),
    "token_status":          Field(8, ALPHA, _values("ACTIVE", "INACTIVE")),
    "card_number":           Field(19, DIGITS),
    "expiry_date":           Field(4, EXPIRY),                      # YYMM
    "card_security_code":    Field(4, Pattern("[0-9]{3,4}")),
    "card_holder_name":      Field(50, _of(r"A-Za-z'\-. " + _OTHER_SCRIPTS)),
    "remember_me":           Field(3, ALPHA, _YES_NO),
    "payment_option":        Field(10, _of("A-Z_"), _values(
        "VISA", "MASTERCARD", "AMEX", "MADA", "MEEZA", "DISCOVER", "DINERS", "JCB", "UNIONPAY", "MAESTRO", "JAYWAN", "SADAD", "NAPS",
        "KNET", "OMANNET", "BENEFIT", "TABBY", "TAMARA", "VALU", "STCPAY", "APPLE_PAY",
    )),
    "eci":                   Field(16, ALPHA, _values("ECOMMERCE", "MOTO", "RECURRING")),
    "check_3ds":             Field(3, ALPHA, _YES_NO),
    "flex_value":            Field(255, FLEX),
    "sadad_olp":             Field(12, _of("A-Za-z0-9@._")),

    # who pays: an authentication made elsewhere or before
    "3ds_xid":               Field(28, CRYPTOGRAM),
    "3ds_enrolled":          Field(1, ALPHA, _values("Y", "N", "U")),
    "3ds_status":            Field(1, ALPHA, _values("Y", "N", "U", "A")),
    "3ds_eci":               Field(2, DIGITS, _values("05", "06", "07", "02", "01", "00")),
    "ver_token":             Field(28, CRYPTOGRAM),
    "threeds_id":            Field(20, DIGITS),
    "third_party_body":      Field(6000, _of("A-Za-z0-9_\\-.")),
    "merchant_3ds_url":      Field(400, URL),

    # repeated payments
    "agreement_id":                    Field(50, ALNUM),
    "recurring_mode":                  Field(11, ALPHA, _values("FIXED", "VARIABLE", "UNSCHEDULED")),
    "recurring_transactions_count":    Field(10, DIGITS),
    "recurring_expiry_date":           Field(10, DATE),
    "recurring_days_between_payments": Field(10, DIGITS),

    # about the customer and the order
    "customer_email":        Field(254, EMAIL),
    "customer_name":         Field(40, NAME),
    "customer_ip":           Field(45, ADDRESS),
    "phone_number":          Field(19, PHONE),
    "order_description":     Field(150, DESCRIPTION),
    "merchant_extra":        Field(999, EXTRA),
    **{f"merchant_extra{n}": Field(250, EXTRA) for n in range(1, 6)},
    "return_url":            Field(400, URL),
    "statement_descriptor":  Field(25, TEXT),
    "device_id":             Field(100, DEVICE),

    # payment links
    "payment_link_id":       Field(20, DIGITS),
    "link_command":          Field(15, _of("A-Z_"), _values("AUTHORIZATION", "PURCHASE")),
    "request_expiry_date":   Field(25, INSTANT),
    "notification_type":     Field(20, Pattern("[A-Z]+(?:,[A-Z]+)*"), _lists("EMAIL", "SMS", "NONE")),

    # queries
    "return_third_party_response_codes": Field(3, ALPHA, _YES_NO),
    "from_date":             Field(30, INSTANT),
    "to_date":               Field(30, INSTANT),
    "response_format":       Field(4, ALPHA, _values("JSON", "XML")),
    "columns":               Field(2000, _list_of(_WORD), strict=_list_of(_COLUMN)),
    "filters":               Field(4000, _filters_of(_WORD), strict=_filters_of(_COLUMN, FILTERS_MOST - 1)),

    # who the client's software is, and where the customer lives: carried and echoed
    **{name: Field(255, TEXT) for name in ("app_programming", "app_framework", "app_ver", "app_plugin", "app_plugin_version")},
    **{
        f"{kind}_{part}": Field(255, TEXT)
        for kind in ("billing", "shipping")
        for part in ("stateProvince", "provinceCode", "street", "street2", "postcode", "country", "company", "city")
    },
    "shipping_source":        Field(255, TEXT),
    "shipping_sameAsBilling": Field(255, TEXT),
}

#: Read by fraud screening, never echoed.
FRAUD: dict[str, Field] = {
    "device_fingerprint":    Field(4000, FINGERPRINT),
    "cart_details":          Field(999, NESTED),
    "airline_data":          Field(4000, NESTED),
    "customer_phone":        Field(19, DIGITS),
    "ship_email":            Field(254, EMAIL),
    **{name: Field(longest, TEXT) for name, longest in {
        "customer_type": 1, "customer_id": 16, "customer_first_name": 30, "customer_middle_initial": 1, "customer_last_name": 30,
        "customer_address1": 30, "customer_address2": 30, "customer_apartment_no": 30, "customer_city": 20, "customer_state": 10,
        "customer_zip_code": 9, "customer_country_code": 3, "customer_alt_phone": 19, "customer_date_birth": 10,
        "ship_type": 1, "ship_first_name": 30, "ship_middle_name": 1, "ship_last_name": 30, "ship_address1": 30, "ship_address2": 30,
        "ship_apartment_no": 30, "ship_address_city": 20, "ship_address_state": 3, "ship_zip_code": 9, "ship_country_code": 3,
        "ship_phone": 19, "ship_alt_phone": 12, "ship_comments": 160, "ship_method": 1,
    }.items()},
    **{f"fraud_extra{n}": Field(256 if n <= 10 else 30, TEXT) for n in range(1, 26)},
}
FIELDS.update(FRAUD)


class Checks(dict[str, Callable[[str], object]]):
    """The check of each field: one call per value.  What is not given is made from the dictionary when it is first asked for."""

    def __missing__(self, name: str) -> Callable[[str], object]:
        check = self[name] = FIELDS[name].check
        return check


CHECKS = Checks()

#: The fields whose values may hold an equals sign.
LOOSE = frozenset({
    "3ds_xid", "ver_token", "merchant_3ds_url", "return_url", "device_fingerprint", "cart_details", "airline_data", "filters",
})

#: What a browser or a custom form adds after the server has signed; never part of a TOKENIZATION signature.
CARD_FIELDS = frozenset({"card_number", "expiry_date", "card_security_code", "card_holder_name", "remember_me"})

#: Never printed and never kept beside a request's other parameters.
SECRET = frozenset({"signature", "card_security_code", "card_number"})
