"""What a seed draws: how much traffic, which faults and how often, and when the daemon dies."""

import random
from dataclasses import dataclass, field

DAEMON_DEATHS = ("kill", "power loss", "stop")
RESTORED = "restored backup"
ROTTEN = "rotten page"
"""The daemon stops, and starts again on a journal of which a page is not what was written."""


@dataclass(frozen=True, slots=True)
class Death:
    """The daemon dies ``at`` seconds and is started again ``after`` seconds."""

    at: float
    kind: str
    after: float


@dataclass(frozen=True, slots=True)
class Window:
    """A fault that lasts from ``at`` for ``seconds``."""

    at: float
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ClockJump:
    """A clock goes wrong by so many seconds ``by`` from ``at`` for ``seconds``; before 0: already at the start."""

    at: float
    whose: str
    by: float
    seconds: float


@dataclass(slots=True)
class Plan:
    """Times in virtual seconds from the first message on; chances for each operation."""

    units: int = 2
    seconds: float = 30.0
    inbound: int = 40
    """Messages that phones send, over all units."""
    outbound: int = 12
    """Messages that the CRM asks for."""
    store: bool = True
    """Evolution keeps messages, so that lost webhooks can be read back."""
    honours_ids: bool = False
    """Evolution gives a message the id that the daemon has chosen."""
    changes: float = 0.0
    """Chance that a phone edits or deletes its message afterwards; only where Evolution keeps messages."""
    at_once: bool = False
    """The CRM asks for all messages at once: the pace has to hold them back."""
    decided: float = 0.0
    """Chance that a person has an uncertain message sent once more, a moment after it became uncertain."""
    noise: int = 0
    """Messages that the first unit gets besides, thirty a second."""
    history: float | None = None
    """When each phone hands over what it has sent, in one webhook, and its address book."""
    contacts: int = 0
    """Contacts in each address book."""
    kilobyte: float = 0.0
    """Seconds that the database takes for each kilobyte of a statement's parameters, to the end of the run."""
    deaths: list[Death] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    backup: float | None = None
    """When the state directory is copied; a death of the kind ``RESTORED`` puts the copy in its place."""
    set_back: tuple[float, float] | None = None
    """When the database is copied, and when the copy takes its place: a failover that loses the last commits."""
    cut_before: float = 0.0
    cut_after: float = 0.0
    cut_commit: float = 0.0
    slow: float = 0.0
    disk_write: float = 0.0
    disk_sync: float = 0.0
    webhook_lost: float = 0.0
    answer_lost: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    campaign: int = 0
    """Recipients of a campaign that the CRM asks for."""
    slowly: bool = False
    """It leaves three seconds between two of its messages, and queues them one by one."""
    hooks: bool = False
    """The CRM is told by webhooks."""
    hook_fails: float = 0.0
    """The chance that it does not take one."""
    clocks: list[ClockJump] = field(default_factory=list)
    sends: dict[str, float] = field(default_factory=dict)
    """Fault of the simulated Evolution -> its chance for each call that sends."""

    @property
    def delays_storing(self) -> bool:
        """Whether a fault may have one unit's webhooks wait while another one's are stored."""
        at_times = (self.deaths, self.windows, self.set_back, self.kilobyte, self.slow)
        return any(at_times) or any((self.cut_before, self.cut_after, self.cut_commit, self.disk_write, self.disk_sync))

    @property
    def outlives_starts(self) -> bool:
        """Whether the daemon is killed three times while the database is away, so that what waits outlives as many
        starts."""
        return any(
            sum(window.at < death.at < window.at + window.seconds for death in self.deaths if death.kind == "kill") > 2
            for window in self.windows
            if window.kind == "database down"
        )

    def describe(self) -> str:
        """The plan in one line, without what is off."""
        parts = [f"{self.units} units, {self.seconds:.0f} s, {self.inbound} in, {self.outbound} out"]
        parts += ["no store"] if not self.store else []
        parts += [f"changes {self.changes:.2f}"] if self.changes else []
        parts += ["all asked at once"] if self.at_once else []
        parts += [f"a {'slow ' if self.slowly else ''}campaign to {self.campaign}"] if self.campaign else []
        parts += [f"hooks that fail {self.hook_fails:.2f}"] if self.hooks else []
        parts += ["honours ids"] if self.honours_ids else []
        parts += [f"decided {self.decided:.2f}"] if self.decided else []
        parts += [f"{self.noise} at once to one unit"] if self.noise else []
        parts += [f"history with {self.contacts} contacts at {self.history:.1f}"] if self.history is not None else []
        parts += [f"{self.kilobyte:.3f} s a kilobyte"] if self.kilobyte else []
        parts += [f"{death.kind} at {death.at:.1f}" for death in self.deaths]
        parts += [f"{window.kind} at {window.at:.1f} for {window.seconds:.1f}" for window in self.windows]
        parts += [f"database set back to {self.set_back[0]:.1f} at {self.set_back[1]:.1f}"] if self.set_back else []
        parts += [
            f"{jump.whose}'s clock {jump.by:+.0f} s at {jump.at:.1f} for {jump.seconds:.1f}" for jump in self.clocks
        ]
        parts += [f"backup at {self.backup:.1f}"] if self.backup is not None else []
        for name in CHANCES:
            if getattr(self, name):
                parts.append(f"{name} {getattr(self, name):.3f}")
        parts += [f"{kind} {chance:.2f}" for kind, chance in self.sends.items()]
        return "; ".join(parts)


