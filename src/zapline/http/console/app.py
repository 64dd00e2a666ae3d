"""Builds the console's ASGI application: its pages, its session guard and its security headers."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from uuid import UUID

from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.datastructures import MultiDict

from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.http.api.accounts.organizations import PROBLEMS as ORGANIZATION_PROBLEMS
from zapline.http.api.accounts.tokens import PROBLEMS as TOKEN_PROBLEMS
from zapline.http.api.campaigns.campaigns import PROBLEMS
from zapline.http.api.framework.password_sign_in import PasswordSignIn
from zapline.http.api.framework.problems import COMMON_PROBLEMS, Problem
from zapline.http.api.notifications.hooks import PROBLEMS as HOOK_PROBLEMS
from zapline.http.api.units.unit_changes import PROBLEMS as UNIT_PROBLEMS
from zapline.http.console.access.page_access import Needs, fulfils, shown_units
from zapline.http.console.access.seen_units import SeenRoster, show_units
from zapline.http.console.accounts.about import AboutPage
from zapline.http.console.accounts.account import AccountPage
from zapline.http.console.accounts.invitation import InvitationPage
from zapline.http.console.accounts.people import PeoplePages
from zapline.http.console.accounts.preferences import PreferenceForm
from zapline.http.console.accounts.sign_in import SignInPages, sign_in_path
from zapline.http.console.framework.counts import TotalsCache
from zapline.http.console.framework.error_pages import ErrorPages
from zapline.http.console.framework.layout import Layout
from zapline.http.console.framework.live_updates import LiveEvents
from zapline.http.console.framework.session_guard import (
    IDLE_HEADER,
    LIVE_HEADER,
    ConsoleOrigin,
    check_form_token,
    check_origin,
    presented_session,
)
from zapline.http.console.framework.static_assets import STATIC_PREFIX
from zapline.http.console.framework.translation import choose_language
from zapline.http.console.inbox.colleagues import ColleagueParts, presence_of
from zapline.http.console.message_routes import attach_message_pages, large_forms
from zapline.http.console.unit_routes import attach_unit_pages
from zapline.http.dependencies import Dependencies
from zapline.http.server.asgi import App
from zapline.http.server.body_limits import limited_request_class
from zapline.http.server.fair_places import hold_for
from zapline.http.server.serve import shield_last_message
from zapline.supervisors.conversations.colleagues import Colleagues
from zapline.supervisors.units.unit_commands import UnknownUnit

_MAX_FORM = 1024 * 1024
_FORM_TIMEOUT = 15.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(self), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Pages load nothing from other hosts, hold no inline script or style, and are not cached."""


def create_console(dependencies: Dependencies, sessions: PasswordSignIn) -> App:
    """The application for the paths below ``/console/``."""
    app = QuartTrio("zapline.http.console", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = app.config["MAX_FORM_MEMORY_SIZE"] = _MAX_FORM
    app.config["BODY_TIMEOUT"] = _FORM_TIMEOUT
    app.request_class = limited_request_class(large_forms(dependencies.max_upload))
    app.url_map.merge_slashes = False
    layout = Layout(app, ConsoleOrigin(dependencies.auth.trusted, dependencies.base_url), dependencies.audit)
    of_accounts = {**ORGANIZATION_PROBLEMS, **TOKEN_PROBLEMS}
    ErrorPages(layout, {**COMMON_PROBLEMS, **PROBLEMS, **UNIT_PROBLEMS, **of_accounts, **HOOK_PROBLEMS}).attach(app)
    _install_session_guard(app, layout, sessions)
    _attach_pages(layout, replace(dependencies, roster=SeenRoster(dependencies.roster)), sessions)
    return shield_last_message(app)  # type: ignore[arg-type]  # quart types the scope more narrowly


def _attach_pages(layout: Layout, dependencies: Dependencies, sessions: PasswordSignIn) -> None:
    """Attach all pages."""
    layout.get(STATIC_PREFIX + "<name>", "asset", layout.assets.serve, public=True)
    PreferenceForm(layout).attach()
    SignInPages(layout, sessions, dependencies.factors).attach()
    AccountPage(layout, dependencies.factors, dependencies.identity, sessions).attach()
    AboutPage(layout).attach()
    PeoplePages(layout, dependencies.people, dependencies.factors, dependencies.roster, dependencies.base_url).attach()
    InvitationPage(layout, dependencies.people, sessions).attach()
    if dependencies.streams is not None:
        colleagues = Colleagues(dependencies.feed) if dependencies.feed is not None else None
        presence = partial(presence_of, colleagues) if colleagues is not None else None
        LiveEvents(layout, sessions, dependencies.streams, dependencies.commands, presence).attach()
        if colleagues is not None:
            ColleagueParts(layout, dependencies.commands, colleagues).attach()
    totals = TotalsCache(dependencies.pool)
    attach_unit_pages(layout, dependencies, totals)
    attach_message_pages(layout, dependencies, totals)


async def _check_access(needs: Needs, principal: Principal) -> None:
    """One rule for every page and form. Raises UnknownUnit, and Problem 403 for what the person's role does not allow.

    Every unit that is named is checked, in the address, the query and the form; everything else that the request reads
    is limited to the units in which the person has what the page needs.
    """
    show_units(shown_units(principal, needs))
    if principal.must_enroll and needs is not Needs.SIGNED_IN:
        raise Problem(403, "forbidden", "a second factor is required of you; set one up on the page of your account")
    units = [*_named_units(request.args)]
    if (of_path := (request.view_args or {}).get("unit")) is not None:
        units.append(of_path)
    if request.method == "POST":
        units += _named_units(await request.form)
    named = list(map(UnitId, units))
    if not all(map(principal.sees, named)):
        raise UnknownUnit("there is no such unit")
    if not all(fulfils(principal, needs, unit) for unit in (named or (None,))):
        raise Problem(403, "forbidden", "your role does not allow this")


def _named_units(fields: MultiDict[str, str]) -> list[UUID]:
    texts = [text for name in ("unit", "unitId") for text in fields.getlist(name)]
    found = []
    for text in texts:
        with suppress(ValueError):  # a name, or a number of something else
            found.append(UUID(text.strip()))
    return found


def _install_session_guard(app: QuartTrio, layout: Layout, sessions: PasswordSignIn) -> None:
    """Check the session of every request, and the origin and token of every form."""

    async def check_session() -> Response | None:
        choose_language()
        g.principal = g.session = None
        if request.method == "POST":
            check_origin(layout.origin)
        if request.endpoint == "asset":
            return None
        token = presented_session(layout.origin)
        if token is not None:
            g.principal = await sessions.session(token, use=IDLE_HEADER not in request.headers)
            g.session = token if g.principal is not None else None
        if g.principal is not None:
            hold_for(request.scope, ("caller", g.principal.id))
        if request.endpoint is None or request.endpoint in layout.public_endpoints:
            return None
        if g.principal is None:
            return Response(b"", 401) if LIVE_HEADER in request.headers else layout.redirect(sign_in_path())
        if request.method == "POST":
            await check_form_token()
        await _check_access(layout.needs[request.endpoint], g.principal)
        return None

    async def add_security_headers(response: Response) -> Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.before_request(check_session)
    app.after_request(add_security_headers)
