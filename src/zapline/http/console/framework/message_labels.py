"""Labels a message's kind, delivery and day; cleans and links texts that strangers wrote, for use in a page."""

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

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_BIDI_CONTROLS = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""They change the direction of the text behind them, even beyond the name that holds them."""
_LINK = re.compile(r"https?://[^\s<>\"'`\u200b-\u200f\u202a-\u202e\u2066-\u2069]{1,2000}", re.IGNORECASE)
_TRAILING_PUNCTUATION = ".,;:!?)]}»”’"
"""At the end of a URL it usually belongs to the sentence, not to the URL."""
_KIND_LABELS: Mapping[str, str] = {
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
    MessageKind.STICKER_PACK: N_("Sticker pack"),
    MessageKind.POLL_RESULT: N_("Result of a poll"),
    MessageKind.PIN: N_("A message was pinned or unpinned"),
    MessageKind.KEEP: N_("A message was kept, or is not kept any more"),
    MessageKind.PLACEHOLDER: N_("Waiting for this message; look at the phone"),
}
_UNKNOWN_KIND = _KIND_LABELS[MessageKind.UNKNOWN]


@dataclass(frozen=True, slots=True)
class Tick:
    """How far one of our messages is: ``shape`` names the sign, ``label`` says it to screen readers."""

    shape: str
    label: str


_WORK_TICKS: Mapping[str, tuple[str, str]] = {
    WorkState.QUEUED: ("clock", N_("Queued")),
    WorkState.LEASED: ("clock", N_("Being sent")),
    WorkState.UNCERTAIN: ("uncertain", N_("Uncertain: it may have been delivered")),
    WorkState.DEAD: ("failed", N_("Not sent")),
    WorkState.EXPIRED: ("failed", N_("Not sent: its time was over")),
    WorkState.CANCELLED: ("cancelled", N_("Cancelled")),
}
_DELIVERY_TICKS: Mapping[str | None, tuple[str, str]] = {
    None: ("one", N_("Sent")),
    DeliveryStatus.QUEUED.label: ("clock", N_("Queued")),
    DeliveryStatus.SENT.label: ("one", N_("Sent")),
    DeliveryStatus.FAILED.label: ("failed", N_("Not delivered")),
    DeliveryStatus.DELIVERED.label: ("two", N_("Delivered")),
    DeliveryStatus.READ.label: ("read", N_("Read")),
    DeliveryStatus.PLAYED.label: ("read", N_("Played")),
}


def tick(work: str | None, delivery: str | None) -> Tick:
    """The tick of one of our messages. What the reader's phone has reported counts before the state of our work."""
    on_phone = delivery in (DeliveryStatus.DELIVERED.label, DeliveryStatus.READ.label, DeliveryStatus.PLAYED.label)
    shape, label = _DELIVERY_TICKS.get(delivery, _DELIVERY_TICKS[None])
    if work is not None and not on_phone:
        shape, label = _WORK_TICKS.get(work, (shape, label))
    return Tick(shape, _(label))


def clean_name(text: str) -> str:
    """A name on one line, without control characters and without marks that change the direction of what follows."""
    return " ".join(_BIDI_CONTROLS.sub("", _CONTROLS.sub(" ", text)).split())


def clean_lines(text: str) -> str:
    """A text of several lines without control characters. Direction marks stay: the text's block isolates them."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def linkify(text: str) -> Markup:
    """Escape a text and turn its web addresses into links."""
    pieces, position = [], 0
    cleaned = clean_lines(text)
    for match in _LINK.finditer(cleaned):
        address = match[0].rstrip(_TRAILING_PUNCTUATION)
        pieces += [escape(cleaned[position : match.start()]), external_link(address, address)]
        position = match.start() + len(address)
    return Markup("").join([*pieces, escape(cleaned[position:])])


def external_link(address: str, text: str) -> Markup:
    """A link to another site, without a referrer; plain text if ``address`` is not a web address."""
    if _LINK.fullmatch(address) is None:
        return escape(text)
    return Markup('<a href="{}" rel="noopener noreferrer nofollow" target="_blank">{}</a>').format(address, text)


def kind_label(kind: str | None) -> str:
    return _(_KIND_LABELS.get(kind or "", _UNKNOWN_KIND))


def call_label(detail: Mapping[str, object]) -> str:
    """A call in words, no more than is known of it: WhatsApp tells alike that it was hung up and taken elsewhere."""
    outcome = detail.get("outcome")
    if detail.get("cancelled"):
        words = N_("A planned call was called off")
    elif detail.get("starts_at"):
        words = N_("A call is planned")
    elif detail.get("accepted") or outcome in ("connected", "accepted_elsewhere", "ongoing"):
        words = N_("Call, answered")
    elif detail.get("rejected") or outcome == "rejected":
        words = N_("Call, declined")
    elif detail.get("missed") or outcome in ("missed", "silenced_by_dnd", "silenced_unknown_caller"):
        words = N_("Missed call")
    elif detail.get("ended"):
        words = N_("Call: hung up, or answered on another phone")
    else:
        words = N_("Call")
    label = _(words)
    if detail.get("video"):
        label = _("{call} (video)", call=label)
    return _("{call} (group)", call=label) if detail.get("group") else label


def message_summary(kind: str | None, text: str | None, *, deleted: bool = False) -> str:
    """A message on one line."""
    if deleted:
        return _("This message was deleted")
    line = clean_name(text) if text else ""
    if kind == MessageKind.TEXT:
        return line
    return f"{kind_label(kind)}: {line}" if line else kind_label(kind)


def file_size(size: object) -> str:
    """A size in bytes, kB, MB or GB; empty if it is not a number of bytes."""
    if not isinstance(size, int) or size < 0:
        return ""
    for unit, least in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)):
        if size >= least:
            return f"{number(size / least, 1 if size < 10 * least and unit != 'kB' else 0)} {unit}"
    return f"{size} B"


# -- days ----------------------------------------------------------------------------------------------------


def day_label(day: date, today: date) -> str:
    """A day as the heading above its messages."""
    if day == today:
        return _("Today")
    if day == today - timedelta(days=1):
        return _("Yesterday")
    return short_date(day)


def unread_label(count: int, limit: int) -> str:
    """How many messages are unread, for screen readers."""
    return ngettext("{count} unread message", "{count} unread messages", min(count, limit))
