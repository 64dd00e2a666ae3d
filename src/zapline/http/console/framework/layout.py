"""Registers the console's routes and navigation, renders its templates, and audits the changes that pages make."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from operator import attrgetter
from typing import Any
from uuid import UUID

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from quart import Response, g, redirect, request
from quart_trio import QuartTrio

from zapline import __version__
from zapline.domain.errors import LocalError
from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.http.api.framework.audit_trail import audited_change
from zapline.http.api.framework.current_principal import current_principal
from zapline.http.console.access.page_access import Needs, fulfils, needs_of
from zapline.http.console.framework import formatting
from zapline.http.console.framework.flash_messages import Flash, Flashes, Tone
from zapline.http.console.framework.formatting import error_text
from zapline.http.console.framework.session_guard import CSRF_FIELD, ConsoleOrigin, form_token
from zapline.http.console.framework.static_assets import StaticAssets
from zapline.http.console.framework.translation import LANGUAGES, _, language, ngettext
from zapline.http.server.client_address import client_address
from zapline.supervisors.accounts.audit_log import AuditedChange, AuditLog
from zapline.supervisors.units.unit_commands import UnknownUnit

Handler = Callable[..., Awaitable[Any]]
Change = Callable[[], Awaitable[object]]
_UNIT_PATH = re.compile(r"/console/units/([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})")
THEME_COOKIE = "zapline-look"
THEMES = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """An entry of a navigation, in the order of ``position``. ``label`` is marked; ``path`` may hold ``{unit}``."""

    name: str
    label: str
    path: str
    position: int
    count: Callable[[UnitId | None], int] | None = None
    """How many things wait there, from memory."""


class Layout:
    """The one layout of the console, to which the pages attach; ``access.page_access`` says who reaches them."""

    def __init__(self, app: QuartTrio, origin: ConsoleOrigin, audit: AuditLog) -> None:
        self._app = app
        self._audit = audit
        self.origin = origin
        self.assets = StaticAssets()
        self.flashes = Flashes()
        self.public_endpoints: set[str] = set()
        self.needs: dict[str, Needs] = {}
        """What each page and form that is not public needs, by its endpoint."""
        self.sections: list[NavigationLink] = []
        self.tabs: list[NavigationLink] = []
        self._templates = _environment(self)

    # -- routes and navigation -------------------------------------------------------------------------------

    def get(self, path: str, name: str, handler: Handler, *, public: bool = False) -> None:
        """Serve a page; a ``public`` one needs no session."""
        self._add_route("GET", path, name, handler, public)

    def post(self, path: str, name: str, handler: Handler, *, public: bool = False) -> None:
        """Accept a form. Its origin is checked before ``handler`` runs, and its token unless it is ``public``."""
        self._add_route("POST", path, name, handler, public)

    def _add_route(self, method: str, path: str, name: str, handler: Handler, public: bool) -> None:
        if public:
            self.public_endpoints.add(name)
        else:
            self.needs[name] = needs_of(method, path)
        self._app.add_url_rule(path, name, handler, methods=[method])

    def add_section(self, link: NavigationLink) -> None:
        """Link to a page from every page."""
        self.sections = sorted([*self.sections, link], key=attrgetter("position"))

    def add_tab(self, link: NavigationLink) -> None:
        """Link to a page from every page of a unit."""
        self.tabs = sorted([*self.tabs, link], key=attrgetter("position"))

    # -- answers ---------------------------------------------------------------------------------------------

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """Render a page, or a part of one.

        ``at`` names its section or tab, ``unit`` is the record of the unit whose page it is, and ``events`` the path
        of the stream that updates its live parts.
        """
        values = {"at": None, "unit": None, "events": None, "title": None, **values}
        text = self._templates.get_template(template).render(values)
        return Response(text, status, content_type="text/html; charset=utf-8")

    def redirect(self, path: str, tone: Tone | None = None, text: str = "") -> Response:
        """Redirect after a form; the next page shows ``text`` (translated already) once."""
        if tone is not None and g.get("session"):
            self.flashes.add(g.session, Flash(tone, text))
        answer: Response = redirect(path, 303)  # type: ignore[assignment]  # typed as werkzeug's
        return answer

    def audited(self, action: str, unit: UnitId | None = None, target: str | None = None) -> AuditedChange:
        """Audit a change: ``async with layout.audited("rename_unit", unit) as line``, then ``line.note(name=...)``.

        Actions have the names of the API's operations. Raises DatabaseUnavailable before anything is done.
        """
        return audited_change(self._audit, current_principal(), self.client_address(), action, unit, target)

    async def perform(
        self,
        action: str,
        unit: UUID,
        target: str | None,
        change: Change,
        back: str,
        done: str,
        refusals: Any = LocalError,
    ) -> Response:
        """Audit a change and redirect to ``back``, which shows ``done`` or the refusal. Raises all other errors."""
        try:
            async with self.audited(action, UnitId(unit), target):
                await change()
        except UnknownUnit:
            raise
        except refusals as refused:
            return self.redirect(back, Tone.BAD, error_text(refused))
        return self.redirect(back, Tone.GOOD if done else None, done)

    def client_address(self) -> str:
        """The address of the browser, for the audit log."""
        return client_address(request.scope, self.origin.trusted_proxies)


def _reached(links: list[NavigationLink], unit: UnitId | None = None) -> list[NavigationLink]:
    """The links that lead the person of this request somewhere."""
    return [link for link in links if _reaches(link.path.format(unit=unit))]


def _reaches(path: str, method: str = "GET") -> bool:
    """For templates: whether the address of a page or form is open to the person."""
    principal: Principal | None = g.get("principal")
    path = path.partition("?")[0]
    of_unit = _UNIT_PATH.match(path)
    pattern = f"/console/units/<uuid:unit>{path[of_unit.end() :]}" if of_unit else path
    unit = UnitId(UUID(of_unit[1])) if of_unit else None
    return principal is not None and fulfils(principal, needs_of(method, pattern), unit)


def query_number(name: str, default: int, maximum: int) -> int:
    """A whole number of the query, clamped to 0..``maximum``: people edit the addresses of pages by hand."""
    text = request.args.get(name, "")
    return min(int(text), maximum) if text.isascii() and text.isdigit() and len(text) < 19 else default


def query_text(name: str, max_length: int = 100) -> str:
    """A text of the query, cut to ``max_length``; empty if it is missing."""
    return request.args.get(name, "")[:max_length].replace("\0", "").strip()


def _template_packages() -> list[str]:
    """Packages of the console that have templates; the names of all templates are unique."""
    console = __package__.rpartition(".")[0]
    names = [package.name for package in files(console).iterdir() if package.joinpath("templates").is_dir()]
    return [f"{console}.{name}" for name in sorted(names)]


def _environment(layout: Layout) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in _template_packages()]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {
        "_": _,
        "ngettext": ngettext,
        "language": language,
        "LANGUAGES": LANGUAGES,
        "THEMES": THEMES,
        "theme": _theme,
        "version": __version__,
        "asset": layout.assets.path,
        "csrf": _form_token_field,
        "principal": lambda: g.get("principal"),
        "current_path": _current_path,
        "flashes": lambda: layout.flashes.take(g.session) if g.get("session") else [],
        "sections": lambda: _reached(layout.sections),
        "tabs": lambda unit: _reached(layout.tabs, unit),
        "reaches": _reaches,
        "script_texts": lambda: {text: _(text) for text in formatting.SCRIPT_TEXTS},
        "now": formatting.now_iso,
        "when": formatting.when,
        "stamp": formatting.stamp,
        "date_time": formatting.date_time,
        "clock_time": formatting.clock_time,
        "iso_time": formatting.iso_time,
        "number": formatting.number,
        "masked": formatting.masked,
    }
    return environment


def _form_token_field() -> Markup:
    """The hidden field that every form of a session carries."""
    session = g.get("session")
    token = form_token(session) if session else ""
    return Markup('<input type="hidden" name="{}" value="{}">').format(CSRF_FIELD, token)


def _current_path() -> str:
    """The path that shows this page again; the overview's for a page that answers a form."""
    return request.full_path.rstrip("?") if request.method == "GET" else "/console/"


def _theme() -> str:
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"
