"""Simulates edits and deletions by a phone: what Evolution stores and posts of them, and in what order.

As 2.3.7 does it: ``messages.edited`` first, which the instance's queue waits for; then the row, which gets the new
content (a deletion: none) and the time; then ``messages.update`` or ``messages.delete``, if the row is known. Before
2.3.7 the update of an edit is passed over, or looks like a deletion: see ``server_versions``.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import trio

from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.message_store import StoredMessage
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import (
    cut_jid,
    status_of_deletions,
    status_of_edits,
    stores_deletions,
)


def edit(
    server: ServerState,
    instance: Instance,
    external_id: str,
    text: str = "",
    *,
    message: dict[str, Any] | None = None,
    sender: str = "5511999990001",
    from_me: bool = False,
    at: float | None = None,
) -> None:
    """Edit a message; ``message`` replaces the text, as for a caption. ``at``: seconds since the epoch.

    ``sender`` and ``from_me`` are those of a message that is not stored.
    """
    content = message if message is not None else {"conversation": text}
    edited_at = at if at is not None else time.time()

    def report(stored: StoredMessage) -> None:
        key, version = stored.message["key"], server.behaviour.version
        data = {"keyId": external_id, "remoteJid": cut_jid(version, key["remoteJid"]), "fromMe": key["fromMe"]}
        if "participant" in key:
            data["participant"] = cut_jid(version, key["participant"])
        status = status_of_edits(version)  # the update has none of its own
        if status is None:
            return
        data |= {"status": status, "instanceId": instance.id}
        data |= {"message": {"editedMessage": {"message": content}}} if status != "DELETED" else {}
        server.fire(instance, "messages.update", data | {"messageId": stored.row_id})
        stored.statuses.append(status)

    protocol = {"type": "MESSAGE_EDIT", "editedMessage": content, "timestampMs": str(int(edited_at * 1000))}
    _submit(server, instance, (external_id, sender, from_me), protocol, int(edited_at), report)


def revoke(
    server: ServerState,
    instance: Instance,
    external_id: str,
    *,
    sender: str = "5511999990001",
    from_me: bool = False,
    at: float | None = None,
) -> None:
    """Delete a message for everyone. The arguments are those of :func:`edit`."""

    def report(stored: StoredMessage) -> None:
        status = status_of_deletions(server.behaviour.version)
        told = {"status": "DELETED"} if status != "DELETED" else {}
        server.fire(instance, "messages.delete", {**stored.message["key"], **told})
        stored.statuses.append(status)

    revoked_at = int(at if at is not None else time.time())
    _submit(server, instance, (external_id, sender, from_me), {"type": "REVOKE"}, revoked_at, report)


def _submit(
    server: ServerState,
    instance: Instance,
    target: tuple[str, str, bool],
    protocol: dict[str, Any],
    at: int,
    report: Callable[[StoredMessage], None],
) -> None:
    external_id, sender, from_me = target
    content = protocol.get("editedMessage")

    def handle() -> Iterator[trio.Event]:
        stored = instance.messages.get(external_id)
        jid = stored.chat if stored is not None else sender if "@" in sender else f"{sender}@s.whatsapp.net"
        mine = bool(stored.message["key"].get("fromMe")) if stored is not None else from_me
        key = {"remoteJid": jid, "fromMe": mine, "id": external_id}
        noticed = content is not None or stores_deletions(server.behaviour.version)
        delivered = server.fire(instance, "messages.edited", {"key": key, **protocol}) if noticed else None
        if delivered is not None:
            yield delivered
        if noticed:
            stored = instance.messages.change(external_id, content, at)
            if stored is not None:
                stored.statuses.append("EDITED")
        if stored is not None:
            report(stored)

    server.from_phone(instance, handle)
