"""Says in words what a message is, how far it has come and on which day; makes foreign texts fit for a page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from markupsafe import Markup, escape

from zapline.domain.messages.delivery_status import DeliveryStatus
from zapline.domain.messages.facts import MessageKind
from zapline.domain.outbox.work_states import WorkState
from zapline.http.console.framework.formatting import number, short_date
from zapline.http.console.framework.translation import N_, _, ngettext

_NO_SHAPE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_TURNING = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of what follows them, also behind the end of the name they came in."""
_LINK = re.compile(r"https?://[^\s<>\"'`\u200b-\u200f\u202a-\u202e\u2066-\u2069]{1,2000}", re.IGNORECASE)
_LOOSE = ".,;:!?)]}»”’"
"""Ends a sentence behind a link more often than the link itself."""
_KINDS: Mapping[str, str] = {
    MessageKind.UNKNOWN: N_("A message of a kind that Zapline does not know yet"),
    MessageKind.TEXT: N_("Text"),
    MessageKind.IMAGE: N_("Photo"),
    MessageKind.VIDEO: N_("Video"),
    MessageKind.AUDIO: N_("Audio"),
    MessageKind.VOICE: N_("Voice message"),
    MessageKind.DOCUMENT: N_("Document"),
    MessageKind.STICKER: N_("Sticker"),
    MessageKind.LOCATION: N_("Location"),
    MessageKind.LIVE_LOCATION: N_("Live location"),
    MessageKind.CONTACT: N_("Contact"),
    MessageKind.CONTACTS: N_("Contacts"),
    MessageKind.POLL: N_("Poll"),
    MessageKind.BUTTON_REPLY: N_("Reply to a button"),
    MessageKind.LIST_REPLY: N_("Choice from a list"),
    MessageKind.TEMPLATE_REPLY: N_("Reply to a button"),
    MessageKind.INTERACTIVE_REPLY: N_("Reply to a form"),
    MessageKind.BUTTONS: N_("Message with buttons"),
    MessageKind.LIST: N_("Message with a list"),
    MessageKind.TEMPLATE: N_("Message with buttons"),
    MessageKind.INTERACTIVE: N_("Message with buttons"),
    MessageKind.ALBUM: N_("Album"),
    MessageKind.ORDER: N_("Order"),
    MessageKind.PRODUCT: N_("Product"),
    MessageKind.EVENT: N_("Event"),
    MessageKind.GROUP_INVITE: N_("Invitation to a group"),
    MessageKind.PAYMENT: N_("Payment"),
    MessageKind.CALL_LOG: N_("Call"),
    MessageKind.PLACEHOLDER: N_("Waiting for this message; look at the phone"),
}
_UNKNOWN_KIND = _KINDS[MessageKind.UNKNOWN]


@dataclass(frozen=True, slots=True)
class Tick:
    """How far one of ours has come. ``shape``: which sign; ``word``: the same for who does not see it."""

    shape: str
    word: str


_TICKS: Mapping[str, tuple[str, str]] = {
    WorkState.QUEUED: ("clock", N_("Queued")),
    WorkState.LEASED: ("clock", N_("Being sent")),
    WorkState.UNCERTAIN: ("uncertain", N_("Uncertain: it may have been delivered")),
    WorkState.DEAD: ("failed", N_("Not sent")),
    WorkState.EXPIRED: ("failed", N_("Not sent: its time was over")),
    WorkState.CANCELLED: ("cancelled", N_("Cancelled")),
}
_REACHED: Mapping[str | None, tuple[str, str]] = {
    None: ("one", N_("Sent")),
    DeliveryStatus.QUEUED.label: ("clock", N_("Queued")),
    DeliveryStatus.SENT.label: ("one", N_("Sent")),
    DeliveryStatus.FAILED.label: ("failed", N_("Not delivered")),
    DeliveryStatus.DELIVERED.label: ("two", N_("Delivered")),
    DeliveryStatus.READ.label: ("read", N_("Read")),
    DeliveryStatus.PLAYED.label: ("read", N_("Played")),
}


def tick(work: str | None, delivery: str | None) -> Tick:
    """How far a message of ours has come. What its reader's phone said counts before what became of our work."""
    further = delivery in (DeliveryStatus.DELIVERED.label, DeliveryStatus.READ.label, DeliveryStatus.PLAYED.label)
    shape, word = _REACHED.get(delivery, _REACHED[None])
    if work is not None and not further:
        shape, word = _TICKS.get(work, (shape, word))
    return Tick(shape, _(word))


def clean_name(text: str) -> str:
    """A name on one line: without controls, and without what would turn the direction of its surroundings."""
    return " ".join(_TURNING.sub("", _NO_SHAPE.sub(" ", text)).split())


def clean_lines(text: str) -> str:
    """A text with its lines, without controls. What turns it stays: its block keeps that to itself."""
    return _NO_SHAPE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def linkify(text: str) -> Markup:
    """A text whose addresses of the web are links; everything else in it is text."""
    made, at = [], 0
    cleaned = clean_lines(text)
    for found in _LINK.finditer(cleaned):
        address = found[0].rstrip(_LOOSE)
        made += [escape(cleaned[at : found.start()]), external_link(address, address)]
        at = found.start() + len(address)
    return Markup("").join([*made, escape(cleaned[at:])])


def external_link(address: str, text: str) -> Markup:
    """A link to another site, which is told nothing of where it came from; only text where it is no web address."""
    if _LINK.fullmatch(address) is None:
        return escape(text)
    return Markup('<a href="{}" rel="noopener noreferrer nofollow" target="_blank">{}</a>').format(address, text)


def kind_label(kind: str | None) -> str:
    return _(_KINDS.get(kind or "", _UNKNOWN_KIND))


def message_summary(kind: str | None, text: str | None, *, deleted: bool = False) -> str:
    """A message on one line."""
    if deleted:
        return _("This message was deleted")
    said = clean_name(text) if text else ""
    if kind == MessageKind.TEXT:
        return said
    return f"{kind_label(kind)}: {said}" if said else kind_label(kind)


def file_size(size: object) -> str:
    """Bytes as people count them; empty where the number is none."""
    if not isinstance(size, int) or size < 0:
        return ""
    for unit, least in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)):
        if size >= least:
            return f"{number(size / least, 1 if size < 10 * least and unit != 'kB' else 0)} {unit}"
    return f"{size} B"


# -- days ----------------------------------------------------------------------------------------------------


def day_label(day: date, today: date) -> str:
    """A day as the heading of its messages."""
    if day == today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    return short_date(day)


def unread_label(count: int, most: int) -> str:
    """How many are unread, for who does not see the badge."""
    return ngettext("{count} unread message", "{count} unread messages", min(count, most))