CHANCES = (
    *("cut_before", "cut_after", "cut_commit", "slow", "disk_write", "disk_sync"),
    *("webhook_lost", "answer_lost", "duplicate", "reorder"),
)
WINDOWS = ("database down", "disk full", "disk refuses", "evolution down", "line closes")
RESTARTS = ("database restarts", "evolution restarts")
CLOCKS = ("machine", "database")
DAY = 86400.0
SENDS = (
    *("drop_reply", "act_then_reset", "act_then_hang", "late", "error", "throttle", "refuse", "html"),
    *("connection_closed", "number_check_timeout", "echo_off", "hang", "slow"),
)


def draw(seed: int) -> Plan:
    """The plan of a seed. Each kind of fault is off in about half of all seeds, so that the others are seen alone."""
    chance = random.Random(f"{seed}/plan")
    plan = Plan(
        units=chance.choice((1, 2, 2, 3, 4)),
        seconds=chance.uniform(8.0, 40.0),
        inbound=chance.choice((10, 30, 60, 120)),
        outbound=chance.choice((0, 6, 12, 24)),
        store=chance.random() < 0.6,
        honours_ids=chance.random() < 0.3,
    )
    plan.changes = chance.uniform(0.1, 0.5) if plan.store and chance.random() < 0.5 else 0.0
    plan.at_once = chance.random() < 0.3
    if chance.random() < 0.6:
        for _ in range(chance.choice((1, 1, 2, 3))):
            kind = chance.choice(DAEMON_DEATHS)
            plan.deaths.append(Death(chance.uniform(0.0, plan.seconds), kind, chance.choice((0.05, 0.5, 5.0, 15.0))))
        plan.deaths.sort(key=lambda death: death.at)
    if chance.random() < 0.15:
        plan.backup = chance.uniform(0.0, plan.seconds * 0.8)
        at = chance.uniform(plan.backup, plan.seconds)
        plan.deaths = [death for death in plan.deaths if death.at < at]
        plan.deaths.append(Death(at, RESTORED, chance.choice((0.05, 2.0))))
    if chance.random() < 0.2:
        copied = chance.uniform(0.0, plan.seconds * 0.8)
        plan.set_back = (copied, copied + chance.choice((0.2, 1.0, 4.0)))
    for kind in WINDOWS:
        if chance.random() < 0.25:
            at, seconds = chance.uniform(0.0, plan.seconds), chance.choice((0.3, 2.0, 8.0, 25.0))
            plan.windows.append(Window(at, kind, seconds))
    for name, most in zip(CHANCES, (0.02, 0.02, 0.2, 0.01, 0.05, 0.1, 0.2, 0.2, 0.3, 0.5), strict=True):
        if chance.random() < 0.35:
            setattr(plan, name, chance.uniform(0.1, 1.0) * most)
    if plan.outbound and chance.random() < 0.6:
        for kind in chance.sample(SENDS, chance.choice((1, 1, 2, 3))):
            plan.sends[kind] = chance.uniform(0.05, 0.4)
    _draw_restarts(plan, random.Random(f"{seed}/restarts"))
    _draw_hooks(plan, random.Random(f"{seed}/hooks"))
    _draw_clocks(plan, random.Random(f"{seed}/clocks"))
    _draw_campaign(plan, random.Random(f"{seed}/campaign"))
    _draw_people(plan, random.Random(f"{seed}/people"))
    _draw_rot(plan, random.Random(f"{seed}/rot"))
    _draw_calm(plan, random.Random(f"{seed}/calm"))
    _draw_outage(plan, random.Random(f"{seed}/outage"))
    _draw_twice(plan, random.Random(f"{seed}/twice"))
    return plan


