"""Repeats of operations on payments: whose key it is, and what is answered again (PPRO Global API, section 3).

Such an operation claims its key in the commit of its intent, so that nothing can happen twice; what was answered is made again from what is
stored, and not kept beside it.  A key is free again a day after its operation ended; until that is known it never is.
"""
from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from msgspec.structs import replace

from ringfence.api.ppro import answers
from ringfence.api.ppro.answers import Answer
from ringfence.api.ppro.door import Service
from ringfence.core.refusals import Refusal
from ringfence.engine.charges import Step
from ringfence.engine.intents import Intent, Result

KEPT = timedelta(hours=24)
TAKEN = frozenset({Refusal.KEY_USED, Refusal.KEY_IN_PROGRESS, Refusal.KEY_CONTENT_DIFFERS})
FINAL = frozenset({"approved", "declined", "reversed", "not_asked"})


class Repeat(NamedTuple):
    """The operation that has the key: as it was answered first, and as it is known now."""

    payment_id: int
    step: Step
    now: Step


async def standing(service: Service, merchant_id: int, key: str) -> tuple[str, bool]:
    """The name under which a key that begins payments would be claimed now, and whether a payment has it already."""
    number = 1
    while True:
        name = _numbered(key, number)
        payment_id = await service.reading.payment_by_key(merchant_id, name)
        if payment_id is None:
            return name, False
        found = await service.charges.as_first_said(merchant_id, payment_id, payment_id)
        if found is None or not _is_free(service, found[2]):
            return name, True
        number += 1


async def execute(service: Service, intent: Intent) -> Result | Repeat | Answer:
    """Carry out an intent under its key, or find the operation that has it; an answer where neither may be."""
    return await settled(service, intent, await service.engine.execute(intent))


async def settled(service: Service, intent: Intent, result: Result) -> Result | Repeat | Answer:
    """The same of an intent that the engine was given already: ``result`` is what it said."""
    key, number = intent.key, 1
    while result.refusal in TAKEN and result.earlier is not None:
        payment_id, operation_id = result.earlier.payment_id, result.earlier.operation_id
        found = await service.charges.as_first_said(intent.merchant_id, payment_id, operation_id)
        if found is None:
            return answers.error(409, answers.IN_FLIGHT)
        content, first, now = found
        if _is_free(service, now):
            number += 1
            intent = replace(intent, key=_numbered(key or "", number))
            result = await service.engine.execute(intent)
        elif content != intent.content:
            return answers.error(409, answers.ALREADY_USED)
        elif now.result is None:
            return answers.error(409, answers.IN_FLIGHT)
        else:
            return Repeat(payment_id, first if now.result != "unknown" else now, now)
    return result


def _numbered(key: str, number: int) -> str:
    """The name of a key that is used for the so-manieth time."""
    return key if number == 1 else f"{key}:{number}"


def _is_free(service: Service, step: Step) -> bool:
    """Whether the key of an operation may be used anew."""
    return step.result in FINAL and step.answered_at is not None and service.now() - step.answered_at >= KEPT


def given_again(answer: Answer, is_repeat: bool) -> Answer:
    """An answer, said to be one of a repeat where it is; what is not a success is never stored."""
    return answers.replayed(answer) if is_repeat and answer.is_success else answer
