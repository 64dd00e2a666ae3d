"""Decides what whoever reports something about a message may change of it: one table, which all merges obey.

Senders choose the ids of their messages, so an id proves nothing: a report counts only where chat and author fit. The
function ``zapline.may_change`` in SQL is the same decision, inside the statements that merge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from zapline.domain.contacts.addresses import Address


class Change(StrEnum):
    """What is changed of a message that is stored. The values are stored with reports that wait."""

    AGAIN = "again"
    """The message itself, once more: a duplicate, its content after a placeholder, a better copy of its file."""
    STATUS = "status"
    EDIT = "edit"
    DELETE = "delete"
    REACT = "react"
    """A reaction, a vote, an answer to an event."""


class Allowed(StrEnum):
    """Who may change it, within the message's own conversation."""

    AUTHOR = "author"
    ANYBODY_THERE = "anybody_there"


IN_A_CHAT: Mapping[Change, Allowed] = {
    Change.AGAIN: Allowed.AUTHOR,
    Change.STATUS: Allowed.AUTHOR,  # a status names the message by its key: whose it is, not who has read it
    Change.EDIT: Allowed.AUTHOR,
    Change.DELETE: Allowed.AUTHOR,
    Change.REACT: Allowed.ANYBODY_THERE,
}
IN_A_GROUP: Mapping[Change, Allowed] = {**IN_A_CHAT, Change.DELETE: Allowed.ANYBODY_THERE}
"""Administrators of a group delete messages of others, and nobody tells us who they are."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who says something about a message, and where; what is not told is None.

    ``proven`` is False where chat and author stand only in what the sender wrote himself: ``messages.edited`` holds the
    key inside his protocol message, and not the message's own.
    """

    chat: Address | None = None
    from_me: bool | None = None
    author: Address | None = None
    """In a group."""
    proven: bool = True


UNNAMED = Claim()
"""Of facts that our own side makes: it changes whatever it names."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a claim and a message compare. None: it cannot be told, as of a LID and a phone that may be one person's."""

    same_chat: bool | None
    """True also where the claim names no chat."""
    same_author: bool | None
    """In a group; True where the message names no author. Where the claim names none: None, but True for a message that
    comes again."""
    from_me: bool | None
    """Of the claim. ``mine``: of the message."""
    mine: bool
    group: bool
    proven: bool


def may_change(change: Change, fit: Fit) -> bool | None:
    """Whether the change is made. False: it is somebody else's message. None: not before more is known."""
    if fit.same_chat is False:
        return False
    if (IN_A_GROUP if fit.group else IN_A_CHAT)[change] is Allowed.ANYBODY_THERE:
        return fit.same_chat if fit.proven else None
    if fit.from_me is not None and fit.from_me is not fit.mine:
        return False
    if not fit.proven and (fit.mine or fit.group):
        return None  # the same is told with proof, by messages.update and messages.delete
    if change is Change.STATUS:
        return True if fit.mine else fit.same_chat
    if fit.mine:
        return True if fit.from_me else None  # our own phone and server
    if fit.same_chat is None:
        return None
    return fit.same_author if fit.group else True
