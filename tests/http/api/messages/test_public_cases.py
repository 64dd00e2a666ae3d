"""Public cases and bodies of 2026, through the webhook's route: API, hook, live events and console end the same.

Each is played in its order, in others, and again, for a unit of its own; all units share one running system.
"""

import itertools
import json
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import trio
from support.console_operator import Operator
from support.crm_receiver import CrmReceiver, crm_receiver
from support.event_stream import Stream, watching

import zapline.sandbox

RECORDINGS = Path(zapline.sandbox.__file__).parent / "recordings"
OWN = "5511999990000@s.whatsapp.net"
SENT = "3EB08A7F83100C535BCB19"
Body = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """Webhooks, and what the CRM's user must see at the end; a message is told by WhatsApp's id."""

    bodies: Sequence[Body]
    messages: Mapping[str, Mapping[str, Any]]
    shown: Sequence[str]
    """Words of the console's threads."""
    ignored: Sequence[str] = ()
    """Why bodies leave no row, by the counter's reason."""
    told_once: Set[str] = frozenset()
    """Fields that hook and events tell as they were when the message first came."""


def recorded(path: str) -> list[Body]:
    """The webhooks of a recording: one, or the steps of a case."""
    content = json.loads((RECORDINGS / f"{path}.json").read_text())
    if isinstance(content, dict) and "steps" in content:
        return [step["webhook"] for step in content["steps"] if "webhook" in step]
    return content if isinstance(content, list) else [content]


def of_2026(*numbers: str) -> list[Body]:
    found = [path for number in numbers for path in (RECORDINGS / "2026").glob(f"{number}-*.json")]
    assert len(found) == len(numbers)
    return [json.loads(path.read_text()) for path in found]


