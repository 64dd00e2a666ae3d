"""What a command changes itself: secrets that have no business in a request to the daemon, in one transaction.

The daemon need not run. Where it does, it hears the bell and asks anew who may come in.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zapline.daemon.invoking_user import operator
from zapline.domain.ids import UnitId
from zapline.sql.accounts import audit_log
from zapline.sql.accounts.audit_log import Deed
from zapline.sql.postgres.connection import Connection, connect
from zapline.supervisors.leadership import CHANNEL


@asynccontextmanager
async def own_change(
    url: str, action: str, target: str | None = None, unit: UnitId | None = None
) -> AsyncIterator[Connection]:
    """A transaction of the engine's role that also writes the audit log and rings the daemon's bell.

    A body that raises undoes all of it.
    """
    async with (
        await connect(url, role="zapline_engine", application_name="zapline-command") as conn,
        conn.transaction(),
    ):
        yield conn
        await audit_log.happened(conn, Deed(operator(), action, unit, target), 200, {})
        await conn.execute("select pg_notify(%s, '')", (CHANNEL,))
