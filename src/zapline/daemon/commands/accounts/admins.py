"""``zapline admin``: the people who sign in, and their roles. Passwords are never in arguments or control requests."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import AsJson, command_group, echo, echo_rows, read_database, run_async
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Role

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

app = command_group("The people who sign in to console and API, and their roles.")

MIN_PASSWORD = 12
"""Characters of a password that a person chose."""

Email = Annotated[str, typer.Argument(help="The e-mail address to sign in with.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it this once.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


RoleOption = Annotated[
    Role, typer.Option("--role", help="admin: everything. operator: lines and campaigns. attendant: conversations.")
]
Units = Annotated[list[str], typer.Option("--unit", help="Only in this unit; may be given several times.")]


@app.command()
def add(
    email: Email,
    generate: Generate = False,
    password_stdin: FromStdin = False,
    role: RoleOption = Role.ADMIN,
    unit: Units = [],  # noqa: B006 - typer reads it
) -> None:
    """Add somebody who may sign in. The password is asked for on the terminal, unless an option says otherwise.

    \b
    Example: zapline admin add ana@example.com --generate
             zapline admin add bia@example.com --role attendant --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    _set_password(email, generate, password_stdin, Rights.of(role, unit))


@app.command("forget-codes")
def forget_codes(email: Email) -> None:
    """Take the one-time codes of somebody away who has lost his phone and his recovery codes; what is signed in ends.

    \b
    Example: zapline admin forget-codes ana@example.com
    """
    run_async(_forget_codes, email.strip().lower())
    echo(f"{email} signs in with the password alone until new one-time codes are set up.")


@app.command("role")
def change_role(email: Email, role: Annotated[Role, typer.Argument()], unit: Units = []) -> None:  # noqa: B006 - as above
    """Give somebody another role, everywhere or in these units alone. It counts at once, also where he is signed in.

    \b
    Example: zapline admin role ana@example.com operator
    """
    email = email.strip().lower()
    run_async(_change_role, email, Rights.of(role, unit))
    echo(f"{email} is {role.value} {'in ' + str(len(unit)) + ' units' if unit else 'everywhere'} now.")


@app.command()
def password(email: Email, generate: Generate = False, password_stdin: FromStdin = False) -> None:
    """Give somebody a new password. His sessions and his own tokens end; tokens of units stay.

    \b
    Example: zapline admin password ana@example.com
    """
    _set_password(email, generate, password_stdin, None)


@app.command("list")
def list_admins(as_json: AsJson = False) -> None:
    """List the people who may sign in, with their roles.

    \b
    Example: zapline admin list
    """
    keys = ("email", "role", "units", "secondFactor", "createdAt", "disabledAt")
    empty = "There is no administrator yet. Add one: zapline admin add EMAIL"
    head = ("EMAIL", "ROLE", "UNITS", "SECOND FACTOR", "CREATED", "DISABLED")
    rows = read_database(_read_admins)
    if not as_json:
        roles = [",".join(f"{unit}={role}" for unit, role in row["units"].items()) or None for row in rows]
        rows = [{**row, "units": units} for row, units in zip(rows, roles, strict=True)]
    echo_rows(rows, keys, head, empty, as_json)


@app.command()
def disable(email: Email) -> None:
    """Keep somebody out: his sessions and his own tokens end at once.

    \b
    Example: zapline admin disable ana@example.com
    """
    run_async(_set_enabled, email.strip().lower(), False)
    echo(f"{email} may not sign in any more, and what was signed in is ended.")


@app.command()
def enable(email: Email) -> None:
    """Let a disabled person in again, with the password he had.

    \b
    Example: zapline admin enable ana@example.com
    """
    run_async(_set_enabled, email.strip().lower(), True)
    echo(f"{email} may sign in again.")


@dataclass(frozen=True, slots=True)
class Rights:
    """A role, everywhere or in these units."""

    role: Role
    units: tuple[UnitId, ...]

    @classmethod
    def of(cls, role: Role, units: list[str]) -> "Rights":
        """Raises BadParameter."""
        if units and role is Role.ADMIN:
            raise typer.BadParameter("an administrator is one everywhere")
        try:
            return cls(role, tuple(UnitId(UUID(unit)) for unit in units))
        except ValueError:
            raise typer.BadParameter("--unit is a unit's id, as `zapline units list` shows it") from None

    @property
    def everywhere(self) -> Role | None:
        return None if self.units else self.role


def _set_password(email: str, generate: bool, from_stdin: bool, rights: Rights | None) -> None:
    """``rights``: of a new person; None: a new password of somebody."""
    from zapline.sql.accounts.administrators import get_admin

    email = email.strip().lower()
    if email.count("@") != 1 or email.startswith("@") or email.endswith("@") or any(map(str.isspace, email)):
        raise typer.BadParameter(f"{email!r} is not an e-mail address")
    if generate and from_stdin:
        raise typer.BadParameter("--generate and --password-stdin exclude each other")
    if (read_database(get_admin, email) is None) is not (rights is not None):
        raise _no_such_admin(email) if rights is None else _already_exists(email)
    chosen = _ask_password(generate, from_stdin)
    if rights is None:
        ended = run_async(_change_password, email, _hash(chosen))
        echo(f"{email} has a new password; {ended} sessions and tokens of the old one are ended.")
    else:
        run_async(_add_admin, email, _hash(chosen), rights)
        echo(f"{email} may sign in: at /console/, or POST /admin/login.")
    if generate:
        echo(f"Password, shown only now: {chosen}")


def _no_such_admin(email: str) -> LocalError:
    return LocalError(f"there is nobody called {email}; add him: zapline admin add {email}")


def _already_exists(email: str) -> LocalError:
    return LocalError(f"{email} is there already; for a new password: zapline admin password {email}")


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


async def _add_admin(url: str, email: str, password_hash: str, rights: Rights) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.administrators import add_admin

    async with audited_transaction(url, "admin add", email) as conn:
        id = await add_admin(conn, email, password_hash, rights.everywhere)
        if id is None:
            raise _already_exists(email)
        await _set_units(conn, id, rights)


async def _forget_codes(url: str, email: str) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.access_tokens import revoke_all_admin_tokens
    from zapline.sql.accounts.administrators import get_admin
    from zapline.sql.accounts.second_factors import remove_factor

    async with audited_transaction(url, "admin forget-codes", email) as conn:
        person = await get_admin(conn, email)
        if person is None:
            raise _no_such_admin(email)
        await remove_factor(conn, person.id)
        await revoke_all_admin_tokens(conn, person.id)


async def _change_role(url: str, email: str, rights: Rights) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.administrators import clear_unit_roles, get_admin, set_role

    async with audited_transaction(url, "admin role", email) as conn:
        person = await get_admin(conn, email)
        if person is None:
            raise _no_such_admin(email)
        await set_role(conn, person.id, rights.everywhere)
        await clear_unit_roles(conn, person.id)
        await _set_units(conn, person.id, rights)


async def _set_units(conn: "Connection", person: UUID, rights: Rights) -> None:
    from zapline.sql.accounts.administrators import set_unit_role
    from zapline.sql.units.units import load_units

    known = {record.id for record in await load_units(conn)}
    for unit in rights.units:
        if unit not in known:
            raise LocalError(f"there is no unit {unit}; `zapline units list` shows them")
        await set_unit_role(conn, person, unit, rights.role)


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
        {
            "email": admin.email,
            "role": admin.role,
            "units": dict(admin.unit_roles),
            "secondFactor": admin.second_factor,
            "createdAt": iso(admin.created_at),
            "disabledAt": iso(admin.disabled_at),
        }
        for admin in await list_admins(conn)
    ]
