"""Redacts values for log lines: no secrets, phones or control characters, and bounded in size."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote
from uuid import UUID

from zapline.domain.privacy.masking import MASKED, Plain, is_secret_name, mask_secrets, mask_text

TEXT_LIMIT: Final = 8_000
"""Characters of one value: log lines are for reading; whole bodies are kept as dead letters."""
_MAX_MASKED: Final = 64_000
"""Longer texts are cut before masking, far enough behind TEXT_LIMIT that no partial secret is shown."""
_MAX_ITEMS: Final = 50
_MAX_DEPTH: Final = 5
_REMEMBERED: Final = 100
"""Characters: shorter texts are masked once, as units, scopes and the sentences of events."""
_WORD_LENGTH: Final = 16
"""Characters: secrets of at least this length and of word characters are looked up instead of searched for."""

_WORD = re.compile(rf"[A-Za-z0-9_\-]{{{_WORD_LENGTH},}}")
# C0, DEL, C1, line and paragraph separators, direction overrides, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]
"""JSON values, of which a log line is written."""


class Redactor:
    """Replaces the registered secrets of this process in every value.

    There may be thousands (a webhook secret per unit), so those made of word characters are looked up by their first
    characters; only the few others are searched for.
    """

    def __init__(self) -> None:
        self._word_secrets: dict[str, tuple[str, ...]] = {}
        self._other_secrets: set[str] = set()
        self._search: re.Pattern[str] | None = None
        self._cached_line = lru_cache(maxsize=4096)(self._line)

    def register(self, secret: str) -> None:
        """Replace this literal from now on, also percent-encoded, in JSON and in ``repr``.

        Texts of fewer than four characters are ignored: replacing them would make every line unreadable.
        """
        if len(secret) < 4:
            return
        if len(secret) >= _WORD_LENGTH and _WORD.fullmatch(secret):
            known = self._word_secrets.get(secret[:_WORD_LENGTH], ())
            if secret not in known:
                self._word_secrets[secret[:_WORD_LENGTH]] = tuple(sorted((*known, secret), key=len, reverse=True))
                self._cached_line.cache_clear()
            return
        if secret in self._other_secrets:
            return
        escaped = secret.replace("\\", "\\\\")
        self._other_secrets |= {secret, quote(secret, safe=""), quote(secret), escaped}
        self._other_secrets |= {escaped.replace('"', '\\"'), escaped.replace("'", "\\'")}
        longest_first = sorted(self._other_secrets, key=len, reverse=True)
        self._search = re.compile("|".join(map(re.escape, longest_first)))
        self._cached_line.cache_clear()

    def text(self, value: str) -> str:
        """One line, masked, at most ``TEXT_LIMIT`` characters."""
        return self._cached_line(value) if len(value) <= _REMEMBERED else self._line(value)

    def _line(self, value: str) -> str:
        result = self._masked(value if len(value) <= _MAX_MASKED else value[:_MAX_MASKED])
        if len(result) > TEXT_LIMIT:
            result = f"{result[:TEXT_LIMIT]}... ({len(value)} characters)"
        return result if result.isprintable() else _UNSAFE.sub(_escape, result)

    def block(self, value: str) -> str:
        """Like ``text``, but keeps its line breaks (tracebacks)."""
        if len(value) > _MAX_MASKED:
            value = value[: _MAX_MASKED // 2] + "\n...\n" + value[-_MAX_MASKED // 2 :]
        masked = self._masked(value)
        if len(masked) > 2 * TEXT_LIMIT:
            # The end of a traceback says what failed, its beginning where it was called.
            masked = masked[:TEXT_LIMIT] + "\n...\n" + masked[-TEXT_LIMIT:]
        return "\n".join(_UNSAFE.sub(_escape, line) for line in masked.split("\n"))

    def json_value(self, value: object, depth: int = 0) -> JsonValue:
        """Any value as JSON with every string masked; other types are converted by ``str``."""
        kind = type(value)
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]  # the check above is the fast one
        if kind is Plain:
            return str(value)
        if value is None or kind is bool:
            return value  # type: ignore[return-value]
        if kind is UUID:
            return str(value)
        if isinstance(value, int):
            return int(value) if abs(value) < 2**63 else self.text(str(value))
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            if depth >= _MAX_DEPTH:
                return "..."
            result: list[JsonValue] = [self.json_value(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
            return result if len(value) <= _MAX_ITEMS else [*result, f"... {len(value) - _MAX_ITEMS} more"]
        if isinstance(value, (bytes, bytearray)):
            return self.text(value.decode("utf-8", "backslashreplace"))
        return self.text(_text_of(value))

    def fields(self, values: Mapping[str, object]) -> dict[str, JsonValue]:
        """A log line's fields; those with a secret's name are masked whatever their value."""
        json_value = self.json_value
        result: dict[str, JsonValue] = {}
        for name, value in values.items():
            key, secret = _field_name(name)
            result[key] = MASKED if secret else json_value(value, 1)
        return result

    def _mapping(self, value: Mapping[object, object], depth: int) -> JsonValue:
        if depth >= _MAX_DEPTH:
            return "..."
        result: dict[str, JsonValue] = {}
        for name in list(value)[:_MAX_ITEMS]:
            written = str(name)
            result[self.text(written)] = MASKED if is_secret_name(written) else self.json_value(value[name], depth + 1)
        if len(value) > _MAX_ITEMS:
            result["..."] = f"{len(value) - _MAX_ITEMS} more"
        return result

    def _masked(self, value: str) -> str:
        if self._search is not None:
            value = self._search.sub(MASKED, value)
        if self._word_secrets:
            value = _WORD.sub(self._mask_word, value)
        return mask_text(mask_secrets(value))

    def _mask_word(self, match: re.Match[str]) -> str:
        word, secrets = match[0], self._word_secrets
        at = 0
        while at <= len(word) - _WORD_LENGTH:
            for secret in secrets.get(word[at : at + _WORD_LENGTH], ()):
                if word.startswith(secret, at):
                    word = word[:at] + MASKED + word[at + len(secret) :]
                    at += len(MASKED) - 1
                    break
            at += 1
        return word


@lru_cache(maxsize=1024)
def _field_name(name: str) -> tuple[str, bool]:
    return mask_text(_UNSAFE.sub(_escape, name)), is_secret_name(name)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _text_of(value: object) -> str:
    try:
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError):
        # A broken ``__str__`` must not lose the log line.
        return f"<{type(value).__name__}>"
