"""Changes that commands make themselves, without the daemon: their secrets must not be stored in a control request.

A running daemon is notified and checks access again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zapline.daemon.invoking_user import invoking_user
from zapline.domain.ids import UnitId
from zapline.sql.accounts import audit_log
from zapline.sql.accounts.audit_log import AuditedAction
from zapline.sql.postgres.connection import Connection, connect
from zapline.supervisors.leadership import CONTROL_CHANNEL


@asynccontextmanager
async def audited_transaction(
    url: str, action: str, target: str | None = None, unit: UnitId | None = None
) -> AsyncIterator[Connection]:
    """A transaction of the engine's role that also writes the audit log and notifies the daemon.

    A body that raises rolls everything back.
    """
    async with (
        await connect(url, role="zapline_engine", application_name="zapline-command") as conn,
        conn.transaction(),
    ):
        yield conn
        await audit_log.insert_completed(conn, AuditedAction(invoking_user(), action, unit, target), 200, {})
        await conn.execute("select pg_notify(%s, '')", (CONTROL_CHANNEL,))
