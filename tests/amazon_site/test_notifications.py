"""Instant notifications: the envelope and its signature, retries, and what goes wrong on demand."""
from __future__ import annotations

import base64
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1

from tests.amazon_site.site_asking import BASE, HOOK, TOKEN, ask, running
from tests.amazon_site.test_paying import permission_of, refund, standing

pytestmark = pytest.mark.anyio


async def order(here, **fault):
    answer = await ask(here.app, "POST", "/amazon/faults", json.dumps(fault).encode(), {"authorization": f"Bearer {TOKEN}"})
    assert answer.status == 200, answer.text


async def log(here):
    answer = await ask(here.app, "GET", "/amazon/notifications", b"", {"authorization": f"Bearer {TOKEN}"})
    return answer.json["notifications"]


async def test_the_envelope_is_signed_by_the_certificate_it_names(here):
    done = await here.bought(here.shop.payload(intent="Authorize"))
    assert await here.site.sweep() == 2
    url, headers, body = here.posts[1]
    said = json.loads(body)
    assert (url, headers["content-type"], headers["x-amz-sns-message-id"]) == (HOOK, "text/plain; charset=UTF-8", said["MessageId"])
    assert (said["Type"], said["SignatureVersion"], said["Timestamp"]) == ("Notification", "1", "2026-01-31T10:00:00.000Z")
    assert said["SigningCertURL"] == f"{BASE}/amazon/sns.pem"
    message = json.loads(said["Message"])
    assert message == {
        "MerchantID": "SHOP", "ObjectType": "CHARGE", "ObjectId": done.json["chargeId"], "ChargePermissionId": done.json["chargePermissionId"],
        "NotificationType": "STATE_CHANGE", "NotificationId": message["NotificationId"], "NotificationVersion": "V2"}
    pem = await ask(here.app, "GET", "/amazon/sns.pem", b"", {})
    key = x509.load_pem_x509_certificate(pem.body).public_key()
    text = "".join(f"{name}\n{said[name]}\n" for name in ("Message", "MessageId", "Timestamp", "TopicArn", "Type"))
    key.verify(base64.b64decode(said["Signature"]), text.encode(), PKCS1v15(), SHA1())
    assert (await ask(here.app, "GET", "/amazon/sns.pem", b"", {})).body == pem.body


async def test_an_address_that_is_down_is_tried_every_hour_for_three(here):
    await here.bought(here.shop.payload(intent="Confirm"))
    here.answers.extend([503, 0, 500, 502])
    for waits in range(4):
        assert await here.site.sweep() == 1
        here.time.pass_(hours=1, seconds=-1)
        assert await here.site.sweep() == 0
        here.time.pass_(seconds=1)
        [one] = await log(here)
        assert (one["attempts"], one["state"]) == (waits + 1, "waiting" if waits < 3 else "lost")
    assert await here.site.sweep() == 0
    assert len({body for _, _, body in here.posts}) == 1


async def test_an_address_that_refuses_is_not_asked_again(here):
    await here.bought(here.shop.payload(intent="Confirm"))
    here.answers.append(404)
    await here.site.sweep()
    here.time.pass_(hours=2)
    assert await here.site.sweep() == 0
    [one] = await log(here)
    assert (one["state"], one["answered"], one["due"]) == ("lost", "404", None)


async def test_a_process_that_died_with_one_in_its_hands_is_replaced(tmp_path):
    """The lease is wall time: the next sweep behind it sends again, the same bytes."""
    async with running(tmp_path) as here:
        await here.bought(here.shop.payload(intent="Confirm"))

        class Died(BaseException):
            pass

        async def dies(*said):
            raise Died

        dying = running(tmp_path, seed=0)
        async with dying as other:
            from ringfence.amazon_site import sending
            from ringfence.amazon_site.book import Book
            from ringfence.amazon_site.desk import Desk
            desk = Desk(Book(tmp_path, 0), BASE, here.time.now, here.time.wall, "", lambda: None)
            with pytest.raises(Died):
                await sending.sweep(desk, dies)
            desk.book.close()
            assert other.posts == []
        assert await here.site.sweep() == 0
        here.time.wall_at += 31
        assert await here.site.sweep() == 1


