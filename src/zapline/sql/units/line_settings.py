"""Reads and writes how a unit's line is to behave, and its proxy, whose credentials are encrypted."""

from dataclasses import dataclass, field

from zapline.domain.ids import UnitId
from zapline.domain.line.line_settings import LineSettings, MarkRead
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.queries import Queries

_SQL = Queries(__name__)


@dataclass(frozen=True, slots=True)
class StoredLineSettings:
    """``version`` grows with each change; ``applied_version`` is the one that Evolution has had, None: none yet."""

    settings: LineSettings
    settings_managed: bool
    """Whether the unit says how its line behaves; else Evolution's settings are left alone."""
    proxy_managed: bool
    """Whether the unit says which proxy its line has, or that it has none; else Evolution's is left alone."""
    sealed_proxy: bytes | None = field(repr=False)
    version: int
    applied_version: int | None

    @property
    def applied(self) -> bool:
        """Whether Evolution has had exactly this."""
        return self.applied_version == self.version


async def load_line_settings(conn: Connection, unit: UnitId) -> StoredLineSettings | None:
    """The unit's settings; None: it says nothing, and Evolution's are left alone."""
    row = await _SQL.one(conn, "load_line_settings", unit_id=unit)
    if row is None:
        return None
    return StoredLineSettings(
        LineSettings(
            row.reject_calls,
            row.call_text,
            row.ignore_groups,
            row.always_online,
            MarkRead(row.mark_read),
            row.sync_history,
        ),
        row.settings_managed,
        row.proxy_managed,
        bytes(row.sealed_proxy) if row.sealed_proxy is not None else None,
        row.version,
        row.applied_version,
    )


async def store_line_settings(conn: Connection, unit: UnitId, settings: LineSettings) -> None:
    """Replace the settings, and leave the proxy as it is."""
    await _SQL.execute(
        conn,
        "store_line_settings",
        unit_id=unit,
        reject_calls=settings.reject_calls,
        call_text=settings.call_text,
        ignore_groups=settings.ignore_groups,
        always_online=settings.always_online,
        mark_read=settings.mark_read.value,
        sync_history=settings.sync_history,
    )


async def store_proxy(conn: Connection, unit: UnitId, sealed: bytes | None) -> None:
    """Replace the proxy; None: the line has none. The settings stay."""
    await _SQL.execute(conn, "store_proxy", unit_id=unit, sealed=sealed)


async def note_applied(conn: Connection, unit: UnitId, version: int) -> None:
    """Store that Evolution has had this version."""
    await _SQL.execute(conn, "note_applied", unit_id=unit, version=version)
