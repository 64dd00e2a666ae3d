"""``zapline servers``: the Evolution servers. A key is read from a file or standard input, never from an argument."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import (
    AsJson,
    command_group,
    echo,
    echo_progress,
    echo_rows,
    read_database,
    run_async,
)
from zapline.domain.line.evolution_servers import DEFAULT_WEIGHT, MAX_WEIGHT

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("The Evolution servers, beside the one that EVOLUTION_API_URL names.")
ServerArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The server's name, as `zapline servers list` shows it.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key-file", metavar="FILE", help="File with the server's global key; - is standard input."),
]
Weight = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_WEIGHT, help="How many units it gets in proportion to the others' weights."),
]
_MAX_KEY = 2000
"""Characters that are read of a key, at most."""


@app.command("list")
def list_servers(as_json: AsJson = False) -> None:
    """List the servers and how many units live on each. No key is shown.

    \b
    Example: zapline servers list
    """
    from zapline.daemon.settings import use_sandbox

    if (file := use_sandbox()) is not None:
        echo_progress(f"No settings are given: these are the servers of this directory's sandbox ({file}).")
    keys = ("name", "url", "weight", "units", "pausedAt", "createdAt")
    head = ("SERVER", "URL", "WEIGHT", "UNITS", "PAUSED", "ADDED")
    echo_rows(read_database(_read), keys, head, "There is no server.", as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Small letters, digits and -; it stays.")],
    url: Annotated[str, typer.Argument(help="Where Zapline reaches it, as https://evolution-2.example.")],
    key_file: KeyFile = None,
    weight: Annotated[
        int, typer.Option(min=1, max=MAX_WEIGHT, help="How many units it gets in proportion to the others' weights.")
    ] = DEFAULT_WEIGHT,
) -> None:
    """Add an Evolution server. New units go where, for its weight, the fewest live. The daemon need not run.

    \b
    Example: zapline servers add evo-2 https://evolution-2.example --key-file /root/evo-2.key
    """
    from zapline.domain.line.evolution_servers import check_key, check_name, check_url

    name, url = check_name(name), check_url(url)
    key = check_key(_read_key(key_file))
    run_async(_add, name, url, key, weight)
    echo(f"Server {name} is added. See whether it answers and takes the key: zapline doctor")


@app.command()
def change(
    name: ServerArgument,
    url: Annotated[str | None, typer.Option(help="Its new address.")] = None,
    key_file: KeyFile = None,
    weight: Weight = None,
) -> None:
    """Change a server's address, key or weight. Its units stay on it.

    \b
    Example: zapline servers change evo-2 --weight 50
    """
    from zapline.domain.line.evolution_servers import check_key, check_url

    if url is None and key_file is None and weight is None:
        raise typer.BadParameter("say what is to be changed: --url, --key-file or --weight")
    key = check_key(_read_key(key_file)) if key_file is not None else None
    run_async(_change, name, check_url(url) if url is not None else None, key, weight, None)
    echo(f"Server {name} is changed.")


@app.command()
def pause(name: ServerArgument) -> None:
    """Give a server no new units. Those that live on it go on.

    \b
    Example: zapline servers pause evo-2
    """
    run_async(_change, name, None, None, None, True)
    echo(f"Server {name} gets no new units. Let it get some again: zapline servers resume {name}")


@app.command()
def resume(name: ServerArgument) -> None:
    """Give a server new units again.

    \b
    Example: zapline servers resume evo-2
    """
    run_async(_change, name, None, None, None, False)
    echo(f"Server {name} gets new units.")


@app.command()
def remove(name: ServerArgument) -> None:
    """Remove a server on which no unit lives.

    \b
    Example: zapline servers remove evo-2
    """
    run_async(_remove, name)
    echo(f"Server {name} is removed, and its key is forgotten.")


def _read_key(file: Path | None) -> str:
    """The key, without the line's end. Raises ConfigurationError where the file cannot be read."""
    from zapline.domain.errors import ConfigurationError

    if file is None or str(file) == "-":
        if sys.stdin.isatty():
            echo_progress("The server's global key (AUTHENTICATION_API_KEY there), then Enter:")
        return sys.stdin.readline(_MAX_KEY).strip()
    try:
        with file.open() as source:
            return source.read(_MAX_KEY).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the key file {file} cannot be read: {type(error).__name__}") from error


def _seal(name: str, key: str) -> bytes:
    """The key as it is stored. Raises ConfigurationError where there is no master key to seal it under."""
    from zapline.daemon.commands.database_settings import KeySettings
    from zapline.daemon.master_key import master_key, seal_server_key
    from zapline.daemon.settings import load

    settings = load(KeySettings)
    return seal_server_key(master_key(settings.master_key, settings.state_dir), name, key)


async def _read(conn: "Connection") -> list[dict[str, Any]]:
    from zapline.domain.line.evolution_servers import ENVIRONMENT
    from zapline.sql.units.evolution_servers import count_units, load_servers

    units, servers = await count_units(conn), {server.name: server for server in await load_servers(conn)}
    rows = []
    for name in [ENVIRONMENT, *(name for name in servers if name != ENVIRONMENT)]:
        server = servers.get(name)
        rows.append(
            {
                "name": name,
                "url": server.url if server is not None else None,
                "weight": server.weight if server is not None else DEFAULT_WEIGHT,
                "units": units.get(name, 0),
                "pausedAt": iso(server.paused_at) if server is not None else None,
                "createdAt": iso(server.created_at) if server is not None and name != ENVIRONMENT else None,
            }
        )
    return rows


async def _add(database_url: str, name: str, url: str, key: str, weight: int) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.units.evolution_servers import insert_server

    async with audited_transaction(database_url, "servers add", name) as conn:
        await insert_server(conn, name, url, _seal(name, key), weight)
    await _tell_daemon(database_url)


async def _change(
    database_url: str, name: str, url: str | None, key: str | None, weight: int | None, paused: bool | None
) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.domain.line.evolution_servers import ENVIRONMENT
    from zapline.sql.units.evolution_servers import ServerChange, change_server

    if name == ENVIRONMENT and (url is not None or key is not None):
        from zapline.domain.errors import LocalError

        raise LocalError("address and key of this server are EVOLUTION_API_URL and EVOLUTION_API_KEY")
    change = ServerChange(url, _seal(name, key) if key is not None else None, weight, paused)
    async with audited_transaction(database_url, "servers change", name) as conn:
        await change_server(conn, name, change)
    await _tell_daemon(database_url)


async def _remove(database_url: str, name: str) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.units.evolution_servers import remove_server

    async with audited_transaction(database_url, "servers remove", name) as conn:
        await remove_server(conn, name)
    await _tell_daemon(database_url)


async def _tell_daemon(database_url: str) -> None:
    """Have a running daemon read the servers; one that is started later does so by itself."""
    from zapline.daemon.control_client import DaemonNotRunning, request_daemon

    try:
        await request_daemon(database_url, "reload", {})
    except DaemonNotRunning:
        echo_progress("No daemon runs; it reads this when it starts.")
