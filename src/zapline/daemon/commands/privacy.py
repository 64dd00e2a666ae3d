"""``zapline privacy``: export and erasure of a person, and how long a unit keeps its messages."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from zapline.daemon.commands.terminal import (
    AsJson,
    UnitOption,
    ask_daemon,
    command_group,
    echo,
    echo_json,
    echo_progress,
    parse_unit_id,
    read_database,
    run_async,
)
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("What is held of people: export, erasure, and for how long it is kept.")

Phone = Annotated[str | None, typer.Option(help="The person's phone in any spelling, or lid: and digits.")]
Contact = Annotated[str | None, typer.Option(help="Or the id of a contact or a conversation.")]
POLL_SECONDS = 0.5
"""Seconds between two queries for a job's state."""


@app.command()
def export(
    unit: UnitOption,
    phone: Phone = None,
    contact: Contact = None,
    out: Annotated[
        Path | None, typer.Option(help="A file to write to, for its owner alone; else standard output.")
    ] = None,
) -> None:
    """Write everything that is held of one person, as one JSON object.

    \b
    Example: zapline privacy export --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --phone "+55 11 99999-0001"
    """
    _require_one(phone, contact)
    run_async(_export, UnitId(UUID(unit)), phone, contact, out)
    if out is not None:
        echo_progress(f"Written to {out}.")


@app.command()
def erase(
    unit: UnitOption,
    phone: Phone = None,
    contact: Contact = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase a person from a unit, under all his names; it cannot be undone.

    \b
    Example: zapline privacy erase --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --phone "+55 11 99999-0001" --yes
    """
    from zapline.domain.privacy.masking import mask_phone

    _require_one(phone, contact)
    person = mask_phone(phone) if phone is not None else contact
    if not yes:
        typer.confirm(f"Erase everything that is held of {person} in unit {unit}? It cannot be undone.", abort=True)
    contact_argument = {"phone": phone} if phone is not None else {"contact": parse_unit_id(contact or "")}
    job = ask_daemon("erase-person", {"unit": unit} | contact_argument)["erasure"]
    echo_progress(f"Erasing {person}; should this command end, the daemon goes on ...")
    erasure = run_async(_wait_for_erasure, unit, job)
    if as_json:
        echo_json(erasure)
        return
    counts = ", ".join(f"{count} {what}" for what, count in sorted(erasure["counts"].items()))
    echo(f"Erased ({job}): {counts or 'nothing was held'}.")


@app.command()
def retention(
    unit: UnitOption,
    days: Annotated[int | None, typer.Option(min=1, max=36500, help="Delete what is older than so many days.")] = None,
    forever: Annotated[bool, typer.Option("--forever", help="Delete nothing because of its age.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show for how long a unit keeps its messages, or change it.

    \b
    Example: zapline privacy retention --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --days 365 --yes
    """
    if days is not None and forever:
        raise typer.BadParameter("--days and --forever exclude each other")
    if days is None and not forever:
        current = read_database(_read_retention, UUID(unit))
        echo(f"Unit {unit} keeps its messages {f'for {current} days' if current is not None else 'for ever'}.")
        return
    if days is not None and not yes:
        typer.confirm(f"Delete for good what unit {unit} holds that is older than {days} days?", abort=True)
    ask_daemon("keep-messages", {"unit": unit, "days": days})
    echo(f"Unit {unit} keeps its messages {f'for {days} days' if days is not None else 'for ever'}.")


def _require_one(phone: str | None, contact: str | None) -> None:
    if (phone is None) is (contact is None):
        raise typer.BadParameter("give either --phone or --contact")


async def _export(url: str, unit: UnitId, phone: str | None, contact: str | None, out: Path | None) -> None:
    import os
    import time
    from contextlib import aclosing

    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.daemon.commands.database_settings import RegionSettings
    from zapline.daemon.settings import load
    from zapline.domain.privacy.masking import mask_phone
    from zapline.sql.postgres.pool import Pool
    from zapline.sql.privacy import export
    from zapline.supervisors.privacy.erasure_jobs import UnknownContact, canonical_name

    names = [canonical_name(phone, load(RegionSettings).default_region)] if phone is not None else []
    async with audited_transaction(url, "export-person", mask_phone(phone) if phone is not None else contact, unit):
        pass  # audited before anything is read
    async with Pool.open(url, size=1, role="zapline_api") as pool:
        person = await export.find_person(pool, unit, names, UUID(parse_unit_id(contact)) if contact else None)
        if person is None:
            raise UnknownContact("the unit has no such contact")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        target = os.fdopen(os.open(out, flags, 0o600), "wb") if out is not None else sys.stdout.buffer
        async with aclosing(export.export_person(pool, person, time.time())) as chunks:
            async for chunk in chunks:
                target.write(chunk)
        target.flush()
        if out is not None:
            target.close()


async def _wait_for_erasure(url: str, unit: str, job: str) -> dict[str, Any]:
    """The final state of the job; reports what it waits for."""
    import trio

    from zapline.sql.postgres.pool import Pool
    from zapline.sql.privacy.erasure import list_erasures

    reported = None
    async with Pool.open(url, size=1, role="zapline_api") as pool:
        while True:
            erasures = await list_erasures(pool, UnitId(UUID(unit)), None, 1, UUID(job))
            if not erasures:
                raise LocalError("the job is gone; ask again")
            if erasures[0].state == "done":
                return {"id": job, "state": "done", "counts": erasures[0].counts}
            if erasures[0].waits_for != reported:
                reported = erasures[0].waits_for
                echo_progress(f"It waits: {reported}." if reported else "It goes on ...")
            await trio.sleep(POLL_SECONDS)


async def _read_retention(conn: "Connection", unit: UUID) -> int | None:
    from zapline.sql.units.units import load_units

    for record in await load_units(conn):
        if record.id == unit:
            return record.retention_days
    raise LocalError(f"there is no unit {unit}; `zapline units list` shows them")
