"""Describes the API as an OpenAPI 3.1 document, made of its routes alone, so that it says what is served."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from zapline import __version__
from zapline.http.api.documentation.curl_samples import curl_line
from zapline.http.api.framework.problem_codes import MEANINGS, RETRYABLE
from zapline.http.api.framework.problems import ProblemBody
from zapline.http.api.framework.routes import Access, Route, RouteDoc

Json = dict[str, Any]

PARAMETER = re.compile(r"<(?:(?P<kind>\w+):)?(?P<name>\w+)>")
_KINDS: Mapping[str, Json] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer", "minimum": 0},
    "string": {"type": "string", "minLength": 1},
    "path": {"type": "string", "minLength": 1},
}
"""What werkzeug's converters take."""
_NAMED = {
    "unit": "The unit's id.",
    "conversation": "The conversation's id.",
    "message": "The message's id, ours and not WhatsApp's.",
    "campaign": "The campaign's id.",
    "contact": "As the list names it: a phone with its plus, or `lid:` and digits.",
    "letter": "The dead letter's number.",
    "hook": "The hook's id.",
    "delivery": "The delivery's id.",
    "erasure": "The erasure's id.",
    "token": "The token's id, not the token.",
}
_GROUPS = {
    "admin": "Signing in and tokens",
    "tokens": "Signing in and tokens",
    "units": "Units",
    "whatsapp": "Line",
    "conversations": "Conversations and messages",
    "messages": "Conversations and messages",
    "outbox": "Conversations and messages",
    "uploads": "Conversations and messages",
    "campaigns": "Campaigns",
    "suppressions": "Campaigns",
    "events": "Events and webhooks",
    "hooks": "Events and webhooks",
    "privacy": "Privacy",
    "dead-letters": "Operations",
    "audit": "Operations",
}
_REST = "Operations"
_WHO: Mapping[Access, str] = {
    Access.OPEN: "Anybody.",
    Access.SIGNED_IN: "Whoever has a valid token.",
    Access.READ: "An administrator, or a token of the unit with the scope `read`.",
    Access.SEND: "An administrator, or a token of the unit with the scope `send`.",
    Access.CONTROL: "An administrator, or a token of the unit with the scope `control`.",
    Access.ADMIN: "An administrator.",
}
_SUFFIX = "Body"
"""A Struct that is what an answer says of something is called so in the source; the document calls it as the thing."""
_NOTHING = "Nothing"
"""How a body without any field is called there."""
_SCHEMA = "#/components/schemas/{name}"
_EVENT: Json = {
    "type": "object",
    "description": "An event, one after the other; `data` is JSON.",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}
_OTHERS: Mapping[str, Json] = {"text/event-stream": _EVENT, "application/json": {"type": "object"}}
_ETAG = {"ETag": "Names this state of things."}
_IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of the answer that you have; 304 where it still holds.",
    "schema": {"type": "string"},
}
_ABOUT = """\
Zapline stands between the Evolution API (WhatsApp) and a CRM. Every request carries `Authorization: Bearer TOKEN`,
but for those that say otherwise. Bodies and answers are JSON in camelCase, times ISO 8601 in UTC. A field or a
parameter of the query that is not known is refused, not ignored. Every error is a problem (RFC 9457) with a stable
`code`, and `retryable` says whether the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that Zapline tells the CRM by itself: the OpenAPI document's ``webhooks``."""

    name: str
    summary: str
    body: Any
    headers: Mapping[str, str]


