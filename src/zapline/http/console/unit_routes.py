"""Attaches the pages about units, their lines and settings, and about the health and audit of the whole."""

from zapline.http.console.accounts.audit_log import AuditPage
from zapline.http.console.framework.counts import RateHistory, Spans, TotalsCache
from zapline.http.console.framework.layout import Layout
from zapline.http.console.health.alarms_page import AlarmsPage
from zapline.http.console.health.health_page import HealthPage
from zapline.http.console.health.servers_page import ServersPage
from zapline.http.console.settings.ceilings import CeilingsPage
from zapline.http.console.settings.crm_webhooks import CrmWebhookPages
from zapline.http.console.settings.kept_files import KeptFilesPage
from zapline.http.console.settings.line_settings import LineSettingsPage
from zapline.http.console.settings.opt_outs import OptOutsPage
from zapline.http.console.settings.organizations import OrganizationPages
from zapline.http.console.settings.sending_settings import SettingsPage
from zapline.http.console.settings.tokens import TokensPage
from zapline.http.console.units.bulk_actions import BulkActions
from zapline.http.console.units.line_history import LineHistoryPage
from zapline.http.console.units.move_unit import MoveUnitPage
from zapline.http.console.units.new_unit import NewUnitPage
from zapline.http.console.units.overview import OverviewPage
from zapline.http.console.units.unit_actions import UnitActions
from zapline.http.console.units.unit_page import UnitPage
from zapline.http.dependencies import Dependencies

_MARKED = 50
"""Incidents in a chart of a day, the latest."""


def attach_unit_pages(layout: Layout, dependencies: Dependencies, totals: TotalsCache) -> None:
    """Attach these pages, without those whose dependencies are missing."""
    history, commands, pool = _rate_history(dependencies), dependencies.commands, dependencies.pool
    OverviewPage(layout, dependencies.roster, dependencies.health, totals, history).attach()
    NewUnitPage(layout, commands).attach()
    servers = dependencies.servers
    several = (lambda: servers.are_several) if servers is not None else (lambda: False)
    UnitPage(layout, commands, pool, dependencies.feed, dependencies.sending, several).attach()
    LineHistoryPage(layout, commands, dependencies.roster, pool).attach()
    if dependencies.changes is not None:
        UnitActions(layout, commands, dependencies.changes, dependencies.region).attach()
        BulkActions(layout, dependencies.roster, commands, dependencies.changes).attach()
    if dependencies.changes is not None and dependencies.outgoing is not None:
        SettingsPage(layout, commands, dependencies.changes, dependencies.outgoing, pool).attach()
    if dependencies.line_settings is not None:
        LineSettingsPage(layout, commands, dependencies.line_settings).attach()
    if dependencies.file_policies is not None:
        KeptFilesPage(layout, commands, dependencies.file_policies).attach()
    if dependencies.campaigns is not None:
        OptOutsPage(layout, commands, dependencies.campaigns, pool).attach()
    TokensPage(layout, commands, dependencies.identity).attach()
    identity, roster = dependencies.identity, dependencies.roster
    if dependencies.ceilings is not None:
        CeilingsPage(layout, dependencies.ceilings).attach()
    OrganizationPages(layout, dependencies.organizations, identity, roster, pool).attach()
    if dependencies.hooks is not None:
        CrmWebhookPages(layout, commands, dependencies.hooks, pool).attach()
    HealthPage(
        layout, dependencies.health, history, dependencies.roster, servers is not None, dependencies.alarms is not None
    ).attach()
    if dependencies.alarms is not None:
        AlarmsPage(layout, dependencies.alarms, dependencies.roster).attach()
    if servers is not None:
        ServersPage(layout, servers).attach()
        MoveUnitPage(layout, commands, servers).attach()
    AuditPage(layout, dependencies.roster, pool).attach()


def _rate_history(dependencies: Dependencies) -> RateHistory:
    """The rates with the incidents that were told, where there are alarms."""
    alarms = dependencies.alarms
    if alarms is None:
        return RateHistory(dependencies.pool)

    async def incidents() -> Spans:
        return [(past.incident.opened_at, past.incident.closed_at) for past in await alarms.incidents(None, _MARKED)]

    return RateHistory(dependencies.pool, incidents)
