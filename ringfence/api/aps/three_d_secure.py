"""3-D Secure on the APS wire: which payments demand it, the results that a request brings along, and the two operations that expose it.

Decides by the account's settings, the card's brand and the request.  Refuses to know pages and issuers.
"""
from __future__ import annotations

import base64
import hashlib
import hmac

from ringfence.api.aps import codes
from ringfence.api.aps.door import Account, Reply, Service, refused
from ringfence.api.aps.wire import ApsRequest
from ringfence.core.authentication import PENDING, SECURED, Ended, Evidence, Status, may_use, why_stopped
from ringfence.core.card import Pan
from ringfence.core.refusals import Refusal
from ringfence.engine.ahead import AuthenticationRow, Payer
from ringfence.engine.authentication import FLEXIBLE, REQUIRED, Demand, ruled
from ringfence.engine.return_address import may_return

COMPULSORY = frozenset({"MADA", "MEEZA"})
"""Brands whose cardholders are authenticated whatever a merchant wants."""
FLEX_BRANDS = frozenset({"VISA", "MASTERCARD", "AMEX"})
_DEMANDS = {"flexible": FLEXIBLE, "required": REQUIRED}

NOT_FOUND, WAITING, INACTIVE = "151", "065", "093"
NOT_ALLOWED = "00040"


def demand_of(account: Account, request: ApsRequest, brand: str) -> Demand | None:
    """Whether a payment with a card of ``brand`` is to be authenticated, and how; ``None``: its payer is never asked.

    Only cardholders in e-commerce are.  ``check_3ds=NO`` switches it off for one payment, ``flex_value`` chooses by the account's rules; for
    mada and Meeza neither does.
    """
    if request.eci != "ECOMMERCE":
        return None
    if brand in COMPULSORY:
        return REQUIRED[request.language]
    given, settings = request.given, account.merchant.settings
    if "check_3ds" in given and given["check_3ds"] == "NO":
        return None
    mode = settings.three_d_secure
    if "flex_value" in given and settings.service_flex_3ds and brand in FLEX_BRANDS:
        mode = ruled(settings.three_d_secure_rules, given["flex_value"]) or mode
    demands = _DEMANDS.get(mode)
    return None if demands is None else demands[request.language]


def may_leave(account: Account, url: str) -> bool:
    """Whether a payer's browser may be sent to an address that a request names; it is asked again when the browser leaves."""
    origins = account.settings.return_origins
    return may_return(url, origins or (), origins is not None)


async def proven(service: Service, account: Account, request: ApsRequest, demand: Demand, card_id: int) -> Demand | Reply:
    """The demand with the result that the request brings along; 152 where that is one of ours and does not match the request."""
    given, merchant_id = request.given, account.merchant.merchant_id
    row = await _ours(service, merchant_id, given.get("3ds_xid", ""), given.get("ver_token", ""))
    if row is None:
        return demand._replace(external=_external(given))
    said = {"3ds_status": _status(row), "3ds_eci": row.eci, "ver_token": row.evidence.cavv, "3ds_xid": xid_of(service, row)}
    misuse = may_use(row.value, merchant_id, card_id, request.amount or 0, request.currency, service.now())
    if misuse is not None or any(given.get(name, value) != value for name, value in said.items()):
        return Reply(request.operation.failure + codes.MISMATCH)
    return demand._replace(ahead=row.authentication_id)


async def enrol(service: Service, account: Account, request: ApsRequest) -> Reply:
    """3DS_ENROLLMENT: whether the card takes part, and where its payer is to be sent."""
    if service.ahead is None:
        return Reply(request.operation.failure + INACTIVE)
    if not may_leave(account, request.given["merchant_3ds_url"]):
        return Reply(NOT_ALLOWED)
    found = await _card(service, account, request)
    if isinstance(found, Reply):
        return found
    pan, card_id, expiry, brand, fields = found
    merchant, assumed = account.merchant, request.amount or 0
    enrolled = await service.ahead.enrol(Payer(
        merchant.merchant_id, merchant.identifier, merchant.name, card_id, pan, expiry, assumed, request.currency, request.language,
        request.given["merchant_3ds_url"], merchant.settings.magic_amounts,
    ))
    fields |= {
        "threeds_id": str(enrolled.authentication_id), "3ds_enrolled": "Y" if enrolled.takes_part else "N", "payment_option": brand,
        "3ds_url": service.base_url + enrolled.page if enrolled.page else "",
    }
    return Reply(request.operation.success, fields)


