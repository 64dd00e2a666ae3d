"""Builds the views of a thread's messages: everything that a page shows of them, cleaned or escaped."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup

from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import MessageKind
from zapline.domain.messages.message_changes import Changeable, refusal_of_deletion, refusal_of_edit
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.outbox.work_states import WorkState
from zapline.http.console.framework.message_labels import (
    Tick,
    call_label,
    clean_name,
    day_label,
    file_size,
    kind_label,
    linkify,
    message_summary,
    tick,
)
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.inbox.message_rows import message_rows
from zapline.sql.conversations.conversations import Message
from zapline.sql.conversations.inbox import OutboxWork, QuotedMessage

INLINE_IMAGES = frozenset({MessageKind.IMAGE, MessageKind.STICKER})
INLINE_AUDIO = frozenset({MessageKind.VOICE, MessageKind.AUDIO})
_FAILED = frozenset({WorkState.DEAD, WorkState.EXPIRED, WorkState.UNCERTAIN})
_CONTACT_CARDS = frozenset({MessageKind.CONTACT, MessageKind.CONTACTS})
_WITH_FILES = INLINE_IMAGES | INLINE_AUDIO | {MessageKind.VIDEO, MessageKind.DOCUMENT}


@dataclass(frozen=True, slots=True)
class PollOption:
    """An option of a poll or an answer to an event, and how many chose it."""

    text: str
    votes: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What a message answers: ``id`` where the thread has it, ``who`` where it is not the unit and not the contact."""

    id: UUID | None
    from_me: bool
    who: str | None
    status: bool
    text: str


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message as a thread shows it. Strings are escaped by the template; ``day`` is set on the first of its day."""

    id: UUID
    seq: int
    ours: bool
    kind: str
    day: str | None
    at: datetime
    sender: str | None
    text: Markup | None
    note: str | None
    """The line above the text, for kinds other than text."""
    rows: tuple[Markup, ...]
    """Further lines, by kind."""
    deleted: bool
    edited: bool
    edit_text_unknown: bool
    forwarded: bool
    view_once: bool
    file: str | None
    """The label of its file, with the size."""
    file_state: str
    """What became of a file that was to be kept; empty where there is none."""
    inline: str | None
    """``image`` or ``sound`` if the page may show or play the file."""
    width: int | None
    height: int | None
    quote: Quote | None
    reactions: tuple[tuple[str, int], ...]
    options: tuple[PollOption, ...]
    hidden_votes: int
    hidden_answers: int
    tick: Tick | None
    reason: str | None
    due: datetime | None
    """When it will be sent, if not at once."""
    cancellable: bool
    written: str | None
    """The text, where it can be edited."""
    deletable: bool
    answerable: bool
    """Whether it can be answered and reacted to."""
    mine: str
    """The emoji by which the unit has reacted; empty: it has not."""
    uncertain: bool
    twice: bool


def message_views(
    messages: Sequence[Message],
    quoted: Mapping[str, QuotedMessage],
    works: Mapping[UUID, OutboxWork],
    zone: str,
    now: datetime,
    *,
    group: bool,
) -> Iterator[MessageView]:
    """The views of ``messages``, which are in the order of the page, oldest first."""
    local = ZoneInfo(zone)
    today, previous = now.astimezone(local).date(), None
    for message in messages:
        at = message.sent_at.astimezone(local)
        day = day_label(at.date(), today) if at.date() != previous else None
        previous = at.date()
        yield _message_view(
            message, day, at, quoted.get(message.quoted_id or ""), works.get(message.id), now, group=group
        )


def _message_view(
    message: Message,
    day: str | None,
    at: datetime,
    quoted: QuotedMessage | None,
    work: OutboxWork | None,
    now: datetime,
    *,
    group: bool,
) -> MessageView:
    deleted = message.deleted_at is not None
    media = message.media or {}
    has_file = message.kind in _WITH_FILES and not deleted and message.external_id is not None
    label = kind_label(message.kind)
    name = media.get("fileName")
    failure = work.failure if work is not None and work.state in _FAILED else None
    if message.delivery == DeliveryStatus.FAILED.label:
        failure = failure or message.failure
    queued = work is not None and work.state == WorkState.QUEUED
    options, hidden = _options(message)
    settled, has_id = message.work_state in (None, WorkState.SETTLED), message.external_id is not None
    changeable = Changeable(
        message.kind, message.from_me, has_id, message.delivery, settled, deleted, message.sent_at.timestamp()
    )
    return MessageView(
        id=message.id,
        seq=message.seq,
        ours=message.from_me,
        kind=message.kind,
        day=day,
        at=message.sent_at,
        sender=_sender(message) if group and not message.from_me else None,
        text=linkify(message.text) if message.text and not deleted and message.kind not in _CONTACT_CARDS else None,
        note=_note(message, label, name) if not deleted else None,
        rows=tuple(message_rows(message)) if not deleted else (),
        deleted=deleted,
        edited=message.edited_at is not None,
        edit_text_unknown=message.edit_text_unknown,
        forwarded=message.forwarded,
        view_once=message.view_once,
        file=" ".join(filter(None, [label.lower(), file_size(media.get("size"))])) if has_file else None,
        file_state=_(_FILE_STATES.get(message.file_state or "", "")) if has_file and message.file_state else "",
        inline=_inline(message, media) if has_file else None,
        width=_side(media.get("width")),
        height=_side(media.get("height")),
        quote=_quote(message, quoted) if not deleted else None,
        reactions=tuple(
            Counter(clean_name(reaction.emoji or "")[:16] for reaction in message.reactions).most_common(8)
        ),
        options=options,
        hidden_votes=hidden if message.kind == MessageKind.POLL else 0,
        hidden_answers=hidden if message.kind == MessageKind.EVENT else 0,
        tick=tick(message.work_state, message.delivery) if message.from_me else None,
        reason=_(failure_text(failure)) if failure is not None else None,
        due=work.due_at if queued and work is not None and work.due_at > now + timedelta(seconds=30) else None,
        cancellable=queued,
        written=message.text or "" if refusal_of_edit(changeable, now.timestamp()) is None else None,
        deletable=not deleted and refusal_of_deletion(changeable, now.timestamp()) is None,
        answerable=not deleted and has_id and settled and message.delivery != DeliveryStatus.FAILED.label,
        mine=next((reaction.emoji or "" for reaction in message.reactions if reaction.actor == "me"), ""),
        uncertain=work is not None and work.state == WorkState.UNCERTAIN,
        twice=work is not None and work.twice,
    )


def _note(message: Message, label: str, name: object) -> str | None:
    if message.kind == MessageKind.CALL_LOG:
        return call_label(message.detail)
    if message.kind == MessageKind.TEXT:
        return None if (message.text or "").strip() or message.detail.get("ad") else _("Message without text")
    return f"{label}: {clean_name(name)}" if isinstance(name, str) else label


def _quote(message: Message, known: QuotedMessage | None) -> Quote | None:
    """The original where it is known, as it is now; else what WhatsApp has sent along of it."""
    told = message.quoted or {}
    if known is not None:
        text = message_summary(known.kind, known.text, deleted=known.deleted)
        return Quote(known.id, known.from_me, clean_name(known.sender_name or "") or None, False, text)
    kind, author = told.get("kind"), told.get("author")
    if kind is None and not told.get("status"):
        return None
    who = author if isinstance(author, str) and author.startswith("+") else None
    summary = message_summary(kind, told.get("text")) if isinstance(kind, str) else ""
    return Quote(None, told.get("fromMe") is True, who, told.get("status") is True, summary)


_MAX_INLINE = 8_000_000
"""Bytes of a file that the page loads by itself."""


_FILE_STATES: Mapping[str, str] = {
    "wanted": N_("is being fetched"),
    "kept": N_("is kept"),
    "gone": N_("is gone from WhatsApp"),
    "left_out": N_("is not kept"),
}


def _inline(message: Message, media: Mapping[str, Any]) -> str | None:
    size = media.get("size")
    if message.view_once or (isinstance(size, int) and size > _MAX_INLINE):
        return None
    return "image" if message.kind in INLINE_IMAGES else "sound" if message.kind in INLINE_AUDIO else None


def _side(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value <= 20_000 else None


def _sender(message: Message) -> str:
    sender, name = message.sender or "", clean_name(message.sender_name or "")
    return f"{name} · {sender}" if name and sender.startswith("+") else name or sender


def _options(message: Message) -> tuple[tuple[PollOption, ...], int]:
    if message.kind == MessageKind.EVENT:
        said = Counter(vote.options[0] if vote.options else None for vote in message.votes)
        names = (("going", _("Going")), ("maybe", _("Maybe")), ("not_going", _("Not going")))
        return tuple(PollOption(name, said[answer]) for answer, name in names if said[answer]), said[None]
    if message.kind != MessageKind.POLL:
        return (), 0
    votes = Counter(option for vote in message.votes for option in vote.options or ())
    listed = message.detail.get("options")
    choices = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    hidden = sum(vote.options is None for vote in message.votes)
    return tuple(PollOption(clean_name(name), votes[name]) for name in choices), hidden
