"""The inbound faults: each breaks something under load, restores it, and returns its number of kills."""

import signal
from collections.abc import Awaitable, Callable

import trio

from zapline.sandbox.embedded_postgres.host import free_port

from ..environment import FAULT_POINT_SECONDS, DaemonFailed, wait_until
from .run import InboundRun

Fault = Callable[[InboundRun], Awaitable[int]]
MAX_P99 = 0.050
"""Limit in seconds for the acknowledgement of webhooks while PostgreSQL is down, on a machine that keeps up."""
MAX_SLOWER = 10.0
"""On one that does not: times as long as a moment before. To wait for a database would take longer."""
MAX_SHUTDOWN = 20.0
"""Limit in seconds from SIGTERM to the exit: systemd's, after which it would kill."""
PRUNE_AFTER = 20.0
"""Age in seconds of the entries that the pruning phase removes; those of the phase itself are still inspected."""
SIGKILL_CODE = -signal.SIGKILL


async def undisturbed(run: InboundRun) -> int:
    """No fault: the baseline."""
    await trio.sleep(3)
    return 0


async def daemon_killed(run: InboundRun) -> int:
    """Kill the daemon at a random time; restart it after a random time."""
    await run.pause(0.3, 1.2)
    await run.environment.daemon.kill()
    await run.pause(0.0, 2.0)
    await run.environment.start()
    await run.pause(0.1, 0.4)
    return 1


async def postgres_killed(run: InboundRun) -> int:
    """Kill PostgreSQL and all its processes at a random time; restart it after a random time."""
    await run.pause(0.3, 1.2)
    await run.environment.postgres.kill()
    await run.pause(0.0, 2.0)
    await run.environment.postgres.start()
    await run.pause(0.3, 0.8)
    return 1


async def both_killed(run: InboundRun) -> int:
    """Kill both at once, as a crash of the machine does, and restart the daemon first."""
    await run.pause(0.3, 1.2)
    run.environment.daemon.process.send_signal(signal.SIGKILL)
    await run.environment.postgres.kill()
    await run.environment.daemon.wait_for_exit()
    await run.environment.start()
    await run.pause(0.3, 1.0)
    await run.environment.postgres.start()
    await run.pause(0.3, 0.8)
    return 2


# -- fault points ---------------------------------------------------------------------------------------------


async def _wait_for_death(run: InboundRun, point: str) -> None:
    """Wait until the daemon has killed itself at the point."""
    code = await run.environment.daemon.wait_for_exit(FAULT_POINT_SECONDS)
    run.require(run.environment.triggered_point() == point, f"the point {point} was not reached")
    run.require(code == SIGKILL_CODE, f"the daemon ended with {code} instead of SIGKILL")


def dies_at(point: str, most_passes: int = 60) -> Fault:
    """Have the running daemon kill itself at a fault point; start another one."""

    async def fault(run: InboundRun) -> int:
        await run.pause(0.3, 0.6)
        run.environment.arm(point, run.rng.randint(1, most_passes))
        await _wait_for_death(run, point)
        await run.environment.start(with_fault_points=True)
        return 1

    return fault


async def dies_during_snapshot(run: InboundRun) -> int:
    """Kill the daemon while it writes its snapshot of the units, after a restart of PostgreSQL."""
    await run.pause(0.3, 0.6)
    run.environment.arm("during-snapshot", 1)
    await run.environment.postgres.kill()
    await run.environment.postgres.start()
    await _wait_for_death(run, "during-snapshot")
    await run.environment.start(with_fault_points=True)
    return 2


async def snapshot_refused(run: InboundRun) -> int:
    """Fail the write of the snapshot after a restart of PostgreSQL: the daemon continues with the units it has read."""
    await run.pause(0.3, 0.6)
    run.environment.arm("snapshot-refused", 1)
    await run.environment.postgres.kill()
    await run.environment.postgres.start()
    reached = await wait_until(lambda: run.environment.triggered_point() == "snapshot-refused", FAULT_POINT_SECONDS)
    run.require(reached, "the point snapshot-refused was not reached")
    await run.pause(0.5, 1.0)
    run.require(run.environment.daemon.alive, "the daemon died")
    return 1


async def dies_during_prune(run: InboundRun) -> int:
    """Kill the daemon while it removes old finished entries in chunks."""
    code = await _terminate(run)
    run.require(code == 0, f"the daemon ended with {code} at SIGTERM")
    run.environment.marker.unlink(missing_ok=True)
    hours = {"ZAPLINE_JOURNAL_KEEP_HOURS": str(PRUNE_AFTER / 3600)}
    run.environment.launch(
        with_fault_points=True, extra={**hours, "CHAOS_ARM": f"during-prune {run.rng.randint(1, 3)}"}
    )
    await _wait_for_death(run, "during-prune")
    await run.environment.start(with_fault_points=True, extra=hours)
    await run.pause(1.0, 1.5)
    return 1


