"""``ringfence card verify``: a small purchase and its refund, and what is said when either is not what it should be."""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ringfence.cli import card as cards
from ringfence.failures import Exit, Failure
from tests.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Nobody ends a doubt by the way: what is unknown stays so while it is looked at."""
    with Sandbox(workers=1, environment={"RINGFENCE_ANSWER_SECONDS": "0.3", "RINGFENCE_BACKGROUND": "off"}) as running:
        yield running


def line(sandbox: Sandbox, scenario: str) -> str:
    [first, *_] = [one for one in sandbox.description["test_cards"] if one["scenario"] == scenario]
    return f"{first['number']} {first['expiry']} {first['security_code']}\n"


def verified(sandbox: Sandbox, typed: str, *words: str) -> tuple[int, dict[str, Any]]:
    done = sandbox.command("card", "verify", "--json", *words, input=typed)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_good_card_is_charged_and_given_back(sandbox: Sandbox):
    """The merchant's own amount, once there and once back; and the order tells of both."""
    sandbox.command("merchant", "set", "RingfenceOne", "verify_minor=250")
    code, told = verified(sandbox, line(sandbox, "0000"), "--reference", "CHECK-1", "--currency", "KWD")
    assert (code, told["verdict"], told["amount"], told["currency"]) == (0, "verified", "0.250", "KWD")
    assert (told["purchase"], told["refund"], told["stands"], told["do"]) == ("14000 Success", "06000 Success", False, None)
    assert told["card_number"] == "400000******0004"
    status = sandbox.json("pay", "--command", "CHECK_STATUS", "--reference", "CHECK-1")
    assert (status["captured_amount"], status["refunded_amount"]) == ("250", "250")
    assert sandbox.command("merchant", "set", "RingfenceOne", "verify_minor=100").returncode == 0


def test_without_a_code_it_is_an_order_by_telephone(sandbox: Sandbox):
    assert verified(sandbox, line(sandbox, "0000").rpartition(" ")[0])[1]["verdict"] == "verified"


#: the card's scenario -> verdict, words of the sentence, whether money stands, words of the advice
ENDINGS = {
    "0051": ("declined", "Insufficient funds", False, ""),
    "0300": ("unknown", "Nobody knows yet whether the card was charged", None, "ringfence explain verify-"),
    "0507": ("refund_failed", "works and was charged; the refund failed", True, "ringfence pay --command REFUND --reference verify-"),
}


@pytest.mark.parametrize("scenario", ENDINGS)
def test_everything_else_ends_with_1_and_says_what_stands(sandbox: Sandbox, scenario: str):
    """A decline is called one only where the issuer said so."""
    word, sentence, stands, advice = ENDINGS[scenario]
    code, told = verified(sandbox, line(sandbox, scenario))
    assert (code, told["verdict"], told["stands"]) == (1, word, stands)
    assert sentence in told["sentence"] and advice in (told["do"] or "")


def test_the_advice_is_a_command_that_asks_for_the_refund(sandbox: Sandbox):
    """As it is printed."""
    _, told = verified(sandbox, line(sandbox, "0507"))
    command = told["do"].partition("ringfence ")[2].split()
    assert command[:3] == ["pay", "--command", "REFUND"]
    assert "Transaction declined" in sandbox.command(*command).stdout, "this issuer says no to every refund"


def test_a_stored_card_is_checked_by_its_token(sandbox: Sandbox):
    number, expiry, code = line(sandbox, "0000").split()
    made = sandbox.json("pay", "--card", number, "--expiry", expiry, "--code", code, "--set", "remember_me=YES")
    code, told = verified(sandbox, "", "--token", made["token_name"])
    assert (code, told["verdict"]) == (0, "verified")
    assert verified(sandbox, "", "--token", "NoSuchToken")[1]["verdict"] == "refused"


