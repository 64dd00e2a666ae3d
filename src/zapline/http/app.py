"""Builds the API as one ASGI application: its routes, request limits, error handlers and security headers."""

import time

from quart import Response
from quart_trio import QuartTrio

from zapline.http.api.accounts.audit_log import AuditLogRoutes
from zapline.http.api.accounts.ceilings import PROBLEMS as CEILING_PROBLEMS
from zapline.http.api.accounts.ceilings import CeilingRoutes
from zapline.http.api.accounts.organization_tokens import OrganizationTokenRoutes
from zapline.http.api.accounts.organizations import PROBLEMS as ORGANIZATION_PROBLEMS
from zapline.http.api.accounts.organizations import OrganizationRoutes
from zapline.http.api.accounts.privacy import PROBLEMS as PRIVACY_PROBLEMS
from zapline.http.api.accounts.privacy import PrivacyRoutes
from zapline.http.api.accounts.tokens import PROBLEMS as TOKEN_PROBLEMS
from zapline.http.api.accounts.tokens import TokenRoutes
from zapline.http.api.campaigns.campaigns import PROBLEMS, CampaignRoutes
from zapline.http.api.campaigns.recipients import LIST_PATH, MAX_LIST
from zapline.http.api.campaigns.suppressions import SuppressionRoutes
from zapline.http.api.directory.contacts import ContactRoutes
from zapline.http.api.directory.groups import PROBLEMS as DIRECTORY_PROBLEMS
from zapline.http.api.directory.groups import GroupRoutes
from zapline.http.api.directory.numbers import NumberRoutes
from zapline.http.api.documentation.reference_page import ReferencePage
from zapline.http.api.documentation.webhook_event_schemas import WEBHOOK_EVENTS
from zapline.http.api.framework.audit_trail import install_audit_trail
from zapline.http.api.framework.authentication import AuthenticationRoutes
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.problems import install_error_handlers
from zapline.http.api.framework.request_validation import install_request_validation
from zapline.http.api.framework.route_table import RouteTable
from zapline.http.api.framework.security_headers import SECURITY_HEADERS
from zapline.http.api.messages.conversations import ConversationRoutes
from zapline.http.api.messages.dead_letters import DeadLetterRoutes
from zapline.http.api.messages.media import MediaRoutes
from zapline.http.api.messages.message_changes import PROBLEMS as CHANGE_PROBLEMS
from zapline.http.api.messages.message_changes import MessageChangeRoutes
from zapline.http.api.messages.message_search import MessageSearchRoutes
from zapline.http.api.messages.messages import MessageRoutes
from zapline.http.api.messages.quick_replies import PROBLEMS as REPLY_PROBLEMS
from zapline.http.api.messages.quick_replies import QuickReplyRoutes
from zapline.http.api.messages.send_endpoint import SendEndpoint, answer_first
from zapline.http.api.messages.uploads import UPLOAD_PATH, UploadRoutes
from zapline.http.api.notifications.alarms import PROBLEMS as ALARM_PROBLEMS
from zapline.http.api.notifications.alarms import AlarmRoutes
from zapline.http.api.notifications.hooks import PROBLEMS as HOOK_PROBLEMS
from zapline.http.api.notifications.hooks import HookRoutes
from zapline.http.api.notifications.live_events import LiveEventRoutes
from zapline.http.api.notifications.organization_events import OrganizationEventRoutes
from zapline.http.api.units.evolution_servers import PROBLEMS as SERVER_PROBLEMS
from zapline.http.api.units.evolution_servers import EvolutionServerRoutes
from zapline.http.api.units.kept_files import PROBLEMS as FILE_PROBLEMS
from zapline.http.api.units.kept_files import KeptFileRoutes
from zapline.http.api.units.line_history import LineHistoryRoutes
from zapline.http.api.units.line_settings import LineSettingsRoutes
from zapline.http.api.units.message_journeys import MessageJourneyRoutes
from zapline.http.api.units.organization_units import OrganizationUnitRoutes
from zapline.http.api.units.pace import PaceRoutes
from zapline.http.api.units.unit_changes import PROBLEMS as UNIT_PROBLEMS
from zapline.http.api.units.unit_changes import UnitChangeRoutes
from zapline.http.api.units.units import UnitRoutes
from zapline.http.console_on_demand import ConsoleOnDemand, combine_apps
from zapline.http.dependencies import Dependencies
from zapline.http.ops.probes import ProbeRoutes
from zapline.http.server.asgi import App
from zapline.http.server.body_limits import BodyLimit, limited_request_class
from zapline.http.server.serve import shield_last_message

MAX_BODY = 1024 * 1024
"""Bytes of an API request; webhooks have a limit of their own."""
_BODY_SECONDS = 15.0
"""Seconds for a body to arrive; below the server's own limit, so that the client gets a problem."""
_LARGE_BODY_SECONDS = 28.0
"""The same for uploads and recipient lists; also below the server's limit."""


