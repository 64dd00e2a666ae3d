"""Changes a unit after it was made: its name and settings, pause and resume, secret, quarantine, its end."""

from collections.abc import Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import structlog

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import units
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.unit_commands import InvalidUnit, Submit, UnknownUnit

_LOG = structlog.get_logger(scope="Units")
MOST_DAYS = 36_500
"""A hundred years are for ever."""


class SecretChanged(LocalError):
    """The unit's secret is of another generation than who asks believes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is to change; None: it stays. The days count unless ``keep_retention``; None of them: for ever."""

    name: str | None = None
    time_zone: str | None = None
    retention_days: int | None = None
    keep_retention: bool = True


class UnitChanges:
    """One for the process. All may be asked again; all raise UnknownUnit, and RemoteError where the database is away.

    ``renewed`` is told of a unit whose sender must read its limits again, and may have something to send.
    """

    def __init__(self, submit: Submit, pool: Pool, renewed: Callable[[UnitId], None] = lambda unit: None) -> None:
        self._submit = submit
        self._pool = pool
        self._renewed = renewed

    async def change(self, unit: UnitId, asked: Settings) -> Unit:
        """Change a unit's settings. Raises InvalidUnit."""
        name = asked.name.strip() if asked.name is not None else None
        if name is not None and (not 1 <= len(name) <= 200 or "\0" in name):
            raise InvalidUnit("a unit's name has 1 to 200 characters", "name")
        if asked.time_zone is not None and not is_time_zone(asked.time_zone):
            raise InvalidUnit("a time zone is a name of the IANA time zone database, as America/Sao_Paulo", "timeZone")
        if asked.retention_days is not None and not 1 <= asked.retention_days <= MOST_DAYS:
            raise InvalidUnit(f"messages are kept for 1 to {MOST_DAYS} days", "retentionDays")
        self._submit.find(unit)
        async with self._pool.connection() as conn:
            await units.change_unit(conn, unit, name, asked.time_zone, asked.retention_days, keep=asked.keep_retention)
        return await self._renew(unit)

    async def pause(self, unit: UnitId) -> Unit:
        """Send nothing until it is resumed; a call that is under way comes to its end. What comes in is stored."""
        return await self._pause(unit, True)

    async def resume(self, unit: UnitId) -> Unit:
        """Let what waits leave again."""
        return await self._pause(unit, False)

    async def _pause(self, unit: UnitId, paused: bool) -> Unit:
        self._submit.find(unit)
        async with self._pool.connection() as conn:
            await units.pause_unit(conn, unit, paused)
        _LOG.info("Sending is {state}", state="paused" if paused else "resumed", unit=str(unit))
        found = await self._renew(unit)
        self._submit.tell(found)
        return found

    async def archive(self, unit: UnitId) -> float:
        """Close a unit: its phone is unlinked, its rows stay; when that was done (UTC seconds)."""
        async with self._pool.connection() as conn:
            known = await units.find_archived(conn, unit)
        if known is not None:
            return known
        await self._submit.archive_unit(unit)
        async with self._pool.connection() as conn:
            known = await units.find_archived(conn, unit)
        if known is None:
            raise UnknownUnit("there is no such unit")
        return known

    async def rotate_secret(self, unit: UnitId, generation: int | None = None) -> tuple[int, float | None]:
        """Give the unit a new webhook secret: its generation, and until when the old one is valid (UTC seconds).

        ``generation``: the one it is to have, so that the same may be asked again; None: the next. Raises
        SecretChanged where it is neither the present one nor the next, and UnitNotReady.
        """
        record = self._submit.find(unit).record
        if generation is not None and generation == record.secret_generation:
            return generation, record.previous_until
        if generation is not None and generation != record.secret_generation + 1:
            raise SecretChanged(f"the secret is of generation {record.secret_generation}; look, and ask again")
        until = await self._submit.rotate_secret(unit)
        return self._submit.find(unit).record.secret_generation, until

    def release(self, unit: UnitId) -> Unit:
        """End a quarantine; nothing happens where there is none."""
        self._submit.release_unit(unit)
        return self._submit.find(unit)

    async def _renew(self, unit: UnitId) -> Unit:
        await self._submit.reload()
        self._renewed(unit)
        return self._submit.find(unit)


def is_time_zone(name: str) -> bool:
    """Whether the IANA time zone database knows this name."""
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there; not a name; a directory
        return False
    return True