def test_a_card_presented_again_is_listed(sandbox: Sandbox):
    """Where one card has one token: which token, which card, by whom."""
    assert "No card was presented twice" in sandbox.command("card", "events").stdout
    sandbox.command("merchant", "set", "RingfenceTwo", "unique_token=on")
    typed = [word for name, word in zip(("--card", "--expiry", "--code"), line(sandbox, "0000").split(), strict=True) for word in (name, word)]
    paid = [sandbox.json("pay", "--merchant", "RingfenceTwo", *typed, "--set", "remember_me=YES", "--reference", f"AGAIN-{n}") for n in range(2)]
    assert [one["response_code"] for one in paid] == ["14000"] * 2 and len({one["token_name"] for one in paid}) == 1
    [event] = sandbox.json("card", "events", "--merchant", "RingfenceTwo")["events"]
    assert (event["event"], event["token_name"], event["card_number"], event["reference"]) == (
        "found", paid[0]["token_name"], "400000******0004", "AGAIN-1")
    assert paid[0]["token_name"] in sandbox.command("card", "events").stdout
    assert sandbox.json("card", "events", "--merchant", "RingfenceOne") == {"events": []}


@pytest.mark.parametrize("typed", ["", "4000009900000004\n", "4000009900000004 35-12 123\n", "4000 0099 0000 0004 3512 123\n", "4000009900000004 3512 12\n"])
def test_what_is_no_card_is_refused_without_being_repeated(sandbox: Sandbox, typed: str):
    done = sandbox.command("card", "verify", input=typed)
    assert done.returncode == Exit.USAGE and "Expected one line" in done.stderr
    assert "4000009900000004" not in done.stdout + done.stderr


def test_the_number_is_on_no_command_line(sandbox: Sandbox):
    """There is no option for it."""
    assert {option for one in cards.verify.params for option in one.opts} == {
        "--currency", "--token", "--reference", "--merchant", "--data", "--json"}
    assert "4000" not in repr(cards.TypedCard("4000009900000004", "3512", "739"))


def test_without_a_service_it_says_so(tmp_path):
    done = subprocess.run([sys.executable, "-m", "ringfence.cli", "card", "verify", "--data", str(tmp_path)], input="4000009900000004 3512 123\n",
                          capture_output=True, text=True, check=False)
    assert done.returncode == Exit.NOT_RUNNING


class Answers:
    """A service that says what the test wrote down."""

    def __init__(self, *answers: dict[str, str] | Failure) -> None:
        self.answers = list(answers)

    def call(self, method: str, path: str, body: object) -> tuple[int, Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, Failure):
            raise answer
        return 200, answer


SHOP = {"access_code": "a", "merchant_identifier": "m", "sha_request_phrase": "x", "sha_type": "SHA-256"}


@pytest.mark.parametrize(("answer", "word", "stands"), [
    ({"response_code": "06000", "response_message": "Success"}, "verified", False),
    ({"response_code": "15777", "response_message": "?"}, "refund_unknown", None),
    ({"response_code": "07666", "response_message": "Transaction declined"}, "refund_failed", True),
    (Failure(Exit.NOT_RUNNING, "No service answers."), "refund_unknown", None),
])
def test_what_a_refund_means(answer: dict[str, str] | Failure, word: str, stands: bool | None):
    """Also where it is lost on the way: the card was charged, and how it is given back is said."""
    service: Any = Answers(answer)
    _, verdict = cards._given_back(service, SHOP, {"command": "REFUND"}, "AGAIN")
    assert (verdict.word, verdict.stands) == (word, stands)
    assert ("AGAIN" in verdict.advice) is (word != "verified")


@pytest.mark.parametrize(("answer", "word", "stands"), [
    ({"response_code": "13029", "acquirer_response_code": "51"}, "declined", False),
    ({"response_code": "13006"}, "refused", False), ({"response_code": "00016"}, "refused", False), ({"response_code": "13044"}, "refused", False),
    ({"response_code": "15777"}, "unknown", None),
    ({"response_code": "20064", "3ds_url": "https://pay.example/3ds"}, "unknown", False),
])
def test_what_a_purchase_means(answer: dict[str, str], word: str, stands: bool | None):
    verdict = cards.judge({"response_message": "", "merchant_reference": "R", **answer}, "AGAIN")
    assert (verdict.word, verdict.stands) == (word, stands)
