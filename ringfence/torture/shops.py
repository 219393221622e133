"""What the clients do: orders of every shape, good cards and bad ones, and what a careful merchant does when an answer is missing.

Decides what is bought, and which answers nothing explains; ``load`` sends.
"""
from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from ringfence.bench.purchases import CURRENCY, Merchant
from ringfence.processors.simulator.scenarios import RANGES
from ringfence.torture.load import SUCCESS, UNKNOWN, Client, Load, Sent, chances

SMALLEST, LARGEST = 100, 8_999
"""Magic amounts, which choose their outcome, begin above."""

GOOD = "0000"
#: One card in ten: answers that are lost, late, cut, garbled, said twice; issuers that never heard, or heard our reversal first.
TROUBLED = ("0300", "0301", "0302", "0303", "0304", "0305", "0306", "0308", "0309", "0310",
            "0400", "0401", "0402", "0403", "0404", "0405", "0406", "0407", "0408", "0409", "0410", "0411")
DECLINED = ("0005", "0051")
#: One card in ten: payers who are asked who they are, without a page (3-D Secure); approved like the good ones.
PROVEN = ("0600", "0603", "0604", "0607")
BRANDS = RANGES[:3]
TROUBLED_SHARE, DECLINED_SHARE, PROVEN_SHARE, FORGOTTEN_SHARE = 0.1, 0.03, 0.1, 0.05

#: Last three digits of what may be answered whatever was asked: nothing was done, or not yet.
NOT_NOW = ("006", "784")
REPEATS = 3
"""A request whose answer is missing is sent again so often, where that is safe."""


class Order:
    """One order of one client, as far as the client knows it.  Amounts in minor units."""

    def __init__(self, merchant: Merchant, reference: str, minor: int, scenario: str, chance: random.Random, moves: int) -> None:
        self.merchant, self.reference, self.minor, self.scenario, self.chance = merchant, reference, minor, scenario, chance
        self.card = chance.choice(BRANDS).number(scenario, chance.randrange(1_000))
        self.captured = self.refunded = self.refunds = 0
        self.moves = moves              # of the clock, when it began
        self.is_clear = True            # no answer was missing, unknown or refused so far

    def sent(self, operation: str, minor: int, name: str = "") -> Sent:
        """An operation on it, for the record."""
        return Sent(self.merchant.identifier, self.reference, operation, minor, name or self.reference)


async def shop(load: Load, merchant: Merchant, seed: int, number: int) -> None:
    """One client: order after order until the load is over."""
    chance, client, serial = chances(seed, "client", number), Client(load, merchant), 0
    while not load.is_over:
        serial += 1
        share = chance.random()
        scenario = (chance.choice(TROUBLED) if share < TROUBLED_SHARE else
                    chance.choice(DECLINED) if share < TROUBLED_SHARE + DECLINED_SHARE else
                    chance.choice(PROVEN) if share > 1 - PROVEN_SHARE else GOOD)
        order = Order(merchant, f"T{seed}-{number}-{serial}", chance.randint(SMALLEST, LARGEST), scenario, chance, load.moves)
        story = _forgotten if chance.random() < FORGOTTEN_SHARE else chance.choices(STORIES, WEIGHTS)[0]
        await story(client, order)
    await client.close()


# -- one operation --

async def begin(client: Client, order: Order, operation: str) -> bool:
    """Authorize or buy; whether the order stands.

    Without an answer it is sent again under its own number, or asked about.  With an unknown one the client asks, or goes on and
    looks what happens.
    """
    fields = {"command": operation, "merchant_reference": order.reference, "amount": str(order.minor), "currency": CURRENCY,
              "card_number": order.card, "expiry_date": "3512", "card_security_code": "123",
              "customer_email": "buyer@shop.example", "customer_ip": "203.0.113.7"}
    sent = order.sent(operation, order.minor)
    code = await client.operate(sent, fields)
    _expect(client.load, order, sent, code)
    for _ in range(REPEATS):
        if code is not None or order.chance.random() < 0.5:
            break
        code = await client.operate(sent, fields)
    if code == SUCCESS[operation]:
        return True
    order.is_clear = False
    if code is None or code.endswith("007"):
        code = await client.status(order.reference)
        if code == SUCCESS[operation]:
            client.load.note(sent, code, asked=True)
            return True
    if code == UNKNOWN:
        client.load.open_orders[order.merchant.identifier, order.reference] = None
        return order.chance.random() < 0.3
    return False


