"""Reads the parameters of native flows: Pix keys, orders, charges and their states, and answers to forms.

WhatsApp sends them as JSON inside a string. All values are bounded, and of unknown flows nothing is taken.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from zapline.evolution.webhooks.json_fields import (
    LONGEST_TEXT,
    JsonObject,
    int32,
    obj,
    objects,
    short_text,
    short_texts,
    whole_number,
    without_none,
)

_LONGEST_PARAMS = 65_536
_MOST_ITEMS = 30
_MOST_ANSWERS = 40


def json_object(raw: Any) -> JsonObject:
    """The object in a string of JSON; empty where there is none."""
    if not isinstance(raw, str) or not 2 < len(raw) <= _LONGEST_PARAMS:
        return {}
    try:
        return obj(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        pass
    try:
        return obj(json.loads(raw))
    except (ValueError, RecursionError):
        return {}


def flow_detail(buttons: Iterable[JsonObject]) -> dict[str, object]:
    """Pix keys, other ways to pay, and the order in the parameters of these buttons."""
    pix: list[dict[str, object]] = []
    order: dict[str, object] = {}
    ways: dict[str, object] = {}
    for button in buttons:
        params = json_object(button.get("buttonParamsJson"))
        if not params:
            continue
        settings = objects(params.get("payment_settings")) or objects(params.get("payment_configuration"))
        for setting in [*settings, params]:
            pix += _pix(setting)
            ways |= short_texts(obj(setting.get("boleto")), boleto="digitable_line")
            ways |= short_texts(obj(setting.get("payment_link")), payment_link="uri")
        order = order or _order(params)
    return without_none(pix=pix[:_MOST_ITEMS] or None, order=order or None) | ways


def _pix(setting: JsonObject) -> Iterator[dict[str, object]]:
    for name in ("pix_static_code", "pix_dynamic_code", "pix"):
        code = obj(setting.get(name))
        found = short_texts(code, name="merchant_name", key="key", key_type="key_type", code="code")
        if "key" in found or "code" in found:
            yield found


def amount(value: Any, scale: Any = None) -> str | None:
    """An amount of money as a decimal number, from ``{value, offset}``: 1990 by 100 is ``19.90``."""
    if isinstance(value, dict):
        value, scale = value.get("value"), value.get("offset")
    number, parts = whole_number(value), int32(scale)
    if number is None or parts not in (1, 10, 100, 1000, 10_000):
        return None
    places = len(str(parts)) - 1
    return f"{number // parts}.{number % parts:0{places}}" if places else str(number)


def _order(params: JsonObject) -> dict[str, object]:
    order = obj(params.get("order"))
    total = amount(params.get("total_amount"))
    items = [
        without_none(
            name=short_text(item.get("name"), 300),
            quantity=int32(item.get("quantity")) or None,
            amount=_positive(amount(item.get("amount"))),
        )
        for item in objects(order.get("items"))[:_MOST_ITEMS]
    ]
    known = [item for item in items if item]
    found = short_texts(params, reference="reference_id") | short_texts(order, status="status")
    found |= short_texts(params, payment_status="payment_status", description="description")
    found |= without_none(
        total=_positive(total),
        shipping=_positive(amount(order.get("shipping"))),
        discount=_positive(amount(order.get("discount"))),
        tax=_positive(amount(order.get("tax"))),
        items=known or None,
    )
    money = {"total", "items", "payment_status"} & found.keys()
    return found | without_none(currency=short_text(params.get("currency"), 10) if "total" in money else None)


def _positive(value: str | None) -> str | None:
    return value if value is not None and value.strip("0.") else None


def flow_text(flows: Mapping[str, object]) -> str | None:
    """The data of a flow as lines that a person can read and copy; None where there is none."""
    lines = [" · ".join(("Pix", *_shown(key, "name", "key_type", "key", "code"))) for key in objects(flows.get("pix"))]
    order = obj(flows.get("order"))
    for item in objects(order.get("items")):
        lines.append(" · ".join(_shown(item, "quantity", "name", "amount")))
    if "total" in order:
        lines.append(" ".join(_shown(order, "currency", "total")))
    lines += _shown(order, "payment_status", "description")
    lines += _shown(flows, "boleto", "payment_link")
    return "\n".join(line for line in lines if line)[:LONGEST_TEXT] or None


def _shown(values: Mapping[str, object], *names: str) -> list[str]:
    return [str(values[name]) for name in names if name in values]


def answer_text(params: JsonObject) -> str | None:
    """What a person chose or filled in: the label of a choice, else the fields of a form as lines."""
    label = short_text(params.get("display_text")) or short_text(params.get("title"))
    if label is not None:
        return label
    nested = obj(params.get("values"))
    fields = [
        f"{name}: {short_text(value) or value}"
        for name, value in [*nested.items(), *params.items()][:_MOST_ANSWERS]
        if isinstance(value, str | int | float)
        and not isinstance(value, bool)
        and name not in _NO_ANSWERS
        and value != ""
    ]
    return "\n".join(fields)[:LONGEST_TEXT] or short_text(params.get("id"))


_NO_ANSWERS = frozenset({"flow_token", "id", "saved_address_id", "wa_flow_response_params", "version"})