def create_app(deps: Dependencies) -> App:
    """The API, and the console under ``/console``."""
    app = QuartTrio("zapline.http", static_folder=None)
    app.request_class = limited_request_class(
        [
            BodyLimit(UPLOAD_PATH, deps.max_upload, _LARGE_BODY_SECONDS),
            BodyLimit(LIST_PATH, MAX_LIST, _LARGE_BODY_SECONDS),
        ]
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["BODY_TIMEOUT"] = _BODY_SECONDS
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # no redirects by the router
    accounts = {**CEILING_PROBLEMS, **ORGANIZATION_PROBLEMS, **TOKEN_PROBLEMS, **PRIVACY_PROBLEMS}
    units = {**UNIT_PROBLEMS, **SERVER_PROBLEMS, **DIRECTORY_PROBLEMS, **CHANGE_PROBLEMS, **REPLY_PROBLEMS}
    units |= FILE_PROBLEMS
    install_error_handlers(app, {**PROBLEMS, **units, **accounts, **HOOK_PROBLEMS, **ALARM_PROBLEMS})
    sign_in = PasswordSignIn(
        deps.identity, deps.audit, deps.auth, deps.factors
    )  # shared, so that both count the same attempts
    _attach(app, deps, sign_in)

    async def add_security_headers(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.after_request(add_security_headers)
    api: App = shield_last_message(app)  # type: ignore[arg-type]  # quart types the scope more narrowly
    if deps.outgoing is not None:
        api = answer_first(SendEndpoint(deps.identity, deps.limits, deps.commands, deps.outgoing), api)
    return combine_apps(api, ConsoleOnDemand(deps, sign_in))


def _attach(app: QuartTrio, deps: Dependencies, sign_in: PasswordSignIn) -> None:
    """Register the routes. A dependency that is None has no routes."""
    routes, commands, pool = RouteTable(app), deps.commands, deps.pool
    auth = AuthenticationRoutes(deps.identity, deps.audit, sign_in, deps.auth, deps.limits)
    auth.attach(app, routes)
    install_request_validation(app, routes)
    install_audit_trail(app, deps.audit)
    TokenRoutes(commands, deps.identity).attach(routes)
    if deps.ceilings is not None:
        CeilingRoutes(deps.ceilings).attach(routes)
    OrganizationRoutes(deps.organizations, pool).attach(routes)
    OrganizationTokenRoutes(deps.organizations, deps.identity).attach(routes)
    OrganizationUnitRoutes(deps.roster, pool).attach(routes)
    AuditLogRoutes(pool).attach(routes)
    UnitRoutes(commands, deps.roster, time.time, pool, deps.region, deps.sending).attach(routes)
    LineHistoryRoutes(commands, pool).attach(routes)
    MessageJourneyRoutes(commands, pool, deps.sending, deps.region).attach(routes)
    if deps.changes is not None:
        UnitChangeRoutes(commands, deps.changes, pool).attach(routes)
    if deps.servers is not None:
        EvolutionServerRoutes(deps.servers, commands).attach(routes)
    if deps.erasures is not None:
        PrivacyRoutes(deps.erasures, pool, deps.audit, deps.auth.trusted, deps.region).attach(routes)
    ConversationRoutes(commands, pool, deps.receipts, deps.region).attach(routes)
    MessageSearchRoutes(commands, pool, deps.searches).attach(routes)
    if deps.outgoing is not None:
        MessageRoutes(commands, deps.outgoing, pool).attach(routes)
        UploadRoutes(commands, deps.outgoing).attach(routes)
        PaceRoutes(commands, deps.outgoing, pool).attach(routes)
    if deps.edits is not None:
        MessageChangeRoutes(commands, deps.edits, pool).attach(routes)
    if deps.replies is not None:
        QuickReplyRoutes(commands, deps.replies, pool).attach(routes)
    if deps.campaigns is not None:
        CampaignRoutes(commands, deps.campaigns, pool).attach(routes)
        SuppressionRoutes(commands, deps.campaigns, pool).attach(routes)
    if deps.line_settings is not None:
        LineSettingsRoutes(commands, deps.line_settings).attach(routes)
    if deps.checks is not None:
        NumberRoutes(commands, deps.checks, deps.region).attach(routes)
    if deps.pictures is not None:
        ContactRoutes(commands, pool, deps.pictures, deps.region).attach(routes)
    if deps.groups is not None:
        GroupRoutes(commands, pool, deps.groups).attach(routes)
    if deps.media is not None:
        MediaRoutes(commands, deps.media, pool).attach(routes)
    if deps.file_policies is not None:
        KeptFileRoutes(commands, deps.file_policies).attach(routes)
    if deps.streams is not None:
        LiveEventRoutes(commands, deps.streams, auth.access_check).attach(routes)
    if deps.streams is not None and deps.events is not None:
        OrganizationEventRoutes(deps.events, deps.streams, pool, auth.caller_check).attach(routes)
    if deps.hooks is not None:
        HookRoutes(commands, deps.hooks, pool).attach(routes)
    if deps.alarms is not None:
        AlarmRoutes(deps.alarms).attach(routes)
    DeadLetterRoutes(commands, pool).attach(routes)
    ProbeRoutes(deps.health, deps.counters, time.time).attach(routes)
    ReferencePage(routes, WEBHOOK_EVENTS if deps.hooks is not None else ()).attach()
