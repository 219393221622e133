"""Hearing a processor: what it tells is kept once, and told again until it is."""
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from ringfence.background.disputes import Ear, Teller, Telling
from ringfence.core.dispute import Heard, Said
from ringfence.core.dispute_reasons import Reason
from ringfence.core.notices import Notice, Noticed
from ringfence.engine.disputes import Case, Desk
from tests.engine.composition import NOW, Process, process, shop

pytestmark = pytest.mark.anyio


class Provider:
    """Tells everything until it is taken."""

    def __init__(self) -> None:
        self.words: dict[int, Telling] = {}

    def says(self, payment: int, said: Any, merchant: str = "CycHZxVj") -> None:
        case = Case("scripted", f"C-{payment}", payment, payment, 600, Reason.DUPLICATE) if isinstance(said, Heard) else None
        number = max(self.words, default=0) + 1
        self.words[number] = Telling(number, merchant, payment, said, case)

    async def told(self, at: datetime) -> Sequence[Telling]:
        return list(self.words.values())

    async def taken(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            del self.words[number]


def ear(one: Process, provider: Provider, teller: Teller | None = None) -> Ear:
    desk = Desk(one.pool, one.keyring, one.now, one.new_id, book=one.engine.notice)
    return Ear("scripted", teller or Teller(provider.told, provider.taken), one.directory, one.engine, desk)


async def test_what_is_told_is_kept_once(database: str):
    """Two processes hear the same, and one dies before it says so: the money moves once."""
    async with process(database) as one, process(database, 2) as two:
        here, provider = await shop(one), Provider()
        payment = int((await here.purchase("HEARD-1", "1000"))["fort_id"])
        await here.refund("HEARD-1", "100")
        provider.says(payment, Heard(1, Said.TAKEN, 600, due_at=NOW))
        provider.says(payment, Notice(Noticed.REFUND_RETURNED, "refund_returned:7", 100))

        async def dies(numbers: Sequence[int]) -> None:
            raise RuntimeError("killed by the test")

        with pytest.raises(RuntimeError):
            await ear(one, provider, Teller(provider.told, dies)).listen()
        assert await ear(two, provider).listen() == 2 and not provider.words
        [standing] = await one.fetch("SELECT disputed, refunded FROM payments WHERE payment_id = $1", payment)
        assert tuple(standing) == (600, 0)
        await one.prove()


async def test_what_cannot_be_kept_is_told_again(database: str):
    """A payment without an outcome; a merchant that nobody has here any more is forgotten."""
    async with process(database) as one:
        here, provider = await shop(one), Provider()
        provider.says(7, Heard(1, Said.TAKEN, 600))
        provider.says(7, Notice(Noticed.CAPTURE_REJECTED, "x", 600, 7))
        provider.says(7, Heard(1, Said.TAKEN, 600), "Nobody")
        listener = ear(one, provider)
        assert (await listener.listen(), sorted(provider.words)) == (1, [1, 2])
        assert await listener.listen() == 0
        payment = int((await here.purchase("LATE-1", "1000"))["fort_id"])
        provider.words = {1: provider.words[1]._replace(payment_id=payment, case=provider.words[1].case._replace(payment_id=payment))}  # type: ignore[union-attr]
        assert await listener.listen() == 1 and not provider.words
