"""Answers the control endpoints, by which tests and the demo act as phones, as WhatsApp, and as trouble.

``POST /_control/<word>`` with a JSON object; no key, from this machine only.
"""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import trio

from zapline.sandbox.simulator.endpoints import phones
from zapline.sandbox.simulator.http.http_server import Answer, Request
from zapline.sandbox.simulator.http.responses import answer
from zapline.sandbox.simulator.state import pairing
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.world import World

CONTROL = "/_control/"
_HABITS = frozenset({"statuses", "status_gap", "store", "version", "connect_wait", "create_wait", "qr_lifetime"})
_FAULT_FIELDS = frozenset(field.name for field in fields(Fault))


async def control(world: World, request: Request) -> Answer:
    """The answer of a control endpoint: 200, or 400 with what is wrong, 403 from another machine, 404."""
    if not (request.peer.startswith("127.") or request.peer == "::1"):
        return answer({"error": "control is for this machine only"}, 403)
    word = request.path.removeprefix(CONTROL)
    verb = VERBS.get((request.method, word))
    if verb is None:
        return answer({"error": f"no such control: {request.method} {word}"}, 404)
    try:
        given = json.loads(request.body) if request.body else dict(request.query)
        return answer(verb(world, given))
    except (ValueError, TypeError, AttributeError) as exc:
        return answer({"error": f"{type(exc).__name__}: {exc}"}, 400)
    except (KeyError, FileNotFoundError) as exc:
        return answer({"error": f"unknown: {exc}"}, 404)


def _instance(world: World, given: dict[str, Any]) -> Instance:
    return world.instances[given.pop("instance")]


def _scan(world: World, given: dict[str, Any]) -> Any:
    instance = _instance(world, given)
    pairing.scan(world, instance, **given)
    return {"state": instance.state, "wuid": instance.owner_jid}


def _close(world: World, given: dict[str, Any]) -> Any:
    instance = _instance(world, given)
    pairing.close(world, instance, **given)
    return {"state": instance.state}


def _receive(world: World, given: dict[str, Any]) -> Any:
    return {"id": phones.receive(world, _instance(world, given), **given)}


def _play(world: World, given: dict[str, Any]) -> Any:
    phones.play(world, _instance(world, given), **given)
    return {"played": given["name"]}


def _storm(world: World, given: dict[str, Any]) -> Any:
    started = world.spawn(partial(pairing.storm, world, _instance(world, given), **given))
    return {"started": started}


def _status(world: World, given: dict[str, Any]) -> Any:
    instance = _instance(world, given)
    phones.status(world, instance, given["id"], given["status"], given.get("jid"))
    return {"reported": given["status"]}


def _plant(world: World, given: dict[str, Any]) -> Any:
    unknown = set(given) - _FAULT_FIELDS
    if unknown:
        raise ValueError(f"not a property of a fault: {', '.join(sorted(unknown))}")
    world.faults.plant(Fault(**given))
    return world.faults.rows()


def _clear(world: World, given: dict[str, Any]) -> Any:
    world.faults.clear(given.get("kind"), given.get("instance"))
    return world.faults.rows()


def _faults(world: World, given: dict[str, Any]) -> Any:
    return world.faults.rows()


def _ledger(world: World, given: dict[str, Any]) -> Any:
    return {**world.ledger.as_json(), "pending": world.courier.pending}


def _deliveries(world: World, given: dict[str, Any]) -> Any:
    """What reached phones after the first ``since`` messages: id, instance, number, text, at, whether echoed."""
    since = int(given.get("since", 0))
    rows = [
        [entry.id, entry.instance, entry.number, entry.text, entry.at, entry.echoed]
        for entry in world.ledger.received_since(since)
    ]
    return {"next": world.ledger.delivered, "rows": rows, "pending": world.courier.pending}


def _struck(world: World, given: dict[str, Any]) -> Any:
    return dict(world.faults.struck)


def _habits(world: World, given: dict[str, Any]) -> Any:
    """Change how the server behaves from now on; the properties are those of ``world.Habits``."""
    unknown = set(given) - _HABITS
    if unknown:
        raise ValueError(f"not a habit that can be changed: {', '.join(sorted(unknown))}")
    given = {name: tuple(value) if name == "statuses" else value for name, value in given.items()}
    world.habits = replace(world.habits, **given)
    return {name: getattr(world.habits, name) for name in sorted(_HABITS)}


def _instances(world: World, given: dict[str, Any]) -> Any:
    found = world.instances.values()
    return [{"name": instance.name, "state": instance.state, "id": instance.id} for instance in found]


def _phones(world: World, given: dict[str, Any]) -> Any:
    """Each list given replaces the one known."""
    phones = world.phones
    phones.missing = set(given.get("missing", phones.missing))
    phones.unanswered = set(given.get("unanswered", phones.unanswered))
    phones.aliases = dict(given.get("aliases", phones.aliases))
    phones.names = dict(given.get("names", phones.names))
    groups = given.get("groups", phones.groups)
    phones.groups = {group: tuple(members) for group, members in groups.items()}
    return {"missing": sorted(phones.missing)}


def _down(world: World, given: dict[str, Any]) -> Any:
    """Refuse connections for some seconds; begins after this answer is out."""
    seconds = float(given["seconds"])

    async def away() -> None:
        await trio.sleep(0.05)
        world.door.shut()
        await trio.sleep(seconds)
        world.door.open()

    world.spawn(away)
    return {"down": seconds}


VERBS: dict[tuple[str, str], Callable[[World, dict[str, Any]], Any]] = {
    ("POST", "scan"): _scan,
    ("POST", "close"): _close,
    ("POST", "receive"): _receive,
    ("POST", "play"): _play,
    ("POST", "storm"): _storm,
    ("POST", "status"): _status,
    ("POST", "faults"): _plant,
    ("DELETE", "faults"): _clear,
    ("GET", "faults"): _faults,
    ("GET", "ledger"): _ledger,
    ("GET", "deliveries"): _deliveries,
    ("GET", "struck"): _struck,
    ("POST", "habits"): _habits,
    ("GET", "instances"): _instances,
    ("POST", "phones"): _phones,
    ("POST", "down"): _down,
}
