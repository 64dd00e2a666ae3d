"""``zapline dead-letters`` and ``zapline replay``: dead letters, and what the journal still holds."""

import time
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from zapline.daemon.commands.date_times import iso, parse_time
from zapline.daemon.commands.terminal import (
    AsJson,
    ask_daemon,
    command_group,
    echo,
    echo_progress,
    echo_rows,
    parse_unit_id,
    read_database,
)

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("Webhooks that could not be used, each kept with its reason.")

REPLAY_SECONDS = 600.0
"""A day of a busy journal is marked in minutes."""


@app.command("list")
def list_letters(
    unit: Annotated[str | None, typer.Option(help="Only this unit's.")] = None,
    before: Annotated[int | None, typer.Option(help="Only those with a smaller id: the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the newest first. Bodies and phones are not shown.

    \b
    Example: zapline dead-letters list --limit 20
    """
    rows = read_database(_read, UUID(parse_unit_id(unit)) if unit else None, before, limit)
    keys = ("id", "unit", "reason", "event", "size", "receivedAt", "revivedAt", "detail")
    head = ("ID", "UNIT", "REASON", "EVENT", "BYTES", "RECEIVED", "REPLAYED", "DETAIL")
    echo_rows(rows, keys, head, "There are no dead letters.", as_json)


async def _read(conn: "Connection", unit: UUID | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    from zapline.domain.privacy.masking import sanitize_error
    from zapline.sql.health.dead_letters import list_dead_letters

    return [
        {
            "id": row.id,
            "unit": str(row.unit_id),
            "reason": row.reason,
            "event": sanitize_error(row.event) if row.event else None,
            "size": row.size,
            "hasBody": row.has_raw,
            "receivedAt": iso(row.received_at),
            "revivedAt": iso(row.revived_at),
            "givenUpAt": iso(row.given_up_at),
            "detail": sanitize_error(row.detail) if row.detail else None,
        }
        for row in await list_dead_letters(conn, unit, before, limit)
    ]


@app.command("replay")
def replay_letter(
    ids: Annotated[list[int], typer.Argument(metavar="ID...", help="Ids as `zapline dead-letters list` shows them.")],
) -> None:
    """Give dead letters to their units again, after what was wrong with them has been mended.

    \b
    Example: zapline dead-letters replay 17 18
    """
    for id in ids:
        ask_daemon("replay-dead-letter", {"id": id})
        echo(f"Dead letter {id} was given to its unit again.")


def replay(
    since: Annotated[str, typer.Option(help="A time (2026-11-22T10:00:00Z) or a span until now (30m, 2h, 1d).")],
    unit: Annotated[str | None, typer.Option(help="Only this unit's webhooks.")] = None,
) -> None:
    """Store again what the journal still holds, after the database was restored. Nothing is stored twice.

    \b
    Example: zapline replay --since 2h
    """
    start = parse_time(since, time.time())
    arguments: dict[str, Any] = {"since": start} | ({"unit": parse_unit_id(unit)} if unit else {})
    echo_progress(f"Asking the daemon to replay what was received since {iso(start)} ...")
    entries = ask_daemon("replay", arguments, REPLAY_SECONDS)["entries"]
    echo(f"{entries} webhooks of the journal are being stored again; /health shows the journal's depth.")
