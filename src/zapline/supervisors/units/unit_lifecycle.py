"""Changes an existing unit: settings, pause and resume, webhook secret, quarantine, archiving. Safe to repeat."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

import structlog

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.line.webhook_registration import WebhookRegistrationMode
from zapline.domain.text import Sentence
from zapline.sql.outbound import campaign_brake
from zapline.sql.postgres.pool import Pool
from zapline.sql.units import units
from zapline.supervisors.inbound.unit_state import Unit
from zapline.supervisors.units.unit_commands import InvalidUnit, UnitCommands, UnknownUnit

_LOG = structlog.get_logger(scope="Units")
MAX_RETENTION_DAYS = 36_500
"""A hundred years."""


class SecretChanged(LocalError):
    """The unit's secret has another generation than the caller expects."""


@dataclass(frozen=True, slots=True)
class UnitSettingsChange:
    """Values to change; None leaves them. ``retention_days`` is ignored if ``keep_retention``; None means for ever."""

    name: str | None = None
    time_zone: str | None = None
    retention_days: int | None = None
    keep_retention: bool = True
    webhook_registration: WebhookRegistrationMode | None = None


class UnitLifecycle:
    """One instance per process. All methods can be repeated; all raise UnknownUnit, and RemoteError (database down).

    ``on_changed`` is called with a unit whose sender must read its limits again and may have something to send.
    """

    def __init__(
        self, commands: UnitCommands, pool: Pool, on_changed: Callable[[UnitId], None] = lambda _: None
    ) -> None:
        self._commands = commands
        self._pool = pool
        self._on_changed = on_changed

    async def change(self, unit: UnitId, change: UnitSettingsChange) -> Unit:
        """Change a unit's settings. Raises InvalidUnit."""
        name = change.name.strip() if change.name is not None else None
        if name is not None and (not 1 <= len(name) <= 200 or "\0" in name):
            raise InvalidUnit("a unit's name has 1 to 200 characters", "name")
        if change.time_zone is not None and not is_time_zone(change.time_zone):
            raise InvalidUnit("a time zone is a name of the IANA time zone database, as America/Sao_Paulo", "timeZone")
        if change.retention_days is not None and not 1 <= change.retention_days <= MAX_RETENTION_DAYS:
            raise InvalidUnit(
                Sentence("messages are kept for 1 to {limit} days", limit=MAX_RETENTION_DAYS), "retentionDays"
            )
        self._commands.find(unit)
        async with self._pool.connection() as conn:
            await units.change_unit(
                conn,
                unit,
                name,
                change.time_zone,
                change.retention_days,
                keep=change.keep_retention,
                webhook_registration=change.webhook_registration,
            )
        return await self._reload(unit)

    async def pause(self, unit: UnitId) -> Unit:
        """Stop sending until ``resume``; a send in progress completes. Incoming messages are still stored."""
        return await self._pause(unit, True)

    async def resume(self, unit: UnitId) -> Unit:
        """Start sending again."""
        return await self._pause(unit, False)

    async def _pause(self, unit: UnitId, paused: bool) -> Unit:
        self._commands.find(unit)
        async with self._pool.connection() as conn:
            await units.pause_unit(conn, unit, paused)
        _LOG.info("Sending is {state}", state="paused" if paused else "resumed", unit=str(unit))
        paused_unit = await self._reload(unit)
        self._commands.publish_status(paused_unit)
        return paused_unit

    async def release_campaigns(self, unit: UnitId) -> Unit:
        """Let campaigns go on that are held because of what WhatsApp told; nothing to do where they are not."""
        self._commands.find(unit)
        async with self._pool.connection() as conn:
            released = await campaign_brake.release_campaigns(conn, unit)
        if released:
            _LOG.info("Campaigns are released", unit=str(unit))
        active = await self._reload(unit)
        self._commands.publish_status(active)
        return active

    async def archive(self, unit: UnitId) -> float:
        """Archive a unit: its phone is unlinked, its rows stay; return when that was done (UTC seconds)."""
        async with self._pool.connection() as conn:
            archived_at = await units.find_archive_time(conn, unit)
        if archived_at is not None:
            return archived_at
        await self._commands.archive_unit(unit)
        async with self._pool.connection() as conn:
            archived_at = await units.find_archive_time(conn, unit)
        if archived_at is None:
            raise UnknownUnit("there is no such unit")
        return archived_at

    async def rotate_secret(self, unit: UnitId, generation: int | None = None) -> tuple[int, float | None]:
        """Give the unit a new webhook secret; return its generation, and until when the old one is valid (UTC seconds).

        ``generation`` is the one it should get, which makes the call repeatable; None is the next one. Raises
        SecretChanged if it is neither the current generation nor the next, and UnitNotReady.
        """
        record = self._commands.find(unit).record
        if generation is not None and generation == record.secret_generation:
            return generation, record.previous_until
        if generation is not None and generation != record.secret_generation + 1:
            what = Sentence(
                "the secret is of generation {number}; look, and ask again", number=record.secret_generation
            )
            raise SecretChanged(what)
        until = await self._commands.rotate_secret(unit)
        return self._commands.find(unit).record.secret_generation, until

    def release(self, unit: UnitId) -> Unit:
        """End a quarantine, if there is one."""
        self._commands.release_unit(unit)
        return self._commands.find(unit)

    async def _reload(self, unit: UnitId) -> Unit:
        await self._commands.reload()
        self._on_changed(unit)
        return self._commands.find(unit)


def is_time_zone(name: str) -> bool:
    """Whether the IANA time zone database knows this name, and means one place by it everywhere."""
    return name in _time_zones()


@cache
def _time_zones() -> frozenset[str]:
    """The names of all zones, without those that mean the machine's own, or none."""
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})
