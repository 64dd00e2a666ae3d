"""Recognises opt-outs: messages that consist of one of the configured words."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from unicodedata import combining, normalize

_PUNCTUATION = re.compile(r"[^\w\s]|_")
LONGEST = 40
"""Characters of a message that may be an opt-out; a longer one is not."""


@dataclass(frozen=True, slots=True)
class OptOutWords:
    """The words, in the form of :func:`normalize_words`, and the reply to one; None: no reply."""

    words: frozenset[str] = frozenset()
    confirmation: str | None = None


def normalize_words(text: str) -> str:
    """Upper case, without accents and punctuation, single spaces."""
    letters = text
    if not text.isascii():
        letters = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return " ".join(_PUNCTUATION.sub(" ", letters).upper().split())


def match_opt_out(text: str | None, words: Collection[str]) -> str | None:
    """The opt-out word that the message consists of, or None. ``words``: in the form of :func:`normalize_words`."""
    if text is None or len(text) > LONGEST:
        return None
    normalized = normalize_words(text)
    return normalized if normalized in words else None
