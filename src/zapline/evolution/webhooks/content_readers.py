"""Reads the content of each message type that is more than a text or a file: one function per type, none raises.

Each returns the text that a person would read and, in ``detail``, plain JSON values of bounded size.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.messages.facts import MediaInfo, MessageKind
from zapline.evolution.webhooks.json_fields import (
    LONGEST_NAME,
    LONGEST_TEXT,
    JsonObject,
    epoch_seconds,
    finite_number,
    int32,
    obj,
    objects,
    short_text,
    short_texts,
    text,
    whole_number,
    without_none,
)

_LONGEST_VCARD = 16_384
"""A longer card holds a photo, and is dropped."""
_WAID = re.compile(r"waid=(\d{7,15})")


@dataclass(frozen=True, slots=True)
class MessageContent:
    """What a message says, apart from who, when and where."""

    kind: MessageKind
    text: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)
    media: MediaInfo | None = None


def extended_text(value: JsonObject) -> MessageContent:
    body = text(value.get("text"))
    if body is None:
        return MessageContent(MessageKind.UNKNOWN)
    url = short_text(value.get("canonicalUrl")) or short_text(value.get("matchedText"))
    if url is None:
        return MessageContent(MessageKind.TEXT, body)
    link = {"url": url} | short_texts(value, title="title", description="description")
    return MessageContent(MessageKind.TEXT, body, {"link": link})


def _coordinates(value: JsonObject) -> dict[str, object]:
    latitude = finite_number(value.get("degreesLatitude"), 90)
    longitude = finite_number(value.get("degreesLongitude"), 180)
    names = short_texts(value, name="name", address="address", url="url")
    return without_none(latitude=latitude, longitude=longitude) | names


def location(value: JsonObject) -> MessageContent:
    return MessageContent(MessageKind.LOCATION, short_text(value.get("comment")), _coordinates(value))


def live_location(value: JsonObject) -> MessageContent:
    detail = _coordinates(value) | without_none(
        accuracy=int32(value.get("accuracyInMeters")), sequence=whole_number(value.get("sequenceNumber"))
    )
    return MessageContent(MessageKind.LIVE_LOCATION, short_text(value.get("caption"), LONGEST_TEXT), detail)


def _contact_card(value: JsonObject) -> dict[str, object]:
    vcard = short_text(value.get("vcard"), _LONGEST_VCARD)
    phones = ["+" + digits for digits in _WAID.findall(vcard)[:20]] if vcard is not None else []
    return without_none(name=short_text(value.get("displayName"), LONGEST_NAME), vcard=vcard, phones=phones or None)


def contact(value: JsonObject) -> MessageContent:
    name = short_text(value.get("displayName"), LONGEST_NAME)
    return MessageContent(MessageKind.CONTACT, name, {"contacts": [_contact_card(value)]})


def contacts(value: JsonObject) -> MessageContent:
    detail = {"contacts": [_contact_card(card) for card in objects(value.get("contacts"))]}
    return MessageContent(MessageKind.CONTACTS, short_text(value.get("displayName"), LONGEST_NAME), detail)


def poll(value: JsonObject) -> MessageContent:
    options = [short_text(option.get("optionName")) or "" for option in objects(value.get("options"))]
    detail = {"options": options} | without_none(selectable=int32(value.get("selectableOptionsCount")))
    return MessageContent(MessageKind.POLL, short_text(value.get("name")), detail)


# -- replies to buttons and lists ---------------------------------------------------------------------------------


def button_reply(value: JsonObject) -> MessageContent:
    chosen = short_text(value.get("selectedButtonId"))
    label = short_text(value.get("selectedDisplayText"))
    return MessageContent(MessageKind.BUTTON_REPLY, label or chosen, without_none(id=chosen))


def list_reply(value: JsonObject) -> MessageContent:
    row = short_text(obj(value.get("singleSelectReply")).get("selectedRowId"))
    detail = without_none(id=row) | short_texts(value, description="description")
    return MessageContent(MessageKind.LIST_REPLY, short_text(value.get("title")) or row, detail)


def template_reply(value: JsonObject) -> MessageContent:
    chosen = short_text(value.get("selectedId"))
    detail = without_none(id=chosen, index=int32(value.get("selectedIndex")))
    return MessageContent(MessageKind.TEMPLATE_REPLY, short_text(value.get("selectedDisplayText")) or chosen, detail)


def interactive_reply(value: JsonObject) -> MessageContent:
    flow = obj(value.get("nativeFlowResponseMessage"))
    detail = without_none(name=short_text(flow.get("name")), params=short_text(flow.get("paramsJson"), LONGEST_TEXT))
    body = short_text(obj(value.get("body")).get("text"), LONGEST_TEXT)
    return MessageContent(MessageKind.INTERACTIVE_REPLY, body, detail)


# -- buttons, lists, templates ----------------------------------------------------------------------------


def _button(value: JsonObject) -> dict[str, object]:
    """A button of any family: plain, hydrated template, native flow."""
    for family in ("quickReplyButton", "urlButton", "callButton"):
        if family in value:
            value = obj(value[family])
            break
    label = short_text(obj(value.get("buttonText")).get("displayText")) or short_text(value.get("displayText"))
    identity = short_text(value.get("buttonId")) or short_text(value.get("id"))
    texts = without_none(id=identity, text=label or short_text(value.get("name")))
    return texts | short_texts(value, url="url", params="buttonParamsJson")


def _buttons(value: Any) -> list[dict[str, object]] | None:
    return [_button(button) for button in objects(value)] or None


def buttons(value: JsonObject) -> MessageContent:
    detail = without_none(buttons=_buttons(value.get("buttons"))) | short_texts(value, footer="footerText")
    body = short_text(value.get("contentText"), LONGEST_TEXT) or short_text(value.get("text"))
    return MessageContent(MessageKind.BUTTONS, body, detail)


def list_menu(value: JsonObject) -> MessageContent:
    rows = [
        short_texts(row, id="rowId", title="title", description="description")
        for section in objects(value.get("sections"))
        for row in objects(section.get("rows"))
    ]
    detail = short_texts(value, title="title", button="buttonText", footer="footerText")
    description = short_text(value.get("description"), LONGEST_TEXT) or short_text(value.get("title"))
    return MessageContent(MessageKind.LIST, description, detail | without_none(rows=rows[:100] or None))


def template(value: JsonObject) -> MessageContent:
    filled = obj(value.get("hydratedTemplate")) or obj(value.get("hydratedFourRowTemplate"))
    if not filled and isinstance(value.get("interactiveMessageTemplate"), dict):
        inner = interactive(value["interactiveMessageTemplate"])
        return MessageContent(MessageKind.TEMPLATE, inner.text, inner.detail)
    identity = short_text(value.get("templateId")) or short_text(filled.get("templateId"))
    texts = short_texts(filled, title="hydratedTitleText", footer="hydratedFooterText")
    detail = texts | without_none(id=identity, buttons=_buttons(filled.get("hydratedButtons")))
    return MessageContent(MessageKind.TEMPLATE, short_text(filled.get("hydratedContentText"), LONGEST_TEXT), detail)


def structured(value: JsonObject) -> MessageContent:
    inner = template(obj(obj(value.get("hydratedHsm")).get("templateMessage")) or obj(value.get("hydratedHsm")))
    return MessageContent(MessageKind.TEMPLATE, inner.text, {**inner.detail, **short_texts(value, name="elementName")})


def interactive(value: JsonObject) -> MessageContent:
    texts = short_texts(obj(value.get("header")), title="title") | short_texts(obj(value.get("footer")), footer="text")
    detail = texts | without_none(buttons=_buttons(obj(value.get("nativeFlowMessage")).get("buttons")))
    return MessageContent(MessageKind.INTERACTIVE, short_text(obj(value.get("body")).get("text"), LONGEST_TEXT), detail)


# -- trade, events, calls --------------------------------------------------------------------------------


def album(value: JsonObject) -> MessageContent:
    detail = without_none(images=int32(value.get("expectedImageCount")), videos=int32(value.get("expectedVideoCount")))
    return MessageContent(MessageKind.ALBUM, None, detail)


def order(value: JsonObject) -> MessageContent:
    detail = short_texts(value, id="orderId", title="orderTitle") | without_none(
        items=int32(value.get("itemCount")),
        total_thousandths=whole_number(value.get("totalAmount1000")),
        currency=short_text(value.get("totalCurrencyCode"), 10),
    )
    message = short_text(value.get("message")) or short_text(value.get("orderTitle"))
    return MessageContent(MessageKind.ORDER, message, detail)


def product(value: JsonObject) -> MessageContent:
    goods = obj(value.get("product"))
    texts = short_texts(goods, title="title", description="description", url="url")
    detail = texts | short_texts(goods, id="productId", retailer_id="retailerId")
    detail |= without_none(
        price_thousandths=whole_number(goods.get("priceAmount1000")),
        currency=short_text(goods.get("currencyCode"), 10),
    )
    return MessageContent(MessageKind.PRODUCT, short_text(value.get("body")) or short_text(goods.get("title")), detail)


def event(value: JsonObject) -> MessageContent:
    detail = short_texts(value, description="description", link="joinLink") | without_none(
        starts_at=epoch_seconds(value.get("startTime")),
        ends_at=epoch_seconds(value.get("endTime")),
        cancelled=True if value.get("isCanceled") is True else None,
        location=_coordinates(obj(value.get("location"))) or None,
    )
    return MessageContent(MessageKind.EVENT, short_text(value.get("name")), detail)


def group_invite(value: JsonObject) -> MessageContent:
    detail = without_none(
        group=short_text(value.get("groupJid"), 128),
        name=short_text(value.get("groupName")),
        code=short_text(value.get("inviteCode"), 200),
        expires_at=epoch_seconds(value.get("inviteExpiration")),
    )
    return MessageContent(MessageKind.GROUP_INVITE, short_text(value.get("caption"), LONGEST_TEXT), detail)


def payment(step: str) -> Callable[[JsonObject], MessageContent]:
    """The reader for one step of a payment; ``step`` becomes part of the detail."""

    def read(value: JsonObject) -> MessageContent:
        remark = obj(value.get("noteMessage"))
        extended = obj(remark.get("extendedTextMessage"))
        remark_text = short_text(remark.get("conversation")) or short_text(extended.get("text"))
        detail = {"step": step} | without_none(
            amount_thousandths=whole_number(value.get("amount1000")),
            currency=short_text(value.get("currencyCodeIso4217"), 10),
        )
        return MessageContent(MessageKind.PAYMENT, remark_text or short_text(value.get("note")), detail)

    return read


def call_log(value: JsonObject) -> MessageContent:
    outcome = value.get("callOutcome")
    detail = without_none(
        video=True if value.get("isVideo") is True else None,
        outcome=short_text(outcome, 40) if isinstance(outcome, str) else int32(outcome),
        seconds=int32(value.get("durationSecs")),
        starts_at=epoch_seconds(value.get("scheduledTimestampMs")),
    )
    return MessageContent(MessageKind.CALL_LOG, short_text(value.get("title")), detail)


def placeholder(value: JsonObject) -> MessageContent:
    """The linked device has not received the content; it comes later under the same id, or never."""
    return MessageContent(MessageKind.PLACEHOLDER)
