"""A person at a real browser, and what that person looks at."""
from __future__ import annotations

import itertools
from typing import Any

from ringfence.web.texts import TEXTS
from tests.web.browsers import AXE, SCREENSHOTS

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1200, "height": 900}
GOOD, POOR, MASTERCARD = "4000009900000004", "4000009900510002", "5123456789012346"
"""Cards of the sandbox: approved, without enough money on it, and approved of another brand."""

#: What may stand on the console where a test provokes it.
EXPECTED = {"framed": "Refused to display|frame-ancestors|X-Frame-Options", "gone": "404", "wrong": "422", "busy": "409"}


class Payer:
    """A person at a browser, on one page after the other."""

    def __init__(self, page: Any, name: str) -> None:
        self.page, self._name, self._shots = page, name, itertools.count(1)
        self.bytes: dict[str, int] = {}
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("response", self._weigh)

    def _weigh(self, response: Any) -> None:
        if response.status == 200 and response.request.resource_type in ("document", "stylesheet", "script", "image", "font"):
            self.bytes[response.url] = int(response.headers.get("content-length", 0))

    def fill(self, number: str = GOOD, month: str = "12", year: str = "39", code: str = "123", holder: str = "Sara Ali", at: Any = None) -> None:
        at = at or self.page
        for name, value in (("number", number), ("expiry", month), ("year", year), ("code", code), ("holder", holder)):
            at.fill(f"#{name}", value)

    def pay(self, **typed: str) -> None:
        self.fill(**typed)
        self.page.click("#pay")

    def shoot(self, what: str = "") -> None:
        """Keep what the page looks like."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{self._name}-{next(self._shots)}{'-' + what if what else ''}.png", full_page=True)

    def look(self, what: str = "") -> None:
        """Keep what the page looks like, and have axe look at it."""
        self.shoot(what)
        found = self.page.evaluate(
            AXE.read_text("utf-8") + "; axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],"
            " resultTypes: ['violations']}).then(found => found.violations)")        # what passes is much, and nobody reads it
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        width = self.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
        assert width[0] <= width[1], f"the page is wider than the screen: {width}"

    def answered(self) -> str:
        """The code that the shop shows."""
        self.page.wait_for_selector("#answered")
        return self.page.text_content("#answered")

    def sees(self, key: str, language: str = "en", **values: str) -> bool:
        return TEXTS[key][language == "ar"].format(**values) in self.page.text_content("main")

    def focused(self) -> str:
        return self.page.evaluate("document.activeElement.id || document.activeElement.className")
