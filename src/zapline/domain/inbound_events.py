"""Defines what one element of a webhook body, or of Evolution's store, is parsed into."""

from dataclasses import dataclass

from zapline.domain.line.events import ConnectionEvent
from zapline.domain.messages.facts import MessageFact


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood, but not needed; counted under ``reason`` (a short snake_case word)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unusable:
    """Not understood; the body becomes a dead letter with ``reason`` (a short snake_case word)."""

    reason: str


InboundEvent = ConnectionEvent | MessageFact | Ignored | Unusable
