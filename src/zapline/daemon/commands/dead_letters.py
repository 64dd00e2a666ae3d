"""``zapline dead-letters`` and ``zapline replay``: dead letters, and what the journal still holds."""

from typing import Annotated, Any

import typer

from zapline.daemon.commands.terminal import (
    AsJson,
    ask_daemon,
    command_group,
    echo,
    echo_json,
    echo_progress,
    echo_table,
    parse_unit_id,
    run_async,
)

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
    rows = run_async(_read, parse_unit_id(unit) if unit else None, before, limit)
    if as_json:
        echo_json(rows)
        return
    keys = ("id", "unit", "reason", "event", "size", "receivedAt", "revivedAt", "detail")
    head = ("ID", "UNIT", "REASON", "EVENT", "BYTES", "RECEIVED", "REPLAYED", "DETAIL")
    echo_table(head, [[row[key] for key in keys] for row in rows], "There are no dead letters.")


async def _read(url: str, unit: str | None, before: int | None, limit: int) -> list[dict[str, Any]]:
    from uuid import UUID

    from zapline.daemon.commands.date_times import iso
    from zapline.domain.privacy.masking import sanitize_error
    from zapline.sql.inbound.dead_letters import list_dead_letters
    from zapline.sql.postgres.connection import connect

    async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
        rows = await list_dead_letters(conn, UUID(unit) if unit else None, before, limit)
    return [
        {
            "id": row.id,
            "unit": str(row.unit_id),
            "reason": row.reason,
            "event": sanitize_error(row.event) if row.event else None,
            "size": row.size,
            "hasBody": row.has_raw,
            "receivedAt": iso(row.received_at.timestamp()),
            "revivedAt": iso(row.revived_at.timestamp()) if row.revived_at else None,
            "givenUpAt": iso(row.given_up_at.timestamp()) if row.given_up_at else None,
            "detail": sanitize_error(row.detail) if row.detail else None,
        }
        for row in rows
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
    import time

    from zapline.daemon.commands.date_times import iso, parse_time

    start = parse_time(since, time.time())
    arguments: dict[str, Any] = {"since": start} | ({"unit": parse_unit_id(unit)} if unit else {})
    echo_progress(f"Asking the daemon to replay what was received since {iso(start)} ...")
    entries = ask_daemon("replay", arguments, REPLAY_SECONDS)["entries"]
    echo(f"{entries} webhooks of the journal are being stored again; /health shows the journal's depth.")
