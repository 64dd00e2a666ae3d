"""The API as one ASGI application: which resources it has, what stands before and behind every request."""

import time

from quart import Response
from quart_trio import QuartTrio

from zapline.http.api.accounts.audit_log import AuditLogRoutes
from zapline.http.api.accounts.privacy import PROBLEMS as PRIVACY_PROBLEMS
from zapline.http.api.accounts.privacy import PrivacyRoutes
from zapline.http.api.accounts.tokens import PROBLEMS as TOKEN_PROBLEMS
from zapline.http.api.accounts.tokens import TokenRoutes
from zapline.http.api.campaigns.campaigns import LIST_PATH, MAX_LIST, PROBLEMS, CampaignRoutes
from zapline.http.api.campaigns.suppressions import SuppressionRoutes
from zapline.http.api.documentation.reference_page import ReferencePage
from zapline.http.api.documentation.webhook_event_schemas import WEBHOOK_EVENTS
from zapline.http.api.framework import problems, request_validation
from zapline.http.api.framework.audit_trail import install_audit_trail
from zapline.http.api.framework.authentication import AuthenticationRoutes
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.route_table import RouteTable
from zapline.http.api.messages.conversations import ConversationRoutes
from zapline.http.api.messages.dead_letters import DeadLetterRoutes
from zapline.http.api.messages.media import MediaRoutes
from zapline.http.api.messages.messages import MessageRoutes
from zapline.http.api.messages.uploads import UPLOAD_PATH, UploadRoutes
from zapline.http.api.notifications.hooks import PROBLEMS as HOOK_PROBLEMS
from zapline.http.api.notifications.hooks import HookRoutes
from zapline.http.api.notifications.live_events import LiveEventRoutes
from zapline.http.api.units.pace import PaceRoutes
from zapline.http.api.units.unit_changes import PROBLEMS as UNIT_PROBLEMS
from zapline.http.api.units.unit_changes import UnitChangeRoutes
from zapline.http.api.units.units import UnitRoutes
from zapline.http.console.app import combine_apps, create_console
from zapline.http.dependencies import Dependencies
from zapline.http.ops.probes import ProbeRoutes
from zapline.http.server.body_limits import BodyLimit, limited_request_class
from zapline.http.server.serve import App, shield_last_message

MAX_BODY = 1024 * 1024
"""Bytes of a request to the API; webhooks have a limit of their own."""
_BODY_WITHIN = 15.0
"""Seconds for a body to arrive; below the server's own limit, so that the answer is a problem of ours."""
_LARGE_WITHIN = 28.0
"""The same for files and long lists; what is still below the server's limit."""
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Frame-Options": "DENY",
}
"""Answers hold people's messages: no cache keeps them, no browser guesses what they are, runs anything of them or
tells where it was. The console and the reference, which are pages, have policies of their own."""


def create_app(parts: Dependencies) -> App:
    """The API, and the console beside it."""
    app = QuartTrio("zapline.http", static_folder=None)
    app.request_class = limited_request_class(
        [BodyLimit(UPLOAD_PATH, parts.max_upload, _LARGE_WITHIN), BodyLimit(LIST_PATH, MAX_LIST, _LARGE_WITHIN)]
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["BODY_TIMEOUT"] = _BODY_WITHIN
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a redirect would be answered by nothing of ours
    problems.install_error_handlers(app, {**PROBLEMS, **UNIT_PROBLEMS, **TOKEN_PROBLEMS, **PRIVACY_PROBLEMS, **HOOK_PROBLEMS})
    sign_in = PasswordSignIn(parts.identity, parts.audit, parts.auth)  # one for both: they count the same attempts
    _attach(app, parts, sign_in)

    async def harden(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.after_request(harden)
    api: App = shield_last_message(app)  # type: ignore[arg-type]  # quart types the scope more narrowly
    return combine_apps(api, create_console(parts, sign_in))


def _attach(app: QuartTrio, parts: Dependencies, sign_in: PasswordSignIn) -> None:
    """Give the application its routes."""
    routes, commands, pool = RouteTable(app), parts.commands, parts.pool
    auth = AuthenticationRoutes(parts.identity, parts.audit, sign_in, parts.auth)
    auth.attach(app, routes)
    request_validation.install_request_validation(app, routes)
    install_audit_trail(app, parts.audit)
    TokenRoutes(commands, parts.identity).attach(routes)
    AuditLogRoutes(pool).attach(routes)
    UnitRoutes(commands, parts.roster, time.time, pool, parts.sending).attach(routes)
    if parts.changes is not None:
        UnitChangeRoutes(commands, parts.changes, pool).attach(routes)
    if parts.erasures is not None:
        PrivacyRoutes(parts.erasures, pool, parts.audit, parts.auth.trusted, parts.region).attach(routes)
    ConversationRoutes(commands, pool, parts.receipts).attach(routes)
    if parts.outgoing is not None:
        MessageRoutes(commands, parts.outgoing, pool).attach(routes)
        UploadRoutes(commands, parts.outgoing).attach(routes)
        PaceRoutes(commands, parts.outgoing, pool).attach(routes)
    if parts.campaigns is not None:
        CampaignRoutes(commands, parts.campaigns, pool).attach(routes)
        SuppressionRoutes(commands, parts.campaigns, pool).attach(routes)
    if parts.media is not None:
        MediaRoutes(commands, parts.media, pool).attach(routes)
    if parts.streams is not None:
        LiveEventRoutes(commands, parts.streams, auth.access_check).attach(routes)
    if parts.hooks is not None:
        HookRoutes(commands, parts.hooks, pool).attach(routes)
    DeadLetterRoutes(commands, pool).attach(routes)
    ProbeRoutes(parts.health, parts.counters, time.time).attach(routes)
    ReferencePage(routes, WEBHOOK_EVENTS if parts.hooks is not None else ()).attach()
