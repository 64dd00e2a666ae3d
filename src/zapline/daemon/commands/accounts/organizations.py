"""``zapline organizations``: several units of one customer, and the tokens that open all of them."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from zapline.daemon.commands.accounts.tokens import RequestsPerMinute, checked_label
from zapline.daemon.commands.accounts.tokens import as_json as token_as_json
from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import (
    AsJson,
    UnitArgument,
    command_group,
    echo,
    echo_json,
    echo_rows,
    parse_unit_id,
    read_database,
    run_async,
)
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope

if TYPE_CHECKING:
    from zapline.sql.accounts.organizations import Organization
    from zapline.sql.postgres.connection import Connection

app = command_group("Organizations: several units of one customer, with one token for all of them.")
_MAX_LISTED = 1000
"""Rows of a list."""


def _parse_id(text: str) -> str:
    """An organization's id as it was typed. Raises LocalError."""
    try:
        return str(UUID(text))
    except ValueError:
        raise LocalError(f"{text!r} is not an organization's id; `zapline organizations list` shows them") from None


_Id = Annotated[
    str,
    typer.Argument(
        metavar="ORGANIZATION", help="Its id, as `zapline organizations list` shows it.", callback=_parse_id
    ),
]


@app.command("list")
def list_organizations(as_json: AsJson = False) -> None:
    """List the organizations.

    \b
    Example: zapline organizations list
    """
    keys, head = ("id", "name", "units", "createdAt"), ("ORGANIZATION", "NAME", "UNITS", "CREATED")
    empty = "There is no organization yet. Add one: zapline organizations add NAME"
    echo_rows(read_database(_read), keys, head, empty, as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    as_json: AsJson = False,
) -> None:
    """Add an organization, without units. The daemon need not run.

    \b
    Example: zapline organizations add "Rede Centro"
    """
    created = run_async(_add, name)
    if as_json:
        echo_json(created)
        return
    echo(f"Organization {created['id']} ({created['name']}).")
    echo(f"Put units into it: zapline organizations add-unit {created['id']} UNIT")


@app.command("add-unit")
def add_unit(organization: _Id, unit: UnitArgument) -> None:
    """Put a unit into an organization; it is in one at most.

    \b
    Example: zapline organizations add-unit 5b1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    run_async(_add_unit, UUID(organization), UnitId(UUID(unit)))
    echo(f"Unit {unit} is in organization {organization}.")


@app.command("remove-unit")
def remove_unit(organization: _Id, unit: UnitArgument) -> None:
    """Take a unit out of its organization, whose tokens do not open it any more.

    \b
    Example: zapline organizations remove-unit 5b1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    run_async(_remove_unit, UUID(organization), UnitId(UUID(unit)))
    echo(f"Unit {unit} is not in organization {organization}.")


@app.command()
def mint(
    organization: _Id,
    label: Annotated[str, typer.Option("--label", help="What people will know it by.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; give it once for each.")],
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", help="A unit that it opens; give it once for each. Without: all, also later ones."),
    ] = None,
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", min=1, max=3650, help="Days until it ends; by default it does not.")
    ] = None,
    requests_per_minute: RequestsPerMinute = None,
    as_json: AsJson = False,
) -> None:
    """Make a token for an organization and print it, this once. The daemon need not run.

    \b
    Example: zapline organizations mint 5b1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --label CRM --scope read --scope send
    """
    label = checked_label(label)
    units = frozenset(UnitId(UUID(parse_unit_id(each))) for each in unit) if unit else None
    token, row = run_async(_mint, UUID(organization), label, frozenset(scope), units, expires_days, requests_per_minute)
    if as_json:
        echo_json({**row, "token": token})
        return
    opened = "all units" if units is None else f"{len(units)} units"
    echo(f"Token {row['id']} ({label}) may {', '.join(row['scopes'])} in {opened}. It is shown only now:")
    echo(token)


