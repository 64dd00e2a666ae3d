"""The outbound phases: what the simulated Evolution does wrong, and who is killed, while messages are sent."""

import trio

from .faults import AT_SIGKILL
from .outbound_inspection import Outcome
from .outbound_run import OutboundRun, Phase
from .place import until
from .traffic import CANARY

LOST = ("claim-answer-lost", "answer-refused", "commit-answer-lost")
"""Points at which nobody dies, but an answer of PostgreSQL or of the journal does not come."""
POINTS = ("after-claim", "after-201", "after-journaled", "after-stored")
DOWN_SECONDS = 8.0
QUEUED_WHILE_DOWN = 1000


# -- who is killed --------------------------------------------------------------------------------------------


async def daemon_killed(run: OutboundRun) -> int:
    """SIGKILL of the daemon at a random moment; back after a random time."""
    await run.pause(0.1, 0.8)
    await run.place.daemon.kill()
    await run.pause(0.0, 1.0)
    await run.house.start()
    return 1


async def postgres_killed(run: OutboundRun) -> int:
    """SIGKILL of PostgreSQL at a random moment; back after a random time."""
    await run.pause(0.1, 0.8)
    await run.place.postgres.kill()
    await run.pause(0.0, 1.0)
    await run.place.postgres.start()
    return 1


async def terminated(run: OutboundRun) -> int:
    """SIGTERM while messages are sent: no call is cut."""
    await run.pause(0.3, 0.8)
    run.place.daemon.process.terminate()
    code = await run.place.daemon.ended()
    run.require(code == 0, f"exit code {code} at SIGTERM")
    await run.house.start()
    return 0


async def all_killed(run: OutboundRun) -> int:
    """Now the daemon, now PostgreSQL, until everything is posted."""
    kills = 0
    while kills < 6 and not run.posting.is_set():
        await run.pause(0.5, 2.0)
        kills += await (daemon_killed if kills % 3 != 2 else postgres_killed)(run)
        await run.pause(1.0, 3.0)
    return kills


def dies_at(point: str, most_passes: int = 60) -> Phase:
    """The daemon kills itself at a named point on a message's way."""

    async def strike(run: OutboundRun) -> int:
        run.place.arm(point, run.chance.randint(1, most_passes))
        code = await run.place.daemon.ended(15)
        run.require(run.place.reached() == point, f"the point {point} was not reached")
        run.require(code == AT_SIGKILL, f"the daemon ended with {code} instead of SIGKILL")
        await run.house.start()
        return 1

    # What had reached Evolution is settled by its echo, or by its answer in the journal; a claim without a call
    # cannot be told from a call without an answer, and one of each unit may be under way.
    return Phase(f"die {point}", strike=strike, most_uncertain=20)


async def answers_lost(run: OutboundRun) -> int:
    """Each of the points three times."""
    for point in LOST * 3:
        run.place.arm(point, run.chance.randint(1, 12))
        reached = await until(lambda point=point: run.place.reached() == point, 10)
        run.require(reached, f"the point {point} was not reached")
    return 0


async def evolution_away(run: OutboundRun) -> int:
    """Evolution does not listen while messages are posted; the queue waits for it."""
    back = trio.current_time() + DOWN_SECONDS
    await run.simulator.ask("POST", "down", {"seconds": DOWN_SECONDS})
    with trio.move_on_at(back):
        await run.posting.wait()
    queued, _ = await run.inspector.at_work()
    run.remarks.append(f"{queued} queued while Evolution was away")
    run.require(run.posting.is_set(), "the POSTs were not answered while Evolution was away")
    run.require(queued >= QUEUED_WHILE_DOWN * 0.9, f"only {queued} were queued")
    await trio.sleep_until(back + 0.5)
    return 0


# -- what is promised -----------------------------------------------------------------------------------------


def nearly_all_settled(run: OutboundRun, found: Outcome) -> None:
    run.require(found.settled >= 0.99 * found.posted, f"only {found.settled} of {found.posted} settled by themselves")


def all_uncertain(run: OutboundRun, found: Outcome) -> None:
    run.require(found.uncertain == found.posted, f"{found.uncertain} of {found.posted} are uncertain")
    run.require(found.sent == found.posted, f"{found.sent} of {found.posted} are on the phone")


def all_settled(run: OutboundRun, found: Outcome) -> None:
    run.require(found.settled == found.posted, f"{found.settled} of {found.posted} settled")


def all_but_the_calls_under_way(run: OutboundRun, found: Outcome) -> None:
    """Evolution goes while the first ones are posted: what is in a call then may have been delivered."""
    run.require(found.failed == 0, f"{found.failed} dead")
    run.require(found.settled + found.uncertain == found.posted, f"{found.settled} of {found.posted} settled")
    run.require(found.uncertain <= len(run.house.units), f"{found.uncertain} uncertain: more than calls under way")


def each_id_once(run: OutboundRun, found: Outcome) -> None:
    run.require(found.known == 0, f"{found.known} copies that Evolution knows belong to nobody")
    run.require(
        found.settled + found.uncertain == found.posted, f"{found.settled} settled, {found.uncertain} uncertain"
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
        Phase("hang", [sometimes("hang", 0.05)], each=6),
        Phase("error", [sometimes("error")], dead=SERVER_ERRORS),
        Phase("throttle", [sometimes("throttle", 0.15, seconds=1)], check=all_settled),
        Phase("WhatsApp's throttle", [sometimes("whatsapp_throttle", 0.15)], check=all_settled),
        Phase("html", [sometimes("html", 0.1)]),
        Phase("slow", [sometimes("slow", 0.2, seconds=0.5)], check=all_settled),
        Phase("drop_reply", [sometimes("drop_reply")], check=nearly_all_settled),
        Phase("act_then_hang", [sometimes("act_then_hang", 0.1)], each=6, check=nearly_all_settled),
        Phase("act_then_reset", [sometimes("act_then_reset")], check=nearly_all_settled),
        Phase("late", [sometimes("late", 0.1, seconds=2)], each=6, check=nearly_all_settled, put_off=3),
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
        Phase(f"kill {number} {'PostgreSQL' if number % 3 == 0 else 'daemon'}", strike=strike, each=20)
        for number in range(1, 4)
        for strike in [postgres_killed if number % 3 == 0 else daemon_killed]
    ]
    away = Phase(
        "Evolution away", strike=evolution_away, each=QUEUED_WHILE_DOWN // 20, check=all_but_the_calls_under_way
    )
    return [
        *map(dies_at, POINTS),
        *random_kills,
        Phase("answers lost on the way", strike=answers_lost, each=40, check=all_settled),
        Phase("SIGTERM", strike=terminated, each=20, check=all_settled),
        away,
    ]


def promises() -> list[Phase]:
    """The cases that are counted one by one."""
    return [
        Phase("200 replies dropped", [sometimes("drop_reply", 1.0)], each=10, check=nearly_all_settled),
        Phase(
            "50 alike",
            [sometimes("never_echo", 0.25), sometimes("drop_reply", 0.3)],
            each=50,
            units=1,
            text=f"{CANARY} o mesmo para todos",
            check=each_id_once,
        ),
        Phase("50 never echoed", [sometimes("never_echo", 1.0)], each=5, units=10, check=all_uncertain),
    ]


def everything() -> Phase:
    """All of them at random, and kills."""
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
    return Phase("everything at random", faults, all_killed, each=200, dead=SERVER_ERRORS | NUMBER_CHECKS)


def outbound_plan() -> list[Phase]:
    return [*single_faults(), *promises(), *kills(), everything()]
