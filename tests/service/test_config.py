"""Configuration, logs and certificates: what the service starts from."""
from __future__ import annotations

import logging
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ringfence import config, logs, tls
from ringfence.config import VARIABLES, Config, Mode, read

WRONG = {
    "RINGFENCE_MODE": "production", "RINGFENCE_PORT": "70000", "RINGFENCE_WORKERS": "0", "RINGFENCE_DATABASE_URL": "mysql://x",
    "RINGFENCE_ANSWER_SECONDS": "soon", "RINGFENCE_TLS": "perhaps", "RINGFENCE_ADMIN_TOKEN": "short", "RINGFENCE_BASE_URL": "shop.example",
    "RINGFENCE_PROCESSOR": "bank", "RINGFENCE_LOG_LEVEL": "LOUD", "RINGFENCE_HOST": "a b", "RINGFENCE_SEED": "-1", "RINGFENCE_BODY_LIMIT": "1",
    "RINGFENCE_BACKGROUND": "never", "RINGFENCE_RECOVERY_PAUSES": "1,soon", "RINGFENCE_REVIEW_SECONDS": "59", "RINGFENCE_WEBHOOK_SECONDS": "0",
    "RINGFENCE_WEBHOOK_NETWORKS": "10.1.0.1/16", "RINGFENCE_WEBHOOK_PORTS": "80,,", "RINGFENCE_FROZEN_AT": "2026-01-05T00:00:00",
    "RINGFENCE_SMTP_HOST": "a b", "RINGFENCE_SMTP_PORT": "0", "RINGFENCE_SMTP_SECURITY": "perhaps", "RINGFENCE_SMTP_USER": "é",
    "RINGFENCE_SMTP_PASSWORD": "a\nb", "RINGFENCE_SMTP_FROM": "nobody", "RINGFENCE_SMTP_SECONDS": "0", "RINGFENCE_SMS_URL": "ftp://sms.example",
    "RINGFENCE_SMS_TYPE": "xml", "RINGFENCE_SMS_BODY": "to {to}", "RINGFENCE_SMS_AUTHORIZATION": "a\nb", "RINGFENCE_RETENTION_CARD_DAYS": "1", "RINGFENCE_RETENTION_DELIVERY_DAYS": "-1",
}


def test_without_any_variable_it_is_the_sandbox():
    """Every default is a value that would also be taken as text."""
    settings = read({})
    assert isinstance(settings, Config) and settings.mode is Mode.SANDBOX and settings.data.is_absolute()
    for one in VARIABLES:
        if one.field and one.default not in (None, "", False):
            assert one.read(str(one.default)) == one.default, one.name


def test_every_wrong_value_is_reported_at_once_by_name():
    """And no value is repeated: it may be a secret."""
    errors = read(WRONG)
    assert isinstance(errors, list) and {error.name for error in errors} == set(WRONG)
    assert not any(WRONG["RINGFENCE_ADMIN_TOKEN"] in error.problem for error in errors)


def test_options_win_over_variables_and_empty_ones_count_as_not_set():
    """A command line is nearer than an environment."""
    settings = read({"RINGFENCE_PORT": "9000", "RINGFENCE_WORKERS": ""}, {"RINGFENCE_PORT": "9001"})
    assert isinstance(settings, Config) and (settings.port, settings.workers) == (9001, 2)


def test_a_certificate_comes_with_its_key():
    """One alone is an error that names the other."""
    errors = read({"RINGFENCE_TLS_CERT": "/cert.pem"})
    assert isinstance(errors, list) and [error.name for error in errors] == ["RINGFENCE_TLS_KEY"]


@pytest.mark.parametrize(("given", "named"), [
    ({"SMTP_HOST": "mail.example"}, ["RINGFENCE_SMTP_FROM"]),
    ({"SMTP_FROM": "pay@shop.example"}, ["RINGFENCE_SMTP_HOST"]),
    ({"SMTP_HOST": "mail.example", "SMTP_FROM": "pay@shop.example", "SMTP_USER": "pay"}, ["RINGFENCE_SMTP_PASSWORD"]),
    ({"SMTP_HOST": "mail.example", "SMTP_FROM": "pay@shop.example", "SMTP_USER": "pay", "SMTP_PASSWORD": "secret", "SMTP_SECURITY": "none"},
     ["RINGFENCE_SMTP_SECURITY"]),
    ({"MODE": "live", "SMTP_HOST": "mail.example", "SMTP_FROM": "pay@shop.example", "SMTP_SECURITY": "none"}, ["RINGFENCE_SMTP_SECURITY"]),
    ({"MODE": "live", "SMS_URL": "http://sms.example/"}, ["RINGFENCE_SMS_URL"]),
    ({"MODE": "live", "SMTP_HOST": "127.0.0.1", "SMTP_FROM": "pay@shop.example", "SMTP_SECURITY": "none"}, []),
])
def test_a_mail_server_is_whole_and_its_way_is_secured(given, named):
    """What is missing is named; no password goes over a network in the clear, nor does a letter of live mode."""
    found = read({f"RINGFENCE_{name}": value for name, value in given.items()})
    assert [error.name for error in found if isinstance(error, config.ConfigError)] == named
    assert "secret" not in repr(found)


