"""Two processes over one folder: no update is lost, no key is used twice, nothing is charged above its limit."""
from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from ringfence.amazon_site.book import Book
from tests.amazon_site.site_asking import PEM, STORE, Shop, running
from tests.amazon_site.test_paying import standing

ROUNDS = 60


def _charge(folder: str, permission: str, name: str, ready, results) -> None:
    """One process: its own charges, and ones whose keys the other process uses as well."""
    import asyncio

    from tests.amazon_site.test_paying import charge

    async def run() -> None:
        async with running(Path(folder)) as here:       # its private key is this process's own, and so has a name of its own
            await here.site.register("SHOP", name="Shop", public_key_id=f"SANDBOX-{name}", public_key_pem=PEM, store_id=STORE)
            here = here._replace(shop=Shop(here.app, here.time.wall, f"SANDBOX-{name}"))
            ready.wait(200)
            own = [(await charge(here, permission, "1.00", key=f"{name}-{place}")).status for place in range(ROUNDS)]
            shared = [(await charge(here, permission, "1.00", key=f"both-{place}")).json["chargeId"] for place in range(ROUNDS)]
            results.put((name, own, shared))

    asyncio.run(run())


@pytest.mark.anyio
async def test_two_processes_lose_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "amazon"
    async with running(folder) as here:
        done = await here.bought(here.shop.recurring())
        permission = done.json["chargePermissionId"]
        spawn = multiprocessing.get_context("spawn")
        ready, results = spawn.Barrier(2), spawn.Queue()
        processes = [spawn.Process(target=_charge, args=(str(folder), permission, name, ready, results)) for name in ("one", "two")]
        for process in processes:
            process.start()
        said = {name: (own, shared) for name, own, shared in (results.get(timeout=200) for _ in processes)}
        for process in processes:
            process.join(90)
        assert said["one"][0] == said["two"][0] == [201] * ROUNDS
        assert said["one"][1] == said["two"][1]
        book = Book(folder, 0)          # beside the site's own
        names = [one.id for one in book.work_here(lambda change: change.charges_of(permission))]
        book.close()
        assert len(names) == 3 * ROUNDS == len(set(names))
        assert names == [f"{permission}-C{number:06}" for number in range(1, 3 * ROUNDS + 1)]
        await here.site.register("SHOP", name="Shop", public_key_id="SANDBOX-KEY", public_key_pem=PEM, store_id=STORE)
        seen = await here.shop.get(f"/chargePermissions/{permission}")
        assert standing(seen)[2] == f"{20_000 - 3 * ROUNDS}.00"
