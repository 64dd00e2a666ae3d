"""People with roles, as an administrator makes them, and signed in without typing a password."""

from collections.abc import Mapping
from typing import Any

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal, Role
from zapline.sql.accounts.administrators import add_admin, find_person, set_unit_role
from zapline.sql.postgres.connection import connect

CODES_AT = 1_790_000_010.0
"""UTC seconds at which one-time codes are checked: they stand still, however slow the machine is."""


async def add_person(
    api: Any, email: str, role: Role | None, units: Mapping[UnitId, Role] | None = None, password_hash: str = "-"
) -> Principal:
    """A person with a role everywhere (None: nowhere), and others in some units."""
    async with await connect(api.database, role="zapline_engine") as conn:
        id = await add_admin(conn, email, password_hash, role)
        assert id is not None
        for unit, each in (units or {}).items():
            await set_unit_role(conn, id, unit, each)
        person = await find_person(conn, id)
    assert person is not None
    return person.principal


async def token_of(api: Any, person: Principal) -> str:
    """A bearer token of a person."""
    token, _ = await api.identity.open_login(person)
    return str(token)


async def cookie_of(api: Any, person: Principal) -> dict[str, str]:
    """A session of a person at the console, as a header."""
    token, _ = await api.identity.open_session(person)
    return {"Cookie": f"zapline={token}"}
