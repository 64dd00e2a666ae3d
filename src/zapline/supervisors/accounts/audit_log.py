"""Writes the audit log: an entry before each change, its outcome afterwards, and nothing secret in it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.principals import AuditActor
from zapline.domain.privacy.masking import is_secret_name, mask_text
from zapline.sql.accounts import audit_log
from zapline.sql.accounts.audit_log import AuditedAction
from zapline.sql.postgres.pool import Pool

_COMPLETE_WITHIN = 5.0
"""Seconds to store the outcome: the change is made, its caller must not wait long."""
_MAX_LENGTH = 254
"""Characters of one value."""
_MAX_FIELDS = 20
_LOG = structlog.get_logger(scope="Audit")

AuditValue = str | int | float | bool | None | Sequence[str]


@dataclass(slots=True)
class AuditEntry:
    """An entry without its outcome yet."""

    id: int
    detail: dict[str, object] = field(default_factory=dict)

    def note(self, **fields: AuditValue) -> None:
        """Add fields for its reader. Phones are masked, long texts cut, fields named like a secret dropped."""
        for name, value in fields.items():
            if len(self.detail) < _MAX_FIELDS and not is_secret_name(name):
                self.detail[name] = _masked(value)


def outcome_status(error: Exception) -> int:
    """The HTTP status for the error of a command, which has no response."""
    match error:
        case LocalError():
            return 409
        case RemoteError():
            return 503
    return 500


class AuditLog:
    """One for the process, over the engine's pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(
        self, actor: AuditActor, action: str, unit: UnitId | None = None, target: str | None = None
    ) -> AuditEntry:
        """Write an entry before a change. Raises DatabaseUnavailable: then the change must not be made."""
        async with self._pool.connection() as conn:
            return AuditEntry(await audit_log.begin_entry(conn, _action(actor, action, unit, target)))

    async def complete(self, entry: AuditEntry, outcome: int) -> None:
        """Store the outcome of a change. If the database is away, the outcome stays unknown."""
        with trio.CancelScope(shield=True), trio.move_on_after(_COMPLETE_WITHIN):
            try:
                async with self._pool.connection() as conn:
                    await audit_log.complete_entry(conn, entry.id, outcome, entry.detail)
                return
            except RemoteError as away:
                _LOG.warning("The outcome of a change is not in the audit log", line=entry.id, error=str(away))

    async def record(
        self, actor: AuditActor, action: str, outcome: int, unit: UnitId | None = None, target: str | None = None
    ) -> None:
        """Write an entry with its outcome. Raises DatabaseUnavailable."""
        async with self._pool.connection() as conn:
            await audit_log.insert_completed(conn, _action(actor, action, unit, target), outcome, {})

    @asynccontextmanager
    async def audited(
        self,
        actor: AuditActor,
        action: str,
        unit: UnitId | None = None,
        target: str | None = None,
        outcome_status: Callable[[Exception], int] = outcome_status,
    ) -> AsyncIterator[AuditEntry]:
        """Write an entry before the body, a change, and its outcome after it, also if the body raises.

        Raises DatabaseUnavailable before the body if no entry can be written. A cancelled body leaves the outcome
        unknown, as a killed process does.
        """
        entry = await self.begin(actor, action, unit, target)
        try:
            yield entry
        except BaseException as error:
            if isinstance(error, Exception):
                await self.complete(entry, outcome_status(error))
            raise
        await self.complete(entry, 200)


AuditedChange = AbstractAsyncContextManager[AuditEntry]
"""What ``AuditLog.audited`` returns."""


def _action(actor: AuditActor, action: str, unit: UnitId | None, target: str | None) -> AuditedAction:
    # The name (an e-mail or a label) tells who it was: it is not masked.
    name = _storable(actor.name)
    source = _storable(actor.source) if actor.source is not None else None
    masked = AuditActor(actor.kind, name, actor.id, source)
    return AuditedAction(masked, action, unit, _text(target) if target else None)


def _masked(value: AuditValue) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return [_text(item) for item in value[:_MAX_FIELDS]]
    return value


def _text(text: str) -> str:
    return _storable(mask_text(text[: 2 * _MAX_LENGTH]))


def _storable(text: str) -> str:
    """Make the text storable: no NUL, no lone surrogate, limited length."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_MAX_LENGTH]
