"""systemd's watchdog is fed while the loop turns and actors make progress, and not one beat longer."""

import socket
from pathlib import Path

import trio
from support.inbound_stack import inbound_stack, text
from trio.testing import MockClock

from zapline.daemon.composition.app import feed_watchdog
from zapline.daemon.systemd import SystemdNotifier
from zapline.supervisors.health.health_report import STUCK_AFTER, stuck_units
from zapline.supervisors.inbound.unit_state import ActorActivity


async def test_waiting_and_recording_are_progress_and_stepping_without_end_is_not(
    database: str, tmp_path: Path
) -> None:
    async with inbound_stack(database, tmp_path) as stack:
        unit = await stack.add_unit()
        await stack.send(unit, "messages.upsert", text("A1"))
        await stack.wait_until_stored()
        long_ago = trio.current_time() - STUCK_AFTER - 1
        for doing, stuck in (
            (ActorActivity.WAITING, False),
            (ActorActivity.RECORDING, False),
            (ActorActivity.STEPPING, True),
        ):
            unit.activity, unit.activity_since = doing, long_ago
            assert bool(stuck_units([unit], trio.current_time())) is stuck
        unit.activity_since = trio.current_time()
        assert stuck_units([unit], trio.current_time()) == []


async def test_no_beat_is_sent_while_an_actor_is_stuck(tmp_path: Path, autojump_clock: MockClock) -> None:
    beats = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    beats.bind(str(tmp_path / "notify"))
    beats.setblocking(False)
    stuck: list[str] = []

    def count() -> int:
        found = 0
        while True:
            try:
                found += beats.recv(100) == b"WATCHDOG=1"
            except BlockingIOError:
                return found

    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed_watchdog, notifier, lambda: stuck, 0.02)
            await trio.sleep(0.21)
            assert count() == 11
            stuck.append("one")
            await trio.sleep(0.05)
            count()
            await trio.sleep(0.2)
            assert count() == 0
            nursery.cancel_scope.cancel()
    finally:
        beats.close()