def test_several_values_stand_in_one_variable():
    """Between commas, with or without blanks."""
    settings = read({"RINGFENCE_RECOVERY_PAUSES": "0.2, 1,30", "RINGFENCE_WEBHOOK_NETWORKS": "10.1.0.0/16,fd00::/8", "RINGFENCE_WEBHOOK_PORTS": "8443"})
    assert isinstance(settings, Config)
    assert (settings.recovery_pauses, settings.webhook_ports) == ((0.2, 1.0, 30.0), (8443,))
    assert str(settings.webhook_networks) == "10.1.0.0/16,fd00::/8"


FROZEN = {"RINGFENCE_FROZEN_AT": "2026-01-05T00:00:00Z"}
IMPOSSIBLE = {
    # variables                                                                         who is to blame
    "frozen with two workers":          (FROZEN | {"RINGFENCE_WORKERS": "2"},                       "RINGFENCE_WORKERS"),
    "frozen with the default of two":   (FROZEN,                                                    "RINGFENCE_WORKERS"),
    "frozen with others' background":   (FROZEN | {"RINGFENCE_WORKERS": "1", "RINGFENCE_BACKGROUND": "off"}, "RINGFENCE_BACKGROUND"),
    "frozen, live":                     (FROZEN | {"RINGFENCE_WORKERS": "1", "RINGFENCE_MODE": "live"}, "RINGFENCE_FROZEN_AT"),
    "asking the simulator, live":       ({"RINGFENCE_INQUIRY": "on", "RINGFENCE_MODE": "live"},     "RINGFENCE_INQUIRY"),
    "torture, live":                    ({"RINGFENCE_TORTURE_POINTS": "/page", "RINGFENCE_MODE": "live"}, "RINGFENCE_TORTURE_POINTS"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_does_not_go_together_is_refused(case: str):
    """With the name of the variable that has to change."""
    environment, blamed = IMPOSSIBLE[case]
    errors = read(environment)
    assert isinstance(errors, list) and [error.name for error in errors] == [blamed]


def test_frozen_with_one_worker_is_fine():
    """The instant keeps its offset."""
    settings = read(FROZEN | {"RINGFENCE_WORKERS": "1"})
    assert isinstance(settings, Config) and settings.frozen_at == datetime(2026, 1, 5, tzinfo=UTC)


def test_secrets_do_not_print():
    """Neither the token nor the password in the database's address."""
    settings = read({"RINGFENCE_ADMIN_TOKEN": "t" * 20, "RINGFENCE_DATABASE_URL": "postgresql://me:secret@host/db"})
    assert "secret" not in repr(settings) and "tttt" not in f"{settings}"


def test_a_typing_mistake_is_noticed():
    """A variable that looks like ours and is not, is named."""
    assert config.strangers({"RINGFENCE_PROT": "1", "RINGFENCE_MASTER_KEY_NEXT": "x", "PATH": ""}) == ["RINGFENCE_PROT"]


SCRUBBED = {
    "card 4005550000000001 declined": "card 400555******0001 declined",
    "4005 5500 0000 0001": "400555******0001",
    "fort_id 169996200024611493": "fort_id 169996200024611493",
    "reference 4005550000000002": "reference 4005550000000002",
    '{"card_security_code": "123", "amount": 5}': '{"card_security_code": ***, "amount": 5}',
    "signature=abcdef&amount=5": "signature=***&amount=5",
    "Authorization: Bearer abc.def": "Authorization: ***",
}


@pytest.mark.parametrize(("said", "kept"), SCRUBBED.items())
def test_the_log_takes_secrets_out(said: str, kept: str):
    """Card numbers keep first six and last four digits; ids and references stay readable."""
    assert logs.scrubbed(said) == kept


def test_a_traceback_is_scrubbed_too():
    """An exception message is the place where numbers slip out."""
    try:
        raise ValueError("cannot read 4005550000000001")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "broke", None, (type(error), error, error.__traceback__))
    line = logs.JsonLines().format(record)
    assert "4005550000000001" not in line and "400555******0001" in line and "\n" not in line


NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_a_certificate_is_made_once_and_renewed_near_its_end(tmp_path: Path):
    """The authority stays, so that callers need not trust anew; keys are for the owner only."""
    files = tls.prepare(tmp_path / "tls", "127.0.0.1", NOW)
    first, authority = files.certificate.read_bytes(), (tmp_path / "tls" / "ca.pem").read_bytes()
    assert tls.prepare(tmp_path / "tls", "127.0.0.1", NOW + timedelta(days=300)).certificate.read_bytes() == first
    renewed = tls.prepare(tmp_path / "tls", "127.0.0.1", NOW + timedelta(days=380)).certificate.read_bytes()
    assert renewed != first and (tmp_path / "tls" / "ca.pem").read_bytes() == authority
    assert {stat.S_IMODE((tmp_path / "tls" / name).stat().st_mode) for name in ("key.pem", "ca.key")} == {0o600}


def test_a_certificate_names_every_way_to_reach_this_machine(tmp_path: Path):
    """Local names and the one that callers use; another host gives another certificate of the same authority."""
    files = tls.prepare(tmp_path / "tls", "pay.example", NOW)
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "pay.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert {str(address) for address in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    before = files.certificate.read_bytes()
    assert tls.prepare(tmp_path / "tls", "other.example", NOW).certificate.read_bytes() != before
