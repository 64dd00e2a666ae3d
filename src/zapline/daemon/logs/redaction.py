"""Makes any value fit for a log line: no secrets, no phones, no control characters, bounded in size."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote
from uuid import UUID

from zapline.domain.privacy.masking import MASKED, mask_text, mask_url, secret_name

TEXT_LIMIT: Final = 8_000
"""Characters of one value: a line is for reading; a body belongs into a dead letter."""
_CUT: Final = 64_000
"""Longer texts are cut before they are masked, so far behind what is shown that no half secret gets there."""
_ITEMS: Final = 50
_DEPTH: Final = 5
_WORDY: Final = 16
"""Letters: secrets of at least this length and of word characters are looked up, not searched for."""

_WORD = re.compile(rf"[A-Za-z0-9_\-]{{{_WORDY},}}")
# C0, DEL, C1, line and paragraph separators, direction overrides, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
"""What a log line is written from: JSON values."""


class Scrubber:
    """Knows the secrets of this process by heart and takes them out of whatever it is given.

    There may be thousands (a webhook secret per unit), so those made of word characters are found by a look-up
    of their first letters; only the few others are searched for.
    """

    def __init__(self) -> None:
        self._wordy: dict[str, tuple[str, ...]] = {}
        self._others: set[str] = set()
        self._search: re.Pattern[str] | None = None
        # Units, instances and scopes come again in every line.
        self._short = lru_cache(maxsize=4096)(self._line)

    def register(self, secret: str) -> None:
        """Replace this literal from now on, also percent-encoded, inside JSON and inside ``repr``.

        Fewer than four letters are not a secret: replacing them would make every line unreadable.
        """
        if len(secret) < 4:
            return
        if len(secret) >= _WORDY and _WORD.fullmatch(secret):
            known = self._wordy.get(secret[:_WORDY], ())
            if secret not in known:
                self._wordy[secret[:_WORDY]] = tuple(sorted((*known, secret), key=len, reverse=True))
                self._short.cache_clear()
            return
        if secret in self._others:
            return
        escaped = secret.replace("\\", "\\\\")
        self._others |= {secret, quote(secret, safe=""), quote(secret), escaped}
        self._others |= {escaped.replace('"', '\\"'), escaped.replace("'", "\\'")}
        longest_first = sorted(self._others, key=len, reverse=True)
        self._search = re.compile("|".join(map(re.escape, longest_first)))
        self._short.cache_clear()

    def text(self, value: str) -> str:
        """One line, masked, at most ``TEXT_LIMIT`` characters."""
        return self._short(value) if len(value) <= 40 else self._line(value)

    def _line(self, value: str) -> str:
        shown = self._masked(value if len(value) <= _CUT else value[:_CUT])
        if len(shown) > TEXT_LIMIT:
            shown = f"{shown[:TEXT_LIMIT]}... ({len(value)} characters)"
        return shown if shown.isprintable() else _UNSAFE.sub(_escaped, shown)

    def block(self, value: str) -> str:
        """Like ``text``, but its lines stay lines (tracebacks)."""
        if len(value) > _CUT:
            value = value[: _CUT // 2] + "\n...\n" + value[-_CUT // 2 :]
        masked = self._masked(value)
        if len(masked) > 2 * TEXT_LIMIT:
            # The end of a traceback says what happened, its beginning who asked for it.
            masked = masked[:TEXT_LIMIT] + "\n...\n" + masked[-TEXT_LIMIT:]
        return "\n".join(_UNSAFE.sub(_escaped, line) for line in masked.split("\n"))

    def plain(self, value: object, depth: int = 0) -> Plain:
        """Any value as JSON, every string in it masked; what is not JSON is shown as ``str`` shows it."""
        kind = type(value)
        if kind is str:
            return self.text(value)  # type: ignore[arg-type]  # the check above is the fast one
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
            if depth >= _DEPTH:
                return "..."
            shown: list[Plain] = [self.plain(item, depth + 1) for item in list(value)[:_ITEMS]]
            return shown if len(value) <= _ITEMS else [*shown, f"... {len(value) - _ITEMS} more"]
        if isinstance(value, (bytes, bytearray)):
            return self.text(value.decode("utf-8", "backslashreplace"))
        return self.text(_shown(value))

    def fields(self, values: Mapping[str, object]) -> dict[str, Plain]:
        """The fields of a log line; those with a telling name are masked whatever they hold."""
        plain = self.plain
        shown: dict[str, Plain] = {}
        for name, value in values.items():
            key, secret = _key(name)
            shown[key] = MASKED if secret else plain(value, 1)
        return shown

    def _mapping(self, value: Mapping[object, object], depth: int) -> Plain:
        if depth >= _DEPTH:
            return "..."
        shown: dict[str, Plain] = {}
        for name in list(value)[:_ITEMS]:
            written = str(name)
            shown[self.text(written)] = MASKED if secret_name(written) else self.plain(value[name], depth + 1)
        if len(value) > _ITEMS:
            shown["..."] = f"{len(value) - _ITEMS} more"
        return shown

    def _masked(self, value: str) -> str:
        if self._search is not None:
            value = self._search.sub(MASKED, value)
        if self._wordy:
            value = _WORD.sub(self._without_known, value)
        return mask_text(mask_url(value))

    def _without_known(self, found: re.Match[str]) -> str:
        word, wordy = found[0], self._wordy
        at = 0
        while at <= len(word) - _WORDY:
            for secret in wordy.get(word[at : at + _WORDY], ()):
                if word.startswith(secret, at):
                    word = word[:at] + MASKED + word[at + len(secret) :]
                    at += len(MASKED) - 1
                    break
            at += 1
        return word


@lru_cache(maxsize=1024)
def _key(name: str) -> tuple[str, bool]:
    return mask_text(_UNSAFE.sub(_escaped, name)), secret_name(name)


def _escaped(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    return _SHORT.get(letter) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def _shown(value: object) -> str:
    try:
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError):
        # An object that cannot say what it is must not cost the line it was to be part of.
        return f"<{type(value).__name__}>"
