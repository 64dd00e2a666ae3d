"""Brings to CRMs what waits for their hooks: at least once, each by itself, and no ill one holds up another."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog
import trio

from zapline.crm.webhook_client import CrmClient, NotDelivered
from zapline.domain.crm_webhooks import (
    FAILING_DAYS,
    REST_AFTER,
    Verdict,
    judge,
    rest_after,
    signature,
    wait_after,
    webhook_id,
)
from zapline.domain.errors import DatabaseUnavailable, RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.notifications import crm_webhooks
from zapline.sql.notifications.crm_webhooks import Due, HookTotals, Served
from zapline.sql.postgres.error_classes import StatementFailed
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.notifications.crm_webhook_payloads import bodies

AT_ONCE = 64
"""Calls at a time; of each hook one, so that what happened first is told first."""
OF_HOST = 8
"""Of these, calls to one host: a CRM of many units that hangs leaves room for the CRMs of others."""
BATCH = 50
"""Deliveries of one hook that are read together."""
_BREATH = 0.2
"""Seconds between two looks at what is due, however often the bell rings."""
_IDLE = 15.0
"""The same where nobody rings: for what another process stored."""
_AGAIN = 5.0
"""After the database did not serve a look."""
_TURN = 30.0
"""Seconds after which a hook makes room for others: a CRM that takes each delivery, but slowly, is ill too."""
_TIDY_EVERY = 5.0
_TIDY_AT_ONCE = 2000
"""Rows: a CRM that was away for days leaves a million, and no statement may last."""
DELIVERED_DAYS, DEAD_DAYS = 1.0, 14.0
"""Days for which deliveries can be looked at after their end, and the dead ones be replayed."""
_AGENT = "Zapline-Webhooks/1"
_LOG = structlog.get_logger(scope="Hooks")


@dataclass(slots=True)
class _Desk:
    """What is remembered of one hook in this process."""

    busy: bool = False
    failures: int = 0
    """In a row."""
    proven: bool = False
    """It has taken something in this process's time. What waits may wait because of failures of an earlier one."""
    rest_until: float = float("-inf")
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class Courier:
    """One for the process; only the one that may write delivers. A kill repeats what was under way, same id."""

    def __init__(
        self,
        pool: Pool,
        client: CrmClient,
        may_write: Callable[[], Awaitable[None]],
        key_of: Callable[[UUID, int], bytes],
        counters: Counters,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._client = client
        self._may_write = may_write
        self._key_of = key_of
        self._counters = counters
        self._clock = clock
        self._chance = chance
        self._desks: dict[UUID, _Desk] = {}
        self._room = trio.CapacityLimiter(AT_ONCE)
        self._hosts: dict[str, trio.CapacityLimiter] = {}
        self._bell = trio.Event()
        self._untidy = trio.Event()
        self._units: frozenset[UnitId] = frozenset()
        self.totals: HookTotals | None = None
        """As counted last; None while the database has not been asked."""

    def ring(self, unit: UnitId) -> None:
        """Something has happened to a unit: look soon, if it has hooks."""
        if unit in self._units:
            self._bell.set()

    def changed(self, hook: UUID | None = None) -> None:
        """A person has changed hooks or asked for deliveries: look at once, and let none of it rest.

        Its failures still count: what waits because of them is due with the first success.
        """
        desk = self._desks.get(hook) if hook is not None else None
        if desk is not None:
            desk.rest_until = float("-inf")
        self._bell.set()
        self._untidy.set()

    async def run(self) -> None:
        """Deliver until cancelled. A database that is away is asked again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tidy)
            while True:
                await self._may_write()
                self._bell = trio.Event()
                try:
                    pause = await self._look(nursery)
                except (DatabaseUnavailable, StatementFailed) as away:
                    _LOG.warning("Webhooks to the CRM must wait", error=str(away))
                    pause = _AGAIN
                await trio.sleep(_BREATH)
                with trio.move_on_after(pause):
                    await self._bell.wait()

    async def _look(self, nursery: trio.Nursery) -> float:
        """Serve every hook for which something is due; seconds until the next look."""
        async with self._pool.connection() as conn:
            served = await crm_webhooks.served(conn, self._clock())
        self._units = frozenset(hook.unit for hook in served)
        listed = {hook.id for hook in served}
        for gone in self._desks.keys() - listed:
            self._desks.pop(gone).scope.cancel()
        self._hosts = {host: room for host, room in self._hosts.items() if room.borrowed_tokens}
        pauses, now = [_IDLE], trio.current_time()
        for hook in served:
            if hook.wait is None:
                continue
            desk = self._desks.setdefault(hook.id, _Desk())
            wait = max(hook.wait, desk.rest_until - now)
            if wait > 0:
                pauses.append(wait)
            elif not desk.busy:
                desk.busy = True
                nursery.start_soon(self._serve, hook, desk)
        return min(pauses)

    async def _serve(self, hook: Served, desk: _Desk) -> None:
        """Deliver what is due for one hook, up to a batch, or until it fails; then it is looked at anew."""
        desk.scope = trio.CancelScope()
        try:
            with desk.scope:
                async with self._hosts.setdefault(hook.host, trio.CapacityLimiter(OF_HOST)), self._room:
                    await self._deliver_due(hook, desk)
        except RemoteError as away:
            _LOG.warning("A webhook's outcome could not be stored; it is delivered again", error=str(away))
            desk.rest_until = trio.current_time() + _AGAIN
        finally:
            desk.busy = False
            self._bell.set()

    async def _deliver_due(self, hook: Served, desk: _Desk) -> None:
        async with self._pool.connection() as conn:
            dues = await crm_webhooks.next_deliveries(conn, hook.id, self._clock(), BATCH)
            made = await bodies(conn, dues)
        until = trio.current_time() + _TURN
        for due, body in zip(dues, made, strict=True):
            await self._may_write()
            if trio.current_time() >= until:
                return  # also where another process has delivered meanwhile
            if body is None:
                async with self._pool.connection() as conn:
                    await crm_webhooks.drop_delivery(conn, hook.id, due.id, "subject_gone")
            elif not await self._deliver(hook, desk, due, body):
                return

    async def _deliver(self, hook: Served, desk: _Desk, due: Due, body: bytes) -> bool:
        """Deliver one; False where the hook is to be left alone for now."""
        status, asked, code = None, None, ""
        try:
            answer = await self._client.post(hook.url, self._headers(hook, due, body), body)
            status, asked = answer.status, answer.retry_after
            verdict = judge(status)
        except NotDelivered as failed:
            verdict, code = Verdict.FAILED, failed.code
        self._counters.add("hook_deliveries", _outcome(verdict, status, code))
        async with self._pool.connection() as conn:
            if verdict is Verdict.DELIVERED and status is not None:
                await crm_webhooks.note_delivered(conn, hook.id, due.id, status)
                if desk.failures >= REST_AFTER or not desk.proven:
                    await crm_webhooks.hurry(conn, hook.id, self._clock())
                desk.failures, desk.proven = 0, True
                return True
            error = code or f"status_{status}"
            now = self._clock()
            wait = wait_after(due.tries + 1, self._chance(), asked)
            failing_since = await crm_webhooks.note_failed(
                conn, hook.id, due.id, status=status, error=error, wait=wait, now=now
            )
            desk.failures += 1
            reason = _end_of(verdict, desk.failures, now - (failing_since or now))
            if reason is not None:
                await crm_webhooks.disable(conn, hook.id, reason)
                self._untidy.set()
                _LOG.warning("A hook is disabled: {reason}", reason=reason, hook=str(hook.id), unit=str(hook.unit))
                return False
        if wait is None:
            _LOG.warning("A webhook to the CRM is dead", error=error, hook=str(hook.id), unit=str(hook.unit))
        rest = max(rest_after(desk.failures), asked or 0.0 if status in (429, 503) else 0.0)
        desk.rest_until = trio.current_time() + min(rest, 3600.0)
        return rest == 0.0

    def _headers(self, hook: Served, due: Due, body: bytes) -> dict[str, str]:
        now = self._clock()
        keys = [self._key_of(hook.id, hook.key_generation)]
        if hook.previous_until is not None and now < hook.previous_until:
            keys.append(self._key_of(hook.id, hook.key_generation - 1))
        id, timestamp = webhook_id(due.id), int(now)
        return {
            "Host": hook.host,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": _AGENT,
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(keys, id, timestamp, body),
        }

    async def _tidy(self) -> None:
        """Count what waits, end what waits in vain, and delete what ended long ago, until cancelled."""
        while True:
            await self._may_write()
            self._untidy = trio.Event()
            try:
                async with self._pool.connection() as conn:
                    done = await crm_webhooks.end_waiting(conn, _TIDY_AT_ONCE)
                    done = max(done, await crm_webhooks.prune(conn, DELIVERED_DAYS, DEAD_DAYS, _TIDY_AT_ONCE))
                    self.totals = await crm_webhooks.totals(conn)
            except RemoteError as away:
                _LOG.debug("Webhooks to the CRM are not tidied", error=str(away))
                done = 0
            await trio.sleep(_BREATH)
            if done < _TIDY_AT_ONCE:
                with trio.move_on_after(_TIDY_EVERY):
                    await self._untidy.wait()


def _outcome(verdict: Verdict, status: int | None, code: str) -> str:
    """A label of a bounded set."""
    if status is None:
        return code
    return verdict.value if verdict is not Verdict.FAILED else f"status_{status // 100}xx"


def _end_of(verdict: Verdict, failures: int, failing_for: float) -> str | None:
    """Why a hook that has just failed is served no more, or None.

    A single failure ends none: who is told something once a week has had no success for days each time.
    """
    if verdict is Verdict.GONE:
        return "gone"
    return "failing" if failures >= REST_AFTER and failing_for > FAILING_DAYS * 86_400 else None
