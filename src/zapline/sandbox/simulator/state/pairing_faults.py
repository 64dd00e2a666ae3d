"""Lets scans end as on real phones since 2026, lines stick as on 2.4, and somebody change a line's webhook."""

from typing import Any

from zapline.sandbox.simulator.state.connection_lifecycle import reopen, start_pairing
from zapline.sandbox.simulator.state.instances import Instance, iso_now
from zapline.sandbox.simulator.state.server_state import ServerState

_REOPENS_AFTER = 0.1
_CHANGEABLE = frozenset({"url", "events", "headers", "enabled", "base64", "by_events"})


def scan_in_vain(server: ServerState, instance: Instance, outcome: str) -> None:
    """Scan the code without the line opening. Raises ValueError for an unknown outcome.

    ``nothing``: the account asks for a passkey, and the scan has no effect. ``passkey``: the same with a build of
    Evolution that tells of it. ``refused``: the phone says that it cannot
    link the device; the socket is replaced, and codes go on. ``unfinished``: 2.4 after a logout; the socket is closed,
    nothing is told, and the next connect opens the line.
    """
    if outcome == "refused":
        start_pairing(server, instance, None)
    elif outcome == "unfinished":
        instance.stop_pairing()
        instance.state, instance.socket, instance.scanned = "close", "closed", True
        instance.owner_jid = instance.owner_jid or "5511999990000@s.whatsapp.net"
    elif outcome == "passkey":
        told = {"instance": instance.name, "state": "passkey_required", "statusReason": 200}
        server.fire_in_turn(instance, "connection.update", told)
    elif outcome != "nothing":
        raise ValueError(f"a scan has no such outcome: {outcome}")


def stick(instance: Instance) -> None:
    """Close the line for good: connect answers and opens nothing, until the instance is deleted (2.4)."""
    instance.stop_pairing()
    instance.state, instance.socket, instance.stuck = "close", "closed", True


def connects_by_itself(server: ServerState, instance: Instance) -> bool:
    """Whether connect begins no pairing: the line opens from what a scan has left, or sticks."""
    if instance.scanned:
        instance.scanned = False
        instance.state = "connecting"
        reopen(server, instance, _REOPENS_AFTER)
        return True
    return instance.stuck


def change_webhook(instance: Instance, changes: dict[str, Any]) -> None:
    """Change the webhook as somebody with the key or in the manager does. Raises ValueError, KeyError."""
    unknown = set(changes) - _CHANGEABLE
    if unknown:
        raise ValueError(f"not a property of a webhook: {', '.join(sorted(unknown))}")
    if instance.webhook is None:
        raise KeyError("webhook")
    for name, value in changes.items():
        setattr(instance.webhook, name, value)
    instance.webhook.updated = iso_now()
