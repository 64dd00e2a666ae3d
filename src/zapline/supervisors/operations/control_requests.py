"""Does what the command line asks of the running daemon: requests are rows, a notification is the bell."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError, ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Actor, ActorKind
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import control_requests
from zapline.sql.units.control_requests import Request
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.reconciliation.scheduler import Reconciler
from zapline.supervisors.units.unit_commands import Submit

REPLIES = "zapline_reply"
Verb = tuple[type[Any], Callable[[Any], Awaitable[dict[str, Any]]]]
"""What a request's arguments are, and who does it."""
_ASKING = frozenset({"reload", "reconcile-progress"})
"""Requests that change nothing; all others go into the audit log."""
_LOG = structlog.get_logger(scope="Control")


class _Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _NewUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    instance: str | None = None


class _OneUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID


class _Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: float
    """Seconds since the epoch, UTC."""
    unit: UUID | None = None


class _UnitOrAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID | None = None


class _OneLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int


class Control:
    """One for the process. ``ring`` says that there may be requests; ``run`` does them, one after the other."""

    def __init__(
        self,
        submit: Submit,
        pool: Pool,
        reconciler: Reconciler | None = None,
        audit: AuditLog | None = None,
        rung: Callable[[], None] = lambda: None,
        more: Mapping[str, Verb] | None = None,
    ) -> None:
        self._submit = submit
        self._audit = audit or AuditLog(pool)
        self._on_ring = rung
        self._pool = pool
        self._reconciler = reconciler
        self._rung = trio.Event()
        self._known: dict[str, Verb] = {
            **(more or {}),
            "reload": (_Nothing, self._reload),
            "add-unit": (_NewUnit, self._add_unit),
            "archive-unit": (_OneUnit, self._archive_unit),
            "release-unit": (_OneUnit, self._release_unit),
            "rotate-secret": (_OneUnit, self._rotate_secret),
            "replay": (_Since, self._replay),
            "replay-dead-letter": (_OneLetter, self._replay_dead_letter),
            "reconcile": (_Since, self._reconcile),
            "reconcile-progress": (_UnitOrAll, self._reconcile_progress),
        }

    async def ring(self, payload: str = "") -> None:
        """Look at the requests soon. What the bell says is of no account: anybody may ring it.

        A command may also have changed by itself who may come in; ``rung`` is told, each time.
        """
        self._on_ring()
        self._rung.set()

    async def run(self) -> None:
        """Do requests until cancelled. A database that is away ends a round, never the process."""
        while True:
            await self._rung.wait()
            self._rung = trio.Event()
            try:
                async with self._pool.connection() as conn:
                    requests = await control_requests.open_requests(conn)
                for request in requests:
                    await self._answer(request)
            except RemoteError as away:
                _LOG.warning("Requests of the command line must wait", error=str(away))

    async def _answer(self, request: Request) -> None:
        error, result = None, {}
        try:
            result = await self._do(request)
        except (ZaplineError, msgspec.ValidationError) as failure:
            error = str(failure)
        _LOG.info("Done by command: {verb}", verb=request.verb[:40], failed=error is not None)
        async with self._pool.connection() as conn:
            await control_requests.answer(conn, request.id, result, error)
            await conn.execute("select pg_notify(%s, %s)", (REPLIES, str(request.id)))

    async def _do(self, request: Request) -> dict[str, Any]:
        known = self._known.get(request.verb)
        if known is None:
            raise msgspec.ValidationError(f"unknown request {request.verb[:40]}")
        shape, perform = known
        told = msgspec.convert(request.arguments, shape)
        if request.verb in _ASKING:
            return await perform(told)
        actor = Actor(ActorKind.COMMAND, request.asked_by, source=request.asked_from)
        unit, target = getattr(told, "unit", None), getattr(told, "id", None)
        said = str(target) if target is not None else None
        async with self._audit.audited(actor, request.verb, UnitId(unit) if unit else None, said):
            return await perform(told)

    async def _reload(self, _: _Nothing) -> dict[str, Any]:
        return {"units": await self._submit.reload()}

    async def _add_unit(self, told: _NewUnit) -> dict[str, Any]:
        unit = await self._submit.create_unit(told.name, told.instance)
        return {"id": str(unit.id), "name": unit.record.name, "instance": unit.record.instance}

    async def _archive_unit(self, told: _OneUnit) -> dict[str, Any]:
        await self._submit.archive_unit(UnitId(told.unit))
        return {}

    async def _release_unit(self, told: _OneUnit) -> dict[str, Any]:
        self._submit.release_unit(UnitId(told.unit))
        return {}

    async def _rotate_secret(self, told: _OneUnit) -> dict[str, Any]:
        return {"previousValidUntil": await self._submit.rotate_secret(UnitId(told.unit))}

    async def _replay(self, told: _Since) -> dict[str, Any]:
        unit = UnitId(told.unit) if told.unit is not None else None
        return {"entries": await self._submit.replay(told.since, unit)}

    async def _replay_dead_letter(self, told: _OneLetter) -> dict[str, Any]:
        await self._submit.replay_dead_letter(told.id)
        return {}

    async def _reconcile(self, told: _Since) -> dict[str, Any]:
        """Begin only: reading may take hours, and others ask too. How it goes is asked again and again."""
        reconciler = self._known_reconciler()
        if told.unit is None:
            return {"units": reconciler.begin_all(told.since)}
        reconciler.begin(self._submit.find(UnitId(told.unit)).id, told.since)
        return {"units": 1}

    async def _reconcile_progress(self, told: _UnitOrAll) -> dict[str, Any]:
        """The camel-cased fields of ``zapline.supervisors.reconciliation.run.Progress``."""
        found = self._known_reconciler().progress(UnitId(told.unit) if told.unit is not None else None)
        return {
            "units": found.units,
            "running": found.running,
            "failures": found.failures,
            "windows": found.windows,
            "windowsDone": found.windows_done,
            "pages": found.pages,
            "records": found.records,
            "statuses": found.statuses,
            "repaired": found.repaired,
            "failed": [{"unit": unit, "error": error} for unit, error in found.failed],
            "reached": found.reached,
        }

    def _known_reconciler(self) -> Reconciler:
        if self._reconciler is None:
            raise LocalError("this daemon does not reconcile")
        return self._reconciler
