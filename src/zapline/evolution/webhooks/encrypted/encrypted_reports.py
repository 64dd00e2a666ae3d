"""Reads message secrets, and the wrappers of edits, votes and event answers that are encrypted under them."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from zapline.domain.contacts.addresses import Address, resolve_address
from zapline.domain.contacts.jids import parse_jid
from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Ignored, InboundEvent, Unusable
from zapline.domain.messages.authority import Claim
from zapline.domain.messages.facts import ContactSeen, MessageKind, VoteReported
from zapline.domain.messages.message_secrets import MAX_PAYLOAD, SECRET_BYTES, EncryptedReport, SecretSeen, SecretUse
from zapline.evolution.webhooks.json_fields import JsonObject, epoch_ms, external_id, jid, obj

_NAMES = (
    *("remoteJid", "remoteJidAlt", "participant", "participantAlt", "previousRemoteJid"),
    *("senderLid", "senderPn", "participantLid", "participantPn"),
)
ENCRYPTED = frozenset({"secretEncryptedMessage", "encEventResponseMessage"})
"""Content keys that :func:`parse_encrypted` reads; votes are handed to :func:`parse_encrypted_vote`."""
_LASTING = frozenset({MessageKind.POLL, MessageKind.EVENT})
_LONGEST_BASE64 = MAX_PAYLOAD * 4 // 3 + 4

_USES: Mapping[int | str, SecretUse | str] = {
    1: SecretUse.EVENT_EDIT,
    2: SecretUse.MESSAGE_EDIT,
    3: "encrypted_schedule",
    4: SecretUse.POLL_EDIT,
    5: SecretUse.POLL_ADD_OPTION,
    "EVENT_EDIT": SecretUse.EVENT_EDIT,
    "MESSAGE_EDIT": SecretUse.MESSAGE_EDIT,
    "MESSAGE_SCHEDULE": "encrypted_schedule",
    "POLL_EDIT": SecretUse.POLL_EDIT,
    "POLL_ADD_OPTION": SecretUse.POLL_ADD_OPTION,
}
"""``secretEncType`` by number and by name -> its use, or the reason under which it is ignored."""


def read_octets(value: Any, limit: int) -> bytes | None:
    """Bytes from base64, a Buffer, an array or an object of indices; None for anything else, or above ``limit``."""
    if isinstance(value, str):
        if len(value) > _LONGEST_BASE64:
            return None
        try:
            raw = base64.b64decode(value.replace("-", "+").replace("_", "/") + "=" * (-len(value) % 4), validate=True)
        except (binascii.Error, ValueError):
            return None
        return raw if len(raw) <= limit else None
    if isinstance(value, dict):
        data = value.get("data")
        if isinstance(data, str):
            return read_octets(data, limit)
        if isinstance(data, dict | list):
            value = data
        if isinstance(value, dict):
            value = [value.get(str(index)) for index in range(len(value))] if len(value) <= limit else None
    if not isinstance(value, list) or len(value) > limit:
        return None
    return bytes(value) if all(type(octet) is int and 0 <= octet <= 255 for octet in value) else None


def parse_secret(
    data: JsonObject, holder: JsonObject, identity: ExternalId, chat: Address, kind: MessageKind
) -> SecretSeen | None:
    """The secret of a message, which stands beside its content, outside or inside its wrappers."""
    for place in (obj(data.get("message")), holder, data):
        context = place.get("messageContextInfo")
        if isinstance(context, dict) and "messageSecret" in context:
            secret = read_octets(context["messageSecret"], SECRET_BYTES)
            if secret is not None and len(secret) == SECRET_BYTES:
                return SecretSeen(identity, chat, secret, kind in _LASTING)
    return None


def parse_encrypted(
    name: str,
    value: JsonObject,
    data: JsonObject,
    identity: ExternalId,
    chat: Address,
    sender: Address | None,
    own: str | None,
) -> list[InboundEvent]:
    """Parse a wrapper of :data:`ENCRYPTED`; a kind of which nothing can be told is ignored under its name."""
    if name == "encEventResponseMessage":
        use: SecretUse | str = SecretUse.EVENT_RESPONSE
        key = obj(value.get("eventCreationMessageKey"))
    else:
        kind: Any = value.get("secretEncType")
        use = _USES.get(kind, "encrypted_unknown_kind") if type(kind) in (int, str) else "encrypted_unknown_kind"
        key = obj(value.get("targetMessageKey"))
    if not isinstance(use, SecretUse):
        return [Ignored(use)]
    at_ms = epoch_ms(data.get("messageTimestamp"))
    reports = _reports(use, key, value, data, identity, chat, sender, own, at_ms)
    if use is SecretUse.EVENT_RESPONSE and isinstance(report := reports[-1], EncryptedReport):
        # An answer is a vote for one of three options.
        by = Claim(chat, report.actor == "me", sender)
        return [VoteReported(report.external_id, report.actor, None, at_ms, by), *reports]
    return reports


def parse_encrypted_vote(
    vote: InboundEvent,
    value: JsonObject,
    data: JsonObject,
    identity: ExternalId,
    chat: Address,
    sender: Address | None,
    own: str | None,
) -> list[InboundEvent]:
    """A vote as Evolution tells it, and its ciphertext where there is one.

    2.3.7 reports a vote that it could not open as one that was taken back: it counts as unreadable until it is opened.
    """
    encrypted = obj(value.get("vote"))
    if not isinstance(vote, VoteReported) or vote.options or "encPayload" not in encrypted:
        return [vote]
    unread = VoteReported(vote.external_id, vote.actor, None, vote.at_ms, vote.by)
    key = obj(value.get("pollCreationMessageKey"))
    return [
        unread,
        *_reports(SecretUse.POLL_VOTE, key, encrypted, data, identity, chat, sender, own, vote.at_ms),
    ]


def _reports(
    use: SecretUse,
    key: JsonObject,
    encrypted: JsonObject,
    data: JsonObject,
    identity: ExternalId,
    chat: Address,
    sender: Address | None,
    own: str | None,
    at_ms: int,
) -> list[InboundEvent]:
    target = external_id(key.get("id"), "no_target_id")
    if isinstance(target, Unusable):
        return [target]
    outer = obj(data.get("key"))
    names = (
        *(key.get(field) for field in ("remoteJid", "participant", "remoteJidAlt", "participantAlt")),
        *(outer.get(field) for field in _NAMES),
        data.get("participant"),
        own,
    )
    report = EncryptedReport(
        target,
        identity,
        use,
        chat,
        outer.get("fromMe") is True,
        sender,
        people(names),
        read_octets(encrypted.get("encPayload"), MAX_PAYLOAD) or b"",
        read_octets(encrypted.get("encIv"), 128) or b"",
        at_ms,
    )
    # A body that names a LID and a phone is evidence that both are one person, as it is with a message.
    seen = [ContactSeen(known) for known in (chat, sender) if known is not None and known.phone and known.lid]
    return [*seen, report]


def people(names: tuple[Any, ...]) -> tuple[str, ...]:
    """The JIDs of people among these, without device parts, in their order."""
    found: dict[str, None] = {}
    for name in names:
        parsed = parse_jid(jid(name))
        if parsed is not None and parsed[1] in ("lid", "s.whatsapp.net"):
            found[f"{parsed[0]}@{parsed[1]}"] = None
    return tuple(found)


def own_lid(key: JsonObject, own: str | None) -> ContactSeen | None:
    """Our own number with the LID that a key of our own message names as its author's."""
    for field in ("participant", "participantAlt", "participantLid", "senderLid"):
        parsed = parse_jid(jid(key.get(field)))
        if parsed is not None and parsed[1] == "lid":
            mine = resolve_address(own, f"{parsed[0]}@lid")
            if mine is not None and mine.phone is not None and mine.lid is not None:
                return ContactSeen(mine)
    return None
