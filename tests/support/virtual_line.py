"""Drives the connection machine through hours of virtual time, against a model of Evolution and WhatsApp.

The machine is driven as the actor drives it: calls queue, each kind once, and run one at a time; answers come
back as events; TimerFired comes when ``wake_at`` has passed. Webhooks may be delayed, repeated and lost.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import Connection, Moment, Stored
from zapline.domain.line.state_machine import step
from zapline.domain.line.transitions import Action
from zapline.domain.messages import events
from zapline.domain.messages.events import ConnectionEvent

HOUR = 3600.0
EPOCH = 1_800_000_000.0


class Evolution:
    """What the machine talks to; tests change the fields as they like."""

    def __init__(self, world: "VirtualLine") -> None:
        self.world = world
        self.state = "missing"
        """As connectionState would say."""
        self.session = False
        """The phone is linked."""
        self.reachable = True
        self.key_right = True
        self.whatsapp_up = True
        self.connect_fails = False
        self.first_code = 1.0
        """Seconds until a code exists; ``inf``: connect answers ``{"count": 0}`` for ever."""
        self.code_limit = 30
        self.open_after = 1.0
        self.rounds = 0
        """Pairings begun."""
        self._code = 0
        self._pairing = 0

    def perform(self, action: Action) -> tuple[float, Callable[[], ConnectionEvent]]:
        """Seconds until the answer, and what it is then."""
        if not self.reachable:
            return 5.0, lambda: events.CallFailed(action.value, "unreachable")
        if not self.key_right:
            return 0.02, lambda: events.CallFailed(action.value, "unauthorized", retryable=False)
        if action is Action.CONNECT and self.state == "close" and not self.connect_fails:
            self.begin()
        return (2.0 if action is Action.CONNECT else 0.05), lambda: self._answer(action)

    def _answer(self, action: Action) -> ConnectionEvent:
        match action:
            case Action.OBSERVE:
                return events.StateObserved(self.state)
            case Action.REGISTER:
                if self.state == "missing":
                    self.state, self.session = "close", False
                return events.Registered()
            case Action.LOGOUT:
                if self.state not in ("close", "missing"):
                    self.end(401)
                return events.LogoutDone()
            case Action.CONNECT:
                if self.state == "missing":
                    return events.CallFailed("connect", "instance_unknown")
                if self.connect_fails:
                    return events.CallFailed("connect", "operation_failed")
                if self.state == "open":
                    return events.StateObserved("open")
                return events.QrOffered(f"code-{self._code}") if self._code else events.ConnectStarted()
        raise AssertionError(action)

    def begin(self) -> None:
        """Leave close: open again where the session lives, else offer codes."""
        self.state, self._code = "connecting", 0
        self._pairing += 1
        self.world.webhook(events.ConnectingSeen())
        if self.session:
            self.world.after(self.open_after, self.reopen)
        elif self.first_code < float("inf"):
            self.rounds += 1
            self.world.after(self.first_code, lambda number=self._pairing: self._rotate(number, 1))

    def _rotate(self, pairing: int, number: int) -> None:
        if pairing != self._pairing or self.state != "connecting":
            return
        if number > self.code_limit:
            self.world.webhook(events.QrLimitReached())
            self.world.webhook(events.QrLimitReached())
            self.state, self._code = "close", 0
            return
        self._code = self.world.draw.randrange(1, 2**60)
        self.world.webhook(events.QrOffered(f"code-{self._code}"))
        self.world.after(45.0, lambda: self._rotate(pairing, number + 1))

    def reopen(self) -> None:
        if self.whatsapp_up and self.session and self.state == "connecting":
            self.scan()

    def scan(self) -> None:
        self._pairing += 1
        self.state, self.session, self._code = "open", True, 0
        self.world.webhook(events.Opened("5511999990000@s.whatsapp.net", "Loja"))

    def storm(self, seconds: float, rate: float = 4.2) -> None:
        """WhatsApp is away: Evolution tries for ever and says so at each try."""
        self.whatsapp_up = False
        if self.state == "open":
            self.state = "connecting"

        def again(left: float) -> None:
            if left <= 0:
                self.whatsapp_up = True
                self.reopen()
            elif self.state != "missing":
                self.world.webhook(events.ConnectingSeen())
                self.world.after(1 / rate, lambda: again(left - 1 / rate))

        again(seconds)

    def end(self, code: int) -> None:
        """The session ends: three webhooks, in any order."""
        self._pairing += 1
        self.state, self.session, self._code = "close", False, 0
        for event in (events.Closed(code), events.LoggedOutSeen(), events.Closed(code)):
            self.world.webhook(event)

    def restart(self) -> None:
        """The server stops and starts: what it had to deliver is gone, lines with a session open again."""
        self._pairing += 1
        self._code = 0
        if self.state == "missing":
            return
        self.state = "close"
        if self.session:
            self.begin()

    def delete(self) -> None:
        self._pairing += 1
        self.state, self.session, self._code = "missing", False, 0
        for event in (events.LoggedOutSeen(), events.InstanceRemoved(), events.InstanceRemoved(), events.Closed(401)):
            self.world.webhook(event)


class VirtualLine:
    """One unit, its machine, and the time."""

    def __init__(self, seed: int = 1, stored: Stored | None = None) -> None:
        self.draw = random.Random(seed)
        self.now = 1000.0
        self.state = Connection(stored=stored or Stored())
        self.evolution = Evolution(self)
        self.loss = 0.0
        """The part of webhooks that never arrives."""
        self.duplication = 0.0
        self.lateness = 0.05
        """Seconds a webhook takes at most."""
        self.calls: Counter[Action] = Counter()
        self.connects: list[float] = []
        self.steps = self.turns = self.rows = self.unexpected = self.dropped = 0
        self._life = 0
        self._order = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._timer: float | None = None
        self._queue: list[Action] = []
        self._calling = False
        self.feed(events.Started())

    @property
    def stored(self) -> Stored:
        return self.state.stored

    @property
    def phase(self) -> Phase:
        return self.state.stored.phase

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), do))

    def webhook(self, event: ConnectionEvent) -> None:
        if not self.evolution.reachable or self.draw.random() < self.loss:
            return
        self.after(self.draw.random() * self.lateness, lambda: self.feed(event))
        if self.draw.random() < self.duplication:
            self.after(self.draw.random() * max(self.lateness, 30.0), lambda: self.feed(event))

    def feed(self, event: ConnectionEvent) -> None:
        """One turn of the actor."""
        self.turns += 1
        before = self.stored
        calls = self._step(event)
        if self.state.wake_at is not None and self.now >= self.state.wake_at:
            raise AssertionError(f"asks to be woken in the past: {self.state}")
        if not self.stored.wanted and {Action.REGISTER, Action.CONNECT} & set(calls):
            raise AssertionError(f"connects a line that nobody wants: {calls} after {event}")
        self.rows += self.stored != before
        self._timer = self.state.wake_at
        if self._timer is not None:
            self.after(self._timer - self.now, lambda due=self._timer: self._fire(due))
        self._queue.extend(call for call in calls if call not in self._queue)
        self._next_call()

    def crash(self) -> None:
        """Everything but what is stored is gone, calls under way too."""
        self._life += 1
        self.state = Connection(stored=self.stored)
        self._queue, self._calling = [], False
        self.feed(events.Started())

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, do = heapq.heappop(self._heap)
            do()
        self.now = end

    def run_until(self, done: Callable[[], bool], seconds: float) -> float:
        """Seconds it took; raises where it is not done in time."""
        start = self.now
        while not done():
            if not self._heap or self._heap[0][0] > start + seconds:
                raise AssertionError(f"not within {seconds} s: {self.state}")
            self.now, _, do = heapq.heappop(self._heap)
            do()
        return self.now - start

    def watch(self, seconds: float, every: float = 3.0) -> None:
        """Somebody has the pairing page open."""
        for number in range(int(seconds / every)):
            self.after(number * every, lambda: self.feed(events.QrWanted()))

    def _fire(self, due: float) -> None:
        if self.state.wake_at == due:
            self.feed(events.TimerFired())

    def _step(self, event: ConnectionEvent) -> tuple[Action, ...]:
        made = step(self.state, event, Moment(EPOCH + self.now, self.now), self.draw.random())
        self.steps += 1
        self.state = made.state
        self.unexpected += made.unexpected is not None
        self.dropped += made.dropped
        return made.calls

    def _next_call(self) -> None:
        if self._calling or not self._queue:
            return
        action, life = self._queue.pop(0), self._life
        self._calling = True
        self.calls[action] += 1
        if action is Action.CONNECT:
            self.connects.append(self.now)
        seconds, answer = self.evolution.perform(action)

        def answered() -> None:
            event = answer()
            if life == self._life:
                self._calling = False
                self.feed(event)

        self.after(seconds, answered)


def opened(seed: int = 1) -> VirtualLine:
    """A line that was paired and is open."""
    line = VirtualLine(seed)
    line.feed(events.ConnectAsked())
    line.run(5)
    line.evolution.scan()
    line.run(300)
    assert line.phase is Phase.OPEN
    return line


def shown(line: VirtualLine) -> tuple[Phase, Reason]:
    """Phase and reason."""
    return line.stored.phase, line.stored.reason


def made(line: VirtualLine) -> int:
    """Calls made since counting began."""
    return sum(line.calls.values())


def begin_counting(line: VirtualLine) -> None:
    line.calls.clear()
    line.connects.clear()
    line.turns = line.rows = line.dropped = 0


def pairing(seed: int = 1) -> VirtualLine:
    """A line that shows its first code."""
    line = VirtualLine(seed)
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING
    return line