def _draw_restarts(plan: Plan, chance: random.Random) -> None:
    for kind in RESTARTS:
        if chance.random() < 0.25:
            for _ in range(chance.choice((1, 1, 2))):
                plan.windows.append(Window(chance.uniform(0.0, plan.seconds), kind, chance.choice((0.2, 1.0, 5.0))))


def _draw_hooks(plan: Plan, chance: random.Random) -> None:
    plan.hooks = chance.random() < 0.4
    if plan.hooks and chance.random() < 0.6:
        plan.hook_fails = chance.uniform(0.05, 0.5)
    if plan.hooks and chance.random() < 0.4:
        plan.windows.append(Window(chance.uniform(0.0, plan.seconds), "crm down", chance.choice((0.5, 5.0, 20.0))))


def _draw_clocks(plan: Plan, chance: random.Random) -> None:
    """Clocks of a machine and of a database: a little wrong, so that nobody takes it for wrong, or grossly."""
    if chance.random() < 0.75:
        return
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.uniform(-plan.seconds / 3, plan.seconds)
        by = chance.choice((20.0, 50.0, 90.0, 3600.0, 40 * DAY)) * chance.choice((1, -1))
        plan.clocks.append(ClockJump(at, chance.choice(CLOCKS), by, chance.choice((1.0, 5.0, 20.0, 60.0))))


def _draw_campaign(plan: Plan, chance: random.Random) -> None:
    plan.campaign = chance.choice((3, 6, 12)) if chance.random() < 0.4 else 0
    plan.slowly = chance.random() < 0.5
    if plan.campaign and plan.slowly and plan.set_back is not None:
        plan.set_back = (plan.set_back[0], plan.set_back[0] + 10.0)  # so that messages are queued and sent meanwhile


def _draw_people(plan: Plan, chance: random.Random) -> None:
    if plan.outbound and chance.random() < 0.3:
        plan.decided = chance.uniform(0.2, 1.0)
    if chance.random() < 0.1:
        plan.noise = chance.choice((100, 200))
    if chance.random() < 0.3:
        plan.history = chance.uniform(0.0, plan.seconds)
        plan.contacts = chance.choice((0, 20, 1500))
    if chance.random() < 0.1:
        plan.kilobyte = chance.uniform(0.02, 0.07)
    elif chance.random() < 0.04:
        # So slow that a part of an address book takes longer than a statement may: little else fits into the run.
        plan.kilobyte, plan.history, plan.contacts = chance.uniform(0.5, 0.6), 2.0, 220
        plan.units, plan.inbound, plan.noise = 1, 10, 0


def _draw_rot(plan: Plan, chance: random.Random) -> None:
    if plan.set_back is None and plan.backup is None and chance.random() < 0.15:
        plan.deaths.append(Death(chance.uniform(0.0, plan.seconds), ROTTEN, chance.choice((0.05, 2.0))))
        plan.deaths.sort(key=lambda death: death.at)


def _draw_calm(plan: Plan, chance: random.Random) -> None:
    """Half of the noisy days are calm otherwise: nothing else has anybody wait, so that a lane's favour is seen."""
    if not plan.noise or plan.units == 1 or chance.random() < 0.5:
        return
    plan.noise = 360
    plan.deaths, plan.windows, plan.set_back, plan.backup = [], [], None, None
    for name in (*CHANCES[:6], "kilobyte"):
        setattr(plan, name, 0.0)


def _draw_outage(plan: Plan, chance: random.Random) -> None:
    """Rarely the database is away for as long as anybody writes, and the daemon is killed three times at the end of it,
    so that much of what waits has outlived several starts."""
    if plan.noise or plan.kilobyte or chance.random() > 0.06:
        return
    plan.inbound, end = 200, plan.seconds
    plan.windows = [window for window in plan.windows if not window.kind.startswith("database")]
    plan.windows.append(Window(0.1, "database down", end + 8.0))
    plan.deaths = [death for death in plan.deaths if death.at < end / 2]
    plan.deaths += [Death(end + after + chance.uniform(0.0, 1.0), "kill", 0.1) for after in (0.0, 2.0, 4.0)]


def _draw_twice(plan: Plan, chance: random.Random) -> None:
    """Rarely a person has whatever is uncertain sent once more, and at the end phones hand over both in one webhook."""
    if not plan.outbound or plan.noise or plan.outlives_starts or chance.random() > 0.05:
        return
    plan.decided, plan.history, plan.store, plan.honours_ids = 1.0, plan.seconds, True, False
    plan.sends["act_then_reset"] = chance.uniform(0.4, 0.8)
    plan.webhook_lost = chance.uniform(0.3, 0.6)
