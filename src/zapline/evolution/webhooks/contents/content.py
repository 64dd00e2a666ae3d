"""Defines what a reader of contents returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from zapline.domain.messages.facts import MediaInfo, MessageKind


@dataclass(frozen=True, slots=True)
class MessageContent:
    """What a message says, apart from who, when and where."""

    kind: MessageKind
    text: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    media: MediaInfo | None = None
