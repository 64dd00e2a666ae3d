"""What the versions of Evolution do differently: 2.4.0-rc2, and 2.3.0 to 2.3.6, against 2.3.7."""

import base64
import re
import time
from collections.abc import Mapping
from typing import Any

from zapline.sandbox.simulator.state.instances import EVENTS

_JID_CUT = re.compile(r":.*$", re.DOTALL)
_LOGGED_OUT_CODES = frozenset({401, 402, 403, 406})
_EVENTS_SINCE_2_3 = frozenset({"SEND_MESSAGE_UPDATE", "INSTANCE_CREATE", "INSTANCE_DELETE", "STATUS_INSTANCE"})
_BESIDE_CONTENT = frozenset({"messageContextInfo", "senderKeyDistributionMessage"})


def is_2_4(version: str) -> bool:
    """Whether this is 2.4 or later; a version that is no number counts as 2.3."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (2, 4)


def _numbers(version: str) -> tuple[int, int, int]:
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return (int(numbers[1]), int(numbers[2]), int(numbers[3])) if numbers is not None else (2, 3, 7)


def status_of_edits(version: str) -> str | None:
    """The status that an edit gets in messages.update, where none is reported; None: the update is passed over.

    Before 2.3.5 it is the same as a deletion's, and the new text is not told (source of the tags, not recorded).
    """
    if _numbers(version) >= (2, 3, 7):
        return "SERVER_ACK"
    return "DELETED" if _numbers(version) < (2, 3, 5) else None


def status_of_deletions(version: str) -> str:
    """The status that a deletion leaves in the store."""
    return "SERVER_ACK" if _numbers(version) >= (2, 3, 7) else "DELETED"


def stores_deletions(version: str) -> bool:
    """Whether the row of a deleted message loses its content, and is marked as edited: not so in 2.3.0."""
    return _numbers(version) >= (2, 3, 1)


def webhook_events(version: str) -> tuple[str, ...]:
    """The events that a webhook may subscribe to, in the server's order."""
    if _numbers(version) < (2, 3, 0):
        return tuple(name for name in EVENTS if name not in _EVENTS_SINCE_2_3)
    if not is_2_4(version):
        return EVENTS
    position = EVENTS.index("REMOVE_INSTANCE")
    return (*EVENTS[:position], "MESSAGING_HISTORY_SET", *EVENTS[position:])


def logged_out_codes(version: str) -> frozenset[int]:
    """Codes that end a session and are reported as ``close``; 408 is one of them since 2.4."""
    return _LOGGED_OUT_CODES | {408} if is_2_4(version) else _LOGGED_OUT_CODES


def own_headers(version: str, instance_id: str, instance_name: str, event: str) -> dict[str, str]:
    """The headers of a webhook before the configured ones."""
    headers = {"Accept": "application/json, text/plain, */*", "Content-Type": "application/json"}
    if not is_2_4(version):
        return {**headers, "User-Agent": "axios/1.21.1"}
    return {
        **headers,
        "User-Agent": "EvolutionAPI-Webhook/2.3.7",
        "X-Instance-ID": instance_id,
        "X-Instance-Name": instance_name,
        "X-Event-Type": event,
        "X-Timestamp": str(int(time.time() * 1000)),
    }


def cut_jid(version: str, jid: Any) -> Any:
    """2.4 cuts JIDs at the colon of a device, and the server's name with it."""
    return _JID_CUT.sub("", jid) if isinstance(jid, str) and is_2_4(version) else jid


def message_form(version: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """The message as the version prepares it for the API and its store; ``message`` is in the form of 2.3.7.

    2.4 drops extended texts with their quotes and mentions, and gives other fields an order of its own.
    """
    if not is_2_4(version):
        return dict(message)
    key = {name: cut_jid(version, value) for name, value in message["key"].items()}
    content = dict(message["message"] or {})
    if "extendedTextMessage" in content:
        content = {"conversation": content.pop("extendedTextMessage").get("text"), **content}
    form = {"key": key, "pushName": message.get("pushName"), "message": content}
    if any(name not in _BESIDE_CONTENT for name in content):
        form["messageType"] = message.get("messageType")
    for name in ("messageTimestamp", "source", "instanceId", "status"):
        if name in message:
            form[name] = message[name]
    if "messageContextInfo" in content:
        form["contextInfo"] = content["messageContextInfo"]
    return form


def webhook_key(version: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """The key in a webhook: the phone replaces a LID where it is known; 2.4 keeps the LID as the other name."""
    remote, other = key.get("remoteJid"), key.get("remoteJidAlt")
    if not (isinstance(remote, str) and remote.endswith("@lid") and other):
        return dict(key)
    if is_2_4(version):
        return {**key, "remoteJid": other, "remoteJidAlt": remote, "addressingMode": "pn"}
    return {**key, "remoteJid": other}


def stored_form(value: Any) -> Any:
    """A value as the database returns it: bytes as base64, where webhooks have objects of indices."""
    if isinstance(value, list):
        return [stored_form(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value and all(name.isdigit() and type(octet) is int and 0 <= octet < 256 for name, octet in value.items()):
        return base64.b64encode(bytes(value[name] for name in sorted(value, key=int))).decode("ascii")
    return {name: stored_form(item) for name, item in value.items()}
