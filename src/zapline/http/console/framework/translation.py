"""Translates the console's texts by gettext catalogues, and settles the language of each request."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from quart import request

from zapline.domain.text import Sentence


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the console: its tag as in HTML, its own name, and the CLDR locales of its numbers and dates."""

    tag: str
    name: str
    numbers: Locale
    dates: Locale


ENGLISH = Language("en", "English", Locale("en"), Locale("en", "SE"))
"""Dates as in Sweden: ISO 8601 and a 24-hour clock, which no English reader takes for another day."""
PORTUGUESE = Language("pt-BR", "Português", Locale("pt", "BR"), Locale("pt", "BR"))
SPANISH = Language("es", "Español", Locale("es", "419"), Locale("es", "AR"))
"""Numbers as in most of Latin America; dates with a 24-hour clock, as in its south."""
LANGUAGES = {language.tag: language for language in (ENGLISH, PORTUGUESE, SPANISH)}
_SPOKEN = {tag.partition("-")[0]: language for tag, language in LANGUAGES.items()}
"""Whoever asks for the Portuguese of Portugal, or the Spanish of Mexico, gets ours."""
COOKIE = "zapline-language"
_CURRENT = ContextVar("language", default=ENGLISH)
"""Each request runs in a context of its own. A page asks a thousand times: ``g`` would be too slow."""


@cache
def catalogue(tag: str) -> NullTranslations:
    """The translations of ``locale/<tag>/LC_MESSAGES/console.po``, compiled on first use; English has none."""
    source = files("zapline.http.console").joinpath("locale", tag.replace("-", "_"), "LC_MESSAGES", "console.po")
    if not source.is_file():
        return NullTranslations()
    compiled = BytesIO()
    with source.open("rb") as stream:
        write_mo(compiled, read_po(stream))
    compiled.seek(0)
    return GNUTranslations(compiled)


def choose_language() -> None:
    """Settle the language of the current request: the cookie's, else the one that the browser prefers."""
    chosen = LANGUAGES.get(request.cookies.get(COOKIE, ""))
    wanted = (tag.replace("_", "-").partition("-")[0].lower() for tag in request.accept_languages.values())
    _CURRENT.set(chosen or next(filter(None, map(_SPOKEN.get, wanted)), ENGLISH))


@contextmanager
def speaking(tag: str) -> Iterator[None]:
    """Translate into the language of this tag within the block, outside of any request; English for an unknown one."""
    token = _CURRENT.set(LANGUAGES.get(tag, ENGLISH))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def language() -> Language:
    """The language of the current request."""
    return _CURRENT.get()


def N_(text: str) -> str:
    """Mark a text for extraction that is translated where it is shown."""
    return text


def _(text: str, **values: object) -> str:
    """The text in the operator's language with its ``{placeholders}`` filled in. It is escaped where it is shown.

    A :class:`Sentence` brings its own values.
    """
    told = catalogue(language().tag)
    if isinstance(text, Sentence):
        parts = {name: _(value) if isinstance(value, Sentence) else value for name, value in text.values.items()}
        return told.gettext(text.message_id).format(**parts)
    translated = told.gettext(text) if text else text
    return translated.format(**values) if values else translated


def ngettext(singular: str, plural: str, count: int, **values: object) -> str:
    """The form for ``count`` by the catalogue's plural rule. Both texts may use ``{count}``."""
    current = language()
    translated = catalogue(current.tag).ngettext(singular, plural, count)
    return translated.format(count=format_decimal(count, locale=current.numbers), **values)
