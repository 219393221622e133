"""The deterministic issuer simulator: a processor for the sandbox, and the judge of every fault test.

``scenarios`` are the tables, ``issuer`` answers one message (pure), ``accounts`` counts where an answer depends on earlier ones,
``book`` remembers every effect and ``reading`` judges by it, ``cases`` says what issuers do about captured money and ``docket`` keeps that,
``reader`` reads cards at gates,
``control`` changes behaviour from outside, ``access_control`` is the issuers' side of 3-D Secure, ``processor`` is the ``Processor``.
"""
from ringfence.processors.simulator.access_control import SimulatedAccessControl
from ringfence.processors.simulator.book import Effect, Entry
from ringfence.processors.simulator.control import Control
from ringfence.processors.simulator.docket import Docket
from ringfence.processors.simulator.processor import Simulator
from ringfence.processors.simulator.reader import Reader
from ringfence.processors.simulator.reading import double_effects, given_back, read_book, standing, totals
from ringfence.processors.simulator.scenarios import card_of_scenario, is_test_number, test_cards
from ringfence.processors.simulator.tails import stand_in

__all__ = [
    "Control", "Docket", "Effect", "Entry", "Reader", "SimulatedAccessControl", "Simulator", "card_of_scenario", "double_effects", "given_back",
    "is_test_number", "read_book", "stand_in", "standing", "test_cards", "totals",
]
