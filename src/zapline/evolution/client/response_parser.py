"""Parses Evolution's responses into frozen values; any other shape raises ``BadAnswer``. No I/O.

Version 1.x differs in small ways (``hash`` is an object, instances are wrapped); both forms are accepted.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.ids import ExternalId
from zapline.domain.inbound_events import Unusable
from zapline.domain.text import Sentence
from zapline.evolution.client.failures import BadAnswer
from zapline.evolution.webhooks import envelope
from zapline.evolution.webhooks.json_fields import LONGEST_NAME, external_id, short_text


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
    """``state`` is Evolution's database column, which lags behind; ``connection_state`` is accurate."""

    name: str
    instance_id: str | None
    state: str | None
    owner_jid: str | None = field(repr=False)
    profile_name: str | None = field(repr=False)
    disconnection_code: int | None
    disconnection_at: str | None


@dataclass(frozen=True, slots=True)
class WebhookRegistration:
    """The webhook to set. The URL and the headers may hold a secret, so neither is printed."""

    url: str = field(repr=False)
    events: tuple[str, ...]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def as_json(self) -> dict[str, Any]:
        """The request body: no media in webhooks, and one URL for all events (contract, section 3, point 10)."""
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
    """``records`` are raw rows, newest first, for ``stored_messages``; ``page`` counts from 1."""

    total: int
    pages: int
    page: int
    records: tuple[Mapping[str, Any], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class SentMessage:
    """``remote_jid`` may differ from the address of the request: without the ninth digit, or a LID."""

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
    """The JSON value of a response. Raises ``BadAnswer`` for HTML and other text.

    As lenient as for webhooks: half an emoji in one message must not cost a page of messages, nor a send its id.
    """
    try:
        return envelope.decode(body)
    except (envelope.NotJson, envelope.TooDeep) as exc:
        raise BadAnswer(Sentence("not JSON ({length} bytes)", length=len(body)), status=status) from exc


def _unexpected(name: str) -> BadAnswer:
    return BadAnswer(Sentence("{name} is not what it should be in Evolution's answer", name=name))


def _missing(name: str) -> BadAnswer:
    return BadAnswer(Sentence("{name} is missing in Evolution's answer", name=name))


def parse_connect(response: Any) -> ConnectResponse:
    """Parse the response of ``connect``, and ``qrcode`` in the response of ``create``."""
    response = _mapping(response, "connect")
    instance = response.get("instance")
    state = _text(instance.get("state")) if isinstance(instance, dict) else None
    count = response.get("count")
    return ConnectResponse(
        code=_text(response.get("code")),
        pairing_code=_text(response.get("pairingCode")),
        count=count if isinstance(count, int) else 0,
        state=state,
    )


def parse_created_instance(response: Any) -> CreatedInstance:
    response = _mapping(response, "create")
    instance = _mapping(response.get("instance"), "create: instance")
    token = response.get("hash")
    if isinstance(token, dict):
        token = token.get("apikey")
    qr = response.get("qrcode")
    return CreatedInstance(
        name=_required(instance.get("instanceName"), "create: instanceName"),
        instance_id=_text(instance.get("instanceId")),
        state=_text(instance.get("status")),
        token=_text(token),
        qr=parse_connect(qr) if isinstance(qr, dict) else None,
    )


def parse_connection_state(response: Any) -> str:
    response = _mapping(response, "connectionState")
    instance = response.get("instance")
    return _required((instance if isinstance(instance, dict) else response).get("state"), "connectionState: state")


def parse_instances(response: Any) -> list[InstanceInfo]:
    rows = response if isinstance(response, list) else [response]
    return [_parse_instance(row) for row in rows]


def _parse_instance(row: Any) -> InstanceInfo:
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


def parse_registered_webhook(response: Any) -> RegisteredWebhook | None:
    """Parse a webhook: ``null`` where none was ever set; 1.x wraps the row in ``webhook``."""
    if response is None:
        return None
    row = _mapping(response, "webhook")
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


def parse_message_page(response: Any) -> MessagePage:
    """Parse a page of findMessages; 1.x answers all records as a bare array."""
    if isinstance(response, list):
        response = {"messages": {"total": len(response), "pages": 1, "currentPage": 1, "records": response}}
    page = _mapping(_mapping(response, "findMessages").get("messages"), "findMessages.messages")
    records = page.get("records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise _unexpected("findMessages.records")
    return MessagePage(
        total=_count(page.get("total"), "findMessages.total"),
        pages=_count(page.get("pages"), "findMessages.pages"),
        page=_count(page.get("currentPage"), "findMessages.currentPage"),
        records=tuple(records),
    )


def parse_sent_message(response: Any) -> SentMessage:
    """Parse the response of a send. Evolution accepted the message, so an invalid key leaves it uncertain."""
    key = _mapping(_mapping(response, "send").get("key"), "send.key")
    identity = external_id(key.get("id"))
    if isinstance(identity, Unusable):
        raise BadAnswer(
            Sentence("{name} is not what it should be in Evolution's answer", name=f"send: {identity.reason}")
        )
    return SentMessage(identity, _text(key.get("remoteJid")))


def parse_media(response: Any) -> MediaContent:
    """Parse the response of ``getBase64FromMediaMessage``; decodes the file, which takes long for a large one."""
    response = _mapping(response, "media")
    try:
        data = base64.b64decode(_required(response.get("base64"), "media.base64"), validate=True)
    except ValueError:
        raise BadAnswer(
            Sentence("{name} is not what it should be in Evolution's answer", name="media.base64")
        ) from None
    return MediaContent(short_text(response.get("mimetype"), 200), short_text(response.get("fileName"), 500), data)


def parse_group_subject(response: Any) -> str:
    """The subject of findGroupInfos, cut and cleaned. Raises BadAnswer where there is none."""
    subject = short_text(_mapping(response, "group").get("subject"), LONGEST_NAME)
    if subject is None or not subject.strip():
        raise _missing("group.subject")
    return subject


def parse_server_info(response: Any) -> ServerInfo:
    response = _mapping(response, "root")
    return ServerInfo(version=_text(response.get("version")), client_name=_text(response.get("clientName")))


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unexpected(name)
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _required(value: Any, name: str) -> str:
    text = _text(value)
    if text is None:
        raise _missing(name)
    return text


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unexpected(name)
    return value
