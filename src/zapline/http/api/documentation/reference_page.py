"""Serves the OpenAPI document, and Swagger UI from our own host to read it and to try its requests."""

from collections.abc import Sequence
from functools import cached_property, partial
from importlib.resources import files

import msgspec
from quart import Response

from zapline.http.api.documentation.openapi import WebhookEvent, openapi_document
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets styles through the DOM, which a policy allows, and has its icons as data URLs."""
_KEPT = "public, max-age=3600"
_SCRIPT, _HTML, _CSS = "text/javascript; charset=utf-8", "text/html; charset=utf-8", "text/css; charset=utf-8"
_SWAGGER_UI, _OWN = "flask_swagger_ui/dist", "zapline.http.api.documentation/page"


class ReferencePage:
    """``/openapi.json`` and ``/docs``; the document is made when first asked for, when all routes are known."""

    def __init__(self, routes: RouteTable, webhook_events: Sequence[WebhookEvent] = ()) -> None:
        self._routes = routes
        self._webhook_events = webhook_events

    def attach(self) -> None:
        """Add the routes. The page's other files are no part of the API, so the document does not list them."""
        add = self._routes.add
        shown = RouteDoc("The API as an OpenAPI 3.1 document", {200: "application/json"})
        add("GET", "/openapi.json", "openapi", self.openapi, Access.OPEN, shown)
        page = partial(_file, _OWN, "docs.html", _HTML)
        add("GET", "/docs", "docs", page, Access.OPEN, RouteDoc("The API as a page to read", {200: "text/html"}))
        style = partial(_file, _SWAGGER_UI, "swagger-ui.css", _CSS)
        sheet = RouteDoc("The stylesheet of the page", {200: "text/css"})
        add("GET", "/docs/style.css", "docs_style", style, Access.OPEN, sheet)
        file = RouteDoc("A file of the page", {200: "text/javascript"})
        for path, place, name, content_type in (
            ("/docs/icon.png", _SWAGGER_UI, "favicon-32x32.png", "image/png"),
            ("/docs/swagger-ui.js", _SWAGGER_UI, "swagger-ui-bundle.js", _SCRIPT),
            ("/docs/start.js", _OWN, "start.js", _SCRIPT),
        ):
            serve, endpoint = partial(_file, place, name, content_type), f"docs_{name}".replace(".", "_")
            add("GET", path, endpoint, serve, Access.OPEN, file, documented=False)

    async def openapi(self) -> Response:
        return Response(self._encoded, content_type="application/json")

    @cached_property
    def _encoded(self) -> bytes:
        documented = (route for route in self._routes if route.documented)
        return msgspec.json.encode(openapi_document(documented, self._webhook_events))


async def _file(place: str, name: str, content_type: str) -> Response:
    package, _, folder = place.partition("/")
    response = Response(files(package).joinpath(folder, name).read_bytes(), content_type=content_type)
    response.headers["Cache-Control"] = _KEPT
    response.headers["Content-Security-Policy"] = _POLICY
    return response
