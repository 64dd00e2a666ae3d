"""The API as one ASGI application: which resources it has, what stands before and behind every request."""

import time

from quart import Response
from quart_trio import QuartTrio

from zapline.http.api.accounts.audit_log import AuditLines
from zapline.http.api.accounts.privacy import PROBLEMS as PRIVACY_PROBLEMS
from zapline.http.api.accounts.privacy import Privacy
from zapline.http.api.accounts.tokens import PROBLEMS as TOKEN_PROBLEMS
from zapline.http.api.accounts.tokens import Tokens
from zapline.http.api.campaigns.campaigns import LIST_PATH, MAX_LIST, PROBLEMS, CampaignPages
from zapline.http.api.campaigns.suppressions import Suppressions
from zapline.http.api.documentation.reference_page import Reference
from zapline.http.api.documentation.webhook_event_schemas import TOLD
from zapline.http.api.framework import problems, request_validation
from zapline.http.api.framework.audit_trail import attach_auditing
from zapline.http.api.framework.authentication import Auth
from zapline.http.api.framework.password_sign_in import SignIn
from zapline.http.api.framework.routes import Routes
from zapline.http.api.messages.conversations import Conversations
from zapline.http.api.messages.dead_letters import DeadLetters
from zapline.http.api.messages.media import MediaFiles
from zapline.http.api.messages.messages import Messages
from zapline.http.api.messages.uploads import UPLOAD_PATH, Uploads
from zapline.http.api.notifications.hooks import PROBLEMS as HOOK_PROBLEMS
from zapline.http.api.notifications.hooks import HookPages
from zapline.http.api.notifications.live_events import Events
from zapline.http.api.units.pace import Paces
from zapline.http.api.units.unit_changes import PROBLEMS as UNIT_PROBLEMS
from zapline.http.api.units.unit_changes import UnitLife
from zapline.http.api.units.units import Units
from zapline.http.console.app import beside, create_console
from zapline.http.dependencies import Parts
from zapline.http.ops.probes import Ops
from zapline.http.server.body_limits import Larger, request_class
from zapline.http.server.serve import App, finish_shielded

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


def create_app(parts: Parts) -> App:
    """The API, and the console beside it."""
    app = QuartTrio("zapline.http", static_folder=None)
    app.request_class = request_class(
        [Larger(UPLOAD_PATH, parts.max_upload, _LARGE_WITHIN), Larger(LIST_PATH, MAX_LIST, _LARGE_WITHIN)]
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["BODY_TIMEOUT"] = _BODY_WITHIN
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # a redirect would be answered by nothing of ours
    problems.install(app, {**PROBLEMS, **UNIT_PROBLEMS, **TOKEN_PROBLEMS, **PRIVACY_PROBLEMS, **HOOK_PROBLEMS})
    sign_in = SignIn(parts.identity, parts.audit, parts.auth)  # one for both: they count the same attempts
    _attach(app, parts, sign_in)

    async def harden(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.after_request(harden)
    api: App = finish_shielded(app)  # type: ignore[arg-type]  # quart types the scope more narrowly
    return beside(api, create_console(parts, sign_in))


def _attach(app: QuartTrio, parts: Parts, sign_in: SignIn) -> None:
    """Give the application its routes."""
    routes, submit, pool = Routes(app), parts.submit, parts.pool
    auth = Auth(parts.identity, parts.audit, sign_in, parts.auth)
    auth.attach(app, routes)
    request_validation.install(app, routes)
    attach_auditing(app, parts.audit)
    Tokens(submit, parts.identity).attach(routes)
    AuditLines(pool).attach(routes)
    Units(submit, parts.roster, time.time, pool, parts.sending).attach(routes)
    if parts.changes is not None:
        UnitLife(submit, parts.changes, pool).attach(routes)
    if parts.erasures is not None:
        Privacy(parts.erasures, pool, parts.audit, parts.auth.trusted, parts.region).attach(routes)
    Conversations(submit, pool, parts.receipts).attach(routes)
    if parts.outgoing is not None:
        Messages(submit, parts.outgoing, pool).attach(routes)
        Uploads(submit, parts.outgoing).attach(routes)
        Paces(submit, parts.outgoing, pool).attach(routes)
    if parts.campaigns is not None:
        CampaignPages(submit, parts.campaigns, pool).attach(routes)
        Suppressions(submit, parts.campaigns, pool).attach(routes)
    if parts.media is not None:
        MediaFiles(submit, parts.media, pool).attach(routes)
    if parts.streams is not None:
        Events(submit, parts.streams, auth.recognised).attach(routes)
    if parts.hooks is not None:
        HookPages(submit, parts.hooks, pool).attach(routes)
    DeadLetters(submit, pool).attach(routes)
    Ops(parts.health, parts.counters, time.time).attach(routes)
    Reference(routes, TOLD if parts.hooks is not None else ()).attach()
