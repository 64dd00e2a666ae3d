"""Reads buttons, lists, templates and native flows, and what people answer to them.

Each function returns the text that a person would read and, in ``detail``, plain JSON values of bounded size.
"""

from typing import Any

from zapline.domain.messages.facts import MessageKind
from zapline.evolution.webhooks.contents.content import MessageContent
from zapline.evolution.webhooks.contents.native_flows import answer_text, flow_detail, flow_text, json_object
from zapline.evolution.webhooks.json_fields import (
    LONGEST_TEXT,
    JsonObject,
    int32,
    obj,
    objects,
    short_text,
    short_texts,
    without_none,
)

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
    raw = flow.get("paramsJson")
    params = json_object(raw)
    detail = without_none(
        name=short_text(flow.get("name")), params=short_text(raw, LONGEST_TEXT), id=short_text(params.get("id"))
    )
    body = short_text(obj(value.get("body")).get("text"), LONGEST_TEXT)
    return MessageContent(MessageKind.INTERACTIVE_REPLY, body or answer_text(params), detail)


# -- buttons, lists, templates ----------------------------------------------------------------------------


def _button(value: JsonObject) -> dict[str, object]:
    """A button of any family: plain, hydrated template, native flow."""
    for family in ("quickReplyButton", "urlButton", "callButton"):
        if family in value:
            value = obj(value[family])
            break
    params = json_object(value.get("buttonParamsJson"))
    label = (
        short_text(obj(value.get("buttonText")).get("displayText"))
        or short_text(value.get("displayText"))
        or short_text(params.get("display_text"))
        or short_text(params.get("title"))
    )
    identity = short_text(value.get("buttonId")) or short_text(value.get("id")) or short_text(params.get("id"))
    texts = without_none(id=identity, text=label or short_text(value.get("name")))
    flow = short_texts(params, url="url", copy_code="copy_code", phone="phone_number") if params else {}
    return texts | short_texts(value, url="url", phone="phoneNumber", params="buttonParamsJson") | flow


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
    sections = objects(obj(value.get("productListInfo")).get("productSections"))
    goods = [each for section in sections for each in objects(section.get("products"))]
    products = [short_text(each.get("productId")) for each in goods[:100]]
    return MessageContent(
        MessageKind.LIST,
        description,
        detail | without_none(rows=rows[:100] or None, products=list(filter(None, products)) or None),
    )


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
    """Native flows, carousels, shops and collections. A flow that speaks of money has its data in the detail."""
    header, footer = obj(value.get("header")), obj(value.get("footer"))
    texts = short_texts(header, title="title", subtitle="subtitle") | short_texts(footer, footer="text")
    buttons_of = objects(obj(value.get("nativeFlowMessage")).get("buttons"))
    cards = [_card(card) for card in objects(obj(value.get("carouselMessage")).get("cards"))[:20]]
    flows = flow_detail(buttons_of)
    detail = texts | without_none(buttons=_buttons(buttons_of), cards=cards or None) | flows
    body = short_text(obj(value.get("body")).get("text"), LONGEST_TEXT) or flow_text(flows)
    if body is None and cards:
        body = "\n".join(str(card["text"]) for card in cards if "text" in card)
    return MessageContent(MessageKind.INTERACTIVE, body or short_text(header.get("title")), detail)


def _card(value: JsonObject) -> dict[str, object]:
    content = interactive(value | {"carouselMessage": None})
    return without_none(text=content.text) | dict(content.detail)