async def test_two_sweeps_at_once_send_each_once(here):
    import asyncio
    for _ in range(5):
        await here.bought(here.shop.payload())
    await asyncio.gather(*(here.site.sweep() for _ in range(4)))
    assert len(here.posts) == 15 == len({body for _, _, body in here.posts})


async def test_twice_late_and_never_on_demand(here):
    await order(here, operation="notification", kind="duplicate")
    await order(here, operation="notification", kind="late", value=60)
    await order(here, operation="notification", kind="lost")
    done = await here.bought(here.shop.payload())       # the permission twice, the charge late, the close never
    assert await here.site.sweep() == 2
    assert [one[0] for one in here.told()] == ["CHARGE_PERMISSION"] * 2
    ids = {json.loads(json.loads(body)["Message"])["NotificationId"] for _, _, body in here.posts}
    assert len(ids) == 1
    here.time.pass_(seconds=60)
    assert await here.site.sweep() == 1
    assert here.told()[-1] == ("CHARGE", done.json["chargeId"], "STATE_CHANGE")
    assert [one["state"] for one in await log(here)].count("lost") == 1


async def test_the_buyer_ends_a_recurring_permission(here):
    done = await here.bought(here.shop.recurring())
    permission = done.json["chargePermissionId"]
    await here.site.sweep()
    here.posts.clear()
    browser = here.browser()
    await browser.ask("GET", "/amazon/account")
    await browser.sign_in()
    assert "90.00 USD every month" in browser.said.text and f'data-permission="{permission}" data-state="Chargeable"' in browser.said.text
    await browser.click("cancel")
    assert 'data-state="Closed"' in browser.said.text
    assert standing(await permission_of(here, done))[:2] == ("Closed", ["BuyerClosed"])
    await here.site.sweep()
    assert here.told() == [("CHARGE_PERMISSION", permission, "STATE_CHANGE")]


async def test_nobody_ends_somebody_elses_permission(here):
    done = await here.bought(here.shop.recurring())
    mine = await here.browser("jonas@buyer.example", "jonas-pays").approve(here.shop.button(here.shop.recurring()))
    assert mine
    browser = here.browser("jonas@buyer.example", "jonas-pays")
    await browser.ask("GET", "/amazon/account")
    await browser.sign_in()
    csrf = browser.hidden().get("csrf", "")
    await browser.ask("POST", "/amazon/account", {"csrf": csrf, "permission": done.json["chargePermissionId"], "action": "cancel"})
    assert standing(await permission_of(here, done))[0] == "Chargeable"


async def test_a_declined_card_is_replaced_by_its_buyer(here):
    from tests.amazon_site.test_paying import charge
    done = await here.bought(here.shop.recurring())
    assert (await charge(here, done.json["chargePermissionId"], code="HardDeclined")).status == 422
    browser = here.browser()
    await browser.ask("GET", "/amazon/account")
    await browser.sign_in()
    await browser.click("card", card="4444")
    seen = await permission_of(here, done)
    assert standing(seen)[:2] == ("Chargeable", []) and seen["paymentPreferences"] == [{"paymentDescriptor": "MasterCard ****4444 (Amazon Pay)"}]
    assert (await charge(here, done.json["chargePermissionId"])).status == 201


async def test_what_waits_is_announced_to_the_background(tmp_path):
    rung = []
    async with running(tmp_path, nudge=lambda: rung.append(True)) as here:
        done = await here.bought(here.shop.payload())
        assert len(rung) == 1
        await refund(here, done.json["chargeId"])
        await here.shop.get(f"/charges/{done.json['chargeId']}")
        assert len(rung) == 1
        here.time.pass_(seconds=30)
        await here.shop.get(f"/charges/{done.json['chargeId']}")
        assert len(rung) == 2
