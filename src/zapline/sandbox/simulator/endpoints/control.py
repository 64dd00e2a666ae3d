"""Serves the control endpoints, by which tests and the demo act as phones and WhatsApp, and inject faults.

``POST /_control/<command>`` with a JSON object; without a key, from this machine only.
"""

import json
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import trio

from zapline.sandbox.simulator.endpoints import phone_actions, phone_edits
from zapline.sandbox.simulator.endpoints.contact_events import hand_over_history
from zapline.sandbox.simulator.endpoints.messages import switch_off
from zapline.sandbox.simulator.http.http_server import Request, Response
from zapline.sandbox.simulator.http.responses import json_response
from zapline.sandbox.simulator.state import connection_lifecycle, pairing_faults, server_restart
from zapline.sandbox.simulator.state.faults import Fault
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.server_state import ServerState

CONTROL = "/_control/"
_CHANGEABLE = frozenset({"statuses", "status_gap", "store", "version", "connect_wait", "create_wait", "qr_lifetime"})
_FAULT_FIELDS = frozenset(field.name for field in fields(Fault))


async def control(server: ServerState, request: Request) -> Response:
    """Run a control command: 200, or 400 with the error, 403 from another machine, 404 for an unknown name."""
    if not (request.peer.startswith("127.") or request.peer == "::1"):
        return json_response({"error": "control is for this machine only"}, 403)
    command = request.path.removeprefix(CONTROL)
    function = COMMANDS.get((request.method, command))
    if function is None:
        return json_response({"error": f"no such control: {request.method} {command}"}, 404)
    try:
        arguments = json.loads(request.body) if request.body else dict(request.query)
        return json_response(function(server, arguments))
    except (ValueError, TypeError, AttributeError) as exc:
        return json_response({"error": f"{type(exc).__name__}: {exc}"}, 400)
    except (KeyError, FileNotFoundError) as exc:
        return json_response({"error": f"unknown: {exc}"}, 404)


def _instance(server: ServerState, arguments: dict[str, Any]) -> Instance:
    return server.instances[arguments.pop("instance")]


