"""Decides whether somebody asks to be left in peace: a message that is nothing but one of the agreed words."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from unicodedata import combining, normalize

_OTHER = re.compile(r"[^\w\s]|_")
LONGEST = 40
"""Characters of a message that may be such a word; a longer one says something else."""


@dataclass(frozen=True, slots=True)
class OptOutWords:
    """The agreed words, in the form of :func:`normalize_words`, and what is answered to one; None: nothing."""

    words: frozenset[str] = frozenset()
    confirmation: str | None = None


def normalize_words(text: str) -> str:
    """Upper case, without accents and punctuation, single spaces."""
    bare = "".join(letter for letter in normalize("NFKD", text) if not combining(letter))
    return " ".join(_OTHER.sub(" ", bare).upper().split())


def match_opt_out(text: str | None, words: Collection[str]) -> str | None:
    """The word, if the message is one. ``words`` are in the form of :func:`normalize_words`."""
    if text is None or len(text) > LONGEST:
        return None
    said = normalize_words(text)
    return said if said in words else None
