"""``/v1``: two protocols on one port, told apart by what each of them owns.

A path that stands in one of them is that one's, whoever calls; a path of neither is answered in the words of the scheme that the caller signed
or showed a key in.  Refuses to know what is answered.
"""
from __future__ import annotations

from collections.abc import Callable

from ringfence.api.http import App, Receive, Scope, Send
from ringfence.api.jwo.app import StoreApi


def shared(stores: StoreApi, payments: App, is_payments: Callable[[str], bool]) -> App:
    """Everything below ``/v1``; ``is_payments``: whether a path stands at the PPRO door."""
    paths = stores.endpoints

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in paths or (_signs(scope) and not is_payments(path)):
            await stores(scope, receive, send)
        else:
            await payments(scope, receive, send)

    return application


_SCHEMES = b"AWS4-"


def _signs(scope: Scope) -> bool:
    return any(name == b"authorization" and value.startswith(_SCHEMES) for name, value in scope["headers"])
