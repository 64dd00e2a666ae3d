"""Answers the chat endpoints: reading back messages, chats, contacts and statuses, edits and deletions."""

import math
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from zapline.sandbox.simulator.endpoints.messages import check_socket, create_jid, look_up
from zapline.sandbox.simulator.http.http_server import Answer, Request
from zapline.sandbox.simulator.http.responses import Field, Refusal, Schema, answer
from zapline.sandbox.simulator.state.instances import Instance, iso_now, message_id
from zapline.sandbox.simulator.state.ledger import Read
from zapline.sandbox.simulator.state.message_store import Stored
from zapline.sandbox.simulator.state.world import World

_NUMBERS = Schema(("numbers",), {"numbers": Field((list,))})
_READ = Schema(("readMessages",), {"readMessages": Field((list,))})
_EDIT = Schema(("number", "key", "text"), {"key": Field((dict,)), "text": Field((str,))})
_KEYS = ("id", "remoteJid", "remoteJidAlt", "participant", "fromMe")
"""What findMessages filters by; ``fromMe: false`` filters nothing (contract, section 4)."""
_DELETE = Schema(("id", "fromMe", "remoteJid"), {"id": Field((str,)), "fromMe": Field((bool,))})


def _where(body: Any) -> dict[str, Any]:
    where = body.get("where") if isinstance(body, dict) else None
    return where if isinstance(where, dict) else {}


def _seconds(text: Any) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except ValueError:
        return None


async def find_messages(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    """``offset`` is the page size; the time filter counts only with both ends (contract, section 4)."""
    where = _where(body)
    wanted = {name: value for name, value in (where.get("key") or {}).items() if name in _KEYS and value}
    window = where.get("messageTimestamp") or {}
    low, high = _seconds(window.get("gte")), _seconds(window.get("lte"))
    if low is None or high is None:
        low = high = None
    size, number = body.get("offset") or 50, body.get("page") or 1

    def fits(stored: Stored) -> bool:
        key = stored.message["key"]
        return all(key.get(name) == value for name, value in wanted.items())

    found = instance.messages.page(number, size, low, high, fits if wanted else None)
    records = [_record(stored) for stored in found.found]
    pages = math.ceil(found.total / size)
    return answer({"messages": {"total": found.total, "pages": pages, "currentPage": number, "records": records}})


def _record(stored: Stored) -> dict[str, Any]:
    message = stored.message
    return {
        "id": stored.row_id,
        "key": message["key"],
        "pushName": message.get("pushName"),
        "messageType": message["messageType"],
        "message": message["message"],
        "messageTimestamp": message["messageTimestamp"],
        "instanceId": message["instanceId"],
        "source": message.get("source"),
        "contextInfo": message.get("contextInfo"),
        "MessageUpdate": [{"status": status} for status in stored.statuses],
    }


async def find_status(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    where = _where(body)
    known = instance.messages.get(where["id"]) if isinstance(where.get("id"), str) else None
    candidates: Iterable[Stored] = instance.messages if where.get("id") is None else [known] if known else []
    rows = [
        _status_row(stored, position, status)
        for stored in candidates
        if where.get("remoteJid") in (None, stored.chat)
        for position, status in enumerate(stored.statuses)
    ]
    size, page = body.get("offset") or 50, body.get("page") or 1
    return answer(rows[(page - 1) * size : page * size])


def _status_row(stored: Stored, position: int, status: str) -> dict[str, Any]:
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


async def find_chats(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    wanted = _where(body).get("remoteJid")
    rows = [_chat(stored) for stored in instance.messages.chats() if wanted in (None, stored.chat)]
    skip = body.get("skip") or 0
    return answer(rows[skip : skip + (body.get("take") or 50)])


def _chat(stored: Stored) -> dict[str, Any]:
    message = stored.message
    last = {
        "id": stored.row_id,
        "key": message["key"],
        "pushName": message.get("pushName"),
        "participant": message["key"].get("participant"),
        "messageType": message["messageType"],
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


async def find_contacts(world: World, instance: Instance, request: Request, body: Any) -> Answer:
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
    return answer(rows)


async def whatsapp_numbers(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    """Groups come first, then people: not the order of the question. Any trouble is a bare ``{}``."""
    numbers = [str(number) for number in _NUMBERS.check(body)["numbers"]]
    try:
        check_socket(instance)
        numbers.sort(key=lambda number: 0 if number.endswith("@g.us") else 2 if number.endswith("@lid") else 1)
        return answer([_known(world, number) for number in numbers])
    except (Refusal, TimeoutError):
        return answer({}, 400)


def _known(world: World, number: str) -> dict[str, Any]:
    found = look_up(world, number)
    row: dict[str, Any] = {
        "jid": found.jid if found else create_jid(number),
        "exists": found is not None,
        "number": number,
    }
    name = world.phones.names.get(number)
    if name is not None:
        row["name"] = name
    if number.endswith("@lid"):
        row["lid"] = "lid"
    return row


async def mark_read(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    """Keys of @lid chats are silently dropped, and the answer is the same."""
    keys = [key for key in _READ.check(body)["readMessages"] if isinstance(key, dict)]
    if instance.socket == "never":
        words = "TypeError: Cannot read properties of undefined (reading 'readMessages')"
        raise Refusal(500, ["Read messages fail", words])
    for key in keys:
        jid = str(key.get("remoteJid", ""))
        if jid.endswith(("@s.whatsapp.net", "@g.us")) and isinstance(key.get("id"), str):
            world.ledger.reads.append(Read(instance.name, key["id"], jid, time.time()))
    return answer({"message": "Read messages", "read": "success"}, 201)


async def update_message(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    """An edit is a message of its own that names the edited one."""
    body = _EDIT.check(body)
    check_socket(instance)
    protocol = {
        "key": body["key"],
        "type": "MESSAGE_EDIT",
        "editedMessage": {"extendedTextMessage": {"text": body["text"]}},
        "timestampMs": str(int(time.time() * 1000)),
    }
    world.fire(instance, "send.message.update", protocol)
    return answer(_protocol_answer(world, create_jid(body["number"]), protocol))


async def delete_message(world: World, instance: Instance, request: Request, body: Any) -> Answer:
    body = _DELETE.check(body)
    check_socket(instance)
    key = {"remoteJid": body["remoteJid"], "fromMe": body["fromMe"], "id": body["id"]}
    stored = instance.messages.get(body["id"])
    if stored is not None:
        world.fire(instance, "messages.delete", {**stored.message, "id": stored.row_id, "status": "DELETED"})
    return answer(_protocol_answer(world, body["remoteJid"], {"key": key, "type": "REVOKE"}), 201)


def _protocol_answer(world: World, jid: str, protocol: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": {"remoteJid": jid, "fromMe": True, "id": message_id(world.chance)},
        "message": {"protocolMessage": protocol},
        "messageTimestamp": str(int(time.time())),
        "status": "PENDING",
    }
