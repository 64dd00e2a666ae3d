"""Decides for how long a line shows that it is typing before a text leaves: as a person would, within bounds."""

from dataclasses import dataclass

from zapline.domain.outbox.contents import Content, Text

DEFAULT_TYPING_LONGEST = 8.0
"""Seconds; whoever waits for an answer looks away after that."""
MAX_TYPING = 15.0
"""Seconds: a call takes so much longer, and leases and look-ups of uncertain messages are made for that length."""
MIN_SPEED, MAX_SPEED = 1.0, 1000.0
"""Characters a second; people type five to ten."""


@dataclass(frozen=True, slots=True)
class Typing:
    """``speed``: characters a second. ``longest``: seconds."""

    speed: float
    longest: float = DEFAULT_TYPING_LONGEST

    def seconds(self, content: Content) -> float:
        """For how long it is shown before this content; 0 for what nobody types."""
        if not isinstance(content, Text):
            return 0.0
        return min(len(content.text) / max(self.speed, MIN_SPEED), self.longest, MAX_TYPING)
