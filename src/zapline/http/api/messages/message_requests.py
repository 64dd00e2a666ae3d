"""Request bodies for sending messages, and their conversion to a send request."""

import re
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.contents import File, Location, Poll, SharedContact, Text
from zapline.domain.text import clean_text
from zapline.http.api.framework.json_bodies import AwareDatetime, RequestBody
from zapline.http.api.framework.problems import invalid
from zapline.supervisors.outbound.message_composition import ReactionRequest, RequestedContent, SendRequest

_Name = Annotated[str, Meta(max_length=200)]
_Note = Annotated[str, Meta(max_length=2000)]
_Caption = Annotated[str, Meta(max_length=65_536)]
_Url = Annotated[str, Meta(min_length=1, max_length=4096)]
"""Presigned URLs of object stores are long."""
_FileName = Annotated[str, Meta(min_length=1, max_length=255)]
_Mimetype = Annotated[str, Meta(max_length=150)]
MIMETYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,80}/[a-z0-9][a-z0-9!#$&^_.+-]{0,80}")
_MAX_OPTIONS = 10
"""Of a poll: the limit of Evolution, which is below that of WhatsApp."""
_MAX_MENTIONS = 256
_MAX_EMOJI = 32
"""Code points: family emojis with skin tones have a dozen."""


class MessageFile(RequestBody, frozen=True):
    """``url`` or ``upload``: the id of what was uploaded."""

    url: Annotated[_Url | None, Meta(description="Where the file is; it is fetched by Evolution.")] = None
    upload: Annotated[UUID | None, Meta(description="Instead of `url`: the id of an upload.")] = None
    caption: _Caption | None = None
    file_name: _FileName | None = None
    mimetype: Annotated[_Mimetype | None, Meta(description="Its media type, where it cannot be told.")] = None


class MessageAudio(RequestBody, frozen=True):
    """A voice note; ``voice`` false: a file."""

    url: Annotated[_Url | None, Meta(description="Where the file is; it is fetched by Evolution.")] = None
    upload: Annotated[UUID | None, Meta(description="Instead of `url`: the id of an upload.")] = None
    file_name: _FileName | None = None
    mimetype: Annotated[_Mimetype | None, Meta(description="Its media type, where it cannot be told.")] = None
    voice: Annotated[bool, Meta(description="`false`: a file of sound instead of a voice note.")] = True


class MessageSticker(RequestBody, frozen=True):
    """``url`` or ``upload``: the id of what was uploaded."""

    url: Annotated[_Url | None, Meta(description="Where the picture is; it is fetched by Evolution.")] = None
    upload: Annotated[UUID | None, Meta(description="Instead of `url`: the id of an upload.")] = None


class Place(RequestBody, frozen=True):
    """Degrees."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    name: _Note = ""
    address: _Note = ""


class ContactCard(RequestBody, frozen=True):
    """A contact to hand on; ``phone`` in any usual form."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    phone: Annotated[Annotated[str, Meta(min_length=1, max_length=80)], Meta(description="In any usual form.")]
    organization: _Name | None = None
    email: Annotated[str, Meta(max_length=254)] | None = None
    url: _Note | None = None


class NewReaction(RequestBody, frozen=True):
    """``emoji`` empty: take the reaction back. ``message_id``: our id of the message reacted to."""

    emoji: Annotated[Annotated[str, Meta(max_length=_MAX_EMOJI)], Meta(description="Empty: take the reaction back.")]
    message_id: Annotated[UUID, Meta(description="Our id of the message that is reacted to.")]


class NewPoll(RequestBody, frozen=True):
    """``selectable``: how many options one may choose; 0 is as many as there are."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    options: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(min_length=2)]
    selectable: Annotated[
        Annotated[int, Meta(ge=0, le=_MAX_OPTIONS)],
        Meta(description="How many options one may choose; 0: as many as there are."),
    ] = 1


class NewMessage(RequestBody, frozen=True):
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
    sticker: Annotated[
        MessageSticker | None, Meta(description="A picture as a sticker; Evolution makes WebP of any.")
    ] = None
    location: Annotated[Place | None, Meta(description="A place.")] = None
    contact: Annotated[ContactCard | None, Meta(description="A contact to hand on.")] = None
    reaction: Annotated[NewReaction | None, Meta(description="An emoji on a message.")] = None
    poll: Annotated[NewPoll | None, Meta(description="A poll.")] = None
    reply_to: Annotated[UUID | None, Meta(description="Our id of the message that is answered.")] = None
    send_at: Annotated[
        AwareDatetime | None, Meta(description="Not before this time, with its zone; at most a year ahead.")
    ] = None
    expires_at: Annotated[
        AwareDatetime | None, Meta(description="Not after this time: what has not been sent by then never is.")
    ] = None
    mentions: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=80)], ...],
        Meta(
            max_length=_MAX_MENTIONS,
            description="In a group: who is told that the message is about him, phones in any usual form or JIDs. "
            "WhatsApp shows a mention where the text has `@` and the digits of the person's id.",
        ),
    ] = ()
    mention_everyone: Annotated[bool, Meta(description="In a group: all who are in it are mentioned.")] = False
    link_preview: Annotated[
        bool | None, Meta(description="Of a text: whether WhatsApp shows what a link leads to; true unless told.")
    ] = None


_CONTENTS = ("text", "image", "video", "audio", "document", "sticker", "location", "contact", "reaction", "poll")
_WITH_MENTIONS = ("text", "image", "video", "document")


def send_request(body: NewMessage) -> SendRequest:
    """The send request of a body. Raises Problem 422 naming the field."""
    if not body.client_message_id.isprintable():
        raise invalid("clientMessageId", "holds printable characters only")
    if body.to is not None and body.conversation_id is not None:
        raise invalid("to", "is given, and conversationId too: one of them is enough")
    if body.to is None and body.conversation_id is None and body.reaction is None:
        raise invalid("to", "is missing: a phone number, or conversationId instead")
    contents = [name for name in _CONTENTS if getattr(body, name) is not None]
    if len(contents) != 1:
        sentence = "are given: a message has exactly one of" if contents else "are missing: a message has one of"
        raise invalid(
            contents[1] if contents else "text",
            f"{', '.join(contents) or 'contents'} {sentence} {', '.join(_CONTENTS)}",
        )
    if body.link_preview is not None and body.text is None:
        raise invalid("linkPreview", "is for texts only")
    if (body.mentions or body.mention_everyone) and contents[0] not in _WITH_MENTIONS:
        raise invalid("mentions", f"is for {', '.join(_WITH_MENTIONS)}")
    if body.reply_to is not None and body.reaction is not None:
        raise invalid("replyTo", "has no use with a reaction, which names its message")
    return SendRequest(
        client_id=body.client_message_id,
        content=_content(body),
        to=body.to,
        conversation=body.conversation_id,
        reply_to=body.reply_to,
        send_at=body.send_at.timestamp() if body.send_at else None,
        expires_at=body.expires_at.timestamp() if body.expires_at else None,
        mentions=body.mentions,
        mention_everyone=body.mention_everyone,
    )


def _content(body: NewMessage) -> RequestedContent:
    if body.text is not None:
        return Text(_clean_text("text", body.text), body.link_preview is not False)
    for name, kind, file in (
        ("image", MessageKind.IMAGE, body.image),
        ("video", MessageKind.VIDEO, body.video),
        ("document", MessageKind.DOCUMENT, body.document),
    ):
        if file is not None:
            return _file(name, kind, file, file.caption)
    if body.audio is not None:
        return _file("audio", MessageKind.VOICE if body.audio.voice else MessageKind.AUDIO, body.audio, None)
    if body.sticker is not None:
        if (body.sticker.url is None) is (body.sticker.upload is None):
            raise invalid("sticker", "has either url or upload")
        return File(kind=MessageKind.STICKER, url=body.sticker.url, upload=body.sticker.upload)
    if body.location is not None:
        location = body.location
        return Location(location.latitude, location.longitude, clean_text(location.name), clean_text(location.address))
    if body.contact is not None:
        card = body.contact
        more = (clean_text(value) if value else None for value in (card.organization, card.email, card.url))
        return SharedContact(_clean_text("contact.name", card.name), clean_text(card.phone), *more)
    if body.poll is not None:
        return _poll(body.poll)
    assert body.reaction is not None
    emoji = clean_text(body.reaction.emoji).strip()
    if emoji and emoji.isascii():
        raise invalid("reaction.emoji", "is one emoji, or empty to take the reaction back")
    return ReactionRequest(emoji, body.reaction.message_id)


def _file(name: str, kind: MessageKind, file: MessageFile | MessageAudio, caption: str | None) -> File:
    if (file.url is None) is (file.upload is None):
        raise invalid(name, "has either url or upload")
    return File(
        kind=kind,
        url=file.url,
        upload=file.upload,
        mimetype=media_type(f"{name}.mimetype", file.mimetype) if file.mimetype is not None else None,
        file_name=file_name(f"{name}.fileName", file.file_name) if file.file_name is not None else None,
        caption=(clean_text(caption) or None) if caption is not None else None,
    )


def _poll(poll: NewPoll) -> Poll:
    options = tuple(_clean_text(f"poll.options[{number}]", option) for number, option in enumerate(poll.options))
    if len(options) > _MAX_OPTIONS:
        raise invalid("poll.options", f"has at most {_MAX_OPTIONS} entries")
    if len(set(options)) != len(options):
        raise invalid("poll.options", "says something twice")
    if poll.selectable > len(options):
        raise invalid("poll.selectable", "is more than there are options")
    return Poll(_clean_text("poll.name", poll.name), options, poll.selectable)


def _clean_text(field: str, text: str) -> str:
    """The text as it can be stored. Raises Problem 422 if nothing is left of it."""
    cleaned = clean_text(text)
    if not cleaned.strip():
        raise invalid(field, "is empty")
    return cleaned


def media_type(field: str, text: str) -> str:
    """A media type without parameters, in lower case. Raises Problem 422."""
    mimetype = text.partition(";")[0].strip().lower()
    if MIMETYPE.fullmatch(mimetype) is None:
        raise invalid(field, "is a media type, as image/jpeg")
    return mimetype


def file_name(field: str, text: str) -> str:
    """A file name without path characters. Raises Problem 422."""
    name = clean_text(text).strip()
    if not name.isprintable() or not name.strip(".") or "/" in name or "\\" in name:
        raise invalid(field, "is a name without path, as offer.pdf")
    return name