QUOTE = {"kind": "text", "text": "Confirma o horário das 15h?", "author": "+5511999990000", "fromMe": True}
STATUS = {"kind": "image", "text": "Tênis azul em promoção", "fromMe": True, "status": True}
PIX = {"name": "Mara Treze", "key": "mara@exemplo.test", "key_type": "EMAIL"}
PAIR = [*recorded("encrypted/30a-original-with-secret"), *recorded("encrypted/30b-encrypted-edit")]
CASES = {
    "01-encrypted-edit": Case(
        recorded("encrypted/01-encrypted-edit"),
        {
            "3A010000000000000001": {"text": "Quero 2 caixas", "editTextUnknown": True, "fromMe": False},
            "3A010000000000000003": {"text": "Pedido anotado", "editTextUnknown": True, "fromMe": True},
        },
        ["edited; the new text is on the phone only"],
    ),
    "04-quote-of-unknown": Case(
        recorded("cases/04-quote-of-unknown"),
        {"3A040000000000000001": {"text": "Confirmo sim", "quoted": {"id": "3EB0AAAA000000000001", **QUOTE}}},
        ["The unit Confirma o horário das 15h?"],
    ),
    "05-reply-to-status": Case(
        recorded("cases/05-reply-to-status"),
        {"3A050000000000000001": {"text": "Quanto custa esse?", "quoted": STATUS}},
        ["Status · The unit", "Tênis azul em promoção"],
    ),
    "12-pix": Case(
        recorded("cases/12-pix"),
        {"3A120000000000000001": {"text": "Pix · Mara Treze · EMAIL · mara@exemplo.test", "detail": {"pix": [PIX]}}},
        ["Mara Treze", "mara@exemplo.test"],
    ),
    "17-vcard-without-waid": Case(
        recorded("cases/17-vcard-without-waid"),
        {
            "3A170000000000000001": {
                "detail": {"contacts": [{"name": "Oficina do Zé", "phones": ["+551133330018", "+5511977770019"]}]}
            },
            "3A170000000000000002": {"detail": {"contacts": [{"name": "Padaria", "phones": ["+551133330020"]}]}},
        },
        ["Oficina do Zé", "+551133330018", "+551133330020"],
    ),
    "18-hd-photo": Case(
        recorded("cases/18-hd-photo"),
        {
            "3A180000000000000001": {
                "kind": "image",
                "text": "Comprovante",
                "detail": {},
                "media": {"width": 4000, "size": 2_900_000, "copyId": "3A180000000000000002"},
            }
        },
        ["Comprovante"],
        told_once={"sentAt"},  # a better copy that comes first is told with its own time, some seconds later
    ),
    "bodies of 2026": Case(
        [
            *of_2026("01", "02", "03", "04", "05", "06", "07", "08", "09", "16", "17", "18", "19"),
            *recorded("webhooks/send.message-text"),
            *PAIR,
        ],
        {
            "3A0000001F2E3D6A0001": {"text": "2.4: remoteJid telefone, alt LID"},
            "3A0000001F2E3D6A0002": {"text": "sim, pode ser (era resposta)", "quoted": None},
            "3A0000001F2E3D6A0003": {"kind": "image", "quoted": {"text": "manda a foto?", "fromMe": True}},
            "3A0000001F2E3D6A0004": {"kind": "unknown", "text": None},
            "3A0000001F2E3D6A0005": {"sender": "+5511999990001", "text": "de um aparelho vinculado"},
            "3A0000001F2E3D6A0006": {"sender": "lid:281380638478587"},
            "3A0000001F2E3D6A0016": {"text": "Olá! Vi o anúncio"},
            "3A0000001F2E3D6A0017": {"text": "escrevo pelo meu @"},
            "3A0000001F2E3D6A0030": {"text": "Quero 3 caixas, não 2", "editTextUnknown": False},
            SENT: {"deliveryStatus": "delivered", "failure": None, "fromMe": True},
        },
        ["manda a foto?", "Quero 3 caixas, não 2 edited", "escrevo pelo meu @", "de um aparelho vinculado, sem alt"],
        ["history_progress"],
        told_once={"conversationId"},  # of a LID, before it is known whose it is
    ),
    "an encrypted edit": Case(
        PAIR, {"3A0000001F2E3D6A0030": {"text": "Quero 3 caixas, não 2"}}, ["Quero 3 caixas, não 2 edited"]
    ),
    "refused after the 201": Case(
        [*recorded("webhooks/send.message-text"), *of_2026("19")],
        {SENT: {"deliveryStatus": "failed", "fromMe": True}},
        ["olá"],
    ),
}
OF_ONE_UNIT = {"id", "seq", "conversationId", "receivedAt", "createdAt"}
"""What differs from unit to unit, and from order to order."""


@dataclass
class Played:
    """One unit to which a case was played, and what was told of it."""

    name: str
    unit: Any
    bodies: Sequence[Body]
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    conversations: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)


def orders(bodies: Sequence[Body], seed: int) -> list[list[Body]]:
    """As they came, backwards, and shuffled; all but the first with repetitions."""
    if len(bodies) == 1:
        return [list(bodies) * 2]
    shuffled = Random(seed).sample(list(bodies) * 2, len(bodies) * 2)
    return [list(bodies), [*bodies[::-1], *bodies], shuffled]


