"""Reads Evolution's answers into frozen values; any other shape is a ``BadAnswer``. No I/O.

Version 1.x differs in small ways (``hash`` is an object, instances are wrapped); both are understood.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Unusable
from zapline.evolution.client.failures import BadAnswer
from zapline.evolution.webhooks import envelope
from zapline.evolution.webhooks.json_fields import external_id, short_text


@dataclass(frozen=True, slots=True)
class ConnectResponse:
    """``code`` None with ``count`` 0: no code yet. ``state`` is ``open`` where the line is connected."""

    code: str | None
    pairing_code: str | None
    count: int
    state: str | None


@dataclass(frozen=True, slots=True)
class CreatedInstance:
    name: str
    instance_id: str | None
    state: str | None
    token: str | None = field(repr=False)
    """The instance's own key."""
    qr: ConnectResponse | None


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """``state`` is Evolution's database column, which lags; ``connection_state`` tells the truth."""

    name: str
    instance_id: str | None
    state: str | None
    owner_jid: str | None = field(repr=False)
    profile_name: str | None = field(repr=False)
    disconnection_code: int | None
    disconnection_at: str | None


@dataclass(frozen=True, slots=True)
class WebhookRegistration:
    """What we ask Evolution to call. The URL and the headers may hold a secret, so neither is printed."""

    url: str = field(repr=False)
    events: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def as_json(self) -> dict[str, Any]:
        """Media stays out of webhooks, and one URL takes all events (contract, section 3, point 10)."""
        return {
            "enabled": True,
            "url": self.url,
            "events": list(self.events),
            "headers": dict(self.headers),
            "base64": False,
            "byEvents": False,
        }


@dataclass(frozen=True, slots=True)
class RegisteredWebhook:
    url: str = field(repr=False)
    enabled: bool
    events: tuple[str, ...]
    headers: Mapping[str, str] = field(repr=False)
    base64: bool
    by_events: bool


