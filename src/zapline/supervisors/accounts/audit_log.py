"""Keeps the audit log: a line before a change is tried, what came of it after, and nothing secret in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import structlog
import trio

from zapline.domain.errors import LocalError, RemoteError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Actor
from zapline.domain.privacy.masking import mask_text, secret_name
from zapline.sql.accounts import audit_log
from zapline.sql.accounts.audit_log import Deed
from zapline.sql.postgres.pool import Pool

_COMPLETE_WITHIN = 5.0
"""Seconds for the second half of a line: the change is made, its maker must not wait for long."""
_LONGEST = 254
"""Characters of one value: enough to know it again."""
_MOST = 20
_LOG = structlog.get_logger(scope="Audit")

Told = str | int | float | bool | None | Sequence[str]


@dataclass(slots=True)
class Line:
    """A line that is not complete yet. ``note`` adds what its reader will want to know, masked."""

    id: int
    detail: dict[str, object] = field(default_factory=dict)

    def note(self, **fields: Told) -> None:
        """Add fields. Phones are masked, long texts cut, and what is called like a secret is left out."""
        for name, value in fields.items():
            if len(self.detail) < _MOST and not secret_name(name):
                self.detail[name] = _shown(value)


def outcome_of(error: Exception) -> int:
    """The status of an error where no request has one: of commands."""
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

    async def begin(self, actor: Actor, action: str, unit: UnitId | None = None, target: str | None = None) -> Line:
        """Write down that this is about to be tried. Raises DatabaseUnavailable: then it must not be tried."""
        async with self._pool.connection() as conn:
            return Line(await audit_log.begin(conn, _deed(actor, action, unit, target)))

    async def complete(self, line: Line, outcome: int) -> None:
        """Add what came of it. The change stands whether or not this can be stored; then the outcome stays unknown."""
        with trio.CancelScope(shield=True), trio.move_on_after(_COMPLETE_WITHIN):
            try:
                async with self._pool.connection() as conn:
                    await audit_log.complete(conn, line.id, outcome, line.detail)
                return
            except RemoteError as away:
                _LOG.warning("The outcome of a change is not in the audit log", line=line.id, error=str(away))

    async def happened(
        self, actor: Actor, action: str, outcome: int, unit: UnitId | None = None, target: str | None = None
    ) -> None:
        """Write down what is over already. Raises DatabaseUnavailable."""
        async with self._pool.connection() as conn:
            await audit_log.happened(conn, _deed(actor, action, unit, target), outcome, {})

    def audited(
        self,
        actor: Actor,
        action: str,
        unit: UnitId | None = None,
        target: str | None = None,
        outcome_of: Callable[[Exception], int] = outcome_of,
    ) -> "Audited":
        """Stand around a change: ``async with log.audited(...) as line``."""
        return Audited(self, _deed(actor, action, unit, target), outcome_of)


class Audited:
    """A line is begun before the body and completed after it, also where the body raises.

    Raises DatabaseUnavailable before the body where no line can be written. A body that is cancelled leaves the
    outcome unknown, as a killed process does.
    """

    def __init__(self, log: AuditLog, deed: Deed, outcome_of: Callable[[Exception], int]) -> None:
        self._log = log
        self._deed = deed
        self._outcome_of = outcome_of
        self._line: Line | None = None

    async def __aenter__(self) -> Line:
        deed = self._deed
        self._line = await self._log.begin(deed.actor, deed.action, deed.unit, deed.target)
        return self._line

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._line is not None
        if error is None:
            await self._log.complete(self._line, 200)
        elif isinstance(error, Exception):
            await self._log.complete(self._line, self._outcome_of(error))


def _deed(actor: Actor, action: str, unit: UnitId | None, target: str | None) -> Deed:
    # An e-mail or a label is there to tell who it was: it is not masked.
    name = _plain(actor.name)
    source = _plain(actor.source) if actor.source is not None else None
    return Deed(Actor(actor.kind, name, actor.id, source), action, unit, _text(target) if target else None)


def _shown(value: Told) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return [_text(part) for part in value[:_MOST]]
    return value


def _text(text: str) -> str:
    return _plain(mask_text(text[: 2 * _LONGEST]))


def _plain(text: str) -> str:
    """Fit to be stored: no NUL, no lone surrogate, not long."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_LONGEST]
