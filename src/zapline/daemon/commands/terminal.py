"""How commands speak: tables and JSON on standard output, one clear line for what went wrong on standard error."""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from zapline.domain.errors import LocalError, ZaplineError

T = TypeVar("T")

FAILED = 1
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Commands(TyperGroup):
    """A group whose commands end our own errors in one line and exit code 1; usage errors stay 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ZaplineError as error:
            fail(error)
        except BaseExceptionGroup as group:
            # What runs in a nursery comes out in a group.
            ours, others = group.split(ZaplineError)
            if ours is None or others is not None:
                raise
            fail(*_leaves(ours))
        raise typer.Exit(FAILED)


def group(sentence: str) -> typer.Typer:
    """A named group of commands."""
    return typer.Typer(
        cls=Commands,
        help=sentence,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )


def run(work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run a command's asynchronous part."""
    import trio

    return trio.run(work, *args)


def say(text: str = "") -> None:
    typer.echo(text)


def progress(text: str) -> None:
    """A line for people who wait; not part of the result."""
    typer.echo(text, err=True)


def fail(*errors: BaseException) -> None:
    from zapline.domain.privacy.masking import mask_text, mask_url

    for error in errors:
        typer.echo(f"zapline: {mask_text(mask_url(str(error)))}", err=True)


def show_json(value: object) -> None:
    say(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def show_table(head: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Columns as wide as their longest cell; ``empty`` is said where there is no row."""
    if not rows:
        say(empty)
        return
    cells = [[str(cell if cell is not None else "-") for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def database_url() -> str:
    """Of the database itself: behind a pooler in transaction mode a role would not stay ours.

    Raises ConfigurationError.
    """
    from zapline.daemon.settings import DatabaseSettings, load

    settings = load(DatabaseSettings)
    return (settings.database_direct_url or settings.database_url).get_secret_value()


def ask(do: str, arguments: dict[str, Any], timeout: float = 15.0) -> dict[str, Any]:
    """Have the running daemon do something; its result. Raises ZaplineError."""
    from zapline.daemon.control_client import ask_daemon

    return run(ask_daemon, database_url(), do, arguments, timeout)


def uuid_of(text: str) -> str:
    """A unit's id as it was typed. Raises LocalError."""
    from uuid import UUID

    try:
        return str(UUID(text))
    except ValueError:
        raise LocalError(f"{text!r} is not a unit's id; `zapline units list` shows them") from None


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
