"""Which pages of the console are about units and their lines, about the whole, and what is set for a unit."""

from zapline.http.console.audit_page import AuditPage
from zapline.http.console.figures import History, Totals
from zapline.http.console.frame import Frame
from zapline.http.console.health_page import HealthPage
from zapline.http.console.hooks_page import HooksPage
from zapline.http.console.new_unit import NewUnit
from zapline.http.console.opt_outs_page import OptOutsPage
from zapline.http.console.overview import Overview
from zapline.http.console.settings_page import SettingsPage
from zapline.http.console.tokens_page import TokensPage
from zapline.http.console.unit_actions import UnitActions
from zapline.http.console.unit_page import UnitPage
from zapline.http.parts import Parts


def attach_lines(frame: Frame, parts: Parts, totals: Totals) -> None:
    """Give the console these pages; those whose parts are not there are left out."""
    history, submit, pool = History(parts.pool), parts.submit, parts.pool
    Overview(frame, parts.roster, parts.health, totals, history).attach()
    NewUnit(frame, submit).attach()
    UnitPage(frame, submit, pool, parts.feed, parts.sending).attach()
    if parts.changes is not None:
        UnitActions(frame, submit, parts.changes).attach()
    if parts.changes is not None and parts.outgoing is not None:
        SettingsPage(frame, submit, parts.changes, parts.outgoing, pool).attach()
    if parts.campaigns is not None:
        OptOutsPage(frame, submit, parts.campaigns, pool).attach()
    TokensPage(frame, submit, parts.identity).attach()
    if parts.hooks is not None:
        HooksPage(frame, submit, parts.hooks, pool).attach()
    HealthPage(frame, parts.health, history).attach()
    AuditPage(frame, parts.roster, pool).attach()
