"""Public cases and bodies of 2026, through the webhook's route: API, hook, live events and console end the same.

Each is played in its order, in others, and again, for a unit of its own; all units share one running system.
"""

import itertools
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec
import pytest
import trio
from support.console_operator import Operator
from support.crm_receiver import CrmReceiver, crm_receiver
from support.event_stream import Stream, watching
from support.public_cases import CASES, OWN, Body, Case

OF_ONE_UNIT = {"id", "seq", "conversationId", "receivedAt", "createdAt", "lastMessage", "unreadCount"}
"""What differs from unit to unit, and from order to order: of messages of one second the last is the last to arrive."""

OF_DELETED = {"text", "deletedAt", "editedAt", "editTextUnknown", "detail", "media", "quoted"}
"""What a message said may have been told before it was deleted."""


@dataclass
class Played:
    """One unit to which a case was played, and what was told of it."""

    name: str
    unit: Any
    bodies: Sequence[Body]
    alone: bool
    """Each body is stored before the next one comes; else several are stored together."""
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)

    def deleted_before(self, message: str) -> bool:
        """Whether the deletion of a message comes before it."""
        events = [
            body["event"]
            for body in self.bodies
            if (body["event"] == "messages.delete" and body["data"]["id"] == message)
            or (body["event"] == "messages.upsert" and body["data"]["key"]["id"] == message)
        ]
        return events[0] == "messages.delete"


def orders(case: Case, seed: int) -> list[list[Body]]:
    """As they came, backwards, and shuffled; all but the first with repetitions."""
    bodies = case.bodies
    if len(bodies) == 1:
        return [list(bodies) * 2]
    if case.in_order:
        return [list(bodies), list(bodies) * 2]
    if len(bodies) == 2:
        return [list(bodies), [*bodies[::-1], *bodies]]
    shuffled = Random(seed).sample(list(bodies) * 2, len(bodies) * 2)
    return [list(bodies), [*bodies[::-1], *bodies], shuffled]


