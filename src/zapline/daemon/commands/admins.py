"""``zapline admin``: the people who may sign in. Passwords never stand in arguments."""

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
    """Give an administrator a new password.

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


def _set(email: str, generate: bool, from_stdin: bool, *, known: bool) -> None:
    email = email.strip().lower()
    if email.count("@") != 1 or email.startswith("@") or email.endswith("@") or any(map(str.isspace, email)):
        raise typer.BadParameter(f"{email!r} is not an e-mail address")
    if generate and from_stdin:
        raise typer.BadParameter("--generate and --password-stdin exclude each other")
    url = database_url()
    if run(_is_known, url, email) is not known:
        raise LocalError(
            f"there is no administrator {email}; add one: zapline admin add {email}"
            if known
            else f"{email} is an administrator already; for a new password: zapline admin password {email}"
        )
    chosen = _password(generate, from_stdin)
    run(_store, url, email, _hash(chosen))
    say(f"{email} has a new password." if known else f"{email} may sign in: POST /admin/login.")
    if generate:
        say(f"Password, shown only now: {chosen}")


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
    from zapline.sql.driver import connect
    from zapline.sql.people import find_admin

    async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
        return await find_admin(conn, email) is not None


async def _store(url: str, email: str, password_hash: str) -> None:
    from zapline.sql.driver import connect
    from zapline.sql.people import add_admin

    # The one thing a command writes itself: the daemon keeps nothing of administrators in memory, the first one
    # is made before its first start, and a password's hash has no business in a request.
    async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
        await add_admin(conn, email, password_hash)


async def _read(url: str) -> list[dict[str, Any]]:
    from zapline.daemon.commands.times import iso
    from zapline.sql.driver import connect

    async with await connect(url, role="zapline_engine", application_name="zapline-command") as conn:
        rows = await conn.fetch("select email, created_at, disabled_at from zapline.admins order by email")
    return [
        {
            "email": row.email,
            "createdAt": iso(row.created_at.timestamp()),
            "disabledAt": iso(row.disabled_at.timestamp()) if row.disabled_at else None,
        }
        for row in rows
    ]
