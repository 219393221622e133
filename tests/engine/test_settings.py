"""Settings: one table, texts in, frozen values out."""
from __future__ import annotations

import pytest

from ringfence.engine.settings import CHANNELS, DEFAULTS, ROWS, Settings, as_texts, changed, differing

GOOD = [
    ("hold_days", "5", 5), ("channel_moto", "OFF", False), ("currencies", "aed, SAR", frozenset({"AED", "SAR"})), ("currencies", "", frozenset()),
    ("payment_options", "visa", frozenset({"VISA"})), ("card_mask", "8-4", "8-4"), ("verify_minor", "1", 1), ("feedback_format", "FORM", "form"),
]
BAD = [
    ("hold_days", "0"), ("hold_days", "31"), ("hold_days", "7.0"), ("hold_days", "\u0667"), ("channel_moto", "maybe"), ("channel_moto", ""),
    ("currencies", "XXX"), ("payment_options", "BITCOIN"), ("source_ips", "300.1.1.1"), ("return_url", "javascript:alert(1)"),
    ("return_url", "https://user:secret@shop.example/"), ("card_mask", "16-0"), ("service_three_d_secure", "on"), ("unheard_of", "1"),
    ("return_url.nowhere", "https://shop.example/"), ("hold_days.moto", "5"), ("response_type", "XML"), ("verify_minor", "1000000000000"),
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
    refused = changed(DEFAULTS, dict(BAD[:1] + BAD[4:5] + [("unheard_of", "1")]))
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
