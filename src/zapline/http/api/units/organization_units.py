"""The route that lists an organization's units, so far as its caller's token opens them."""

from uuid import UUID

from quart import Response

from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.json_bodies import json_response
from zapline.http.api.framework.paging import PAGED, page_query, split_page
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable
from zapline.http.api.units.unit_responses import UnitPage, unit_body
from zapline.http.api.units.units import AfterUnit, unit_position
from zapline.sql.accounts.organizations import load_units
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.units.roster import Roster

_LIST = RouteDoc("The units of an organization that your token opens", {200: UnitPage}, query=PAGED, polled=True)


class OrganizationUnitRoutes:
    """``/organizations/{organization}/units``."""

    def __init__(self, roster: Roster, pool: Pool) -> None:
        self._roster = roster
        self._pool = pool

    def attach(self, routes: RouteTable) -> None:
        path = "/organizations/<uuid:organization>/units"
        routes.add("GET", path, "list_organization_units", self.list, Access.READ, _LIST)

    async def list(self, organization: UUID) -> Response:
        """Active units, the first made first."""
        limit, after = page_query(AfterUnit)
        ids = await load_units(self._pool, organization, current_principal().grant)
        members = [unit for id in ids if (unit := self._roster.get(id)) and unit.record.archived_at is None]
        units = sorted(members, key=unit_position)
        if after is not None:
            units = [unit for unit in units if unit_position(unit) > (after.created_at, after.id)]
        page, next_cursor = split_page(units, limit, lambda unit: AfterUnit(*unit_position(unit)))
        return json_response(UnitPage([unit_body(unit) for unit in page], next_cursor))
