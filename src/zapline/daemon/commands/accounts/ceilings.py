"""``zapline ceilings``: what the operator lets tenants' tokens set."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zapline.daemon.commands.terminal import AsJson, command_group, echo, echo_json, read_database, run_async
from zapline.domain.tenants.ceilings import Ceilings

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("What tenants' tokens may set at most, and how many requests they make.")
_LABELS = {
    "per_minute": "Messages a minute at most",
    "burst": "Messages at once at most",
    "gap_seconds": "Seconds between two to one contact at least",
    "campaign_seconds": "Seconds between two of a campaign at least",
    "daily_cap": "Messages a day at most",
    "hooks": "Hooks of a unit or organization",
    "tokens": "Valid tokens of a unit or organization",
    "requests_per_minute": "Requests a minute of a token",
}


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show what tenants' tokens may set at most.

    \b
    Example: zapline ceilings show
    """
    _print(read_database(_load), as_json)


@app.command("set")
def change(
    per_minute: Annotated[
        float | None, typer.Option(min=0.1, max=6000, help="Messages a minute that a token may set.")
    ] = None,
    burst: Annotated[int | None, typer.Option(min=1, max=1000, help="Messages at once that a token may set.")] = None,
    gap_seconds: Annotated[
        float | None, typer.Option(min=0, max=3600, help="Seconds between two messages to one contact, at least.")
    ] = None,
    campaign_seconds: Annotated[
        float | None, typer.Option(min=0.001, max=3600, help="Seconds between two messages of campaigns, at least.")
    ] = None,
    daily_cap: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Messages a day that a token may set.")
    ] = None,
    hooks: Annotated[
        int | None, typer.Option(min=0, max=10, help="Hooks of a unit or organization that tokens may make.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Valid tokens of a unit or organization.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, max=1_000_000, help="Requests of a token that has no limit of its own.")
    ] = None,
    none: Annotated[
        list[str] | None, typer.Option("--none", help="Take this ceiling away, as burst; give it once for each.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change those ceilings that are given; the others stay. A running daemon follows at once.

    \b
    Example: zapline ceilings set --per-minute 30 --campaign-seconds 5 --none burst
    """
    given = {
        "per_minute": per_minute,
        "burst": burst,
        "gap_seconds": gap_seconds,
        "campaign_seconds": campaign_seconds,
        "daily_cap": daily_cap,
        "hooks": hooks,
        "tokens": tokens,
        "requests_per_minute": requests_per_minute,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name in (each.replace("-", "_") for each in none or ()):
        if name not in _LABELS:
            raise typer.BadParameter(f"there is no ceiling {name}", param_hint="--none")
        changes[name] = None
    _print(run_async(_change, changes), as_json)


def _print(ceilings: Ceilings, as_json: bool) -> None:
    if as_json:
        names = {name: name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:]) for name in _LABELS}
        echo_json({names[name]: value for name, value in asdict(ceilings).items()})
        return
    for name, label in _LABELS.items():
        value = getattr(ceilings, name)
        echo(f"{label + ':':45} {value if value is not None else 'no ceiling'}")


async def _load(conn: "Connection") -> Ceilings:
    from zapline.sql.accounts.ceilings import load_ceilings

    return await load_ceilings(conn)


async def _change(url: str, changes: dict[str, Any]) -> Ceilings:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.ceilings import load_ceilings, store_ceilings

    async with audited_transaction(url, "ceilings set", ", ".join(changes)) as conn:
        wanted = replace(await load_ceilings(conn), **changes)
        await store_ceilings(conn, wanted)
        return wanted
