"""How commands ask over a merchant's own door: signed and sent as its server would."""
from __future__ import annotations

from typing import Any

from ringfence.cli.service import Running
from ringfence.failures import Exit, Failure


def ask(service: Running, shop: dict[str, str], fields: dict[str, str]) -> dict[str, Any]:
    """The answer to ``fields`` as the merchant whose credential set ``shop`` is.

    Raises ``Failure`` where no service answers, and where it answers without APS's words.
    """
    from ringfence.api.aps.signature import sign
    asked = {"access_code": shop["access_code"], "merchant_identifier": shop["merchant_identifier"], "language": "en", **fields}
    asked["signature"] = sign(asked, shop["sha_request_phrase"], shop["sha_type"])
    status, answer = service.call("POST", "/FortAPI/paymentApi", asked)
    if status != 200:
        raise Failure(Exit.REFUSED, f"The service answered {status}: {answer.get('error', '')}")
    return answer
