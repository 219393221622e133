"""Telling: every change of state becomes a notification, in the transaction that made the change.

A notification names an object and says nothing of its state.  Decides what is told, to which addresses and when it is due; sending it
belongs to ``sending``.
"""
from __future__ import annotations

import msgspec

from ringfence.amazon_site.book import Change
from ringfence.amazon_site.faults import taken
from ringfence.amazon_site.objects import Charge, Permission, Refund

NOTIFICATION = "notification"
"""What faults call the sending of one."""


def tell(change: Change, one: Charge | Permission | Refund, at: int, kind: str = "STATE_CHANGE") -> None:
    """Tell the merchant of an object that changed at an instant.  ``kind``: STATE_CHANGE or ATTRIBUTE_CHANGE."""
    merchant = change.merchant(one.merchant_id)
    if merchant is None:
        return
    for url in merchant.notify_urls:
        message = msgspec.json.encode({
            "MerchantID": one.merchant_id, "ObjectType": _TYPES[type(one)], "ObjectId": one.id, "ChargePermissionId": one.id[:19],
            "NotificationType": kind, "NotificationId": (notification := change.new_uuid("notification")), "NotificationVersion": "V2",
        }).decode()
        values = (one.merchant_id, url, notification, change.new_uuid("message"), message, at)
        fault = taken(change, NOTIFICATION)
        if fault is not None and fault.kind == "lost":
            change.run("lose", *values)
            continue
        change.has_told = True
        change.run("notify", *values, at + (int(fault.value) if fault is not None and fault.kind == "late" else 0))
        if fault is not None and fault.kind == "duplicate":
            change.run("notify", *values, at)


_TYPES = {Charge: "CHARGE", Permission: "CHARGE_PERMISSION", Refund: "REFUND"}
