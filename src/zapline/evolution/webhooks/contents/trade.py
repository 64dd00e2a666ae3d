"""Reads orders, products, payments, albums, calls that were noted, pins, and placeholders.

Each function returns the text that a person would read and, in ``detail``, plain JSON values of bounded size.
"""

from collections.abc import Callable, Mapping
from typing import Any

from zapline.domain.messages.facts import MessageKind
from zapline.evolution.webhooks.contents.content import MessageContent
from zapline.evolution.webhooks.contents.native_flows import amount
from zapline.evolution.webhooks.json_fields import (
    JsonObject,
    epoch_seconds,
    int32,
    obj,
    short_text,
    short_texts,
    whole_number,
    without_none,
)

_Enum = Mapping[int | str, str]
"""Number and name of each value of an enum of WhatsApp's, with our word: 2.3.7 sends either, by event."""


def _enum(*words: str, **names: str) -> _Enum:
    """``names``: WhatsApp's own name of a word, where that is another one."""
    return {
        **{number: word for number, word in enumerate(words) if word},
        **{names.get(word, word.upper()): word for word in words if word},
    }


_CALL_OUTCOMES = _enum(
    "connected",
    "missed",
    "failed",
    "rejected",
    "accepted_elsewhere",
    "ongoing",
    "silenced_by_dnd",
    "silenced_unknown_caller",
)
_ORDER_STATES = _enum("", "inquiry", "accepted", "declined")
_PINS = _enum("", "pinned", "unpinned", pinned="PIN_FOR_ALL", unpinned="UNPIN_FOR_ALL")
_KEEPS = _enum("", "kept", "not_kept", kept="KEEP_FOR_ALL", not_kept="UNDO_KEEP_FOR_ALL")


def _word(value: Any, enum: _Enum) -> str | None:
    return enum.get(value) if type(value) in (int, str) else None


def album(value: JsonObject) -> MessageContent:
    detail = without_none(images=int32(value.get("expectedImageCount")), videos=int32(value.get("expectedVideoCount")))
    return MessageContent(MessageKind.ALBUM, None, detail)


def order(value: JsonObject) -> MessageContent:
    detail = short_texts(value, id="orderId", title="orderTitle") | without_none(
        items=int32(value.get("itemCount")),
        total_thousandths=whole_number(value.get("totalAmount1000")),
        currency=short_text(value.get("totalCurrencyCode"), 10),
        status=_word(value.get("status"), _ORDER_STATES),
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


def payment(step: str) -> Callable[[JsonObject], MessageContent]:
    """The reader for one step of a payment; ``step`` becomes part of the detail."""

    def read(value: JsonObject) -> MessageContent:
        remark = obj(value.get("noteMessage"))
        extended = obj(remark.get("extendedTextMessage"))
        remark_text = short_text(remark.get("conversation")) or short_text(extended.get("text"))
        money = obj(value.get("amount")) or obj(value.get("totalAmount"))
        currency = short_text(value.get("currencyCodeIso4217"), 10) or short_text(money.get("currencyCode"), 10)
        detail = {"step": step} | without_none(
            amount_thousandths=whole_number(value.get("amount1000")),
            amount=amount(money) if money else None,
            currency=currency,
        )
        written = short_text(value.get("note")) or short_text(value.get("description"))
        return MessageContent(MessageKind.PAYMENT, remark_text or written, detail)

    return read


def call_log(value: JsonObject) -> MessageContent:
    """A call as WhatsApp notes it in the chat, or one that is planned."""
    planned_video = "scheduledTimestampMs" in value and value.get("callType") in (2, "VIDEO")
    video = planned_video or value.get("isVideo") is True or value.get("mediaType") in (2, "VIDEO")
    detail = without_none(
        video=True if video else None,
        outcome=_word(value.get("callOutcome"), _CALL_OUTCOMES),
        seconds=int32(value.get("durationSecs")),
        starts_at=epoch_seconds(value.get("scheduledTimestampMs")),
    )
    title = short_text(value.get("title")) or short_text(value.get("caption"))
    return MessageContent(MessageKind.CALL_LOG, title, detail)


def group_call(value: JsonObject) -> MessageContent:
    """The beginning of a call in a group; its end is told to nobody."""
    return MessageContent(MessageKind.CALL_LOG, None, {"offered": True, "group": True})


def call_plan_change(value: JsonObject) -> MessageContent:
    return MessageContent(MessageKind.CALL_LOG, None, {"cancelled": True})


def pin(value: JsonObject) -> MessageContent:
    return MessageContent(MessageKind.PIN, None, without_none(action=_word(value.get("type"), _PINS)))


def keep(value: JsonObject) -> MessageContent:
    return MessageContent(MessageKind.KEEP, None, without_none(action=_word(value.get("keepType"), _KEEPS)))


def placeholder(value: JsonObject) -> MessageContent:
    """The linked device has not received the content; it comes later under the same id, or never."""
    return MessageContent(MessageKind.PLACEHOLDER)
