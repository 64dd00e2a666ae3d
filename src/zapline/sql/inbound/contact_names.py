"""The columns that say how a contact was called, and when."""

import msgspec

from zapline.sql.inbound.recorder_types import Row


class ContactName(msgspec.Struct, frozen=True, gc=False):
    """How a contact was called. ``at``: when; no time is later than that at which it was reported."""

    name: str | None
    username: str | None
    at: float
    received_at: float

    def columns(self) -> Row:
        at = min(self.at, self.received_at) if self.name or self.username else None
        return {
            "name": self.name or None,
            "username": self.username,
            "name_at": at,
            "reported_at": self.received_at if at is not None else None,
        }


NAMELESS = ContactName(None, None, 0.0, 0.0)
