"""Reads the kinds of message that carry more than a text or a file: one function per kind, none raises.

Each gives the text a person would read and, in ``detail``, plain JSON values of bounded size.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zapline.domain.messages.facts import Kind
from zapline.evolution.webhooks.json_fields import (
    LONGEST_NAME,
    LONGEST_TEXT,
    Obj,
    items,
    moment,
    note,
    number,
    obj,
    present,
    small,
    text,
    whole,
)

_LONGEST_VCARD = 16_384
"""A card with a photo is longer, and the photo is not wanted."""
_WAID = re.compile(r"waid=(\d{7,15})")


@dataclass(frozen=True, slots=True)
class Card:
    kind: Kind
    text: str | None = None
    detail: Mapping[str, object] = field(default_factory=dict)


def extended_text(value: Obj) -> Card:
    said = text(value.get("text"))
    if said is None:
        return Card(Kind.UNKNOWN)
    url = note(value.get("canonicalUrl")) or note(value.get("matchedText"))
    if url is None:
        return Card(Kind.TEXT, said)
    link = present(url=url, title=note(value.get("title")), description=note(value.get("description")))
    return Card(Kind.TEXT, said, {"link": link})


def _place(value: Obj) -> dict[str, object]:
    return present(
        latitude=number(value.get("degreesLatitude"), 90),
        longitude=number(value.get("degreesLongitude"), 180),
        name=note(value.get("name")),
        address=note(value.get("address")),
        url=note(value.get("url")),
    )


def location(value: Obj) -> Card:
    return Card(Kind.LOCATION, note(value.get("comment")), _place(value))


def live_location(value: Obj) -> Card:
    detail = _place(value) | present(
        accuracy=small(value.get("accuracyInMeters")), sequence=whole(value.get("sequenceNumber"))
    )
    return Card(Kind.LIVE_LOCATION, note(value.get("caption"), LONGEST_TEXT), detail)


def _card(value: Obj) -> dict[str, object]:
    vcard = note(value.get("vcard"), _LONGEST_VCARD)
    phones = ["+" + digits for digits in _WAID.findall(vcard)[:20]] if vcard is not None else []
    return present(name=note(value.get("displayName"), LONGEST_NAME), vcard=vcard, phones=phones or None)


def contact(value: Obj) -> Card:
    return Card(Kind.CONTACT, note(value.get("displayName"), LONGEST_NAME), {"contacts": [_card(value)]})


def contacts(value: Obj) -> Card:
    detail = {"contacts": [_card(each) for each in items(value.get("contacts"))]}
    return Card(Kind.CONTACTS, note(value.get("displayName"), LONGEST_NAME), detail)


def poll(value: Obj) -> Card:
    options = [note(option.get("optionName")) or "" for option in items(value.get("options"))]
    detail = {"options": options} | present(selectable=small(value.get("selectableOptionsCount")))
    return Card(Kind.POLL, note(value.get("name")), detail)


# -- what somebody chose ---------------------------------------------------------------------------------


def button_reply(value: Obj) -> Card:
    chosen = note(value.get("selectedButtonId"))
    return Card(Kind.BUTTON_REPLY, note(value.get("selectedDisplayText")) or chosen, present(id=chosen))


def list_reply(value: Obj) -> Card:
    row = note(obj(value.get("singleSelectReply")).get("selectedRowId"))
    detail = present(id=row, description=note(value.get("description")))
    return Card(Kind.LIST_REPLY, note(value.get("title")) or row, detail)


def template_reply(value: Obj) -> Card:
    chosen = note(value.get("selectedId"))
    detail = present(id=chosen, index=small(value.get("selectedIndex")))
    return Card(Kind.TEMPLATE_REPLY, note(value.get("selectedDisplayText")) or chosen, detail)


def interactive_reply(value: Obj) -> Card:
    flow = obj(value.get("nativeFlowResponseMessage"))
    detail = present(name=note(flow.get("name")), params=note(flow.get("paramsJson"), LONGEST_TEXT))
    return Card(Kind.INTERACTIVE_REPLY, note(obj(value.get("body")).get("text"), LONGEST_TEXT), detail)


# -- what somebody is offered ----------------------------------------------------------------------------


def _button(value: Obj) -> dict[str, object]:
    """A button of any family: buttons, hydrated template, native flow."""
    for family in ("quickReplyButton", "urlButton", "callButton"):
        if family in value:
            value = obj(value[family])
            break
    label = note(obj(value.get("buttonText")).get("displayText")) or note(value.get("displayText"))
    return present(
        id=note(value.get("buttonId")) or note(value.get("id")),
        text=label or note(value.get("name")),
        url=note(value.get("url")),
        params=note(value.get("buttonParamsJson")),
    )


def _buttons(value: Any) -> list[dict[str, object]] | None:
    return [_button(each) for each in items(value)] or None


def buttons(value: Obj) -> Card:
    detail = present(buttons=_buttons(value.get("buttons")), footer=note(value.get("footerText")))
    said = note(value.get("contentText"), LONGEST_TEXT) or note(value.get("text"))
    return Card(Kind.BUTTONS, said, detail)


def list_menu(value: Obj) -> Card:
    rows = [
        present(id=note(row.get("rowId")), title=note(row.get("title")), description=note(row.get("description")))
        for section in items(value.get("sections"))
        for row in items(section.get("rows"))
    ]
    detail = present(
        title=note(value.get("title")),
        button=note(value.get("buttonText")),
        footer=note(value.get("footerText")),
        rows=rows[:100] or None,
    )
    return Card(Kind.LIST, note(value.get("description"), LONGEST_TEXT) or note(value.get("title")), detail)


def template(value: Obj) -> Card:
    filled = obj(value.get("hydratedTemplate")) or obj(value.get("hydratedFourRowTemplate"))
    if not filled and isinstance(value.get("interactiveMessageTemplate"), dict):
        inner = interactive(value["interactiveMessageTemplate"])
        return Card(Kind.TEMPLATE, inner.text, inner.detail)
    detail = present(
        id=note(value.get("templateId")) or note(filled.get("templateId")),
        title=note(filled.get("hydratedTitleText")),
        footer=note(filled.get("hydratedFooterText")),
        buttons=_buttons(filled.get("hydratedButtons")),
    )
    return Card(Kind.TEMPLATE, note(filled.get("hydratedContentText"), LONGEST_TEXT), detail)


def structured(value: Obj) -> Card:
    inner = template(obj(obj(value.get("hydratedHsm")).get("templateMessage")) or obj(value.get("hydratedHsm")))
    return Card(Kind.TEMPLATE, inner.text, {**inner.detail, **present(name=note(value.get("elementName")))})


def interactive(value: Obj) -> Card:
    header = obj(value.get("header"))
    detail = present(
        title=note(header.get("title")),
        footer=note(obj(value.get("footer")).get("text")),
        buttons=_buttons(obj(value.get("nativeFlowMessage")).get("buttons")),
    )
    return Card(Kind.INTERACTIVE, note(obj(value.get("body")).get("text"), LONGEST_TEXT), detail)


# -- trade, events, calls --------------------------------------------------------------------------------


def album(value: Obj) -> Card:
    detail = present(images=small(value.get("expectedImageCount")), videos=small(value.get("expectedVideoCount")))
    return Card(Kind.ALBUM, None, detail)


def order(value: Obj) -> Card:
    detail = present(
        id=note(value.get("orderId")),
        title=note(value.get("orderTitle")),
        items=small(value.get("itemCount")),
        total_thousandths=whole(value.get("totalAmount1000")),
        currency=note(value.get("totalCurrencyCode"), 10),
    )
    return Card(Kind.ORDER, note(value.get("message")) or note(value.get("orderTitle")), detail)


def product(value: Obj) -> Card:
    goods = obj(value.get("product"))
    detail = present(
        id=note(goods.get("productId")),
        title=note(goods.get("title")),
        description=note(goods.get("description")),
        price_thousandths=whole(goods.get("priceAmount1000")),
        currency=note(goods.get("currencyCode"), 10),
        url=note(goods.get("url")),
        retailer_id=note(goods.get("retailerId")),
    )
    return Card(Kind.PRODUCT, note(value.get("body")) or note(goods.get("title")), detail)


def event(value: Obj) -> Card:
    detail = present(
        description=note(value.get("description")),
        starts_at=moment(value.get("startTime")),
        ends_at=moment(value.get("endTime")),
        cancelled=True if value.get("isCanceled") is True else None,
        location=_place(obj(value.get("location"))) or None,
        link=note(value.get("joinLink")),
    )
    return Card(Kind.EVENT, note(value.get("name")), detail)


def group_invite(value: Obj) -> Card:
    detail = present(
        group=note(value.get("groupJid"), 128),
        name=note(value.get("groupName")),
        code=note(value.get("inviteCode"), 200),
        expires_at=moment(value.get("inviteExpiration")),
    )
    return Card(Kind.GROUP_INVITE, note(value.get("caption"), LONGEST_TEXT), detail)


def payment(step: str) -> Callable[[Obj], Card]:
    """The reader for one step of a payment; ``step`` goes into the detail."""

    def read(value: Obj) -> Card:
        remark = obj(value.get("noteMessage"))
        said = note(remark.get("conversation")) or note(obj(remark.get("extendedTextMessage")).get("text"))
        detail = {"step": step} | present(
            amount_thousandths=whole(value.get("amount1000")),
            currency=note(value.get("currencyCodeIso4217"), 10),
        )
        return Card(Kind.PAYMENT, said or note(value.get("note")), detail)

    return read


def call_log(value: Obj) -> Card:
    outcome = value.get("callOutcome")
    detail = present(
        video=True if value.get("isVideo") is True else None,
        outcome=note(outcome, 40) if isinstance(outcome, str) else small(outcome),
        seconds=small(value.get("durationSecs")),
        starts_at=moment(value.get("scheduledTimestampMs")),
    )
    return Card(Kind.CALL_LOG, note(value.get("title")), detail)


def placeholder(value: Obj) -> Card:
    """The linked device has not got the content; it comes later under the same id, or never."""
    return Card(Kind.PLACEHOLDER)
