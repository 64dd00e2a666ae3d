"""Executes requests of the command line: rows of a table, announced by a PostgreSQL notification."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec
import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError, ZaplineError
from zapline.domain.ids import UnitId
from zapline.domain.principals import ActorKind, AuditActor
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import control_requests
from zapline.sql.units.control_requests import REPLY_CHANNEL, ControlRequest
from zapline.supervisors.accounts.audit_log import AuditLog
from zapline.supervisors.reconciliation.scheduler import Reconciler
from zapline.supervisors.units.unit_commands import UnitCommands

VerbHandler = tuple[type[Any], Callable[[Any], Awaitable[dict[str, Any] | None]]]
"""Type of a request's arguments, and the function that executes it; its result, None: there is nothing to tell."""
_READ_ONLY_VERBS = frozenset({"reload", "reconcile-progress"})
"""Requests that change nothing; all others are written to the audit log."""
_LOG = structlog.get_logger(scope="Control")


class _NoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class _NewUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    instance: str | None = None
    server: str | None = None


class OneUnit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID


class _Since(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: float
    """Seconds since the epoch, UTC."""
    unit: UUID | None = None


class _UnitOrAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: UUID | None = None


class _OneDeadLetter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int


class ControlRequests:
    """One instance per process. ``notify`` announces requests; ``run`` executes them one after the other."""

    def __init__(
        self,
        commands: UnitCommands,
        pool: Pool,
        reconciler: Reconciler | None = None,
        audit: AuditLog | None = None,
        on_notify: Callable[[], None] = lambda: None,
        extra_verbs: Mapping[str, VerbHandler] | None = None,
        is_first: Callable[[], bool] = lambda: True,
    ) -> None:
        """``is_first``: of the processes that hear of a request, this one is to execute it."""
        self._is_first = is_first
        self._commands = commands
        self._audit = audit or AuditLog(pool)
        self._on_notify = on_notify
        self._pool = pool
        self._reconciler = reconciler
        self._wake = trio.Event()
        self._verbs: dict[str, VerbHandler] = {
            **(extra_verbs or {}),
            "reload": (_NoArguments, self._reload),
            "add-unit": (_NewUnit, self._add_unit),
            "archive-unit": (OneUnit, self._archive_unit),
            "release-unit": (OneUnit, self._release_unit),
            "renew-instance": (OneUnit, self._renew_instance),
            "rotate-secret": (OneUnit, self._rotate_secret),
            "replay": (_Since, self._replay),
            "replay-dead-letter": (_OneDeadLetter, self._replay_dead_letter),
            "reconcile": (_Since, self._reconcile),
            "reconcile-progress": (_UnitOrAll, self._reconcile_progress),
        }

    def look(self) -> None:
        """Look for requests: this process is to execute them from now on."""
        self._wake.set()

    async def notify(self, payload: str = "") -> None:
        """Look for requests soon. ``payload`` is ignored, since any database role may notify.

        Also calls ``on_notify``: a command may have changed tokens or administrators in the database itself.
        """
        self._on_notify()
        self._wake.set()

    async def run(self) -> None:
        """Execute requests until cancelled. A database failure ends one round, never the process."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if not self._is_first():
                continue
            try:
                async with self._pool.connection() as conn:
                    requests = await control_requests.list_open_requests(conn)
                for request in requests:
                    await self._answer(request)
            except RemoteError as failure:
                _LOG.warning("Requests of the command line must wait", error=str(failure))

    async def _answer(self, request: ControlRequest) -> None:
        error, result = None, {}
        try:
            result = await self._perform(request)
        except (ZaplineError, msgspec.ValidationError) as failure:
            error = str(failure)
        _LOG.info("Done by command: {verb}", verb=request.verb[:40], failed=error is not None)
        async with self._pool.connection() as conn:
            await control_requests.store_answer(conn, request.id, result, error)
            await conn.execute("select pg_notify(%s, %s)", (REPLY_CHANNEL, str(request.id)))

    async def _perform(self, request: ControlRequest) -> dict[str, Any]:
        handler = self._verbs.get(request.verb)
        if handler is None:
            raise msgspec.ValidationError(f"unknown request {request.verb[:40]}")
        arguments_type, perform = handler
        arguments = msgspec.convert(request.arguments, arguments_type)
        if request.verb in _READ_ONLY_VERBS:
            return await perform(arguments) or {}
        actor = AuditActor(ActorKind.COMMAND, request.asked_by, source=request.asked_from)
        unit, target = getattr(arguments, "unit", None), getattr(arguments, "id", None)
        target_text = str(target) if target is not None else None
        async with self._audit.audited(actor, request.verb, UnitId(unit) if unit else None, target_text):
            return await perform(arguments) or {}

    async def _reload(self, _: _NoArguments) -> dict[str, Any]:
        return {"units": await self._commands.reload()}

    async def _add_unit(self, arguments: _NewUnit) -> dict[str, Any]:
        unit = await self._commands.create_unit(arguments.name, arguments.instance, server=arguments.server)
        return {"id": str(unit.id), "name": unit.record.name, "instance": unit.record.instance}

    async def _archive_unit(self, arguments: OneUnit) -> None:
        await self._commands.archive_unit(UnitId(arguments.unit))

    async def _release_unit(self, arguments: OneUnit) -> None:
        self._commands.release_unit(UnitId(arguments.unit))

    async def _renew_instance(self, arguments: OneUnit) -> dict[str, Any]:
        return {"status": (await self._commands.renew(UnitId(arguments.unit))).status}

    async def _rotate_secret(self, arguments: OneUnit) -> dict[str, Any]:
        return {"previousValidUntil": await self._commands.rotate_secret(UnitId(arguments.unit))}

    async def _replay(self, arguments: _Since) -> dict[str, Any]:
        unit = UnitId(arguments.unit) if arguments.unit is not None else None
        return {"entries": await self._commands.replay(arguments.since, unit)}

    async def _replay_dead_letter(self, arguments: _OneDeadLetter) -> None:
        await self._commands.replay_dead_letter(arguments.id)

    async def _reconcile(self, arguments: _Since) -> dict[str, Any]:
        """Only start the run, which may take hours; the command polls its progress."""
        reconciler = self._require_reconciler()
        if arguments.unit is None:
            return {"units": reconciler.start_all(arguments.since)}
        reconciler.start_run(self._commands.find(UnitId(arguments.unit)).id, arguments.since)
        return {"units": 1}

    async def _reconcile_progress(self, arguments: _UnitOrAll) -> dict[str, Any]:
        """The camel-cased fields of ``zapline.supervisors.reconciliation.run.RunProgress``."""
        progress = self._require_reconciler().progress(UnitId(arguments.unit) if arguments.unit is not None else None)
        return {
            "units": progress.units,
            "running": progress.running,
            "failures": progress.failures,
            "windows": progress.windows,
            "windowsDone": progress.windows_done,
            "pages": progress.pages,
            "records": progress.records,
            "statuses": progress.statuses,
            "repaired": progress.repaired,
            "failed": [{"unit": unit, "error": error} for unit, error in progress.failed],
            "reached": progress.reached,
        }

    def _require_reconciler(self) -> Reconciler:
        if self._reconciler is None:
            raise LocalError("this daemon does not reconcile")
        return self._reconciler
