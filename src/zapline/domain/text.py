"""Cleans foreign text for storage (neither NUL nor half of a surrogate pair), and makes sentences with values."""

import re
from collections.abc import Mapping
from unicodedata import combining, normalize

_SURROGATE = re.compile("[\ud800-\udfff]")


def clean_text(text: str, limit: int | None = None) -> str:
    """``text`` without NUL, lone surrogates replaced by U+FFFD, cut after ``limit`` characters.

    Adjacent halves of a pair become their character. Never raises.
    """
    if "\x00" in text:
        text = text.replace("\x00", "")
    if not text.isascii() and _SURROGATE.search(text) is not None:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if limit is not None and len(text) > limit:
        return text[:limit]
    return text


class Sentence(str):
    """An English sentence, and what it was made of, by which it is translated.

    ``message_id`` has ``{placeholders}``, as in the catalogues; ``values`` fill them. A value that is a sentence itself
    is translated too. Everywhere else it is a text like any other.
    """

    message_id: str
    values: Mapping[str, object]

    def __new__(cls, message_id: str, /, **values: object) -> "Sentence":
        made = super().__new__(cls, message_id.format(**values))
        made.message_id, made.values = message_id, values
        return made


def folded(text: str) -> str:
    """The text as it is compared by people who search: without case and accents (``São`` is found by ``sao``)."""
    return "".join(letter for letter in normalize("NFKD", text) if not combining(letter)).casefold()
