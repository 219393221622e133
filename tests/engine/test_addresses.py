"""Addresses: what may be registered, and what may be called."""
from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.config import VARIABLES
from ringfence.engine.addresses import NETWORKS_SETTING, PORTS_SETTING, Rules, forbidden, judge, problem, rules_for
from ringfence.engine.settings import DEFAULTS, Settings, changed

LIVE, SANDBOX = rules_for(True), rules_for(False)

#: An address, and the part of the reason why it is refused: live, and in a sandbox (empty: it is taken).
URLS = {
    "https://shop.example/feedback?shop=1": ("", ""),
    "https://8.8.8.8/": ("", ""),
    "https://[2606:4700::1]/": ("", ""),
    "https://shop.example:443/": ("", ""),
    "https://shop.example": ("", ""),
    "https://a_b.xn--p1ai./": ("", ""),
    "http://shop.example/": ("must begin with https://", ""),
    "https://shop.example:8443/": ("must use port 443", ""),
    "https://localhost/": ("this machine", ""),
    "https://deep.LOCALHOST/": ("this machine", ""),
    "https://127.0.0.1/": ("this machine", ""),
    "https://[::1]:443/": ("this machine", ""),
    "https://[::ffff:127.0.0.1]/": ("this machine", ""),
    "https://10.0.0.1/": ("not a public address",) * 2,
    "https://169.254.169.254/latest/": ("not a public address",) * 2,
    "https://168.63.129.16/": ("not a public address",) * 2,
    "https://[::ffff:10.0.0.1]/": ("not a public address",) * 2,
    "https://[64:ff9b::a00:1]/": ("stands for another",) * 2,
    "https://[2002:a00:1::]/": ("stands for another",) * 2,
    "https://[fe80::1%25eth0]/": ("is not an address",) * 2,
    "https://[::1]x/": ("is not an address",) * 2,
    "https://[::1": ("is not an address",) * 2,
    "https://2130706433/": ("by a number",) * 2,
    "https://0x7f000001/": ("by a number",) * 2,
    "https://127.1/": ("by a number",) * 2,
    "https://0177.0.0.1/": ("by a number",) * 2,
    "https://10.0.0.1./": ("by a number",) * 2,
    "https://user@shop.example/": ("user name",) * 2,
    "https://user:secret@shop.example/": ("user name",) * 2,
    "https://shop.example/#there": ("fragment",) * 2,
    "https://shop.example:0/": ("port",) * 2,
    "https://shop.example:99999/": ("is not an address",) * 2,
    "https://shop.example:abc/": ("is not an address",) * 2,
    "https:///feedback": ("names no host",) * 2,
    "https://-shop.example/": ("names no host",) * 2,
    "https://shop..example/": ("names no host",) * 2,
    f"https://{'a.' * 127}example/": ("names no host",) * 2,
    f"https://shop.example/{'x' * 400}": ("at most 400",) * 2,
    "https://shop.example/a b": ("at most 400",) * 2,
    "https://shop.example/\r\nhost: other": ("at most 400",) * 2,
    "https://shop.example\\@other.example/": ("at most 400",) * 2,
    "https://\u0161op.example/": ("at most 400",) * 2,
    "javascript:alert(1)": ("must begin with",) * 2,
    "//shop.example/": ("must begin with",) * 2,
    "file:///etc/passwd": ("must begin with",) * 2,
}


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(("rules", "place"), [(LIVE, 0), (SANDBOX, 1)], ids=["live", "sandbox"])
def test_what_may_be_registered(url: str, rules: Rules, place: int):
    """A reason is a sentence's end that says what is wrong."""
    why = problem(url, rules)
    assert (why is None) == (not URLS[url][place])
    assert URLS[url][place] in (why or "")


INSIDE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16",
    "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32", "::/96", "::1/128", "::ffff:10.0.0.0/104", "64:ff9b::/96",
    "64:ff9b:1::/48", "2002::/16", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32", "2001::/32", "fec0::/10", "::ffff:0:0:0/96",
    "5f00::/16",
]


@given(network=st.sampled_from(INSIDE), place=st.integers(0, 2 ** 128))
def test_every_address_of_a_forbidden_range_is_refused(network: str, place: int):
    """However it is written, and with a zone behind it."""
    range_ = ipaddress.ip_network(network)
    address = range_[place % range_.num_addresses]
    assert forbidden(str(address), LIVE) and forbidden(f"{address}%eth0", LIVE)
    if address.version == 4:
        assert forbidden(f"::ffff:{address}", LIVE) and forbidden(str(ipaddress.IPv6Address(f"::ffff:{address}")), LIVE)
    else:
        assert forbidden(address.exploded, LIVE)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_may_be_called(address: str):
    """Also a public one in the form of IPv6."""
    assert forbidden(address, LIVE) is None and forbidden(address, SANDBOX) is None


def test_an_installation_may_allow_networks_and_ports():
    """What they name and nothing beside it; a mapped address is the one that it maps."""
    rules = rules_for(True, [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")], [8443])
    assert problem("https://10.1.2.3:8443/", rules) is None and problem("https://[fd00::1]/", rules) is None
    assert forbidden("::ffff:10.1.0.1", rules) is None and forbidden("10.2.0.1", rules) and forbidden("127.0.0.1", rules)
    assert problem("https://shop.example:8080/", rules) == "must use port 443 or 8443; RINGFENCE_WEBHOOK_PORTS can allow others"


def test_a_refusal_names_the_setting_that_could_allow_it():
    """Whoever runs the installation need not look for it; the names are those of the configuration."""
    assert forbidden("10.0.0.1", SANDBOX) == "is not a public address, and in none of RINGFENCE_WEBHOOK_NETWORKS"
    assert forbidden("127.0.0.1", LIVE) == "is this machine, and in none of RINGFENCE_WEBHOOK_NETWORKS"
    assert {NETWORKS_SETTING, PORTS_SETTING} <= {variable.name for variable in VARIABLES}


@pytest.mark.parametrize("address", ["", "shop.example", "1.2.3", "300.1.1.1", "::g"])
def test_what_is_no_address_may_not_be_called(address: str):
    """A resolver's nonsense."""
    assert forbidden(address, SANDBOX) == "is not an IP address"


def test_only_addresses_that_change_are_judged_and_each_is_named():
    """In every channel; an address that is taken away needs no judgement."""
    def settings(**texts: str) -> Settings:
        made = changed(DEFAULTS, {key.replace("__", "."): text for key, text in texts.items()})
        assert isinstance(made, Settings)
        return made

    before = settings(feedback_url="http://127.0.0.1/a", notification_url="http://127.0.0.1/b")
    after = settings(feedback_url="http://127.0.0.1/a", feedback_url__moto="http://10.0.0.1/", return_url="http://127.0.0.1/")
    assert [error.key for error in judge(LIVE)(before, after)] == ["feedback_url.moto"]
    assert [error.key for error in judge(LIVE)(DEFAULTS, before)] == ["feedback_url", "notification_url"]
    assert judge(SANDBOX)(DEFAULTS, before) == []
    plans = settings(plan_url="http://10.0.0.1/")
    assert [error.key for error in judge(LIVE)(DEFAULTS, plans)] == ["plan_url"] and judge(LIVE)(plans, plans) == []
