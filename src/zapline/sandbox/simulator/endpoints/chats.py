"""Serves the chat endpoints: queries of messages, chats, contacts and statuses, edits and deletions."""

import math
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from zapline.sandbox.simulator.endpoints.messages import check_socket, create_jid, look_up
from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import ApiError, Field, Schema, json_response
from zapline.sandbox.simulator.state.delivery_ledger import ReadReceipt
from zapline.sandbox.simulator.state.instances import Instance, iso_now, message_id
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import stored_form

_NUMBERS = Schema(("numbers",), {"numbers": Field((list,))})
_READ = Schema(("readMessages",), {"readMessages": Field((list,))})
_EDIT = Schema(("number", "key", "text"), {"key": Field((dict,)), "text": Field((str,))})
_EDITABLE = ("conversation", "extendedTextMessage", "imageMessage", "videoMessage")
_KEYS = ("id", "remoteJid", "remoteJidAlt", "participant", "fromMe")
"""Keys that findMessages filters by; ``fromMe: false`` filters nothing (contract, section 4)."""
_DELETE = Schema(("id", "fromMe", "remoteJid"), {"id": Field((str,)), "fromMe": Field((bool,))})


def _where(body: Any) -> dict[str, Any]:
    where = body.get("where") if isinstance(body, dict) else None
    return where if isinstance(where, dict) else {}


def _seconds(text: Any) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return None