def holds(wanted: Any, found: Any) -> bool:
    """Whether everything that is wanted is there."""
    if isinstance(wanted, Mapping) and wanted:
        return isinstance(found, Mapping) and all(holds(wanted[name], found.get(name)) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(wanted) == len(found) and all(map(holds, wanted, found))
    return bool(wanted == found)


async def play(api: Any, played: Played, at: CrmReceiver, few: trio.CapacityLimiter) -> None:
    """Post the bodies as Evolution does, and wait until hook and live events tell what the API tells."""
    unit = played.unit
    await api.post(f"/units/{unit.id}/hooks", {"url": f"{at.url}/{unit.id}"}, 201)
    async with few, watching(api, unit) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(_gather, stream, played.events)
        for body in played.bodies:
            whole = {"sender": OWN} | body | {"instance": unit.record.instance}
            path = f"/webhooks/whatsapp/evolution/{unit.id}{unit.record.secret_generation}"
            assert (await api.client.post(path, content=msgspec.json.encode(whole))).json() == {}
            if played.alone:
                await api.stored()
        await api.stored()
        page = await api.get(f"/units/{unit.id}/messages", afterSeq=0, limit=200)
        played.messages = {one["externalId"]: one for one in page["items"]}
        played.conversations = (await api.get(f"/units/{unit.id}/conversations"))["items"]
        with trio.move_on_after(30):
            while _untold(played, at):  # noqa: ASYNC110 - deliveries are calls of their own
                await trio.sleep(0.02)
        assert not (untold := _untold(played, at)), (played.name, untold)
        nursery.cancel_scope.cancel()


async def _gather(stream: Stream, events: list[tuple[str, Any]]) -> None:
    while True:
        events.append(await stream.next(seconds=120))


def _untold(played: Played, at: CrmReceiver) -> list[tuple[str, str, Any]]:
    """What a hook's receiver or a watcher does not know of the messages."""
    calls = [call.payload for call in at.calls_to(f"/{played.unit.id}")]
    untold: list[tuple[str, str, Any]] = []
    for id, message in played.messages.items():
        once = CASES[played.name].told_once | (OF_DELETED if message["deletedAt"] else frozenset())
        told = [call["data"] for call in calls if call["data"].get("id") == message["id"]]
        ends = [call["data"] for call in calls if call["type"] == "message.delivery"]
        hooked = dict(told[-1]) if told else {}
        for end in (end for end in ends if end["messageId"] == message["id"]):
            hooked["deliveryStatus"] = end["deliveryStatus"]
        untold += [("hook", id, diff) for diff in _differences(hooked, message, once)]
        seen = _watched(played.events, message["id"])
        if message["deletedAt"] and seen.get("text"):
            untold += [("events", id, "said although it was deleted")] * played.deleted_before(id)
        untold += [("events", id, diff) for diff in _differences(seen, message, once)]
        told_by = {"hook": [(call["type"], call["data"]) for call in calls], "events": played.events}
        for who, events in told_by.items():
            untold += [(who, id, diff) for diff in _undeleted(events, message)]
            untold += [(who, id, diff) for diff in _unreacted(events, message)]
    return untold


def _watched(events: Sequence[tuple[str, Any]], message: str) -> dict[str, Any]:
    """What a watcher knows of a message: as it came, and what was told of it afterwards."""
    known: dict[str, Any] = {}
    for kind, data in events:
        if kind == "message" and data["id"] == message:
            known = dict(data)
        if kind == "delivery" and data["messageId"] == message:
            known |= {"deliveryStatus": data["deliveryStatus"]} if data["deliveryStatus"] else {}
            if data["edited"]:
                # The new content is fetched: an event says that there is one.
                for name in ("text", "media", "editedAt", "detail"):
                    known.pop(name, None)
                known["editTextUnknown"] = data["editTextUnknown"]
    return known


def _undeleted(events: Sequence[tuple[str, Any]], message: Mapping[str, Any]) -> list[Any]:
    """Whether a deletion is not told: it comes with the message, or of its own."""
    told = any(
        (data.get("id") == message["id"] and data.get("deletedAt"))
        or (data.get("messageId") == message["id"] and (kind == "message.deleted" or data.get("deleted")))
        for kind, data in events
    )
    return [] if told == bool(message["deletedAt"]) else [("deleted", told, message["deletedAt"])]


def _unreacted(events: Sequence[tuple[str, Any]], message: Mapping[str, Any]) -> list[Any]:
    """Reactions and votes whose last report is another one."""
    reactions, votes = {}, {}
    for kind, data in events:
        if data.get("messageId") == message["id"] and kind.endswith("reaction"):
            reactions[data["actor"]] = data["emoji"]
        if data.get("messageId") == message["id"] and kind.endswith("vote"):
            votes[data["actor"]] = data["options"]
    reactions = {actor: emoji for actor, emoji in reactions.items() if emoji is not None}
    votes = {actor: options for actor, options in votes.items() if options != []}
    known = {one["actor"]: one["emoji"] for one in message["reactions"]}
    chosen = {one["actor"]: one["options"] for one in message["votes"]}
    return [(told, there) for told, there in ((reactions, known), (votes, chosen)) if told != there]


def _differences(told: Mapping[str, Any], message: Mapping[str, Any], once: Set[str]) -> list[Any]:
    if not told:
        return ["nothing is told"]
    shared = (told.keys() & message.keys()) - once
    return [(name, told[name], message[name]) for name in shared if told[name] != message[name]]


def _less(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lessened = [{name: value for name, value in row.items() if name not in OF_ONE_UNIT} for row in rows]
    for row in lessened:
        if "deletedAt" in row:  # when it was heard of
            row["deletedAt"] = row["deletedAt"] is not None
    return sorted(lessened, key=lambda row: str(row.get("externalId") or row.get("contact")))


@pytest.mark.heavy
async def test_every_case_is_told_rightly_everywhere_in_any_order_and_again(api: Any, operator: Operator) -> None:
    few = trio.CapacityLimiter(12)
    async with crm_receiver() as at:
        plays: dict[str, list[Played]] = {}
        for number, (name, case) in enumerate(CASES.items()):
            for place, order in enumerate(orders(case, number)):
                plays.setdefault(name, []).append(Played(name, await api.add_unit(name), order, alone=place == 0))
        async with trio.open_nursery() as nursery:
            for played in itertools.chain.from_iterable(plays.values()):
                nursery.start_soon(play, api, played, at, few)
    for name, case in CASES.items():
        first = plays[name][0]
        assert set(first.messages) == set(case.messages), name
        for played in plays[name]:
            for id, wanted in case.messages.items():
                assert holds(wanted, played.messages[id]), (name, id, played.messages[id])
            assert _less([*played.messages.values()]) == _less([*first.messages.values()]), name
            assert _less(played.conversations) == _less(first.conversations), name
            called = {one["contact"]: one["name"] for one in played.conversations}
            assert called | case.names == called, name
            threads = f"/console/units/{played.unit.id}/conversations"
            pages = [await operator.get(f"{threads}/{one['id']}") for one in played.conversations]
            shown = " ".join(page.visible_text for page in pages)
            assert [words for words in case.shown if words not in shown] == [], (name, shown[150:1500])
        for reason in case.ignored:
            assert api.counters.totals["ignored", reason] >= len(plays[name]), reason
    assert await api.sql("select reason from zapline.dead_letters") == []
    assert api.counters.total("actor_crashes") == 0
