"""``zapline units``: lists units, and has the daemon add, rename, pause, archive or release them, or rotate a
secret."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import (
    AsJson,
    UnitArgument,
    ask_daemon,
    command_group,
    echo,
    echo_json,
    echo_progress,
    echo_rows,
    read_database,
)
from zapline.domain.line.webhook_registration import WebhookRegistrationMode

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("The units: one WhatsApp line each.")


@app.command("list")
def list_units(as_json: AsJson = False) -> None:
    """List the units, their instances and how their lines are. No secret is shown.

    \b
    Example: zapline units list
    """
    from zapline.daemon.settings import use_sandbox

    if (file := use_sandbox()) is not None:
        echo_progress(f"No settings are given: these are the units of this directory's sandbox ({file}).")
    keys = ("id", "name", "instance", "status", "reason", "phone", "secretGeneration", "lastUpdate")
    head = ("UNIT", "NAME", "INSTANCE", "STATUS", "REASON", "PHONE", "SECRET", "UPDATED")
    echo_rows(read_database(_read), keys, head, "There is no unit yet. Add one: zapline units add NAME", as_json)


async def _read(conn: "Connection") -> list[dict[str, Any]]:
    from zapline.domain.line.reasons import STATUS_OF_PHASE
    from zapline.domain.privacy.masking import mask_phone
    from zapline.sql.units.units import load_units

    return [
        {
            "id": str(record.id),
            "name": record.name,
            "instance": record.instance,
            "status": _status(record.archived_at, record.paused_at, STATUS_OF_PHASE[record.stored.phase]),
            "pausedAt": iso(record.paused_at),
            "retentionDays": record.retention_days,
            "reason": str(record.stored.reason),
            "phone": mask_phone(record.stored.owner_jid) if record.stored.owner_jid else None,
            "secretGeneration": record.secret_generation,
            "lastUpdate": iso(record.stored.updated_at),
        }
        for record in await load_units(conn)
        if record.stored is not None
    ]


def _status(archived_at: float | None, paused_at: float | None, status: str) -> str:
    if archived_at is not None:
        return "archived"
    return f"{status}, paused" if paused_at is not None else status


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What people call the unit.")],
    instance: Annotated[str | None, typer.Option(help="Its instance on Evolution; by default one is named.")] = None,
    server: Annotated[
        str | None, typer.Option(help="The Evolution server on which it is to live; by default where there is room.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a unit. Its line is connected through the API, by scanning a QR code.

    \b
    Example: zapline units add "Loja Centro"
    """
    chosen = {"instance": instance, "server": server}
    created = ask_daemon("add-unit", {"name": name} | {key: value for key, value in chosen.items() if value})
    if as_json:
        echo_json(created)
        return
    echo(f"Unit {created['id']} ({created['name']}) with instance {created['instance']}.")
    echo(f"Connect it: POST /units/{created['id']}/whatsapp/connect, then scan the QR code.")


@app.command()
def rename(unit: UnitArgument, name: Annotated[str, typer.Argument(help="What people shall call it.")]) -> None:
    """Give a unit another name.

    \b
    Example: zapline units rename 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 "Loja Norte"
    """
    renamed = ask_daemon("rename-unit", {"unit": unit, "name": name})
    echo(f"Unit {unit} is called {renamed['name']}.")


@app.command()
def pause(unit: UnitArgument) -> None:
    """Send nothing until it is resumed; what comes in is stored, what is to be sent waits.

    \b
    Example: zapline units pause 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    ask_daemon("pause-unit", {"unit": unit})
    echo(f"Unit {unit} sends nothing. Let it go on: zapline units resume {unit}")


@app.command()
def resume(unit: UnitArgument) -> None:
    """Let a paused unit send again what has waited.

    \b
    Example: zapline units resume 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    ask_daemon("resume-unit", {"unit": unit})
    echo(f"Unit {unit} sends again.")


@app.command()
def archive(
    unit: UnitArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Close a unit: its phone is unlinked, its rows stay.

    \b
    Example: zapline units archive 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --yes
    """
    if not yes:
        typer.confirm(f"Unlink the phone of unit {unit} and close it?", abort=True)
    ask_daemon("archive-unit", {"unit": unit})
    echo(f"Unit {unit} is archived.")


@app.command("rotate-secret")
def rotate_secret(unit: UnitArgument) -> None:
    """Give a unit a new webhook secret and register it with Evolution; the old one works for a while.

    \b
    Example: zapline units rotate-secret 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    until = ask_daemon("rotate-secret", {"unit": unit})["previousValidUntil"]
    echo(f"The secret is replaced; the old one is accepted until {iso(until)}, for webhooks that are under way.")


@app.command()
def release(unit: UnitArgument) -> None:
    """End a unit's quarantine now, after its cause was mended.

    \b
    Example: zapline units release 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    ask_daemon("release-unit", {"unit": unit})
    echo(f"Unit {unit} is released.")


@app.command("renew-instance")
def renew_instance(
    unit: UnitArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a line's instance on Evolution, create it again and connect it: for a line that never opens again.

    The phone scans a new code; conversations and what waits to be sent stay.

    \b
    Example: zapline units renew-instance 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --yes
    """
    if not yes:
        typer.confirm(f"Unlink the phone of unit {unit} and make its instance anew?", abort=True)
    ask_daemon("renew-instance", {"unit": unit})
    echo(f"Unit {unit} is made anew on Evolution. Scan its code: GET /units/{unit}/whatsapp/status, or the console.")


@app.command()
def move(
    unit: UnitArgument,
    server: Annotated[str, typer.Argument(help="Its new server, as `zapline servers list` shows it.")],
    leave_behind: Annotated[
        bool, typer.Option("--leave-behind", help="Although the old server does not end the session.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Move a unit to another Evolution server: it is logged out, made anew there, and scanned again.

    Conversations and what waits to be sent stay.

    \b
    Example: zapline units move 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 evo-2 --yes
    """
    if not yes:
        typer.confirm(f"Unlink the phone of unit {unit} and move it to {server}?", abort=True)
    ask_daemon("move-unit", {"unit": unit, "server": server, "leave_behind": leave_behind}, timeout=40.0)
    echo(f"Unit {unit} lives on {server}. Scan its code: GET /units/{unit}/whatsapp/status, or the console.")


@app.command("webhook-registration")
def webhook_registration(
    unit: UnitArgument,
    mode: Annotated[WebhookRegistrationMode, typer.Argument(help="enforce: set it again; observe: only tell.")],
) -> None:
    """Say what is done about a unit's webhook that somebody changes on Evolution.

    \b
    Example: zapline units webhook-registration 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 observe
    """
    changed = ask_daemon("webhook-registration", {"unit": unit, "mode": mode.value})
    done = "set again" if changed["webhookRegistration"] == "enforce" else "told and left"
    echo(f"A changed webhook of unit {unit} is {done}.")
