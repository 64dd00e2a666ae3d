"""Holds requests to what their route's Doc says before its handler sees them, and tags the answers that are polled."""

from hashlib import blake2b

from quart import Response, request
from quart_trio import QuartTrio

from zapline.http.api.framework.problems import Problem, invalid
from zapline.http.api.framework.routes import Access, Doc, Routes

_SHOWN = 100
"""Characters of a caller's own words that are repeated to him."""


def install(app: QuartTrio, routes: Routes) -> None:
    """Check every request to a route of ``routes``; to be called after the gate has its hook, for it goes first."""

    async def check() -> None:
        route = routes.get(request.endpoint or "")
        if route is None:
            return
        if route.access is not Access.OPEN:  # a probe may be called with whatever its caller likes
            _check_query(route.doc)
        _check_media(route.doc)

    async def tag(answer: Response) -> Response:
        route = routes.get(request.endpoint or "")
        polled = route is not None and route.doc.polled
        return await _tagged(answer) if polled and answer.status_code == 200 else answer

    app.before_request(check)
    app.after_request(tag)


def _check_query(doc: Doc) -> None:
    """Refuse a parameter that the route does not know, or that is given twice. Raises Problem 422 naming it."""
    known = {one.name for one in doc.query}
    for name, values in request.args.lists():
        if name not in known:
            raise invalid(name[:_SHOWN], "is not known: there is no such parameter of the query")
        if len(values) > 1:
            raise invalid(name, "is given more than once")


def _check_media(doc: Doc) -> None:
    """Refuse a body that says of itself that it is no JSON, where only JSON is taken. Raises Problem 415.

    A body that does not say what it is counts as JSON, and one that is not there as nothing.
    """
    if doc.body is None or doc.other_bodies or not _has_body():
        return
    media = request.mimetype
    if media and media != "application/json" and not media.endswith("+json"):
        raise Problem(415, "unsupported_media_type", "the body is JSON: send Content-Type: application/json")


def _has_body() -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


async def _tagged(answer: Response) -> Response:
    """The answer with its ETag; 304 without a body where the caller has it already."""
    tag = f'"{blake2b(await answer.get_data(as_text=False), digest_size=16).hexdigest()}"'
    if _has(tag):
        answer = Response(b"", 304)
        del answer.headers["Content-Type"]
    answer.headers["ETag"] = tag
    return answer


def _has(tag: str) -> bool:
    """Whether the caller's If-None-Match names this tag; weak or strong makes no difference to it (RFC 9110)."""
    asked = [one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")]
    return tag in asked or asked == ["*"]
