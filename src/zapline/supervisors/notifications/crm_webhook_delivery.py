"""Delivers queued webhooks to CRMs: at least once, in order for each hook, no failing hook delaying another."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

import structlog
import trio

from zapline.crm.webhook_client import CrmWebhookClient, NotDelivered
from zapline.domain.crm_webhook_signature import sign_webhook, webhook_id
from zapline.domain.crm_webhooks import (
    DISABLE_AFTER_DAYS,
    PAUSE_AFTER_FAILURES,
    DeliveryVerdict,
    endpoint_pause,
    retry_delay,
    verdict_of_status,
)
from zapline.domain.errors import DatabaseUnavailable, RemoteError
from zapline.domain.ids import UnitId
from zapline.sql.accounts import organizations
from zapline.sql.notifications import crm_webhooks, events
from zapline.sql.notifications.crm_webhooks import ActiveHook, DueDelivery, HookTotals
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed
from zapline.sql.postgres.nodes import UNCHECKED, Ownership
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.counters import Counters
from zapline.supervisors.notifications.crm_webhook_payloads import build_bodies
from zapline.supervisors.notifications.hook_headers import HeaderSealer

MAX_CALLS = 64
"""Calls at a time; one for each hook, so that its deliveries stay in order."""
MAX_CALLS_PER_HOST = 8
"""So that a hanging CRM of many units does not block the CRMs of others."""
BATCH_SIZE = 50
"""Deliveries of one hook read by one query."""
_MIN_PAUSE = 0.2
"""Seconds between two queries for due deliveries, however often ``wake`` is called."""
IDLE = 15.0
"""The same without a wake-up: for deliveries that another process has stored."""
_RETRY_AFTER = 5.0
"""After the database did not serve a query."""
_MAX_TURN = 30.0
"""Seconds after which a hook lets others go first: a CRM may accept each delivery, but slowly."""
_CLEAN_UP_EVERY = 5.0
_MAX_ROWS = 2000
"""Rows of one statement: a CRM that was away for days leaves a million."""
_LONGEST_WAIT = 7 * 3600.0
"""Seconds: no delivery waits so long for its next try (``crm_webhooks.retry_delay``)."""
_MISDATED_EVERY = 60.0
"""Seconds between two looks for what a wrong clock has put off, or whose unit has left its organization."""
DELIVERED_DAYS, DEAD_DAYS = 1.0, 14.0
"""Days for which deliveries are kept after their end; dead ones can be replayed for that long."""
EVENT_DAYS = 3.0
"""Days for which events can be read and replayed."""
_USER_AGENT = "Zapline-Webhooks/1"
_LOG = structlog.get_logger(scope="Hooks")


@dataclass(slots=True)
class _HookState:
    """What this process remembers of one hook."""

    busy: bool = False
    failures: int = 0
    """In a row."""
    units: frozenset[UnitId] = frozenset()
    """What it was told of when it was served last."""
    proven: bool = False
    """It has accepted a delivery of this process. Until then others may wait because of failures of an earlier one."""
    rest_until: float = float("-inf")
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class CrmWebhookDelivery:
    """One for the process; only the leading process delivers. After a kill, calls under way repeat with the same id."""

    def __init__(
        self,
        pool: Pool,
        client: CrmWebhookClient,
        may_write: Callable[[], Awaitable[None]],
        key_of: Callable[[UUID, int], bytes],
        sealer: HeaderSealer,
        counters: Counters,
        clock: Callable[[], float] = time.time,
        clocks_agree: Callable[[], bool] = lambda: True,
        draw_spread: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
        held: Callable[[UnitId], Ownership] = lambda unit: UNCHECKED,
        look_every: float = IDLE,
    ) -> None:
        """``clock`` decides (``ClockWatch.now``), ``wall`` is this machine's own; both return UTC seconds.

        ``held``: by what right this process acts for a unit. ``look_every``: seconds between two queries for what is
        due, for deliveries of which nobody here has heard.
        """
        self._held, self._look_every = held, look_every
        self._pool = pool
        self._client = client
        self._may_write = may_write
        self._key_of = key_of
        self._sealer = sealer
        self._counters = counters
        self._clock = clock
        self._clocks_agree = clocks_agree
        self._misdated_at, self._left_at = float("-inf"), float("-inf")
        self._draw_spread = draw_spread
        self._wall = wall
        self._states: dict[UUID, _HookState] = {}
        self._call_limiter = trio.CapacityLimiter(MAX_CALLS)
        self._host_limiters: dict[str, trio.CapacityLimiter] = {}
        self._wake_event = trio.Event()
        self._clean_up_event = trio.Event()
        self._units: frozenset[UnitId] = frozenset()
        self.totals: HookTotals | None = None
        """The last count; None before the first one."""

    def wake(self, unit: UnitId) -> None:
        """Query for due deliveries soon, if the unit has hooks."""
        if unit in self._units:
            self._wake_event.set()

    def hook_changed(self, hook: UUID | None = None) -> None:
        """Query at once and end the hook's rest: a person has changed it, or has requested deliveries.

        None: which units are in an organization may have changed.
        Its failures still count: deliveries that wait because of them become due with the first success.
        """
        if hook is None:
            self._left_at = float("-inf")
        state = self._states.get(hook) if hook is not None else None
        if state is not None:
            state.rest_until = float("-inf")
        self._wake_event.set()
        self._clean_up_event.set()

    async def run(self) -> None:
        """Deliver until cancelled; retry while the database is away."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._clean_up)
            while True:
                await self._may_write()
                self._wake_event = trio.Event()
                try:
                    pause = await self._start_due(nursery)
                except (DatabaseUnavailable, StatementFailed) as away:
                    _LOG.warning("Webhooks to the CRM must wait", error=str(away))
                    pause = _RETRY_AFTER
                await trio.sleep(_MIN_PAUSE)
                with trio.move_on_after(pause):
                    await self._wake_event.wait()

    async def _start_due(self, nursery: trio.Nursery) -> float:
        """Start a task for each hook with due deliveries; return seconds until the next query."""
        async with self._pool.connection() as conn:
            hooks = await crm_webhooks.list_active_hooks(conn, self._clock())
        self._units = frozenset(unit for hook in hooks for unit in hook.units)
        for gone in self._states.keys() - {hook.id for hook in hooks}:
            self._states.pop(gone).scope.cancel()
        limiters = self._host_limiters.items()
        self._host_limiters = {host: limiter for host, limiter in limiters if limiter.borrowed_tokens}
        pauses, now = [self._look_every], trio.current_time()
        for hook in hooks:
            if hook.wait is None:
                continue
            state = self._states.setdefault(hook.id, _HookState())
            if state.busy and not state.units.issubset(hook.units):
                state.scope.cancel()  # a unit has left: what was read of it is told no more
            wait = max(hook.wait, state.rest_until - now)
            if wait > 0:
                pauses.append(wait)
            elif not state.busy:
                state.busy, state.units = True, frozenset(hook.units)
                nursery.start_soon(self._serve_hook, hook, state)
        return min(pauses)

    async def _serve_hook(self, hook: ActiveHook, state: _HookState) -> None:
        """Make the due deliveries of one hook, up to a batch or the first failure; then query again."""
        state.scope = trio.CancelScope()
        try:
            with state.scope:
                limiter = self._host_limiters.setdefault(hook.host, trio.CapacityLimiter(MAX_CALLS_PER_HOST))
                async with limiter, self._call_limiter:
                    await self._deliver_due(hook, state)
        except RemoteError as away:
            _LOG.warning("A webhook's outcome could not be stored; it is delivered again", error=str(away))
            state.rest_until = trio.current_time() + _RETRY_AFTER
        finally:
            state.busy = False
            self._wake_event.set()

    async def _deliver_due(self, hook: ActiveHook, state: _HookState) -> None:
        async with self._pool.connection() as conn:
            dues = await crm_webhooks.list_due_deliveries(conn, hook.id, self._clock(), BATCH_SIZE)
            bodies = await build_bodies(conn, dues)
        until = trio.current_time() + _MAX_TURN
        for due, body in zip(dues, bodies, strict=True):
            await self._may_write()
            if trio.current_time() >= until:
                return  # another process may have delivered while this one was not leading
            if body is None:
                async with self._pool.connection() as conn:
                    result = {"error": "subject_gone", "wall": self._wall(), "held": self._held(due.unit)}
                    await crm_webhooks.bury_delivery(conn, hook.id, due.id, **result)  # type: ignore[arg-type]
            elif not await self._deliver(hook, state, due, body):
                return

    async def _deliver(self, hook: ActiveHook, state: _HookState, due: DueDelivery, body: bytes) -> bool:
        """Make one delivery; return False if the hook must rest."""
        status, retry_after, code, held = None, None, "", self._held(due.unit)
        try:
            answer = await self._client.post(hook.url, self._headers(hook, due, body), body)
            status, retry_after = answer.status, answer.retry_after
            verdict = verdict_of_status(status)
        except NotDelivered as failed:
            verdict, code = DeliveryVerdict.FAILED, failed.code
        self._counters.add("hook_deliveries", _outcome(verdict, status, code))
        async with self._pool.connection() as conn:
            if verdict is DeliveryVerdict.DELIVERED and status is not None:
                await crm_webhooks.store_success(conn, hook.id, due.id, status=status, wall=self._wall(), held=held)
                if state.failures >= PAUSE_AFTER_FAILURES or not state.proven:
                    await crm_webhooks.make_waiting_due(conn, hook.id, self._clock())
                state.failures, state.proven = 0, True
                return True
            error = code or f"status_{status}"
            now = self._clock()
            wait = retry_delay(due.tries + 1, self._draw_spread(), retry_after)
            failing_since = await crm_webhooks.store_failure(
                conn, hook.id, due.id, status=status, error=error, wait=wait, now=now, wall=self._wall(), held=held
            )
            state.failures += 1
            reason = _reason_to_disable(verdict, state.failures, now - (failing_since or now))
            if reason is not None:
                await crm_webhooks.disable_hook(conn, hook.id, reason)
                self._clean_up_event.set()
                _LOG.warning("A hook is disabled: {reason}", reason=reason, hook=str(hook.id), **hook.owner)
                return False
        if wait is None:
            _LOG.warning("A webhook to the CRM is dead", error=error, hook=str(hook.id), **hook.owner)
        rest = max(endpoint_pause(state.failures), retry_after or 0.0 if status in (429, 503) else 0.0)
        state.rest_until = trio.current_time() + min(rest, 3600.0)
        return rest == 0.0

    def _headers(self, hook: ActiveHook, due: DueDelivery, body: bytes) -> dict[str, str]:
        now = self._clock()
        keys = [self._key_of(hook.id, hook.key_generation)]
        if hook.previous_until is not None and now < hook.previous_until:
            keys.append(self._key_of(hook.id, hook.key_generation - 1))
        id, timestamp = webhook_id(due.id), int(now)
        return self._own_headers(hook) | {
            "Host": hook.host,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": _USER_AGENT,
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign_webhook(keys, id, timestamp, body),
        }

    def _own_headers(self, hook: ActiveHook) -> dict[str, str]:
        """The headers that the CRM wants; none where they were encrypted under another master key."""
        headers = self._sealer.unseal(hook.id, hook.headers)
        if headers is None:
            self._counters.add("hook_headers_unreadable")
            _LOG.error("A hook's headers cannot be read: they are of another master key; set them anew", **hook.owner)
            return {}
        return headers

    async def _release_misdated(self, conn: Connection) -> int:
        if trio.current_time() < self._misdated_at:
            return 0
        self._misdated_at = trio.current_time() + _MISDATED_EVERY
        count = await crm_webhooks.release_misdated(conn, self._clock(), _LONGEST_WAIT, _MAX_ROWS)
        if count:
            self._counters.add("misdated", amount=count)
            self._wake_event.set()
            _LOG.warning("Webhooks to the CRM were put off by a wrong clock; they are due now", count=count)
        return count

    async def _bury_left(self, conn: Connection) -> int:
        """End a part of the deliveries whose unit has left its organization; all of them are passed over already."""
        if trio.current_time() < self._left_at:
            return 0
        self._left_at = trio.current_time() + _MISDATED_EVERY
        count = await crm_webhooks.bury_left(conn, self._wall(), _MAX_ROWS)
        if count >= _MAX_ROWS:
            self._left_at = float("-inf")
        return count

    async def _clean_up(self) -> None:
        """Count deliveries, end those of disabled hooks, and delete old ones, until cancelled."""
        while True:
            await self._may_write()
            self._clean_up_event = trio.Event()
            try:
                async with self._pool.connection() as conn:
                    done = await crm_webhooks.bury_waiting(conn, self._wall(), _MAX_ROWS)
                    done = max(done, await self._bury_left(conn))
                    if self._clocks_agree():
                        pruned = await crm_webhooks.prune_deliveries(conn, DELIVERED_DAYS, DEAD_DAYS, _MAX_ROWS)
                        pruned = max(pruned, await events.prune_events(conn, EVENT_DAYS, _MAX_ROWS))
                        done = max(done, pruned, await self._release_misdated(conn))
                        await organizations.prune_organizations(conn)
                    self.totals = await crm_webhooks.count_deliveries(conn)
            except RemoteError as away:
                _LOG.debug("Webhooks to the CRM are not tidied", error=str(away))
                done = 0
            await trio.sleep(_MIN_PAUSE)
            if done < _MAX_ROWS:
                with trio.move_on_after(_CLEAN_UP_EVERY):
                    await self._clean_up_event.wait()


def _outcome(verdict: DeliveryVerdict, status: int | None, code: str) -> str:
    """The label in the metrics, of a bounded set."""
    if status is None:
        return code
    return verdict.value if verdict is not DeliveryVerdict.FAILED else f"status_{status // 100}xx"


def _reason_to_disable(verdict: DeliveryVerdict, failures: int, failing_for: float) -> str | None:
    """Why a hook that has just failed is to be disabled, or None.

    A single failure does not disable: a hook with one event a week has had no success for days each time.
    """
    if verdict is DeliveryVerdict.GONE:
        return "gone"
    return "failing" if failures >= PAUSE_AFTER_FAILURES and failing_for > DISABLE_AFTER_DAYS * 86_400 else None
