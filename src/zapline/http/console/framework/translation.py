"""Speaks the operator's language: the English text is the key, every other language is a catalogue of them."""

import json
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from importlib.resources import files

from quart import request

ENGLISH, PORTUGUESE = "en", "pt-BR"
LANGUAGES = {ENGLISH: "English", PORTUGUESE: "Português"}
"""What a page may be in, in its own words."""
COOKIE = "zapline-language"
_SPOKEN = ContextVar("language", default=ENGLISH)
"""Each request runs in a context of its own. A page asks a thousand times: ``g`` would be too slow."""


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """English text -> its translation, from every file of ``languages/<language>/``."""
    found: dict[str, str] = {}
    if language == ENGLISH:
        return found
    for file in sorted(
        files("zapline.http.console").joinpath("languages", language).iterdir(), key=lambda each: each.name
    ):
        found |= json.loads(file.read_text("utf-8"))
    return found


def choose() -> None:
    """Settle the language of the present request: what was chosen on a page, else what the browser asks for."""
    chosen = request.cookies.get(COOKIE)
    if chosen not in LANGUAGES:
        asked = request.accept_languages.best_match([ENGLISH, PORTUGUESE, "pt"])
        chosen = PORTUGUESE if asked == "pt" else asked or ENGLISH
    _SPOKEN.set(chosen)


def spoken() -> str:
    """The language of the present request."""
    return _SPOKEN.get()


def mark(text: str) -> str:
    """A text that is translated where it is shown; the test of the catalogue finds it by this word."""
    return text


def _(text: str, **values: object) -> str:
    """The text in the operator's language, its ``{places}`` filled in. It is escaped where it is shown."""
    translated = catalogue(spoken()).get(text, text)
    return translated.format(**values) if values else translated


def plural(one: str, many: str, count: float, **values: object) -> str:
    """``one`` or ``many`` by ``count``, which both may name as ``{count}``."""
    return _(one if count == 1 else many, count=f"{count:n}", **values)
