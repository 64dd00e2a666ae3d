"""A body never seen before cannot crash an actor, and ends stored, ignored or buried."""

import copy
import json
import random
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inbound_stack import inbound_stack
from support.recorded_webhooks import BODIES, for_instance

from zapline.domain.inbound_events import Unusable
from zapline.evolution.webhooks.event_parser import parse
from zapline.evolution.webhooks.secret_stripping import strip_secrets

TOLD = [json.loads(body) for body in BODIES.values() if body.rstrip().endswith(b"}")]
ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**53,
    2**63,
    10**25,
    1e308,
    0.5,
    "",
    "\x00",
    "a\x00b",
    "\ud83d",
    "\ud83d\ude00 ok",
    "x" * 300,
    "x" * 70_000,
    "é" * 3000,
    "9999999999999",
    "5511999990001@s.whatsapp.net",
    "1@lid",
    "status@broadcast",
    "REVOKE",
    "MESSAGE_EDIT",
    "\\u0000",
    [],
    [[]],
    {},
    {"low": 1, "high": 2**40},
    {"0": 1},
    [None, 1, "x"],
]


EXTREMES = [b"", b"\0", b"[]", b"null", b"{}", b"\xff" * 100, b'{"event":"messages.upsert","data":' + b"[" * 100_000]


def places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (holder, key or index) of a body."""
    if isinstance(value, dict):
        for name, inner in value.items():
            found.append((value, name))
            places(inner, found)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            found.append((value, place))
            places(inner, found)
    return found


def mutate(chance: random.Random) -> bytes:
    """A recorded body with some of its values replaced, dropped, doubled or moved, or its bytes damaged."""
    told = copy.deepcopy(chance.choice(TOLD))
    for _ in range(chance.randint(1, 4)):
        every = places(told.get("data"), []) + [(told, name) for name in list(told)]
        if not every:
            break
        holder, name = chance.choice(every)
        act = chance.randrange(5)
        if act == 0 and isinstance(holder, dict):
            del holder[name]
        elif act == 1:
            other, at = chance.choice(every)
            holder[name] = copy.deepcopy(
                other[at] if (at in other if isinstance(other, dict) else at < len(other)) else 1
            )
        elif act == 2 and isinstance(holder, dict):
            holder[chance.choice(["key", "message", "id", "status", "pollUpdates", "keys", "messages"])] = (
                copy.deepcopy(chance.choice(ODD))
            )
        else:
            holder[name] = copy.deepcopy(chance.choice(ODD))
    body = json.dumps(told, ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        cut = chance.randrange(len(body))
        body = body[:cut] + bytes(chance.randrange(256) for _ in range(chance.randrange(4))) + body[cut + 1 :]
    return body


@given(seed=st.integers(0, 2**32), count=st.integers(50, 200))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_bodies_are_stored_ignored_or_buried_and_crash_nothing(database: str, seed: int, count: int) -> None:
    chance = random.Random(seed)
    bodies = EXTREMES + [for_instance(mutate(chance), "unit") for _ in range(count)]

    async def run() -> None:
        with tempfile.TemporaryDirectory() as place:
            async with inbound_stack(database, Path(place)) as stack:
                unit = await stack.add_unit(uuid4().hex)
                async with trio.open_nursery() as nursery:
                    for body in bodies:
                        nursery.start_soon(stack.post, unit, body)
                await stack.wait_until_stored(15)
                assert stack.counters.total("actor_crashes") == 0
                letters = await stack.rows(f"select reason from zapline.dead_letters where unit_id = '{unit.id}'")
                unusable = sum(
                    any(isinstance(parsed, Unusable) for parsed in parse(strip_secrets(body))) for body in bodies
                )
                assert len(letters) == unusable
                # What is parsed has been made storable: the database refuses none of it.
                assert ("refused_by_database",) not in letters

    trio.run(run)
