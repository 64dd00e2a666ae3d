"""Drives an instance's connection: QR codes, scans, closes, reconnections and reconnect storms."""

import json
import math
import random

import segno
import trio

from zapline.sandbox.simulator.state.instances import Instance, iso_now
from zapline.sandbox.simulator.state.server_state import ServerState
from zapline.sandbox.simulator.state.server_versions import is_2_4, logged_out_codes

STORM_RATE = 4.2  # webhooks per second, as recorded


def start_pairing(server: ServerState, instance: Instance, number: str | None) -> None:
    """Leave ``close``: QR codes are offered and rotated until a scan, the limit, or a deletion."""
    instance.stop_pairing()
    scope = trio.CancelScope()
    instance.pairing = scope
    instance.state = "connecting"
    instance.socket = "closed"
    instance.qr_ready = trio.Event()

    async def rotate() -> None:
        with scope:
            await _rotate(server, instance, number)

    server.spawn(rotate)


async def _rotate(server: ServerState, instance: Instance, number: str | None) -> None:
    behaviour = server.behaviour
    report_connecting(server, instance)
    await trio.sleep(behaviour.first_qr if behaviour.first_qr < math.inf else 1e9)
    for count in range(1, behaviour.qr_limit + 1):
        code = _new_code(server.rng)
        pairing_code = "".join(server.rng.choices("ABCDEFGHJKLMNPQRSTVWXYZ123456789", k=8))
        instance.qr_code = {
            "pairingCode": pairing_code if number else None,
            "code": code,
            "base64": segno.make(code, error="l").png_data_uri(scale=4, border=4),
            "count": count,
        }
        instance.qr_ready.set()
        data = {name: instance.qr_code[name] for name in ("pairingCode", "code", "base64")}
        server.fire_in_turn(instance, "qrcode.updated", {"qrcode": {"instance": instance.name, **data}})
        if count > 1:
            report_connecting(server, instance)
        await trio.sleep(behaviour.qr_lifetime)
    limit = {"message": "QR code limit reached, please login again", "statusCode": 500}
    server.fire_in_turn(instance, "qrcode.updated", limit)
    refused = {"instance": instance.name, "state": "refused", "statusReason": 428}
    server.fire_in_turn(instance, "connection.update", refused)
    instance.qr_code = None
    instance.pairing = None
    instance.state = "close"  # no close event follows (contract, section 2)


def _new_code(rng: random.Random) -> str:
    def part(length: int) -> str:
        return "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=length))

    return f"2@{part(44)},{part(43)}=,{part(43)}=,{part(43)}="


def report_connecting(server: ServerState, instance: Instance) -> None:
    data = {"instance": instance.name, "state": "connecting", "statusReason": 200}
    server.fire_in_turn(instance, "connection.update", data)


def scan(server: ServerState, instance: Instance, number: str | None = None, profile_name: str | None = None) -> None:
    """Scan the QR code: the line opens, and webhooks name its number as ``sender`` from then on."""
    instance.stop_pairing()
    digits = number or instance.number or _digits(instance.owner_jid) or "5511999990000"
    instance.owner_jid = f"{digits}@s.whatsapp.net"
    instance.profile_name = profile_name or instance.profile_name or "Loja Exemplo"
    _open(server, instance)


def _digits(jid: str | None) -> str | None:
    return jid.partition("@")[0] if jid else None


def _open(server: ServerState, instance: Instance) -> None:
    instance.state = "open"
    instance.socket = "alive"
    instance.disconnection = None
    instance.updated = iso_now()
    data = {
        "instance": instance.name,
        "wuid": instance.owner_jid,
        "profileName": instance.profile_name,
        "profilePictureUrl": None,
        "state": "open",
        "statusReason": 200,
    }
    server.fire_in_turn(instance, "connection.update", data)
    held, instance.held = instance.held, None
    for handler in held or ():
        server.from_phone(instance, handler)


def close(
    server: ServerState, instance: Instance, code: int, reopen_after: float | None = None, stray: bool = False
) -> None:
    """Close WhatsApp's socket. 401, 402, 403, 406, and 408 since 2.4, end the session; others show as ``connecting``.

    ``reopen_after``: seconds until the line opens again by itself. ``stray``: a second socket reconnects after the
    logout, as in the recording.
    """
    instance.stop_pairing()
    if code not in logged_out_codes(server.behaviour.version):
        instance.state = "connecting"
        instance.socket = "closed"
        report_connecting(server, instance)
        if reopen_after is not None:
            reopen(server, instance, reopen_after)
        return
    closed_at = iso_now()
    payload = {"statusCode": code, "message": "Stream Errored (conflict)"}
    cause = {"tag": "conflict", "attrs": {"type": "device_removed"}}
    boom = {
        "isBoom": True,
        "data": cause,
        "output": {"statusCode": code, "payload": payload, "headers": {}},
    }
    error = json.dumps({"error": boom, "date": closed_at}, separators=(",", ":"))
    instance.disconnection = (code, error, closed_at)
    instance.updated = closed_at
    instance.state = "connecting" if stray else "close"
    instance.socket = "alive" if stray else "closed"
    closed = {
        "instance": instance.name,
        "status": "closed",
        "disconnectionAt": closed_at,
        "disconnectionReasonCode": code,
        "disconnectionObject": error,
    }
    server.fire_in_turn(instance, "status.instance", closed)
    server.fire_in_turn(instance, "logout.instance", None)
    update = {"instance": instance.name, "state": "close", "statusReason": code}
    server.fire_in_turn(instance, "connection.update", update)
    if stray:
        report_connecting(server, instance)


def logout(server: ServerState, instance: Instance) -> None:
    """Log the line out, as the API asks; 2.4 reports it by no event."""
    if not is_2_4(server.behaviour.version):
        close(server, instance, 401)
        return
    instance.stop_pairing()
    instance.updated = iso_now()
    instance.state, instance.socket = "close", "closed"


def reopen(server: ServerState, instance: Instance, after: float) -> None:
    scope = trio.CancelScope()
    instance.reopening = scope

    async def reopen() -> None:
        with scope:
            await trio.sleep(after)
            instance.reopening = None
            _open(server, instance)

    server.spawn(reopen)


def restart(server: ServerState, instance: Instance) -> None:
    """Replace the socket; the response still reports ``open``."""
    report_connecting(server, instance)
    reopen(server, instance, 0.05)


def remove(server: ServerState, instance: Instance) -> None:
    """Delete the instance, after webhooks that report it."""
    if instance.state == "open":
        logout(server, instance)
    instance.stop_pairing()
    server.fire(instance, "remove.instance", None)
    data = {"instanceName": instance.name, "instanceId": instance.id}
    server.fire(instance, "instance.delete", data)
    del server.instances[instance.name]


async def storm(server: ServerState, instance: Instance, count: int, rate: float = STORM_RATE) -> None:
    """Send ``count`` webhooks of ``connecting`` at ``rate`` per second, as when WhatsApp is unreachable."""
    for _ in range(count):
        report_connecting(server, instance)
        await trio.sleep(1 / rate)
