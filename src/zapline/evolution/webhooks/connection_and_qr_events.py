"""Parses qrcode.updated, connection.update and status.instance into connection events."""

import json
from typing import Any

from zapline.domain.contacts.addresses import resolve_address
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.line.events import Closed, ConnectingSeen, Opened, PasskeyAsked, QrLimitReached, QrOffered
from zapline.evolution.webhooks.json_fields import LONGEST_NAME, JsonObject, int32, jid, obj, short_text

_LONGEST_CODE = 4096
_LONGEST_REASON = 200
_LONGEST_DISCONNECTION = 65_536


def parse_qr_code(data: JsonObject) -> InboundEvent:
    """Parse qrcode.updated: a code (it lives 45 s), or the report that there will be no more."""
    offered = obj(data.get("qrcode")) or data
    code = short_text(offered.get("code"), _LONGEST_CODE)
    if code is not None:
        return QrOffered(code, short_text(offered.get("pairingCode"), 40), int32(offered.get("count")))
    message = data.get("message")
    if int32(data.get("statusCode")) == 500 or (isinstance(message, str) and "limit" in message.lower()):
        return QrLimitReached()
    if offered.get("count") is not None:
        return Ignored("qr_not_ready")
    return Unusable("no_qr_code")


def parse_connection_update(data: JsonObject) -> InboundEvent:
    """Parse connection.update; its state ``refused`` is only sent when the limit of codes is reached."""
    state = data.get("state")
    if state == "connecting":
        return ConnectingSeen()
    if state == "open":
        owner = resolve_address(jid(data.get("wuid")))
        return Opened(owner.jids[0] if owner else None, short_text(data.get("profileName"), LONGEST_NAME))
    if state == "close":
        return Closed(int32(data.get("statusReason")))
    if state == "refused":
        return QrLimitReached()
    if isinstance(state, str) and "passkey" in state.lower():
        return PasskeyAsked()  # builds that know of it; the official 2.3 and 2.4 tell nothing
    return Unusable("unknown_state")


def parse_instance_status(data: JsonObject) -> InboundEvent:
    """Parse status.instance, which comes before the close that it explains (contract, section 2)."""
    if data.get("status") != "closed":
        return Ignored("instance_status")
    detail = _disconnection_detail(data.get("disconnectionObject"))
    return Closed(int32(data.get("disconnectionReasonCode")), detail, final=True)


def _disconnection_detail(value: Any) -> str | None:
    """The shortest explanation in ``disconnectionObject``, a JSON string: ``conflict: replaced``."""
    if isinstance(value, str):
        if len(value) > _LONGEST_DISCONNECTION:
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    error = obj(obj(value).get("error")) or obj(value)
    node = obj(error.get("data"))
    tag = short_text(node.get("tag"), 60)
    kind = short_text(obj(node.get("attrs")).get("type"), 60)
    if tag is not None:
        return f"{tag}: {kind}" if kind is not None else tag
    payload = obj(obj(error.get("output")).get("payload"))
    return short_text(payload.get("message"), _LONGEST_REASON) or short_text(error.get("message"), _LONGEST_REASON)
