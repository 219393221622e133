"""Buyers: the people of the sandbox who have an account at the site, with their passwords, addresses and cards.

A table; nobody else can sign in.  Passwords are printed in the manual: this is a test site.
"""
from __future__ import annotations

import hmac
from typing import NamedTuple


class Address(NamedTuple):
    """Where something can be sent to."""

    name: str
    line: str
    city: str
    state: str
    postal_code: str
    country: str
    phone: str

    def as_object(self) -> dict[str, str | None]:
        """As it travels."""
        return {
            "name": self.name, "addressLine1": self.line, "addressLine2": None, "addressLine3": None, "city": self.city, "county": None,
            "district": None, "stateOrRegion": self.state, "postalCode": self.postal_code, "countryCode": self.country, "phoneNumber": self.phone}

    def __str__(self) -> str:
        return f"{self.name}, {self.line}, {self.city}, {self.state} {self.postal_code}, {self.country}".replace(",  ", ", ")


class Buyer(NamedTuple):
    """A test buyer."""

    email: str
    password: str
    buyer_id: str
    name: str
    phone: str
    addresses: tuple[Address, ...]


class Card(NamedTuple):
    """A card of everybody's wallet; ``does`` says in the manual what it is for."""

    tail: str
    brand: str
    does: str

    @property
    def descriptor(self) -> str:
        """What a merchant gets to see of it."""
        return f"{self.brand} ****{self.tail} (Amazon Pay)"


#: Source: Amazon Pay, sandbox simulations.
CARDS = {card.tail: card for card in (
    Card("1111", "Visa", "succeeds"),
    Card("0005", "Amex", "succeeds"),
    Card("4444", "MasterCard", "succeeds"),
    Card("9424", "Discover", "succeeds"),
    Card("0000", "Visa", "succeeds"),
    Card("3064", "Visa", "the session ends Canceled, BuyerCanceled"),
    Card("3434", "Visa", "the session ends Canceled, Declined"),
    Card("0701", "Visa", "AuthorizationInitiated, Authorized after 30 seconds"),
    Card("4354", "Visa", "AuthorizationInitiated, Declined HardDeclined after 30 seconds"),
)}

BUYERS = {buyer.email: buyer for buyer in (
    Buyer("sara@buyer.example", "sara-pays", "amzn1.account.SARA0000000000000000000001", "Sara Ali", "206-555-0101", (
        Address("Sara Ali", "410 Terry Ave N", "Seattle", "WA", "98109", "US", "206-555-0101"),
        Address("Sara Ali", "83034 Pine Street", "Portland", "OR", "97205", "US", "503-555-0102"))),
    Buyer("jonas@buyer.example", "jonas-pays", "amzn1.account.JONAS000000000000000000002", "Jonas Weber", "+49 89 5550103", (
        Address("Jonas Weber", "Marcel-Breuer-Str. 12", "München", "", "80807", "DE", "+49 89 5550103"),)),
    Buyer("noura@buyer.example", "noura-pays", "amzn1.account.NOURA000000000000000000003", "نورة القحطاني", "212-555-0104", (
        Address("Noura Alqahtani", "1 Penn Plaza", "New York", "NY", "10119", "US", "212-555-0104"),)),
)}


def find(email: str, password: str) -> Buyer | None:
    """The buyer with these, or ``None``."""
    buyer = BUYERS.get(email.strip().lower())
    if buyer is None or not hmac.compare_digest(buyer.password.encode(), password.encode("utf-8", "replace")):
        return None
    return buyer
