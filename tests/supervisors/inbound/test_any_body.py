"""An unknown body never crashes an actor; it is stored, ignored or becomes a dead letter."""

import copy
import json
import random
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.inbound_stack import inbound_stack
from support.recorded_webhooks import BODIES, for_instance

from zapline.domain.inbound_events import Unusable
from zapline.evolution.webhooks.event_parser import parse_webhook
from zapline.evolution.webhooks.secret_stripping import strip_secrets
from zapline.sql.inbound.authorship import FOREIGN, UNPROVEN

RECORDED = [json.loads(body) for body in BODIES.values() if body.rstrip().endswith(b"}")]
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


def collect_slots(value: Any, slots: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every (container, key or index) of a body."""
    if isinstance(value, dict):
        for name, inner in value.items():
            slots.append((value, name))
            collect_slots(inner, slots)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            slots.append((value, index))
            collect_slots(inner, slots)
    return slots


def mutate(chance: random.Random) -> bytes:
    """A recorded body with some of its values replaced, dropped, doubled or moved, or its bytes damaged."""
    webhook = copy.deepcopy(chance.choice(RECORDED))
    for _ in range(chance.randint(1, 4)):
        all_slots = collect_slots(webhook.get("data"), []) + [(webhook, name) for name in list(webhook)]
        if not all_slots:
            break
        container, name = chance.choice(all_slots)
        act = chance.randrange(5)
        if act == 0 and isinstance(container, dict):
            del container[name]
        elif act == 1:
            other, at = chance.choice(all_slots)
            container[name] = copy.deepcopy(
                other[at] if (at in other if isinstance(other, dict) else at < len(other)) else 1
            )
        elif act == 2 and isinstance(container, dict):
            container[chance.choice(["key", "message", "id", "status", "pollUpdates", "keys", "messages"])] = (
                copy.deepcopy(chance.choice(ODD))
            )
        else:
            container[name] = copy.deepcopy(chance.choice(ODD))
    body = json.dumps(webhook, ensure_ascii=chance.random() < 0.7).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        cut = chance.randrange(len(body))
        body = body[:cut] + bytes(chance.randrange(256) for _ in range(chance.randrange(4))) + body[cut + 1 :]
    return body


@pytest.mark.heavy
@given(seed=st.integers(0, 2**32), count=st.integers(50, 200))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_bodies_crash_nothing_and_unusable_ones_are_dead_letters(database: str, seed: int, count: int) -> None:
    chance = random.Random(seed)
    bodies = EXTREMES + [for_instance(mutate(chance), "unit") for _ in range(count)]

    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with inbound_stack(database, Path(directory)) as stack:
                unit = await stack.add_unit(uuid4().hex)
                async with trio.open_nursery() as nursery:
                    for body in bodies:
                        nursery.start_soon(stack.post, unit, body)
                await stack.wait_until_stored(60)
                assert stack.counters.total("actor_crashes") == 0
                letters = f"select reason from zapline.dead_letters where unit_id = '{unit.id}'"
                # A mutant may take the id of another one's message, which is a stranger's word and no unusable body.
                dead_letters = [row for row in await stack.rows(letters) if row[0] not in (FOREIGN, UNPROVEN)]
                unusable = sum(
                    any(isinstance(parsed, Unusable) for parsed in parse_webhook(strip_secrets(body)))
                    for body in bodies
                )
                assert len(dead_letters) == unusable
                # Everything parsed is storable: the database refuses none of it.
                assert ("refused_by_database",) not in dead_letters

    trio.run(run)
