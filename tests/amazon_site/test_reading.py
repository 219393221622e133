"""The book read from outside."""
from __future__ import annotations

import pytest

from ringfence.amazon_site.reading import standing
from tests.amazon_site.site_asking import running
from tests.amazon_site.test_paying import capture, charge, refund

pytestmark = pytest.mark.anyio


async def test_what_stands_at_the_site(tmp_path):
    assert standing(tmp_path) == {}
    async with running(tmp_path) as here:
        done = await here.bought(here.shop.payload("100.00", "Authorize"))
        permission = done.json["chargePermissionId"]
        assert standing(tmp_path)[permission] == (permission, "SHOP", "order-7", "USD", "Chargeable", 10_000, 0, 0, 0)
        await capture(here, done.json["chargeId"], "60.00")
        await charge(here, permission, "15.00")
        await charge(here, permission, "15.00", code="SoftDeclined")
        await refund(here, done.json["chargeId"], "20.00")
        assert standing(tmp_path)[permission][5:] == (1_500, 6_000, 2_000, 0)
        here.time.pass_(seconds=30)
        await here.site.sweep()
        assert standing(tmp_path)[permission][5:] == (1_500, 6_000, 2_000, 2_000)
