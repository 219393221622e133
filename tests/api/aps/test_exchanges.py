"""The worked exchanges through the whole service: parsed, decided, stored, asked, stored, answered.

Every generated value is given (the order's id, the token's name, approval code, date), so that each answer equals the published one
in structure and value, signature included.  3-D Secure is off: the authorization is answered as after its challenge.
"""
from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ringfence.core.outcomes import Approved
from tests.api.aps.dialogue import golden
from tests.engine.composition import Time, process

pytestmark = pytest.mark.anyio
EXCHANGES = {name: row["body"] for name, row in golden("exchanges.json").items()}
TOKEN = EXCHANGES["E3"]["token_name"]
CREATED = datetime(2026, 1, 5, 7, 9, 19, tzinfo=UTC)


async def test_the_published_exchanges_happen(module_database: str):
    """E3 (answered with E5), E6 to E15, in order, on one order."""
    async with process(module_database, now=Time(CREATED)) as one:
        shop = await one.merchant("CycHZxVj", access_code="zx0IPmPy5jp1vAz8Kpg7", request="reqPhrase01", response="resPhrase01")
        made = await shop.token(TOKEN, card_number="4557012345678902", expiry_date="3005", card_holder_name="Sara Ali")
        assert made["response_code"] == "52062"
        one.ids.append(int(EXCHANGES["E5"]["fort_id"]))
        one.processor.say(Approved(10_000, "742138", "012345678901234", "000000000001"))
        for asked, answered in (("E3", "E5"), ("E6", "E7"), ("E8", "E9"), ("E10", "E11"), ("E12", "E13"), ("E14", "E15")):
            assert await shop.post(EXCHANGES[asked]) == EXCHANGES[answered], asked
        assert [(message.kind, message.minor) for message in one.processor.asked] == [
            ("authorization", 10_000), ("capture", 4_000), ("refund", 1_500)]
        assert await shop.code(query_command="CHECK_STATUS", merchant_reference="ORD-2001", fort_id=EXCHANGES["E5"]["fort_id"]) == "12000"
        await one.prove()


async def test_an_answer_goes_out_as_one_json_object_of_texts(module_database: str):
    """What the bytes on the wire are, apart from their values."""
    async with process(module_database, place=2) as one:
        raw, receipt = await one.api.handle(json.dumps(EXCHANGES["E12"]).encode(), "192.0.2.7")
        assert all(isinstance(value, str) and value for value in json.loads(raw).values()) and receipt == ""
