"""Defines what a unit wants done about a webhook of its line that somebody else has changed."""

from enum import StrEnum


class WebhookRegistrationMode(StrEnum):
    """What is done about a line's webhook that somebody else has changed on the Evolution server."""

    ENFORCE = "enforce"
    """Set it again."""
    OBSERVE = "observe"
    """Only tell."""
