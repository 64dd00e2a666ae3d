"""What a request for a message says, and what is asked of Zapline by it."""

import re
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from zapline.domain.messages.events import Kind
from zapline.domain.outbox.work_states import Card, File, Location, Poll, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.json_bodies import Body
from zapline.http.api.framework.problems import invalid
from zapline.supervisors.outbound.message_composition import React, SendAsked, Wanted

_Moment = Annotated[datetime, Meta(tz=True)]
_Name = Annotated[str, Meta(max_length=200)]
_Note = Annotated[str, Meta(max_length=2000)]
_Caption = Annotated[str, Meta(max_length=65_536)]
_Url = Annotated[str, Meta(min_length=1, max_length=4096)]
"""Signed URLs of stores are long."""
_FileName = Annotated[str, Meta(min_length=1, max_length=255)]
_Mimetype = Annotated[str, Meta(max_length=150)]
MIMETYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}")
_MOST_OPTIONS = 10
"""Of a poll: Evolution takes no more, though WhatsApp would."""
_LONGEST_EMOJI = 32
"""Code points: families with skin tones have a dozen."""


class MessageFile(Body, frozen=True):
    """``url`` or ``upload``: the id of what was uploaded."""

    url: Annotated[_Url | None, Meta(description="Where the file is; it is fetched by Evolution.")] = None
    upload: Annotated[UUID | None, Meta(description="Instead of `url`: the id of an upload.")] = None
    caption: _Caption | None = None
    file_name: _FileName | None = None
    mimetype: Annotated[_Mimetype | None, Meta(description="Its media type, where it cannot be told.")] = None


class MessageAudio(Body, frozen=True):
    """A voice note; ``voice`` false: a file."""

    url: Annotated[_Url | None, Meta(description="Where the file is; it is fetched by Evolution.")] = None
    upload: Annotated[UUID | None, Meta(description="Instead of `url`: the id of an upload.")] = None
    file_name: _FileName | None = None
    mimetype: Annotated[_Mimetype | None, Meta(description="Its media type, where it cannot be told.")] = None
    voice: Annotated[bool, Meta(description="`false`: a file of sound instead of a voice note.")] = True


class Place(Body, frozen=True):
    """Degrees."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    name: _Note = ""
    address: _Note = ""


class ContactCard(Body, frozen=True):
    """A contact to hand on; ``phone`` in any usual form."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    phone: Annotated[Annotated[str, Meta(min_length=1, max_length=80)], Meta(description="In any usual form.")]
    organization: _Name | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None
    url: _Note | None = None


class NewReaction(Body, frozen=True):
    """``emoji`` empty: take the reaction back. ``message_id``: our id of the message reacted to."""

    emoji: Annotated[
        Annotated[str, Meta(max_length=_LONGEST_EMOJI)], Meta(description="Empty: take the reaction back.")
    ]
    message_id: Annotated[UUID, Meta(description="Our id of the message that is reacted to.")]


