"""Which pages of the console are about units and their lines, about the whole, and what is set for a unit."""

from zapline.http.console.accounts.audit_log import AuditPage
from zapline.http.console.framework.counts import History, Totals
from zapline.http.console.framework.layout import Frame
from zapline.http.console.health.health_page import HealthPage
from zapline.http.console.settings.crm_webhooks import HooksPage
from zapline.http.console.settings.opt_outs import OptOutsPage
from zapline.http.console.settings.sending_settings import SettingsPage
from zapline.http.console.settings.tokens import TokensPage
from zapline.http.console.units.new_unit import NewUnit
from zapline.http.console.units.overview import Overview
from zapline.http.console.units.unit_actions import UnitActions
from zapline.http.console.units.unit_page import UnitPage
from zapline.http.dependencies import Dependencies


def attach_lines(frame: Frame, parts: Dependencies, totals: Totals) -> None:
    """Give the console these pages; those whose parts are not there are left out."""
    history, commands, pool = History(parts.pool), parts.commands, parts.pool
    Overview(frame, parts.roster, parts.health, totals, history).attach()
    NewUnit(frame, commands).attach()
    UnitPage(frame, commands, pool, parts.feed, parts.sending).attach()
    if parts.changes is not None:
        UnitActions(frame, commands, parts.changes).attach()
    if parts.changes is not None and parts.outgoing is not None:
        SettingsPage(frame, commands, parts.changes, parts.outgoing, pool).attach()
    if parts.campaigns is not None:
        OptOutsPage(frame, commands, parts.campaigns, pool).attach()
    TokensPage(frame, commands, parts.identity).attach()
    if parts.hooks is not None:
        HooksPage(frame, commands, parts.hooks, pool).attach()
    HealthPage(frame, parts.health, history).attach()
    AuditPage(frame, parts.roster, pool).attach()
