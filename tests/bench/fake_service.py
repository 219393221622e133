"""A service that answers purchases as the real one does, keeps a book of them, and can misbehave in one way.

Run as a program: ``python fake_service.py BOOK MERCHANTS FAULT``; it prints its port and serves until its standard input ends.
*FAULT* is one of ``FAULTS``, or ``none``.  The fifth of every hundred purchases meets it, and every one does for ``unsigned`` and ``slow``.
"""
from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn

from ringfence.bench.purchases import Merchant, signature

FAULTS = {
    "loses": "acknowledges a purchase and does not keep it",
    "doubles": "keeps a purchase twice",
    "changes": "keeps another amount",
    "declines": "answers 13666",
    "mixes": "answers with another reference",
    "unsigned": "signs with the request phrase",
    "slow": "takes 50 ms for every purchase",
    "stalls": "stops serving for 300 ms, once",
    "hangs_up": "closes the connection instead of answering",
    "fails": "answers 500",
}
SLOW_S, STALL_S = 0.05, 0.3


class Fake:
    """The ASGI application."""

    def __init__(self, book: Path, merchants: list[Merchant], fault: str) -> None:
        self.merchants = {merchant.identifier: merchant for merchant in merchants}
        self.fault = fault
        self.purchases = self.tokens = 0
        self.open = True
        self.file = book.open("ab", buffering=0)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        status, answer = await self.answer(json.loads(body))
        if answer is None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"9")]})
            return                                      # uvicorn drops the connection of an answer that never comes
        said = json.dumps(answer, separators=(",", ":")).encode()
        await send({"type": "http.response.start", "status": status,
                    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})

    async def answer(self, asked: dict[str, str]) -> tuple[int, dict[str, str] | None]:
        merchant = self.merchants[asked["merchant_identifier"]]
        if asked.pop("signature") != signature(asked, merchant.request_phrase, merchant.sha_type):
            return 200, self.signed(merchant, asked, "00008", self.fault)
        if asked.get("service_command") == "CREATE_TOKEN":
            self.tokens += 1
            number = asked.pop("card_number")
            shown = {"card_number": f"{number[:6]}******{number[-4:]}", "token_name": f"TOKEN{self.tokens}"}
            return 200, self.signed(merchant, asked | shown, "52062")
        self.purchases += 1
        fault = self.fault if self.purchases % 100 == 5 or self.fault in ("unsigned", "slow") else "none"
        if fault == "stalls" and self.purchases == 5:
            time.sleep(STALL_S)                         # everything waits, as when a disk does
        if fault == "slow":
            await asyncio.sleep(SLOW_S)
        if fault == "declines":
            return 200, self.signed(merchant, asked, "13666")
        if fault == "hangs_up":
            return 200, None
        if fault == "fails":
            return 500, {"detail": "no"}
        for _ in range({"loses": 0, "doubles": 2}.get(fault, 1)):
            kept = [merchant.identifier, asked["merchant_reference"], int(asked["amount"]) + (fault == "changes")]
            self.file.write(json.dumps(kept).encode() + b"\n")
        if fault == "mixes":
            asked["merchant_reference"] = "0" * 16
        return 200, self.signed(merchant, {**asked, "fort_id": "169996200024611493", "eci": "ECOMMERCE", "payment_option": "VISA"}, "14000", fault)

    @staticmethod
    def signed(merchant: Merchant, fields: dict[str, str], code: str, fault: str = "none") -> dict[str, str]:
        whole = {**fields, "response_code": code, "response_message": "Success", "status": code[:2]}
        phrase = merchant.request_phrase if fault == "unsigned" else merchant.response_phrase
        return whole | {"signature": signature(whole, phrase, merchant.sha_type)}


async def main() -> None:
    book, merchants, fault = sys.argv[1:]
    app = Fake(Path(book), [Merchant(*merchant) for merchant in json.loads(merchants)], fault)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", access_log=False))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.should_exit = server.force_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
