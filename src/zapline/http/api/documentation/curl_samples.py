"""Writes the curl command of a route, for a shell in which ``URL`` and ``TOKEN`` are set."""

import re

import msgspec

from zapline.http.api.framework.route_table import Access, Route, RouteDoc

_PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>")


def _variable(parameter: str) -> str:
    """The shell's name of a path parameter; the id of a token is not the token itself, which no URL may hold."""
    return f"{parameter.upper()}_ID" if parameter == "token" else parameter.upper()


def curl_line(route: Route, doc: RouteDoc) -> str:
    """The command, with shell variables for path parameters."""
    path = _PARAMETER.sub(lambda match: f"${_variable(match[1])}", route.path)
    required = [f"{parameter.name}=${parameter.name.upper()}" for parameter in doc.query if parameter.required]
    path += f"?{'&'.join(required)}" if required else ""
    words = ["curl"]
    if route.method != "GET" and not (route.method == "POST" and (doc.example is not None or doc.other_media)):
        words.append(f"-X {route.method}")
    words.append(f'"$URL{path}"')
    if route.access is not Access.OPEN:
        words.append('-H "Authorization: Bearer $TOKEN"')
    if doc.example is not None:
        body = msgspec.json.encode(doc.example).decode().replace("'", "'\\''")
        words.append(f"-H 'Content-Type: application/json' -d '{body}'")
    elif doc.other_media:
        words.append(f"-H 'Content-Type: {doc.other_media[0]}' --data-binary @FILE")
    return " ".join(words)
