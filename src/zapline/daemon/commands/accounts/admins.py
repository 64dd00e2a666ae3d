"""``zapline admin``: the administrators. Passwords are never in arguments or in control requests."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import AsJson, command_group, echo, echo_rows, read_database, run_async
from zapline.domain.errors import LocalError

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("The administrators, who sign in to the API.")

MIN_PASSWORD = 12
"""Characters of a password that a person chose."""

Email = Annotated[str, typer.Argument(help="The e-mail address to sign in with.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it this once.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@app.command()
def add(email: Email, generate: Generate = False, password_stdin: FromStdin = False) -> None:
    """Add an administrator. The password is asked for on the terminal, unless an option says otherwise.

    \b
    Example: zapline admin add ana@example.com --generate
    """
    _set_password(email, generate, password_stdin, exists=False)


@app.command()
def password(email: Email, generate: Generate = False, password_stdin: FromStdin = False) -> None:
    """Give an administrator a new password. His sessions and his own tokens end; tokens of units stay.

    \b
    Example: zapline admin password ana@example.com
    """
    _set_password(email, generate, password_stdin, exists=True)


@app.command("list")
def list_admins(as_json: AsJson = False) -> None:
    """List the administrators.

    \b
    Example: zapline admin list
    """
    keys = ("email", "createdAt", "disabledAt")
    empty = "There is no administrator yet. Add one: zapline admin add EMAIL"
    echo_rows(read_database(_read_admins), keys, ("EMAIL", "CREATED", "DISABLED"), empty, as_json)


@app.command()
def disable(email: Email) -> None:
    """Keep an administrator out: his sessions and his own tokens end at once.

    \b
    Example: zapline admin disable ana@example.com
    """
    run_async(_set_enabled, email.strip().lower(), False)
    echo(f"{email} may not sign in any more, and what was signed in is ended.")


@app.command()
def enable(email: Email) -> None:
    """Let a disabled administrator in again, with the password he had.

    \b
    Example: zapline admin enable ana@example.com
    """
    run_async(_set_enabled, email.strip().lower(), True)
    echo(f"{email} may sign in again.")


def _set_password(email: str, generate: bool, from_stdin: bool, *, exists: bool) -> None:
    from zapline.sql.accounts.administrators import get_admin

    email = email.strip().lower()
    if email.count("@") != 1 or email.startswith("@") or email.endswith("@") or any(map(str.isspace, email)):
        raise typer.BadParameter(f"{email!r} is not an e-mail address")
    if generate and from_stdin:
        raise typer.BadParameter("--generate and --password-stdin exclude each other")
    if (read_database(get_admin, email) is not None) is not exists:
        raise _no_such_admin(email) if exists else _already_exists(email)
    chosen = _ask_password(generate, from_stdin)
    if exists:
        ended = run_async(_change_password, email, _hash(chosen))
        echo(f"{email} has a new password; {ended} sessions and tokens of the old one are ended.")
    else:
        run_async(_add_admin, email, _hash(chosen))
        echo(f"{email} may sign in: POST /admin/login.")
    if generate:
        echo(f"Password, shown only now: {chosen}")


def _no_such_admin(email: str) -> LocalError:
    return LocalError(f"there is no administrator {email}; add one: zapline admin add {email}")


def _already_exists(email: str) -> LocalError:
    return LocalError(f"{email} is an administrator already; for a new password: zapline admin password {email}")


def _ask_password(generate: bool, from_stdin: bool) -> str:
    if generate:
        import secrets

        return secrets.token_urlsafe(18)
    if from_stdin:
        chosen = sys.stdin.readline().rstrip("\r\n")
    else:
        if not sys.stdin.isatty():
            raise LocalError("there is no terminal to ask for a password; use --password-stdin or --generate")
        from getpass import getpass

        chosen = getpass("Password: ")
        if getpass("Again: ") != chosen:
            raise LocalError("the two passwords differ; nothing was changed")
    if len(chosen) < MIN_PASSWORD:
        raise LocalError(f"a password has at least {MIN_PASSWORD} characters; nothing was changed")
    return chosen


def _hash(chosen: str) -> str:
    from argon2 import PasswordHasher

    return PasswordHasher().hash(chosen)


async def _add_admin(url: str, email: str, password_hash: str) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.administrators import add_admin

    async with audited_transaction(url, "admin add", email) as conn:
        if await add_admin(conn, email, password_hash) is None:
            raise _already_exists(email)


async def _change_password(url: str, email: str, password_hash: str) -> int:
    """How many sessions and tokens were ended."""
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.access_tokens import revoke_all_admin_tokens
    from zapline.sql.accounts.administrators import set_password

    async with audited_transaction(url, "admin password", email) as conn:
        admin = await set_password(conn, email, password_hash)
        if admin is None:
            raise _no_such_admin(email)
        return await revoke_all_admin_tokens(conn, admin)


async def _set_enabled(url: str, email: str, enabled: bool) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.access_tokens import revoke_all_admin_tokens
    from zapline.sql.accounts.administrators import set_enabled

    async with audited_transaction(url, "admin enable" if enabled else "admin disable", email) as conn:
        admin = await set_enabled(conn, email, enabled)
        if admin is None:
            raise _no_such_admin(email)
        if not enabled:
            await revoke_all_admin_tokens(conn, admin)


async def _read_admins(conn: "Connection") -> list[dict[str, Any]]:
    from zapline.sql.accounts.administrators import list_admins

    return [
        {"email": admin.email, "createdAt": iso(admin.created_at), "disabledAt": iso(admin.disabled_at)}
        for admin in await list_admins(conn)
    ]
