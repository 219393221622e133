"""Settings: one table, texts in, frozen values out."""
from __future__ import annotations

import pytest

from ringfence.core.retries import Limit
from ringfence.engine.feed import Policy
from ringfence.engine.settings import CHANNELS, DEFAULTS, ROWS, Settings, as_texts, changed, differing, policy_of

GOOD = [
    ("three_d_secure", "REQUIRED", "required"), ("three_d_secure_rules", "low-*:off, vip:required", (("low-*", "off"), ("vip", "required"))),
    ("three_d_secure_rules", "", ()), ("hold_days", "5", 5), ("channel_moto", "OFF", False), ("currencies", "aed, SAR", frozenset({"AED", "SAR"})), ("currencies", "", frozenset()),
    ("payment_options", "visa", frozenset({"VISA"})), ("card_mask", "8-4", "8-4"), ("verify_minor", "1", 1), ("feedback_format", "FORM", "form"),
    ("feedback_tail", "50", 50), ("feedback_order", "STRICT", "strict"), ("feedback_at_once", "50", 50),
    ("plan_retry_days", "1, 3,7", (1, 3, 7)), ("plan_retry_days", "", ()), ("plan_retry_limits", "", ()),
    ("plan_retry_limits", "visa:20/30, AMEX:5/1", (Limit("VISA", 20, 30), Limit("AMEX", 5, 1))),
    ("plan_url", "https://shop.example/plans", "https://shop.example/plans"),
]
BAD = [
    ("three_d_secure", "maybe"), ("three_d_secure_rules", "low"), ("three_d_secure_rules", "a b:off"), ("three_d_secure_rules", "a:always"),
    ("hold_days", "0"), ("hold_days", "31"), ("hold_days", "7.0"), ("hold_days", "\u0667"), ("channel_moto", "maybe"), ("channel_moto", ""),
    ("currencies", "XXX"), ("payment_options", "BITCOIN"), ("source_ips", "300.1.1.1"), ("return_url", "javascript:alert(1)"),
    ("return_origins", "https://*.shop.example"), ("return_origins", "https://shop.example/back"), ("return_origins", "shop.example"),
    ("source_urls", "https://shop.example;script-src *"), ("return_origins", "https://shop.example?"),
    ("return_url", "https://user:secret@shop.example/"), ("card_mask", "16-0"), ("service_fraud", "on"), ("unheard_of", "1"),
    ("feedback_tail", "51"), ("feedback_order", "loose"), ("feedback_at_once", "0"), ("feedback_at_once", "51"),
    ("return_url.nowhere", "https://shop.example/"), ("hold_days.moto", "5"), ("response_type", "XML"), ("verify_minor", "1000000000000"),
    ("plan_retry_days", "3,1"), ("plan_retry_days", "1,1"), ("plan_retry_days", "0"), ("plan_retry_days", "91"), ("plan_retry_days", "soon"),
    ("plan_retry_limits", "VISA"), ("plan_retry_limits", "BITCOIN:1/1"), ("plan_retry_limits", "VISA:0/30"), ("plan_retry_limits", "VISA:15/0"),
    ("plan_url", "ftp://shop.example/"), ("plan_url.moto", "https://shop.example/"),
]


@pytest.mark.parametrize(("key", "text", "value"), GOOD)
def test_a_good_value_is_taken(key: str, text: str, value: object):
    """And it is the only thing that changed."""
    settings = changed(DEFAULTS, {key: text})
    assert isinstance(settings, Settings) and getattr(settings, key) == value
    assert set(differing(settings)) <= {key}


@pytest.mark.parametrize(("key", "text"), BAD)
def test_a_bad_value_is_refused_by_name_and_says_what_is_allowed(key: str, text: str):
    """Nothing else of the same change is taken either."""
    refused = changed(DEFAULTS, {"hold_days": "5", key: text})
    assert isinstance(refused, list)
    assert [error.key for error in refused] == [key] and refused[0].problem


def test_every_bad_value_is_reported_at_once():
    """A person mends them in one go."""
    refused = changed(DEFAULTS, dict([row for row in BAD if row in (("hold_days", "0"), ("channel_moto", "maybe"))] + [("unheard_of", "1")]))
    assert isinstance(refused, list) and [error.key for error in refused] == ["hold_days", "channel_moto", "unheard_of"]


def test_addresses_may_differ_by_channel():
    """A channel without its own address has that of all channels."""
    settings = changed(DEFAULTS, {"feedback_url": "https://a.example/", "feedback_url.moto": "https://b.example/"})
    assert isinstance(settings, Settings)
    assert {channel: settings.at("feedback_url", channel) for channel in CHANNELS} == dict.fromkeys(CHANNELS, "https://a.example/") | {
        "moto": "https://b.example/"}


@pytest.mark.parametrize("key", ROWS)
def test_every_setting_says_what_it_means_and_takes_its_own_default(key: str):
    """What is shown can be set again."""
    row = ROWS[key]
    assert row.metadata["meaning"] and row.metadata["rule"].allowed
    assert changed(DEFAULTS, {key: as_texts(DEFAULTS)[key]}) == DEFAULTS


def test_what_is_stored_comes_back():
    """Only differences are stored; read again they give the same settings."""
    settings = changed(DEFAULTS, {
        "source_ips": "192.0.2.7,2001:db8::/32", "source_urls": "https://shop.example", "return_method.moto": "GET", "currencies": "AED"})
    assert isinstance(settings, Settings)
    assert changed(DEFAULTS, differing(settings)) == settings
    assert differing(DEFAULTS) == {}


POLICIES = {
    "by default": ({}, ((10,) * 10, 10, False)),
    "one attempt": ({"feedback_attempts": "1"}, ((), 10, False)),
    "a tail": ({"feedback_attempts": "2", "feedback_interval": "5", "feedback_tail": "11"},
               ((5, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600), 10, False)),
    "strict and narrow": ({"feedback_attempts": "2", "feedback_order": "strict", "feedback_at_once": "1"}, ((10,), 1, True)),
}


@pytest.mark.parametrize("what", POLICIES)
def test_settings_say_how_a_merchant_is_told(what: str):
    """So many attempts at one pause, then a tail whose pauses double from a minute to six hours."""
    settings = changed(DEFAULTS, POLICIES[what][0])
    assert isinstance(settings, Settings)
    schedule, at_once, in_order = POLICIES[what][1]
    assert policy_of(settings, accepts=frozenset({302}), seconds=10.0) == Policy(schedule, frozenset({302}), at_once, in_order, 10.0)
