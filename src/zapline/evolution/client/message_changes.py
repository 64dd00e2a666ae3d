"""Asks Evolution to edit a message of ours, or to delete it for everyone; tells what its answers and failures mean.

Both calls send a message of their own to WhatsApp before they touch Evolution's store, and the whole of them stands in
one ``try`` there: an error of the server (500) proves nothing, unless it says that there was no connection.
"""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from zapline.domain.ids import ExternalId
from zapline.evolution.client.failures import EvolutionFailure, FailureVerdict, InstanceUnknown, ServerError
from zapline.evolution.client.rest_client import EvolutionClient, MessageKey

EDITED, DELETED = "send.message.update", "messages.delete"
"""The events by which Evolution tells of what it was asked to do; its answers are kept in the same form."""


class MessageChanger:
    """Changes messages of one Evolution server."""

    def __init__(self, client: EvolutionClient) -> None:
        self._client = client

    async def stored_key(self, name: str, external_id: ExternalId) -> MessageKey | None:
        """The key under which Evolution holds a message: only by the JID of it can the message be edited.

        None where its store has no such message, or answers with others. Raises ``EvolutionFailure``.
        """
        for record in (await self._client.find_message(name, external_id)).records:
            key = record.get("key")
            if isinstance(key, dict) and key.get("id") == external_id and isinstance(key.get("remoteJid"), str):
                return MessageKey(external_id, key["remoteJid"], key.get("fromMe") is True)
        return None

    async def edit(
        self, name: str, key: MessageKey, text: str, now: float, begin: Callable[[], None] | None = None
    ) -> Mapping[str, Any]:
        """Give a message a new text, once; returns the data of the event that tells of it.

        ``now`` (UTC seconds) is the time of the edit where the answer names none. ``begin`` is called right before the
        first byte is written; where it raises, nothing is changed. Raises ``EvolutionFailure``; if
        cancelled, it may have been edited.
        """
        own = {"id": key.external_id, "remoteJid": key.remote_jid, "fromMe": key.from_me}
        body = {"number": key.remote_jid, "key": own, "text": text}
        answer = await self._client.call("POST", _path("chat/updateMessage", name), body, begin=begin)
        told = _protocol_message(answer)
        at = told.get("timestampMs") or str(int(now * 1000))
        content = told.get("editedMessage")
        edited = content if isinstance(content, dict) and content else {"conversation": text}
        return {"key": own, "type": "MESSAGE_EDIT", "editedMessage": edited, "timestampMs": at}

    async def delete(self, name: str, key: MessageKey, begin: Callable[[], None] | None = None) -> Mapping[str, Any]:
        """Delete a message for everyone, once; returns the data of the event that tells of it. Raises as ``edit``."""
        own = {"id": key.external_id, "remoteJid": key.remote_jid, "fromMe": key.from_me}
        await self._client.call("DELETE", _path("chat/deleteMessageForEveryone", name), own, begin=begin)
        return {"key": own, "status": "DELETED"}


def changed_nothing(failure: EvolutionFailure) -> bool:
    """Whether a failed call has certainly changed nothing."""
    if isinstance(failure, ServerError):
        return False
    if isinstance(failure, InstanceUnknown) and "message not found" in failure.detail.lower():
        return True
    return failure.verdict is not FailureVerdict.UNCERTAIN


def event_body(event: str, instance: str, own: str | None, data: Mapping[str, Any]) -> bytes:
    """What Evolution would post of an event of its instance; ``own`` is the line's JID."""
    return msgspec.json.encode({"event": event, "instance": instance, "sender": own, "data": data})


def _protocol_message(answer: Any) -> Mapping[str, Any]:
    """The protocol message in the answer to an edit; 2.4 wraps it once more. Empty where there is none."""
    message = answer.get("message") if isinstance(answer, dict) else None
    for _ in range(2):
        if not isinstance(message, dict):
            return {}
        if isinstance(message.get("protocolMessage"), dict):
            return dict(message["protocolMessage"])
        wrapped = message.get("editedMessage")
        message = wrapped.get("message") if isinstance(wrapped, dict) else None
    return {}


def _path(endpoint: str, name: str) -> str:
    return f"/{endpoint}/{quote(name, safe='')}"
