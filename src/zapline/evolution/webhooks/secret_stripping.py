"""Removes API keys, tokens and our secret webhook path from a body before it is stored."""

import json
import re
from typing import Any

from zapline.evolution.webhooks.envelope import decode_or_none

_NAMES = frozenset(
    {
        "apikey",
        "globalapikey",
        "instanceapikey",
        "xapikey",
        "token",
        "instancetoken",
        "accesstoken",
        "accesstokenwabusiness",
        "authtoken",
        "bearertoken",
        "webhooktoken",
        "refreshtoken",
        "authorization",
        "jwt",
        "jwtkey",
        "password",
        "secret",
        "clientsecret",
        "apisecret",
    }
)
"""Keys whose values are never stored, wherever they stand: in lower case, without ``_`` and ``-``. Nothing reads them;
``messageSecret`` and the like are other words."""
_ANYWHERE = (b'pikey"', b'piKey"', b'oken"')
_LONGEST_NAME = 40
_OUTSIDE_DATA = (b'pi_key"', b'pi-key"', b'PIKEY"', b'OKEN"', b"oken_", b'orization"', b'assword"', b'"jwt', b'ecret"')
"""How those names are spelled at their ends: to search for each costs less than one expression for all. Names that
were never seen inside ``data`` are searched outside it."""
_USUAL_END = b'"apikey":null}'
_COLON = re.compile(rb"\s*:\s*")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(rb"-?\d[\d.eE+-]*")
_OUR_PATH = b"/webhooks/whatsapp/"
"""In ``destination`` the provider and the unit's secret follow it."""
_DESTINATION_KEY = b'"destination"'
"""Found only where it is a whole string: inside of a text a backslash stands before each quote."""
_DESTINATION = re.compile(rb'"destination"\s*:\s*("(?:[^"\\]|\\.)*")')
_LOOSE_KEY = re.compile(
    rb'("[A-Za-z_-]{0,20}(?:api[_-]?key|token|authorization|password|jwt|jwt_key|secret)"\s*:\s*)'
    rb'"(?:[^"\\]|\\.)*(?:"|\Z)',
    re.IGNORECASE,
)
_LOOSE_PATH = re.compile(rb'(/webhooks/whatsapp/[^/"\\]*/)[^/"\\?]+')
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
"""An escape of an ASCII letter, which may hide a key."""


class _NotPlain(Exception):
    """A credential is an array or an object, or the body is no JSON there."""


def strip_secrets(body: bytes) -> bytes:
    """``body`` with null for every credential, and for ``destination`` where it holds our secret path. Never raises.

    Returns the same bytes where there is nothing to remove, else cuts the values out of the bytes. Only a body whose
    credential is an object, or that escapes letters, is decoded and encoded again.
    """
    if b"\\" in body and b"\\u00" in body and _ESCAPED_LETTER.search(body) is not None:
        return _reencoded(body)
    try:
        spans = _credentials(body)
    except _NotPlain:
        return _reencoded(body)
    at = body.find(_DESTINATION_KEY) if _OUR_PATH in body else -1
    while at >= 0:
        if _begins_key(body, at):
            match = _DESTINATION.match(body, at)
            if match is None:
                return _reencoded(body)
            if _OUR_PATH in match[1]:
                spans.append(match.span(1))
        at = body.find(_DESTINATION_KEY, at + 1)
    for start, end in sorted(spans, reverse=True):
        body = body[:start] + b"null" + body[end:]
    return body


def _credentials(body: bytes) -> list[tuple[int, int]]:
    """Where the values of credentials stand. Raises _NotPlain."""
    head, tail = body.find(b'"data"'), body.rfind(b"}", 0, len(body) - 1)
    outside = body if head < 0 or tail < head else body[:head] + body[tail:]
    searched = body[: -len(_USUAL_END)] if body.endswith(_USUAL_END) else body
    spans: list[tuple[int, int]] = []
    for end in _ANYWHERE:
        at = searched.rfind(end)
        if at >= 0:
            _add_values(body, end, at, spans)
    for end in _OUTSIDE_DATA:
        if end in outside:
            _add_values(body, end, body.rfind(end), spans)
    return spans


def _add_values(body: bytes, end: bytes, at: int, spans: list[tuple[int, int]]) -> None:
    """Add the values of keys with this end, the last of which is at ``at``. A quote after a brace or a comma begins a
    key: inside a text a backslash stands before it. Raises _NotPlain."""
    while at >= 0:
        quote = body.find(b'"', at + 1, at + _LONGEST_NAME)
        open_ = body.rfind(b'"', max(0, at - _LONGEST_NAME), at + 1)
        if open_ >= 0 and quote >= 0 and _is_name(body[open_ + 1 : quote]) and _begins_key(body, open_):
            colon = _COLON.match(body, quote + 1)
            span = _value(body, colon.end()) if colon is not None else None
            if span is not None:
                spans.append(span)
        at = body.rfind(end, 0, at)


def _is_name(raw: bytes) -> bool:
    return raw.lower().replace(b"_", b"").replace(b"-", b"").decode("latin-1") in _NAMES


def _begins_key(body: bytes, quote: int) -> bool:
    before = quote - 1
    while before >= 0 and body[before] in b" \t\r\n":
        before -= 1
    return before >= 0 and body[before] in b"{,"


def _value(body: bytes, start: int) -> tuple[int, int] | None:
    """The span of a string or a number; None for null, true and false. Raises _NotPlain."""
    first = body[start : start + 1]
    if first in (b"n", b"t", b"f"):
        return None
    match = (_STRING if first == b'"' else _NUMBER).match(body, start)
    if match is None:
        raise _NotPlain
    return match.span()


def _reencoded(body: bytes) -> bytes:
    decoded = decode_or_none(body)
    if not isinstance(decoded, dict):
        return _strip_undecodable(body)
    try:
        # The standard library keeps lone surrogates and long numbers; this path is rare.
        return json.dumps(_cleaned(decoded), allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, RecursionError):
        return _strip_undecodable(body)


def _cleaned(value: Any) -> Any:
    if isinstance(value, list):
        return [_cleaned(element) for element in value]
    if not isinstance(value, dict):
        return value
    return {name: None if _holds_secret(name, inner) else _cleaned(inner) for name, inner in value.items()}


def _holds_secret(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if name == "destination":
        return isinstance(value, str) and _OUR_PATH.decode() in value
    return name.lower().replace("_", "").replace("-", "") in _NAMES


def _strip_undecodable(body: bytes) -> bytes:
    """A body that is not JSON, stored as a dead letter, without anything that looks like a secret."""
    return _LOOSE_PATH.sub(rb"\1[MASKED]", _LOOSE_KEY.sub(rb"\1null", body))