async def authenticate(service: Service, account: Account, request: ApsRequest) -> Reply:
    """3DS_AUTHENTICATION: what came of an enrolment.  What the browser brought (``third_party_body``) is not believed: the result
    message is looked at instead."""
    if service.ahead is None:
        return Reply(request.operation.failure + INACTIVE)
    number = int(request.given["threeds_id"])
    row = await service.ahead.look(account.merchant.merchant_id, number) if number < 2**63 else None
    if row is None:
        return Reply(request.operation.failure + NOT_FOUND)
    status = Status(row.status)
    if status in PENDING:
        return Reply(request.operation.failure + WAITING)
    if status in (Status.FAILED, Status.REJECTED):
        why = why_stopped(row.cancelled)
        message = {Ended.CANCELLED: "072", Ended.TIMEOUT: "778"}.get(why, "030")
        return Reply(request.operation.failure + message, {"3ds_status": "N", "3ds_xid": xid_of(service, row)})
    return Reply(request.operation.success, {
        "3ds_status": _status(row), "3ds_eci": row.eci, "ver_token": row.evidence.cavv if status in SECURED else "", "3ds_xid": xid_of(service, row),
        "3ds_enrolled": "Y" if row.version else "N",
    })


def xid_of(service: Service, row: AuthenticationRow) -> str:
    """The 28 characters an authentication of ours is called by: its number, and a keyed check that nobody else can make."""
    return base64.b64encode(_octets(service, row.merchant_id, row.authentication_id)).decode()


def _octets(service: Service, merchant_id: int, authentication_id: int) -> bytes:
    check = hashlib.blake2b(f"3ds_xid|{merchant_id}|{authentication_id}".encode(), key=service.content_key, digest_size=12).digest()
    return authentication_id.to_bytes(8, "big") + check


async def _ours(service: Service, merchant_id: int, xid: str, cavv: str) -> AuthenticationRow | None:
    """The authentication of ours that a request speaks of, by its name or by its cryptogram."""
    if service.ahead is None:
        return None
    if xid:
        octets = base64.b64decode(xid)
        authentication_id = int.from_bytes(octets[:8], "big")
        if hmac.compare_digest(octets, _octets(service, merchant_id, authentication_id)):
            return await service.ahead.look(merchant_id, authentication_id)
    return await service.ahead.with_cryptogram(merchant_id, cavv) if cavv else None


def _external(given: dict[str, str]) -> Evidence:
    """The result of the merchant's own 3DS server.  Who is not enrolled, of whom nothing is said, or whose cryptogram is missing, could
    not be authenticated."""
    status, cavv = given.get("3ds_status", "U"), given.get("ver_token", "")
    if given.get("3ds_enrolled", "Y") != "Y" or (status in SECURED and not cavv):
        status = "U"
    return Evidence(status, given.get("3ds_eci", ""), cavv if status in SECURED else "", given.get("3ds_xid", ""))


def _status(row: AuthenticationRow) -> str:
    return row.status if row.status in ("Y", "N", "A") else "U"


_Card = tuple[Pan | None, int, str, str, dict[str, object]]


async def _card(service: Service, account: Account, request: ApsRequest) -> _Card | Reply:
    """Number (where it is kept), record, expiry and brand of the request's card or token, and what the answer says of it."""
    merchant_id, vault = account.merchant.merchant_id, service.vault
    if request.card is not None:
        if not request.card.expiry:
            return Reply("00100")
        stored = await vault.keep(merchant_id, request.card.number)
        return request.card.number, stored.card_id, request.card.expiry, stored.brand, {}
    token = await vault.token(merchant_id, request.token_name)
    if token is None or not token.active:
        return refused(request, Refusal.TOKEN_NOT_FOUND if token is None else Refusal.TOKEN_INACTIVE)
    return vault.reveal(token.card), token.card.card_id, token.expiry, token.card.brand, {
        "card_number": vault.masked(token.card, account.settings.mask_first), "expiry_date": token.expiry,
    }
