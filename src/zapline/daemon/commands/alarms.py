"""``zapline alarms``: to whom alarms go, and tests. An address is read from standard input or given as an argument."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import (
    FAILED,
    AsJson,
    ask_daemon,
    command_group,
    echo,
    echo_progress,
    echo_rows,
    parse_unit_id,
    read_database,
    run_async,
)
from zapline.domain.errors import LocalError

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("Alarms: to whom they go by e-mail, webhook or WhatsApp, and whether they arrive.")
_TEST_SECONDS = 300.0
"""For all destinations, one after the other."""
_MAX_LINE = 600


@app.command("list")
def list_destinations(as_json: AsJson = False) -> None:
    """List to whom alarms go, and whether the last one arrived. Addresses are shown in part.

    \b
    Example: zapline alarms list
    """
    keys = ("id", "kind", "to", "language", "triedAt", "error")
    head = ("ID", "KIND", "TO", "LANGUAGE", "TOLD", "ERROR")
    echo_rows(read_database(_read), keys, head, "Alarms go to nobody. See: zapline alarms add --help", as_json)


@app.command()
def add(
    kind: Annotated[str, typer.Argument(help="email, webhook, or line for a WhatsApp message by a unit's own line.")],
    to: Annotated[
        str,
        typer.Argument(help="An address, a URL or a phone; - reads it from standard input, as a URL with a secret."),
    ],
    language: Annotated[str, typer.Option(help="en, pt-BR or es.")] = "en",
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", metavar="UNIT", help="Of a line: a unit whose line may tell it; may be repeated."),
    ] = None,
) -> None:
    """Have alarms go to somebody. The daemon need not run.

    \b
    Example: zapline alarms add email oncall@example.com --language pt-BR
    """
    from zapline.domain.alarms.destinations import DestinationKind
    from zapline.domain.ids import UnitId
    from zapline.supervisors.alarms.alarm_commands import AskedDestination

    try:
        chosen = DestinationKind(kind)
    except ValueError:
        raise typer.BadParameter("is email, webhook or line", param_hint="KIND") from None
    if to == "-":
        if sys.stdin.isatty():
            echo_progress("The address, then Enter:")
        to = sys.stdin.readline(_MAX_LINE).strip()
    units = tuple(UnitId(UUID(parse_unit_id(each))) for each in unit or ())
    secret = run_async(_add, AskedDestination(chosen, to, language, units))
    echo("Alarms go there, too. See whether one arrives: zapline alarms test")
    if secret is not None:
        echo_progress("It signs each call, and is shown this once:")
        echo(secret)


@app.command()
def remove(id: Annotated[str, typer.Argument(metavar="ID", help="As `zapline alarms list` shows it.")]) -> None:
    """Have no more alarms go to somebody.

    \b
    Example: zapline alarms remove 0b8f0a9e-5d4c-4e0b-9c55-7d1a5ee0f7aa
    """
    run_async(_remove, _parse(id))
    echo("No more alarms go there.")


@app.command("test")
def send_test(
    id: Annotated[str | None, typer.Argument(metavar="ID", help="One destination; all of them without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Have the daemon send a test to one destination or to all; fails where one is not reached.

    \b
    Example: zapline alarms test
    """
    asked = {} if id is None else {"id": str(_parse(id))}
    results = ask_daemon("test-alarms", asked, timeout=_TEST_SECONDS)["results"]
    rows = [{**each, "result": "told" if each["error"] is None else f"failed: {each['error']}"} for each in results]
    echo_rows(rows, ("id", "to", "result"), ("ID", "TO", "RESULT"), "Alarms go to nobody.", as_json)
    if not results or any(each["error"] for each in results):
        raise typer.Exit(FAILED)


def _parse(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise LocalError(f"{text!r} is no destination's id; `zapline alarms list` shows them") from None


async def _read(conn: "Connection") -> list[dict[str, Any]]:
    from zapline.sql.health.alarms import load_destinations

    return [
        {
            "id": str(each.id),
            "kind": each.kind.value,
            "to": each.shown,
            "language": each.language,
            "units": [str(unit) for unit in each.units],
            "createdAt": iso(each.created_at),
            "triedAt": iso(each.tried_at),
            "error": each.error,
        }
        for each in await load_destinations(conn)
    ]


async def _add(database_url: str, asked: Any) -> str | None:
    from functools import partial

    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.daemon.commands.database_settings import AlarmTargetSettings
    from zapline.daemon.master_key import alarm_key, master_key, seal_alarm_target
    from zapline.daemon.settings import load
    from zapline.domain.alarms.destinations import DestinationKind
    from zapline.domain.crm_webhook_signature import format_secret
    from zapline.sql.units.units import load_units
    from zapline.supervisors.alarms.alarm_commands import TargetPolicy, checked_target, store_destination

    settings = load(AlarmTargetSettings)
    target = checked_target(asked, TargetPolicy(settings.default_region, settings.hook_private_hosts))
    key, id = master_key(settings.master_key, settings.state_dir), uuid4()
    async with audited_transaction(database_url, "alarms add", str(id)) as conn:
        known = {unit.id for unit in await load_units(conn) if unit.archived_at is None}
        if not set(asked.units) <= known:
            raise LocalError("there is no such unit; `zapline units list` shows them")
        await store_destination(conn, id, asked, target, partial(seal_alarm_target, key), time.time())
    if asked.kind is DestinationKind.EMAIL and not settings.smtp_host:
        echo_progress("No SMTP server is set yet: set ZAPLINE_SMTP_HOST and ZAPLINE_SMTP_FROM for the daemon.")
    return format_secret(alarm_key(key, id, 1)) if asked.kind is DestinationKind.WEBHOOK else None


async def _remove(database_url: str, id: UUID) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.health.alarms import delete_destination

    async with audited_transaction(database_url, "alarms remove", str(id)) as conn:
        if not await delete_destination(conn, id):
            raise LocalError("there is no such destination; `zapline alarms list` shows them")
