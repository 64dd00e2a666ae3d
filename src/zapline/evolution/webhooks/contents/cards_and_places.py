"""Reads texts with links, locations, contact cards, polls and events.

Each function returns the text that a person would read and, in ``detail``, plain JSON values of bounded size.
"""

import re
from collections.abc import Iterator
from typing import Any

from zapline.domain.contacts.phone_numbers import InvalidPhone, parse_phone
from zapline.domain.messages.facts import MessageKind
from zapline.domain.text import clean_text
from zapline.evolution.webhooks.contents.content import MessageContent
from zapline.evolution.webhooks.json_fields import (
    LONGEST_NAME,
    LONGEST_TEXT,
    JsonObject,
    epoch_seconds,
    finite_number,
    int32,
    jid,
    obj,
    objects,
    short_text,
    short_texts,
    text,
    whole_number,
    without_none,
)

_LONGEST_VCARD = 16_384
"""Characters; a longer card holds a photo, and only its phones are kept."""
_SEARCHED_VCARD = 262_144
_MOST_PHONES = 20
_FOLD = re.compile(r"\r?\n[ \t]")
_TEL = re.compile(
    r"^[ \t]*(?:[\w-]{1,40}\.)?TEL((?:;[^:\r\n]{0,200})?):[ \t]*([^\r\n]{1,200})", re.IGNORECASE | re.MULTILINE
)
"""A phone of a card, also in a group (``item1.TEL``), as iPhones write it."""
_WAID = re.compile(r";\s*waid=(\d{7,15})", re.IGNORECASE)


def extended_text(value: JsonObject) -> MessageContent:
    body = text(value.get("text"))
    if body is None:
        return MessageContent(MessageKind.UNKNOWN)
    url = short_text(value.get("canonicalUrl")) or short_text(value.get("matchedText"))
    if url is None:
        return MessageContent(MessageKind.TEXT, body)
    link = {"url": url} | short_texts(value, title="title", description="description")
    return MessageContent(MessageKind.TEXT, body, {"link": link})


def coordinates(value: JsonObject) -> dict[str, object]:
    latitude = finite_number(value.get("degreesLatitude"), 90)
    longitude = finite_number(value.get("degreesLongitude"), 180)
    names = short_texts(value, name="name", address="address", url="url")
    return without_none(latitude=latitude, longitude=longitude) | names


def location(value: JsonObject) -> MessageContent:
    return MessageContent(MessageKind.LOCATION, short_text(value.get("comment")), coordinates(value))


def live_location(value: JsonObject) -> MessageContent:
    detail = coordinates(value) | without_none(
        accuracy=int32(value.get("accuracyInMeters")), sequence=whole_number(value.get("sequenceNumber"))
    )
    return MessageContent(MessageKind.LIVE_LOCATION, short_text(value.get("caption"), LONGEST_TEXT), detail)


# -- contact cards -----------------------------------------------------------------------------------------------


def card_phones(vcard: str) -> list[str]:
    """The phones of a vCard: WhatsApp's ``waid`` where a number has one, else the number as E.164, else as written."""
    return list(dict.fromkeys(_phones(_FOLD.sub("", vcard[:_SEARCHED_VCARD]))))[:_MOST_PHONES]


def _phones(vcard: str) -> Iterator[str]:
    for parameters, written in _TEL.findall(vcard):
        known = _WAID.search(parameters)
        if known is not None:
            yield "+" + known[1]
            continue
        number = clean_text(written, 60).strip()
        number = number[4:] if number[:4].lower() == "tel:" else number
        try:
            yield parse_phone(number)
        except InvalidPhone:
            if any(digit.isdigit() for digit in number):
                yield number


def _contact_card(value: JsonObject) -> dict[str, object]:
    raw = value.get("vcard")
    phones = card_phones(raw) if isinstance(raw, str) else []
    vcard = short_text(raw, _LONGEST_VCARD) if isinstance(raw, str) and len(raw) <= _LONGEST_VCARD else None
    return without_none(name=short_text(value.get("displayName"), LONGEST_NAME), vcard=vcard, phones=phones or None)


def contact(value: JsonObject) -> MessageContent:
    name = short_text(value.get("displayName"), LONGEST_NAME)
    return MessageContent(MessageKind.CONTACT, name, {"contacts": [_contact_card(value)]})


def contacts(value: JsonObject) -> MessageContent:
    detail = {"contacts": [_contact_card(card) for card in objects(value.get("contacts"))]}
    return MessageContent(MessageKind.CONTACTS, short_text(value.get("displayName"), LONGEST_NAME), detail)


def shared_chat(value: JsonObject) -> MessageContent:
    """A chat that is handed on: its name, and whose it is."""
    name = short_text(value.get("displayName"), LONGEST_NAME)
    return MessageContent(MessageKind.CONTACT, name, {"contacts": [without_none(name=name)]})


