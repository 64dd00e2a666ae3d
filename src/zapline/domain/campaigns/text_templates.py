"""Decides what a text with ``{{variables}}`` says to one recipient.

``{{name}}`` is replaced by the recipient's value; ``{{name|friend}}`` says ``friend`` where there is none. What a
value holds is never read as a template again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from unicodedata import normalize

import msgspec

from zapline.domain.errors import InvalidField
from zapline.domain.outbox.contents import Content, File, OutgoingMessage, Text

_FIELD = re.compile(r"\{\{([^{}]*)\}\}")
_NAME = re.compile(r"[\w.]{1,64}")
_GAPS = re.compile(r"[\s-]+")
MAX_VARIABLES = 50
LONGEST_TEXT = 65_536
"""Characters of a message, by WhatsApp's own limit."""
_LONGEST_READ = 256
_LONGEST_NAME = 200
_NO_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")
_TEXTS: Mapping[type[Content], tuple[str, ...]] = {Text: ("text",), File: ("caption", "file_name")}
"""The fields of a content in which variables stand."""
_CALLED = {"file_name": "fileName"}
"""Those that the API calls otherwise."""


class InvalidTemplate(InvalidField):
    """A text's variables cannot be read; the message says which."""

    def __init__(self, said: str, field: str = "text") -> None:
        super().__init__(said, field)


def variable_name(text: str) -> str:
    """One form for ``Nome do cliente``, ``nome-do-cliente`` and ``NOME DO CLIENTE``: ``nome_do_cliente``."""
    # Cut first: to put thousands of accents in their order takes seconds.
    return _GAPS.sub("_", normalize("NFC", text[:_LONGEST_READ]).strip().casefold())


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A place for a value. ``fallback`` None: without a value the text cannot be written."""

    name: str
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text, cut at its variables."""

    parts: tuple[str | Placeholder, ...]

    @classmethod
    def read(cls, text: str) -> "TextTemplate":
        """Raises :class:`InvalidTemplate` for a name that is none and for braces that are not closed."""
        parts: list[str | Placeholder] = []
        for place, part in enumerate(_FIELD.split(text)):
            if place % 2 == 0:
                if "{{" in part:
                    raise InvalidTemplate("a variable is opened by {{ and never closed by }}")
                parts.append(part)
                continue
            given, bar, fallback = part.partition("|")
            name = variable_name(given)
            if _NAME.fullmatch(name) is None:
                raise InvalidTemplate(f"{{{{{part[:80]}}}}} is not the name of a variable")
            parts.append(Placeholder(name, fallback.strip() if bar else None))
        return cls(tuple(part for part in parts if part != ""))

    @property
    def needed(self) -> set[str]:
        """The variables that every recipient must have."""
        return {part.name for part in self.parts if isinstance(part, Placeholder) and part.fallback is None}

    def length(self, values: Mapping[str, str]) -> int:
        """Characters of the text for one recipient."""
        return sum(
            len(part) if isinstance(part, str) else len(values.get(part.name) or part.fallback or "")
            for part in self.parts
        )

    def write(self, values: Mapping[str, str]) -> str:
        """The text for one recipient; an empty value counts as none. Raises KeyError where a needed one is missing."""
        return "".join(part if isinstance(part, str) else _said(part, values) for part in self.parts)


def _said(field: Placeholder, values: Mapping[str, str]) -> str:
    value = values.get(field.name)
    if value:
        return value
    if field.fallback is None:
        raise KeyError(field.name)
    return field.fallback


def _read(name: str, text: str) -> TextTemplate:
    try:
        return TextTemplate.read(text)
    except InvalidTemplate as unread:
        unread.field = _CALLED.get(name, name)
        raise


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """A campaign's content, ready to be written for one recipient after the other."""

    outgoing: OutgoingMessage
    texts: Mapping[str, TextTemplate]
    needed: tuple[str, ...]
    """The variables that every recipient must have, sorted."""

    @classmethod
    def read(cls, outgoing: OutgoingMessage) -> "MessageTemplate":
        """Raises :class:`InvalidTemplate`."""
        content = outgoing.content
        given = {name: getattr(content, name) for name in _TEXTS.get(type(content), ())}
        texts = {name: _read(name, text) for name, text in given.items() if text is not None}
        needed = set[str]().union(*(template.needed for template in texts.values()))
        if len(needed) > MAX_VARIABLES:
            raise InvalidTemplate(f"a campaign has at most {MAX_VARIABLES} variables")
        return cls(outgoing, texts, tuple(sorted(needed)))

    def missing(self, values: Mapping[str, str]) -> list[str]:
        """The variables that these values lack."""
        return [name for name in self.needed if not values.get(name)]

    def length(self, values: Mapping[str, str]) -> int:
        """Characters of its longest text for these values, without writing it."""
        return max((template.length(values) for template in self.texts.values()), default=0)

    def write(self, values: Mapping[str, str]) -> OutgoingMessage:
        """What one recipient is sent. Raises KeyError where a needed variable is missing."""
        written = {name: template.write(values) for name, template in self.texts.items()}
        if "file_name" in written:
            # What a recipient's values put into it may be no part of a path.
            written["file_name"] = _NO_NAME.sub("_", written["file_name"]).strip(". ")[:_LONGEST_NAME] or "file"
        return OutgoingMessage(msgspec.structs.replace(self.outgoing.content, **written), self.outgoing.quoted)
