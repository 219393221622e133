"""Where a wallet's instant notifications come in: a POST, answered quickly, and no word about why one is not believed."""
from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ringfence.engine.wallet_notices import Heard

PATH = "/amazon-pay/notifications"
MAX_BODY = 65_536

STATUSES = {Heard.DONE: 200, Heard.AGAIN: 503, Heard.REFUSED: 403}
"""What is answered; whoever is answered 503 sends it again."""


def routes(receive: Callable[[bytes], Awaitable[Heard]]) -> list[Route]:
    """The route.  ``receive`` works a notification off."""
    async def endpoint(request: Request) -> Response:
        body = bytearray()
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_BODY:
                    return Response(status_code=413)
        except ClientDisconnect:
            return Response(status_code=499)
        return Response(status_code=STATUSES[await receive(bytes(body))])

    return [Route(PATH, endpoint, methods=["POST"])]
