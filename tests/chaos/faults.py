"""The faults: each strikes the run's place under load, brings it back, and returns how often it killed."""

import signal
from collections.abc import Awaitable, Callable

import trio

from zapline.sandbox.embedded_postgres.host import free_port

from .place import PlaceFailed, until
from .run import Run

Fault = Callable[[Run], Awaitable[int]]
ANSWER_P99 = 0.050
"""Seconds within which webhooks are answered while PostgreSQL is away."""
DRAINED_WITHIN = 10.0
"""Seconds from SIGTERM to the end."""
PRUNE_AFTER = 20.0
"""Seconds: in the phase that prunes, what is older goes; what that phase itself brings is still looked at."""
AT_SIGKILL = -signal.SIGKILL


async def undisturbed(run: Run) -> int:
    """Nothing happens: the yardstick."""
    await trio.sleep(3)
    return 0


async def daemon_killed(run: Run) -> int:
    """SIGKILL of the daemon at a random moment; back after a random time."""
    await run.pause(0.3, 1.2)
    await run.place.daemon.kill()
    await run.pause(0.0, 2.0)
    await run.place.start()
    await run.pause(0.1, 0.4)
    return 1


async def postgres_killed(run: Run) -> int:
    """SIGKILL of PostgreSQL and all its processes at a random moment; back after a random time."""
    await run.pause(0.3, 1.2)
    await run.place.postgres.kill()
    await run.pause(0.0, 2.0)
    await run.place.postgres.start()
    await run.pause(0.3, 0.8)
    return 1


async def both_killed(run: Run) -> int:
    """The whole machine, but for the disk: both die at once, and the daemon is back first."""
    await run.pause(0.3, 1.2)
    run.place.daemon.process.send_signal(signal.SIGKILL)
    await run.place.postgres.kill()
    await run.place.daemon.ended()
    await run.place.start()
    await run.pause(0.3, 1.0)
    await run.place.postgres.start()
    await run.pause(0.3, 0.8)
    return 2


# -- planted points -------------------------------------------------------------------------------------------


async def _died(run: Run, point: str) -> None:
    """Wait for the planted death; the point must have been reached."""
    code = await run.place.daemon.ended(15)
    run.require(run.place.reached() == point, f"the point {point} was not reached")
    run.require(code == AT_SIGKILL, f"the daemon ended with {code} instead of SIGKILL")


def dies_at(point: str, most_passes: int = 60) -> Fault:
    """The running planted daemon kills itself at a named point; another planted one follows it."""

    async def strike(run: Run) -> int:
        await run.pause(0.3, 0.6)
        run.place.arm(point, run.chance.randint(1, most_passes))
        await _died(run, point)
        await run.place.start(planted=True)
        return 1

    return strike


async def dies_during_snapshot(run: Run) -> int:
    """The snapshot of the units is written when PostgreSQL is back."""
    await run.pause(0.3, 0.6)
    run.place.arm("during-snapshot", 1)
    await run.place.postgres.kill()
    await run.place.postgres.start()
    await _died(run, "during-snapshot")
    await run.place.start(planted=True)
    return 2


async def snapshot_refused(run: Run) -> int:
    """The disk refuses the snapshot when PostgreSQL is back: the daemon goes on with the units it has read."""
    await run.pause(0.3, 0.6)
    run.place.arm("snapshot-refused", 1)
    await run.place.postgres.kill()
    await run.place.postgres.start()
    reached = await until(lambda: run.place.reached() == "snapshot-refused", 10)
    run.require(reached, "the point snapshot-refused was not reached")
    await run.pause(0.5, 1.0)
    run.require(run.place.daemon.alive, "the daemon died of it")
    return 1


async def dies_during_prune(run: Run) -> int:
    """Done entries that are old enough go in chunks; the death strikes inside one of them."""
    code = await _terminate(run)
    run.require(code == 0, f"the daemon ended with {code} at SIGTERM")
    run.place.marker.unlink(missing_ok=True)
    hours = {"ZAPLINE_JOURNAL_KEEP_HOURS": str(PRUNE_AFTER / 3600)}
    run.place.launch(planted=True, extra={**hours, "CHAOS_ARM": f"during-prune {run.chance.randint(1, 3)}"})
    await _died(run, "during-prune")
    await run.place.start(planted=True, extra=hours)
    await run.pause(1.0, 1.5)
    return 1


