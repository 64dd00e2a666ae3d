"""Input and output shared by all commands: tables and JSON on standard output, one line for errors on standard
error."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from typer.core import TyperGroup

from zapline.domain.errors import LocalError, ZaplineError, leaf_errors

T = TypeVar("T")

FAILED = 1
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class CommandGroup(TyperGroup):
    """Reports our own errors in one line and exits with 1; usage errors stay 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ZaplineError as error:
            echo_error(error)
        except BaseExceptionGroup as group:
            # Errors from a nursery arrive in a group.
            ours, others = group.split(ZaplineError)
            if ours is None or others is not None:
                raise
            echo_error(*leaf_errors(ours))
        raise typer.Exit(FAILED)


def command_group(sentence: str, *, completion: bool = False) -> typer.Typer:
    """A named group of commands; ``completion`` adds ``--install-completion`` for shells."""
    return typer.Typer(
        cls=CommandGroup,
        help=sentence,
        no_args_is_help=True,
        add_completion=completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def run_async(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run a command's asynchronous part, with the database's URL in front of ``args``. Raises ConfigurationError."""
    import trio

    return trio.run(work, database_url(), *args)


def read_database(read: Callable[..., Awaitable[T]], *args: Any) -> T:
    """The same for ``read``, with a connection of the engine's role in front of ``args``."""

    async def work(url: str) -> T:
        from zapline.sql.postgres.connection import connect

        async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
            return await read(conn, *args)

    return run_async(work)


def echo(text: str = "") -> None:
    typer.echo(text)


def echo_progress(text: str) -> None:
    """A line for people who wait; not part of the result."""
    typer.echo(text, err=True)


def echo_error(*errors: BaseException) -> None:
    from zapline.domain.privacy.masking import mask_secrets, mask_text

    for error in errors:
        typer.echo(f"zapline: {mask_text(mask_secrets(str(error)))}", err=True)


def echo_json(value: object) -> None:
    echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def echo_rows(
    rows: Sequence[Mapping[str, object]], keys: Sequence[str], head: Sequence[str], empty: str, as_json: bool
) -> None:
    """Rows as JSON, or these keys of them as a table."""
    if as_json:
        echo_json(rows)
    else:
        echo_table(head, [[row[key] for key in keys] for row in rows], empty)


def echo_table(head: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Columns as wide as their longest cell; ``empty`` is printed if there is no row."""
    if not rows:
        echo(empty)
        return
    cells = [[str(cell if cell is not None else "-") for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def database_url() -> str:
    """The database's own URL: behind a pooler in transaction mode a role does not last.

    Raises ConfigurationError.
    """
    from zapline.daemon.settings import DatabaseSettings, load

    settings = load(DatabaseSettings)
    return (settings.database_direct_url or settings.database_url).get_secret_value()


def ask_daemon(verb: str, arguments: dict[str, Any], timeout: float = 15.0) -> dict[str, Any]:
    """Send a control request to the running daemon; its result. Raises ZaplineError."""
    from zapline.daemon.control_client import request_daemon

    return run_async(request_daemon, verb, arguments, timeout)


def parse_unit_id(text: str) -> str:
    """A unit's id as it was typed. Raises LocalError."""
    try:
        return str(UUID(text))
    except ValueError:
        raise LocalError(f"{text!r} is not a unit's id; `zapline units list` shows them") from None


UnitArgument = Annotated[
    str, typer.Argument(metavar="UNIT", help="The unit's id, as `zapline units list` shows it.", callback=parse_unit_id)
]
UnitOption = Annotated[
    str, typer.Option("--unit", help="The unit's id, as `zapline units list` shows it.", callback=parse_unit_id)
]
