"""Adds, changes and removes a unit's quick replies on a person's request."""

from collections.abc import Callable
from dataclasses import dataclass

from zapline.domain.errors import InvalidField, LocalError
from zapline.domain.ids import UnitId
from zapline.domain.text import Sentence, clean_text
from zapline.sql.conversations import quick_replies
from zapline.sql.postgres.pool import Pool

MOST = 200
"""Of a unit: more than anybody remembers."""
LONGEST_SHORTCUT, LONGEST_TEXT = 32, 4096
"""Characters."""


class UnknownQuickReply(LocalError):
    """The unit has no quick reply with this shortcut."""


class TooManyQuickReplies(LocalError):
    """The unit has as many quick replies as it may."""


class InvalidQuickReply(InvalidField):
    """A shortcut that cannot be typed, or a text that is empty or too long."""


@dataclass(eq=False, repr=False)
class QuickReplies:
    """``find`` returns the active unit or raises UnknownUnit; the pool is the engine's."""

    _pool: Pool
    _find: Callable[[UnitId], object]

    async def put(self, unit: UnitId, shortcut: str, text: str) -> tuple[str, bool]:
        """Add a reply, or change its text; returns the shortcut as it is stored, and whether it is new.

        Raises UnknownUnit, InvalidQuickReply, TooManyQuickReplies, DatabaseUnavailable.
        """
        self._find(unit)
        name, said = clean_shortcut(shortcut), clean_text(text.replace("\r\n", "\n")).strip()
        if not said:
            raise InvalidQuickReply("is empty", "text")
        if len(said) > LONGEST_TEXT:
            raise InvalidQuickReply(Sentence("has at most {limit} characters", limit=LONGEST_TEXT), "text")
        async with self._pool.connection() as conn, conn.transaction():
            fresh = await quick_replies.put_reply(conn, unit, name, said, MOST)
        if fresh is None:
            raise TooManyQuickReplies(Sentence("the unit has {limit} quick replies already", limit=MOST))
        return name, fresh

    async def remove(self, unit: UnitId, shortcut: str) -> None:
        """Remove a reply. Raises UnknownUnit, UnknownQuickReply, DatabaseUnavailable."""
        self._find(unit)
        async with self._pool.connection() as conn:
            if not await quick_replies.delete_reply(conn, unit, stored_shortcut(shortcut)):
                raise UnknownQuickReply("the unit has no such quick reply")


def stored_shortcut(typed: str) -> str:
    """A shortcut as it is stored: composed small letters, without its slash. Whatever is none is a name of nothing."""
    return clean_text(typed).strip().removeprefix("/").lower()


def clean_shortcut(typed: str) -> str:
    """The same. Raises InvalidQuickReply for what could not be typed behind a slash."""
    name = stored_shortcut(typed)
    if not name or len(name) > LONGEST_SHORTCUT or not all(one.isalnum() or one in "-_" for one in name):
        what = Sentence("has 1 to {limit} letters and digits, - and _, and no blank", limit=LONGEST_SHORTCUT)
        raise InvalidQuickReply(what, "shortcut")
    return name
