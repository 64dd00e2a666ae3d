"""Large arrays of any event are split into bodies that hold the same between them; everything else stays whole."""

import json
from itertools import chain
from typing import Any

import pytest

from zapline.evolution.webhooks.array_splitting import PART_BYTES, SPLIT_ABOVE_BYTES, split_arrays

THINGS = [{"id": f"{number}", "text": "x" * 400} for number in range(2000)]


def body(event: str, data: Any) -> bytes:
    return json.dumps({"event": event, "instance": "loja", "data": data, "isLatest": True}).encode()


@pytest.mark.parametrize("event", ["messages.set", "contacts.upsert", "contacts.update", "chats.set", "groups.upsert"])
def test_an_array_of_any_event_is_split(event: str) -> None:
    parts = [json.loads(part) for part in split_arrays(body(event, THINGS))]
    assert len(parts) > 5
    assert list(chain.from_iterable(part["data"] for part in parts)) == THINGS
    for part in parts:
        assert (part["event"], part["instance"], part["isLatest"]) == (event, "loja", True)
        assert len(json.dumps(part)) < PART_BYTES * 1.2


def test_arrays_inside_of_an_object_are_split_one_by_one() -> None:
    data = {"messages": THINGS, "contacts": THINGS[:900], "chats": [], "progress": 7}
    parts = [json.loads(part)["data"] for part in split_arrays(body("messaging-history.set", data))]
    for name in ("messages", "contacts", "chats"):
        assert list(chain.from_iterable(part.get(name, []) for part in parts)) == data[name]
    assert {part["progress"] for part in parts} == {7}


@pytest.mark.parametrize(
    "data",
    [
        {"key": {"id": "A"}, "messages": THINGS},
        {"pollUpdates": [{"name": "a", "voters": [thing["text"] for thing in THINGS]}]},
        {"other": THINGS, "messages": []},
        "x" * SPLIT_ABOVE_BYTES,
    ],
)
def test_what_belongs_together_stays_together(data: Any) -> None:
    whole = body("messages.upsert", data)
    assert split_arrays(whole) == [whole]


@pytest.mark.parametrize(
    "whole", [b"[1," * SPLIT_ABOVE_BYTES, b'{"data":[' + b"{" * SPLIT_ABOVE_BYTES, b"\xff" * 2**19]
)
def test_what_is_no_webhook_stays_whole(whole: bytes) -> None:
    assert split_arrays(whole) == [whole]


def test_a_small_body_is_not_even_read() -> None:
    assert split_arrays(b"{") == [b"{"]