@dataclass(frozen=True, slots=True)
class MessagePage:
    """``records`` are raw rows, newest first, for the payload parser; ``page`` counts from 1."""

    total: int
    pages: int
    page: int
    records: tuple[Mapping[str, Any], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SentMessage:
    """``remote_jid`` may name the chat otherwise than it was addressed: a ninth digit less, a LID."""

    external_id: ExternalId
    remote_jid: str | None


@dataclass(frozen=True, slots=True)
class MediaContent:
    mimetype: str | None
    file_name: str | None
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    version: str | None
    client_name: str | None


def decode_json(body: bytes, status: int) -> Any:
    """The JSON value of an answer. Raises ``BadAnswer`` for HTML and other text.

    As lenient as with webhooks: half an emoji in one message must not cost a page of them, nor a send its id.
    """
    try:
        return envelope.decode(body)
    except (envelope.NotJson, envelope.TooDeep) as exc:
        raise BadAnswer(f"not JSON ({len(body)} bytes)", status=status) from exc


def parse_connect(answer: Any) -> ConnectResponse:
    """Of ``connect``, and of ``qrcode`` in the answer of ``create``."""
    answer = _mapping(answer, "connect")
    instance = answer.get("instance")
    state = _text(instance.get("state")) if isinstance(instance, dict) else None
    count = answer.get("count")
    return ConnectResponse(
        code=_text(answer.get("code")),
        pairing_code=_text(answer.get("pairingCode")),
        count=count if isinstance(count, int) else 0,
        state=state,
    )


def parse_created_instance(answer: Any) -> CreatedInstance:
    answer = _mapping(answer, "create")
    instance = _mapping(answer.get("instance"), "create: instance")
    token = answer.get("hash")
    if isinstance(token, dict):
        token = token.get("apikey")
    qr = answer.get("qrcode")
    return CreatedInstance(
        name=_required(instance.get("instanceName"), "create: instanceName"),
        instance_id=_text(instance.get("instanceId")),
        state=_text(instance.get("status")),
        token=_text(token),
        qr=parse_connect(qr) if isinstance(qr, dict) else None,
    )


def parse_connection_state(answer: Any) -> str:
    answer = _mapping(answer, "connectionState")
    instance = answer.get("instance")
    return _required((instance if isinstance(instance, dict) else answer).get("state"), "connectionState: state")


def parse_instances(answer: Any) -> list[InstanceInfo]:
    rows = answer if isinstance(answer, list) else [answer]
    return [_read_instance(row) for row in rows]


def _read_instance(row: Any) -> InstanceInfo:
    row = _mapping(row, "fetchInstances")
    wrapped = row.get("instance")
    if isinstance(wrapped, dict):
        row = wrapped
    code = row.get("disconnectionReasonCode")
    return InstanceInfo(
        name=_required(row.get("name") or row.get("instanceName"), "fetchInstances: name"),
        instance_id=_text(row.get("id")) or _text(row.get("instanceId")),
        state=_text(row.get("connectionStatus")) or _text(row.get("status")),
        owner_jid=_text(row.get("ownerJid")) or _text(row.get("owner")),
        profile_name=_text(row.get("profileName")),
        disconnection_code=code if isinstance(code, int) else None,
        disconnection_at=_text(row.get("disconnectionAt")),
    )


def parse_registered_webhook(answer: Any) -> RegisteredWebhook | None:
    """``null`` where none was ever set; 1.x wraps the row in ``webhook``."""
    if answer is None:
        return None
    row = _mapping(answer, "webhook")
    if isinstance(row.get("webhook"), dict):
        row = row["webhook"]
    headers, events = row.get("headers"), row.get("events")
    return RegisteredWebhook(
        url=_required(row.get("url"), "webhook: url"),
        enabled=row.get("enabled") is not False,
        events=tuple(name for name in events if isinstance(name, str)) if isinstance(events, list) else (),
        headers={str(k): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {},
        base64=row.get("webhookBase64") is True or row.get("webhook_base64") is True,
        by_events=row.get("webhookByEvents") is True or row.get("webhook_by_events") is True,
    )


def parse_message_page(answer: Any) -> MessagePage:
    page = _mapping(_mapping(answer, "findMessages").get("messages"), "findMessages: messages")
    records = page.get("records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise BadAnswer("findMessages: records")
    return MessagePage(
        total=_count(page.get("total"), "findMessages: total"),
        pages=_count(page.get("pages"), "findMessages: pages"),
        page=_count(page.get("currentPage"), "findMessages: currentPage"),
        records=tuple(records),
    )


def parse_sent_message(answer: Any) -> SentMessage:
    """Of every send. Evolution took the message, so a key that cannot be read leaves it uncertain."""
    key = _mapping(_mapping(answer, "send").get("key"), "send: key")
    identity = external_id(key.get("id"))
    if isinstance(identity, Unusable):
        raise BadAnswer(f"send: {identity.reason}")
    return SentMessage(identity, _text(key.get("remoteJid")))


def parse_media(answer: Any) -> MediaContent:
    """Of ``getBase64FromMediaMessage``; decodes the file, which takes long for a large one."""
    answer = _mapping(answer, "media")
    try:
        data = base64.b64decode(_required(answer.get("base64"), "media: base64"), validate=True)
    except ValueError:
        raise BadAnswer("media: not base64") from None
    return MediaContent(short_text(answer.get("mimetype"), 200), short_text(answer.get("fileName"), 500), data)


def parse_server_info(answer: Any) -> ServerInfo:
    answer = _mapping(answer, "root")
    return ServerInfo(version=_text(answer.get("version")), client_name=_text(answer.get("clientName")))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadAnswer(f"{where}: not an object")
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _required(value: Any, where: str) -> str:
    text = _text(value)
    if text is None:
        raise BadAnswer(f"{where}: missing")
    return text


def _count(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadAnswer(f"{where}: not a number")
    return value
