"""What a payment's story tells of its disputes: what happened to each, and what comes next."""
from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import asyncpg

from ringfence.core.dispute import Happened, Status
from ringfence.core.money import format_minor

#: What happened, as a sentence; {amount} is what is disputed, {moved} what moved, {until} the deadline.
SAID: dict[Happened, str] = {
    Happened.FRAUD_REPORTED: "the card's bank reports fraud; nothing is asked of anybody",
    Happened.ACTION_REQUIRED: "the merchant may answer until {until}; {amount} are disputed",
    Happened.ACCEPT_PROCESSING: "the merchant accepts it; the answer is on its way",
    Happened.CHALLENGE_PROCESSING: "the merchant challenges it; the answer is on its way",
    Happened.OFFER_PROCESSING: "the merchant makes an offer; it is on its way",
    Happened.UNDER_REVIEW: "the issuer has it to decide",
    Happened.OFFER_ACCEPTED: "the offer was accepted",
    Happened.OFFER_REJECTED: "the offer was rejected",
    Happened.MONEY_TAKEN: "the issuer took {moved}",
    Happened.MONEY_RETURNED: "the issuer gave {moved} back",
    Happened.WON: "it was won",
    Happened.LOST: "it was lost",
    Happened.UNMATCHED: "the provider speaks of more money than this case held: a person should look at it",
}
ENDED = {
    "silence": ", because nobody answered in time", "accepted": ", because the merchant accepted it",
    "withdrawn": ", because the issuer gave it up"}

#: What is waited for, where a case has not ended.
NEXT: dict[Status, str] = {
    Status.OPEN: "waits for the merchant until {until}; without an answer it is lost",
    Status.ACCEPTING: "waits until the provider takes the answer", Status.CHALLENGING: "waits until the provider takes the answer",
    Status.OFFERING: "waits for the issuer", Status.UNDER_REVIEW: "waits for the issuer", Status.OFFER_REJECTED: "waits for the issuer",
}


def happened(events: Sequence[asyncpg.Record]) -> Iterator[tuple[datetime, int, str]]:
    """Instants (business time), the event's id, and sentences."""
    for row in events:
        if row["event"] not in list(Happened):
            continue
        values = json.loads(row["payload"])
        said = SAID[Happened(row["event"])].format(
            amount=format_minor(values["amount"], values["currency"]), moved=format_minor(values["moved"], values["currency"]),
            until=_instant(datetime.fromisoformat(values["due_at"])) if values["due_at"] else "its deadline")
        ended = ENDED.get(values["closing"] or "", "") if row["event"] in (Happened.LOST, Happened.WON) else ""
        why = f"{values['reason'].replace('_', ' ')} {values['reason_code']}".strip()
        yield row["occurred_at"], row["event_id"], f"Dispute {values['dispute']} ({why}, {values['phase'].replace('_', ' ')}): {said}{ended}."


def next_of(disputes: Sequence[asyncpg.Record]) -> Iterator[str]:
    """What still has to come of them."""
    for row in disputes:
        if (waits := NEXT.get(Status(row["status"]))) is not None:
            until = _instant(row["due_at"]) if row["due_at"] else "somebody says until when"
            yield f"Dispute {row['dispute_id']} of {format_minor(row['minor'], row['currency'])} {waits.format(until=until)}."


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
