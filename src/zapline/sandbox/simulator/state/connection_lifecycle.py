"""Performs the life of an instance's connection: codes, scans, closes, reconnections, storms."""

import json
import math
import random

import segno
import trio

from zapline.sandbox.simulator.state.instances import Instance, iso_now
from zapline.sandbox.simulator.state.world import World

LOGGED_OUT_CODES = frozenset({401, 402, 403, 406})
"""Only these end a session and are reported as ``close`` (contract, section 2)."""
STORM_RATE = 4.2  # webhooks a second, as recorded


def start_pairing(world: World, instance: Instance, number: str | None) -> None:
    """Leave ``close``: codes are offered and rotated until a scan, the limit, or a deletion."""
    instance.stop_pairing()
    scope = trio.CancelScope()
    instance.pairing = scope
    instance.state = "connecting"
    instance.socket = "closed"
    instance.code_ready = trio.Event()

    async def rotate() -> None:
        with scope:
            await _rotate(world, instance, number)

    world.spawn(rotate)


async def _rotate(world: World, instance: Instance, number: str | None) -> None:
    habits = world.habits
    report_connecting(world, instance)
    await trio.sleep(habits.first_qr if habits.first_qr < math.inf else 1e9)
    for count in range(1, habits.qr_limit + 1):
        code = _new_code(world.chance)
        pairing_code = "".join(world.chance.choices("ABCDEFGHJKLMNPQRSTVWXYZ123456789", k=8))
        instance.code = {
            "pairingCode": pairing_code if number else None,
            "code": code,
            "base64": segno.make(code, error="l").png_data_uri(scale=4, border=4),
            "count": count,
        }
        instance.code_ready.set()
        shown = {name: instance.code[name] for name in ("pairingCode", "code", "base64")}
        world.fire(instance, "qrcode.updated", {"qrcode": {"instance": instance.name, **shown}})
        if count > 1:
            report_connecting(world, instance)
        await trio.sleep(habits.qr_lifetime)
    limit = {"message": "QR code limit reached, please login again", "statusCode": 500}
    world.fire(instance, "qrcode.updated", limit)
    refused = {"instance": instance.name, "state": "refused", "statusReason": 428}
    world.fire(instance, "connection.update", refused)
    instance.code = None
    instance.pairing = None
    instance.state = "close"  # no close event follows (contract, section 2)


def _new_code(chance: random.Random) -> str:
    def part(length: int) -> str:
        return "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", k=length))

    return f"2@{part(44)},{part(43)}=,{part(43)}=,{part(43)}="


def report_connecting(world: World, instance: Instance) -> None:
    data = {"instance": instance.name, "state": "connecting", "statusReason": 200}
    world.fire(instance, "connection.update", data)


def scan(world: World, instance: Instance, number: str | None = None, profile_name: str | None = None) -> None:
    """The phone scans the code: the line opens, and the sender is known from then on."""
    instance.stop_pairing()
    digits = number or instance.number or _digits(instance.owner_jid) or "5511999990000"
    instance.owner_jid = f"{digits}@s.whatsapp.net"
    instance.profile_name = profile_name or instance.profile_name or "Loja Exemplo"
    _opened(world, instance)


def _digits(jid: str | None) -> str | None:
    return jid.partition("@")[0] if jid else None


def _opened(world: World, instance: Instance) -> None:
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
    world.fire(instance, "connection.update", data)


def close(world: World, instance: Instance, code: int, reopen_after: float | None = None, stray: bool = False) -> None:
    """WhatsApp closes the socket. 401, 402, 403, 406 end the session; else only ``connecting`` is seen.

    ``reopen_after``: seconds until the line is open again by itself. ``stray``: a socket still tries after a
    logout, as was seen in the recording.
    """
    instance.stop_pairing()
    if code not in LOGGED_OUT_CODES:
        instance.state = "connecting"
        instance.socket = "closed"
        report_connecting(world, instance)
        if reopen_after is not None:
            _reopen(world, instance, reopen_after)
        return
    moment = iso_now()
    payload = {"statusCode": code, "message": "Stream Errored (conflict)"}
    cause = {"tag": "conflict", "attrs": {"type": "device_removed"}}
    boom = {
        "isBoom": True,
        "data": cause,
        "output": {"statusCode": code, "payload": payload, "headers": {}},
    }
    why = json.dumps({"error": boom, "date": moment}, separators=(",", ":"))
    instance.disconnection = (code, why, moment)
    instance.updated = moment
    instance.state = "connecting" if stray else "close"
    instance.socket = "alive" if stray else "closed"
    closed = {
        "instance": instance.name,
        "status": "closed",
        "disconnectionAt": moment,
        "disconnectionReasonCode": code,
        "disconnectionObject": why,
    }
    world.fire(instance, "status.instance", closed)
    world.fire(instance, "logout.instance", None)
    update = {"instance": instance.name, "state": "close", "statusReason": code}
    world.fire(instance, "connection.update", update)
    if stray:
        report_connecting(world, instance)


def _reopen(world: World, instance: Instance, after: float) -> None:
    scope = trio.CancelScope()
    instance.reopening = scope

    async def reopen() -> None:
        with scope:
            await trio.sleep(after)
            instance.reopening = None
            _opened(world, instance)

    world.spawn(reopen)


def restart(world: World, instance: Instance) -> None:
    """The socket is closed and made anew; the answer still says ``open``."""
    report_connecting(world, instance)
    _reopen(world, instance, 0.05)


def remove(world: World, instance: Instance) -> None:
    """Delete the instance; its last webhooks tell so."""
    if instance.state == "open":
        close(world, instance, 401)
    instance.stop_pairing()
    world.fire(instance, "remove.instance", None)
    data = {"instanceName": instance.name, "instanceId": instance.id}
    world.fire(instance, "instance.delete", data)
    del world.instances[instance.name]


async def storm(world: World, instance: Instance, count: int, rate: float = STORM_RATE) -> None:
    """``count`` webhooks of ``connecting``, ``rate`` a second: WhatsApp is unreachable."""
    for _ in range(count):
        report_connecting(world, instance)
        await trio.sleep(1 / rate)
