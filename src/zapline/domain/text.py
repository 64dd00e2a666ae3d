"""Cleans foreign text for storage: PostgreSQL takes neither NUL nor half of a surrogate pair."""

import re

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
