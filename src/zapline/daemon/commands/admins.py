"""``zapline admin``: the people who may sign in. Passwords never stand in arguments, nor in requests to the daemon."""

import sys
from typing import Annotated, Any

import typer

from zapline.daemon.commands.terminal import AsJson, database_url, group, run, say, show_json, show_table
from zapline.domain.errors import LocalError

app = group("The administrators, who sign in to the API.")

LEAST = 12
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
    _set(email, generate, password_stdin, known=False)


@app.command()
def password(email: Email, generate: Generate = False, password_stdin: FromStdin = False) -> None:
    """Give an administrator a new password. His sessions and his own tokens end; tokens of units stay.

    \b
    Example: zapline admin password ana@example.com
    """
    _set(email, generate, password_stdin, known=True)


@app.command("list")
def list_admins(as_json: AsJson = False) -> None:
    """List the administrators.

    \b
    Example: zapline admin list
    """
    rows = run(_read, database_url())
    if as_json:
        show_json(rows)
        return
    keys = ("email", "createdAt", "disabledAt")
    empty = "There is no administrator yet. Add one: zapline admin add EMAIL"
    show_table(("EMAIL", "CREATED", "DISABLED"), [[row[key] for key in keys] for row in rows], empty)


@app.command()
def disable(email: Email) -> None:
    """Keep an administrator out: his sessions and his own tokens end at once.

    \b
    Example: zapline admin disable ana@example.com
    """
    run(_enable, database_url(), email.strip().lower(), False)
    say(f"{email} may not sign in any more, and what was signed in is ended.")


@app.command()
def enable(email: Email) -> None:
    """Let a disabled administrator in again, with the password he had.

    \b
    Example: zapline admin enable ana@example.com
    """
    run(_enable, database_url(), email.strip().lower(), True)
    say(f"{email} may sign in again.")


def _set(email: str, generate: bool, from_stdin: bool, *, known: bool) -> None:
    email = email.strip().lower()
    if email.count("@") != 1 or email.startswith("@") or email.endswith("@") or any(map(str.isspace, email)):
        raise typer.BadParameter(f"{email!r} is not an e-mail address")
    if generate and from_stdin:
        raise typer.BadParameter("--generate and --password-stdin exclude each other")
    url = database_url()
    if run(_is_known, url, email) is not known:
        raise _unknown(email) if known else _known(email)
    chosen = _password(generate, from_stdin)
    if known:
        ended = run(_change, url, email, _hash(chosen))
        say(f"{email} has a new password; {ended} sessions and tokens of the old one are ended.")
    else:
        run(_add, url, email, _hash(chosen))
        say(f"{email} may sign in: POST /admin/login.")
    if generate:
        say(f"Password, shown only now: {chosen}")


def _unknown(email: str) -> LocalError:
    return LocalError(f"there is no administrator {email}; add one: zapline admin add {email}")


def _known(email: str) -> LocalError:
    return LocalError(f"{email} is an administrator already; for a new password: zapline admin password {email}")


def _password(generate: bool, from_stdin: bool) -> str:
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
    if len(chosen) < LEAST:
        raise LocalError(f"a password has at least {LEAST} characters; nothing was changed")
    return chosen


def _hash(chosen: str) -> str:
    from argon2 import PasswordHasher

    return PasswordHasher().hash(chosen)


async def _is_known(url: str, email: str) -> bool:
    from zapline.sql.accounts.administrators import get_admin
    from zapline.sql.postgres.connection import connect

    async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
        return await get_admin(conn, email) is not None


async def _add(url: str, email: str, password_hash: str) -> None:
    from zapline.daemon.commands.audited_changes import own_change
    from zapline.sql.accounts.administrators import add_admin

    async with own_change(url, "admin add", email) as conn:
        if await add_admin(conn, email, password_hash) is None:
            raise _known(email)


async def _change(url: str, email: str, password_hash: str) -> int:
    """How many sessions and tokens it has ended."""
    from zapline.daemon.commands.audited_changes import own_change
    from zapline.sql.accounts.access_tokens import revoke_all_of_admin
    from zapline.sql.accounts.administrators import set_password

    async with own_change(url, "admin password", email) as conn:
        admin = await set_password(conn, email, password_hash)
        if admin is None:
            raise _unknown(email)
        return await revoke_all_of_admin(conn, admin)


async def _enable(url: str, email: str, enabled: bool) -> None:
    from zapline.daemon.commands.audited_changes import own_change
    from zapline.sql.accounts.access_tokens import revoke_all_of_admin
    from zapline.sql.accounts.administrators import set_enabled

    async with own_change(url, "admin enable" if enabled else "admin disable", email) as conn:
        admin = await set_enabled(conn, email, enabled)
        if admin is None:
            raise _unknown(email)
        if not enabled:
            await revoke_all_of_admin(conn, admin)


async def _read(url: str) -> list[dict[str, Any]]:
    from zapline.daemon.commands.date_times import iso
    from zapline.sql.accounts.administrators import list_admins
    from zapline.sql.postgres.connection import connect

    async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
        found = await list_admins(conn)
    return [
        {
            "email": admin.email,
            "createdAt": iso(admin.created_at.timestamp()),
            "disabledAt": iso(admin.disabled_at.timestamp()) if admin.disabled_at else None,
        }
        for admin in found
    ]