async def find_messages(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """``offset`` is the page size; the time filter applies only with both bounds (contract, section 4)."""
    where = _where(body)
    wanted = {name: value for name, value in (where.get("key") or {}).items() if name in _KEYS and value}
    window = where.get("messageTimestamp") or {}
    low, high = _seconds(window.get("gte")), _seconds(window.get("lte"))
    if low is None or high is None:
        low = high = None
    size, number = body.get("offset") or 50, body.get("page") or 1

    def matches(stored: StoredMessage) -> bool:
        key = stored.message["key"]
        return all(key.get(name) == value for name, value in wanted.items())

    page = instance.messages.page(number, size, low, high, matches if wanted else None)
    records = [stored_form(_record(stored)) for stored in page.messages]
    pages = math.ceil(page.total / size)
    return json_response({"messages": {"total": page.total, "pages": pages, "currentPage": number, "records": records}})


def _record(stored: StoredMessage) -> dict[str, Any]:
    message = stored.message
    return {
        "id": stored.row_id,
        "key": message["key"],
        "pushName": message.get("pushName"),
        "messageType": message.get("messageType"),
        "message": message["message"],
        "messageTimestamp": message["messageTimestamp"],
        "instanceId": message["instanceId"],
        "source": message.get("source"),
        "contextInfo": message.get("contextInfo"),
        "MessageUpdate": [{"status": status} for status in stored.statuses],
    }


async def find_status(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    where = _where(body)
    stored = instance.messages.get(where["id"]) if isinstance(where.get("id"), str) else None
    candidates: Iterable[StoredMessage] = instance.messages if where.get("id") is None else [stored] if stored else []
    rows = [
        _status_row(stored, position, status)
        for stored in candidates
        if where.get("remoteJid") in (None, stored.chat)
        for position, status in enumerate(stored.statuses)
    ]
    size, page = body.get("offset") or 50, body.get("page") or 1
    return json_response(rows[(page - 1) * size : page * size])


def _status_row(stored: StoredMessage, position: int, status: str) -> dict[str, Any]:
    key = stored.message["key"]
    return {
        "id": f"{stored.row_id[:-3]}{position:03d}",
        "keyId": key["id"],
        "remoteJid": key["remoteJid"],
        "fromMe": key["fromMe"],
        "participant": key.get("participant"),
        "pollUpdates": None,
        "status": status,
        "messageId": stored.row_id,
        "instanceId": stored.message["instanceId"],
    }


async def find_chats(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    wanted = _where(body).get("remoteJid")
    rows = [_chat(stored) for stored in instance.messages.chats() if wanted in (None, stored.chat)]
    skip = body.get("skip") or 0
    return json_response(rows[skip : skip + (body.get("take") or 50)])


def _chat(stored: StoredMessage) -> dict[str, Any]:
    message = stored.message
    last = {
        "id": stored.row_id,
        "key": message["key"],
        "pushName": message.get("pushName"),
        "participant": message["key"].get("participant"),
        "messageType": message.get("messageType"),
        "message": message["message"],
        "contextInfo": message.get("contextInfo"),
        "source": message.get("source"),
        "messageTimestamp": message["messageTimestamp"],
        "instanceId": message["instanceId"],
        "sessionId": None,
        "status": message.get("status"),
    }
    return {
        "id": stored.row_id,
        "remoteJid": stored.chat,
        "pushName": None,
        "profilePicUrl": None,
        "updatedAt": iso_now(),
        "windowStart": None,
        "windowExpires": None,
        "windowActive": False,
        "lastMessage": last,
        "unreadCount": None,
        "isSaved": True,
    }


async def find_contacts(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    wanted = _where(body).get("remoteJid")
    rows = []
    for jid, (row, name, created) in instance.contacts.items():
        if wanted in (None, jid):
            is_group = jid.endswith("@g.us")
            rows.append(
                {
                    "id": row,
                    "remoteJid": jid,
                    "pushName": name,
                    "profilePicUrl": None,
                    "createdAt": created,
                    "updatedAt": created,
                    "instanceId": instance.id,
                    "isGroup": is_group,
                    "isSaved": True,
                    "type": "group" if is_group else "contact",
                }
            )
    return json_response(rows)


async def whatsapp_numbers(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """Groups come first, then people, not in the order of the request. Any error is a bare ``{}``."""
    numbers = [str(number) for number in _NUMBERS.check(body)["numbers"]]
    try:
        check_socket(instance)
        server.ledger.questions.append((instance.name, "numbers", tuple(numbers)))
        numbers.sort(key=lambda number: 0 if number.endswith("@g.us") else 2 if number.endswith("@lid") else 1)
        return json_response([_number_row(server, number) for number in numbers])
    except (ApiError, TimeoutError):
        return json_response({}, 400)


def _number_row(server: ServerState, number: str) -> dict[str, Any]:
    recipient = look_up(server, number)
    row: dict[str, Any] = {
        "jid": recipient.jid if recipient else create_jid(number),
        "exists": recipient is not None,
        "number": number,
    }
    name = server.numbers.names.get(number)
    if name is not None:
        row["name"] = name
    if number.endswith("@lid"):
        row["lid"] = "lid"
    return row


async def fetch_picture(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """Whatever happens, an answer without a URL: also without a connection, and for who hides the picture."""
    jid = create_jid(str(body.get("number", "")))
    url = server.numbers.pictures.get(jid) if instance.socket == "alive" else None
    server.ledger.questions.append((instance.name, "picture", (jid,)))
    return json_response({"wuid": jid, "profilePictureUrl": url})


async def mark_read(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """Keys of @lid chats are ignored; the response is the same."""
    keys = [key for key in _READ.check(body)["readMessages"] if isinstance(key, dict)]
    if instance.socket == "never":
        message = "TypeError: Cannot read properties of undefined (reading 'readMessages')"
        raise ApiError(500, ["Read messages fail", message])
    for key in keys:
        jid = str(key.get("remoteJid", ""))
        if jid.endswith(("@s.whatsapp.net", "@g.us")) and isinstance(key.get("id"), str):
            server.ledger.reads.append(ReadReceipt(instance.name, key["id"], jid, time.time()))
    return json_response({"message": "Read messages", "read": "success"}, 201)


async def update_message(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """An edit is a separate message that names the edited one; the row gets the new text and the time.

    As 2.3.7 and 2.4: texts, pictures and videos alone, under the JID that the row has; the age is not checked.
    """
    body = _EDIT.check(body)
    found = instance.messages.get(str(body["key"].get("id")))
    if found is None or found.message.get("messageType") not in _EDITABLE:
        raise ApiError(400, "Message not compatible")
    if found.message["key"]["remoteJid"] != create_jid(body["number"]):
        raise ApiError(400, "RemoteJid does not match")
    check_socket(instance)
    server.ledger.changes.append((instance.name, body["key"]["id"], body["text"]))
    protocol = {
        "key": body["key"],
        "type": "MESSAGE_EDIT",
        "editedMessage": {"extendedTextMessage": {"text": body["text"]}},
        "timestampMs": str(int(time.time() * 1000)),
    }
    stored = instance.messages.get(str(body["key"].get("id")))
    if stored is not None:
        content = dict(stored.message["message"] or {})
        kind = stored.message.get("messageType")
        if kind in ("conversation", "extendedTextMessage"):
            content["conversation"] = body["text"]
        else:
            content[kind] = {**content.get(kind, {}), "caption": body["text"]}
        instance.messages.change(body["key"]["id"], content, int(time.time()))
        stored.statuses.append("EDITED")
    server.fire(instance, "send.message.update", protocol)
    return json_response(_protocol_response(server, create_jid(body["number"]), protocol))


async def delete_message(server: ServerState, instance: Instance, request: Request, body: Any) -> Response:
    """The row stays, and its key says that it is deleted (DATABASE_DELETE_MESSAGE)."""
    body = _DELETE.check(body)
    try:
        check_socket(instance)
    except ApiError as error:
        raise ApiError(500, ["Error while deleting message for everyone", str(error.message)]) from None
    server.ledger.changes.append((instance.name, body["id"], None))
    key = {"remoteJid": body["remoteJid"], "fromMe": body["fromMe"], "id": body["id"]}
    stored = instance.messages.get(body["id"])
    if stored is not None:
        stored.message = {**stored.message, "key": {**stored.message["key"], "deleted": True}}
        stored.statuses.append("DELETED")
        server.fire(instance, "messages.delete", {**stored.message, "id": stored.row_id, "status": "DELETED"})
    return json_response(_protocol_response(server, body["remoteJid"], {"key": key, "type": "REVOKE"}), 201)


def _protocol_response(server: ServerState, jid: str, protocol: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": {"remoteJid": jid, "fromMe": True, "id": message_id(server.rng)},
        "message": {"protocolMessage": protocol},
        "messageTimestamp": str(int(time.time())),
        "status": "PENDING",
    }