def holds(wanted: Any, found: Any) -> bool:
    """Whether everything that is wanted is there."""
    if isinstance(wanted, Mapping) and wanted:
        return isinstance(found, Mapping) and all(holds(wanted[name], found.get(name)) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(found, list) and len(wanted) == len(found) and all(map(holds, wanted, found))
    return bool(wanted == found)


async def play(api: Any, played: Played, at: CrmReceiver) -> None:
    """Post the bodies as Evolution does, and wait until hook and live events tell what the API tells."""
    unit = played.unit
    await api.post(f"/units/{unit.id}/hooks", {"url": f"{at.url}/{unit.id}"}, 201)
    async with watching(api, unit) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(_gather, stream, played.events)
        for body in played.bodies:
            whole = {"sender": OWN} | body | {"instance": unit.record.instance}
            path = f"/webhooks/whatsapp/evolution/{unit.id}{unit.record.secret_generation}"
            assert (await api.client.post(path, content=msgspec.json.encode(whole))).json() == {}
            await api.stored()
        page = await api.get(f"/units/{unit.id}/messages", afterSeq=0, limit=200)
        played.messages = {one["externalId"]: one for one in page["items"]}
        played.conversations = (await api.get(f"/units/{unit.id}/conversations"))["items"]
        with trio.move_on_after(10):
            while _untold(played, at):  # noqa: ASYNC110 - deliveries are calls of their own
                await trio.sleep(0.02)
        assert not (untold := _untold(played, at)), (played.name, untold)
        nursery.cancel_scope.cancel()


async def _gather(stream: Stream, events: list[tuple[str, Any]]) -> None:
    with suppress(trio.TooSlowError):  # what is missing is found where both are compared
        while True:
            events.append(await stream.next())


def _untold(played: Played, at: CrmReceiver) -> list[tuple[str, str, Any]]:
    """What a hook's receiver or a watcher does not know of the messages."""
    calls = [call.payload for call in at.calls_to(f"/{played.unit.id}")]
    untold: list[tuple[str, str, Any]] = []
    once = CASES[played.name].told_once
    for id, message in played.messages.items():
        told = [call["data"] for call in calls if call["data"].get("id") == message["id"]]
        ends = [call["data"] for call in calls if call["type"] == "message.delivery"]
        hooked = dict(told[-1]) if told else {}
        for end in (end for end in ends if end["messageId"] == message["id"]):
            hooked["deliveryStatus"] = end["deliveryStatus"]
        untold += [("hook", id, diff) for diff in _differences(hooked, message, once)]
        seen = _watched(played.events, message["id"])
        untold += [("events", id, diff) for diff in _differences(seen, message, once)]
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


def _differences(told: Mapping[str, Any], message: Mapping[str, Any], once: Set[str]) -> list[Any]:
    if not told:
        return ["nothing is told"]
    shared = (told.keys() & message.keys()) - once
    return [(name, told[name], message[name]) for name in shared if told[name] != message[name]]


def _less(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    lessened = [{name: value for name, value in row.items() if name not in OF_ONE_UNIT} for row in rows]
    return sorted(lessened, key=lambda row: str(row.get("externalId") or row.get("contact")))


async def test_every_case_is_told_rightly_everywhere_in_any_order_and_again(api: Any, operator: Operator) -> None:
    async with crm_receiver() as at:
        plays: dict[str, list[Played]] = {}
        for number, (name, case) in enumerate(CASES.items()):
            for order in orders(case.bodies, number):
                plays.setdefault(name, []).append(Played(name, await api.add_unit(name), order))
        async with trio.open_nursery() as nursery:
            for played in itertools.chain.from_iterable(plays.values()):
                nursery.start_soon(play, api, played, at)
    for name, case in CASES.items():
        first = plays[name][0]
        assert set(first.messages) == set(case.messages), name
        for played in plays[name]:
            for id, wanted in case.messages.items():
                assert holds(wanted, played.messages[id]), (name, id, played.messages[id])
            assert _less([*played.messages.values()]) == _less([*first.messages.values()]), name
            assert _less(played.conversations) == _less(first.conversations), name
            threads = f"/console/units/{played.unit.id}/conversations"
            pages = [await operator.get(f"{threads}/{one['id']}") for one in played.conversations]
            shown = " ".join(page.visible_text for page in pages)
            assert [words for words in case.shown if words not in shown] == [], (name, shown[150:1500])
        for reason in case.ignored:
            assert api.counters.totals["ignored", reason] >= len(plays[name]), reason
    assert await api.sql("select reason from zapline.dead_letters") == []
    assert api.counters.total("actor_crashes") == 0
