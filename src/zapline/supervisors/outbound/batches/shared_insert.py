"""Queues messages that are submitted at about the same time in one statement."""

from collections.abc import Sequence
from uuid import UUID

from zapline.sql.outbound import outbox
from zapline.sql.outbound.outbox import QueuedMessage
from zapline.sql.postgres.connection import Connection
from zapline.sql.postgres.database_errors import StatementFailed, lost_race
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.outbound.batches.shared_statement import Interrupted, SharedStatement

_RACE_TRIES = 3
_Queued = tuple[QueuedMessage | None, bool]


class SharedInsert:
    """One for all units."""

    def __init__(self, pool: Pool) -> None:
        self._shared: SharedStatement[tuple[UUID, bytes], _Queued] = SharedStatement(pool, _insert)

    async def enqueue(self, id: UUID, encoded: bytes) -> _Queued:
        """Queue one message, as ``outbox.encode_message`` has made it, and return whether it can be read back.

        None: its client id is taken, perhaps by this very message, where an earlier try was not answered. Raises what
        the connection raises. When cancelled, it may have been queued.
        """
        run = self._shared.run
        for _ in range(_RACE_TRIES - 1):
            try:
                return await run((id, encoded))
            except StatementFailed as failure:  # nothing was changed
                if not lost_race(failure.sqlstate):
                    raise
            except Interrupted:
                run = self._shared.run_alone  # if it was queued, its client id is taken now
        return await run((id, encoded))


async def _insert(
    conn: Connection, messages: Sequence[tuple[UUID, bytes]], lock_timeout_ms: int | None
) -> list[_Queued]:
    queued = await outbox.enqueue_encoded(conn, (encoded for _, encoded in messages), lock_timeout_ms)
    present = await outbox.list_present(conn, list(queued)) if queued else set()
    return [(queued.get(id), id in present) for id, _ in messages]
