"""The outbound phases: the faults of the simulated Evolution, and the kills, while messages are sent."""

import trio

from ..environment import CANARY, FAULT_POINT_SECONDS, wait_until
from ..inbound.faults import SIGKILL_CODE
from .inspection import PhaseOutcome
from .restarts import restarts
from .run import OutboundRun, Phase

LOST_RESPONSES = ("claim-answer-lost", "answer-refused", "commit-answer-lost")
"""Fault points at which a response of PostgreSQL or of the journal is lost."""
DEATH_POINTS = ("after-claim", "after-201", "after-journaled", "after-stored")
DOWN_SECONDS = 8.0
EVOLUTION_AWAY = "Evolution away"
QUEUED_WHILE_DOWN = 1000


# -- kills ----------------------------------------------------------------------------------------------------


async def daemon_killed(run: OutboundRun) -> int:
    """Kill the daemon at a random time; restart it after a random time."""
    await run.pause(0.1, 0.8)
    await run.base.daemon.kill()
    await run.pause(0.0, 1.0)
    await run.environment.start()
    return 1


async def postgres_killed(run: OutboundRun) -> int:
    """Kill PostgreSQL at a random time; restart it after a random time."""
    await run.pause(0.1, 0.8)
    await run.base.postgres.kill()
    await run.pause(0.0, 1.0)
    await run.base.postgres.start()
    return 1


async def terminated(run: OutboundRun) -> int:
    """Send SIGTERM while messages are sent: no call is interrupted."""
    await run.pause(0.3, 0.8)
    run.base.daemon.process.terminate()
    code = await run.base.daemon.wait_for_exit()
    run.require(code == 0, f"exit code {code} at SIGTERM")
    await run.environment.start()
    return 0


async def all_killed(run: OutboundRun) -> int:
    """Kill the daemon and PostgreSQL in turn until all messages are submitted."""
    kills = 0
    while kills < 6 and not run.all_submitted.is_set():
        await run.pause(0.5, 2.0)
        kills += await (daemon_killed if kills % 3 != 2 else postgres_killed)(run)
        await run.pause(1.0, 3.0)
    return kills


def dies_at(point: str, most_passes: int = 60) -> Phase:
    """Have the daemon kill itself at a fault point on the path of a message."""

    async def attack(run: OutboundRun) -> int:
        run.base.arm(point, run.rng.randint(1, most_passes))
        code = await run.base.daemon.wait_for_exit(FAULT_POINT_SECONDS)
        run.require(run.base.triggered_point() == point, f"the point {point} was not reached")
        run.require(code == SIGKILL_CODE, f"the daemon ended with {code} instead of SIGKILL")
        await run.environment.start()
        return 1

    # What reached Evolution is settled by its echo or by the journaled response. A claim without a call cannot be
    # distinguished from a call without a response, and each unit may have one in progress.
    return Phase(f"die {point}", attack=attack, max_uncertain=20)


async def responses_lost(run: OutboundRun) -> int:
    """Trigger each of the fault points three times."""
    for point in LOST_RESPONSES * 3:
        run.base.arm(point, run.rng.randint(1, 12))
        reached = await wait_until(lambda point=point: run.base.triggered_point() == point, FAULT_POINT_SECONDS)
        run.require(reached, f"the point {point} was not reached")
    return 0


async def evolution_down(run: OutboundRun) -> int:
    """Take Evolution down while messages are submitted; they wait in the queue."""
    up_at = trio.current_time() + DOWN_SECONDS
    await run.simulator.control("POST", "down", {"seconds": DOWN_SECONDS})
    with trio.move_on_at(up_at):
        await run.all_submitted.wait()
    # Counted in this order: a slow machine accepts fewer of them within that time, and goes on meanwhile.
    accepted = sum(submission.accepted for submission in run.environment.submitter.of_phase(EVOLUTION_AWAY))
    queued, _ = await run.inspector.work_counts()
    run.remarks.append(f"{queued} queued while Evolution was down")
    run.require(accepted > 0, "no POST was accepted while Evolution was down")
    run.require(queued >= accepted * 0.9, f"only {queued} of {accepted} were queued")
    await trio.sleep_until(up_at + 0.5)
    return 0


# -- requirements ---------------------------------------------------------------------------------------------


def nearly_all_settled(run: OutboundRun, outcome: PhaseOutcome) -> None:
    run.require(outcome.settled >= 0.99 * outcome.posted, f"only {outcome.settled} of {outcome.posted} settled")


def all_uncertain(run: OutboundRun, outcome: PhaseOutcome) -> None:
    run.require(outcome.uncertain == outcome.posted, f"{outcome.uncertain} of {outcome.posted} are uncertain")
    run.require(outcome.sent == outcome.posted, f"{outcome.sent} of {outcome.posted} are on the phone")


def all_settled(run: OutboundRun, outcome: PhaseOutcome) -> None:
    run.require(outcome.settled == outcome.posted, f"{outcome.settled} of {outcome.posted} settled")


def all_but_calls_in_progress(run: OutboundRun, outcome: PhaseOutcome) -> None:
    """When Evolution goes down, the messages of calls in progress may have been delivered."""
    run.require(outcome.failed == 0, f"{outcome.failed} dead")
    run.require(outcome.settled + outcome.uncertain == outcome.posted, f"{outcome.settled} of {outcome.posted} settled")
    run.require(
        outcome.uncertain <= len(run.environment.units), f"{outcome.uncertain} uncertain: more than calls in progress"
    )


