"""Runs the connection state machine through hours of virtual time, against a model of Evolution and WhatsApp.

The machine is driven as the actor drives it: calls queue, each kind once, and run one at a time; responses come
back as events; TimerFired comes when ``wake_at`` has passed. Webhooks may be delayed, repeated and lost.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import count

from zapline.domain.line import events
from zapline.domain.line.events import ConnectionEvent
from zapline.domain.line.reasons import Phase, Reason
from zapline.domain.line.state import LineState, StoredLineState
from zapline.domain.line.state_machine import step
from zapline.domain.line.transitions import LineAction
from zapline.domain.timestamps import Moment

HOUR = 3600.0
EPOCH = 1_800_000_000.0
PROBE_EVERY = 300.0
"""Rarer than the daemon's, so that a test's own calls stand out."""


class Evolution:
    """A model of the Evolution server; tests set its fields to simulate faults."""

    def __init__(self, line: "VirtualLine") -> None:
        self.line = line
        self.state = "missing"
        """The state that connectionState reports."""
        self.session = False
        """The phone is linked."""
        self.reachable = True
        self.key_valid = True
        self.whatsapp_up = True
        self.connect_fails = False
        self.first_code = 1.0
        """Seconds until a QR code exists; ``inf``: connect returns ``{"count": 0}`` for ever."""
        self.code_limit = 30
        self.open_after = 1.0
        self.pairings_started = 0
        """Pairings started since the beginning."""
        self.knows_numbers = True
        """Whether a pairing that begins with a number offers a pairing code."""
        self._code = 0
        self._pairing_code: str | None = None
        self._pairing = 0

    def perform(self, action: LineAction) -> tuple[float, Callable[[], ConnectionEvent]]:
        """Return the seconds until the response, and a function that computes it at that time."""
        if not self.reachable:
            return 5.0, lambda: events.CallFailed(action.value, "unreachable")
        if not self.key_valid:
            return 0.02, lambda: events.CallFailed(action.value, "unauthorized", retryable=False)
        if action is LineAction.CONNECT and self.state == "close" and not self.connect_fails:
            self.connect()
        return (2.0 if action is LineAction.CONNECT else 0.05), lambda: self._respond(action)

    def _respond(self, action: LineAction) -> ConnectionEvent:
        match action:
            case LineAction.OBSERVE:
                return events.StateObserved(self.state)
            case LineAction.CHECK:
                return events.RegistrationChecked()
            case LineAction.RENEW_PAIRING:
                if self.state not in ("close", "missing"):
                    self.end_session(401)
                return events.Registered()
            case LineAction.RECREATE:
                if self.state != "missing":
                    self.delete()
                self.state = "close"
                return events.Registered()
            case LineAction.REGISTER:
                if self.state == "missing":
                    self.state, self.session = "close", False
                return events.Registered()
            case LineAction.LOGOUT:
                if self.state not in ("close", "missing"):
                    self.end_session(401)
                return events.LogoutDone()
            case LineAction.CONNECT:
                if self.state == "missing":
                    return events.CallFailed("connect", "instance_unknown")
                if self.connect_fails:
                    return events.CallFailed("connect", "operation_failed")
                if self.state == "open":
                    return events.StateObserved("open")
                return self._offer() if self._code else events.ConnectStarted()
        raise AssertionError(action)

    def connect(self) -> None:
        """Leave ``close``: reopen the session if there is one, else offer QR codes."""
        self.state, self._code = "connecting", 0
        self._pairing_code = "ABCD1234" if self.line.stored.number and self.knows_numbers else None
        self._pairing += 1
        self.line.webhook(events.ConnectingSeen())
        if self.session:
            self.line.after(self.open_after, self.reopen)
        elif self.first_code < float("inf"):
            self.pairings_started += 1
            self.line.after(self.first_code, lambda number=self._pairing: self._rotate(number, 1))

    def _offer(self) -> events.QrOffered:
        return events.QrOffered(f"code-{self._code}", self._pairing_code)

    def fall_silent(self) -> None:
        """Offer no further codes, as while a scan is being worked on."""
        self._pairing += 1

    def _rotate(self, pairing: int, number: int) -> None:
        if pairing != self._pairing or self.state != "connecting":
            return
        if number > self.code_limit:
            self.line.webhook(events.QrLimitReached())
            self.line.webhook(events.QrLimitReached())
            self.state, self._code = "close", 0
            return
        self._code = self.line.rng.randrange(1, 2**60)
        self.line.webhook(self._offer())
        self.line.after(45.0, lambda: self._rotate(pairing, number + 1))

    def reopen(self) -> None:
        if self.whatsapp_up and self.session and self.state == "connecting":
            self.scan()

    def scan(self) -> None:
        self._pairing += 1
        self.state, self.session, self._code = "open", True, 0
        self.line.webhook(events.Opened("5511999990000@s.whatsapp.net", "Loja"))

    def storm(self, seconds: float, rate: float = 4.2) -> None:
        """WhatsApp is unreachable: Evolution reconnects for ever and reports each attempt."""
        self.whatsapp_up = False
        if self.state == "open":
            self.state = "connecting"

        def again(left: float) -> None:
            if left <= 0:
                self.whatsapp_up = True
                self.reopen()
            elif self.state != "missing":
                self.line.webhook(events.ConnectingSeen())
                self.line.after(1 / rate, lambda: again(left - 1 / rate))

        again(seconds)

    def end_session(self, code: int) -> None:
        """End the session; three webhooks follow, in any order."""
        self._pairing += 1
        self.state, self.session, self._code = "close", False, 0
        for event in (events.Closed(code), events.LoggedOutSeen(), events.Closed(code)):
            self.line.webhook(event)

    def restart(self) -> None:
        """Restart the server: undelivered webhooks are lost, and lines with a session open again."""
        self._pairing += 1
        self._code = 0
        if self.state == "missing":
            return
        self.state = "close"
        if self.session:
            self.connect()

    def delete(self) -> None:
        self._pairing += 1
        self.state, self.session, self._code = "missing", False, 0
        for event in (events.LoggedOutSeen(), events.InstanceRemoved(), events.InstanceRemoved(), events.Closed(401)):
            self.line.webhook(event)


class VirtualLine:
    """One unit's state machine on a virtual clock."""

    def __init__(self, seed: int = 1, stored: StoredLineState | None = None) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.state = LineState(stored=stored or StoredLineState(), probe_every=PROBE_EVERY)
        self.evolution = Evolution(self)
        self.loss = 0.0
        """Share of the webhooks that never arrive, 0 to 1."""
        self.duplication = 0.0
        self.lateness = 0.05
        """Longest delay of a webhook, in seconds."""
        self.calls: Counter[LineAction] = Counter()
        self.connects: list[float] = []
        self.events_fed = self.rows = self.unexpected = self.dropped = 0
        self._incarnation = 0
        self._order = count()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._timer: float | None = None
        self._queue: list[LineAction] = []
        self._calling = False
        self.feed(events.Started())

    @property
    def stored(self) -> StoredLineState:
        return self.state.stored

    @property
    def phase(self) -> Phase:
        return self.state.stored.phase

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), action))

    def webhook(self, event: ConnectionEvent) -> None:
        if not self.evolution.reachable or self.rng.random() < self.loss:
            return
        self.after(self.rng.random() * self.lateness, lambda: self.feed(event))
        if self.rng.random() < self.duplication:
            self.after(self.rng.random() * max(self.lateness, 30.0), lambda: self.feed(event))

    def feed(self, event: ConnectionEvent) -> None:
        """Process one event as the actor does: step, store, schedule the timer, queue the calls."""
        self.events_fed += 1
        before = self.stored
        calls = self._step(event)
        if self.state.wake_at is not None and self.now >= self.state.wake_at:
            raise AssertionError(f"wake_at is in the past: {self.state}")
        if not self.stored.wanted and {LineAction.REGISTER, LineAction.CONNECT} & set(calls):
            raise AssertionError(f"connects a line that is not wanted: {calls} after {event}")
        self.rows += self.stored != before
        self._timer = self.state.wake_at
        if self._timer is not None:
            self.after(self._timer - self.now, lambda due=self._timer: self._fire(due))
        self._queue.extend(call for call in calls if call not in self._queue)
        self._next_call()

    def crash(self) -> None:
        """Lose everything but the stored state, including calls in progress."""
        self._incarnation += 1
        self.state = LineState(stored=self.stored, probe_every=PROBE_EVERY)
        self._queue, self._calling = [], False
        self.feed(events.Started())

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    def run_until(self, done: Callable[[], bool], seconds: float) -> float:
        """Run until ``done()``; return the seconds it took. Raises ``AssertionError`` after ``seconds``."""
        start = self.now
        while not done():
            if not self._heap or self._heap[0][0] > start + seconds:
                raise AssertionError(f"not within {seconds} s: {self.state}")
            self.now, _, action = heapq.heappop(self._heap)
            action()
        return self.now - start

    def watch(self, seconds: float, every: float = 3.0) -> None:
        """Keep the pairing page open: it asks for the QR code every few seconds."""
        for number in range(int(seconds / every)):
            self.after(number * every, lambda: self.feed(events.QrWanted()))

    def _fire(self, due: float) -> None:
        if self.state.wake_at == due:
            self.feed(events.TimerFired())

    def _step(self, event: ConnectionEvent) -> tuple[LineAction, ...]:
        result = step(self.state, event, Moment(EPOCH + self.now, self.now), self.rng.random())
        self.state = result.state
        self.unexpected += result.unexpected is not None
        self.dropped += result.dropped
        return result.calls

    def _next_call(self) -> None:
        if self._calling or not self._queue:
            return
        action, incarnation = self._queue.pop(0), self._incarnation
        self._calling = True
        self.calls[action] += 1
        if action is LineAction.CONNECT:
            self.connects.append(self.now)
        seconds, respond = self.evolution.perform(action)

        def complete() -> None:
            event = respond()
            if incarnation == self._incarnation:
                self._calling = False
                self.feed(event)

        self.after(seconds, complete)


def open_line(seed: int = 1) -> VirtualLine:
    """Return a line that was paired and is open."""
    line = VirtualLine(seed)
    line.feed(events.ConnectAsked())
    line.run(5)
    line.evolution.scan()
    line.run(300)
    assert line.phase is Phase.OPEN
    return line


def phase_and_reason(line: VirtualLine) -> tuple[Phase, Reason]:
    return line.stored.phase, line.stored.reason


def call_count(line: VirtualLine) -> int:
    """Calls since the last ``reset_counters``."""
    return sum(line.calls.values())


def reset_counters(line: VirtualLine) -> None:
    line.calls.clear()
    line.connects.clear()
    line.events_fed = line.rows = line.dropped = 0


def pairing_line(seed: int = 1) -> VirtualLine:
    """Return a line that offers its first QR code."""
    line = VirtualLine(seed)
    line.feed(events.ConnectAsked())
    line.run(10)
    assert line.phase is Phase.PAIRING
    return line
