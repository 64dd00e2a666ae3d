"""Validates requests against their route's documentation, and adds ETags to polled responses."""

from hashlib import blake2b

from quart import Response, request
from quart_trio import QuartTrio

from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.route_table import Access, RouteDoc, RouteTable

_MAX_REPEATED = 100
"""Characters of a caller's own input that are repeated in a problem."""


def install_request_validation(app: QuartTrio, routes: RouteTable) -> None:
    """Validate every request to a route of ``routes``. Call it after the authentication is installed, which must run
    first."""

    async def check() -> None:
        route = routes.get(request.endpoint or "")
        if route is None:
            return
        if route.access is not Access.OPEN:  # a probe may be called with whatever its caller likes
            _check_query(route.doc)
        _check_content_type(route.doc)

    async def tag(response: Response) -> Response:
        route = routes.get(request.endpoint or "")
        polled = route is not None and route.doc.polled
        return await _with_etag(response) if polled and response.status_code == 200 else response

    app.before_request(check)
    app.after_request(tag)


def _check_query(doc: RouteDoc) -> None:
    """Raises Problem 422 for an unknown or repeated query parameter, naming it."""
    known = {parameter.name for parameter in doc.query}
    for name, values in request.args.lists():
        if name not in known:
            raise invalid(name[:_MAX_REPEATED], "is not known: there is no such parameter of the query")
        if len(values) > 1:
            raise invalid(name, "is given more than once")


def _check_content_type(doc: RouteDoc) -> None:
    """Raises Problem 415 for a body whose Content-Type is not JSON, where only JSON is accepted.

    A body without a Content-Type counts as JSON.
    """
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if doc.body is None or doc.other_media or not has_body:
        return
    media = request.mimetype
    if media and media != "application/json" and not media.endswith("+json"):
        raise Problem(415, "unsupported_media_type", "the body is JSON: send Content-Type: application/json")


async def _with_etag(response: Response) -> Response:
    """The response with its ETag; 304 without a body if the caller already has it."""
    tag = f'"{blake2b(await response.get_data(as_text=False), digest_size=16).hexdigest()}"'
    if _matches_etag(tag):
        response = Response(b"", 304)
        del response.headers["Content-Type"]
    response.headers["ETag"] = tag
    return response


def _matches_etag(tag: str) -> bool:
    """Whether If-None-Match names this tag; weak or strong makes no difference to it (RFC 9110)."""
    known_tags = [value.strip().removeprefix("W/") for value in request.headers.get("If-None-Match", "").split(",")]
    return tag in known_tags or known_tags == ["*"]
