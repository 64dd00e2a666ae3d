"""Reads a webhook body's envelope (event and instance) without its data, and decodes JSON leniently.

Intake does this for each request; one pass of msgspec takes 1-2 us for 1.5 kB.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from zapline.domain.text import clean_text


class Envelope(msgspec.Struct, frozen=True):
    event: str | None
    """Canonical dotted name; ``None`` if absent or not an event of Evolution."""
    instance: str | None


class _Instance(msgspec.Struct):
    instance: str | None = None


class _Head(msgspec.Struct):
    event: Any = None
    instance: Any = None


_INSTANCE = msgspec.json.Decoder(_Instance)
_HEAD = msgspec.json.Decoder(_Head)

_LENIENT_BELOW = 1_048_576
"""Bytes up to which a body that msgspec refuses is parsed again by the standard library; above, that takes a second."""
REFUSED_BY_MSGSPEC = (msgspec.DecodeError, UnicodeDecodeError)

EVENTS = (
    "application.startup",
    "instance.create",
    "instance.delete",
    "remove.instance",
    "logout.instance",
    "status.instance",
    "qrcode.updated",
    "connection.update",
    "messages.set",
    "messaging-history.set",
    "messages.upsert",
    "messages.edited",
    "messages.update",
    "messages.delete",
    "send.message",
    "send.message.update",
    "contacts.set",
    "contacts.upsert",
    "contacts.update",
    "presence.update",
    "chats.set",
    "chats.upsert",
    "chats.update",
    "chats.delete",
    "groups.upsert",
    "groups.update",
    "group-participants.update",
    "labels.edit",
    "labels.association",
    "call",
    "typebot.start",
    "typebot.change-status",
    "new.jwt",
    "creds.update",
)
_SEPARATORS = str.maketrans("_-", "..")
_CANONICAL = {name.translate(_SEPARATORS): name for name in EVENTS} | {
    # The configuration's names where they differ from the event's (contract, section 2).
    "group.update": "groups.update",
    "new.jwt.token": "new.jwt",
}


def event_name(name: Any) -> str | None:
    """``MESSAGES_UPSERT`` or ``messages-upsert`` -> ``messages.upsert``; else ``None``."""
    if not isinstance(name, str) or len(name) > 60:
        return None
    return _CANONICAL.get(name) or _CANONICAL.get(name.strip().lower().translate(_SEPARATORS))


def extract_instance(body: bytes) -> str | None:
    """The instance's name; ``None`` for broken JSON, no object, or a name that is not a string."""
    try:
        return _INSTANCE.decode(body).instance
    except msgspec.ValidationError:
        return None
    except REFUSED_BY_MSGSPEC:
        return _instance_at_head(body) if len(body) > _LENIENT_BELOW else _instance_of(decode_or_none(body))
    except RecursionError:
        return _instance_at_head(body)


def extract_envelope(body: bytes) -> Envelope:
    """Event and instance in one pass; both ``None`` for broken JSON.

    Of a body above 1 MiB that msgspec refuses, only the instance is read, from the first 2 KiB.
    """
    try:
        head = _HEAD.decode(body)
    except msgspec.ValidationError:
        return Envelope(None, None)
    except REFUSED_BY_MSGSPEC:
        if len(body) > _LENIENT_BELOW:
            return Envelope(None, _instance_at_head(body))
        decoded = decode_or_none(body)
        event = decoded.get("event") if isinstance(decoded, dict) else None
        return Envelope(event_name(event), _instance_of(decoded))
    except RecursionError:
        return Envelope(None, _instance_at_head(body))
    return Envelope(event_name(head.event), head.instance if isinstance(head.instance, str) else None)


class NotJson(ValueError):
    """The body is not JSON for any of the parsers."""


class TooDeep(ValueError):
    """The body is nested deeper than the interpreter allows."""


def decode(body: bytes) -> Any:
    """The body as plain objects. Raises :class:`NotJson` and :class:`TooDeep`.

    JavaScript may write half a surrogate pair as an escape, which msgspec refuses and the standard library accepts; so
    a cut emoji does not cost a message.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return json.loads(body.decode(), parse_constant=_no_constant)
        except ValueError:
            raise NotJson from None
        except RecursionError:
            raise TooDeep from None
    except RecursionError:
        raise TooDeep from None


def _no_constant(name: str) -> float:
    raise ValueError(name)


def decode_or_none(body: bytes) -> Any:
    try:
        return decode(body)
    except (NotJson, TooDeep):
        return None


def _instance_of(decoded: Any) -> str | None:
    name = decoded.get("instance") if isinstance(decoded, dict) else None
    return clean_text(name) if isinstance(name, str) else None


_INSTANCE_AT_HEAD = re.compile(
    rb'\s*\{(?:\s*"[\w.-]{1,40}"\s*:\s*(?:"[^"\\]{0,200}"|\w{1,20})\s*,){0,5}?'
    rb'\s*"instance"\s*:\s*"([A-Za-z0-9_.-]{1,200})"'
)


def _instance_at_head(body: bytes) -> str | None:
    """The instance of a body that cannot be decoded: Evolution writes ``instance`` before ``data``."""
    match = _INSTANCE_AT_HEAD.match(body[:2048])
    return match.group(1).decode("ascii") if match is not None else None


_DATE_TIME = re.compile(rb'"date_time"\s*:\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)')
_QUARTER = 900_000
"""Milliseconds: every time zone differs from UTC by a multiple of a quarter of an hour."""


def emission_ms(body: bytes, received_at: float) -> int:
    """Milliseconds since the epoch; ``received_at``: UTC seconds, which is the answer for a body without a time.

    ``date_time`` is Evolution's local time with a false Z (contract, section 2), and the same in each repetition of a
    webhook. The zone is taken for the number of quarters of an hour that brings it nearest to the arrival: a webhook
    that is repeated within 7 minutes keeps its time, and a later one is at most 7 minutes from its arrival.
    """
    arrived = round(received_at * 1000)
    found = _DATE_TIME.search(body)
    if found is None:
        return arrived
    try:
        told = datetime.fromisoformat(found[1].decode()).replace(tzinfo=UTC)
    except ValueError:
        return arrived
    local = round(told.timestamp() * 1000)
    return local + round((arrived - local) / _QUARTER) * _QUARTER
