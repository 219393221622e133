"""A merchant who asks for reports, and the job that makes them: what the tests of reports share."""
from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from xml.etree import ElementTree

from ringfence.api.aps import signature
from ringfence.api.aps.report_rows import WORDS
from ringfence.api.aps.reporting import ReportingApi
from ringfence.engine.reporting import QUEUE, Maker, Reporting
from ringfence.storage import jobs
from ringfence.storage.jobs import Job
from tests.engine.composition import DAY, Process, Shop

EVER = {"from_date": "2026-01-05T00:00:00+03:00", "to_date": "2026-01-31T23:59:59+03:00"}


class Clerk:
    """The reports of one shop."""

    def __init__(self, shop: Shop) -> None:
        process = shop.process
        self.shop, self.process = shop, process
        self.reporting = Reporting(process.pool, process.now, lambda: None)
        self.door = ReportingApi(process.api, self.reporting, process.now)
        self.maker = Maker(process.pool, WORDS, process.now)

    async def post(self, **fields: Any) -> tuple[str, bytes]:
        """Content type and body of an answer to a signed request."""
        request = self.shop.signed(fields)
        if fields.get("language") == "":
            request = self.shop.signed({**fields, "language": None})
        answer = await self.door.handle(json.dumps(request).encode(), "192.0.2.7")
        return answer.content_type, await whole(answer.body)

    async def ask(self, **fields: Any) -> dict[str, Any]:
        """A JSON answer; its signature is right, or the test fails."""
        content_type, body = await self.post(**fields)
        answer = json.loads(body)
        assert content_type == "application/json" and answer["status"] == answer["response_code"][:2]
        assert answer["signature"] == self.signature(answer)
        return answer

    def signature(self, answer: dict[str, Any]) -> str:
        return signature.sign(answer, self.shop._response, self.shop._sha_type)

    async def generate(self, reference: str, *columns: str, **fields: Any) -> str:
        """Ask for a report; the code."""
        given = {**EVER, "columns": list(columns) or ["fort_id"], **fields}
        return (await self.ask(query_command="GENERATE_REPORT", merchant_reference=reference, **given))["response_code"]

    async def download(self, reference: str, **fields: Any) -> dict[str, Any]:
        return await self.ask(query_command="DOWNLOAD_REPORT", merchant_reference=reference, **fields)

    async def code(self, reference: str) -> str:
        return (await self.download(reference))["response_code"]

    async def claim(self, reference: str, holder: str = "test", lease: float = 60.0) -> Job | None:
        """The job of a report."""
        report = await self.reporting.find(self.shop.account.merchant_id, reference)
        assert report is not None
        return await jobs.claim_one(
            self.process.pool, QUEUE, report.asked.merchant_id, report.asked.report_id, holder=holder, lease=lease)

    async def make(self, reference: str) -> None:
        """What the background does."""
        job = await self.claim(reference)
        assert job is not None
        await self.maker.run(job)

    async def rows(self, reference: str, *columns: str, **fields: Any) -> list[dict[str, str]]:
        """A report, made and downloaded."""
        assert await self.generate(reference, *columns, **fields) == "56000"
        await self.make(reference)
        answer = await self.download(reference)
        assert answer["response_code"] == "56000" and answer["data_count"] == str(len(answer.get("data", [])))
        return answer.get("data", [])


async def whole(body: bytes | AsyncIterator[bytes]) -> bytes:
    """A body, however it comes."""
    return body if isinstance(body, bytes) else b"".join([part async for part in body])


def read_xml(body: bytes) -> dict[str, Any]:
    """An answer in XML as the reference describes it: ``NAME_list`` holds elements called ``NAME``."""
    def value(element: ElementTree.Element) -> Any:
        return members(element) if len(element) else element.text or ""

    def members(element: ElementTree.Element) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for child in element:
            name = child.tag.removesuffix("_list")
            is_list = child.tag.endswith("_list") and all(inner.tag == name for inner in child)
            found[name if is_list else child.tag] = [value(inner) for inner in child] if is_list else value(child)
        return found

    root = ElementTree.fromstring(body)
    assert root.tag == "response"
    return members(root)


__all__ = ["DAY", "EVER", "Clerk", "Process", "read_xml", "whole"]
