"""Stores what many units' batches hold in few transactions, as the recorder does: one costs nearly as much for one."""

from collections.abc import Mapping, Sequence

from zapline.domain.ids import UnitId
from zapline.domain.messages.message_secrets import SecretSealer
from zapline.sql.inbound.contact_identities import RecorderCache
from zapline.sql.inbound.recorder_transaction import record
from zapline.sql.inbound.unit_batches import UnitBatch
from zapline.sql.postgres.connection import Connection

UNITS_AT_ONCE = 12
"""Fewer than a transaction tries again of what waits in all its units together."""


async def store_side_by_side(
    conn: Connection, batches: Mapping[UnitId, Sequence[UnitBatch]], sealer: SecretSealer | None = None
) -> None:
    """Store each unit's batches in their order, the first ones of several units in one transaction, and so on."""
    units = list(batches)
    for start in range(0, len(units), UNITS_AT_ONCE):
        group, known = [batches[unit] for unit in units[start : start + UNITS_AT_ONCE]], RecorderCache()
        for step in range(max(map(len, group))):
            await record(conn, [steps[step] for steps in group if step < len(steps)], known, sealer=sealer)
