"""Fires the ``contacts.*`` events that follow each message, and those of a history that a phone hands over."""

from collections.abc import Sequence
from typing import Any

from zapline.sandbox.simulator.state.instances import Instance, iso_now, row_id
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import is_2_4


def report_contact(server: ServerState, instance: Instance, data: dict[str, Any]) -> None:
    """Report whose chat a message belongs to: by an object, which names a group after its sender, and by an array
    without a name."""
    key = data["key"]
    jid = key["remoteJid"]
    if jid == "status@broadcast":
        return
    known = jid in instance.contacts
    name = "" if key.get("fromMe") else data.get("pushName")
    contact = {"remoteJid": jid, "pushName": name, "profilePicUrl": None, "instanceId": instance.id}
    event = "contacts.update" if known else "contacts.upsert"
    server.fire(
        instance, event, {field: value for field, value in contact.items() if field != "pushName" or value is not None}
    )
    instance.contacts.setdefault(jid, (row_id(server.rng), name or None, iso_now()))
    if key.get("fromMe") or not data.get("pushName"):
        return
    author = key.get("participant") or jid
    unnamed = {"remoteJid": author, "profilePicUrl": None, "instanceId": instance.id}
    server.fire(instance, "contacts.update", [unnamed])


def hand_over_history(
    server: ServerState,
    instance: Instance,
    chats: Sequence[dict[str, Any]] = (),
    contacts: Sequence[dict[str, Any]] = (),
    messages: Sequence[dict[str, Any]] = (),
) -> None:
    """Report the history of a phone that was just linked: ``chats`` and ``contacts`` are ``{id, name, lid}``, and
    ``messages`` rows as those of messages.upsert."""

    def handle() -> None:
        new = is_2_4(server.behaviour.version)
        rows = [
            {
                "remoteJid": chat["id"],
                **({"remoteLid": chat.get("lid")} if new else {}),
                "instanceId": instance.id,
                "name": chat.get("name"),
            }
            for chat in chats
        ]
        server.fire(instance, "chats.set", rows)
        server.fire(instance, "messages.set", list(messages))
        if new:
            counts = {"messageCount": len(messages), "chatCount": len(chats), "contactCount": len(contacts)}
            server.fire(instance, "messaging-history.set", {**counts, "progress": 100})
        named = [
            {
                "remoteJid": contact["id"],
                "pushName": contact.get("name"),
                "profilePicUrl": None,
                "instanceId": instance.id,
            }
            for contact in contacts
        ]
        server.fire(instance, "contacts.upsert", named)
        server.fire(instance, "contacts.update", named)

    server.from_phone(instance, handle)
