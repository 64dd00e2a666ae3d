"""Prints docs/inbound.md: what becomes of every event and of every kind of message; ``make docs`` runs it.

A reason without a sentence, or a key without a fate, is a mistake that the tests find.
"""

from collections.abc import Iterable, Iterator, Mapping

from zapline.domain.inbound_events import IGNORED_REASONS
from zapline.domain.messages.facts import MessageKind
from zapline.evolution.webhooks.edits_and_deletions import NOTICE_NAMES, NOTICES
from zapline.evolution.webhooks.envelope import EVENTS
from zapline.evolution.webhooks.message_content import (
    BESIDE_CONTENT,
    CONTENT_KEYS,
    REPORTS,
    UNREADABLE,
    WRAPPERS,
    UnwrappedBody,
    read_content,
)

EVENT_FATES: Mapping[str, str] = {
    "application.startup": "counted as `application_startup`",
    "instance.create": "the line exists on the server",
    "instance.delete": "the line is gone from the server",
    "remove.instance": "the line is gone from the server",
    "logout.instance": "the line is logged out",
    "status.instance": "a code of a close moves the line; else counted as `instance_status`",
    "qrcode.updated": "a code to scan, or the limit of codes",
    "connection.update": "moves the line",
    "messages.set": "messages of the history, as in the tables below",
    "messaging-history.set": "messages of the history; a mere progress is counted as `history_progress`",
    "messages.upsert": "a message, or what it carries, as in the tables below; reactions and receipts inside of it",
    "messages.edited": "a new text, or a deletion",
    "messages.update": "a delivery status, an edit, a deletion, poll votes, answers to an event",
    "messages.delete": "a deletion; a cleared chat is counted as `chat_cleared`",
    "send.message": "a message that was sent through the server",
    "send.message.update": "a new text of a message that was sent through the server",
    "contacts.set": "names, usernames, and which LID is which phone",
    "contacts.upsert": "names, usernames, and which LID is which phone",
    "contacts.update": "names, usernames, and which LID is which phone",
    "presence.update": "counted as `presence`",
    "chats.set": "which LID is which phone, names and subjects; else counted as `chats`",
    "chats.upsert": "which LID is which phone, names of people; else counted as `chats`",
    "chats.update": "which LID is which phone, names of people; else counted as `chats`",
    "chats.delete": "counted as `chats`",
    "groups.upsert": "the subject, and which LID is which phone; else counted as `groups`",
    "groups.update": "the subject, and which LID is which phone; else counted as `groups`",
    "group-participants.update": "which LID is which phone; else counted as `group_participants`",
    "labels.edit": "counted as `labels`",
    "labels.association": "counted as `labels`",
    "call": "one row a call, by its id, with what was told of it: `offered`, `ended`, `missed`, `rejected`, `accepted`",
    "typebot.start": "counted as `typebot`",
    "typebot.change-status": "counted as `typebot`",
    "new.jwt": "counted as `new_token`",
    "creds.update": "counted as `credentials`",
}

_HEAD = """\
# What becomes of what Evolution sends

Printed by `make docs` from the tables of the code. Nothing is dropped in silence: what is not kept is counted by its
reason (`zapline_ignored_total`), and what is not understood is a row of kind `unknown`, with its body, or a dead
letter.
"""


def fates_page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections()]) + "\n"


def _sections() -> Iterator[str]:
    yield _table("Events", "event", ((f"`{event}`", EVENT_FATES[event]) for event in EVENTS))
    rows = [(f"`{name}`", _content_fate(name)) for name in sorted(CONTENT_KEYS - WRAPPERS)]
    yield _table("Contents of a message", "key in the body", rows)
    yield _table(
        "Wrappers, which are taken off", "key in the body", ((f"`{name}`", _wrapper(name)) for name in sorted(WRAPPERS))
    )
    yield _table(
        "Beside a content",
        "key in the body",
        ((f"`{name}`", "no content of its own") for name in sorted(BESIDE_CONTENT)),
    )
    types = [("`REVOKE`", "deletes a message"), ("`MESSAGE_EDIT`", "gives a message its new text")]
    types += [(f"`{name}`", f"counted as `{NOTICES[number]}`") for name, number in NOTICE_NAMES.items()]
    yield _table("Types of `protocolMessage`", "type", types)
    yield _table("Messages without a body, by their stub", "stub", _STUBS)
    yield _table(
        "What is counted and not kept",
        "reason",
        ((f"`{name}`", IGNORED_REASONS[name]) for name in sorted(IGNORED_REASONS)),
    )


_STUBS = (
    ("`REVOKE`", "a message that was deleted before it was seen: a row without content"),
    ("`CIPHERTEXT`", "a placeholder, until the content comes"),
    ("`CALL_MISSED_VOICE` and its kin", "the row of the missed call"),
    ("`GROUP_CHANGE_SUBJECT`", "the new subject of the group"),
    ("any other", "counted as `system_notice`"),
    ("none", "kind `unknown`"),
)
_SAMPLE = {"text": "x", "submessages": [{"messageText": "x"}]}


def _content_fate(name: str) -> str:
    if name in REPORTS:
        return _REPORT_FATES[name]
    if name == "encCommentMessage":
        return f"counted as `{UNREADABLE[name]}`; kind `placeholder`: only the phone shows it"
    if name in UNREADABLE:
        return f"counted as `{UNREADABLE[name]}`"
    value: object = "x" if name == "conversation" else _SAMPLE
    kind = read_content(UnwrappedBody(name, value, {})).kind
    return f"kind `{MessageKind(kind)}`"


_REPORT_FATES = {
    "protocolMessage": "an edit, a deletion, or a notice: see its types below",
    "reactionMessage": "a reaction of one person to a message",
    "pollUpdateMessage": "a vote of one person in a poll; opened here where the server could not",
    "secretEncryptedMessage": "a new text, opened with the original's secret; else the message is marked as edited. "
    "Of a kind that is not known yet: counted as `encrypted_unknown_kind`, and kind `placeholder`",
    "encEventResponseMessage": "an answer to an event, opened with the event's secret",
}


def _wrapper(name: str) -> str:
    if name == "associatedChildMessage":
        return "a better copy of a photo or video is the file of the first one's row; a part of something says of what"
    return "the content inside counts"


def _table(title: str, first: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"## {title}", "", f"| {first} | what becomes of it |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {fate} |" for name, fate in rows), ""])


if __name__ == "__main__":
    print(fates_page(), end="")  # noqa: T201