async def postgres_dies_in_transaction(run: Run) -> int:
    """A transaction has done all its work and is held open while PostgreSQL is killed."""
    await run.pause(0.3, 0.6)
    await _acted(run, "postgresql-in-transaction", run.chance.randint(1, 20))
    await run.place.postgres.kill()
    await run.pause(0.0, 1.0)
    await run.place.postgres.start()
    await run.pause(0.3, 0.8)
    return 1


async def commit_unanswered(run: Run) -> int:
    """The commit is done, but its answer never arrives: the batch is given again."""
    await run.pause(0.3, 0.6)
    await _acted(run, "commit-answer-lost", run.chance.randint(1, 20))
    await run.pause(0.5, 1.0)
    return 0


async def _acted(run: Run, point: str, passes: int) -> None:
    run.place.arm(point, passes)
    reached = await until(lambda: run.place.reached() == point, 10)
    run.require(reached, f"the point {point} was not reached")


# -- ends, starts, and a second daemon ------------------------------------------------------------------------


async def _terminate(run: Run) -> int:
    run.place.daemon.process.terminate()
    return await run.place.daemon.ended()


async def terminated(run: Run) -> int:
    """SIGTERM under load: it drains and exits 0 in time."""
    await run.pause(1.0, 1.5)
    started = trio.current_time()
    code = await _terminate(run)
    took = trio.current_time() - started
    left = run.inspector.unfinished()
    run.remarks.append(f"SIGTERM to exit {code}: {took:.2f} s; left in the journal: {left}")
    run.require(code == 0, f"exit code {code} at SIGTERM")
    run.require(took < DRAINED_WITHIN, f"{took:.1f} s from SIGTERM to the end")
    run.require(left == 0, f"{left} entries not stored at the end, with PostgreSQL up")
    await run.place.start()
    return 0


async def postgres_stopped(run: Run) -> int:
    """PostgreSQL is away for a while: the senders must not notice."""
    await trio.sleep(0.5)
    await run.place.postgres.stop()
    run.ledger.latencies.clear()
    await trio.sleep(8)
    p99, count, depth = run.ledger.p99(), len(run.ledger.latencies), run.inspector.unfinished()
    run.remarks.append(f"while it was away: {count} answered, p99 {p99 * 1000:.1f} ms, {depth} kept in the journal")
    run.require(p99 < ANSWER_P99, f"p99 {p99 * 1000:.1f} ms while PostgreSQL was away")
    run.require(count > 0 and depth > 0, "nothing was taken in while PostgreSQL was away")
    await run.place.postgres.start()
    await trio.sleep(0.5)
    return 0


async def started_without_postgres(run: Run) -> int:
    """The daemon starts while PostgreSQL is away: it knows its units from the snapshot."""
    await trio.sleep(0.5)
    code = await _terminate(run)
    run.require(code == 0, f"exit code {code} at SIGTERM")
    await run.place.postgres.stop()
    started = trio.current_time()
    await run.place.start()
    ready, before = trio.current_time() - started, run.ledger.answered
    await trio.sleep(2)
    health = await run.place.health()
    taken = run.ledger.answered - before
    run.remarks.append(f"ready after {ready:.2f} s, {taken} answered without PostgreSQL, health {health['status']}")
    run.require(taken > 0, "nothing was answered while PostgreSQL was away")
    run.require(health["status"] != "pass", "health says pass while PostgreSQL is away")
    await run.place.postgres.start()
    await trio.sleep(0.5)
    return 0


async def second_daemon(run: Run) -> int:
    """Neither a second daemon on the same state directory nor one on the same database gets to work."""
    other = run.place.directory / "other-state"
    for state, reason in ((None, "uses the state directory"), (other, "works on this database")):
        second = run.place.launch(port=free_port(), state=state)
        started = trio.current_time()
        try:
            code = await second.ended(20)
        except PlaceFailed:
            run.require(False, f"a second daemon did not end ({reason})")
            second.end()
            continue
        told = second.log.read_text()
        run.remarks.append(f"refused after {trio.current_time() - started:.2f} s with exit {code}: ... {reason}")
        run.require(code not in (0, AT_SIGKILL), f"a second daemon ended with {code}")
        run.require(reason in told, f"a second daemon did not say that another {reason}: {second.tail()[-400:]}")
        run.require("Traceback" not in told, "a second daemon refused with a traceback")
    return 0
