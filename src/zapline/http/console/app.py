"""The console as one ASGI application of its own: its gate, its headers, and which pages it has."""

from quart import Response, g, request
from quart_trio import QuartTrio

from zapline.http.api.accounts.tokens import PROBLEMS as TOKEN_PROBLEMS
from zapline.http.api.campaigns.campaigns import PROBLEMS
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.problems import COMMON_PROBLEMS
from zapline.http.api.notifications.hooks import PROBLEMS as HOOK_PROBLEMS
from zapline.http.api.units.unit_changes import PROBLEMS as UNIT_PROBLEMS
from zapline.http.console.accounts.about import About
from zapline.http.console.accounts.preferences import Preferences
from zapline.http.console.accounts.sign_in import SignInPages, way_in
from zapline.http.console.framework.counts import Totals
from zapline.http.console.framework.error_pages import Errors
from zapline.http.console.framework.layout import Frame
from zapline.http.console.framework.live_updates import Live
from zapline.http.console.framework.session_guard import IDLE, LIVE, Front, check_form, check_origin, presented
from zapline.http.console.framework.static_assets import PREFIX
from zapline.http.console.framework.translation import choose_language
from zapline.http.console.message_routes import attach_messages, larger
from zapline.http.console.unit_routes import attach_lines
from zapline.http.dependencies import Dependencies
from zapline.http.server.body_limits import limited_request_class
from zapline.http.server.serve import App, Message, Receive, Scope, Send, shield_last_message

_MAX_FORM = 1024 * 1024
_FORM_WITHIN = 15.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Nothing of a page comes from elsewhere or stands in the page itself as script or style; no cache keeps it."""


def create_console(parts: Dependencies, sessions: PasswordSignIn) -> App:
    """The console, for what lies under ``/console/``."""
    app = QuartTrio("zapline.http.console", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = _MAX_FORM
    app.config["BODY_TIMEOUT"] = _FORM_WITHIN
    app.request_class = limited_request_class(larger(parts.max_upload))
    app.url_map.merge_slashes = False
    frame = Frame(app, Front(parts.auth.trusted, parts.base_url), parts.audit)
    Errors(frame, {**COMMON_PROBLEMS, **PROBLEMS, **UNIT_PROBLEMS, **TOKEN_PROBLEMS, **HOOK_PROBLEMS}).attach(app)
    _guard(app, frame, sessions)
    _attach(frame, parts, sessions)
    return shield_last_message(app)  # type: ignore[arg-type]  # quart types the scope more narrowly


def _attach(frame: Frame, parts: Dependencies, sessions: PasswordSignIn) -> None:
    """Give the console its pages."""
    frame.get(PREFIX + "<name>", "asset", frame.assets.serve, open=True)
    Preferences(frame).attach()
    SignInPages(frame, sessions).attach()
    About(frame).attach()
    if parts.streams is not None:
        Live(frame, sessions, parts.streams, parts.commands).attach()
    totals = Totals(parts.pool)
    attach_lines(frame, parts, totals)
    attach_messages(frame, parts, totals)


def _guard(app: QuartTrio, frame: Frame, sessions: PasswordSignIn) -> None:
    """Ask every request for its session, and every form for where it comes from."""

    async def gate() -> Response | None:
        choose_language()
        g.principal = g.session = None
        if request.method == "POST":
            check_origin(frame.front)
        if request.endpoint == "asset":
            return None
        token = presented(frame.front)
        if token is not None:
            g.principal = await sessions.session(token, use=IDLE not in request.headers)
            g.session = token if g.principal is not None else None
        if request.endpoint is None or request.endpoint in frame.open:
            return None
        if g.principal is None:
            return Response(b"", 401) if LIVE in request.headers else frame.go(way_in())
        if request.method == "POST":
            await check_form()
        return None

    async def harden(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.before_request(gate)
    app.after_request(harden)


def beside(api: App, console: App) -> App:
    """Both under one address: the console below ``/console``, and who asks for the root is led there."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path == "/" or path == "/console" or path.startswith("/console/")):
            await api(scope, receive, send)
        elif path.startswith("/console/"):
            await console(scope, receive, send)
        else:
            await send(_LEAD_ON)
            await send({"type": "http.response.body", "body": b""})

    return dispatch


_LEAD_ON: Message = {
    "type": "http.response.start",
    "status": 302,
    "headers": [(b"location", b"/console/"), (b"cache-control", b"no-store"), (b"content-length", b"0")],
}