async def postgres_dies_in_transaction(run: InboundRun) -> int:
    """Kill PostgreSQL while a transaction that has done its work is held open."""
    await run.pause(0.3, 0.6)
    await _trigger(run, "postgresql-in-transaction", run.rng.randint(1, 20))
    await run.environment.postgres.kill()
    await run.pause(0.0, 1.0)
    await run.environment.postgres.start()
    await run.pause(0.3, 0.8)
    return 1


async def commit_response_lost(run: InboundRun) -> int:
    """Lose the response to a commit: the batch is recorded again."""
    await run.pause(0.3, 0.6)
    await _trigger(run, "commit-answer-lost", run.rng.randint(1, 20))
    await run.pause(0.5, 1.0)
    return 0


async def _trigger(run: InboundRun, point: str, passes: int) -> None:
    run.environment.arm(point, passes)
    reached = await wait_until(lambda: run.environment.triggered_point() == point, FAULT_POINT_SECONDS)
    run.require(reached, f"the point {point} was not reached")


# -- shutdown, start and a second daemon ----------------------------------------------------------------------


async def _terminate(run: InboundRun) -> int:
    run.environment.daemon.process.terminate()
    return await run.environment.daemon.wait_for_exit()


async def terminated(run: InboundRun) -> int:
    """Send SIGTERM under load: the daemon drains and exits with 0 in time."""
    await run.pause(1.0, 1.5)
    started = trio.current_time()
    code = await _terminate(run)
    took = trio.current_time() - started
    left = run.inspector.unfinished()
    run.remarks.append(f"SIGTERM to exit {code}: {took:.2f} s; left in the journal: {left}")
    run.require(code == 0, f"exit code {code} at SIGTERM")
    run.require(took < MAX_SHUTDOWN, f"{took:.1f} s from SIGTERM to the end")
    run.require(left == 0, f"{left} entries not stored at the end, with PostgreSQL up")
    await run.environment.start()
    return 0


async def postgres_stopped(run: InboundRun) -> int:
    """Stop PostgreSQL for a while: webhooks are still acknowledged in time."""
    await trio.sleep(1.0)
    usual = run.ledger.p99()
    await run.environment.postgres.stop()
    run.ledger.latencies.clear()
    await trio.sleep(8)
    p99, count, depth = run.ledger.p99(), len(run.ledger.latencies), run.inspector.unfinished()
    run.remarks.append(
        f"while it was down: {count} acknowledged, p99 {p99 * 1000:.1f} ms, {depth} unfinished in the journal"
    )
    run.require(p99 < max(MAX_P99, MAX_SLOWER * usual), f"p99 {p99 * 1000:.1f} ms while PostgreSQL was down")
    run.require(count > 0 and depth > 0, "nothing was acknowledged while PostgreSQL was down")
    await run.environment.postgres.start()
    await trio.sleep(0.5)
    return 0


async def started_without_postgres(run: InboundRun) -> int:
    """Start the daemon while PostgreSQL is down: it reads its units from the snapshot."""
    await trio.sleep(0.5)
    code = await _terminate(run)
    run.require(code == 0, f"exit code {code} at SIGTERM")
    await run.environment.postgres.stop()
    started = trio.current_time()
    await run.environment.start()
    ready, before = trio.current_time() - started, run.ledger.acknowledged
    await trio.sleep(2)
    health = await run.environment.health()
    acknowledged = run.ledger.acknowledged - before
    run.remarks.append(
        f"ready after {ready:.2f} s, {acknowledged} acknowledged without PostgreSQL, health {health['status']}"
    )
    run.require(acknowledged > 0, "nothing was acknowledged while PostgreSQL was down")
    run.require(health["status"] != "pass", "health says pass while PostgreSQL is down")
    await run.environment.postgres.start()
    await trio.sleep(0.5)
    return 0


async def second_daemon(run: InboundRun) -> int:
    """Start a second daemon on the same state directory, which must refuse, and one on the same database.

    The latter must stand by until it is stopped.
    """
    refused = run.environment.launch(port=free_port())
    try:
        code = await refused.wait_for_exit(20)
    except DaemonFailed:
        run.require(False, "a second daemon on the same state directory did not end")
        refused.end()
    else:
        reason, output = "uses the state directory", refused.log.read_text()
        run.remarks.append(f"refused with exit {code}: ... {reason}")
        run.require(code not in (0, SIGKILL_CODE), f"a second daemon ended with {code}")
        run.require(reason in output, f"a second daemon did not say that another {reason}: {refused.log_tail()[-400:]}")
        run.require("Traceback" not in output, "a second daemon refused with a traceback")
    standby = run.environment.launch(port=free_port(), state=run.environment.directory / "other-state")
    await standby.wait_until_ready()
    await trio.sleep(2)
    run.require(standby.alive, f"a second daemon on the same database did not stand by: {standby.log_tail()[-400:]}")
    run.require("leading" not in standby.log.read_text(), "two daemons lead on one database")
    standby.process.send_signal(signal.SIGTERM)
    try:
        code = await standby.wait_for_exit(20)
        run.require(code == 0, f"a daemon that stood by ended with {code}")
    except DaemonFailed:
        run.require(False, "a daemon that stood by did not stop")
        standby.end()
    return 0
