"""Makes the bubbles of a thread: what each message shows of itself, with nothing in it that is trusted."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.failure_texts import failure_text
from zapline.domain.outbox.work_states import WorkState
from zapline.http.console.framework.message_labels import (
    Tick,
    clean_name,
    day_label,
    external_link,
    file_size,
    kind_label,
    linkify,
    message_summary,
    tick,
)
from zapline.http.console.framework.translation import _
from zapline.sql.conversations.conversations import Message
from zapline.sql.conversations.inbox import OutboxWork, QuotedMessage

INLINE_IMAGES = frozenset({MessageKind.IMAGE, MessageKind.STICKER})
INLINE_AUDIO = frozenset({MessageKind.VOICE, MessageKind.AUDIO})
_WITH_FILES = INLINE_IMAGES | INLINE_AUDIO | {MessageKind.VIDEO, MessageKind.DOCUMENT}


@dataclass(frozen=True, slots=True)
class PollOption:
    """An option of a poll, and how many chose it."""

    text: str
    votes: int


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message as a thread shows it. Texts are not escaped yet; ``day`` is set on the first of its day."""

    id: UUID
    ours: bool
    kind: str
    day: str | None
    at: datetime
    sender: str | None
    text: Markup | None
    note: str | None
    """What stands above the text, where the kind is no plain text."""
    rows: tuple[Markup, ...]
    """What else it holds, a line each."""
    deleted: bool
    edited: bool
    forwarded: bool
    view_once: bool
    file: str | None
    """The word for the file that it has, with its size."""
    inline: str | None
    """``image`` or ``sound``: what may be shown or heard in the page."""
    width: int | None
    height: int | None
    quoted: QuotedMessage | None
    quoted_text: str | None
    reactions: tuple[tuple[str, int], ...]
    options: tuple[PollOption, ...]
    hidden_votes: int
    tick: Tick | None
    reason: str | None
    due: datetime | None
    """When it is to be sent, if that is later than at once."""
    cancellable: bool
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
    """Messages in the order of the page, oldest first, each with what it shows."""
    local = ZoneInfo(zone)
    today, last = now.astimezone(local).date(), None
    for message in messages:
        at = message.sent_at.astimezone(local)
        day = day_label(at.date(), today) if at.date() != last else None
        last = at.date()
        yield _message_view(
            message, day, at, quoted.get(message.quoted_id or ""), works.get(message.id), now, group=group
        )


def _message_view(
    one: Message,
    day: str | None,
    at: datetime,
    quoted: QuotedMessage | None,
    work: OutboxWork | None,
    now: datetime,
    *,
    group: bool,
) -> MessageView:
    gone = one.deleted_at is not None
    media = one.media or {}
    has_file = one.kind in _WITH_FILES and not gone and one.external_id is not None
    word = kind_label(one.kind)
    name = media.get("fileName")
    failed = (
        work is not None
        and work.failure is not None
        and work.state in (WorkState.DEAD, WorkState.EXPIRED, WorkState.UNCERTAIN)
    )
    waits = work is not None and work.state == WorkState.QUEUED
    options, hidden = _options(one)
    return MessageView(
        id=one.id,
        ours=one.from_me,
        kind=one.kind,
        day=day,
        at=one.sent_at,
        sender=_sender(one) if group and not one.from_me else None,
        text=linkify(one.text)
        if one.text and not gone and one.kind not in (MessageKind.CONTACT, MessageKind.CONTACTS)
        else None,
        note=None
        if one.kind == MessageKind.TEXT or gone
        else (f"{word}: {clean_name(name)}" if isinstance(name, str) else word),
        rows=tuple(_rows(one)) if not gone else (),
        deleted=gone,
        edited=one.edited_at is not None,
        forwarded=one.forwarded,
        view_once=one.view_once,
        file=" ".join(filter(None, [word.lower(), file_size(media.get("size"))])) if has_file else None,
        inline=_inline(one, media) if has_file else None,
        width=_side(media.get("width")),
        height=_side(media.get("height")),
        quoted=quoted,
        quoted_text=message_summary(quoted.kind, quoted.text, deleted=quoted.deleted) if quoted is not None else None,
        reactions=tuple(Counter(clean_name(said.emoji or "")[:16] for said in one.reactions).most_common(8)),
        options=options,
        hidden_votes=hidden,
        tick=tick(one.work_state, one.delivery) if one.from_me else None,
        reason=_(failure_text(work.failure)) if failed and work is not None and work.failure is not None else None,
        due=work.due_at if waits and work is not None and work.due_at > now + timedelta(seconds=30) else None,
        cancellable=waits,
        uncertain=work is not None and work.state == WorkState.UNCERTAIN,
        twice=work is not None and work.twice,
    )


_MOST_INLINE = 8_000_000
"""Bytes of a file that a page loads by itself."""


def _inline(one: Message, media: Mapping[str, Any]) -> str | None:
    size = media.get("size")
    if one.view_once or (isinstance(size, int) and size > _MOST_INLINE):
        return None
    return "image" if one.kind in INLINE_IMAGES else "sound" if one.kind in INLINE_AUDIO else None


def _side(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value <= 20_000 else None


def _sender(one: Message) -> str:
    who = one.sender or ""
    told = clean_name(one.sender_name or "")
    return f"{told} · {who}" if told and who.startswith("+") else told or who


def _options(one: Message) -> tuple[tuple[PollOption, ...], int]:
    if one.kind != MessageKind.POLL:
        return (), 0
    votes = Counter(option for said in one.votes for option in said.options or ())
    named = one.detail.get("options")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    hidden = sum(said.options is None for said in one.votes)
    return tuple(PollOption(clean_name(name), votes[name]) for name in names), hidden


def _rows(one: Message) -> Iterator[Markup]:
    """What a message of a particular kind holds beside its text; nothing of it is trusted."""
    detail = one.detail
    if one.kind in (MessageKind.LOCATION, MessageKind.LIVE_LOCATION):
        yield from _place(detail)
    elif one.kind in (MessageKind.CONTACT, MessageKind.CONTACTS):
        cards = detail.get("contacts")
        for card in cards[:20] if isinstance(cards, list) else ():
            if isinstance(card, dict):
                phones = [clean_name(one) for one in card.get("phones") or () if isinstance(one, str)]
                yield Markup("<bdi>{}</bdi> {}").format(clean_name(str(card.get("name") or "")), ", ".join(phones))
    elif one.kind in (MessageKind.BUTTONS, MessageKind.TEMPLATE, MessageKind.INTERACTIVE):
        buttons = detail.get("buttons")
        for button in buttons[:10] if isinstance(buttons, list) else ():
            if isinstance(button, dict) and isinstance(button.get("text"), str):
                yield Markup("[<bdi>{}</bdi>]").format(clean_name(button["text"]))
    elif one.kind == MessageKind.UNKNOWN:
        yield escape(_("Open the conversation on the phone to read it."))


def _place(detail: Mapping[str, Any]) -> Iterator[Markup]:
    for field in ("name", "address"):
        if isinstance(detail.get(field), str):
            yield Markup("<bdi>{}</bdi>").format(clean_name(detail[field]))
    latitude, longitude = detail.get("latitude"), detail.get("longitude")
    if isinstance(latitude, int | float) and isinstance(longitude, int | float):
        shown = f"{latitude:.5f}, {longitude:.5f}"
        address = f"https://www.openstreetmap.org/?mlat={latitude:.5f}&mlon={longitude:.5f}#map=16/{latitude:.5f}/{longitude:.5f}"
        yield Markup("{} · {}").format(shown, external_link(address, _("open the map")))
