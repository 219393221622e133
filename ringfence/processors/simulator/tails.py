"""Cards at a door whose sandbox decides by the last two digits of any number.

A number of our own scheme stands for itself.  For every other one a number of the scheme stands in that behaves as its last two digits say;
the issuer never learns the difference.  Only first and last digits are needed, so that nothing else of a stranger's card need be kept.
"""
from __future__ import annotations

from ringfence.core.card import Brand, brand_of, luhn_valid
from ringfence.processors.simulator.scenarios import RANGES, VISA, scenario_of_prefix

APPROVED, STOLEN, POOR = "0000", "0043", "0051"

#: The last two digits -> the scenario that stands in, and whether the account updater has news of the card.
TAILS: dict[str, tuple[str, bool]] = {
    "00": (APPROVED, False), "01": (STOLEN, False), "02": (POOR, False), "10": (APPROVED, True), "12": (POOR, True),
}
_BY_BRAND = {brand_of(row.prefix): row for row in reversed(RANGES)}


def stand_in(number: str) -> tuple[str, bool]:
    """The number that is asked for instead, "" where the card's issuer cannot be reached; and whether the updater has news.

    ``number`` is whole, or its first and its last digits.
    """
    if scenario_of_prefix(number) and luhn_valid(number):
        return number, False
    scenario, is_news = TAILS.get(number[-2:], ("", False))
    if not scenario:
        return "", False
    row = _BY_BRAND.get(brand_of(number) or Brand.VISA, VISA)
    return row.number(scenario, int(number[-4:]) % 10 ** (row.length - 13)), is_news
