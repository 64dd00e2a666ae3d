"""Writes the curl line of a route: what somebody types who has ``URL`` and ``TOKEN`` set in his shell."""

import re

import msgspec

from zapline.http.api.framework.routes import Access, Route, RouteDoc

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def curl_line(route: Route, doc: RouteDoc) -> str:
    """The line, with variables of the shell for what is not known."""
    path = _PARAMETER.sub(lambda found: f"${found[1].upper()}", route.path)
    words = ["curl"]
    if route.method != "GET" and not (route.method == "POST" and (doc.example is not None or doc.other_bodies)):
        words.append(f"-X {route.method}")
    words.append(f'"$URL{path}"')
    if route.access is not Access.OPEN:
        words.append('-H "Authorization: Bearer $TOKEN"')
    if doc.example is not None:
        body = msgspec.json.encode(doc.example).decode().replace("'", "'\\''")
        words.append(f"-H 'Content-Type: application/json' -d '{body}'")
    elif doc.other_bodies:
        words.append(f"-H 'Content-Type: {doc.other_bodies[0]}' --data-binary @FILE")
    return " ".join(words)
