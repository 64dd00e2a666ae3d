"""Renders texts with ``{{variables}}`` for one recipient of a campaign.

``{{name}}`` is replaced by the recipient's value; ``{{name|friend}}`` becomes ``friend`` where there is none. Values
are not parsed as templates.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from unicodedata import normalize

import msgspec

from zapline.domain.errors import InvalidField
from zapline.domain.outbox.contents import Content, File, OutgoingMessage, Text
from zapline.domain.text import Sentence

_FIELD = re.compile(r"\{\{([^{}]*)\}\}")
_NAME = re.compile(r"[\w.]{1,64}")
_SEPARATORS = re.compile(r"[\s-]+")
MAX_VARIABLES = 50
LONGEST_TEXT = 65_536
"""Characters of a message: WhatsApp's limit."""
_LONGEST_READ = 256
_LONGEST_NAME = 200
_NO_NAME = re.compile(r"[/\\\x00-\x1f\x7f]")
_TEXTS: Mapping[type[Content], tuple[str, ...]] = {Text: ("text",), File: ("caption", "file_name")}
"""The fields of a content that may hold variables."""
_API_NAMES = {"file_name": "fileName"}
"""The API's names of fields where they differ."""


class InvalidTemplate(InvalidField):
    """The variables of a text cannot be parsed; the message names the wrong one."""

    def __init__(self, message: str, field: str = "text") -> None:
        super().__init__(message, field)


def variable_name(text: str) -> str:
    """``Nome do cliente``, ``nome-do-cliente`` and ``NOME DO CLIENTE`` all become ``nome_do_cliente``."""
    # Cut first: normalising thousands of accents takes seconds.
    return _SEPARATORS.sub("_", normalize("NFC", text[:_LONGEST_READ]).strip().casefold())


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A variable in a text. ``fallback`` None: every recipient needs a value."""

    name: str
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A text, split at its variables."""

    parts: tuple[str | Placeholder, ...]

    @classmethod
    def parse(cls, text: str) -> "TextTemplate":
        """Raises :class:`InvalidTemplate` for an invalid name and for unclosed braces."""
        parts: list[str | Placeholder] = []
        for index, part in enumerate(_FIELD.split(text)):
            if index % 2 == 0:
                if "{{" in part:
                    raise InvalidTemplate("a variable is opened by {{ and never closed by }}")
                parts.append(part)
                continue
            raw_name, bar, fallback = part.partition("|")
            name = variable_name(raw_name)
            if _NAME.fullmatch(name) is None:
                raise InvalidTemplate(Sentence("{{{{{name}}}}} is not the name of a variable", name=part[:80]))
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

    def render(self, values: Mapping[str, str]) -> str:
        """The text for one recipient; an empty value counts as missing. Raises KeyError for a missing needed value."""
        return "".join(part if isinstance(part, str) else _value_of(part, values) for part in self.parts)


def _value_of(placeholder: Placeholder, values: Mapping[str, str]) -> str:
    value = values.get(placeholder.name)
    if value:
        return value
    if placeholder.fallback is None:
        raise KeyError(placeholder.name)
    return placeholder.fallback


def _parse_field(name: str, text: str) -> TextTemplate:
    try:
        return TextTemplate.parse(text)
    except InvalidTemplate as error:
        error.field = _API_NAMES.get(name, name)
        raise


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """A campaign's content, parsed once and rendered for each recipient."""

    outgoing: OutgoingMessage
    texts: Mapping[str, TextTemplate]
    needed: tuple[str, ...]
    """The variables that every recipient must have, sorted."""
    wordings: tuple["MessageTemplate", ...] = ()
    """Those that recipients get in turn, this one first; empty: all get this one."""

    @classmethod
    def parse(cls, outgoing: OutgoingMessage, wordings: Sequence[str] = ()) -> "MessageTemplate":
        """``wordings``: texts, or captions, in the place of the content's. Raises :class:`InvalidTemplate`."""
        if wordings:
            variants = tuple(cls.parse(_worded(outgoing, wording)) for wording in wordings)
            return replace(variants[0], wordings=variants)
        content = outgoing.content
        fields = {name: getattr(content, name) for name in _TEXTS.get(type(content), ())}
        texts = {name: _parse_field(name, text) for name, text in fields.items() if text is not None}
        needed = set[str]().union(*(template.needed for template in texts.values()))
        if len(needed) > MAX_VARIABLES:
            raise InvalidTemplate(Sentence("a campaign has at most {limit} variables", limit=MAX_VARIABLES))
        return cls(outgoing, texts, tuple(sorted(needed)))

    def of(self, number: int) -> "MessageTemplate":
        """The wording of the recipient with this number, from 1."""
        return self.wordings[(number - 1) % len(self.wordings)] if self.wordings else self

    def missing(self, values: Mapping[str, str]) -> list[str]:
        """The variables that these values lack."""
        return [name for name in self.needed if not values.get(name)]

    def length(self, values: Mapping[str, str]) -> int:
        """Characters of its longest text for these values, without rendering it."""
        return max((template.length(values) for template in self.texts.values()), default=0)

    def render(self, values: Mapping[str, str]) -> OutgoingMessage:
        """The message for one recipient. Raises KeyError for a missing needed value."""
        texts = {name: template.render(values) for name, template in self.texts.items()}
        if "file_name" in texts:
            # Values must not make a path of it.
            texts["file_name"] = _NO_NAME.sub("_", texts["file_name"]).strip(". ")[:_LONGEST_NAME] or "file"
        return OutgoingMessage(msgspec.structs.replace(self.outgoing.content, **texts), self.outgoing.quoted)


def _worded(outgoing: OutgoingMessage, wording: str) -> OutgoingMessage:
    """The message with another text, or caption."""
    content = outgoing.content
    if isinstance(content, Text):
        return OutgoingMessage(msgspec.structs.replace(content, text=wording), outgoing.quoted)
    assert isinstance(content, File)
    return OutgoingMessage(msgspec.structs.replace(content, caption=wording), outgoing.quoted)