async def follow(client: Client, order: Order, operation: str, minor: int, maintenance_reference: str = "") -> bool:
    """Capture, void or refund; whether it succeeded.

    Without an answer a refund with a reference of its own is sent again, everything else is asked about and left.
    """
    fields = {"command": operation, "merchant_reference": order.reference}
    if operation != "VOID_AUTHORIZATION":
        fields |= {"amount": str(minor), "currency": CURRENCY}
    if maintenance_reference:
        fields["maintenance_reference"] = maintenance_reference
    sent = order.sent(operation, minor, maintenance_reference)
    code = await client.operate(sent, fields)
    _expect(client.load, order, sent, code)
    repeats = 0
    while code is None and maintenance_reference and repeats < REPEATS:
        repeats += 1
        code = await client.operate(sent, fields)
    if code == SUCCESS[operation]:
        return True
    order.is_clear = False
    if code is None or code == UNKNOWN:
        client.load.open_orders[order.merchant.identifier, order.reference] = None
        await client.status(order.reference)
    return False


def _expect(load: Load, order: Order, sent: Sent, code: str | None) -> None:
    """Take note of an answer that nothing explains: above all a decline by nobody.

    Nothing is expected of cards that are in trouble or declined, of orders that had trouble, nor after the clock was moved.
    """
    if code is None or code in (SUCCESS[sent.operation], UNKNOWN) or code[2:] in NOT_NOW:
        return
    if order.scenario in (GOOD, *PROVEN) and order.is_clear and order.moves == load.moves:
        load.surprises[f"{sent.operation} was answered {code}"] += 1


# -- the stories --

async def _purchase(client: Client, order: Order) -> None:
    await begin(client, order, "PURCHASE")


async def _sale_and_return(client: Client, order: Order) -> None:
    if await begin(client, order, "PURCHASE"):
        order.captured = order.minor
        await _refunds(client, order)


async def _parcels(client: Client, order: Order) -> None:
    """Authorized, sent in one to three parcels, and some of it comes back."""
    if not await begin(client, order, "AUTHORIZATION"):
        return
    for _ in range(order.chance.randint(1, 3)):
        part = order.chance.randint(1, max(1, order.minor - order.captured))
        if order.captured + part > order.minor or client.load.is_over or not await follow(client, order, "CAPTURE", part):
            break
        order.captured += part
    if order.captured:
        await _refunds(client, order)


async def _refunds(client: Client, order: Order) -> None:
    """One or two refunds, half of them with a reference of their own."""
    for number in range(order.chance.randint(1, 2)):
        part = order.chance.randint(1, max(1, order.captured - order.refunded))
        name = f"{order.reference}-R{number}" if order.chance.random() < 0.5 else ""
        if order.refunded + part > order.captured or client.load.is_over or not await follow(client, order, "REFUND", part, name):
            return
        order.refunded += part


async def _cancelled(client: Client, order: Order) -> None:
    if await begin(client, order, "AUTHORIZATION"):
        await follow(client, order, "VOID_AUTHORIZATION", order.minor)


async def _forgotten(client: Client, order: Order) -> None:
    """Authorized and never captured: it lapses when the clock is moved."""
    await begin(client, order, "AUTHORIZATION")


STORIES: tuple[Callable[[Client, Order], Awaitable[None]], ...] = (_purchase, _parcels, _sale_and_return, _cancelled)
WEIGHTS = (4, 3, 2, 2)