@app.command()
def tokens(organization: _Id, as_json: AsJson = False) -> None:
    """List an organization's tokens, the newest first, also those that have ended. No token is shown.

    \b
    Example: zapline organizations tokens 5b1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    rows = read_database(_read_tokens, UUID(organization))
    keys = ("id", "label", "scopes", "unitIds", "createdBy", "createdAt", "lastUsedAt", "expiresAt", "revokedAt")
    head = ("TOKEN", "LABEL", "MAY", "UNITS", "BY", "CREATED", "LAST USED", "EXPIRES", "REVOKED")
    if not as_json:
        rows = [
            {
                **row,
                "scopes": ",".join(row["scopes"]),
                "unitIds": "all" if row["unitIds"] is None else len(row["unitIds"]),
            }
            for row in rows
        ]
    empty = f"There is no token yet. Make one: zapline organizations mint {organization} --label CRM --scope read"
    echo_rows(rows, keys, head, empty, as_json)


@app.command()
def revoke(
    organization: _Id,
    token: Annotated[
        str, typer.Argument(metavar="ID", help="The token's id, as `zapline organizations tokens` shows it.")
    ],
) -> None:
    """End a token. A running daemon refuses it at once.

    \b
    Example: zapline organizations revoke 5b1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 0b6f8f3b-6a55-4a35-9d3c-7f1d9f5e6c11
    """
    try:
        id = UUID(token)
    except ValueError:
        raise LocalError("that is not a token's id; `zapline organizations tokens ORGANIZATION` shows them") from None
    label = run_async(_revoke, UUID(organization), id)
    echo(f"Token {id} ({label}) is revoked.")


# -- what the commands do ------------------------------------------------------------------------------------


async def _read(conn: "Connection") -> list[dict[str, Any]]:
    from zapline.sql.accounts.organizations import list_organizations

    return [_as_json(each) for each in await list_organizations(conn, None, _MAX_LISTED)]


async def _add(url: str, name: str) -> dict[str, Any]:
    from uuid import uuid4

    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.organizations import insert_organization
    from zapline.supervisors.accounts.organizations import organization_name

    id, name = uuid4(), organization_name(name)
    async with audited_transaction(url, "organizations add", name) as conn:
        await insert_organization(conn, id, name)
        return _as_json(await _find(conn, id))


async def _add_unit(url: str, organization: UUID, unit: UnitId) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts import organizations
    from zapline.sql.units.units import load_units

    async with audited_transaction(url, "organizations add-unit", str(organization), unit) as conn:
        await _find(conn, organization)
        if not any(record.id == unit and record.archived_at is None for record in await load_units(conn)):
            raise LocalError(f"there is no unit {unit}; `zapline units list` shows them")
        elsewhere = await organizations.add_unit(conn, organization, unit)
        if elsewhere != organization:
            raise LocalError(f"unit {unit} is in organization {elsewhere}; take it out there first")


async def _remove_unit(url: str, organization: UUID, unit: UnitId) -> None:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts import organizations

    async with audited_transaction(url, "organizations remove-unit", str(organization), unit) as conn:
        await _find(conn, organization)
        await organizations.remove_unit(conn, organization, unit)


async def _mint(
    url: str,
    organization: UUID,
    label: str,
    scopes: frozenset[Scope],
    units: frozenset[UnitId] | None,
    days: int | None,
    per_minute: int | None,
) -> tuple[str, dict[str, Any]]:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.daemon.invoking_user import invoking_user
    from zapline.domain.principals import TokenKind
    from zapline.sql.accounts.access_tokens import NewToken, insert_token
    from zapline.sql.accounts.organizations import list_units
    from zapline.supervisors.accounts.authentication import new_token
    from zapline.supervisors.units.webhook_authentication import digest_secret

    token = new_token()
    grant = NewToken(
        TokenKind.ORGANIZATION,
        label,
        invoking_user().name,
        scopes=scopes,
        lasts=days * 86400.0 if days is not None else None,
        organization=organization,
        units=units,
        requests_per_minute=per_minute,
    )
    async with audited_transaction(url, "organizations mint", f"{organization} {label}") as conn:
        await _find(conn, organization)
        if units is not None and not units <= set(await list_units(conn, organization)):
            raise LocalError(f"organization {organization} does not have all of these units")
        return token, token_as_json(await insert_token(conn, digest_secret(token), grant))


async def _read_tokens(conn: "Connection", organization: UUID) -> list[dict[str, Any]]:
    from zapline.sql.accounts.access_tokens import list_organization_tokens

    await _find(conn, organization)
    return [token_as_json(record) for record in await list_organization_tokens(conn, organization, None, _MAX_LISTED)]


async def _revoke(url: str, organization: UUID, id: UUID) -> str:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.access_tokens import revoke_organization_token

    async with audited_transaction(url, "organizations revoke", f"{organization} {id}") as conn:
        label = await revoke_organization_token(conn, organization, id)
        if label is None:
            raise LocalError(f"organization {organization} has no such token")
        return label


async def _find(conn: "Connection", id: UUID) -> "Organization":
    from zapline.sql.accounts.organizations import find_organization

    found = await find_organization(conn, id)
    if found is None:
        raise LocalError(f"there is no organization {id}; `zapline organizations list` shows them")
    return found


def _as_json(organization: "Organization") -> dict[str, Any]:
    """The same names as the API's."""
    return {
        "id": str(organization.id),
        "name": organization.name,
        "units": organization.units,
        "createdAt": iso(organization.created_at),
    }
