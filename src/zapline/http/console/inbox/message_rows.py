"""Builds the lines below a message that belong to its kind: places, cards, keys to pay, orders, advertisements.

Everything in them was written by strangers: it is cleaned, and escaped by the markup.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

from zapline.domain.messages.facts import MessageKind
from zapline.http.console.framework.formatting import number
from zapline.http.console.framework.message_labels import clean_name, external_link, linkify
from zapline.http.console.framework.translation import _, ngettext
from zapline.sql.conversations.conversations import Message

_LONGEST = 2000
_WITH_BUTTONS = (MessageKind.BUTTONS, MessageKind.TEMPLATE, MessageKind.INTERACTIVE)


def message_rows(message: Message) -> Iterator[Markup]:
    """Lines of particular kinds of messages, and of what any kind may have beside its text."""
    detail = message.detail
    if message.kind in (MessageKind.LOCATION, MessageKind.LIVE_LOCATION):
        yield from _location_rows(detail)
    elif message.kind in (MessageKind.CONTACT, MessageKind.CONTACTS):
        for card in _objects(detail.get("contacts"))[:20]:
            phones = [clean_name(phone) for phone in card.get("phones") or () if isinstance(phone, str)]
            yield Markup("<bdi>{}</bdi> {}").format(clean_name(str(card.get("name") or "")), ", ".join(phones))
    elif message.kind in _WITH_BUTTONS:
        yield from _payment_rows(detail)
        for button in _objects(detail.get("buttons"))[:10]:
            if isinstance(button.get("text"), str) and button["text"] not in _FLOWS:
                yield Markup("[<bdi>{}</bdi>]").format(clean_name(button["text"]))
    elif message.kind == MessageKind.POLL_RESULT:
        for result in _objects(detail.get("results"))[:30]:
            votes = result.get("votes")
            shown = number(votes) if isinstance(votes, int) else ""
            yield Markup("<bdi>{}</bdi> {}").format(clean_name(str(result.get("option") or "")), shown)
    elif message.kind == MessageKind.ALBUM:
        yield from _album_rows(detail)
    elif message.kind == MessageKind.UNKNOWN:
        yield escape(_("Open the conversation on the phone to read it."))
    yield from _beside_rows(detail)


_FLOWS = frozenset({"payment_info", "payment_status", "review_and_pay", "order_details", "order_status"})
"""Names of buttons that have no label: what they say stands in lines of its own."""


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _location_rows(detail: Mapping[str, Any]) -> Iterator[Markup]:
    for field in ("name", "address"):
        if isinstance(detail.get(field), str):
            yield Markup("<bdi>{}</bdi>").format(clean_name(detail[field]))
    latitude, longitude = detail.get("latitude"), detail.get("longitude")
    if isinstance(latitude, int | float) and isinstance(longitude, int | float):
        position = f"{latitude:.5f}, {longitude:.5f}"
        address = f"https://www.openstreetmap.org/?mlat={latitude:.5f}&mlon={longitude:.5f}#map=16/{latitude:.5f}/{longitude:.5f}"
        yield Markup("{} · {}").format(position, external_link(address, _("open the map")))


def _payment_rows(detail: Mapping[str, Any]) -> Iterator[Markup]:
    for key in _objects(detail.get("pix"))[:10]:
        words = [clean_name(str(key[name])) for name in ("name", "key_type") if isinstance(key.get(name), str)]
        yield Markup("{} <bdi>{}</bdi>").format(_("Pix key"), " · ".join(words))
        for name in ("key", "code"):
            if isinstance(key.get(name), str):
                yield Markup("<code>{}</code>").format(clean_name(key[name][:_LONGEST]))
    order = detail.get("order")
    if isinstance(order, dict) and isinstance(order.get("total"), str):
        words = [clean_name(str(order[name])) for name in ("currency", "total") if isinstance(order.get(name), str)]
        yield Markup("{} <bdi>{}</bdi>").format(_("Order, total"), " ".join(words))


def _album_rows(detail: Mapping[str, Any]) -> Iterator[Markup]:
    photos, videos = detail.get("images"), detail.get("videos")
    if isinstance(photos, int) and photos:
        yield escape(ngettext("{count} photo", "{count} photos", photos))
    if isinstance(videos, int) and videos:
        yield escape(ngettext("{count} video", "{count} videos", videos))


def _beside_rows(detail: Mapping[str, Any]) -> Iterator[Markup]:
    """A transcript, an advertisement, a list that it was sent to."""
    if isinstance(detail.get("transcript"), str):
        yield Markup("{}: {}").format(_("Transcript"), linkify(detail["transcript"]))
    ad = detail.get("ad")
    if isinstance(ad, dict) and ad:
        texts = [clean_name(ad[name]) for name in ("title", "body") if isinstance(ad.get(name), str)]
        yield Markup("{} <bdi>{}</bdi>").format(_("From an advertisement"), " · ".join(texts))
        address = ad.get("source_url")
        if isinstance(address, str):
            yield external_link(address, clean_name(address[:120]))
    if detail.get("broadcast_list") is True:
        yield escape(_("Sent to a broadcast list"))
    part = detail.get("part_of")
    if isinstance(part, dict) and part.get("as") == "motion_photo":
        yield escape(_("The moving part of the photo before"))
