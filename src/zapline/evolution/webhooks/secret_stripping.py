"""Removes the API key and our secret webhook path from a body before it is stored."""

import json
import re

import msgspec

from zapline.evolution.webhooks.envelope import REFUSED_BY_MSGSPEC, decode_or_none


class _Secrets(msgspec.Struct):
    apikey: msgspec.Raw = msgspec.Raw(b"null")
    destination: msgspec.Raw = msgspec.Raw(b"null")


_SECRETS = msgspec.json.Decoder(_Secrets)
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
    except (*REFUSED_BY_MSGSPEC, RecursionError):
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
    told = decode_or_none(body)
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