def each_id_once(run: OutboundRun, outcome: PhaseOutcome) -> None:
    run.require(outcome.known == 0, f"{outcome.known} copies stored by Evolution belong to no message")
    run.require(
        outcome.settled + outcome.uncertain == outcome.posted,
        f"{outcome.settled} settled, {outcome.uncertain} uncertain",
    )


# -- the plan -------------------------------------------------------------------------------------------------

SERVER_ERRORS = frozenset({"server_error"})
NUMBER_CHECKS = frozenset({"number_check_timed_out"})


def sometimes(kind: str, probability: float = 0.25, **more: object) -> dict[str, object]:
    return {"kind": kind, "probability": probability, **more}


def single_faults() -> list[Phase]:
    return [
        Phase("undisturbed", check=all_settled),
        Phase("reset before acting", [sometimes("refuse")]),
        Phase("hang", [sometimes("hang", 0.05)], per_unit=6),
        Phase("error", [sometimes("error")], dead=SERVER_ERRORS),
        Phase("throttle", [sometimes("throttle", 0.15, seconds=1)], check=all_settled),
        Phase("WhatsApp's throttle", [sometimes("whatsapp_throttle", 0.15)], check=all_settled),
        Phase("html", [sometimes("html", 0.1)]),
        Phase("slow", [sometimes("slow", 0.2, seconds=0.5)], check=all_settled),
        Phase("drop_reply", [sometimes("drop_reply")], check=nearly_all_settled),
        Phase("act_then_hang", [sometimes("act_then_hang", 0.1)], per_unit=6, check=nearly_all_settled),
        Phase("act_then_reset", [sometimes("act_then_reset")], check=nearly_all_settled),
        Phase("late", [sometimes("late", 0.1, seconds=2)], per_unit=6, check=nearly_all_settled, delay=3),
        Phase("never_echo", [sometimes("never_echo")]),
        Phase("echo_off", [sometimes("echo_off", 0.5)], check=all_settled),
        Phase(
            "reply and echo lost", [sometimes("drop_reply", 0.3), sometimes("echo_off", 0.5)], check=nearly_all_settled
        ),
        Phase("connection_closed", [sometimes("connection_closed")], check=all_settled),
        Phase("number_check_timeout", [sometimes("number_check_timeout")], dead=NUMBER_CHECKS),
        Phase("license", [sometimes("license")], check=all_settled),
        Phase(
            "echoes twice and reordered",
            [
                sometimes("duplicate", 0.5, path="/"),
                sometimes("reorder", 0.5, path="/", seconds=2),
                sometimes("drop_reply", 0.2),
            ],
            check=nearly_all_settled,
        ),
    ]


def kills() -> list[Phase]:
    random_kills = [
        Phase(f"kill {number} {'PostgreSQL' if number % 3 == 0 else 'daemon'}", attack=attack, per_unit=20)
        for number in range(1, 4)
        for attack in [postgres_killed if number % 3 == 0 else daemon_killed]
    ]
    down = Phase(
        EVOLUTION_AWAY, attack=evolution_down, per_unit=QUEUED_WHILE_DOWN // 20, check=all_but_calls_in_progress
    )
    return [
        *map(dies_at, DEATH_POINTS),
        *random_kills,
        Phase("answers lost on the way", attack=responses_lost, per_unit=40, check=all_settled),
        Phase("SIGTERM", attack=terminated, per_unit=20, check=all_settled),
        down,
    ]


def counted_cases() -> list[Phase]:
    """Return the phases whose messages are counted one by one."""
    return [
        Phase("200 replies dropped", [sometimes("drop_reply", 1.0)], per_unit=10, check=nearly_all_settled),
        Phase(
            "50 alike",
            [sometimes("never_echo", 0.25), sometimes("drop_reply", 0.3)],
            per_unit=50,
            units=1,
            text=f"{CANARY} o mesmo para todos",
            check=each_id_once,
        ),
        Phase("50 never echoed", [sometimes("never_echo", 1.0)], per_unit=5, units=10, check=all_uncertain),
    ]


def everything() -> Phase:
    """Return the phase with all faults at random, and kills."""
    faults = [
        *(sometimes(kind, 0.02) for kind in ("refuse", "error", "drop_reply", "act_then_reset", "connection_closed")),
        *(sometimes(kind, 0.01) for kind in ("license", "never_echo", "number_check_timeout", "html", "echo_off")),
        *(sometimes(kind, 0.004) for kind in ("hang", "act_then_hang")),
        sometimes("whatsapp_throttle", 0.01, status=463),
        sometimes("throttle", 0.01, seconds=1),
        sometimes("late", 0.004, seconds=3),
        sometimes("slow", 0.02, seconds=0.3),
        sometimes("duplicate", 0.1, path="/"),
        sometimes("reorder", 0.1, path="/", seconds=2),
    ]
    return Phase("everything at random", faults, all_killed, per_unit=200, dead=SERVER_ERRORS | NUMBER_CHECKS)


def phases() -> list[Phase]:
    return [*single_faults(), *counted_cases(), *kills(), *restarts(), everything()]
