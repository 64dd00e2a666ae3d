"""The API's routes as data: path, access and documentation; authentication and the OpenAPI document read them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from quart_trio import QuartTrio

Handler = Callable[..., Awaitable[Any]]


class Access(StrEnum):
    """Who may call a route. A unit's route has ``unit`` in its path, an organization's ``organization``.

    Tokens that do not open that unit, or are of another organization, get a 404 there.
    """

    OPEN = "open"
    """Anybody."""
    SIGNED_IN = "signed_in"
    """Any valid token."""
    PERSON = "person"
    """Any person, and no program of a unit or an organization."""
    READ = "read"
    """An administrator, a person with a role in this unit, or a token that opens it or is of this organization, with
    the scope ``read``."""
    INSPECT = "inspect"
    """The same without attendants: settings, and what failed."""
    SEND = "send"
    """The same as ``READ`` with the scope ``send``."""
    CAMPAIGN = "campaign"
    """The same with the scope ``send``, without attendants."""
    CONTROL = "control"
    """The same with the scope ``control``, without attendants: changing the line and its settings."""
    ADMIN = "admin"
    """An administrator."""


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A parameter of the query string. ``kind``: a type that msgspec can describe."""

    name: str
    kind: Any
    description: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class RouteDoc:
    """A route's entry in the OpenAPI document.

    ``responses``: by status, a msgspec type for JSON (a tuple of them: alternatives), a media type such as
    ``image/svg+xml`` for other bodies, None for no body. ``errors``: the route's own problem codes with their status;
    the document adds those of every such route. ``example``: a valid request body. ``detail``: longer text below the
    summary. ``other_media``: media types accepted instead of ``body``. ``headers``: response headers with their
    descriptions. ``polled``: clients poll this route, so responses carry an ETag.
    """

    summary: str
    responses: Mapping[int, Any]
    body: Any = None
    query: tuple[QueryParameter, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    example: Any = None
    detail: str = ""
    other_media: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    polled: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. ``name`` is the endpoint and the operationId; ``path`` is a werkzeug rule."""

    method: str
    path: str
    name: str
    handler: Handler
    access: Access
    doc: RouteDoc
    audited: bool = True
    """Whether calls other than GET are written to the audit log. False for routes that change nothing, and for those
    that leave a more detailed row of their own (a message, an upload)."""
    documented: bool = True
    """Whether the OpenAPI document lists it."""


class RouteTable:
    """All routes of the application, each with its access."""

    def __init__(self, app: QuartTrio) -> None:
        self._app = app
        self._routes: dict[str, Route] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes.values())

    def get(self, name: str) -> Route | None:
        """The route with this endpoint name."""
        return self._routes.get(name)

    def add(
        self,
        method: str,
        path: str,
        name: str,
        handler: Handler,
        access: Access,
        doc: RouteDoc,
        *,
        audited: bool = True,
        documented: bool = True,
    ) -> None:
        """Register ``handler`` for method and path. Raises ValueError for a duplicate name."""
        if name in self._routes:
            raise ValueError(f"two routes are called {name}")
        self._routes[name] = Route(method, path, name, handler, access, doc, audited, documented)
        self._app.add_url_rule(path, name, handler, methods=[method])
