"""``zapline nodes``: shows which process owns the lines, on which machine and since when."""

from typing import TYPE_CHECKING, Any

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import AsJson, command_group, echo_rows, read_database

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("The nodes: processes that own lines. One that stands by is none yet.")


@app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the nodes, how many lines each owns, and until when by the database's clock.

    \b
    Example: zapline nodes list
    """
    keys = ("id", "machine", "version", "epoch", "lines", "joinedAt", "leaseUntil", "lives", "clockAheadSeconds")
    head = ("NODE", "MACHINE", "VERSION", "EPOCH", "LINES", "JOINED", "LEASE UNTIL", "LIVES", "CLOCK AHEAD")
    echo_rows(read_database(_read), keys, head, "No process owns lines. Start one: zapline run", as_json)


async def _read(conn: "Connection") -> list[dict[str, Any]]:
    from zapline.sql.postgres.nodes import list_nodes

    return [
        {
            "id": str(node.id),
            "machine": node.name,
            "version": node.version,
            "epoch": node.epoch,
            "lines": node.units,
            "joinedAt": iso(node.joined_at),
            "leaseUntil": iso(node.expires_at),
            "lives": node.lives,
            "clockAheadSeconds": round(node.clock_offset, 3) if node.clock_offset is not None else None,
        }
        for node in await list_nodes(conn)
    ]