def openapi_document(routes: Iterable[Route], told: Sequence[WebhookEvent] = ()) -> Json:
    """The document."""
    routes = list(routes)
    schemas = _Schemas([ProblemBody, *_types(route.doc for route in routes), *(one.body for one in told)])
    paths: dict[str, Json] = {}
    for route in routes:
        path = PARAMETER.sub(r"{\g<name>}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, route.doc, schemas)
    there = {tag_of(route.path) for route in routes}
    made: Json = {
        "openapi": "3.1.0",
        "info": {"title": "Zapline", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": group} for group in dict.fromkeys(_GROUPS.values()) if group in there],
        "paths": paths,
    }
    if told:
        made["webhooks"] = {one.name: {"post": _webhook(one, schemas)} for one in told}
    bearer = {"type": "http", "scheme": "bearer", "description": "An opaque token: `zl_` and 43 characters."}
    made["components"] = {"schemas": schemas.components, "securitySchemes": {"bearer": bearer}}
    return made


def tag_of(path: str) -> str:
    """The resource that a route is about, as a heading."""
    parts = [part for part in path.split("/") if part and not part.startswith("<")]
    if len(parts) > 1 and parts[0] == "units":
        parts = parts[1:]
    return _GROUPS.get(parts[0] if parts else "", _GROUPS["units"] if path.startswith("/units") else _REST)


class _Schemas:
    """JSON Schemas of the types, and those they refer to."""

    def __init__(self, types: Iterable[Any]) -> None:
        self._types = list(types)
        found, components = msgspec.json.schema_components(self._types, ref_template=_SCHEMA)
        self._found = [_plain(schema) for schema in found]
        self.components: Json = {}
        for name, one in components.items():
            if self.components.setdefault(_called(name), plain := _plain(one)) is not plain:
                raise ValueError(f"two schemas are called {_called(name)}")

    def of(self, kind: Any) -> Json:
        """Of a type, or of a tuple of types that are alternatives."""
        if isinstance(kind, tuple):
            return {"anyOf": [self.of(one) for one in kind]}
        return next(schema for known, schema in zip(self._types, self._found, strict=True) if known is kind)


def _plain(schema: Any) -> Any:
    """The schema as a reader of the API sees it: docstrings are written for the source."""
    if isinstance(schema, Mapping):
        return {name: _worded(name, part) for name, part in schema.items()}
    return [_plain(part) for part in schema] if isinstance(schema, list | tuple) else schema


def _called(name: str) -> str:
    """The name of a schema, or what refers to it."""
    before, slash, bare = name.rpartition("/")
    return before + slash + (bare.removesuffix(_SUFFIX) or _NOTHING)


def _worded(name: str, part: Any) -> Any:
    if not isinstance(part, str):
        return _plain(part)
    match name:
        case "description":
            return " ".join(part.replace("``", "`").split())
        case "$ref" | "title":
            return _called(part)
    return part


def _types(docs: Iterable[RouteDoc]) -> Iterator[Any]:
    for doc in docs:
        for kind in (doc.body, *doc.answers.values()):
            yield from (one for one in _alternatives(kind) if one is not None and not isinstance(one, str))
        yield from (asked.kind for asked in doc.query)


def _alternatives(kind: Any) -> Sequence[Any]:
    return kind if isinstance(kind, tuple) else (kind,)


def _operation(route: Route, doc: RouteDoc, schemas: _Schemas) -> Json:
    made: Json = {
        "operationId": route.name,
        "summary": doc.summary,
        "description": "\n\n".join(filter(None, [doc.detail, f"Who may: {_WHO[route.access]}"])),
        "tags": [tag_of(route.path)],
        "x-access": route.access.value,
    }
    parameters = [*_path_parameters(route.path), *(_query(asked, schemas) for asked in doc.query)]
    if doc.polled:
        parameters.append(_IF_NONE_MATCH)
    if parameters:
        made["parameters"] = parameters
    if doc.body is not None or doc.other_bodies:
        made["requestBody"] = _body(doc, schemas)
    made["responses"] = _responses(route, doc, schemas)
    made["security"] = [] if route.access is Access.OPEN else [{"bearer": []}]
    made["x-codeSamples"] = [{"lang": "Shell", "source": curl_line(route, doc)}]
    return made


def _path_parameters(path: str) -> Iterator[Json]:
    for found in PARAMETER.finditer(path):
        made: Json = {
            "name": found["name"],
            "in": "path",
            "required": True,
            "schema": _KINDS[found["kind"] or "string"],
        }
        if found["name"] in _NAMED:
            made["description"] = _NAMED[found["name"]]
        yield made


def _query(asked: Any, schemas: _Schemas) -> Json:
    return {"name": asked.name, "in": "query", "description": asked.sentence, "schema": schemas.of(asked.kind)}


def _body(doc: RouteDoc, schemas: _Schemas) -> Json:
    content: Json = {media: {"schema": {"type": "string", "format": "binary"}} for media in doc.other_bodies}
    if isinstance(doc.body, str):
        content[doc.body] = {"schema": {"type": "string", "format": "binary"}}
    elif doc.body is not None:
        given: Json = {"schema": schemas.of(doc.body)}
        if doc.example is not None:
            given["example"] = doc.example
        content = {"application/json": given, **content}
    return {"required": isinstance(doc.body, str) or bool(_required(doc.body)), "content": content}


def _required(kind: Any) -> Sequence[str]:
    """The fields that such a body must have; without any an empty body will do."""
    fields = msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()
    return [one.encode_name for one in fields if one.required]


# -- answers -------------------------------------------------------------------------------------------------


def _responses(route: Route, doc: RouteDoc, schemas: _Schemas) -> Json:
    made: Json = {}
    for status, kind in sorted(doc.answers.items()):
        answer: Json = {"description": HTTPStatus(status).phrase}
        named = {**doc.headers, **(_ETAG if doc.polled else {})}
        headers = {name: {"description": said, "schema": {"type": "string"}} for name, said in named.items()}
        if headers:
            answer["headers"] = headers
        if isinstance(kind, str):
            answer["content"] = {kind: {"schema": _OTHERS.get(kind, {"type": "string"})}}
        elif kind is not None:
            answer["content"] = {"application/json": {"schema": schemas.of(kind)}}
        made[str(status)] = answer
    if doc.polled:
        made["304"] = {"description": "Nothing has changed: what you have is still so. There is no body."}
    by_status: dict[int, list[str]] = defaultdict(list)
    for code, status in {**_usual(route, doc), **doc.errors}.items():
        by_status[status].append(code)
    for status, codes in sorted(by_status.items()):
        made[str(status)] = _problem(status, sorted(codes), schemas)
    return made


def _usual(route: Route, doc: RouteDoc) -> Mapping[str, int]:
    """The problems that every route of this kind has, with their status."""
    usual = {"internal_error": 500}
    changes = route.method in ("POST", "PUT", "PATCH", "DELETE")
    if route.access is not Access.OPEN:
        usual["unauthorized"] = 401
    if route.access is not Access.OPEN or changes:
        usual |= {"database_unavailable": 503, "database_busy": 503, "database_refused": 503}
        usual["unavailable"] = 503
    if route.access not in (Access.OPEN, Access.SIGNED_IN):
        usual["forbidden"] = 403
    if "<" in route.path:
        usual["not_found"] = 404
    if "<uuid:unit>" in route.path:
        usual["unit_not_found"] = 404
    if changes:
        usual |= {"outcome_unknown": 503, "refused": 409}
    if doc.body is not None or doc.other_bodies:
        usual |= {"bad_request": 400, "request_timeout": 408, "body_too_large": 413, "unsupported_media_type": 415}
        usual |= {"malformed_json": 400, "invalid_request": 422, "invalid_text": 422}
    if doc.query:
        usual["invalid_request"] = 422
    return usual


def _problem(status: int, codes: Sequence[str], schemas: _Schemas) -> Json:
    said = "; ".join(f"`{code}`: {MEANINGS.get(code, code)}" for code in codes)
    made: Json = {"description": said}
    if any(code in RETRYABLE for code in codes):
        seconds = {"type": "integer", "minimum": 1}
        made["headers"] = {"Retry-After": {"description": "Seconds after which to ask again.", "schema": seconds}}
    schema: Json = {"allOf": [schemas.of(ProblemBody)], "properties": {"code": {"enum": list(codes)}}}
    if status == 422:
        schema["required"] = ["errors"]
    made["content"] = {"application/problem+json": {"schema": schema}}
    return made


def _webhook(one: WebhookEvent, schemas: _Schemas) -> Json:
    headers = [
        {"name": name, "in": "header", "required": True, "description": said, "schema": {"type": "string"}}
        for name, said in one.headers.items()
    ]
    return {
        "summary": one.summary,
        "parameters": headers,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schemas.of(one.body)}}},
        "responses": {"2XX": {"description": "Taken. Anything else, or no answer in time, is tried again."}},
    }
