"""``zapline tokens``: a unit's bearer tokens. A token is printed once; only its digest is stored."""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from zapline.daemon.commands.date_times import iso
from zapline.daemon.commands.terminal import (
    AsJson,
    UnitOption,
    command_group,
    echo,
    echo_json,
    echo_rows,
    read_database,
    run_async,
)
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope

if TYPE_CHECKING:
    from zapline.sql.postgres.connection import Connection

RequestsPerMinute = Annotated[
    int | None,
    typer.Option(
        "--requests-per-minute", min=1, max=1_000_000, help="Requests that it may make; by default as the ceilings say."
    ),
]
app = command_group("The tokens with which a unit's CRM calls the API.")


@app.command()
def mint(
    unit: UnitOption,
    label: Annotated[str, typer.Option("--label", help="What people will know it by.")],
    scope: Annotated[list[Scope], typer.Option("--scope", help="What it may do; give it once for each.")],
    expires_days: Annotated[
        int | None, typer.Option("--expires-days", min=1, max=3650, help="Days until it ends; by default it does not.")
    ] = None,
    requests_per_minute: RequestsPerMinute = None,
    as_json: AsJson = False,
) -> None:
    """Make a token for one unit and print it, this once. The daemon need not run.

    \b
    Example: zapline tokens mint --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11 --label CRM --scope read --scope send
    """
    label = checked_label(label)
    token, row = run_async(_mint, UnitId(UUID(unit)), label, frozenset(scope), expires_days, requests_per_minute)
    if as_json:
        echo_json({**row, "token": token})
        return
    echo(f"Token {row['id']} ({label}) may {', '.join(row['scopes'])}. It is shown only now:")
    echo(token)
    echo(f"Try it: curl -H 'Authorization: Bearer TOKEN' BASE_URL/units/{row['unitId']}")


@app.command("list")
def list_tokens(unit: UnitOption, as_json: AsJson = False) -> None:
    """List a unit's tokens, the newest first, also those that have ended. No token is shown.

    \b
    Example: zapline tokens list --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    rows = read_database(_read, UnitId(UUID(unit)))
    keys = ("id", "label", "scopes", "createdBy", "createdAt", "lastUsedAt", "expiresAt", "revokedAt")
    head = ("TOKEN", "LABEL", "MAY", "BY", "CREATED", "LAST USED", "EXPIRES", "REVOKED")
    if not as_json:
        rows = [{**row, "scopes": ",".join(row["scopes"])} for row in rows]
    empty = f"There is no token yet. Make one: zapline tokens mint --unit {unit} --label CRM --scope read"
    echo_rows(rows, keys, head, empty, as_json)


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `zapline tokens list` shows it.")],
    unit: UnitOption,
) -> None:
    """End a token. A running daemon refuses it at once.

    \b
    Example: zapline tokens revoke 0b6f8f3b-6a55-4a35-9d3c-7f1d9f5e6c11 --unit 7f1d9f5e-6a55-4a35-9d3c-0b6f8f3b6c11
    """
    try:
        id = UUID(token)
    except ValueError:
        raise LocalError("that is not a token's id; `zapline tokens list --unit UNIT` shows them") from None
    label = run_async(_revoke, UnitId(UUID(unit)), id)
    echo(f"Token {id} ({label}) is revoked.")


async def _mint(
    url: str, unit: UnitId, label: str, scopes: frozenset[Scope], days: int | None, per_minute: int | None
) -> tuple[str, dict[str, Any]]:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.daemon.invoking_user import invoking_user
    from zapline.domain.principals import TokenKind
    from zapline.sql.accounts.access_tokens import NewToken, insert_token
    from zapline.sql.units.units import load_units
    from zapline.supervisors.accounts.authentication import new_token
    from zapline.supervisors.units.webhook_authentication import digest_secret

    token = new_token()
    lasts = days * 86400.0 if days is not None else None
    by, kind = invoking_user().name, TokenKind.UNIT
    grant = NewToken(kind, label, by, unit=unit, scopes=scopes, lasts=lasts, requests_per_minute=per_minute)
    async with audited_transaction(url, "tokens mint", label, unit) as conn:
        if not any(record.id == unit and record.archived_at is None for record in await load_units(conn)):
            raise _no_such_unit(unit)
        return token, as_json(await insert_token(conn, digest_secret(token), grant))


async def _read(conn: "Connection", unit: UnitId) -> list[dict[str, Any]]:
    from zapline.sql.accounts.access_tokens import list_unit_tokens
    from zapline.sql.units.units import load_units

    if not any(record.id == unit for record in await load_units(conn)):
        raise _no_such_unit(unit)
    return [as_json(record) for record in await list_unit_tokens(conn, unit, None, _MAX_LISTED)]


async def _revoke(url: str, unit: UnitId, id: UUID) -> str:
    from zapline.daemon.commands.audited_changes import audited_transaction
    from zapline.sql.accounts.access_tokens import revoke_unit_token

    async with audited_transaction(url, "tokens revoke", str(id), unit) as conn:
        label = await revoke_unit_token(conn, unit, id)
        if label is None:
            raise LocalError(f"unit {unit} has no such token; `zapline tokens list --unit {unit}` shows them")
        return label


_MAX_LISTED = 1000
"""Tokens in a list: more than a unit ever has."""


def _no_such_unit(unit: UnitId) -> LocalError:
    return LocalError(f"there is no unit {unit}; `zapline units list` shows them")


def checked_label(label: str) -> str:
    """The label without surrounding spaces. Raises typer.BadParameter."""
    label = label.strip()
    if not (1 <= len(label) <= 100 and label.isprintable()):
        raise typer.BadParameter("a label is a line of 1 to 100 characters", param_hint="--label")
    return label


def as_json(record: Any) -> dict[str, Any]:
    """The same names as the API's."""
    return {
        "id": str(record.id),
        **_opened(record),
        "label": record.label,
        "scopes": [scope.value for scope in record.scopes],
        "createdBy": record.created_by,
        "createdAt": iso(record.created_at),
        "lastUsedAt": iso(record.last_used_at),
        "expiresAt": iso(record.expires_at),
        "revokedAt": iso(record.revoked_at),
        "requestsPerMinute": record.requests_per_minute,
    }


def _opened(record: Any) -> dict[str, Any]:
    """What a token opens: its unit, or its organization and units."""
    if record.organization is None:
        return {"unitId": str(record.unit)}
    units = [str(unit) for unit in record.units] if record.units is not None else None
    return {"organizationId": str(record.organization), "unitIds": units}
