"""Payment links as a person at a terminal has them: made, sent into the inbox, printed, gone in time, also without a service."""
from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from ringfence.logs import scrubbed
from tests.sandbox import Sandbox
from tests.service.test_up import call


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as running:
        yield running


def make(sandbox: Sandbox, *words: str) -> dict:
    return sandbox.json("link", "create", "--amount", "10.00", "--currency", "AED", *words)


def show(sandbox: Sandbox, link: dict) -> dict:
    return sandbox.json("link", "show", link["id"])


def page(sandbox: Sandbox, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of a page; the browser's word for the admin token where it is asked for."""
    asked = urllib.request.Request(sandbox.description["base_url"] + path, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=90) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def test_a_link_is_sent_into_the_inbox_and_read_there(sandbox: Sandbox):
    """By the command line and by a browser; the log says where, and to nobody in full."""
    link = make(sandbox, "--email", "sara@shop.example", "--phone", "00962797219966", "--send", "email", "--send", "sms", "--reference", "SENT")
    sandbox.json("clock", "advance", "1s")                      # whatever is due is done
    assert [(sent["medium"], sent["state"]) for sent in show(sandbox, link)["messages"]] == [("email", "sent"), ("sms", "sent")]
    messages = {one["medium"]: one for one in sandbox.json("inbox", "list")["messages"]}
    letter = sandbox.json("inbox", "show", messages["email"]["id"])
    assert letter["to"] == "sara@shop.example" and link["url"] in letter["text"] and link["url"] in letter["html"]
    where = f"/sandbox/inbox/{letter['id']}"
    token = base64.b64encode(f"anybody:{sandbox.description['admin']}".encode()).decode()
    assert page(sandbox, where)[0] == 401 and page(sandbox, where, authorization="Basic eA==")[0] == 401
    status, text = page(sandbox, where, authorization=f"Basic {token}")
    assert status == 200 and link["url"] in text and page(sandbox, "/sandbox/inbox", authorization=f"Basic {token}")[0] == 200
    assert link["url"] in page(sandbox, where + "/html", authorization=f"Basic {token}")[1]
    said = sandbox.output.read_text()
    address = f"{sandbox.description['base_url']}{where}"
    assert address == scrubbed(address), "no id of a message could be a card number, which the log would mask"
    assert address in said and "sara@shop.example" not in said and "797219966" not in said


def test_a_link_has_a_page_a_code_and_a_paper(sandbox: Sandbox, tmp_path):
    """All of them from the address that was printed."""
    link = make(sandbox, "--description", "Two boxes", "--language", "ar")
    path = urlsplit(link["url"]).path
    status, text = page(sandbox, path)
    assert status == 200 and 'dir="rtl"' in text and "Two boxes" in text
    assert "<svg" in page(sandbox, path + "/qr.svg")[1] and page(sandbox, path + "/invoice.pdf")[1].startswith("%PDF-")
    paper, code = tmp_path / "invoice.pdf", tmp_path / "code.svg"
    for words in (("pdf", link["id"], "--output", str(paper)), ("qr", link["id"], "--output", str(code))):
        done = sandbox.command("link", *words)
        assert done.returncode == 0, done.stderr
    assert paper.read_bytes().startswith(b"%PDF-") and b"<svg" in code.read_bytes()
    assert link["url"] in sandbox.command("link", "qr", link["id"]).stdout


def test_time_ends_a_link(sandbox: Sandbox):
    """The clock says so before it does."""
    link = make(sandbox, "--expires", "2d", "--reference", "OLD")
    due = {one["what"] for one in call(sandbox, "/admin/clock/due?by=3d")[1]["due"]}
    assert "payment links expire" in due
    assert "payment links expire" in {one["what"] for one in sandbox.json("clock", "advance", "2d")["fired"]}
    assert show(sandbox, link)["state"] == "expired"
    refused = sandbox.command("link", "resend", link["id"])
    assert (refused.returncode, "it has expired" in refused.stderr) == (9, True)
    assert "<form" not in page(sandbox, urlsplit(link["url"]).path)[1]


def test_what_is_wrong_is_said_by_name(sandbox: Sandbox):
    """With the exit codes of every command."""
    make(sandbox, "--reference", "TWICE")
    for words, code, says in (
        (("create", "--amount", "10.00", "--currency", "AED", "--reference", "TWICE"), 9, "reference names another link"),
        (("create", "--amount", "10.00", "--currency", "AED", "--email", "nobody"), 9, "email must be written"),
        (("create", "--amount", "10.00", "--currency", "AED", "--send", "sms"), 9, "phone is missing"),
        (("create", "--amount", "10.00", "--currency", "AED", "--expires", "yesterday"), 9, "expires must be"),
        (("create", "--amount", "10.0", "--currency", "AED"), 2, "2 decimals"),
        (("show", "7"), 9, "there is no such link"),
        (("cancel", "a/b"), 9, "Nothing can have the name"),
    ):
        done = sandbox.command("link", *words)
        assert (done.returncode, says in done.stderr) == (code, True), (words, done.stderr)


@pytest.mark.wide
def test_links_are_made_and_looked_at_without_a_service():
    """Straight in its database; what is asked to be sent waits for the next start."""
    with Sandbox(workers=1) as sandbox:
        first = make(sandbox, "--reference", "WITH")
        sandbox.stop()
        made = make(sandbox, "--reference", "WITHOUT", "--email", "sara@shop.example", "--send", "email")
        assert [one["reference"] for one in sandbox.json("link", "list")["links"]] == ["WITHOUT", "WITH"]
        assert sandbox.json("link", "cancel", first["id"])["state"] == "cancelled"
        sandbox.start()
        sandbox.json("clock", "advance", "1s")
        assert [sent["state"] for sent in show(sandbox, made)["messages"]] == ["sent"]
        assert json.dumps(sandbox.json("inbox", "list"))
