"""Reads and cleans a webhook's envelope without looking at what it carries; intake does this per request.

One pass of msgspec over the body takes 1-2 us for 1.5 kB.
"""

import json
import re
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


class _Secrets(msgspec.Struct):
    apikey: msgspec.Raw = msgspec.Raw(b"null")
    destination: msgspec.Raw = msgspec.Raw(b"null")


_INSTANCE = msgspec.json.Decoder(_Instance)
_HEAD = msgspec.json.Decoder(_Head)
_SECRETS = msgspec.json.Decoder(_Secrets)

_LENIENT_BELOW = 1_048_576
"""Bytes from which a body that msgspec refuses is not read again by the standard library: that takes a second."""
_REFUSED = (msgspec.DecodeError, UnicodeDecodeError)

_EVENTS = (
    "application.startup",
    "instance.create",
    "instance.delete",
    "remove.instance",
    "logout.instance",
    "status.instance",
    "qrcode.updated",
    "connection.update",
    "messages.set",
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
_CANONICAL = {name.translate(_SEPARATORS): name for name in _EVENTS} | {
    # The configuration's names where they differ from the event's (contract, section 2).
    "group.update": "groups.update",
    "new.jwt.token": "new.jwt",
}


def event_name(name: Any) -> str | None:
    """``MESSAGES_UPSERT`` or ``messages-upsert`` -> ``messages.upsert``; else ``None``."""
    if not isinstance(name, str) or len(name) > 60:
        return None
    return _CANONICAL.get(name.strip().lower().translate(_SEPARATORS))


def extract_instance(body: bytes) -> str | None:
    """The instance's name; ``None`` for broken JSON, no object, or a name that is no string."""
    try:
        return _INSTANCE.decode(body).instance
    except msgspec.ValidationError:
        return None
    except _REFUSED:
        return _instance_at_head(body) if len(body) > _LENIENT_BELOW else _instance_of(_decode_leniently(body))
    except RecursionError:
        return _instance_at_head(body)


def extract_envelope(body: bytes) -> Envelope:
    """Event and instance in one pass; both ``None`` for broken JSON.

    Of a body above 1 MiB that msgspec refuses, only the first 2 KiB are read: the instance, broken or not.
    """
    try:
        head = _HEAD.decode(body)
    except msgspec.ValidationError:
        return Envelope(None, None)
    except _REFUSED:
        if len(body) > _LENIENT_BELOW:
            return Envelope(None, _instance_at_head(body))
        told = _decode_leniently(body)
        event = told.get("event") if isinstance(told, dict) else None
        return Envelope(event_name(event), _instance_of(told))
    except RecursionError:
        return Envelope(None, _instance_at_head(body))
    return Envelope(event_name(head.event), head.instance if isinstance(head.instance, str) else None)


class NotJson(ValueError):
    """The body is not JSON, in any reading."""


class TooDeep(ValueError):
    """The body's brackets are nested deeper than the interpreter allows."""


def decode(body: bytes) -> Any:
    """The body as plain objects.

    JavaScript writes half a surrogate pair as an escape, and msgspec refuses it; the standard library
    takes it, so a cut emoji does not cost a message. Raises :class:`NotJson` and :class:`TooDeep`.
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


def _decode_leniently(body: bytes) -> Any:
    try:
        return decode(body)
    except (NotJson, TooDeep):
        return None


def _instance_of(told: Any) -> str | None:
    name = told.get("instance") if isinstance(told, dict) else None
    return clean_text(name) if isinstance(name, str) else None


_HEAD_OF_DEEP = re.compile(
    rb'\s*\{(?:\s*"[\w.-]{1,40}"\s*:\s*(?:"[^"\\]{0,200}"|\w{1,20})\s*,){0,5}?'
    rb'\s*"instance"\s*:\s*"([A-Za-z0-9_.-]{1,200})"'
)


def _instance_at_head(body: bytes) -> str | None:
    """Evolution writes ``instance`` before ``data``, so a body too deep to read still has its owner."""
    found = _HEAD_OF_DEEP.match(body[:2048])
    return found.group(1).decode("ascii") if found is not None else None


# -- secrets -------------------------------------------------------------------------------------------------

_OUR_PATH = b"/webhooks/whatsapp/"
"""In ``destination`` it is followed by the unit's secret."""
_KEY = re.compile(rb'"apikey"\s*:\s*')
_DESTINATION = re.compile(rb'"destination"\s*:\s*')
_LOOSE_KEY = re.compile(rb'("apikey"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\Z)')
_LOOSE_PATH = re.compile(rb'(/webhooks/whatsapp/[^/"\\]*/)[^/"\\?]+')
_ESCAPED_LETTERS = (b"\\u006", b"\\u007")
"""Escapes of lower-case letters: a key may hide behind them."""


def strip_secrets(body: bytes) -> bytes:
    """``body`` with the top-level ``apikey`` null, and ``destination`` too where it holds our secret path.

    The same bytes come back where there is nothing to take out; else one value is cut out of the bytes.
    Only a body that names a key twice or in escapes is decoded and written again. Never raises.
    """
    keys = body.count(b'"apikey"')
    ours = _OUR_PATH in body
    hidden = _ESCAPED_LETTERS[0] in body or _ESCAPED_LETTERS[1] in body
    if not hidden and not ours:
        if keys == 0:
            return body
        if keys == 1:
            found = _KEY.search(body)
            if found is None or body.startswith(b"null", found.end()):
                return body
    try:
        secrets = _SECRETS.decode(body)
    except (*_REFUSED, RecursionError):
        return _strip_unread(body)
    if hidden or keys > 1:
        return _rewritten(body)
    stripped = body
    if keys == 1 and bytes(secrets.apikey) != b"null":
        stripped = _cut(stripped, _KEY, bytes(secrets.apikey))
    destination = bytes(secrets.destination)
    if ours and _OUR_PATH in destination:
        stripped = _cut(stripped, _DESTINATION, destination)
    return stripped


def _cut(body: bytes, key: re.Pattern[bytes], value: bytes) -> bytes:
    """The last place where ``value`` follows ``key`` set to null, if that is the envelope's own."""
    for found in reversed(list(key.finditer(body))):
        end = found.end() + len(value)
        if body[found.end() : end] == value:
            cut = body[: found.end()] + b"null" + body[end:]
            try:
                after = _SECRETS.decode(cut)
            except msgspec.DecodeError:
                continue
            if value not in (bytes(after.apikey), bytes(after.destination)):
                return cut
    return _rewritten(body)


def _rewritten(body: bytes) -> bytes:
    told = _decode_leniently(body)
    if not isinstance(told, dict):
        return _strip_unread(body)
    if "apikey" in told:
        told["apikey"] = None
    destination = told.get("destination")
    if isinstance(destination, str) and _OUR_PATH.decode() in destination:
        told["destination"] = None
    try:
        # The standard library writes lone surrogates and long numbers as they came; this path is rare.
        return json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return _strip_unread(body)


def _strip_unread(body: bytes) -> bytes:
    """What looks like a secret taken out of a body that is not JSON: it is kept as a dead letter."""
    return _LOOSE_PATH.sub(rb"\1[MASKED]", _LOOSE_KEY.sub(rb"\1null", body))
