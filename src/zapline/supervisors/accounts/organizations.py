"""Makes organizations, renames and deletes them, and adds and removes their units."""

from collections.abc import Callable, Collection
from uuid import UUID, uuid4

import structlog

from zapline.domain.errors import InvalidField, LocalError
from zapline.domain.ids import UnitId
from zapline.sql.accounts import organizations
from zapline.sql.accounts.organizations import Organization
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.authentication import tell_daemons

MAX_NAME = 200
_LOG = structlog.get_logger(scope="Identity")


class UnknownOrganization(LocalError):
    """There is no such organization."""


class UnitElsewhere(LocalError):
    """The unit is in another organization."""


class OrganizationInUse(LocalError):
    """The organization has units."""


class UnitNotInOrganization(InvalidField):
    """A token is to open a unit that is not in its organization."""


class InvalidOrganization(InvalidField):
    """The name of an organization is not acceptable; the text says why."""


class Organizations:
    """One for the process, over the engine's pool. ``find`` returns the active unit, or raises UnknownUnit.

    ``on_change`` is called whenever what tokens open may have changed. All methods raise DatabaseUnavailable.
    """

    def __init__(
        self,
        pool: Pool,
        find: Callable[[UnitId], object],
        on_change: Callable[[], None] = lambda: None,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._pool = pool
        self._find = find
        self._on_change = on_change
        self._new_id = new_id

    async def create(self, name: str) -> Organization:
        """Make an organization without units. Raises InvalidOrganization."""
        id, name = self._new_id(), organization_name(name)
        async with self._pool.connection() as conn:
            await organizations.insert_organization(conn, id, name)
            created = await organizations.find_organization(conn, id)
        return _require(created)

    async def rename(self, id: UUID, name: str) -> Organization:
        """Raises InvalidOrganization, UnknownOrganization."""
        name = organization_name(name)
        async with self._pool.connection() as conn:
            await organizations.rename_organization(conn, id, name)
            return _require(await organizations.find_organization(conn, id))

    async def set_campaign_rules(
        self, id: UUID, messages: int | None, days: int | None, *, shared_opt_outs: bool
    ) -> Organization:
        """As ``Organization`` has them. Raises InvalidOrganization for half a limit, UnknownOrganization."""
        if (messages is None) != (days is None):
            field = "days" if days is None else "messages"
            raise InvalidOrganization("a limit has both messages and days", field)
        async with self._pool.connection() as conn:
            await organizations.set_campaign_rules(conn, id, messages, days, shared_opt_outs=shared_opt_outs)
            return _require(await organizations.find_organization(conn, id))

    async def delete(self, id: UUID) -> None:
        """Delete an organization and its tokens. Raises UnknownOrganization, OrganizationInUse."""
        async with self._pool.connection() as conn, conn.transaction():
            if not await organizations.delete_organization(conn, id):
                _require(await organizations.find_organization(conn, id))
                raise OrganizationInUse("the organization has units; take them out first")
            await tell_daemons(conn)
        self._on_change()

    async def add_unit(self, id: UUID, unit: UnitId) -> None:
        """Add a unit, which may be there already. Raises UnknownUnit, UnknownOrganization, UnitElsewhere."""
        self._find(unit)
        async with self._pool.connection() as conn, conn.transaction():
            _require(await organizations.find_organization(conn, id))
            is_in = await organizations.add_unit(conn, id, unit)
            if is_in is None:
                raise UnknownOrganization("there is no such organization")
            if is_in != id:
                raise UnitElsewhere("the unit is in another organization; take it out there first")
            await tell_daemons(conn)
        _LOG.info("A unit is in an organization", unit=str(unit), organization=str(id))
        self._on_change()

    async def remove_unit(self, id: UUID, unit: UnitId) -> None:
        """Take a unit out; nothing to do where it is not in. Raises UnknownOrganization."""
        async with self._pool.connection() as conn, conn.transaction():
            _require(await organizations.find_organization(conn, id))
            await organizations.remove_unit(conn, id, unit)
            await tell_daemons(conn)
        _LOG.info("A unit is out of its organization", unit=str(unit), organization=str(id))
        self._on_change()

    async def check_units(self, id: UUID, units: Collection[UnitId]) -> None:
        """Raises UnknownOrganization, and UnitNotInOrganization for units that are not in it."""
        async with self._pool.connection() as conn:
            _require(await organizations.find_organization(conn, id))
            if not set(units) <= set(await organizations.list_units(conn, id)):
                raise UnitNotInOrganization("holds a unit that is not in the organization", "unitIds")


def organization_name(name: str) -> str:
    """The name without surrounding spaces. Raises InvalidOrganization."""
    name = name.strip()
    if not (1 <= len(name) <= MAX_NAME and name.isprintable()):
        raise InvalidOrganization("an organization's name is a line of 1 to 200 characters", "name")
    return name


def _require(found: Organization | None) -> Organization:
    if found is None:
        raise UnknownOrganization("there is no such organization")
    return found
