"""Removes the API key and our secret webhook path from a body before it is stored."""

import json
import re

import msgspec

from zapline.evolution.webhooks.envelope import REFUSED_BY_MSGSPEC, decode_or_none


class _Secrets(msgspec.Struct):
    apikey: msgspec.Raw = msgspec.Raw(b"null")
    destination: msgspec.Raw = msgspec.Raw(b"null")


_SECRETS = msgspec.json.Decoder(_Secrets)
_SECRET_PATH = b"/webhooks/whatsapp/"
"""In ``destination`` the provider and the unit's secret follow it."""
_KEY = re.compile(rb'"apikey"\s*:\s*')
_DESTINATION = re.compile(rb'"destination"\s*:\s*')
_LOOSE_KEY = re.compile(rb'("apikey"\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\Z)')
_LOOSE_PATH = re.compile(rb'(/webhooks/whatsapp/[^/"\\]*/)[^/"\\?]+')
_ESCAPED_LETTERS = (b"\\u006", b"\\u007")
"""Escapes of lower-case letters, which may hide a key."""


def strip_secrets(body: bytes) -> bytes:
    """``body`` with a null top-level ``apikey``, and ``destination`` where it holds our secret path. Never raises.

    Returns the same bytes where there is nothing to remove, else cuts one value out of the bytes. Only a body that
    names a key twice or in escapes is decoded and encoded again.
    """
    keys = body.count(b'"apikey"')
    has_path = _SECRET_PATH in body
    hidden = _ESCAPED_LETTERS[0] in body or _ESCAPED_LETTERS[1] in body
    if not hidden and not has_path:
        if keys == 0:
            return body
        if keys == 1:
            match = _KEY.search(body)
            if match is None or body.startswith(b"null", match.end()):
                return body
    try:
        secrets = _SECRETS.decode(body)
    except (*REFUSED_BY_MSGSPEC, RecursionError):
        return _strip_undecodable(body)
    if hidden or keys > 1:
        return _reencoded(body)
    stripped = body
    if keys == 1 and bytes(secrets.apikey) != b"null":
        stripped = _nulled(stripped, _KEY, bytes(secrets.apikey))
    destination = bytes(secrets.destination)
    if has_path and _SECRET_PATH in destination:
        stripped = _nulled(stripped, _DESTINATION, destination)
    return stripped


def _nulled(body: bytes, key: re.Pattern[bytes], value: bytes) -> bytes:
    """The body with ``value`` null at the last place where it follows ``key``, if that is the top-level one."""
    for match in reversed(list(key.finditer(body))):
        end = match.end() + len(value)
        if body[match.end() : end] == value:
            nulled = body[: match.end()] + b"null" + body[end:]
            try:
                after = _SECRETS.decode(nulled)
            except msgspec.DecodeError:
                continue
            if value not in (bytes(after.apikey), bytes(after.destination)):
                return nulled
    return _reencoded(body)


def _reencoded(body: bytes) -> bytes:
    decoded = decode_or_none(body)
    if not isinstance(decoded, dict):
        return _strip_undecodable(body)
    if "apikey" in decoded:
        decoded["apikey"] = None
    destination = decoded.get("destination")
    if isinstance(destination, str) and _SECRET_PATH.decode() in destination:
        decoded["destination"] = None
    try:
        # The standard library keeps lone surrogates and long numbers; this path is rare.
        return json.dumps(decoded, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return _strip_undecodable(body)


def _strip_undecodable(body: bytes) -> bytes:
    """A body that is not JSON, stored as a dead letter, without anything that looks like a secret."""
    return _LOOSE_PATH.sub(rb"\1[MASKED]", _LOOSE_KEY.sub(rb"\1null", body))