# -- polls and events --------------------------------------------------------------------------------------------


def poll(value: JsonObject) -> MessageContent:
    options = [short_text(option.get("optionName")) or "" for option in objects(value.get("options"))]
    detail = {"options": options} | without_none(
        selectable=int32(value.get("selectableOptionsCount")),
        answer=short_text(obj(value.get("correctAnswer")).get("optionName")),
        ends_at=epoch_seconds(value.get("endTime")),
    )
    return MessageContent(MessageKind.POLL, short_text(value.get("name")), detail)


def poll_result(value: JsonObject) -> MessageContent:
    """The counted votes of a poll that is over."""
    results = [
        {"option": short_text(vote.get("optionName")) or "", "votes": int32(vote.get("optionVoteCount")) or 0}
        for vote in objects(value.get("pollVotes"))
    ]
    return MessageContent(MessageKind.POLL_RESULT, short_text(value.get("name")), {"results": results})


def event(value: JsonObject) -> MessageContent:
    detail = short_texts(value, description="description", link="joinLink") | without_none(
        starts_at=epoch_seconds(value.get("startTime")),
        ends_at=epoch_seconds(value.get("endTime")),
        cancelled=True if value.get("isCanceled") is True else None,
        location=coordinates(obj(value.get("location"))) or None,
    )
    return MessageContent(MessageKind.EVENT, short_text(value.get("name")), detail)


def event_invite(value: JsonObject) -> MessageContent:
    detail = short_texts(value, id="eventId", description="caption", link="callLink") | without_none(
        starts_at=epoch_seconds(value.get("startTime")),
        ends_at=epoch_seconds(value.get("endTime")),
        cancelled=True if value.get("isCanceled") is True else None,
    )
    return MessageContent(MessageKind.EVENT, short_text(value.get("eventTitle")), detail)


def group_invite(value: JsonObject) -> MessageContent:
    detail = without_none(
        group=short_text(value.get("groupJid"), 128),
        name=short_text(value.get("groupName")),
        code=short_text(value.get("inviteCode"), 200),
        expires_at=epoch_seconds(value.get("inviteExpiration")),
    )
    return MessageContent(MessageKind.GROUP_INVITE, short_text(value.get("caption"), LONGEST_TEXT), detail)


def newsletter_invite(value: JsonObject) -> MessageContent:
    name = short_text(value.get("newsletterName"))
    detail = without_none(newsletter=short_text(jid(value.get("newsletterJid")), 128), name=name)
    return MessageContent(MessageKind.GROUP_INVITE, short_text(value.get("caption"), LONGEST_TEXT) or name, detail)


# -- stickers, answers of Meta AI, music --------------------------------------------------------------------------


def sticker_pack(value: JsonObject) -> MessageContent:
    stickers = value.get("stickers")
    detail = short_texts(value, publisher="publisher", description="packDescription", caption="caption") | without_none(
        stickers=len(stickers) if isinstance(stickers, list) and stickers else None
    )
    return MessageContent(MessageKind.STICKER_PACK, short_text(value.get("name")), detail)


def rich_response(value: JsonObject) -> MessageContent:
    """An answer of Meta AI: the texts, codes and tables of its parts, in their order."""
    parts = [part for part in map(_rich_part, objects(value.get("submessages"))) if part]
    body = clean_text("\n\n".join(parts), LONGEST_TEXT)
    return MessageContent(MessageKind.TEXT if body else MessageKind.UNKNOWN, body or None, {"rich_response": True})


def _rich_part(part: JsonObject) -> str:
    code = "".join(
        text(block.get("codeContent")) or "" for block in objects(obj(part.get("codeMetadata")).get("codeBlocks"))
    )
    table = "\n".join(
        " | ".join(_cells(row.get("items"))) for row in objects(obj(part.get("tableMetadata")).get("rows"))
    )
    return text(part.get("messageText")) or code or table


def _cells(value: Any) -> list[str]:
    return [cell for cell in map(text, value[:20]) if cell] if isinstance(value, list) else []


def music(value: JsonObject) -> MessageContent:
    song = obj(value.get("embeddedMusic"))
    detail = short_texts(song, title="title", author="author") | short_texts(value, url="songUri")
    name = " – ".join(str(detail[key]) for key in ("author", "title") if key in detail)
    return MessageContent(MessageKind.TEXT, name or short_text(value.get("songUri")) or "", detail)


def text_about(value: JsonObject) -> MessageContent:
    """An answer to a question, or a status that is quoted: a text, and the key of what it is about."""
    body = text(value.get("text"))
    return MessageContent(MessageKind.UNKNOWN) if body is None else MessageContent(MessageKind.TEXT, body)
