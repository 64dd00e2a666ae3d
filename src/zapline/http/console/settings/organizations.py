"""Organizations: made and renamed, units put into them and taken out, and their tokens made, shown once and revoked."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from quart import Response
from werkzeug.exceptions import NotFound

from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Scope
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.console.framework.flash_messages import Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.forms import Form, read_form, refusal_text
from zapline.http.console.framework.layout import Layout, NavigationLink
from zapline.http.console.framework.translation import N_, _
from zapline.http.console.settings.tokens import SCOPE_LABELS, is_valid
from zapline.sql.accounts import organizations as stored
from zapline.sql.accounts.organizations import Organization
from zapline.sql.postgres.pool import Pool
from zapline.supervisors.accounts.authentication import Authentication
from zapline.supervisors.accounts.organizations import Organizations
from zapline.supervisors.units.roster import Roster

_MOST = 500
"""Rows of a list; there are few organizations, and each has a few tokens."""
_BASE = "/console/organizations"
_PATH = f"{_BASE}/<uuid:organization>"


class OrganizationPages:
    """``/console/organizations``."""

    def __init__(
        self, layout: Layout, organizations: Organizations, identity: Authentication, roster: Roster, pool: Pool
    ) -> None:
        self._layout = layout
        self._organizations = organizations
        self._identity = identity
        self._roster = roster
        self._pool = pool

    def attach(self) -> None:
        self._layout.get(_BASE, "organizations", self.show)
        self._layout.post(_BASE, "create_organization", self.create)
        self._layout.get(_PATH, "organization", self.show_one)
        self._layout.post(f"{_PATH}/name", "rename_organization", self.rename)
        self._layout.post(f"{_PATH}/campaign-rules", "set_organization_campaign_rules", self.set_rules)
        self._layout.post(f"{_PATH}/delete", "delete_organization", self.delete)
        self._layout.post(f"{_PATH}/units", "add_organization_unit", self.add_unit)
        self._layout.post(f"{_PATH}/units/<uuid:unit>/remove", "remove_organization_unit", self.remove_unit)
        self._layout.post(f"{_PATH}/tokens", "mint_organization_token", self.mint)
        self._layout.post(f"{_PATH}/tokens/<uuid:token>/revoke", "revoke_organization_token", self.revoke)
        self._layout.add_section(NavigationLink("organizations", N_("Organizations"), _BASE, 80))

    # -- organizations ---------------------------------------------------------------------------------------

    async def show(self) -> Response:
        return await self._list_page()

    async def create(self) -> Response:
        name = (await read_form()).text("name", 300)
        try:
            async with self._layout.audited("create_organization") as line:
                created = await self._organizations.create(name)
                line.note(id=str(created.id), name=created.name)
        except LocalError as refused:
            return await self._list_page(name, error_text(refused))
        done = _("{name} is made. Put its units into it.", name=created.name)
        return self._layout.redirect(f"{_BASE}/{created.id}", Tone.GOOD, done)

    async def show_one(self, organization: UUID) -> Response:
        return await self._page(await self._find(organization))

    async def rename(self, organization: UUID) -> Response:
        name = (await read_form()).text("name", 300)
        change = partial(self._organizations.rename, organization, name)
        return await self._perform("rename_organization", organization, change, _("Saved."))

    async def set_rules(self, organization: UUID) -> Response:
        form = await read_form()
        try:
            messages, days = form.integer("messages", 1, 1000), form.integer("rule-days", 1, 365)
        except Problem as refused:
            return await self._page(await self._find(organization), error=refusal_text(refused))
        shared = form.checked("shared")
        change = partial(self._organizations.set_campaign_rules, organization, messages, days, shared_opt_outs=shared)
        return await self._perform("set_organization_campaign_rules", organization, change, _("Saved."))

    async def delete(self, organization: UUID) -> Response:
        try:
            async with self._layout.audited("delete_organization", target=str(organization)):
                await self._organizations.delete(organization)
        except LocalError as refused:
            return self._layout.redirect(f"{_BASE}/{organization}", Tone.BAD, error_text(refused))
        return self._layout.redirect(_BASE, Tone.GOOD, _("The organization is removed."))

    async def add_unit(self, organization: UUID) -> Response:
        try:
            unit = UnitId((await read_form()).uuid("unit"))
        except Problem as refused:
            return await self._page(await self._find(organization), error=refusal_text(refused))
        change = partial(self._organizations.add_unit, organization, unit)
        return await self._perform("add_organization_unit", organization, change, _("The unit is in it now."), unit)

    async def remove_unit(self, organization: UUID, unit: UUID) -> Response:
        change, done = partial(self._organizations.remove_unit, organization, UnitId(unit)), _("The unit is out of it.")
        return await self._perform("remove_organization_unit", organization, change, done, UnitId(unit))

    # -- tokens ----------------------------------------------------------------------------------------------

    async def mint(self, organization: UUID) -> Response:
        """Create a token. Only the answer to this form shows it."""
        owner, form = await self._find(organization), await read_form()
        try:
            label, days = form.text("label", 100), form.integer("days", 1, 3650)
            per_minute = form.integer("requests_per_minute", 1, 1_000_000)
            if not label or not label.isprintable():
                raise invalid("label", "is a line of text")
            scopes = frozenset(scope for scope in Scope if form.checked(scope.value))
            if not scopes:
                raise invalid("scopes", "choose at least one thing that it may do")
            units = _chosen_units(form)
        except Problem as refused:
            return await self._page(owner, error=refusal_text(refused))
        try:
            async with self._layout.audited("mint_organization_token", target=str(owner.id)) as line:
                line.note(label=label, scopes=[scope.value for scope in Scope if scope in scopes])
                await self._organizations.check_units(owner.id, units or frozenset())
                who = current_principal().name
                minted = await self._identity.mint_organization_token(
                    owner.id, label, scopes, units, who, days, per_minute
                )
        except LocalError as refused:
            return await self._page(owner, error=error_text(refused))
        return await self._page(owner, minted=minted.token)

    async def revoke(self, organization: UUID, token: UUID) -> Response:
        change = partial(self._identity.revoke_organization_token, organization, token)
        return await self._perform(
            "revoke_organization_token", organization, change, _("The token opens nothing any more.")
        )

    # -- pages -----------------------------------------------------------------------------------------------

    async def _perform(
        self,
        action: str,
        organization: UUID,
        change: Callable[[], Any],
        done: str,
        unit: UnitId | None = None,
    ) -> Response:
        page = f"{_BASE}/{organization}"
        try:
            async with self._layout.audited(action, unit, str(organization)):
                await change()
        except LocalError as refused:
            return self._layout.redirect(page, Tone.BAD, error_text(refused))
        return self._layout.redirect(page, Tone.GOOD, done)

    async def _find(self, organization: UUID) -> Organization:
        found = await stored.load_organization(self._pool, organization, None)
        if found is None:
            raise NotFound
        return found

    async def _list_page(self, name: str = "", error: str = "") -> Response:
        rows = await stored.list_organizations_for_admin(self._pool, None, _MOST)
        status = 422 if error else 200
        return self._layout.render(
            "organizations.html", status, at="organizations", rows=rows, name=name, error=error, zone=self._zone()
        )

    async def _page(self, organization: Organization, error: str = "", minted: str = "") -> Response:
        ids = await stored.load_units(self._pool, organization.id, None)
        names = {unit.id: unit.record.name for unit in self._roster.units()}
        tokens = await self._identity.organization_tokens(organization.id, None, _MOST)
        now = datetime.now(UTC)
        return self._layout.render(
            "organization.html",
            422 if error else 200,
            at="organizations",
            organization=organization,
            units=[(id, names.get(id, str(id))) for id in ids],
            others=sorted((name, id) for id, name in names.items() if id not in ids)[:_MOST],
            rows=[(token, is_valid(token, now)) for token in tokens],
            scopes=[(scope.value, _(label)) for scope, label in SCOPE_LABELS.items()],
            error=error,
            minted=minted,
            zone=self._zone(),
        )

    def _zone(self) -> str:
        units = self._roster.units()
        return units[0].record.time_zone if units else "UTC"


def _chosen_units(form: Form) -> frozenset[UnitId] | None:
    """The units that were ticked; None: all, also those that are added later. Raises Problem 422."""
    try:
        chosen = frozenset(UnitId(UUID(text)) for text in form.fields.getlist("unit"))
    except ValueError:
        raise invalid("unit", "is not an id") from None
    only = form.fields.get("opens", "all") == "chosen"
    if chosen and not only:
        raise invalid("unitIds", "units are chosen, but not that it opens these alone; say which of the two is meant")
    if only and not chosen:
        raise invalid("unitIds", "choose at least one unit")
    return chosen if only else None