class NewPoll(Body, frozen=True):
    """``selectable``: how many options one may choose; 0 is as many as there are."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    options: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=2)]
    selectable: Annotated[
        Annotated[int, Meta(ge=0, le=_MOST_OPTIONS)],
        Meta(description="How many options one may choose; 0: as many as there are."),
    ] = 1


class NewMessage(Body, frozen=True):
    """Body of ``POST /units/{id}/messages``: ``to`` or ``conversation_id``, and exactly one content."""

    client_message_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)],
        Meta(description="Your key for this message, printable; repeating it is safe."),
    ]
    to: Annotated[
        Annotated[str, Meta(min_length=1, max_length=128)] | None,
        Meta(description="A phone in any usual form, or the JID of a person or group."),
    ] = None
    conversation_id: Annotated[UUID | None, Meta(description="Instead of `to`: write into this conversation.")] = None
    text: Annotated[
        Annotated[str, Meta(min_length=1, max_length=65_536)] | None,
        Meta(description="With WhatsApp's own marks, as `*bold*`."),
    ] = None
    image: Annotated[MessageFile | None, Meta(description="A picture.")] = None
    video: Annotated[MessageFile | None, Meta(description="A film.")] = None
    audio: Annotated[MessageAudio | None, Meta(description="A voice note, or a file of sound.")] = None
    document: Annotated[MessageFile | None, Meta(description="Any file.")] = None
    location: Annotated[Place | None, Meta(description="A place.")] = None
    contact: Annotated[ContactCard | None, Meta(description="A contact to hand on.")] = None
    reaction: Annotated[NewReaction | None, Meta(description="An emoji on a message.")] = None
    poll: Annotated[NewPoll | None, Meta(description="A poll.")] = None
    reply_to: Annotated[UUID | None, Meta(description="Our id of the message that is answered.")] = None
    send_at: Annotated[
        _Moment | None, Meta(description="Not before this time, with its zone; at most a year ahead.")
    ] = None
    expires_at: Annotated[
        _Moment | None, Meta(description="Not after this time: what has not been sent by then never is.")
    ] = None
    link_preview: Annotated[
        bool | None, Meta(description="Of a text: whether WhatsApp shows what a link leads to; true unless told.")
    ] = None


_CONTENTS = ("text", "image", "video", "audio", "document", "location", "contact", "reaction", "poll")


def send_asked(asked: NewMessage) -> SendAsked:
    """What the body asks for. Raises Problem 422 naming the field."""
    if not asked.client_message_id.isprintable():
        raise invalid("clientMessageId", "holds printable characters only")
    if asked.to is not None and asked.conversation_id is not None:
        raise invalid("to", "is given, and conversationId too: one of them is enough")
    if asked.to is None and asked.conversation_id is None and asked.reaction is None:
        raise invalid("to", "is missing: a phone number, or conversationId instead")
    given = [name for name in _CONTENTS if getattr(asked, name) is not None]
    if len(given) != 1:
        said = "are given: a message has exactly one of" if given else "are missing: a message has one of"
        raise invalid(given[1] if given else "text", f"{', '.join(given) or 'contents'} {said} {', '.join(_CONTENTS)}")
    if asked.link_preview is not None and asked.text is None:
        raise invalid("linkPreview", "is for texts only")
    if asked.reply_to is not None and asked.reaction is not None:
        raise invalid("replyTo", "has no use with a reaction, which names its message")
    return SendAsked(
        client_id=asked.client_message_id,
        content=_content(asked),
        to=asked.to,
        conversation=asked.conversation_id,
        reply_to=asked.reply_to,
        send_at=asked.send_at.timestamp() if asked.send_at else None,
        expires_at=asked.expires_at.timestamp() if asked.expires_at else None,
    )


def _content(asked: NewMessage) -> Wanted:
    if asked.text is not None:
        return Text(_said("text", asked.text), asked.link_preview is not False)
    for name, kind, file in (
        ("image", Kind.IMAGE, asked.image),
        ("video", Kind.VIDEO, asked.video),
        ("document", Kind.DOCUMENT, asked.document),
    ):
        if file is not None:
            return _file(name, kind, file, file.caption)
    if asked.audio is not None:
        return _file("audio", Kind.VOICE if asked.audio.voice else Kind.AUDIO, asked.audio, None)
    if asked.location is not None:
        place = asked.location
        return Location(place.latitude, place.longitude, clean_text(place.name), clean_text(place.address))
    if asked.contact is not None:
        card = asked.contact
        more = (clean_text(given) if given else None for given in (card.organization, card.email, card.url))
        return Card(_said("contact.name", card.name), clean_text(card.phone), *more)
    if asked.poll is not None:
        return _poll(asked.poll)
    assert asked.reaction is not None
    emoji = clean_text(asked.reaction.emoji).strip()
    if emoji and emoji.isascii():
        raise invalid("reaction.emoji", "is one emoji, or empty to take the reaction back")
    return React(emoji, asked.reaction.message_id)


def _file(name: str, kind: Kind, file: MessageFile | MessageAudio, caption: str | None) -> File:
    if (file.url is None) is (file.upload is None):
        raise invalid(name, "has either url or upload")
    if file.mimetype is not None and MIMETYPE.fullmatch(file.mimetype.partition(";")[0].strip().lower()) is None:
        raise invalid(f"{name}.mimetype", "is a media type, as image/jpeg")
    return File(
        kind=kind,
        url=file.url,
        upload=file.upload,
        mimetype=file.mimetype.partition(";")[0].strip().lower() if file.mimetype is not None else None,
        file_name=file_name(f"{name}.fileName", file.file_name) if file.file_name is not None else None,
        caption=(clean_text(caption) or None) if caption is not None else None,
    )


def _poll(poll: NewPoll) -> Poll:
    options = tuple(_said(f"poll.options[{number}]", option) for number, option in enumerate(poll.options))
    if len(options) > _MOST_OPTIONS:
        raise invalid("poll.options", f"has at most {_MOST_OPTIONS} entries")
    if len(set(options)) != len(options):
        raise invalid("poll.options", "says something twice")
    if poll.selectable > len(options):
        raise invalid("poll.selectable", "is more than there are options")
    return Poll(_said("poll.name", poll.name), options, poll.selectable)


def _said(field: str, text: str) -> str:
    """The text as it can be stored. Raises Problem 422 where nothing is left of it."""
    cleaned = clean_text(text)
    if not cleaned.strip():
        raise invalid(field, "is empty")
    return cleaned


def file_name(field: str, given: str) -> str:
    """A file's name without anything that could be a path. Raises Problem 422."""
    name = clean_text(given).strip()
    if not name.isprintable() or not name.strip(".") or "/" in name or "\\" in name:
        raise invalid(field, "is a name without path, as offer.pdf")
    return name
