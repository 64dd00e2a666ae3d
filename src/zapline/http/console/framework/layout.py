"""What all pages of the console stand on: their routes, their layout, who looks at them, and what they may say."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from quart import Response, g, redirect, request
from quart_trio import QuartTrio

from zapline import __version__
from zapline.domain.ids import UnitId
from zapline.domain.principals import Principal
from zapline.http.api.framework.audit_trail import audited_change
from zapline.http.console.framework import formatting
from zapline.http.console.framework.flash_messages import Flash, Flashes, Tone
from zapline.http.console.framework.forms import Form, read_form
from zapline.http.console.framework.session_guard import FORM_TOKEN_FIELD, ConsoleOrigin, form_token
from zapline.http.console.framework.static_assets import StaticAssets
from zapline.http.console.framework.translation import LANGUAGES, _, language, ngettext
from zapline.http.server.client_address import client_address
from zapline.supervisors.accounts.audit_log import AuditedChange, AuditLog

Handler = Callable[..., Awaitable[Any]]
THEME_COOKIE = "zapline-look"
THEMES = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """An entry of a navigation. ``path`` may hold ``{unit}``; ``place`` orders them."""

    name: str
    label: str
    path: str
    place: int
    count: Callable[[UnitId | None], int] | None = None
    """How much waits there, by what is known just now."""


class Layout:
    """One for the console; the pages are attached to it. Only administrators come past its gate."""

    def __init__(self, app: QuartTrio, front: ConsoleOrigin, audit: AuditLog) -> None:
        self._app = app
        self._audit = audit
        self.front = front
        self.assets = StaticAssets()
        self.flashes = Flashes()
        self.open: set[str] = set()
        """Endpoints that need no session."""
        self.sections: list[NavigationLink] = []
        self.tabs: list[NavigationLink] = []
        self._templates = _environment(self)

    # -- routes and navigation -------------------------------------------------------------------------------

    def get(self, path: str, name: str, handler: Handler, *, open: bool = False) -> None:
        """Serve a page. ``open``: without a session too."""
        self._add("GET", path, name, handler, open)

    def post(self, path: str, name: str, handler: Handler, *, open: bool = False) -> None:
        """Take a form. Its origin is checked, and unless it is ``open`` its token, before ``handler`` sees it."""
        self._add("POST", path, name, handler, open)

    def _add(self, method: str, path: str, name: str, handler: Handler, open: bool) -> None:
        if open:
            self.open.add(name)
        self._app.add_url_rule(path, name, handler, methods=[method])

    def section(
        self, name: str, label: str, path: str, place: int, count: Callable[[UnitId | None], int] | None = None
    ) -> None:
        """Lead to a page from every page. ``label`` is marked for translation."""
        self.sections = sorted([*self.sections, NavigationLink(name, label, path, place, count)], key=lambda link: link.place)

    def tab(
        self, name: str, label: str, path: str, place: int, count: Callable[[UnitId | None], int] | None = None
    ) -> None:
        """Lead to a page from every page of a unit."""
        self.tabs = sorted([*self.tabs, NavigationLink(name, label, path, place, count)], key=lambda link: link.place)

    # -- answers ---------------------------------------------------------------------------------------------

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one.

        ``at`` names the section or tab it belongs to, ``unit`` (a record) whose page it is, and ``events`` the stream
        that its live parts listen to.
        """
        text = self.text(template, **values)
        return Response(text, status, content_type="text/html; charset=utf-8")

    def text(self, template: str, **values: Any) -> str:
        """The same as text."""
        return self._templates.get_template(template).render(_with_defaults(values))

    def go(self, path: str, tone: Tone | None = None, text: str = "") -> Response:
        """Lead on after a form; there, ``text`` is shown once."""
        if tone is not None:
            self.say(tone, text)
        answer: Response = redirect(path, 303)  # type: ignore[assignment]  # werkzeug's, made by Quart's class
        return answer

    def say(self, tone: Tone, text: str) -> None:
        """Show this on the next page that this session sees. ``text`` is translated already."""
        if g.get("session"):
            self.flashes.add(g.session, Flash(tone, text))

    async def read_form(self) -> Form:
        """The form that was sent."""
        return await read_form()

    def audited(self, action: str, unit: UnitId | None = None, target: str | None = None) -> AuditedChange:
        """Stand around a change: ``async with frame.audited("rename_unit", unit) as line``, ``line.note(name=...)``.

        Actions are called as the API's operations that do the same. Raises DatabaseUnavailable before anything is done.
        """
        return audited_change(self._audit, current_principal(), self.source(), action, unit, target)

    def source(self) -> str:
        """The address of who asks."""
        return client_address(request.scope, self.front.trusted)


def current_principal() -> Principal:
    """The administrator who looks at the page; only behind the gate."""
    found: Principal = g.principal
    return found


def query_number(name: str, usual: int, most: int) -> int:
    """A whole number of the query, made fit: a page's address may be typed by hand."""
    text = request.args.get(name, "")
    return min(max(int(text), 0), most) if text.isascii() and text.isdigit() and len(text) < 19 else usual


def query_text(name: str, most: int = 100) -> str:
    """A text of the query; empty where there is none."""
    return request.args.get(name, "")[:most].replace("\0", "").strip()


def _with_defaults(values: Mapping[str, object]) -> dict[str, object]:
    return {"at": None, "unit": None, "events": None, "title": None, **values}


def _template_packages() -> list[str]:
    """Packages of the console that have templates; the names of all templates are unique."""
    console = __package__.rpartition(".")[0]
    found = [each.name for each in files(console).iterdir() if each.joinpath("templates").is_dir()]
    return [f"{console}.{name}" for name in sorted(found)]


def _environment(layout: Layout) -> Environment:
    made = Environment(
        loader=ChoiceLoader([PackageLoader(family) for family in _template_packages()]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {
        "_": _,
        "ngettext": ngettext,
        "language": language,
        "LANGUAGES": LANGUAGES,
        "LOOKS": THEMES,
        "look": _theme,
        "version": __version__,
        "asset": layout.assets.path,
        "csrf": _form_token_field,
        "me": lambda: g.get("principal"),
        "here": _current_path,
        "flashes": lambda: layout.flashes.take(g.session) if g.get("session") else [],
        "sections": lambda: layout.sections,
        "tabs": lambda: layout.tabs,
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
    return made


def _form_token_field() -> Markup:
    """The hidden field that every form of a session carries."""
    session = g.get("session")
    token = form_token(session) if session else ""
    return Markup('<input type="hidden" name="{}" value="{}">').format(FORM_TOKEN_FIELD, token)


def _current_path() -> str:
    """Where the page can be seen again; one that answers a form cannot."""
    return request.full_path.rstrip("?") if request.method == "GET" else "/console/"


def _theme() -> str:
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"
