"""The desk: what all of the site works with."""
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

from ringfence.amazon_site.book import Book, Change
from ringfence.amazon_site.passing import bring_up_to, seconds

_T = TypeVar("_T")


class Desk(NamedTuple):
    """The book, where the site is reached, business time (``now``), wall time in Unix seconds, the administrator's token ("": nobody is one),
    and what has the background look when there is something to tell."""

    book: Book
    base_url: str
    now: Callable[[], datetime]
    wall: Callable[[], float]
    admin_token: str
    nudge: Callable[[], object]

    async def carry_out(self, work: Callable[[Change], _T]) -> _T:
        """Do something in one transaction, in a book that is up to date."""
        told = False

        def up_to_date(change: Change) -> _T:
            nonlocal told
            bring_up_to(change, seconds(self.now()))
            done = work(change)
            told = change.has_told
            return done

        done = await self.book.work(up_to_date)
        if told:
            self.nudge()
        return done