def _scan(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance = _instance(server, arguments)
    outcome = arguments.pop("outcome", "opens")
    if outcome == "opens":
        connection_lifecycle.scan(server, instance, **arguments)
    else:
        pairing_faults.scan_in_vain(server, instance, outcome)
    return {"state": instance.state, "wuid": instance.owner_jid}


def _stick(server: ServerState, arguments: dict[str, Any]) -> Any:
    pairing_faults.stick(_instance(server, arguments))
    return {}


def _change_webhook(server: ServerState, arguments: dict[str, Any]) -> Any:
    pairing_faults.change_webhook(_instance(server, arguments), arguments)
    return {}


def _close(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance = _instance(server, arguments)
    connection_lifecycle.close(server, instance, **arguments)
    return {"state": instance.state}


def _receive(server: ServerState, arguments: dict[str, Any]) -> Any:
    return {"id": phone_actions.receive(server, _instance(server, arguments), **arguments)}


def _edit(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance, id = _instance(server, arguments), arguments.pop("id")
    phone_edits.edit(server, instance, id, **arguments)
    return {"edited": id, "waiting": instance.events.waiting}


def _revoke(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance, id = _instance(server, arguments), arguments.pop("id")
    phone_edits.revoke(server, instance, id, **arguments)
    return {"revoked": id, "waiting": instance.events.waiting}


def _react(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance, id = _instance(server, arguments), arguments.pop("id")
    return {"id": phone_actions.react(server, instance, id, **arguments)}


def _call(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance, id = _instance(server, arguments), arguments.pop("id")
    phone_actions.call(server, instance, id, **{"at": time.time(), **arguments})
    return {"id": id}


def _history(server: ServerState, arguments: dict[str, Any]) -> Any:
    hand_over_history(server, _instance(server, arguments), **arguments)
    return {"messages": len(arguments.get("messages", ()))}


def _restart(server: ServerState, arguments: dict[str, Any]) -> Any:
    """End the server once this response is sent, as by SIGKILL, and start it after some seconds.

    ``meanwhile``: what phones do while it is away, as pairs of a command and its arguments.
    """
    seconds = float(arguments.get("seconds", 0.5))
    meanwhile = [(COMMANDS["POST", command], dict(more)) for command, more in arguments.get("meanwhile", ())]

    async def restart() -> None:
        await trio.sleep(0.05)
        server_restart.end(server)
        for act, more in meanwhile:
            act(server, more)
        await trio.sleep(seconds)
        server_restart.start(server)

    server.spawn(restart)
    return {"down": seconds}


def _replay(server: ServerState, arguments: dict[str, Any]) -> Any:
    phone_actions.replay(server, _instance(server, arguments), **arguments)
    return {"played": arguments["name"]}


def _storm(server: ServerState, arguments: dict[str, Any]) -> Any:
    started = server.spawn(partial(connection_lifecycle.storm, server, _instance(server, arguments), **arguments))
    return {"started": started}


def _status(server: ServerState, arguments: dict[str, Any]) -> Any:
    instance = _instance(server, arguments)
    phone_actions.status(server, instance, arguments["id"], arguments["status"], arguments.get("jid"))
    return {"reported": arguments["status"]}


def _inject_fault(server: ServerState, arguments: dict[str, Any]) -> Any:
    unknown = set(arguments) - _FAULT_FIELDS
    if unknown:
        raise ValueError(f"not a property of a fault: {', '.join(sorted(unknown))}")
    server.faults.inject(Fault(**arguments))
    return server.faults.as_json()


def _clear_faults(server: ServerState, arguments: dict[str, Any]) -> Any:
    server.faults.clear(arguments.get("kind"), arguments.get("instance"))
    return server.faults.as_json()


def _faults(server: ServerState, arguments: dict[str, Any]) -> Any:
    return server.faults.as_json()


def _ledger(server: ServerState, arguments: dict[str, Any]) -> Any:
    return {**server.ledger.as_json(), "pending": server.webhook_sender.pending}


def _deliveries(server: ServerState, arguments: dict[str, Any]) -> Any:
    """Messages that reached phones after the first ``since``: id, instance, number, text, at, whether echoed."""
    since = int(arguments.get("since", 0))
    rows = [
        [message.id, message.instance, message.number, message.text, message.at, message.echoed]
        for message in server.ledger.messages_since(since)
    ]
    return {"next": server.ledger.message_count, "rows": rows, "pending": server.webhook_sender.pending}


def _triggered_faults(server: ServerState, arguments: dict[str, Any]) -> Any:
    return dict(server.faults.triggered)


def _change_behaviour(server: ServerState, arguments: dict[str, Any]) -> Any:
    """Change the server's behaviour; the properties are those of ``server_state.Behaviour``."""
    unknown = set(arguments) - _CHANGEABLE
    if unknown:
        raise ValueError(f"not a habit that can be changed: {', '.join(sorted(unknown))}")
    arguments = {name: tuple(value) if name == "statuses" else value for name, value in arguments.items()}
    server.behaviour = replace(server.behaviour, **arguments)
    return {name: getattr(server.behaviour, name) for name in sorted(_CHANGEABLE)}


def _instances(server: ServerState, arguments: dict[str, Any]) -> Any:
    instances = server.instances.values()
    return [{"name": instance.name, "state": instance.state, "id": instance.id} for instance in instances]


def _phones(server: ServerState, arguments: dict[str, Any]) -> Any:
    """Replace each property that is given."""
    numbers = server.numbers
    numbers.missing = set(arguments.get("missing", numbers.missing))
    numbers.unanswered = set(arguments.get("unanswered", numbers.unanswered))
    numbers.aliases = dict(arguments.get("aliases", numbers.aliases))
    numbers.names = dict(arguments.get("names", numbers.names))
    numbers.subjects = dict(arguments.get("subjects", numbers.subjects))
    if "silent" in arguments:
        switch_off(server, arguments["silent"])
    groups = arguments.get("groups", numbers.groups)
    numbers.groups = {group: tuple(members) for group, members in groups.items()}
    return {"missing": sorted(numbers.missing)}


def _down(server: ServerState, arguments: dict[str, Any]) -> Any:
    """Refuse connections for some seconds, once this response is sent."""
    seconds = float(arguments["seconds"])

    async def go_down() -> None:
        await trio.sleep(0.05)
        server.listener.take_down()
        await trio.sleep(seconds)
        server.listener.bring_up()

    server.spawn(go_down)
    return {"down": seconds}


COMMANDS: dict[tuple[str, str], Callable[[ServerState, dict[str, Any]], Any]] = {
    ("POST", "scan"): _scan,
    ("POST", "close"): _close,
    ("POST", "stick"): _stick,
    ("POST", "webhook"): _change_webhook,
    ("POST", "receive"): _receive,
    ("POST", "edit"): _edit,
    ("POST", "revoke"): _revoke,
    ("POST", "react"): _react,
    ("POST", "call"): _call,
    ("POST", "history"): _history,
    ("POST", "restart"): _restart,
    ("POST", "play"): _replay,
    ("POST", "storm"): _storm,
    ("POST", "status"): _status,
    ("POST", "faults"): _inject_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "faults"): _faults,
    ("GET", "ledger"): _ledger,
    ("GET", "deliveries"): _deliveries,
    ("GET", "struck"): _triggered_faults,
    ("POST", "habits"): _change_behaviour,
    ("GET", "instances"): _instances,
    ("POST", "phones"): _phones,
    ("POST", "down"): _down,
}
