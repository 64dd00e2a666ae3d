"""The API's routes as data: where each is, who may call it, what it takes and gives; gate and document read them."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from quart_trio import QuartTrio

Handler = Callable[..., Awaitable[Any]]


class Access(StrEnum):
    """Who may call a route. A route of a unit has ``unit`` in its path; other units' tokens see a 404 there."""

    OPEN = "open"
    """Anybody."""
    SIGNED_IN = "signed_in"
    """Whoever has a valid token of any kind."""
    READ = "read"
    """An administrator, or a token of this unit that may read."""
    SEND = "send"
    """The same that may send."""
    CONTROL = "control"
    """The same that may change the line and its settings."""
    ADMIN = "admin"
    """An administrator."""


@dataclass(frozen=True, slots=True)
class QueryParameter:
    """A parameter of the query. ``kind``: a type that msgspec can describe."""

    name: str
    kind: Any
    sentence: str


@dataclass(frozen=True, slots=True)
class RouteDoc:
    """What the OpenAPI document says of a route.

    ``answers``: by status, a msgspec type for JSON (a tuple of them: one or the other), a media type as
    ``image/svg+xml`` for other bodies, None for no body. ``errors``: problem codes of its own with their status; those
    that every such route has are added by the document. ``example``: a body that works. ``detail``: more than the
    summary says. ``other_bodies``: media types that are taken instead of ``body``. ``headers``: of the answers, with
    what they say. ``polled``: callers ask again and again, so the answer has an ETag.
    """

    summary: str
    answers: Mapping[int, Any]
    body: Any = None
    query: tuple[QueryParameter, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    example: Any = None
    detail: str = ""
    other_bodies: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    polled: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. ``name`` is the endpoint and the document's operationId; ``path`` is werkzeug's."""

    method: str
    path: str
    name: str
    handler: Handler
    access: Access
    doc: RouteDoc
    audited: bool = True
    """Whether a call that is no GET goes into the audit log, as changes do. What leaves a row of its own that tells
    more (a message, an upload) does not, nor what changes nothing."""
    documented: bool = True
    """Whether the OpenAPI document lists it."""


class RouteTable:
    """All routes of the application; whoever adds one says who may call it."""

    def __init__(self, app: QuartTrio) -> None:
        self._app = app
        self._known: dict[str, Route] = {}

    def __iter__(self) -> Iterator[Route]:
        return iter(self._known.values())

    def get(self, name: str) -> Route | None:
        """The route of this endpoint."""
        return self._known.get(name)

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
        """Serve ``handler`` there. Raises ValueError for a name that is taken."""
        if name in self._known:
            raise ValueError(f"two routes are called {name}")
        self._known[name] = Route(method, path, name, handler, access, doc, audited, documented)
        self._app.add_url_rule(path, name, handler, methods=[method])
