"""Which pages of the console are about units and their lines, about the whole, and what is set for a unit."""

from zapline.http.console.accounts.audit_log import AuditPage
from zapline.http.console.framework.counts import RateHistory, TotalsCache
from zapline.http.console.framework.layout import Layout
from zapline.http.console.health.health_page import HealthPage
from zapline.http.console.settings.crm_webhooks import CrmWebhookPages
from zapline.http.console.settings.opt_outs import OptOutsPage
from zapline.http.console.settings.sending_settings import SettingsPage
from zapline.http.console.settings.tokens import TokensPage
from zapline.http.console.units.new_unit import NewUnitPage
from zapline.http.console.units.overview import OverviewPage
from zapline.http.console.units.unit_actions import UnitActions
from zapline.http.console.units.unit_page import UnitPage
from zapline.http.dependencies import Dependencies


def attach_unit_pages(layout: Layout, parts: Dependencies, totals: TotalsCache) -> None:
    """Give the console these pages; those whose parts are not there are left out."""
    history, commands, pool = RateHistory(parts.pool), parts.commands, parts.pool
    OverviewPage(layout, parts.roster, parts.health, totals, history).attach()
    NewUnitPage(layout, commands).attach()
    UnitPage(layout, commands, pool, parts.feed, parts.sending).attach()
    if parts.changes is not None:
        UnitActions(layout, commands, parts.changes).attach()
    if parts.changes is not None and parts.outgoing is not None:
        SettingsPage(layout, commands, parts.changes, parts.outgoing, pool).attach()
    if parts.campaigns is not None:
        OptOutsPage(layout, commands, parts.campaigns, pool).attach()
    TokensPage(layout, commands, parts.identity).attach()
    if parts.hooks is not None:
        CrmWebhookPages(layout, commands, parts.hooks, pool).attach()
    HealthPage(layout, parts.health, history).attach()
    AuditPage(layout, parts.roster, pool).attach()
