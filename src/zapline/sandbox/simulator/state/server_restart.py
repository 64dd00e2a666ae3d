"""Ends the simulated server as by SIGKILL, and starts it again.

The database stays. Webhooks that were pending or waited in a queue are lost. What phones send meanwhile waits at
WhatsApp, and comes when the line is open again.
"""

from zapline.sandbox.simulator.state.connection_lifecycle import reopen, report_connecting
from zapline.sandbox.simulator.state.instances import Instance
from zapline.sandbox.simulator.state.server_state import ServerState


def end(server: ServerState) -> None:
    """Refuse connections, and forget what only the memory of the server holds."""
    server.listener.take_down()
    server.webhook_sender.drop_all()
    for instance in server.instances.values():
        _end_line(instance)


def start(server: ServerState) -> None:
    """Accept connections; each linked line reports ``connecting``, and ``open`` within a second."""
    server.listener.bring_up()
    for instance in server.instances.values():
        if instance.held is not None and instance.state == "close":
            instance.state = "connecting"
            report_connecting(server, instance)
            reopen(server, instance, server.behaviour.reopen_delay)


def _end_line(instance: Instance) -> None:
    was_linked = instance.state == "open" or (instance.state == "connecting" and instance.qr_code is None)
    instance.stop_pairing()
    instance.events.drop()
    if was_linked and instance.owner_jid is not None and instance.held is None:
        instance.held = []
    instance.state = "close"
    instance.socket = "closed" if instance.socket == "alive" else instance.socket
